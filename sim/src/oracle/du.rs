//! DU: what a client was told is still true after the broker was restarted. Session Present is
//! judged with SP. SS by UNSUBACK is here too: it tells whether a subscription was there.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Answered, Model, Request, Seen};
use crate::oracle::owed::Owed;
use crate::oracle::q1::lost;
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;

/// UNSUBACK: there was no such subscription.
const NO_SUBSCRIPTION: u8 = 0x11;

/// Judges DU, and SS by UNSUBACK.
pub(crate) struct Durable;

impl Rule for Durable {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        let Seen::Answered(Answered { moment, request: Request::Unsubscribe(filters) }) = seen
        else {
            return Ok(());
        };
        let What::Received { connection, packet: Packet::UnsubAck { reasons, .. }, .. } =
            &event.what
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

    fn finish(&mut self, model: &Model, owed: &Owed) -> Vec<Violation> {
        let missing = owed.missing.iter().filter(|one| one.across_restart);
        missing.map(|one| lost("DU", model, one)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Durable, NO_SUBSCRIPTION};
    use crate::oracle::told::{Told, fails, passes};

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 2);
        told
    }

    #[test]
    fn what_was_said_before_a_crash_is_true_after_it() {
        let mut told = two();
        told.publish(1, "t", "one", 2).crash().resume(3, "b").read(3, "t", "one", 2);
        told.unsubscribe(3, "t", 0).unsubscribe(3, "t", NO_SUBSCRIPTION).end();
        passes(Durable, &told);
    }

    #[test]
    fn an_accepted_message_lost_by_a_crash_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 2).crash().resume(3, "b").end();
        fails(Durable, &told, "DU");
    }

    #[test]
    fn a_subscription_lost_by_a_crash_is_wrong() {
        let mut told = two();
        told.crash().resume(3, "b").unsubscribe(3, "t", NO_SUBSCRIPTION);
        fails(Durable, &told, "DU");
    }

    #[test]
    fn a_subscription_lost_by_a_reconnect_is_wrong() {
        let mut told = two();
        told.lose(2).resume(3, "b").unsubscribe(3, "t", NO_SUBSCRIPTION);
        fails(Durable, &told, "SS");
    }

    #[test]
    fn a_subscription_left_over_by_a_clean_start_is_wrong() {
        let mut told = two();
        told.lose(2).durable(3, "b").unsubscribe(3, "t", 0);
        fails(Durable, &told, "SS");
    }
}
