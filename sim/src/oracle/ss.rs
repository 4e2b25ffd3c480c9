//! SS: a resumed session has the subscriptions it had, and nothing of an earlier one. UNSUBACK tells of it,
//! and what arrives. What a restart made untrue is DU.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Answered, Model, Request, Seen};
use crate::oracle::ns::NothingSpurious;
use crate::oracle::rule::{Rule, only, violation};
use crate::packet::Packet;

/// UNSUBACK: there was no such subscription.
pub(super) const NO_SUBSCRIPTION: u8 = 0x11;

/// Judges SS.
pub(crate) struct SessionState;

impl Rule for SessionState {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        only("SS", NothingSpurious::arrival(model, seen))?;
        only("SS", unsuback(model, seen, event))
    }
}

/// Whether UNSUBACK tells truly which subscriptions were there: SS or DU, if not.
pub(super) fn unsuback(model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
    let Seen::Answered(Answered { moment, request: Request::Unsubscribe(filters) }) = seen else {
        return Ok(());
    };
    let What::Received { connection, packet: Packet::UnsubAck { reasons, .. }, .. } = &event.what
    else {
        return Ok(());
    };
    let Some(session) = model.session_of(*connection) else { return Ok(()) };
    for (place, (filter, reason)) in filters.iter().zip(reasons).enumerate() {
        // Named once more, it is gone already.
        if filters[..place].contains(filter) {
            continue;
        }
        let versions = session.subscriptions.get(filter).map_or(&[][..], Vec::as_slice);
        let mut there = versions.iter().filter(|found| {
            found.is_certain
                && !found.refused
                && found.granted.is_some_and(|granted| granted.index < moment.index)
                && found.end_requested == Some(*moment)
        });
        let known = there.next().and_then(|found| found.granted);
        let is_none_possible = versions.iter().all(|found| {
            found.refused || found.ended.is_some_and(|ended| ended.index < moment.index)
        });
        let wrong = match (*reason, known) {
            (NO_SUBSCRIPTION, Some(_)) => "was not there, though it was granted",
            (0, None) if is_none_possible => "was there, though nobody asked for it",
            (_, _) => continue,
        };
        if session.hostile.is_some() {
            return Ok(());
        }
        let from = known.map_or(0, |known| known.index);
        let is_lost = known.is_some() && model.has_outage(from, model.now.index);
        let code = if is_lost { "DU" } else { "SS" };
        let what = format!("{:?} is told that {filter:?} {wrong}", session.client_id);
        let events = known.map(|known| known.index).into_iter();
        return Err(violation(code, what, events.chain([moment.index, model.now.index])));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{NO_SUBSCRIPTION, SessionState};
    use crate::oracle::told::{Told, fails, passes};

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 2);
        told
    }

    #[test]
    fn a_resumed_session_has_what_it_had() {
        let mut told = two();
        told.lose(2).publish(1, "t", "one", 1).resume(3, "b").read(3, "t", "one", 1);
        told.unsubscribe(3, "t", 0).unsubscribe(3, "t", NO_SUBSCRIPTION);
        passes(SessionState, &told);
    }

    #[test]
    fn a_clean_start_has_none_of_it() {
        let mut told = two();
        told.lose(2).durable(3, "b").unsubscribe(3, "t", NO_SUBSCRIPTION);
        passes(SessionState, &told);
    }

    #[test]
    fn a_subscription_lost_by_a_reconnect_is_wrong() {
        let mut told = two();
        told.lose(2).resume(3, "b").unsubscribe(3, "t", NO_SUBSCRIPTION);
        fails(SessionState, &told, "SS");
    }

    #[test]
    fn a_subscription_left_over_by_a_clean_start_is_wrong() {
        let mut told = two();
        told.lose(2).durable(3, "b").unsubscribe(3, "t", 0);
        fails(SessionState, &told, "SS");
    }

    #[test]
    fn a_clean_start_has_nothing_of_the_old_session() {
        let mut told = two();
        told.subscribe(2, "t", 1).lose(2).publish(1, "t", "one", 1).durable(3, "b");
        told.read(3, "t", "one", 1);
        fails(SessionState, &told, "SS");
    }
}
