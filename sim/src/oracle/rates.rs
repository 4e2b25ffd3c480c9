//! AH, for quotas of publications in a second and of connections: what is refused for their sake is over
//! them, and no more is accepted than they allow.
//!
//! Every client has a quota of its own. Who takes its own connection over is never over that of connections.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Answered, Model, Moment, Publication, PublicationId, Request, Seen};
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;

/// Quota exceeded.
const QUOTA_EXCEEDED: u8 = 0x97;

/// Judges AH by quotas of publications in a second and of connections.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    accepted: Vec<Accepted>,
}

/// A publication that was taken between two moments.
#[derive(Debug)]
struct Accepted {
    client_id: String,
    sent: Moment,
    answered: Moment,
}

impl Rule for Rates {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        match (&event.what, seen) {
            (What::Received { packet: Packet::ConnAck { reason, .. }, connection, .. }, _)
                if *reason == QUOTA_EXCEEDED
                    && model.bounds.connections.is_some()
                    && !model.bounds.has_limits =>
            {
                let what = format!("connection {connection} is over a quota of connections");
                Err(violation("AH", what, [model.now.index]))
            }
            (What::Received { packet: Packet::Ack { reason, .. }, .. }, Seen::Answered(found)) => {
                let Some(most) = model.bounds.messages_per_second else { return Ok(()) };
                let Request::Publish(id, _) = found.request else { return Ok(()) };
                match *reason {
                    0..0x80 => self.accepted(model, id, found, most),
                    QUOTA_EXCEEDED => refused(model, &model.publications[id], most),
                    _ => Ok(()),
                }
            }
            (_, _) => Ok(()),
        }
    }
}

impl Rates {
    /// Between the first of some publications and the last answer, as many can be taken as may come at once and
    /// as that time allows.
    fn accepted(
        &mut self,
        model: &Model,
        id: PublicationId,
        answered: &Answered,
        most: u64,
    ) -> Result<(), Violation> {
        let publication = &model.publications[id];
        if publication.sends.len() > 1 || publication.muddled {
            return Ok(());
        }
        let client_id = publication.client_id.clone();
        // A new process begins with the whole quota.
        self.accepted.retain(|one| !model.has_outage(one.sent.index, model.now.index));
        self.accepted.push(Accepted { client_id, sent: answered.moment, answered: model.now });
        let of_client =
            || self.accepted.iter().filter(|one| one.client_id == publication.client_id);
        for from in of_client().map(|one| one.sent) {
            let taken = of_client().filter(|one| one.sent >= from && one.answered <= model.now);
            let count = taken.count() as u64;
            let in_ms = model.now.at_ms - from.at_ms;
            if count > most + (most * in_ms).div_ceil(1_000) {
                let what = format!(
                    "{:?} has {count} publications accepted within {in_ms} ms, at most {most} a second allowed",
                    publication.client_id,
                );
                return Err(violation("AH", what, [from.index, model.now.index]));
            }
        }
        Ok(())
    }
}

/// A refusal, where nothing else bounds clients: as many can have been taken in the second before it.
fn refused(model: &Model, publication: &Publication, most: u64) -> Result<(), Violation> {
    if model.bounds.has_limits {
        return Ok(());
    }
    let client_id = &publication.client_id;
    let since_ms = publication.first().at_ms.saturating_sub(1_000);
    let counts = |other: &&Publication| {
        let is_over = other.settled.is_some_and(|settled| settled.at_ms < since_ms);
        other.client_id == *client_id && !other.is_will() && !is_over
    };
    let sends: usize =
        model.publications.iter().filter(counts).map(|other| other.sends.len()).sum();
    // One of them is the one refused.
    if sends as u64 > most {
        return Ok(());
    }
    let what = format!("{client_id:?} is over a quota of {most} in a second, and has sent {sends}");
    Err(violation("AH", what, [publication.first().index, model.now.index]))
}

#[cfg(test)]
mod tests {
    use super::{QUOTA_EXCEEDED, Rates};
    use crate::oracle::model::Bounds;
    use crate::oracle::told::{Told, connect_of, fails_within, passes_within};
    use crate::packet::{AckKind, Packet};

    fn bounds(messages_per_second: Option<u64>, connections: Option<u64>) -> Bounds {
        Bounds { messages_per_second, connections, ..Bounds::default() }
    }

    fn refused(told: &mut Told) {
        told.publish_unanswered(1, "t", "refused", 1, 5);
        told.got_ack(1, AckKind::PubAck, 5, QUOTA_EXCEEDED);
    }

    #[test]
    fn as_many_as_the_quota_go_at_once_and_more_by_and_by() {
        let mut told = Told::new();
        told.durable(1, "a").publish(1, "t", "one", 1).publish(1, "t", "two", 1);
        refused(&mut told);
        told.wait(1_000).publish(1, "t", "three", 1).publish(1, "t", "four", 1);
        passes_within(bounds(Some(2), None), Rates::default(), &told);
    }

    #[test]
    fn more_than_the_quota_at_once_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a");
        for token in ["one", "two", "three", "four", "five"] {
            told.publish(1, "t", token, 1);
        }
        fails_within(bounds(Some(2), None), Rates::default(), &told, "AH");
    }

    #[test]
    fn a_new_process_begins_with_the_whole_quota() {
        let mut told = Told::new();
        told.durable(1, "a").publish(1, "t", "one", 1).publish(1, "t", "two", 1);
        told.crash().resume(2, "a").publish(2, "t", "three", 1).publish(2, "t", "four", 1);
        passes_within(bounds(Some(2), None), Rates::default(), &told);
    }

    #[test]
    fn refusing_what_the_second_allows_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").publish(1, "t", "one", 1).publish(1, "t", "two", 1).wait(5_000);
        refused(&mut told);
        fails_within(bounds(Some(2), None), Rates::default(), &told, "AH");
    }

    #[test]
    fn nobody_is_kept_out_by_a_connection_of_its_own() {
        let mut told = Told::new();
        told.durable(1, "a").asks_in(2, connect_of("a"));
        let reason = QUOTA_EXCEEDED;
        told.got(2, Packet::ConnAck { session_present: false, reason, properties: Vec::new() });
        fails_within(bounds(None, Some(1)), Rates::default(), &told, "AH");
    }
}
