//! SP: Session Present says whether a session lived. What follows from an expiry interval, or from an order that
//! ended the session, is SX, which has a file of its own, and what a restart made untrue is DU; they are told apart
//! here, because it is one bit.

use crate::history::{Event, Violation};
use crate::oracle::model::{Model, Presence, Seen};
use crate::oracle::rule::{Rule, only, violation};

/// Judges SP, and DU by Session Present.
pub(crate) struct SessionPresent;

impl Rule for SessionPresent {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let outcome = Self::present(model, seen);
        only("SP", outcome.clone())?;
        only("DU", outcome)
    }
}

impl SessionPresent {
    /// Whether Session Present is true: SP, SX or DU, if not.
    pub(super) fn present(model: &Model, seen: &Seen) -> Result<(), Violation> {
        let Seen::Admitted(presence) = seen else { return Ok(()) };
        let Some(connection) = model.connections.get(&presence.connection) else { return Ok(()) };
        let is_hostile = connection.misbehaved.is_some();
        let is_right = if presence.present { presence.may } else { !presence.must };
        if is_right || is_hostile || !presence.is_told {
            return Ok(());
        }
        let expected = if presence.present { "no session can be left" } else { "a session lives" };
        let what = format!(
            "client {:?} is told session present {}, although {expected}{}",
            connection.client_id,
            u8::from(presence.present),
            if presence.clean_start { ": it starts clean" } else { "" },
        );
        let events = presence.earlier.into_iter().chain([model.now.index]);
        let sent = connection.connect.as_ref().map(|(sent, _)| sent.index);
        Err(violation(code(presence), what, events.chain(sent)))
    }
}

fn code(presence: &Presence) -> &'static str {
    let is_lost = !presence.present;
    if is_lost && presence.across_restart {
        "DU"
    } else if (presence.by_expiry || presence.by_order) && !presence.clean_start {
        "SX"
    } else {
        "SP"
    }
}

#[cfg(test)]
mod tests {
    use super::SessionPresent;
    use crate::history::What;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, connect_of, fails, number, passes};
    use crate::packet::{Connect, Packet};
    use crate::plan::NetworkFault;

    #[test]
    fn an_unanswered_clean_start_leaves_both_possible() {
        for present in [false, true] {
            let mut told = Told::new();
            told.durable(1, "a").lose(1).asks_in(2, connect_of("a")).lose(2);
            told.returns(3, "a", present);
            passes(SessionPresent, &told);
        }
    }

    #[test]
    fn a_held_connection_may_be_open_for_long() {
        let mut told = Told::new();
        told.durable(1, "a").network(1, NetworkFault::Hold).lose(1).wait(2_000_000);
        told.returns(2, "a", true);
        passes(SessionPresent, &told);
    }

    #[test]
    fn a_disconnect_may_shorten_the_expiry() {
        let mut told = Told::new();
        let properties = vec![number(property::SESSION_EXPIRY, 5)];
        told.durable(1, "a").sent(1, Packet::Disconnect { reason: 0, properties }).lose(1);
        told.wait(10_000).returns(2, "a", false);
        passes(SessionPresent, &told);
    }

    #[test]
    fn what_was_sent_behind_connect_may_have_been_refused_and_not_connect() {
        for present in [false, true] {
            let mut told = Told::new();
            let properties = vec![number(property::SESSION_EXPIRY, 1000)];
            told.asks_in(1, Connect { properties, ..connect_of("a") });
            told.push(What::Misbehaved { connection: 1, must_end: false });
            told.got(
                1,
                Packet::ConnAck { session_present: false, reason: 0x81, properties: vec![] },
            );
            told.closed(1).returns(2, "a", present);
            passes(SessionPresent, &told);
        }
    }

    #[test]
    fn a_session_of_a_client_that_was_refused_is_wrong() {
        let mut told = Told::new();
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        told.asks_in(1, Connect { properties, ..connect_of("a") });
        told.got(1, Packet::ConnAck { session_present: false, reason: 0x87, properties: vec![] });
        told.closed(1).returns(2, "a", true);
        fails(SessionPresent, &told, "SP");
    }

    #[test]
    fn a_lost_session_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").returns(2, "a", false);
        fails(SessionPresent, &told, "SP");
    }

    #[test]
    fn a_session_from_nowhere_is_wrong() {
        let mut told = Told::new();
        told.returns(1, "a", true);
        fails(SessionPresent, &told, "SP");
    }

    #[test]
    fn a_session_after_a_clean_start_is_wrong() {
        let mut told = Told::new();
        let connect = Connect { clean_start: true, ..connect_of("a") };
        told.durable(1, "a").lose(1).enters(2, connect, true);
        fails(SessionPresent, &told, "SP");
    }

    #[test]
    fn a_session_that_should_have_ended_with_its_connection_is_wrong() {
        let mut told = Told::new();
        told.connect(1, "a").lose(1).wait(1000).returns(2, "a", true);
        fails(SessionPresent, &told, "SP");
    }

    #[test]
    fn a_session_lost_by_a_crash_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").crash().returns(2, "a", false);
        fails(SessionPresent, &told, "DU");
    }
}
