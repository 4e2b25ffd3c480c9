//! What is on its way to a client and goes slowly, because little fits into the network at a time.

use super::{Connection, Model};

/// What a client has read on a connection, in bytes: how many by when.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    totals: Vec<(u64, u64)>,
}

impl Taken {
    fn add(&mut self, at_ms: u64, bytes: u64) {
        let before = self.totals.last().map_or(0, |(_, total)| *total);
        self.totals.push((at_ms, before + bytes));
    }

    /// How many bytes were read from one time to another, both included.
    fn between(&self, from_ms: u64, to_ms: u64) -> u64 {
        let total_where = |place: usize| place.checked_sub(1).map_or(0, |last| self.totals[last].1);
        let before = total_where(self.totals.partition_point(|(at_ms, _)| *at_ms < from_ms));
        let until = total_where(self.totals.partition_point(|(at_ms, _)| *at_ms <= to_ms));
        until.saturating_sub(before)
    }
}

impl Model {
    /// A client read a packet of so many bytes.
    pub(super) fn taken(&mut self, number: u64, size_bytes: usize) {
        let now_ms = self.now.at_ms;
        if self.bounds.capacity_bytes < u64::MAX
            && let Some(connection) = self.connections.get_mut(&number)
        {
            connection.taken.add(now_ms, size_bytes as u64);
        }
    }

    /// How long what a client has read since `since_ms` took at most to come through a network that takes little at a
    /// time. What is read now waited for no more than that.
    pub(crate) fn crowding_ms(&self, connection: &Connection, since_ms: u64) -> u64 {
        self.crowding_until_ms(connection, since_ms, self.now.at_ms)
    }

    fn crowding_until_ms(&self, connection: &Connection, since_ms: u64, to_ms: u64) -> u64 {
        let bytes = connection.taken.between(since_ms, to_ms);
        bytes.div_ceil(self.bounds.capacity_bytes) * self.bounds.turn_ms
    }

    /// When what a client that reads finds at `at_ms`, or does not find, was sent at the earliest. As long as it
    /// waits, the network is never idle.
    pub(crate) fn sent_from_ms(&self, connection: &Connection, at_ms: u64) -> u64 {
        let plain_ms = at_ms.saturating_sub(self.bounds.latency_ms);
        let mut from_ms = plain_ms;
        loop {
            let earlier_ms =
                plain_ms.saturating_sub(self.crowding_until_ms(connection, from_ms, at_ms));
            if earlier_ms >= from_ms {
                return from_ms;
            }
            from_ms = earlier_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Taken;

    #[test]
    fn what_is_read_counts_at_both_ends() {
        let mut taken = Taken::default();
        for (at_ms, bytes) in [(10, 1), (20, 2), (20, 4), (30, 8)] {
            taken.add(at_ms, bytes);
        }
        assert_eq!(taken.between(0, 100), 15);
        assert_eq!(taken.between(20, 20), 6);
        assert_eq!(taken.between(11, 29), 6);
        assert_eq!(taken.between(31, 40), 0);
        assert_eq!(taken.between(30, 20), 0);
    }
}
