//! Which reason code which packet may have: the standard's tables.

use super::decode::Side;
use crate::packet::{AckKind, Level};

/// A packet with reason codes.
#[derive(Clone, Copy)]
pub(super) enum Place {
    ConnAck,
    Ack(AckKind),
    SubAck,
    UnsubAck,
    Disconnect(Side),
    Auth(Side),
}

/// Whether a packet of this level may say `reason`.
pub(super) fn is_allowed(place: Place, level: Level, reason: u8) -> bool {
    match place {
        Place::ConnAck if level < 5 => reason <= 5,
        Place::ConnAck => matches!(
            reason,
            0 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F
        ),
        Place::Ack(AckKind::PubAck | AckKind::PubRec) => {
            matches!(reason, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
        }
        Place::Ack(AckKind::PubRel | AckKind::PubComp) => matches!(reason, 0 | 0x92),
        Place::SubAck if level == 3 => reason <= 2,
        Place::SubAck if level == 4 => matches!(reason, 0..=2 | 0x80),
        Place::SubAck => {
            matches!(reason, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
        }
        Place::UnsubAck => matches!(reason, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
        Place::Disconnect(side) => disconnect_is_allowed(side, reason),
        Place::Auth(Side::Broker) => matches!(reason, 0 | 0x18),
        Place::Auth(Side::Client) => matches!(reason, 0x18 | 0x19),
    }
}

fn disconnect_is_allowed(side: Side, reason: u8) -> bool {
    let both = matches!(
        reason,
        0 | 0x80..=0x83 | 0x90 | 0x93..=0x99
    );
    both || match side {
        Side::Client => reason == 0x04,
        Side::Broker => matches!(
            reason,
            0x87 | 0x89 | 0x8B..=0x8F | 0x9A..=0xA2
        ),
    }
}
