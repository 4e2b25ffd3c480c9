//! SZ: no packet is larger than the client said it takes.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Model, Seen};
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};

/// Judges SZ.
pub(crate) struct Size;

impl Rule for Size {
    fn waive(&mut self) -> bool {
        true
    }

    fn look(&mut self, model: &Model, _seen: &Seen, event: &Event) -> Result<(), Violation> {
        let What::Received { connection, size_bytes, .. } = &event.what else { return Ok(()) };
        let Some(connection) = model.connections.get(connection) else { return Ok(()) };
        let maximum = connection.asked(property::MAXIMUM_PACKET_SIZE);
        let Some(maximum) = maximum.filter(|maximum| *size_bytes > *maximum as usize) else {
            return Ok(());
        };
        let what = format!(
            "client {:?} read a packet of {size_bytes} bytes, it takes at most {maximum}",
            connection.client_id,
        );
        Err(violation("SZ", what, [model.now.index]))
    }
}

#[cfg(test)]
mod tests {
    use super::Size;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, connect_of, fails, number, passes};
    use crate::packet::Connect;

    fn with_maximum(maximum: u32) -> Told {
        let mut told = Told::new();
        let properties = vec![number(property::MAXIMUM_PACKET_SIZE, maximum)];
        told.asks_in(1, Connect { properties, ..connect_of("a") });
        told
    }

    #[test]
    fn a_packet_of_just_that_size_is_right() {
        passes(Size, with_maximum(20).let_in(1, false));
    }

    #[test]
    fn a_larger_packet_is_wrong() {
        fails(Size, with_maximum(19).let_in(1, false), "SZ");
    }
}
