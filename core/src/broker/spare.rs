//! Memory of messages that are done with, for the next ones.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::BytesMut;

use super::Broker;
use crate::message::Message;
use crate::session::held::Held;

/// Spares kept: what is sent at once comes back before the next message does.
const SPARES: usize = 64;

/// Memory for messages, cleared of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Spares {
    messages: Vec<Arc<Message>>,
    /// Where messages are unpacked.
    buffer: BytesMut,
}

impl Spares {
    /// A message that can be shared.
    pub(super) fn share(&mut self, message: Message) -> Arc<Message> {
        if let Some(mut spare) = self.messages.pop()
            && let Some(inside) = Arc::get_mut(&mut spare)
        {
            *inside = message;
            return spare;
        }
        Arc::new(message)
    }

    /// A message that waited and is sent at once, unless only the journal has it.
    pub(super) fn message(&mut self, held: &Held) -> Option<Arc<Message>> {
        match held {
            Held::Here(message) => Some(message.clone()),
            Held::Packed(packed) => {
                let message = packed.unpack_into(&mut self.buffer);
                Some(self.share(message))
            }
            Held::Stored(_) => None,
        }
    }

    fn take_back(&mut self, mut message: Arc<Message>) {
        // Asking for the only owner costs more than looking whether there may be one.
        if Arc::strong_count(&message) == 1
            && self.messages.len() < SPARES
            && let Some(inside) = Arc::get_mut(&mut message)
        {
            // It must not keep a read buffer alive.
            *inside = Message::blank();
            self.messages.push(message);
        }
    }
}

impl Broker {
    /// Takes back what a [`ServerPacket::Publish`](crate::wire::packet::ServerPacket::Publish) was made of, once it is
    /// written. A driver that does this spares an allocation for each message at QoS 0.
    pub fn take_back(&mut self, message: Arc<Message>) {
        self.spares.take_back(message);
    }
}
