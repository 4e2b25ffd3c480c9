//! Acknowledgements that are owed, and when they go out.

use crate::chance::Stream;
use crate::packet::AckKind;

/// Acknowledgements of one connection.
#[derive(Debug)]
pub(super) struct Acks {
    delay_ms: u64,
    reorders: bool,
    owed: Vec<Owed>,
    made: u64,
}

#[derive(Debug)]
struct Owed {
    due_at_ms: u64,
    number: u64,
    ack: Ack,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) kind: AckKind,
    pub(super) id: u16,
    pub(super) reason: u8,
}

impl Acks {
    pub(super) fn new(delay_ms: u64, reorders: bool) -> Self {
        Self { delay_ms, reorders, owed: Vec::new(), made: 0 }
    }

    /// Owes `ack`, to be sent after a while that `chance` chooses.
    pub(super) fn owe(&mut self, now_ms: u64, ack: Ack, chance: &mut Stream) {
        let drawn_ms = now_ms + chance.between(0, self.delay_ms);
        // [MQTT-4.6.0-2] to [MQTT-4.6.0-4]: PUBACK, PUBREC and PUBREL keep their order among
        // themselves. PUBCOMP is free, and so is one kind beside another.
        let keeps_order = match ack.kind {
            AckKind::PubAck | AckKind::PubRec | AckKind::PubRel => true,
            AckKind::PubComp => false,
        };
        let waits_for = |owed: &&Owed| !self.reorders || (keeps_order && owed.ack.kind == ack.kind);
        let earliest_ms = self.owed.iter().filter(waits_for).map(|owed| owed.due_at_ms).max();
        let due_at_ms = drawn_ms.max(earliest_ms.unwrap_or(0));
        self.owed.push(Owed { due_at_ms, number: self.made, ack });
        self.made += 1;
    }

    /// Takes the next one that is due.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<Ack> {
        let due = self.owed.iter().enumerate().filter(|(_, owed)| owed.due_at_ms <= now_ms);
        let (at, _) = due.min_by_key(|(_, owed)| (owed.due_at_ms, owed.number))?;
        Some(self.owed.remove(at).ack)
    }

    /// When the next one is due.
    pub(super) fn due_at_ms(&self) -> Option<u64> {
        self.owed.iter().map(|owed| owed.due_at_ms).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Streams;

    fn order(reorders: bool) -> Vec<(AckKind, u16)> {
        let mut chance = Streams::new(5).stream("acks");
        let mut acks = Acks::new(100, reorders);
        for id in 1..=40 {
            for kind in [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp] {
                acks.owe(u64::from(id), Ack { kind, id, reason: 0 }, &mut chance);
            }
        }
        let mut taken = Vec::new();
        while let Some(at_ms) = acks.due_at_ms() {
            assert_eq!(acks.take_due(at_ms.saturating_sub(1)), None);
            let ack = acks.take_due(at_ms).expect("its time has come");
            taken.push((ack.kind, ack.id));
        }
        taken
    }

    #[test]
    fn only_what_may_be_reordered_is() {
        let of = |taken: &[(AckKind, u16)], wanted: AckKind| -> Vec<u16> {
            taken.iter().filter(|(kind, _)| *kind == wanted).map(|(_, id)| *id).collect()
        };
        let taken = order(true);
        let in_order: Vec<u16> = (1..=40).collect();
        for kind in [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel] {
            assert_eq!(of(&taken, kind), in_order, "{kind:?}");
        }
        assert_ne!(of(&taken, AckKind::PubComp), in_order);
        assert_ne!(taken, order(false));
    }

    #[test]
    fn a_friendly_client_keeps_every_order() {
        let kinds = [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp];
        let expected: Vec<(AckKind, u16)> =
            (1..=40).flat_map(|id| kinds.map(|kind| (kind, id))).collect();
        assert_eq!(order(false), expected);
    }
}
