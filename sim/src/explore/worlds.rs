//! The worlds that can be explored, by name.

use signalhouse_core::wire::types::QoS;

/// A small world and how often each fault may happen in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name.
    pub name: &'static str,
    /// The QoS of each message, in the order of publication; all to one topic.
    pub messages: Vec<QoS>,
    /// What each subscriber asks for.
    pub subscribers: Vec<Subscriber>,
    /// How often a connection is lost.
    pub cuts: u8,
    /// How often a client connects again while the broker takes its old connection for alive.
    pub takeovers: u8,
    /// How often the process crashes, each time with every possible end of the journal.
    pub crashes: u8,
    /// How often so much time passes that the sessions of absent subscribers end.
    pub expiries: u8,
    /// Deliveries that a subscriber takes at once on its first connection, and on those after it.
    pub receive_maxima: [u16; 2],
    /// Whether a crash takes durable records too: a defect, to see that it is found.
    pub forgets_records: bool,
}

/// What a subscriber asks for.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber {
    /// The filter.
    pub filter: &'static str,
    /// Its highest QoS.
    pub maximum_qos: QoS,
}

impl Setup {
    /// The same world with one fault of each kind at most and one message.
    #[must_use]
    pub fn calmer(&self) -> Self {
        let mut calmer = self.clone();
        calmer.messages.truncate(1);
        calmer.cuts = calmer.cuts.min(1);
        calmer.takeovers = calmer.takeovers.min(1);
        calmer.crashes = calmer.crashes.min(1);
        calmer.expiries = calmer.expiries.min(1);
        calmer
    }

    /// Whether all subscribers are members of one share.
    pub(super) fn is_shared(&self) -> bool {
        self.subscribers.iter().any(|subscriber| subscriber.filter.starts_with("$share/"))
    }

    /// Subscribers whose deliveries count together: each alone, or all members of a share.
    pub(super) fn receivers(&self) -> Vec<Vec<usize>> {
        let all = 0..self.subscribers.len();
        if self.is_shared() { vec![all.collect()] } else { all.map(|one| vec![one]).collect() }
    }
}

/// The topic of every message.
pub(super) const TOPIC: &str = "t";

const ONE: Subscriber = Subscriber { filter: TOPIC, maximum_qos: QoS::ExactlyOnce };
const SHARE: Subscriber = Subscriber { filter: "$share/g/t", maximum_qos: QoS::ExactlyOnce };

/// Names of all worlds.
#[must_use]
pub fn names() -> Vec<&'static str> {
    all().iter().map(|setup| setup.name).collect()
}

/// The world of this name.
#[must_use]
pub fn find(name: &str) -> Option<Setup> {
    all().into_iter().find(|setup| setup.name == name)
}

fn all() -> Vec<Setup> {
    use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
    let base = Setup {
        name: "qos1",
        messages: vec![AtLeastOnce, AtLeastOnce],
        subscribers: vec![ONE],
        cuts: 1,
        takeovers: 1,
        crashes: 1,
        expiries: 0,
        receive_maxima: [2, 2],
        forgets_records: false,
    };
    let mut all = vec![
        base.clone(),
        Setup { name: "qos0", messages: vec![AtMostOnce, AtMostOnce], ..base.clone() },
        Setup {
            name: "mixed",
            messages: vec![AtMostOnce, AtLeastOnce, ExactlyOnce],
            expiries: 1,
            ..base.clone()
        },
        Setup { name: "qos2", messages: vec![ExactlyOnce], ..base.clone() },
        Setup { name: "qos2-two", messages: vec![ExactlyOnce, ExactlyOnce], ..base.clone() },
        Setup {
            name: "expiry",
            messages: vec![AtLeastOnce, ExactlyOnce],
            takeovers: 0,
            expiries: 1,
            ..base.clone()
        },
        Setup {
            name: "window",
            messages: vec![ExactlyOnce, AtLeastOnce],
            receive_maxima: [1, 1],
            ..base.clone()
        },
        Setup {
            name: "crashes",
            messages: vec![ExactlyOnce],
            cuts: 0,
            takeovers: 0,
            crashes: 3,
            ..base.clone()
        },
        Setup {
            name: "two-subscribers",
            messages: vec![ExactlyOnce],
            subscribers: vec![ONE, Subscriber { maximum_qos: AtLeastOnce, ..ONE }],
            ..base.clone()
        },
        Setup {
            name: "share",
            messages: vec![AtLeastOnce, ExactlyOnce],
            subscribers: vec![SHARE, SHARE],
            takeovers: 0,
            ..base.clone()
        },
    ];
    all.extend(exhaustible(&base));
    all
}

/// Worlds with so few messages or faults that they are exhausted.
fn exhaustible(base: &Setup) -> [Setup; 7] {
    use QoS::{AtLeastOnce, ExactlyOnce};
    [
        Setup { name: "qos1-one", messages: vec![AtLeastOnce], ..base.clone() },
        Setup {
            name: "expiry-one",
            messages: vec![AtLeastOnce],
            takeovers: 0,
            expiries: 1,
            ..base.clone()
        },
        Setup {
            name: "window-one",
            messages: vec![ExactlyOnce, AtLeastOnce],
            cuts: 0,
            takeovers: 0,
            receive_maxima: [1, 1],
            ..base.clone()
        },
        Setup {
            name: "window-two",
            messages: vec![AtLeastOnce; 4],
            cuts: 0,
            takeovers: 0,
            crashes: 0,
            ..base.clone()
        },
        Setup {
            name: "window-shrinks",
            takeovers: 0,
            crashes: 0,
            receive_maxima: [2, 1],
            ..base.clone()
        },
        Setup {
            name: "two-subscribers-one",
            messages: vec![ExactlyOnce],
            subscribers: vec![ONE, Subscriber { maximum_qos: AtLeastOnce, ..ONE }],
            cuts: 0,
            takeovers: 0,
            ..base.clone()
        },
        Setup {
            name: "share-one",
            messages: vec![AtLeastOnce],
            subscribers: vec![SHARE, SHARE],
            cuts: 0,
            takeovers: 0,
            ..base.clone()
        },
    ]
}
