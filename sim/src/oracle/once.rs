//! AH, for requests under a key: what is asked for again is answered as the first time and not carried out
//! twice, and nothing else is taken for a repetition. Where a crash made the broker forget, it is DU.

use crate::history::{Beside, ConnectionNumber, Event, Once, Violation, What};
use crate::oracle::model::{Model, Moment, PublicationId, Request, Seen};
use crate::oracle::rule::{Rule, violation};

/// Another message was published under the key.
const IN_USE: u8 = 0x91;

/// Judges AH by the keys of requests.
#[derive(Debug, Default)]
pub(crate) struct OnlyOnce {
    /// Every request under a key, in their order.
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    once: Once,
    connection: ConnectionNumber,
    at: Moment,
    /// Whether it was answered as an earlier one.
    is_repeated: bool,
    /// What it was answered, and the message, where it was carried out.
    carried_out: Option<(u8, PublicationId, Moment)>,
}

/// An answer to a request.
#[derive(Clone, Copy)]
struct Answer {
    connection: ConnectionNumber,
    publication: PublicationId,
    asked: Moment,
    reason: u8,
}

impl Rule for OnlyOnce {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        let What::Beside(beside) = &event.what else { return Ok(()) };
        if let Beside::Requested { connection, once: Some(once) } = beside {
            let (connection, once) = (*connection, once.clone());
            self.asked.push(Asked {
                once,
                connection,
                at: model.now,
                is_repeated: false,
                carried_out: None,
            });
        }
        let (Beside::Answered { connection, reason, is_repeated }, Seen::Answered(answered)) =
            (beside, seen)
        else {
            return Ok(());
        };
        let Request::Publish(publication, _) = answered.request else { return Ok(()) };
        let (connection, reason, asked) = (*connection, *reason, answered.moment);
        let answer = Answer { connection, publication, asked, reason };
        let wrong = match is_repeated {
            true => {
                let wrong = self.repeated(model, answer);
                let asked = self.asked.iter_mut().find(|one| one.connection == answer.connection);
                asked.into_iter().for_each(|one| one.is_repeated = true);
                wrong
            }
            false => self.carried_out(model, answer),
        };
        let Some((code, wrong, earlier)) = wrong else { return Ok(()) };
        let name = model.publications[publication].name();
        let what = format!("the request to publish {name} is answered {reason:#04x} {wrong}");
        let events = [asked.index, model.now.index];
        Err(violation(code, what, events.into_iter().chain(earlier.map(|at| at.index))))
    }
}

type Wrong = (&'static str, &'static str, Option<Moment>);

impl OnlyOnce {
    /// The answer says that it is that of an earlier request.
    fn repeated(&self, model: &Model, answer: Answer) -> Option<Wrong> {
        let Some(place) = self.asked.iter().position(|one| one.connection == answer.connection)
        else {
            return Some(("AH", "as a repetition, and has no key", None));
        };
        let once = &self.asked[place].once;
        let earlier = |one: &&Asked| one.once == *once && !one.is_repeated;
        let Some(last) = self.asked[..place].iter().rev().find(earlier) else {
            return Some(("AH", "as a repetition, and is the first under its key", None));
        };
        if is_forgotten(model, last.at, answer.asked) {
            return Some(("AH", "as a repetition, although its key is forgotten", Some(last.at)));
        }
        let publication = &model.publications[answer.publication];
        let is_of_last = publication.sends.iter().any(|send| send.connection == last.connection);
        let known = self.asked[..place].iter().rev().filter(earlier);
        let known = known.filter_map(|one| one.carried_out).next();
        let wrong = match (answer.reason, known) {
            (IN_USE, Some((_, first, _))) if first == answer.publication => {
                "as if another message had its key"
            }
            (IN_USE, Some(_)) => return None,
            (IN_USE, None) if is_of_last => "as if another message had its key",
            (IN_USE, None) => return None,
            (_, Some((_, first, _))) if first != answer.publication => {
                "as a repetition of another message"
            }
            (reason, Some((first, _, _))) if reason != first => {
                "as a repetition, and not as the first time"
            }
            (_, _) if has_another_copy(model, answer.publication) => {
                "as a repetition, and reached somebody once more"
            }
            (_, _) => return None,
        };
        Some(("AH", wrong, known.map(|(_, _, at)| at)))
    }

    /// The answer says that it is the first under its key, if it has one.
    fn carried_out(&mut self, model: &Model, answer: Answer) -> Option<Wrong> {
        if answer.reason == IN_USE {
            return Some(("AH", "and not as a repetition", None));
        }
        let place = self.asked.iter().position(|one| one.connection == answer.connection)?;
        if answer.reason >= 0x80 {
            return None;
        }
        let once = &self.asked[place].once;
        let is_earlier = |one: &&Asked| one.once == *once && one.carried_out.is_some();
        let number = self.asked[..place].iter().rposition(|one| is_earlier(&one));
        let earlier = number.and_then(|number| Some((number, self.asked[number].carried_out?)));
        let key_ms = model.bounds.request_key_ms;
        let wrong = earlier.and_then(|(number, (_, first, at))| {
            let is_young = answer.asked.at_ms - at.at_ms < key_ms;
            let has_room = place - number <= model.bounds.request_keys;
            let across_restart = model.has_outage(at.index, answer.asked.index);
            // What is published there is not recorded.
            let is_forgotten =
                across_restart && model.publications[first].topic.starts_with("$SYS/");
            let code = if across_restart { "DU" } else { "AH" };
            let what = "as the first under its key, and is not";
            (is_young && has_room && !is_forgotten).then_some((code, what, Some(at)))
        });
        self.asked[place].carried_out = Some((answer.reason, answer.publication, answer.asked));
        wrong
    }
}

/// Whether the key of a request that came at `earlier` is surely forgotten at `later`, if none came between.
fn is_forgotten(model: &Model, earlier: Moment, later: Moment) -> bool {
    let slack_ms = if model.is_exact() { 0 } else { model.bounds.slack_ms };
    let key_ms = model.bounds.request_key_ms.saturating_add(slack_ms);
    later.at_ms - earlier.at_ms >= key_ms.saturating_add(model.bounds.latency_ms)
}

/// Whether a session has more copies of a message than were to be made of it.
fn has_another_copy(model: &Model, id: PublicationId) -> bool {
    model.sessions.iter().enumerate().any(|(number, session)| {
        let most = session.copies(&model.publications[id]).max(1);
        let is_shared =
            session.possible(&model.publications[id]).any(|found| found.share.is_some());
        !is_shared && session.hostile.is_none() && model.fresh(number, id).count() > most
    })
}

#[cfg(test)]
mod tests {
    use super::{IN_USE, OnlyOnce};
    use crate::oracle::model::Bounds;
    use crate::oracle::told::{Told, fails, fails_within, passes, passes_within};

    fn told() -> Told {
        let mut told = Told::new();
        told.durable(1, "b").subscribe(1, "t", 1);
        told.request(10, "k", "t", "one").read(1, "t", "one", 1).answered(10, 0, false);
        told
    }

    #[test]
    fn a_repetition_is_answered_and_not_carried_out() {
        let mut told = told();
        told.request(11, "k", "t", "one").answered(11, 0, true);
        told.request(12, "k", "t", "two").answered(12, IN_USE, true);
        told.request(13, "other", "t", "two").read(1, "t", "two", 1).answered(13, 0, false);
        passes(OnlyOnce::default(), &told);
    }

    #[test]
    fn what_was_not_answered_may_be_forgotten_by_a_crash_or_not() {
        for is_repeated in [false, true] {
            let mut told = Told::new();
            told.durable(1, "b").request(10, "k", "t", "one").crash();
            told.request(11, "k", "t", "one").answered(11, 0x10, is_repeated);
            passes(OnlyOnce::default(), &told);
        }
    }

    #[test]
    fn carrying_it_out_twice_is_wrong() {
        let mut again = told();
        again.request(11, "k", "t", "one").answered(11, 0, false);
        fails(OnlyOnce::default(), &again, "AH");
        let mut again = told();
        again.crash().resume(2, "b").request(11, "k", "t", "one").answered(11, 0, false);
        fails(OnlyOnce::default(), &again, "DU");
        let mut again = told();
        again.request(11, "k", "t", "one").read(1, "t", "one", 1).answered(11, 0, true);
        fails(OnlyOnce::default(), &again, "AH");
    }

    #[test]
    fn an_answer_that_is_not_the_first_one_is_wrong() {
        let mut other = told();
        fails(
            OnlyOnce::default(),
            other.request(11, "k", "t", "one").answered(11, 0x10, true),
            "AH",
        );
        let mut other = told();
        fails(OnlyOnce::default(), other.request(11, "k", "t", "two").answered(11, 0, true), "AH");
        let mut other = told();
        let other = other.request(11, "k", "t", "one").answered(11, IN_USE, true);
        fails(OnlyOnce::default(), other, "AH");
        let mut other = told();
        let other = other.request(11, "new", "t", "two").answered(11, 0, true);
        fails(OnlyOnce::default(), other, "AH");
        let mut other = told();
        let other = other.request(11, "k", "t", "two").answered(11, IN_USE, false);
        fails(OnlyOnce::default(), other, "AH");
        let mut other = told();
        let other = other.request(11, "", "t", "two").answered(11, 0, true);
        fails(OnlyOnce::default(), other, "AH");
    }

    #[test]
    fn a_key_is_forgotten_with_time_and_number_and_not_before() {
        let bounds = |request_keys| Bounds {
            latency_ms: 100,
            slack_ms: 500,
            request_keys,
            request_key_ms: 5_000,
            ..Bounds::default()
        };
        let after = |ms, others: u64| {
            let mut told = told();
            for other in 0..others {
                let (on, name) = (20 + other, format!("k{other}"));
                told.request(on, &name, "u", &name).answered(on, 0x10, false);
            }
            told.wait(ms).request(11, "k", "t", "one").answered(11, 0, false);
            told
        };
        passes_within(bounds(9), OnlyOnce::default(), &after(5_000, 0));
        fails_within(bounds(9), OnlyOnce::default(), &after(4_000, 0), "AH");
        let mut told = told();
        told.wait(6_000).request(11, "k", "t", "one").answered(11, 0, true);
        fails_within(bounds(9), OnlyOnce::default(), &told, "AH");
        passes_within(bounds(2), OnlyOnce::default(), &after(0, 2));
        fails_within(bounds(2), OnlyOnce::default(), &after(0, 1), "AH");
    }
}
