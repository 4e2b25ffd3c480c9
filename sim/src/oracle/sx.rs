//! SX: a session ends when its expiry interval has passed since its connection ended, and not before. Session
//! Present tells of it.

use crate::history::{Event, Violation};
use crate::oracle::model::{Model, Seen};
use crate::oracle::rule::{Rule, only};
use crate::oracle::sp::SessionPresent;

/// Judges SX.
pub(crate) struct SessionExpiry;

impl Rule for SessionExpiry {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        only("SX", SessionPresent::present(model, seen))
    }
}

#[cfg(test)]
mod tests {
    use super::SessionExpiry;
    use crate::history::{Beside, Kept, What};
    use crate::oracle::check;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, fails, number, passes};
    use crate::packet::Packet;
    use crate::plan::BrokerFault;

    #[test]
    fn a_session_is_there_until_its_expiry() {
        let mut told = Told::new();
        told.returns(1, "a", false).lose(1).wait(990_000).returns(2, "a", true).lose(2);
        told.wait(1_001_000).returns(3, "a", false);
        passes(SessionExpiry, &told);
    }

    #[test]
    fn around_the_expiry_both_are_right() {
        for present in [false, true] {
            let mut told = Told::new();
            told.returns(1, "a", false).lose(1).wait(999_960).returns(2, "a", present);
            passes(SessionExpiry, &told);
        }
    }

    /// Goes with another expiry interval than the thousand seconds it came with, and comes back after `wait_ms`.
    fn changes(expiry_s: u32, crashes: bool, wait_ms: u64, present: bool) -> Told {
        let mut told = Told::new();
        let properties = vec![number(property::SESSION_EXPIRY, expiry_s)];
        told.durable(1, "a").sent(1, Packet::Disconnect { reason: 0, properties }).lose(1);
        if crashes {
            // What is answered afterwards is on the disk, and so is what came before.
            told.wait(1_000).durable(3, "b").crash();
        }
        told.wait(wait_ms).returns(2, "a", present);
        told
    }

    #[test]
    fn disconnect_changes_the_expiry() {
        for crashes in [false, true] {
            passes(SessionExpiry, &changes(60, crashes, 50_000, true));
            passes(SessionExpiry, &changes(60, crashes, 70_000, false));
            passes(SessionExpiry, &changes(5_000, crashes, 4_000_000, true));
        }
    }

    #[test]
    fn an_expiry_that_disconnect_did_not_change_is_wrong() {
        for crashes in [false, true] {
            fails(SessionExpiry, &changes(60, crashes, 70_000, true), "SX");
        }
        fails(SessionExpiry, &changes(5_000, false, 4_000_000, false), "SX");
    }

    #[test]
    fn a_session_that_ends_too_early_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").lose(1).wait(500_000).returns(2, "a", false);
        fails(SessionExpiry, &told, "SX");
    }

    #[test]
    fn a_session_that_outlives_its_expiry_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").lose(1).wait(1_001_000).returns(2, "a", true);
        fails(SessionExpiry, &told, "SX");
    }

    #[test]
    fn the_wall_clock_counts_at_a_start_and_the_journal_if_that_is_later() {
        let away = |by_ms, wait_ms, present| {
            let mut told = Told::new();
            told.durable(1, "a").lose(1).wait(500_000).wall_clock(by_ms).crash();
            told.wait(wait_ms).returns(2, "a", present);
            told
        };
        passes(SessionExpiry, &away(0, 400_000, true));
        passes(SessionExpiry, &away(3_600_000, 10_000, false));
        // Away for 500 s of which a broker that is set back knows nothing.
        passes(SessionExpiry, &away(-3_600_000, 900_000, true));
        fails(SessionExpiry, &away(-3_600_000, 1_510_000, true), "SX");
        assert!(crate::oracle::check(&away(-3_600_000, 400_000, false).events).is_err());
        // That it had ended by then must be in the journal.
        let mut told = Told::new();
        told.durable(1, "a").lose(1).wait(1_000).durable(2, "b").wall_clock(3_600_000).crash();
        fails(SessionExpiry, told.wait(1_000).returns(3, "a", true), "SX");
    }

    #[test]
    fn a_process_by_whose_clock_a_session_is_over_must_have_said_so_on_the_disk() {
        let set_back = |says_so: bool| {
            let mut told = Told::new();
            told.durable(1, "a").lose(1).wait(1_000).durable(2, "b").wall_clock(3_600_000).crash();
            if says_so {
                told.wait(1_000).durable(4, "d");
            }
            told.wall_clock(-7_200_000).crash().wait(1_000);
            told
        };
        for present in [false, true] {
            passes(SessionExpiry, set_back(false).returns(3, "a", present));
        }
        passes(SessionExpiry, set_back(true).returns(3, "a", false));
        fails(SessionExpiry, set_back(true).returns(3, "a", true), "SX");
    }

    #[test]
    fn a_wall_clock_that_is_set_while_a_broker_starts_may_count() {
        let away = |is_up: bool, present: bool| {
            let mut told = Told::new();
            told.durable(1, "a").lose(1).wait(1_000).crash();
            if is_up {
                told.durable(2, "b");
            }
            told.wall_clock(3_600_000).wait(1_000).returns(3, "a", present);
            told
        };
        passes(SessionExpiry, &away(false, true));
        passes(SessionExpiry, &away(false, false));
        passes(SessionExpiry, &away(true, true));
        assert!(crate::oracle::check(&away(true, false).events).is_err());
    }

    #[test]
    fn the_wall_clock_of_a_broker_that_runs_does_not_count() {
        for by_ms in [3_600_000, -3_600_000] {
            let away = |wait_ms, present| {
                let mut told = Told::new();
                told.durable(1, "a").lose(1).wall_clock(by_ms).wait(wait_ms);
                told.returns(2, "a", present);
                told
            };
            passes(SessionExpiry, &away(900_000, true));
            fails(SessionExpiry, &away(900_000, false), "SX");
            fails(SessionExpiry, &away(1_010_000, true), "SX");
        }
    }

    #[test]
    fn a_session_that_expired_while_the_broker_was_down_is_gone() {
        let mut told = Told::new();
        told.durable(1, "a").lose(1).durable(2, "b");
        told.wait(1000).durable(3, "c").push(What::Broker(BrokerFault::Stop)).closed(2).closed(3);
        told.wait(2_000_000).push(What::Broker(BrokerFault::Start)).wait(1000);
        told.returns(4, "a", true);
        fails(SessionExpiry, &told, "SX");
    }

    fn ended_by_order(client_id: &str) -> What {
        What::Beside(Beside::SessionEnded { client_id: client_id.to_owned() })
    }

    #[test]
    fn a_session_that_was_ended_by_order_is_gone() {
        let away = |ends: &str, present| {
            let mut told = Told::new();
            told.durable(1, "a").durable(2, "b").lose(1).push(ended_by_order(ends));
            told.returns(3, "a", present);
            told
        };
        passes(SessionExpiry, &away("a", false));
        passes(SessionExpiry, &away("b", true));
        fails(SessionExpiry, &away("a", true), "SX");
        fails(SessionExpiry, &away("b", false), "SX");
        let mut taken = Told::new();
        taken.durable(1, "a").push(ended_by_order("a")).dismissed(1, 0x98).returns(2, "a", false);
        passes(SessionExpiry, &taken);
    }

    #[test]
    fn a_crash_may_undo_an_order_that_is_not_on_the_disk() {
        for present in [false, true] {
            let mut told = Told::new();
            told.durable(1, "a").lose(1).push(ended_by_order("a")).crash();
            told.returns(2, "a", present);
            passes(SessionExpiry, &told);
        }
        let mut told = Told::new();
        told.durable(1, "a").lose(1).push(ended_by_order("a")).durable(2, "b").crash();
        fails(SessionExpiry, told.returns(3, "a", true), "SX");
    }

    #[test]
    fn a_stop_that_is_cut_off_may_undo_an_order_as_well_and_one_that_ends_may_not() {
        let stopped = |is_cut_off: bool, present| {
            let mut told = Told::new();
            told.durable(1, "a").lose(1).push(ended_by_order("a"));
            told.push(What::Broker(BrokerFault::Stop)).wait(1);
            if is_cut_off {
                told.push(What::Broker(BrokerFault::Kill));
            }
            told.push(What::Broker(BrokerFault::Start)).wait(1_000).returns(2, "a", present);
            told
        };
        passes(SessionExpiry, &stopped(true, false));
        passes(SessionExpiry, &stopped(true, true));
        passes(SessionExpiry, &stopped(false, false));
        fails(SessionExpiry, &stopped(false, true), "SX");
    }

    #[test]
    fn what_a_start_does_counts_from_when_it_had_read_its_store() {
        let started = |is_slow: bool| {
            let mut told = Told::new();
            told.durable(1, "a").push(What::Broker(BrokerFault::Kill)).closed(1);
            told.push(What::Broker(BrokerFault::Start));
            if !is_slow {
                told.push(What::Kept(Kept::default()));
            }
            told.wait(500_000)
                .push(What::Kept(Kept::default()))
                .wait(900_000)
                .returns(2, "a", true);
            told
        };
        passes(SessionExpiry, &started(true));
        fails(SessionExpiry, &started(false), "SX");
    }

    #[test]
    fn a_jump_of_the_clock_ends_no_session_until_the_time_is_confirmed() {
        let day_ms = 24 * 60 * 60 * 1000;
        let jumped = |by_ms| {
            let mut told = Told::new();
            told.durable(1, "a").lose(1).wait(by_ms).beside(Beside::ClockStepped { by_ms });
            told
        };
        passes(SessionExpiry, jumped(2 * day_ms).returns(2, "a", true));
        assert!(check(&jumped(2 * day_ms).returns(2, "a", false).events).is_err());
        fails(SessionExpiry, jumped(day_ms).returns(2, "a", true), "SX");
        // Nor does anything that comes after the jump.
        let mut later = jumped(2 * day_ms);
        later.returns(2, "a", true).lose(2).wait(1_001_000);
        passes(SessionExpiry, later.returns(3, "a", true));
        let confirmed = |present| {
            let mut told = jumped(2 * day_ms);
            told.beside(Beside::TimeConfirmed).wait(1000).returns(2, "a", present);
            told
        };
        passes(SessionExpiry, &confirmed(false));
        fails(SessionExpiry, &confirmed(true), "SX");
    }
}
