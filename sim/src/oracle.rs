//! The oracle: judges a history by the guarantees, and by nothing else.
//!
//! It shares no code with the broker. A `model` keeps what the clients know; each guarantee has
//! its rule in a file of its own, beside hand-written histories that the rule must pass and must
//! fail. Where the clients cannot know what happened, the rules allow everything that can have.

mod model;
mod owed;
mod permit;
mod properties;
mod rule;
#[cfg(test)]
mod told;
mod topic;
mod wl;

mod again;
mod ah;
mod al;
mod au;
mod away;
mod bm;
mod broken;
mod ci;
mod drops;
mod du;
mod fc;
mod fr;
mod identity;
mod ka;
mod lv;
mod mx;
mod naming;
mod ns;
mod once;
mod or;
mod orders;
mod pi;
mod pr;
mod q0;
mod q1;
mod q2;
mod quotas;
mod rates;
mod rc;
mod rt;
mod rx;
mod sh;
mod so;
mod sp;
mod ss;
mod sx;
mod sz;

pub use model::Bounds;
pub use owed::Verdicts;

use crate::history::{Event, Violation};
use model::Model;
use owed::Owed;
use rule::Rule;

/// Judges a history, event by event.
pub struct Oracle {
    model: Model,
    rules: Vec<Box<dyn Rule>>,
    next: usize,
    verdicts: Verdicts,
    has_waived: bool,
}

impl Default for Oracle {
    fn default() -> Self {
        Self::new()
    }
}

impl Oracle {
    /// An oracle with every rule.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bounds(Bounds::default())
    }

    /// An oracle with every rule, for a network and a broker with these bounds.
    #[must_use]
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self::with_rules(bounds, all_rules())
    }

    fn with_rules(bounds: Bounds, rules: Vec<Box<dyn Rule>>) -> Self {
        Oracle {
            model: Model::new(bounds),
            rules,
            next: 0,
            verdicts: Verdicts::default(),
            has_waived: false,
        }
    }

    /// Takes the next event, and tells what is wrong as soon as that is certain.
    pub fn event(&mut self, event: &Event) -> Option<Violation> {
        let seen = self.model.event(self.next, event);
        self.next += 1;
        self.rules.iter_mut().find_map(|rule| rule.look(&self.model, &seen, event).err())
    }

    /// Some of what was acknowledged is gone, as the level of durability allows. From here on only those rules count
    /// that no loss excuses: nobody outside knows what of the rest is still so.
    pub fn waive(&mut self) {
        self.has_waived = true;
        self.rules.retain_mut(|rule| rule.waive());
    }

    /// Judges what can only be judged when all is over. A history without [`What::End`] is one
    /// that was cut off: nothing has to have happened in it.
    ///
    /// [`What::End`]: crate::history::What::End
    pub fn finish(&mut self) -> Vec<Violation> {
        let owed = Owed::of(&self.model);
        self.verdicts = if self.has_waived { Verdicts::default() } else { owed.verdicts };
        self.rules.iter_mut().flat_map(|rule| rule.finish(&self.model, &owed)).collect()
    }

    /// How many publications at QoS 1 and 2 had to arrive, might, or must not, as far as
    /// [`Oracle::finish`] found.
    #[must_use]
    pub fn verdicts(&self) -> Verdicts {
        self.verdicts
    }
}

/// Judges a whole history.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(history: &[Event]) -> Result<Verdicts, Violation> {
    check_within(Bounds::default(), history)
}

/// Judges a whole history, for a network and a broker with these bounds.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_within(bounds: Bounds, history: &[Event]) -> Result<Verdicts, Violation> {
    let mut oracle = Oracle::with_bounds(bounds);
    for event in history {
        if let Some(violation) = oracle.event(event) {
            return Err(violation);
        }
    }
    match oracle.finish().into_iter().next() {
        Some(violation) => Err(violation),
        None => Ok(oracle.verdicts()),
    }
}

fn all_rules() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(pr::Protocol::default()),
        Box::new(broken::Broken),
        Box::new(naming::Naming),
        Box::new(ah::HonestAnswers),
        Box::new(drops::TrueDrops::default()),
        Box::new(sz::Size),
        Box::new(al::Aliases::default()),
        Box::new(ka::KeepAlive::default()),
        Box::new(fc::Credit::default()),
        Box::new(pi::Identifiers),
        Box::new(sp::SessionPresent),
        Box::new(sx::SessionExpiry),
        Box::new(ss::SessionState),
        Box::new(so::OneConnection),
        Box::new(ns::NothingSpurious),
        Box::new(rt::Retained::default()),
        Box::new(wl::Wills),
        Box::new(sh::Shared),
        Box::new(q2::ExactlyOnce),
        Box::new(q1::AtLeastOnce),
        Box::new(again::Again),
        Box::new(q0::AtMostOnce),
        Box::new(rx::Repetition),
        Box::new(or::Order::default()),
        Box::new(mx::Expiry::default()),
        Box::new(ci::Content::default()),
        Box::new(du::Durable),
        Box::new(rc::Recovery),
        Box::new(lv::Liveness),
        Box::new(fr::Fairness::default()),
        Box::new(au::Permitted),
        Box::new(bm::Memory::default()),
        Box::new(once::OnlyOnce::default()),
        Box::new(identity::Identity),
        Box::new(quotas::Quotas::default()),
        Box::new(rates::Rates::default()),
        Box::new(away::SentAway),
        Box::new(orders::Orders),
    ]
}

#[cfg(test)]
mod tests {
    use super::told::Told;
    use super::{Oracle, check};

    /// What is wrong with the rest of a history once something acknowledged is lost.
    fn behind_a_loss(crash: usize, told: &Told) -> Option<&'static str> {
        let mut oracle = Oracle::new();
        for (index, event) in told.events.iter().enumerate() {
            if index == crash {
                oracle.waive();
            }
            if let Some(violation) = oracle.event(event) {
                return Some(violation.guarantee);
            }
        }
        oracle.finish().first().map(|violation| violation.guarantee)
    }

    #[test]
    fn behind_a_loss_that_is_allowed_much_is_excused_and_not_all() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1);
        told.publish(1, "t", "lost", 1).crash().resume(3, "b").resume(4, "a");
        let crash = told.events.len();
        let mut lost = told.clone();
        assert_eq!(behind_a_loss(crash, lost.end()), None);
        assert_eq!(behind_a_loss(usize::MAX, &lost), Some("DU"), "at `strict`");
        let mut swapped = told.clone();
        swapped.publish(4, "t", "one", 1).publish(4, "t", "two", 1);
        swapped.read(3, "t", "two", 1).read(3, "t", "one", 1).end();
        assert_eq!(behind_a_loss(crash, &swapped), Some("OR"));
        let mut torn = told;
        torn.publish(4, "t", "whole", 1).read(3, "u", "whole", 1).end();
        assert_eq!(behind_a_loss(crash, &torn), Some("CI"));
    }

    #[test]
    fn a_long_history_is_judged_by_every_rule() {
        let mut told = Told::new();
        for client in 0..20_u64 {
            told.durable(client, &format!("c{client}"));
            for filter in ["t/#", "t/+", "u/1", "+/2"] {
                told.subscribe(client, filter, 1);
            }
        }
        let mut connections: Vec<u64> = (0..20).collect();
        for round in 0..300 {
            let topic = format!("t/{}", round % 10);
            let token = format!("m{round}");
            told.publish(connections[round % 20], &topic, &token, 1);
            for connection in &connections {
                told.read(*connection, &topic, &token, 1);
            }
            if round % 10 == 0 {
                let client = round % 20;
                told.lose(connections[client]);
                connections[client] = 100 + round as u64;
                told.resume(connections[client], &format!("c{client}"));
            }
        }
        told.end();
        let verdicts = check(&told.events).expect("nothing is wrong");
        assert!(told.events.len() > 12_000, "{}", told.events.len());
        assert_eq!(verdicts.must, 300 * 20, "{verdicts:?}");
    }
}
