//! RC: after a restart the broker lets clients in. That recovering twice equals recovering once is seen by
//! the layers, and damage by the batches about the disk.

use crate::history::{Event, Violation};
use crate::oracle::model::{Model, Seen};
use crate::oracle::owed::Owed;
use crate::oracle::rule::{Rule, violation};

/// Judges RC.
pub(crate) struct Recovery;

impl Rule for Recovery {
    fn look(&mut self, _model: &Model, _seen: &Seen, _event: &Event) -> Result<(), Violation> {
        Ok(())
    }

    fn finish(&mut self, model: &Model, _owed: &Owed) -> Vec<Violation> {
        if model.end.is_none() || !model.is_up() {
            return Vec::new();
        }
        nobody_let_in(model).into_iter().collect()
    }
}

/// After the last restart clients tried to come in, and none succeeded.
fn nobody_let_in(model: &Model) -> Option<Violation> {
    let started = model.outages.last()?.started?;
    let mut tried = None;
    for connection in model.connections.values() {
        let Some((sent, _)) = &connection.connect else { continue };
        if sent.index < started.index || connection.misbehaved.is_some() {
            continue;
        }
        if connection.connack.is_some() {
            return None;
        }
        // Where limits keep some out, those who come first may be the same each time; each refusal is judged.
        let is_turned_away = connection.refused.is_some()
            || connection.ended.is_some_and(|(_, by_client)| !by_client);
        if is_turned_away && model.bounds.has_limits {
            continue;
        }
        if sent.at_ms <= model.settled_by_ms() && model.is_prompt(connection, sent.at_ms) {
            tried.get_or_insert(*sent);
        }
    }
    let tried = tried?;
    let what = "the broker was started again and let nobody in".to_owned();
    Some(violation("RC", what, [started.index, tried.index, model.now.index]))
}

#[cfg(test)]
mod tests {
    use super::Recovery;
    use crate::oracle::told::{Told, connect_of, fails, passes};

    #[test]
    fn a_broker_that_lets_anybody_in_has_recovered() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").crash().resume(3, "a").end();
        passes(Recovery, &told);
    }

    #[test]
    fn a_broker_that_lets_nobody_in_again_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").crash().asks_in(2, connect_of("a")).end();
        fails(Recovery, &told, "RC");
    }
}
