//! A server that answers wrongly: CONNACK, acknowledgements, DISCONNECT.

use super::{Mutation, broken};
use crate::proxy::Spoil::{Alter, Bytes, HoldOpen, Instead};
use crate::wire::Frame;
use crate::wire::packet::{Packet, kind};
use crate::wire::property::{Properties, Value, id};

pub(super) const MUTATIONS: &[Mutation] = &[
    broken(
        "another acknowledge flag",
        "MQTT-3.2.2-1",
        Bytes(kind::CONNACK, |frame| set(frame, 0, |flags| flags | flags << 1)),
        &["acknowledge_flags_are_zero_but_for_the_session"],
    ),
    broken(
        "session present is always 0",
        "MQTT-3.2.2-3",
        Bytes(kind::CONNACK, |frame| set(frame, 0, |_| 0)),
        &[
            "a_takeover_keeps_the_session",
            "session_present_tells_the_truth",
            "without_clean_start_the_session_goes_on",
        ],
    ),
    broken(
        "session present is always 1",
        "MQTT-3.2.2-2",
        Bytes(kind::CONNACK, |frame| set(frame, 0, |_| 1)),
        &[
            "a_good_connect_is_accepted",
            "clean_start_discards_the_session",
            "session_present_tells_the_truth",
        ],
    ),
    broken(
        "session present beside a failure",
        "MQTT-3.2.2-6",
        Bytes(kind::CONNACK, |frame| {
            if frame.body.get(1) != Some(&0) {
                set(frame, 0, |_| 1);
            }
        }),
        &["a_refusal_by_connack_closes"],
    ),
    broken(
        "a CONNACK code of DISCONNECT",
        "MQTT-3.2.2-8",
        Bytes(kind::CONNACK, |frame| set(frame, 1, |code| if code > 0 { 0x8E } else { 0 })),
        &[
            "a_refusal_by_connack_closes",
            "an_unknown_method_is_refused",
            "connack_codes_are_listed",
        ],
    ),
    broken(
        "CONNACK twice",
        "MQTT-3.2.0-2",
        Instead(kind::CONNACK, |frame, _| vec![frame.clone(), frame]),
        &["one_connack_and_no_more"],
    ),
    broken(
        "no CONNACK",
        "MQTT-3.1.4-5",
        Instead(kind::CONNACK, |_, _| vec![]),
        &["a_good_connect_is_accepted"],
    ),
    broken(
        "PINGRESP before CONNACK",
        "MQTT-3.2.0-1",
        Instead(kind::CONNACK, |frame, _| vec![pingresp(), frame]),
        &["a_good_connect_is_accepted"],
    ),
    broken(
        "open after a refusing CONNACK",
        "MQTT-3.2.2-7",
        HoldOpen(kind::CONNACK),
        &["a_refusal_by_connack_closes", "after_a_refusal_nothing_is_processed"],
    ),
    broken(
        "no assigned identifier",
        "MQTT-3.1.3-7",
        Alter(kind::CONNACK, |packet, _| properties(packet).remove(id::ASSIGNED_CLIENT_IDENTIFIER)),
        &[
            "an_assigned_identifier_names_the_session",
            "an_empty_client_identifier_gets_one_assigned",
        ],
    ),
    broken(
        "always the same assigned identifier",
        "MQTT-3.2.2-16",
        Alter(kind::CONNACK, |packet, _| {
            replace(packet, id::ASSIGNED_CLIENT_IDENTIFIER, text("same"));
        }),
        &["assigned_client_identifiers_are_unique"],
    ),
    broken(
        "response information unasked",
        "MQTT-3.1.2-28",
        Alter(kind::CONNACK, |packet, _| add(packet, id::RESPONSE_INFORMATION, text("answers"))),
        &["no_response_information_unless_asked"],
    ),
    broken(
        "a method without one",
        "MQTT-4.12.0-6",
        Alter(kind::CONNACK, |packet, _| add(packet, id::AUTHENTICATION_METHOD, text("method"))),
        &["no_auth_comes_without_a_method"],
    ),
    broken(
        "a maximum QoS that is not true",
        "MQTT-3.2.2-9",
        Alter(kind::CONNACK, |packet, _| add(packet, id::MAXIMUM_QOS, Value::Byte(1))),
        &["an_unlimited_qos_is_served"],
    ),
    broken(
        "CONNACK with too long a reason",
        "MQTT-3.2.2-19",
        Alter(kind::CONNACK, |packet, _| add(packet, id::REASON_STRING, long())),
        &["connack_fits_the_clients_limit"],
    ),
    broken(
        "CONNACK with too long a user property",
        "MQTT-3.2.2-20",
        Alter(kind::CONNACK, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["connack_fits_the_clients_limit"],
    ),
    broken(
        "DISCONNECT in place of CONNACK",
        "MQTT-3.14.0-1",
        Instead(kind::CONNACK, |frame, _| {
            if frame.body.get(1) == Some(&0) {
                vec![frame]
            } else {
                vec![Frame { first: 0xE0, body: vec![0x82, 0] }]
            }
        }),
        &[
            "a_malformed_connect_closes",
            "an_unknown_version_is_refused",
            "another_protocol_name_is_refused",
            "no_disconnect_before_connack",
        ],
    ),
    broken(
        "no PINGRESP",
        "MQTT-3.12.4-1",
        Instead(kind::PINGRESP, |_, _| vec![]),
        &["pingreq_is_answered", "pingreq_is_answered_without_keep_alive"],
    ),
    broken(
        "no SUBACK",
        "MQTT-3.8.4-1",
        Instead(kind::SUBACK, |_, _| vec![]),
        &["subscribe_is_answered"],
    ),
    broken(
        "SUBACK of another identifier",
        "MQTT-3.8.4-2",
        Bytes(kind::SUBACK, |frame| set(frame, 1, |low| low ^ 1)),
        &["subscribe_is_answered"],
    ),
    broken(
        "SUBACK of another identifier still",
        "MQTT-2.2.1-6",
        Bytes(kind::SUBACK, |frame| set(frame, 0, |high| high ^ 0x40)),
        &["subscribe_is_answered", "unsubscribe_is_answered"],
    ),
    broken(
        "SUBACK codes turned round",
        "MQTT-3.9.3-1",
        Alter(kind::SUBACK, |packet, _| codes(packet, |codes| codes.reverse())),
        &["a_code_for_each_filter_in_order", "a_refused_filter_harms_no_other"],
    ),
    broken(
        "SUBACK with a code too few",
        "MQTT-3.8.4-6",
        Alter(kind::SUBACK, |packet, _| codes(packet, |codes| codes.truncate(codes.len() - 1))),
        &["a_code_for_each_filter_in_order", "several_filters_are_several_subscriptions"],
    ),
    broken(
        "a SUBACK code that is not listed",
        "MQTT-3.9.3-2",
        Alter(kind::SUBACK, |packet, _| codes(packet, |codes| codes.fill(0x03))),
        &["a_refused_filter_harms_no_other", "suback_codes_are_listed"],
    ),
    broken(
        "SUBACK grants more than asked for",
        "MQTT-3.8.4-7",
        Alter(kind::SUBACK, |packet, _| codes(packet, |codes| codes.fill(2))),
        &["a_code_for_each_filter_in_order", "suback_codes_are_listed"],
    ),
    broken(
        "SUBACK without a property length",
        "MQTT-2.2.2-1",
        Bytes(kind::SUBACK, |frame| drop_byte(frame, 2)),
        &["an_empty_property_set_is_a_zero_length"],
    ),
    broken(
        "SUBACK with too long a reason",
        "MQTT-3.9.2-1",
        Alter(kind::SUBACK, |packet, _| add(packet, id::REASON_STRING, long())),
        &["a_suback_fits"],
    ),
    broken(
        "SUBACK with too long a user property",
        "MQTT-3.9.2-2",
        Alter(kind::SUBACK, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["a_suback_fits"],
    ),
    broken(
        "only one SUBACK for several filters",
        "MQTT-3.8.4-5",
        Alter(kind::SUBACK, |packet, _| codes(packet, |codes| codes.truncate(1))),
        &["several_filters_are_several_subscriptions", "the_same_filter_twice_in_one_packet"],
    ),
    broken(
        "no UNSUBACK",
        "MQTT-3.10.4-4",
        Instead(kind::UNSUBACK, |_, _| vec![]),
        &["unsubscribe_is_answered"],
    ),
    broken(
        "UNSUBACK of another identifier",
        "MQTT-3.10.4-5",
        Bytes(kind::UNSUBACK, |frame| set(frame, 1, |low| low ^ 1)),
        &["an_unknown_filter_is_answered_0x11", "unsubscribe_is_answered"],
    ),
    broken(
        "UNSUBACK codes turned round",
        "MQTT-3.11.3-1",
        Alter(kind::UNSUBACK, |packet, _| codes(packet, |codes| codes.rotate_left(1))),
        &["several_filters_are_removed_at_once"],
    ),
    broken(
        "UNSUBACK with a code for all",
        "MQTT-3.10.4-6",
        Alter(kind::UNSUBACK, |packet, _| codes(packet, |codes| codes.truncate(1))),
        &["several_filters_are_removed_at_once"],
    ),
    broken(
        "an UNSUBACK code that is not listed",
        "MQTT-3.11.3-2",
        Alter(kind::UNSUBACK, |packet, _| codes(packet, |codes| codes.fill(0x01))),
        &["unsuback_codes_are_listed"],
    ),
    broken(
        "UNSUBACK with too long a reason",
        "MQTT-3.11.2-1",
        Alter(kind::UNSUBACK, |packet, _| add(packet, id::REASON_STRING, long())),
        &["an_unsuback_fits"],
    ),
    broken(
        "UNSUBACK with too long a user property",
        "MQTT-3.11.2-2",
        Alter(kind::UNSUBACK, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["an_unsuback_fits"],
    ),
    broken(
        "no PUBACK",
        "MQTT-4.3.2-4",
        Instead(kind::PUBACK, |_, _| vec![]),
        &[
            "each_qos_has_its_answer",
            "ownership_is_taken_before_the_acknowledgement",
            "puback_names_the_publication",
        ],
    ),
    broken(
        "PUBACK of another identifier",
        "MQTT-2.2.1-5",
        Bytes(kind::PUBACK, |frame| set(frame, 1, |low| low ^ 1)),
        &["each_qos_has_its_answer", "puback_names_the_publication"],
    ),
    broken(
        "a PUBACK code that is not listed",
        "MQTT-3.4.2-1",
        Alter(kind::PUBACK, |packet, _| reason(packet, 0x92)),
        &["puback_codes_are_listed"],
    ),
    broken(
        "PUBACK with too long a reason",
        "MQTT-3.4.2-2",
        Alter(kind::PUBACK, |packet, _| add(packet, id::REASON_STRING, long())),
        &["a_puback_fits"],
    ),
    broken(
        "PUBACK with too long a user property",
        "MQTT-3.4.2-3",
        Alter(kind::PUBACK, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["a_puback_fits"],
    ),
    broken(
        "no PUBREC",
        "MQTT-4.3.3-8",
        Instead(kind::PUBREC, |_, _| vec![]),
        &[
            "each_qos_has_its_answer",
            "ownership_is_taken_before_the_acknowledgement",
            "pubrec_names_the_publication",
        ],
    ),
    broken(
        "PUBACK in place of PUBREC",
        "MQTT-3.3.4-1",
        Bytes(kind::PUBREC, |frame| frame.first = 0x40),
        &["each_qos_has_its_answer"],
    ),
    broken(
        "PUBREC only for the first of a repeated publication",
        "MQTT-4.3.3-10",
        Instead(kind::PUBREC, |frame, memory| if memory.count > 1 { vec![] } else { vec![frame] }),
        &["a_repeated_qos_2_publication_is_delivered_once"],
    ),
    broken(
        "a PUBREC code that is not listed",
        "MQTT-3.5.2-1",
        Alter(kind::PUBREC, |packet, _| reason(packet, 0x92)),
        &["pubrec_codes_are_listed"],
    ),
    broken(
        "PUBREC with too long a reason",
        "MQTT-3.5.2-2",
        Alter(kind::PUBREC, |packet, _| add(packet, id::REASON_STRING, long())),
        &["a_pubrec_fits"],
    ),
    broken(
        "PUBREC with too long a user property",
        "MQTT-3.5.2-3",
        Alter(kind::PUBREC, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["a_pubrec_fits"],
    ),
    broken(
        "no PUBREL",
        "MQTT-4.3.3-4",
        Instead(kind::PUBREL, |_, _| vec![]),
        &["pubrec_is_answered_by_pubrel"],
    ),
    broken(
        "no PUBREL on resuming",
        "MQTT-4.3.3-5",
        Instead(kind::PUBREL, |frame, memory| if memory.resumed { vec![] } else { vec![frame] }),
        &["an_unanswered_pubrel_comes_again"],
    ),
    broken(
        "a PUBREL code that is not listed",
        "MQTT-3.6.2-1",
        Alter(kind::PUBREL, |packet, _| reason(packet, 0x80)),
        &["pubrel_codes_are_listed"],
    ),
    broken(
        "PUBREL with too long a reason",
        "MQTT-3.6.2-2",
        Alter(kind::PUBREL, |packet, _| add(packet, id::REASON_STRING, long())),
        &["a_pubrel_fits"],
    ),
    broken(
        "PUBREL with too long a user property",
        "MQTT-3.6.2-3",
        Alter(kind::PUBREL, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["a_pubrel_fits"],
    ),
    broken(
        "no PUBCOMP",
        "MQTT-4.3.3-11",
        Instead(kind::PUBCOMP, |_, _| vec![]),
        &[
            "a_release_is_understood_on_the_next_connection",
            "each_qos_has_its_answer",
            "pubrel_is_answered_by_pubcomp",
        ],
    ),
    broken(
        "PUBCOMP of an expired message says it is unknown",
        "MQTT-4.3.3-13",
        Alter(kind::PUBCOMP, |packet, _| reason(packet, 0x92)),
        &["expiry_does_not_end_a_qos_2_publication"],
    ),
    broken(
        "a PUBCOMP code that is not listed",
        "MQTT-3.7.2-1",
        Alter(kind::PUBCOMP, |packet, _| reason(packet, 0x80)),
        &["pubcomp_codes_are_listed"],
    ),
    broken(
        "PUBCOMP with too long a reason",
        "MQTT-3.7.2-2",
        Alter(kind::PUBCOMP, |packet, _| add(packet, id::REASON_STRING, long())),
        &["a_pubcomp_fits"],
    ),
    broken(
        "PUBCOMP with too long a user property",
        "MQTT-3.7.2-3",
        Alter(kind::PUBCOMP, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["a_pubcomp_fits"],
    ),
    broken(
        "problem information unasked",
        "MQTT-3.1.2-29",
        Alter(kind::UNSUBACK, |packet, _| add(packet, id::REASON_STRING, long())),
        &["no_problem_information_unless_wanted"],
    ),
    broken(
        "a DISCONNECT code that is not listed",
        "MQTT-3.14.2-1",
        Alter(kind::DISCONNECT, |packet, _| reason(packet, 0x8C)),
        &["a_code_of_the_server_is_refused_from_a_client", "disconnect_codes_are_listed"],
    ),
    broken(
        "a session expiry on DISCONNECT",
        "MQTT-3.14.2-2",
        Alter(kind::DISCONNECT, |packet, _| {
            add(packet, id::SESSION_EXPIRY_INTERVAL, Value::Four(1));
        }),
        &["no_session_expiry_comes_on_disconnect"],
    ),
    broken(
        "DISCONNECT with too long a reason",
        "MQTT-3.14.2-3",
        Alter(kind::DISCONNECT, |packet, _| add(packet, id::REASON_STRING, long())),
        &["a_disconnect_fits"],
    ),
    broken(
        "DISCONNECT with too long a user property",
        "MQTT-3.14.2-4",
        Alter(kind::DISCONNECT, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["a_disconnect_fits"],
    ),
    broken(
        "PINGRESP behind DISCONNECT",
        "MQTT-3.14.4-1",
        Instead(kind::DISCONNECT, |frame, _| vec![frame, pingresp()]),
        &["nothing_follows_disconnect"],
    ),
    broken(
        "open after DISCONNECT",
        "MQTT-3.14.4-2",
        HoldOpen(kind::DISCONNECT),
        &["after_disconnect_the_connection_is_closed"],
    ),
    broken(
        "open after a violation",
        "MQTT-4.13.1-1",
        HoldOpen(kind::DISCONNECT),
        &[
            "a_packet_cut_short_is_malformed",
            "a_property_cut_short_is_malformed",
            "a_property_given_twice_is_refused",
            "a_property_of_another_packet_is_malformed",
            "a_second_connect_is_refused",
            "a_subscribe_without_filters_is_refused",
            "a_subscription_identifier_from_a_client_is_refused",
            "an_unknown_property_is_malformed",
            "an_unsubscribe_without_filters_is_refused",
            "auth_without_a_method_is_refused",
            "bytes_left_over_are_malformed",
            "no_local_on_a_share_is_refused",
            "null_characters_are_malformed",
            "others_do_not_suffer",
            "packets_of_a_server_are_refused",
            "qos_3_is_malformed",
            "reserved_flags_are_malformed",
            "reserved_option_bits_are_malformed",
            "surrogates_are_malformed",
        ],
    ),
    broken(
        "open after a code of 0x80 or above",
        "MQTT-4.13.2-1",
        HoldOpen(kind::DISCONNECT),
        &["after_disconnect_the_connection_is_closed", "whoever_is_disconnected_may_come_again"],
    ),
    broken(
        "a takeover without DISCONNECT",
        "MQTT-3.1.4-3",
        Instead(kind::DISCONNECT, |frame, _| {
            if frame.body.first() == Some(&0x8E) { vec![] } else { vec![frame] }
        }),
        &["a_second_connection_takes_over"],
    ),
];

fn set(frame: &mut Frame, at: usize, change: fn(u8) -> u8) {
    if let Some(byte) = frame.body.get_mut(at) {
        *byte = change(*byte);
    }
}

fn drop_byte(frame: &mut Frame, at: usize) {
    if frame.body.len() > at {
        frame.body.remove(at);
    }
}

fn pingresp() -> Frame {
    Frame { first: 0xD0, body: Vec::new() }
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(super) fn long() -> Value {
    Value::Text("r".repeat(300))
}

pub(super) fn pair() -> Value {
    Value::Pair("name".to_owned(), "v".repeat(300))
}

/// The packet's properties; PINGRESP has none, and what is done to them is lost.
pub(super) fn properties(packet: &mut Packet) -> &mut Properties {
    match packet {
        Packet::ConnAck(connack) => &mut connack.properties,
        Packet::Publish(publish) => &mut publish.properties,
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            &mut ack.properties
        }
        Packet::SubAck(codes) | Packet::UnsubAck(codes) => &mut codes.properties,
        Packet::Disconnect(reasoned) | Packet::Auth(reasoned) => &mut reasoned.properties,
        Packet::PingResp => Box::leak(Box::default()),
    }
}

pub(super) fn add(packet: &mut Packet, id: u8, value: Value) {
    let properties = properties(packet);
    *properties = std::mem::take(properties).with(id, value);
}

pub(super) fn replace(packet: &mut Packet, id: u8, value: Value) {
    if properties(packet).get(id).is_some() {
        properties(packet).remove(id);
        add(packet, id, value);
    }
}

fn codes(packet: &mut Packet, change: fn(&mut Vec<u8>)) {
    if let Packet::SubAck(answer) | Packet::UnsubAck(answer) = packet {
        change(&mut answer.codes);
    }
}

pub(super) fn reason(packet: &mut Packet, code: u8) {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.reason = code;
        }
        Packet::Disconnect(reasoned) | Packet::Auth(reasoned) => reasoned.reason = code,
        Packet::ConnAck(_)
        | Packet::Publish(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp => {}
    }
}
