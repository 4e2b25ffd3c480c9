//! A server that delivers wrongly: PUBLISH in any respect.

use super::server::{add, properties};
use super::{Mutation, broken};
use crate::proxy::Spoil::{Alter, Bytes, Instead};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Value, id};
use crate::wire::{Frame, Version, encode, parse};

pub(super) const MUTATIONS: &[Mutation] = &[
    broken(
        "a packet identifier at QoS 0",
        "MQTT-2.2.1-2",
        Bytes(kind::PUBLISH, |frame| insert(frame, |qos| qos == 0)),
        &["qos_0_has_no_packet_identifier"],
    ),
    broken(
        "packet identifier 0",
        "MQTT-2.2.1-4",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.packet_id = 0)),
        &["deliveries_have_identifiers_not_in_use"],
    ),
    broken(
        "always the same packet identifier",
        "MQTT-4.3.2-1",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.packet_id = 1)),
        &["deliveries_have_identifiers_not_in_use"],
    ),
    broken(
        "always the same packet identifier at QoS 2",
        "MQTT-4.3.3-1",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.packet_id = 1)),
        &["deliveries_have_identifiers_not_in_use"],
    ),
    broken(
        "DUP at the first delivery, QoS 1",
        "MQTT-4.3.2-2",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.dup |= one.qos == 1)),
        &["a_qos_1_delivery_begins_without_dup", "dup_is_not_passed_on"],
    ),
    broken(
        "DUP at the first delivery, QoS 2",
        "MQTT-4.3.3-2",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.dup |= one.qos == 2)),
        &["a_qos_2_delivery_begins_without_dup", "dup_is_not_passed_on"],
    ),
    broken(
        "DUP as its publisher had it",
        "MQTT-3.3.1-3",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.dup |= one.qos > 0)),
        &["dup_is_not_passed_on"],
    ),
    broken(
        "DUP at QoS 0",
        "MQTT-4.3.1-1",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.dup = true)),
        &["qos_0_has_no_packet_identifier"],
    ),
    broken(
        "no DUP when sent again",
        "MQTT-3.3.1-1",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.dup = false)),
        &["an_unanswered_publish_comes_again_with_dup"],
    ),
    broken(
        "nothing is sent again",
        "MQTT-4.4.0-1",
        Instead(kind::PUBLISH, |frame, _| if frame.first & 8 != 0 { vec![] } else { vec![frame] }),
        &[
            "a_takeover_goes_on_with_what_was_begun",
            "an_unanswered_publish_comes_again_with_dup",
            "an_unanswered_qos_1_delivery_is_outstanding",
            "an_unanswered_qos_2_delivery_is_outstanding",
        ],
    ),
    broken(
        "a QoS 1 delivery is forgotten",
        "MQTT-4.3.2-3",
        Instead(kind::PUBLISH, |frame, memory| {
            if memory.resumed && qos(&frame) == 1 { vec![] } else { vec![frame] }
        }),
        &["an_unanswered_qos_1_delivery_is_outstanding"],
    ),
    broken(
        "a QoS 2 delivery is forgotten",
        "MQTT-4.3.3-3",
        Instead(kind::PUBLISH, |frame, memory| {
            if memory.resumed && qos(&frame) == 2 { vec![] } else { vec![frame] }
        }),
        &["an_unanswered_qos_2_delivery_is_outstanding"],
    ),
    broken(
        "retained messages do not come",
        "MQTT-3.3.1-5",
        Instead(kind::PUBLISH, |frame, _| if frame.first & 1 != 0 { vec![] } else { vec![frame] }),
        &["a_retained_message_replaces_the_one_before", "retained_messages_keep_their_qos"],
    ),
    broken(
        "an empty message is not delivered",
        "MQTT-3.3.1-6",
        Instead(
            kind::PUBLISH,
            |frame, _| if frame.body.last() == Some(&0) { vec![] } else { vec![frame] },
        ),
        &["an_empty_retained_message_is_delivered"],
    ),
    broken(
        "live messages keep RETAIN",
        "MQTT-3.3.1-12",
        Bytes(kind::PUBLISH, |frame| frame.first |= 1),
        &["live_messages_lose_retain"],
    ),
    broken(
        "RETAIN is never kept",
        "MQTT-3.3.1-13",
        Bytes(kind::PUBLISH, |frame| frame.first &= !1),
        &["retain_as_published_keeps_retain"],
    ),
    broken(
        "another topic",
        "MQTT-3.3.2-3",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| one.topic.make_ascii_uppercase())),
        &["what_is_sent_matches_the_filter"],
    ),
    broken(
        "the mark in front of a string is stripped",
        "MQTT-1.5.4-3",
        Alter(kind::PUBLISH, |packet, _| publish(packet, |one| strip_mark(&mut one.topic))),
        &["a_byte_order_mark_is_a_character"],
    ),
    broken(
        "no payload format",
        "MQTT-3.3.2-4",
        Alter(kind::PUBLISH, |packet, _| properties(packet).remove(id::PAYLOAD_FORMAT_INDICATOR)),
        &[
            "properties_survive_as_retained",
            "properties_survive_in_a_queue",
            "the_payload_format_is_passed_on",
        ],
    ),
    broken(
        "no content type",
        "MQTT-3.3.2-20",
        Alter(kind::PUBLISH, |packet, _| properties(packet).remove(id::CONTENT_TYPE)),
        &[
            "properties_survive_as_retained",
            "properties_survive_in_a_queue",
            "the_content_type_is_passed_on",
        ],
    ),
    broken(
        "no response topic",
        "MQTT-3.3.2-15",
        Alter(kind::PUBLISH, |packet, _| properties(packet).remove(id::RESPONSE_TOPIC)),
        &[
            "properties_survive_as_retained",
            "properties_survive_in_a_queue",
            "the_response_topic_is_passed_on",
        ],
    ),
    broken(
        "no correlation data",
        "MQTT-3.3.2-16",
        Alter(kind::PUBLISH, |packet, _| properties(packet).remove(id::CORRELATION_DATA)),
        &[
            "correlation_data_is_passed_on",
            "properties_survive_as_retained",
            "properties_survive_in_a_queue",
        ],
    ),
    broken(
        "no user properties",
        "MQTT-3.3.2-17",
        Alter(kind::PUBLISH, |packet, _| properties(packet).remove(id::USER_PROPERTY)),
        &[
            "properties_survive_as_retained",
            "properties_survive_in_a_queue",
            "user_properties_are_passed_on",
        ],
    ),
    broken(
        "user properties turned round",
        "MQTT-3.3.2-18",
        Alter(kind::PUBLISH, |packet, _| properties(packet).0.reverse()),
        &["user_properties_keep_their_order"],
    ),
    broken(
        "user properties of a will turned round",
        "MQTT-3.1.3-10",
        Alter(kind::PUBLISH, |packet, _| properties(packet).0.reverse()),
        &["user_properties_of_a_will_keep_their_order"],
    ),
    broken(
        "the expiry is not counted down",
        "MQTT-3.3.2-6",
        Alter(kind::PUBLISH, |packet, _| expiry(packet, 100)),
        &[
            "a_live_message_has_its_whole_expiry",
            "the_expiry_is_counted_down_in_a_queue",
            "the_expiry_of_a_retained_message_is_counted_down",
        ],
    ),
    broken(
        "an alias to who allows none",
        "MQTT-3.1.2-27",
        Alter(kind::PUBLISH, |packet, _| alias(packet, 1)),
        &["no_alias_comes_unless_allowed"],
    ),
    broken(
        "an alias over the client's maximum",
        "MQTT-3.1.2-26",
        Alter(kind::PUBLISH, |packet, _| alias(packet, 60_000)),
        &["aliases_that_come_stay_within_the_maximum"],
    ),
    broken(
        "an alias over the maximum of CONNECT",
        "MQTT-3.3.2-11",
        Alter(kind::PUBLISH, |packet, _| alias(packet, 4)),
        &["aliases_that_come_stay_within_the_maximum"],
    ),
    broken(
        "an alias of the connection before",
        "MQTT-3.3.2-7",
        Alter(kind::PUBLISH, |packet, _| {
            publish(packet, |one| {
                if one.properties.get(id::TOPIC_ALIAS).is_some() {
                    one.topic.clear();
                }
            });
        }),
        &["aliases_that_come_begin_anew"],
    ),
    broken(
        "no subscription identifiers",
        "MQTT-3.3.4-3",
        Alter(kind::PUBLISH, |packet, _| properties(packet).remove(id::SUBSCRIPTION_IDENTIFIER)),
        &["overlapping_subscriptions_give_their_identifiers"],
    ),
    broken(
        "one subscription identifier of several",
        "MQTT-3.3.4-4",
        Alter(kind::PUBLISH, |packet, _| one_identifier(packet)),
        &["overlapping_subscriptions_give_their_identifiers"],
    ),
    broken(
        "an identifier of another subscription",
        "MQTT-3.3.4-5",
        Alter(kind::PUBLISH, |packet, _| {
            add(packet, id::SUBSCRIPTION_IDENTIFIER, Value::Variable(9));
        }),
        &["overlapping_subscriptions_give_their_identifiers"],
    ),
    broken(
        "a copy with the identifiers of the others",
        "MQTT-3.3.4-5",
        Instead(kind::PUBLISH, |frame, _| {
            let Ok(mut packet) = parse::packet(&frame, Version::V5) else { return vec![frame] };
            properties(&mut packet).remove(id::SUBSCRIPTION_IDENTIFIER);
            let bare = encode::frame(&packet, Version::V5);
            vec![frame, bare.clone(), bare]
        }),
        &["overlapping_subscriptions_give_their_identifiers"],
    ),
    broken(
        "a QoS below the highest",
        "MQTT-3.3.4-2",
        Alter(kind::PUBLISH, |packet, _| {
            publish(packet, |one| {
                if one.qos == 2 {
                    one.qos = 1;
                }
            });
        }),
        &["overlapping_subscriptions_deliver_the_highest_qos"],
    ),
    broken(
        "a QoS above the published one",
        "MQTT-3.8.4-8",
        Alter(kind::PUBLISH, |packet, _| {
            publish(packet, |one| {
                if one.qos == 0 {
                    one.qos = 1;
                    one.packet_id = 999;
                }
            });
        }),
        &["qos_is_the_lower_of_both", "retained_messages_keep_their_qos"],
    ),
    broken(
        "a QoS above that of a share's member",
        "MQTT-4.8.2-3",
        Alter(kind::PUBLISH, |packet, _| {
            publish(packet, |one| {
                if one.qos == 0 {
                    one.qos = 1;
                    one.packet_id = 999;
                }
            });
        }),
        &["each_member_gets_its_own_qos"],
    ),
    broken(
        "a will's message does not come",
        "MQTT-3.1.2-8",
        Instead(
            kind::PUBLISH,
            |frame, _| if frame.body.ends_with(b"gone") { vec![] } else { vec![frame] },
        ),
        &[
            "a_will_is_published_after_a_protocol_error",
            "a_will_is_published_when_the_connection_is_lost",
        ],
    ),
    broken(
        "a will of another kind does not come",
        "MQTT-3.1.2-7",
        Instead(
            kind::PUBLISH,
            |frame, _| if frame.body.ends_with(b"gone") { vec![] } else { vec![frame] },
        ),
        &[
            "a_will_has_its_properties",
            "a_will_has_its_qos",
            "a_will_is_published_when_the_connection_is_lost",
        ],
    ),
    broken(
        "a will comes twice",
        "MQTT-3.1.2-10",
        Instead(kind::PUBLISH, |frame, _| {
            if frame.body.ends_with(b"gone") { vec![frame.clone(), frame] } else { vec![frame] }
        }),
        &["a_will_is_published_once"],
    ),
    broken(
        "every message comes twice",
        "MQTT-4.3.3-12",
        Instead(kind::PUBLISH, |frame, _| vec![frame.clone(), frame]),
        &["a_clean_start_forgets_held_identifiers", "after_pubcomp_the_identifier_is_free"],
    ),
    broken(
        "a message under a used identifier is lost",
        "MQTT-4.3.2-5",
        Instead(kind::PUBLISH, |frame, memory| if memory.count > 1 { vec![] } else { vec![frame] }),
        &["after_puback_the_identifier_is_free"],
    ),
    broken(
        "some messages are lost",
        "MQTT-4.5.0-1",
        Instead(kind::PUBLISH, |frame, memory| if memory.resumed { vec![] } else { vec![frame] }),
        &["messages_join_every_matching_session", "messages_queue_for_a_session"],
    ),
    broken(
        "messages change places",
        "MQTT-4.6.0-5",
        Instead(kind::PUBLISH, |frame, memory| swapped(frame, &mut memory.held)),
        &[
            "messages_come_in_order",
            "messages_queued_for_a_session_come_in_order",
            "unanswered_deliveries_come_again_in_order",
        ],
    ),
    broken(
        "messages change places by default",
        "MQTT-4.6.0-6",
        Instead(kind::PUBLISH, |frame, memory| swapped(frame, &mut memory.held)),
        &["messages_come_in_order"],
    ),
    broken(
        "more than the receive maximum",
        "MQTT-3.3.4-9",
        Instead(kind::PUBLISH, |frame, _| vec![frame.clone(), frame]),
        &["deliveries_stay_within_the_receive_maximum"],
    ),
    broken(
        "more than the send quota",
        "MQTT-4.9.0-2",
        Instead(kind::PUBLISH, |frame, _| vec![frame.clone(), frame]),
        &["deliveries_stay_within_the_receive_maximum", "the_window_opens_with_pubcomp"],
    ),
    broken(
        "a first quota over the receive maximum",
        "MQTT-4.9.0-1",
        Instead(kind::PUBLISH, |frame, memory| {
            if memory.count == 1 { vec![frame.clone(), frame] } else { vec![frame] }
        }),
        &["deliveries_stay_within_the_receive_maximum"],
    ),
    broken(
        "larger than the client takes",
        "MQTT-3.1.2-24",
        Alter(kind::PUBLISH, |packet, _| {
            publish(packet, |one| {
                if one.payload == b"small" {
                    one.payload = vec![b'x'; 500];
                }
            });
        }),
        &["nothing_larger_than_the_client_takes_is_sent"],
    ),
    broken(
        "a small message is dropped beside a large one",
        "MQTT-3.1.2-25",
        Instead(
            kind::PUBLISH,
            |frame, _| if frame.body.ends_with(b"small") { vec![] } else { vec![frame] },
        ),
        &["a_message_too_large_counts_as_delivered"],
    ),
    broken(
        "a shared QoS 2 delivery does not go on",
        "MQTT-4.8.2-4",
        Instead(kind::PUBLISH, |frame, _| if frame.first & 8 != 0 { vec![] } else { vec![frame] }),
        &["a_begun_qos_2_delivery_stays_with_its_member"],
    ),
    broken(
        "messages are lost in replacing",
        "MQTT-3.8.4-4",
        Instead(
            kind::PUBLISH,
            |frame, memory| if memory.count == 2 { vec![] } else { vec![frame] },
        ),
        &[
            "replacing_loses_no_message",
            "retain_handling_0_sends_at_every_subscribe",
            "retained_messages_come_again_on_replacing",
        ],
    ),
];

fn publish(packet: &mut Packet, change: fn(&mut Publish)) {
    if let Packet::Publish(publish) = packet {
        change(publish);
    }
}

fn qos(frame: &Frame) -> u8 {
    frame.first >> 1 & 3
}

/// Two bytes behind the topic, where a packet identifier would be.
fn insert(frame: &mut Frame, where_qos: fn(u8) -> bool) {
    if let (true, [high, low, ..]) = (where_qos(qos(frame)), frame.body.as_slice()) {
        let end = 2 + usize::from(u16::from_be_bytes([*high, *low]));
        frame.body.splice(end..end, [0, 1]);
    }
}

fn strip_mark(topic: &mut Vec<u8>) {
    if let Some(at) = topic.windows(3).position(|three| three == b"\xEF\xBB\xBF") {
        topic.drain(at..at + 3);
    }
}

fn expiry(packet: &mut Packet, seconds: u32) {
    if properties(packet).get(id::MESSAGE_EXPIRY_INTERVAL).is_some() {
        properties(packet).remove(id::MESSAGE_EXPIRY_INTERVAL);
        add(packet, id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
    }
}

fn alias(packet: &mut Packet, alias: u16) {
    properties(packet).remove(id::TOPIC_ALIAS);
    add(packet, id::TOPIC_ALIAS, Value::Two(alias));
}

fn one_identifier(packet: &mut Packet) {
    let properties = properties(packet);
    let first = properties.get(id::SUBSCRIPTION_IDENTIFIER).cloned();
    properties.remove(id::SUBSCRIPTION_IDENTIFIER);
    if let Some(first) = first {
        add(packet, id::SUBSCRIPTION_IDENTIFIER, first);
    }
}

/// A message whose payload ends with 1 is kept back until the next one.
fn swapped(frame: Frame, held: &mut Option<Frame>) -> Vec<Frame> {
    if let Some(before) = held.take() {
        return vec![frame, before];
    }
    if frame.body.ends_with(b"1") {
        *held = Some(frame);
        return Vec::new();
    }
    vec![frame]
}
