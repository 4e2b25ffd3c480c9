//! What others than the client and the broker decide of a connection: it is to end.

use super::Moment;

/// CONNACK of a server that does not serve now.
const SERVER_UNAVAILABLE: u8 = 0x88;
/// The same before version 5.
const SERVER_UNAVAILABLE_OLD: u8 = 3;
const NOT_AUTHORIZED: u8 = 0x87;

/// Somebody's word that a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentAway {
    /// When it was given.
    pub(crate) moment: Moment,
    /// What the client is told in DISCONNECT.
    disconnect: u8,
    /// What it is told in CONNACK, if it is not let in yet.
    connack: u8,
    /// Whether its session ends with it.
    pub(crate) ends_session: bool,
}

impl SentAway {
    /// The operator's order.
    pub(super) fn by_order(moment: Moment, reason: u8) -> Self {
        SentAway { moment, disconnect: reason, connack: SERVER_UNAVAILABLE, ends_session: false }
    }

    /// The operator's order that ends the client's session, too.
    pub(super) fn with_session(moment: Moment, reason: u8) -> Self {
        SentAway { ends_session: true, ..SentAway::by_order(moment, reason) }
    }

    /// The word of who was asked about the client. Where a packet cannot bear it, the client is not authorized.
    pub(super) fn refused(moment: Moment, reason: u8) -> Self {
        let or_not_authorized = |may| if may { reason } else { NOT_AUTHORIZED };
        SentAway {
            moment,
            disconnect: or_not_authorized(is_of_disconnect(reason)),
            connack: or_not_authorized(is_of_connack(reason)),
            ends_session: false,
        }
    }

    /// Whether CONNACK with this reason is for an order, which may have come behind what CONNECT had done.
    pub(super) fn refuses_by_order(&self, reason: u8) -> bool {
        matches!(reason, SERVER_UNAVAILABLE | SERVER_UNAVAILABLE_OLD)
            && self.connack == SERVER_UNAVAILABLE
    }

    /// Whether a client is told of it by this reason.
    pub(crate) fn is_told_by(&self, reason: u8, is_let_in: bool) -> bool {
        reason == if is_let_in { self.disconnect } else { self.connack }
    }
}

/// Whether CONNACK may bear a reason, other than success.
fn is_of_connack(reason: u8) -> bool {
    matches!(reason, 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f)
}

/// Whether a server's DISCONNECT may bear a reason.
fn is_of_disconnect(reason: u8) -> bool {
    matches!(reason, 0x80..=0x83 | 0x87 | 0x89 | 0x8b..=0x90 | 0x93..=0xa2)
}
