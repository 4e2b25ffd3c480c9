//! DU: what a client was told is still true after the broker was restarted. Session Present is
//! judged with SP, and what UNSUBACK tells of a subscription with SS.

use crate::history::{Event, Violation};
use crate::oracle::model::{Model, Seen};
use crate::oracle::owed::Owed;
use crate::oracle::q1::lost;
use crate::oracle::rule::{Rule, only};
use crate::oracle::ss::unsuback;

/// Judges DU.
pub(crate) struct Durable;

impl Rule for Durable {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        only("DU", unsuback(model, seen, event))
    }

    fn finish(&mut self, model: &Model, owed: &Owed) -> Vec<Violation> {
        let missing = owed.missing.iter().filter(|one| one.across_restart);
        missing.map(|one| lost("DU", model, one)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Durable;
    use crate::oracle::properties as property;
    use crate::oracle::ss::NO_SUBSCRIPTION;
    use crate::oracle::told::{Told, fails, number, passes, publish_of};
    use crate::packet::Publish;

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

    /// A message with this expiry is accepted, and a crash loses it.
    fn expiring(expiry_s: u32) -> Told {
        let mut told = two();
        let properties = vec![number(property::MESSAGE_EXPIRY, expiry_s)];
        told.publishes(1, Publish { properties, ..publish_of("t", "one", 2, 9) });
        told.crash().resume(3, "b").end();
        told
    }

    #[test]
    fn what_may_have_expired_may_be_lost_by_a_crash_and_nothing_else() {
        passes(Durable, &expiring(10));
        fails(Durable, &expiring(3_600), "DU");
    }

    #[test]
    fn a_subscription_lost_by_a_crash_is_wrong() {
        let mut told = two();
        told.crash().resume(3, "b").unsubscribe(3, "t", NO_SUBSCRIPTION);
        fails(Durable, &told, "DU");
    }
}
