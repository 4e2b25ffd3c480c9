//! Memory of messages that are done with, for the next ones.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use crate::buffers::Buffers;
use crate::message::Message;
use crate::routing::topic::Topic;
use crate::session::held::Held;

/// Spares kept: as many as acknowledgements give back between the publications of busy clients.
const SPARES: usize = 1024;
/// A spare that still has its message has no larger payload.
const KEPT_PAYLOAD_BYTES: usize = 4 * 1024;
/// Messages are unpacked into pieces of so much.
const UNPACKED_BYTES: usize = 16 * 1024;

/// Memory for messages.
#[derive(Clone, Debug)]
pub(super) struct Spares {
    /// The one that came back last, with what was in it. What is sent at once comes back before the next message does,
    /// so that this is nearly always the next to go, and need not be cleared first.
    last: Option<Arc<Message>>,
    /// Cleared of messages.
    messages: Vec<Arc<Message>>,
    /// The topic of messages that were put into storage of their own. Publishers send many to one in a row.
    topic: Option<Topic>,
    /// Where messages are unpacked.
    buffers: Buffers,
}

impl Default for Spares {
    fn default() -> Self {
        let buffers = Buffers::new(UNPACKED_BYTES);
        Spares { last: None, messages: Vec::new(), topic: None, buffers }
    }
}

impl Spares {
    /// A message that can be shared.
    pub(super) fn share(&mut self, message: Message) -> Arc<Message> {
        if let Some(mut spare) = self.last.take().or_else(|| self.messages.pop())
            && let Some(inside) = Arc::get_mut(&mut spare)
        {
            *inside = message;
            return spare;
        }
        Arc::new(message)
    }

    /// The same; one that is kept is put into storage of its own, which it shares below a topic that `is_repeated`.
    pub(super) fn share_for(
        &mut self,
        message: Message,
        is_kept: bool,
        is_repeated: bool,
    ) -> Arc<Message> {
        if !is_kept {
            return self.share(message);
        }
        if !is_repeated {
            return self.share(message.compact());
        }
        let topic = match self.topic.take() {
            Some(topic) if topic == message.topic => topic,
            Some(_) | None => message.topic.compact(),
        };
        self.topic = Some(topic.clone());
        self.share(message.compact_below(topic))
    }

    /// Lets go of what messages of before are kept alive by. Called now and then.
    pub(super) fn tidy(&mut self) {
        self.last = None;
        self.topic = None;
        self.buffers.tidy();
        self.messages.truncate(self.messages.len() / 2);
    }

    /// A message that waited and is sent at once, unless only the journal has it.
    pub(super) fn message(&mut self, held: &Held) -> Option<Arc<Message>> {
        match held {
            Held::Here(message) => Some(message.clone()),
            Held::Packed(packed) => {
                let message = packed.unpack_into(&mut self.buffers);
                Some(self.share(message))
            }
            Held::Paged(paged) => {
                let message = paged.block().unpack_into(&mut self.buffers);
                Some(self.share(message))
            }
            Held::Stored(_) => None,
        }
    }

    fn take_back(&mut self, mut message: Arc<Message>) {
        // Asking for the only owner costs more than looking whether there may be one.
        if Arc::strong_count(&message) > 1 {
            return;
        }
        if self.last.is_none() && message.payload.len() <= KEPT_PAYLOAD_BYTES {
            self.last = Some(message);
        } else if self.messages.len() < SPARES
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

    /// The same for what a queue or an exchange has had.
    pub(super) fn take_back_held(&mut self, held: Held) {
        match held {
            Held::Here(message) => self.spares.take_back(message),
            Held::Packed(_) | Held::Paged(_) | Held::Stored(_) => {}
        }
    }
}
