//! What a rule is, and how it says what is wrong.

use std::borrow::Cow;

use crate::history::{Beside, ConnectionNumber, Event, Violation, What};
use crate::oracle::model::{Delivery, Model, Publication, Seen};
use crate::oracle::owed::Owed;
use crate::packet::{AckKind, Packet};

/// Judges one guarantee.
pub(crate) trait Rule {
    /// Looks at the event that the model has just taken.
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation>;

    /// Something acknowledged is lost, as the level of durability allows. True if it goes on, perhaps with less.
    fn waive(&mut self) -> bool {
        false
    }

    /// Looks back when all is over.
    fn finish(&mut self, _model: &Model, _owed: &Owed) -> Vec<Violation> {
        Vec::new()
    }
}

/// What a client read. A request is answered as PUBLISH is by PUBACK.
pub(crate) fn read(event: &Event) -> Option<(ConnectionNumber, Cow<'_, Packet>)> {
    if let What::Received { connection, packet, .. } = &event.what {
        return Some((*connection, Cow::Borrowed(packet)));
    }
    let What::Beside(Beside::Answered { connection, reason, .. }) = &event.what else {
        return None;
    };
    let (kind, properties) = (AckKind::PubAck, Vec::new());
    Some((*connection, Cow::Owned(Packet::Ack { kind, id: 1, reason: *reason, properties })))
}

/// What a judgement says of one guarantee, where it can say several.
pub(crate) fn only(
    guarantee: &'static str,
    outcome: Result<(), Violation>,
) -> Result<(), Violation> {
    outcome.or_else(|wrong| if wrong.guarantee == guarantee { Err(wrong) } else { Ok(()) })
}

/// A violation, with its places in order.
pub(crate) fn violation(
    guarantee: &'static str,
    what: String,
    events: impl IntoIterator<Item = usize>,
) -> Violation {
    let mut events: Vec<usize> = events.into_iter().collect();
    events.sort_unstable();
    events.dedup();
    Violation { guarantee, what, events }
}

/// Says that `publication` came to the session of `delivery` more often than it may.
pub(crate) fn too_often(
    guarantee: &'static str,
    model: &Model,
    publication: &Publication,
    delivery: &Delivery,
    copies: &[usize],
    most: usize,
) -> Violation {
    let client_id = &model.sessions[delivery.session].client_id;
    let what = format!(
        "{} on {:?} reached {client_id:?} as a new message {} times, at most {most} allowed",
        publication.name(),
        publication.topic,
        copies.len(),
    );
    let sends = publication.sends.iter().map(|send| send.moment.index);
    violation(guarantee, what, sends.chain(copies.iter().copied()))
}
