//! What the bytes of an input mean: any bytes are a list of steps.
//!
//! New kinds of steps go behind the others, and new fields behind the fields there are, so that
//! what a corpus has can be carried over.

use arbitrary::Arbitrary;

#[derive(Arbitrary, Debug)]
pub(super) enum Step {
    Open {
        slot: u8,
        room_bytes: u16,
    },
    Packet {
        slot: u8,
        packet: Packet,
    },
    Gone {
        slot: u8,
        failed: bool,
    },
    Writable {
        slot: u8,
        room_bytes: u16,
    },
    Durable {
        records: u8,
    },
    Pass {
        ms: u32,
    },
    Resume {
        budget: u8,
    },
    Crash {
        kept: u8,
    },
    /// The two highest bits of `client` say with which reason.
    Disconnect {
        client: u8,
    },
    EndSession {
        client: u8,
    },
    ConfirmTime,
    Space {
        is_short: bool,
    },
    Malformed {
        slot: u8,
        error: u8,
        version: u8,
    },
    /// Answers one of the questions there are.
    Answer {
        place: u8,
        verdict: Verdict,
    },
    /// Refuses a client that is in, of the driver's own accord.
    Withdraw {
        slot: u8,
        reason: u8,
    },
    SetPermissions(Rules),
    SetQuotas(Bounds),
    Publish(Message),
    PublishFor {
        message: Message,
        publisher: Option<Stranger>,
        once: u8,
    },
    /// And what follows it, a restart.
    Stop {
        reason: u8,
        is_durable: bool,
    },
    /// Reads one of the messages back that the broker wants.
    Fetch {
        place: u8,
    },
}

#[derive(Arbitrary, Debug)]
pub(super) enum Packet {
    Connect(Hello),
    Publish {
        topic: u8,
        qos: u8,
        id: u8,
        retain: bool,
        dup: bool,
        length: u8,
        expiry_s: Option<u8>,
        properties: u8,
    },
    PubAck {
        id: u8,
        is_error: bool,
    },
    PubRec {
        id: u8,
        is_error: bool,
    },
    PubRel {
        id: u8,
    },
    PubComp {
        id: u8,
    },
    Subscribe {
        filters: Vec<(u8, u8)>,
        id: u8,
        subscription_id: Option<u8>,
    },
    Unsubscribe {
        filter: u8,
        id: u8,
    },
    Ping,
    Disconnect {
        with_will: bool,
        expiry_interval_s: Option<u8>,
    },
    Auth {
        reason: u8,
        method: u8,
        has_data: bool,
    },
}

#[derive(Arbitrary, Debug)]
pub(super) struct Hello {
    pub(super) client: u8,
    pub(super) version: u8,
    pub(super) clean_start: bool,
    pub(super) expiry_interval_s: u8,
    pub(super) receive_maximum: u8,
    pub(super) maximum_packet_size_bytes: Option<u8>,
    pub(super) keep_alive_s: u8,
    /// Topic, QoS, RETAIN and delay.
    pub(super) will: Option<(u8, u8, bool, u8)>,
    /// From the lowest bit: two for the authentication method, user name, password, no problem
    /// information, response information, properties of the will and its expiry.
    pub(super) extras: u8,
}

/// What the driver says of who somebody is.
#[derive(Arbitrary, Debug)]
pub(super) enum Verdict {
    Accept { identity: u8, has_data: bool, shown: Shown },
    Continue { has_data: bool },
    Refuse { reason: u8 },
}

/// What a token says.
#[derive(Arbitrary, Debug)]
pub(super) struct Shown {
    pub(super) ends_after_s: Option<u8>,
    /// From the lowest bit: which role, whether an inbox, whether an API key.
    pub(super) claim: Option<u8>,
    pub(super) grants: Option<Rules>,
}

#[derive(Arbitrary, Debug)]
pub(super) struct Rules {
    pub(super) allows: bool,
    /// Who, what and where, of each rule.
    pub(super) rules: Vec<(u8, u8, u8)>,
}

#[derive(Arbitrary, Debug)]
pub(super) struct Bounds {
    pub(super) every_user: Option<Bound>,
    pub(super) every_address: Option<Bound>,
    /// Of one client each.
    pub(super) clients: Vec<(u8, Bound)>,
}

#[derive(Arbitrary, Debug)]
pub(super) struct Bound {
    pub(super) messages_per_second: u8,
    pub(super) messages_per_day: u8,
    pub(super) connections: u8,
    pub(super) stored_bytes: u16,
    pub(super) closes_at_qos0: bool,
}

/// A message of somebody without a connection.
#[derive(Arbitrary, Debug)]
pub(super) struct Message {
    pub(super) topic: u8,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) length: u8,
    pub(super) expiry_s: Option<u8>,
    pub(super) properties: u8,
}

/// Somebody without a connection.
#[derive(Arbitrary, Debug)]
pub(super) struct Stranger {
    pub(super) identity: u8,
    pub(super) client: u8,
    pub(super) shown: Shown,
}
