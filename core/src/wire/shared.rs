//! What several receivers get alike, encoded once.

use bytes::BytesMut;

use super::encode::{self, Alias, Terms, Written};
use super::packet::OutboundPublish;
use super::property::SubscriptionIds;
use super::types::{Delivery, Version};
use crate::message::MessageId;

/// The PUBLISH that was written last, for writers that are to write the very same bytes next.
///
/// Only QoS 0 without subscription identifiers and topic alias is alike for several receivers.
/// Messages are told apart by their numbers, so all of them must be of one broker.
#[derive(Debug, Default)]
pub struct LastPublish {
    form: Option<Form>,
    /// Empty until a second receiver has come.
    bytes: BytesMut,
}

/// All that the bytes depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    message: MessageId,
    version: Version,
    retain: bool,
    message_expiry_interval_s: Option<u32>,
}

impl LastPublish {
    /// Larger packets are not kept.
    const KEPT_BYTES: usize = 16 * 1024;

    /// Nothing was written yet.
    #[must_use]
    pub fn new() -> Self {
        LastPublish::default()
    }

    /// Writes `publish` without an alias, from what was written last if that is the same.
    pub(super) fn write(
        &mut self,
        publish: &OutboundPublish,
        terms: &Terms,
        out: &mut BytesMut,
    ) -> Written {
        let form = Form {
            message: publish.message.id,
            version: terms.version,
            retain: publish.retain,
            message_expiry_interval_s: publish.message_expiry_interval_s,
        };
        let is_alike = publish.delivery == Delivery::AtMostOnce
            && publish.subscription_ids == SubscriptionIds::None
            && form.message != MessageId::default();
        if !is_alike {
            return encode::server_publish(publish, Alias::None, terms, out);
        }
        if self.form != Some(form) {
            // It may be the only receiver, so nothing is kept yet.
            self.form = Some(form);
            self.bytes.clear();
            return encode::server_publish(publish, Alias::None, terms, out);
        }
        if self.bytes.is_empty() {
            if publish.message.payload.len() > Self::KEPT_BYTES {
                return encode::server_publish(publish, Alias::None, terms, out);
            }
            let unlimited = Terms { limit_bytes: usize::MAX, ..*terms };
            let written = encode::server_publish(publish, Alias::None, &unlimited, &mut self.bytes);
            if written == Written::DroppedTooLarge {
                return written;
            }
        }
        // [MQTT-3.1.2-24]
        if self.bytes.len() > terms.limit_bytes {
            return Written::DroppedTooLarge;
        }
        out.extend_from_slice(&self.bytes);
        Written::Whole(self.bytes.len())
    }
}
