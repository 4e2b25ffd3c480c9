//! The store's canaries: small deliberate defects for the simulator to find.
//!
//! Their names and their switch are those of `signalhouse-core`. In every build but the simulator's
//! own, `canary!(Name)` is the literal `false`.

#[cfg(not(signalhouse_sim))]
macro_rules! canary {
    ($name:ident) => {
        false
    };
}

#[cfg(signalhouse_sim)]
macro_rules! canary {
    ($name:ident) => {
        signalhouse_core::canary::is_on(signalhouse_core::canary::Canary::$name)
    };
}
