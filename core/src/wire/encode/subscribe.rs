//! SUBSCRIBE and UNSUBSCRIBE.

use super::properties::{put_subscription_id, put_user_properties};
use super::sink::{Part, Sink};
use crate::wire::packet::{Subscribe, SubscriptionOptions, Unsubscribe, WireId};
use crate::wire::types::Version;

/// SUBSCRIBE.
pub(super) struct SubscribeBody<'a> {
    pub(super) packet: &'a Subscribe,
    pub(super) version: Version,
}

impl Part for SubscribeBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        sink.u16(self.packet.packet_id.to_wire().value());
        if self.version == Version::V5 {
            sink.prefixed(&SubscribeProperties(self.packet));
        }
        for (filter, options) in &self.packet.subscriptions {
            sink.binary(filter.as_text().as_bytes());
            sink.byte(options_byte(*options, self.version));
        }
    }
}

/// UNSUBSCRIBE.
pub(super) struct UnsubscribeBody<'a> {
    pub(super) packet: &'a Unsubscribe,
    pub(super) version: Version,
}

impl Part for UnsubscribeBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        sink.u16(self.packet.packet_id.to_wire().value());
        if self.version == Version::V5 {
            sink.prefixed(&UnsubscribeProperties(self.packet));
        }
        for filter in &self.packet.filters {
            sink.binary(filter.as_text().as_bytes());
        }
    }
}

struct SubscribeProperties<'a>(&'a Subscribe);

impl Part for SubscribeProperties<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        if let Some(id) = self.0.subscription_id {
            put_subscription_id(sink, id);
        }
        put_user_properties(sink, &self.0.user_properties);
    }
}

struct UnsubscribeProperties<'a>(&'a Unsubscribe);

impl Part for UnsubscribeProperties<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        put_user_properties(sink, &self.0.user_properties);
    }
}

fn options_byte(options: SubscriptionOptions, version: Version) -> u8 {
    let qos = options.maximum_qos as u8;
    if version != Version::V5 {
        return qos;
    }
    qos | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}
