//! AU, for who somebody is: a session belongs to the identity that created it, and who was let in by a
//! token stays until it ends, no longer and no shorter.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Connection, Model, Seen};
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;

/// The code that refuses a client identifier.
const NOT_VALID: u8 = 0x85;
/// The code that ends the stay of a client whose token has ended.
const TIME_IS_OVER: u8 = 0xa0;

/// Judges AU by identities and tokens.
pub(crate) struct Identity;

impl Rule for Identity {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        let What::Received { connection, packet, .. } = &event.what else { return Ok(()) };
        let Some(connection) = model.connections.get(connection) else { return Ok(()) };
        if connection.misbehaved.is_some() {
            return Ok(());
        }
        match (packet, seen) {
            (_, Seen::Admitted(presence)) if presence.is_of_another => {
                let what = format!(
                    "{:?} is let in as {:?}, whose session it is not",
                    connection.client_id,
                    connection.user_name().unwrap_or(""),
                );
                let events = presence.earlier.into_iter().chain([model.now.index]);
                Err(violation("AU", what, events))
            }
            (Packet::ConnAck { reason: NOT_VALID, .. }, _) => refused(model, connection),
            (Packet::Disconnect { reason: TIME_IS_OVER, .. }, _) => dismissed(model, connection),
            (_, Seen::Answered(answered)) => {
                outstayed(model, connection, answered.moment.at_ms, answered.moment.index)
            }
            (_, _) => Ok(()),
        }
    }
}

/// A client identifier may be refused only to a stranger.
fn refused(model: &Model, connection: &Connection) -> Result<(), Violation> {
    let is_anothers = |other: &Connection| other.user_name() != connection.user_name();
    if model.others(connection).any(is_anothers) {
        return Ok(());
    }
    let what = format!("{:?} is refused its own client identifier", connection.client_id);
    Err(violation("AU", what, [model.now.index]))
}

/// A token may be said to have ended only when it has.
fn dismissed(model: &Model, connection: &Connection) -> Result<(), Violation> {
    let sent = connection.connect.as_ref().map(|(sent, _)| *sent).unwrap_or_default();
    let earliest_ms = model.bounds.token_lifetime_ms.map(|ms| sent.at_ms + ms);
    if earliest_ms.is_some_and(|earliest_ms| earliest_ms <= model.now.at_ms) {
        return Ok(());
    }
    let what = format!("{:?} is sent away before its token ends", connection.client_id);
    Err(violation("AU", what, [sent.index, model.now.index]))
}

/// What is asked after a token's end must not be answered.
fn outstayed(
    model: &Model,
    connection: &Connection,
    asked_ms: u64,
    asked: usize,
) -> Result<(), Violation> {
    let Some(lifetime_ms) = model.bounds.token_lifetime_ms else { return Ok(()) };
    let Some(connack) = &connection.connack else { return Ok(()) };
    let is_lasting = model.calm.is_some_and(|calm| calm.at_ms <= connack.moment.at_ms);
    let ends_ms = connack.moment.at_ms + lifetime_ms + model.bounds.slack_ms;
    if is_lasting || asked_ms <= ends_ms {
        return Ok(());
    }
    let what = format!("{:?} is served after its token has ended", connection.client_id);
    Err(violation("AU", what, [connack.moment.index, asked, model.now.index]))
}

#[cfg(test)]
mod tests {
    use super::{Identity, NOT_VALID, TIME_IS_OVER};
    use crate::history::Beside;
    use crate::oracle::model::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, number, passes, passes_within,
    };
    use crate::packet::{Connect, Packet};

    fn as_user(user: &str) -> Connect {
        Connect {
            user_name: Some(user.to_owned()),
            clean_start: false,
            properties: vec![number(property::SESSION_EXPIRY, 1000)],
            ..connect_of("a")
        }
    }

    fn refuses(told: &mut Told, on: u64) {
        let packet =
            Packet::ConnAck { session_present: false, reason: NOT_VALID, properties: Vec::new() };
        told.got(on, packet).closed(on);
    }

    fn tokens() -> Bounds {
        let token_lifetime_ms = Some(1_000);
        Bounds { latency_ms: 100, slack_ms: 500, token_lifetime_ms, ..Bounds::default() }
    }

    #[test]
    fn a_stranger_is_refused_and_takes_nothing_over() {
        let mut told = Told::new();
        told.enters(1, as_user("one"), false).asks_in(2, as_user("other"));
        refuses(&mut told, 2);
        told.ping(1).lose(1).asks_in(3, as_user("other"));
        refuses(&mut told, 3);
        told.enters(4, as_user("one"), true).end();
        passes(Identity, &told);
    }

    #[test]
    fn a_session_that_is_over_is_nobodys() {
        let mut told = Told::new();
        told.enters(1, as_user("one"), false).lose(1).wait(1_001_000);
        told.enters(2, as_user("other"), false).end();
        passes(Identity, &told);
    }

    #[test]
    fn taking_over_or_resuming_anothers_session_is_wrong() {
        let mut told = Told::new();
        told.enters(1, as_user("one"), false).enters(2, as_user("other"), true);
        fails(Identity, &told, "AU");
        let mut told = Told::new();
        told.enters(1, as_user("one"), false).lose(1).enters(2, as_user("other"), true);
        fails(Identity, &told, "AU");
    }

    #[test]
    fn refusing_a_client_its_own_session_is_wrong() {
        let mut told = Told::new();
        told.enters(1, as_user("one"), false).lose(1).asks_in(2, as_user("one"));
        refuses(&mut told, 2);
        fails(Identity, &told, "AU");
    }

    #[test]
    fn a_token_ends_a_connection_when_it_ends() {
        let mut told = Told::new();
        told.enters(1, as_user("one"), false).ping(1).wait(1_000).dismissed(1, TIME_IS_OVER);
        told.enters(2, as_user("one"), true).wait(1_000).dismissed(2, TIME_IS_OVER);
        passes_within(tokens(), Identity, &told);
    }

    #[test]
    fn ending_a_token_early_or_never_is_wrong() {
        let mut told = Told::new();
        told.enters(1, as_user("one"), false).wait(900).dismissed(1, TIME_IS_OVER);
        fails_within(tokens(), Identity, &told, "AU");
        let mut told = Told::new();
        told.enters(1, as_user("one"), false).wait(2_000).ping(1);
        fails_within(tokens(), Identity, &told, "AU");
    }

    #[test]
    fn who_proved_somebody_else_than_its_user_name_says_is_that_one() {
        let second = |name: &str| {
            let mut told = Told::new();
            let identified = |connection, name: &str| {
                let identity = Some(name.to_owned());
                Beside::Identified { connection, identity }
            };
            told.asks_in(1, as_user("same")).beside(identified(1, "one")).let_in(1, false).lose(1);
            told.asks_in(2, as_user("same")).beside(identified(2, name));
            told
        };
        let mut refused = second("other");
        refuses(&mut refused, 2);
        passes(Identity, &refused);
        fails(Identity, second("other").let_in(2, true), "AU");
        passes(Identity, second("one").let_in(2, true));
    }
}
