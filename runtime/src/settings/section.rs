//! One declaration for each section: its fields, their defaults, bounds and explanations.

/// What a key's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// `true` or `false`.
    Truth,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text of at most so many bytes; empty for none.
    Text(usize),
    /// A list of `ADDRESS:PORT`; it may be empty.
    OptionalAddresses,
    /// A list of `SCHEME://HOST[:PORT]`, or `*`.
    Origins,
}

/// One key of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its section.
    pub section: &'static str,
    /// Its name within.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it does.
    pub about: &'static str,
    /// Whether a running broker takes it over on SIGHUP.
    pub reloads: bool,
}

macro_rules! section {
    (
        $(#[$outer:meta])*
        $section:ident $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $default:expr, $kind:expr $(, $reloads:ident)?;
            )*
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $name {
            /// The section's keys, in the order in which they are shown.
            pub const KEYS: &'static [$crate::settings::Key] = &[$(
                $crate::settings::Key {
                    section: stringify!($section),
                    name: stringify!($field),
                    kind: { use $crate::settings::Kind::*; $kind },
                    about: concat!($($doc),+).trim_ascii(),
                    reloads: $crate::settings::section::section!(@reloads $($reloads)?),
                },
            )*];
        }
    };
    (@reloads) => { false };
    (@reloads reloads) => { true };
}

pub(crate) use section;
