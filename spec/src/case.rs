//! What a case of the suite is, and what it needs of the target.

use crate::capabilities::Capabilities;
use crate::scene::Scene;

/// Why a case failed, in a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

/// What steps of a case return.
pub type Checked<T = ()> = Result<T, Failure>;

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Failure(what)
    }
}

impl From<&str> for Failure {
    fn from(what: &str) -> Self {
        Failure(what.to_owned())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure(error.to_string())
    }
}

/// Fails the case unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::case::Failure(format!($($what)+)));
        }
    };
}
pub(crate) use ensure;

/// Names a function as a case that shows the statements.
macro_rules! case {
    ($function:ident $(, $statement:literal)* $(,)?) => {
        $crate::case::Case::new(module_path!(), stringify!($function), $function, &[$($statement),*])
    };
}
pub(crate) use case;

/// What a target may offer or not. A case that needs what is not offered is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the key of the same name in the capabilities")]
pub enum Need {
    Retain,
    NoRetain,
    Wildcards,
    NoWildcards,
    Identifiers,
    NoIdentifiers,
    Shared,
    NoShared,
    Qos1,
    Qos2,
    /// Maximum QoS is announced.
    LimitedQos,
    DollarTopics,
    SysTopics,
    RefusedTopic,
    RefusedFilter,
    Version4,
    Version3,
    /// A version older than 5 is not served.
    NoVersion3,
    TopicAlias,
    NoTopicAlias,
    /// A topic alias maximum below 65 535 is announced, so that there is one over it.
    LimitedTopicAlias,
    /// A receive maximum of at most 200 is announced.
    ReceiveMaximum,
    /// A maximum packet size of at most 2 MiB is announced.
    MaximumPacketSize,
    ServerKeepAlive,
    NoServerKeepAlive,
    ResponseInformation,
    SessionExpiryLimit,
    NoSessionExpiryLimit,
    Denied,
    Enhanced,
    WebSocket,
    QueueLimit,
    ConnectTimeout,
    EmptyClientId,
}

/// One thing to be shown of a broker.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Where it is written: the last part is its subject.
    pub module: &'static str,
    /// A sentence about behaviour, as an identifier.
    pub name: &'static str,
    /// The statements that it shows, `MQTT-x.y.z-n`; expected behaviours by their names.
    pub statements: &'static [&'static str],
    /// What the target must offer.
    pub needs: &'static [Need],
    /// Whether the text advises this and does not demand it.
    pub advice: bool,
    /// Whether it waits for time to pass, and so should begin early.
    pub slow: bool,
    /// Plays it.
    pub play: fn(&Scene<'_>) -> Checked,
}

impl Case {
    /// A case that needs nothing special.
    #[must_use]
    pub const fn new(
        module: &'static str,
        name: &'static str,
        play: fn(&Scene<'_>) -> Checked,
        statements: &'static [&'static str],
    ) -> Self {
        Case { module, name, statements, needs: &[], advice: false, slow: false, play }
    }

    /// The part of the suite that it belongs to, as `retained` or `will`.
    #[must_use]
    pub fn subject(&self) -> &'static str {
        self.module.rsplit("::").next().unwrap_or(self.module)
    }

    /// With what it needs.
    #[must_use]
    pub const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// As advice.
    #[must_use]
    pub const fn advice(mut self) -> Self {
        self.advice = true;
        self
    }

    /// As one that waits.
    #[must_use]
    pub const fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// What this case needs and the target does not offer.
    #[must_use]
    pub fn missing(&self, capabilities: &Capabilities) -> Option<Need> {
        self.needs.iter().copied().find(|need| !capabilities.offers(*need))
    }
}
