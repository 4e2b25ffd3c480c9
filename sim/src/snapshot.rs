//! Whether two snapshots are of the same state.

use signalhouse_core::Record;
use signalhouse_core::record::{Origin, RetainedChange};

/// The first place at which two snapshots differ. Which messages a broker has in memory and which it leaves to the
/// journal is no part of its state: it depends on the order in which it learnt of them.
pub(crate) fn first_difference(one: &[Record], other: &[Record]) -> Option<usize> {
    let most = one.len().max(other.len());
    (0..most).find(|at| match (one.get(*at), other.get(*at)) {
        (Some(one), Some(other)) => one != other && !is_left_to_the_journal(one, other),
        (_, _) => true,
    })
}

/// Whether one of the records is the other without the message's body.
fn is_left_to_the_journal(one: &Record, other: &Record) -> bool {
    match (without_body(one), without_body(other)) {
        (Some(short), None) => short == *other,
        (None, Some(short)) => *one == short,
        (None, None) | (Some(_), Some(_)) => false,
    }
}

/// A message that waits, as a snapshot has it where the broker does not have its body.
fn without_body(record: &Record) -> Option<Record> {
    let Record::Published { message, origin, retained, entries, at: _ } = record else {
        return None;
    };
    let waits_only = *origin == Origin::Untracked && *retained == RetainedChange::None;
    waits_only.then(|| Record::Requeued {
        message: message.id,
        qos: message.qos,
        content_bytes: u32::try_from(message.content_bytes()).unwrap_or(u32::MAX),
        expires_at: message.expires_at,
        entries: entries.clone(),
    })
}
