//! Messages that clients asked to publish, wills among them, and their deliveries.

use crate::history::ConnectionNumber;
use crate::oracle::model::{Moment, SessionId};
use crate::packet::Property;

/// A publication's place in the model.
pub(crate) type PublicationId = usize;

/// A delivery's place in the model.
pub(crate) type DeliveryId = usize;

/// One application message that a client asked to send.
#[derive(Debug)]
pub(crate) struct Publication {
    /// The unique beginning of its payload.
    pub(crate) token: Vec<u8>,
    /// The publishing client's identifier.
    pub(crate) client_id: String,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) properties: Vec<Property>,
    pub(crate) expiry_s: Option<u32>,
    /// The connection whose will it is.
    pub(crate) will_of: Option<ConnectionNumber>,
    /// Every time it was handed to the network; a will, with its CONNECT.
    pub(crate) sends: Vec<Send>,
    /// When the publisher read that it was taken.
    pub(crate) accepted: Option<Moment>,
    /// When and with which code the publisher read that it was not taken.
    pub(crate) refused: Option<(Moment, u8)>,
    /// When it is known to have been dealt with.
    pub(crate) settled: Option<Moment>,
    /// Sent under an identifier that the broker may rightly take for another publication's.
    pub(crate) muddled: bool,
    /// How many messages the broker may make of it: it was sent again as something new.
    pub(crate) instances: usize,
    /// Whether it was dealt with while another time that it was sent was under way behind a CONNECT: the broker may
    /// take that for something new whenever it arrives.
    pub(crate) may_come_late: bool,
}

/// One time a publication was handed to the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub(crate) moment: Moment,
    pub(crate) connection: ConnectionNumber,
    pub(crate) id: Option<u16>,
}

impl Publication {
    /// When it was first sent.
    pub(crate) fn first(&self) -> Moment {
        self.sends[0].moment
    }

    /// The connection on which it was first sent.
    pub(crate) fn first_connection(&self) -> ConnectionNumber {
        self.sends[0].connection
    }

    /// When it was last sent.
    pub(crate) fn last(&self) -> Moment {
        self.sends[self.sends.len() - 1].moment
    }

    /// Whether its publisher was told, the one time it was sent, that nobody gets it.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_some() && self.accepted.is_none() && self.sends.len() == 1
    }

    /// Its token, for people.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.token).into_owned()
    }

    pub(crate) fn is_will(&self) -> bool {
        self.will_of.is_some()
    }
}

/// One PUBLISH that a client read.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) moment: Moment,
    pub(crate) connection: ConnectionNumber,
    pub(crate) session: SessionId,
    pub(crate) publication: Option<PublicationId>,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) id: Option<u16>,
    /// A new message for a correct receiver, not a repetition that it recognises.
    pub(crate) is_fresh: bool,
    /// What the same identifier stood for until now, if it was in use.
    pub(crate) replaced: Option<Holder>,
    pub(crate) properties: Vec<Property>,
    pub(crate) payload: Vec<u8>,
}

/// An exchange from the broker to a client, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) token: Vec<u8>,
    pub(crate) publication: Option<PublicationId>,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// When it was last read.
    pub(crate) moment: Moment,
    /// When it was read for the first time.
    pub(crate) first: Moment,
    pub(crate) connection: ConnectionNumber,
    pub(crate) stage: Stage,
    /// Whether it may be another message than the one that was read first.
    pub(crate) may_be_second: bool,
}

/// How far an exchange from the broker to a client has come, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The client has not answered.
    Read,
    /// PUBREC was sent.
    Recorded(Moment),
    /// PUBREL was read.
    Released(Moment),
    /// The client sent PUBREC with an error.
    Refused(Moment),
    /// The client has said all there is to say; the broker may not have heard it.
    Done(Moment),
}
