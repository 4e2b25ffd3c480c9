//! The matrix: what was under way, by how it was cut off.

use super::scene::{Inbound, Outbound, Scene};
use crate::packet::AckKind;

/// A way to cut things off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Reset,
    Vanish,
    DeafBroker,
    DeafClient,
    Takeover,
    Disconnect,
    SentAway,
    Kill,
    PowerCut,
    Stop,
    CrashAgain,
}

/// The columns' heads: the network resets the connection; the client ends it without a word; data
/// to the broker, or to the client, is lost from here on; another connection takes the session
/// over; the client sends DISCONNECT; the broker does; the broker is killed; its power is cut; it
/// stops in order; it crashes before anybody was accepted again.
pub const COLUMNS: [&str; 11] = [
    "reset", "vanish", "deaf", "mute", "takeover", "goodbye", "away", "kill", "power", "stop",
    "again",
];

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A client with a connection.
    Connection,
    /// A session, with or without a connection.
    Session,
    /// A client that is away.
    Absence,
}

/// What a row asks of a client's situation.
type Holds = fn(&Scene<'_>) -> bool;

/// The rows: what was under way.
pub const ROWS: [(&str, Needs); 26] = {
    let mut rows = [("", Needs::Session); 26];
    let mut row = 0;
    while row < rows.len() {
        rows[row] = (TABLE[row].0, TABLE[row].1);
        row += 1;
    }
    rows
};

/// The row of clients that do not wait for CONNACK.
const AHEAD: usize = 1;
/// The row of older versions.
const OLDER_VERSION: usize = 22;

/// Text, what it is about, and the condition.
const TABLE: [(&str, Needs, Holds); 26] = [
    ("CONNECT sent, CONNACK awaited", Needs::Connection, |scene| {
        scene.on(|link| !link.is_accepted)
    }),
    ("CONNACK awaited, more sent behind CONNECT", Needs::Connection, |scene| {
        scene.on(|link| !link.is_accepted && link.is_ahead)
    }),
    ("SUBSCRIBE or UNSUBSCRIBE unanswered", Needs::Connection, |scene| {
        scene.on(|link| link.has_requests)
    }),
    ("QoS 1 in: PUBACK awaited", Needs::Session, |scene| inbound(scene, Inbound::Published(1))),
    ("QoS 2 in: PUBREC awaited", Needs::Session, |scene| inbound(scene, Inbound::Published(2))),
    ("QoS 2 in: PUBREL to be sent", Needs::Session, |scene| inbound(scene, Inbound::Received)),
    ("QoS 2 in: PUBCOMP awaited", Needs::Session, |scene| inbound(scene, Inbound::Released)),
    ("QoS 1 out: PUBACK to be sent", Needs::Session, |scene| {
        outbound(scene, Outbound::Published(1))
    }),
    ("QoS 1 out: PUBACK just sent", Needs::Connection, |scene| sent(scene, AckKind::PubAck)),
    ("QoS 2 out: PUBREC to be sent", Needs::Session, |scene| {
        outbound(scene, Outbound::Published(2))
    }),
    ("QoS 2 out: PUBREL awaited", Needs::Session, |scene| outbound(scene, Outbound::Received)),
    ("QoS 2 out: PUBCOMP to be sent", Needs::Session, |scene| outbound(scene, Outbound::Released)),
    ("QoS 2 out: PUBCOMP just sent", Needs::Connection, |scene| sent(scene, AckKind::PubComp)),
    ("both directions at QoS 2", Needs::Session, |scene| {
        let session = scene.session;
        session.outbound.values().any(|step| *step != Outbound::Published(1))
            && session.inbound.values().any(|step| *step != Inbound::Published(1))
    }),
    ("receive maximum reached", Needs::Connection, |scene| scene.window_is_full()),
    ("retained messages on their way", Needs::Connection, |scene| scene.replays()),
    ("a share's member holds a message", Needs::Session, |scene| {
        !scene.session.shares.is_empty() && !scene.session.outbound.is_empty()
    }),
    ("a message that expires in flight", Needs::Session, |scene| {
        scene.session.has_expiring && !scene.session.outbound.is_empty()
    }),
    ("topic aliases in use", Needs::Connection, |scene| scene.on(|link| link.uses_aliases)),
    ("a will in force", Needs::Connection, |scene| {
        scene.link.is_some() && scene.session.will_delay_s.is_some()
    }),
    ("a will with a delay in force", Needs::Connection, |scene| {
        scene.link.is_some() && scene.session.will_delay_s.is_some_and(|delay_s| delay_s > 0)
    }),
    ("a session without expiry", Needs::Connection, |scene| {
        scene.link.is_some() && scene.session.expiry_s == 0
    }),
    ("an older version, something in flight", Needs::Connection, |scene| {
        scene.on(|link| (3..5).contains(&link.level)) && !scene.session.outbound.is_empty()
    }),
    ("away: messages waiting", Needs::Absence, |scene| {
        scene.is_away() && scene.session.expiry_s > 0 && scene.session.missed > 0
    }),
    ("away: session expiry running", Needs::Absence, |scene| {
        scene.is_away() && (1..u32::MAX).contains(&scene.session.expiry_s)
    }),
    ("away: will delay running", Needs::Absence, |scene| {
        scene.is_away()
            && scene.session.will_waits
            && scene.session.will_delay_s.is_some_and(|delay_s| delay_s > 0)
    }),
];

fn inbound(scene: &Scene<'_>, step: Inbound) -> bool {
    scene.session.inbound.values().any(|found| *found == step)
}

fn outbound(scene: &Scene<'_>, step: Outbound) -> bool {
    scene.session.outbound.values().any(|found| *found == step)
}

fn sent(scene: &Scene<'_>, kind: AckKind) -> bool {
    scene.on(|link| link.last_sent == Some(kind))
}

/// The rows that hold.
pub(super) fn rows_of(scene: &Scene<'_>) -> impl Iterator<Item = usize> {
    TABLE.iter().enumerate().filter(|(_, (_, _, holds))| holds(scene)).map(|(row, _)| row)
}

/// Whether a field can be hit at all.
#[must_use]
pub fn is_possible(row: usize, column: usize) -> bool {
    let is_connecting = row == 0 || row == AHEAD && column != Column::Disconnect as usize;
    let of_the_broker = column >= Column::Kill as usize;
    // Nobody is connected when a broker crashes that has not accepted anybody.
    let crash_again = column == Column::CrashAgain as usize;
    // DISCONNECT comes after CONNACK, unless its client waits for nothing.
    let sent_away = column == Column::SentAway as usize;
    let disconnect = column == Column::Disconnect as usize || sent_away;
    // Older versions are not told why they are sent away.
    let is_older = row == OLDER_VERSION;
    match ROWS[row].1 {
        Needs::Connection => !(crash_again || is_connecting && disconnect || is_older && sent_away),
        Needs::Session => true,
        Needs::Absence => of_the_broker,
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD, COLUMNS, OLDER_VERSION, ROWS, is_possible};

    #[test]
    fn most_fields_can_be_hit() {
        assert!(ROWS[AHEAD].0.starts_with("CONNACK awaited"), "{AHEAD}");
        assert!(ROWS[OLDER_VERSION].0.starts_with("an older version"), "{OLDER_VERSION}");
        let fields = (0..ROWS.len()).flat_map(|row| (0..COLUMNS.len()).map(move |at| (row, at)));
        let possible = fields.filter(|(row, column)| is_possible(*row, *column)).count();
        assert!(possible > ROWS.len() * COLUMNS.len() * 3 / 4, "{possible}");
    }
}
