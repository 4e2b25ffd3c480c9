//! A server that lets violations pass: the broker does not get to see them.

use super::{Mutation, broken};
use crate::proxy::Spoil::{Swallow, SwallowSecond, SwallowUnframed};
use crate::wire::Frame;
use crate::wire::packet::kind;
use crate::wire::property::id;

pub(super) const MUTATIONS: &[Mutation] = &[
    broken(
        "surrogates pass",
        "MQTT-1.5.4-1",
        Swallow(kind::PUBLISH, |frame| has(frame, b"\xED\xA0\x80")),
        &["surrogates_are_malformed"],
    ),
    broken(
        "null characters pass",
        "MQTT-1.5.4-2",
        Swallow(kind::PUBLISH, |frame| has(frame, b"a\0b")),
        &["null_characters_are_malformed"],
    ),
    broken(
        "a length of five bytes passes",
        "MQTT-1.5.5-1",
        SwallowUnframed,
        &["a_remaining_length_of_five_bytes_is_malformed"],
    ),
    broken(
        "an ill-formed pair passes",
        "MQTT-1.5.7-1",
        Swallow(kind::PUBLISH, |frame| has(frame, &[id::USER_PROPERTY])),
        &["a_string_pair_is_two_well_formed_strings"],
    ),
    broken(
        "flags of PUBACK pass",
        "MQTT-2.1.3-1",
        Swallow(kind::PUBACK, |frame| frame.first != 0x40),
        &["reserved_flags_are_malformed"],
    ),
    broken(
        "flags of PUBREL pass",
        "MQTT-3.6.1-1",
        Swallow(kind::PUBREL, |frame| frame.first != 0x62),
        &["pubrel_has_flags_0010"],
    ),
    broken(
        "flags of SUBSCRIBE pass",
        "MQTT-3.8.1-1",
        Swallow(kind::SUBSCRIBE, |frame| frame.first != 0x82),
        &["subscribe_has_flags_0010"],
    ),
    broken(
        "flags of UNSUBSCRIBE pass",
        "MQTT-3.10.1-1",
        Swallow(kind::UNSUBSCRIBE, |frame| frame.first != 0xA2),
        &["unsubscribe_has_flags_0010"],
    ),
    broken(
        "flags of DISCONNECT pass",
        "MQTT-3.14.1-1",
        Swallow(kind::DISCONNECT, |frame| frame.first != 0xE0),
        &["disconnect_has_no_flags"],
    ),
    broken(
        "flags of AUTH pass",
        "MQTT-3.15.1-1",
        Swallow(kind::AUTH, |frame| frame.first != 0xF0),
        &["auth_has_no_flags"],
    ),
    broken(
        "identifier 0 passes",
        "MQTT-2.2.1-3",
        Swallow(kind::SUBSCRIBE, |frame| frame.body.starts_with(&[0, 0])),
        &["packet_identifier_zero_is_refused"],
    ),
    broken(
        "AUTH without a method passes",
        "MQTT-4.12.0-7",
        Swallow(kind::AUTH, |_| true),
        &["auth_without_a_method_is_refused"],
    ),
    broken(
        "QoS 3 passes",
        "MQTT-3.3.1-4",
        Swallow(kind::PUBLISH, |frame| frame.first & 6 == 6),
        &["qos_3_is_malformed"],
    ),
    broken(
        "DUP at QoS 0 passes",
        "MQTT-3.3.1-2",
        Swallow(kind::PUBLISH, |frame| frame.first & 0x0E == 8),
        &["dup_at_qos_0_is_refused"],
    ),
    broken(
        "an ill-formed topic passes",
        "MQTT-3.3.2-1",
        Swallow(kind::PUBLISH, |frame| {
            topic(frame).is_some_and(|topic| std::str::from_utf8(topic).is_err())
        }),
        &["a_topic_is_well_formed"],
    ),
    broken(
        "a wildcard in a topic passes",
        "MQTT-3.3.2-2",
        Swallow(kind::PUBLISH, |frame| wild(topic(frame))),
        &["wildcards_in_a_topic_are_refused"],
    ),
    broken(
        "wildcards are not for filters alone",
        "MQTT-4.7.0-1",
        Swallow(kind::PUBLISH, |frame| wild(topic(frame))),
        &["wildcards_are_for_filters", "wildcards_in_a_topic_are_refused"],
    ),
    broken(
        "an ill-formed response topic passes",
        "MQTT-3.3.2-13",
        Swallow(kind::PUBLISH, |frame| has(frame, &[id::RESPONSE_TOPIC, 0])),
        &["a_response_topic_is_well_formed"],
    ),
    broken(
        "a wildcard in a response topic passes",
        "MQTT-3.3.2-14",
        Swallow(kind::PUBLISH, |frame| has(frame, &[id::RESPONSE_TOPIC, 0])),
        &["wildcards_in_a_response_topic_are_refused"],
    ),
    broken(
        "an ill-formed content type passes",
        "MQTT-3.3.2-19",
        Swallow(kind::PUBLISH, |frame| has(frame, &[id::CONTENT_TYPE, 0])),
        &["a_content_type_is_well_formed"],
    ),
    broken(
        "alias 0 passes",
        "MQTT-3.3.2-8",
        Swallow(kind::PUBLISH, |frame| has(frame, &[3, id::TOPIC_ALIAS, 0, 0])),
        &["alias_zero_is_refused"],
    ),
    broken(
        "an alias over the maximum passes",
        "MQTT-3.3.2-9",
        Swallow(kind::PUBLISH, |frame| has(frame, &[3, id::TOPIC_ALIAS])),
        &["an_alias_over_the_maximum_is_refused"],
    ),
    broken(
        "an alias over the announced maximum passes",
        "MQTT-3.2.2-17",
        Swallow(kind::PUBLISH, |frame| has(frame, &[3, id::TOPIC_ALIAS])),
        &["an_alias_over_the_maximum_is_refused"],
    ),
    broken(
        "a subscription identifier of a client passes",
        "MQTT-3.3.4-6",
        Swallow(kind::PUBLISH, |frame| has(frame, &[2, id::SUBSCRIPTION_IDENTIFIER])),
        &["a_subscription_identifier_from_a_client_is_refused"],
    ),
    broken(
        "an ill-formed filter passes",
        "MQTT-3.8.3-1",
        Swallow(kind::SUBSCRIBE, |frame| frame.body.iter().any(|byte| *byte >= 0xC0)),
        &["filters_are_well_formed"],
    ),
    broken(
        "a SUBSCRIBE without filters passes",
        "MQTT-3.8.3-2",
        Swallow(kind::SUBSCRIBE, |frame| frame.body.len() == 3),
        &["a_subscribe_without_filters_is_refused"],
    ),
    broken(
        "reserved options pass",
        "MQTT-3.8.3-5",
        Swallow(kind::SUBSCRIBE, |frame| {
            frame.body.last().is_some_and(|options| options & 0xC0 != 0)
        }),
        &["reserved_option_bits_are_malformed"],
    ),
    broken(
        "No Local on a share passes",
        "MQTT-3.8.3-4",
        Swallow(kind::SUBSCRIBE, |frame| has(frame, b"$share") && frame.body.last() == Some(&4)),
        &["no_local_on_a_share_is_refused"],
    ),
    broken(
        "an ill-formed filter to unsubscribe passes",
        "MQTT-3.10.3-1",
        Swallow(kind::UNSUBSCRIBE, |frame| frame.body.iter().any(|byte| *byte >= 0xC0)),
        &["filters_to_unsubscribe_are_well_formed"],
    ),
    broken(
        "an UNSUBSCRIBE without filters passes",
        "MQTT-3.10.3-2",
        Swallow(kind::UNSUBSCRIBE, |frame| frame.body.len() == 3),
        &["an_unsubscribe_without_filters_is_refused"],
    ),
    broken(
        "a misplaced # passes",
        "MQTT-4.7.1-1",
        Swallow(kind::SUBSCRIBE, |frame| has(frame, b"#/") || has(frame, b"#b")),
        &["a_hash_stands_alone_and_last"],
    ),
    broken(
        "a misplaced + passes",
        "MQTT-4.7.1-2",
        Swallow(kind::SUBSCRIBE, |frame| has(frame, b"a+") || has(frame, b"+b")),
        &["a_plus_fills_its_level"],
    ),
    broken(
        "an empty filter passes",
        "MQTT-4.7.3-1",
        Swallow(kind::SUBSCRIBE, |frame| frame.body.len() == 6),
        &["a_filter_has_a_character"],
    ),
    broken(
        "U+0000 in a filter passes",
        "MQTT-4.7.3-2",
        Swallow(kind::SUBSCRIBE, |frame| has(frame, b"a\0/")),
        &["null_characters_in_filters_and_topics_are_malformed"],
    ),
    broken(
        "a share without a name passes",
        "MQTT-4.8.2-1",
        Swallow(kind::SUBSCRIBE, |frame| has(frame, b"$share//")),
        &["a_share_has_a_name"],
    ),
    broken(
        "a wildcard in a share's name passes",
        "MQTT-4.8.2-2",
        Swallow(kind::SUBSCRIBE, |frame| has(frame, b"$share/+/") || has(frame, b"$share/na+me")),
        &["a_share_name_is_followed_by_a_filter"],
    ),
    broken(
        "another first packet passes",
        "MQTT-3.1.0-1",
        Swallow(kind::PINGREQ, |_| true),
        &["the_first_packet_is_connect"],
    ),
    broken(
        "another protocol name passes",
        "MQTT-3.1.2-1",
        Swallow(kind::CONNECT, |frame| {
            !matches!(frame.body.as_slice(), [0, 4, b'M', b'Q', b'T', b'T', ..] | [0, 6, ..])
        }),
        &["another_protocol_name_is_refused"],
    ),
    broken(
        "another version passes",
        "MQTT-3.1.2-2",
        Swallow(
            kind::CONNECT,
            |frame| matches!(frame.body.as_slice(), [0, 4, _, _, _, _, level, ..] if *level > 5),
        ),
        &["an_unknown_version_is_answered", "an_unknown_version_is_refused"],
    ),
    broken(
        "the reserved connect flag passes",
        "MQTT-3.1.2-3",
        Swallow(kind::CONNECT, |frame| flags(frame) & 1 != 0),
        &["the_reserved_connect_flag_is_zero"],
    ),
    broken(
        "a will flag without a will passes",
        "MQTT-3.1.2-9",
        Swallow(kind::CONNECT, |frame| flags(frame) & 4 != 0 && !fits(frame)),
        &["a_will_flag_needs_will_fields"],
    ),
    broken(
        "will QoS without a will passes",
        "MQTT-3.1.2-11",
        Swallow(kind::CONNECT, |frame| flags(frame) & 4 == 0 && flags(frame) & 0x18 != 0),
        &["will_qos_without_a_will_is_refused"],
    ),
    broken(
        "will QoS 3 passes",
        "MQTT-3.1.2-12",
        Swallow(kind::CONNECT, |frame| flags(frame) & 0x18 == 0x18),
        &["will_qos_3_is_malformed"],
    ),
    broken(
        "will retain without a will passes",
        "MQTT-3.1.2-13",
        Swallow(kind::CONNECT, |frame| flags(frame) & 0x24 == 0x20),
        &["will_retain_without_a_will_is_refused"],
    ),
    broken(
        "a user name without its flag passes",
        "MQTT-3.1.2-16",
        Swallow(kind::CONNECT, |frame| flags(frame) & 0x80 == 0 && !fits(frame)),
        &["a_user_name_without_its_flag_is_refused"],
    ),
    broken(
        "a user name flag without one passes",
        "MQTT-3.1.2-17",
        Swallow(kind::CONNECT, |frame| flags(frame) & 0xC0 == 0x80 && !fits(frame)),
        &["a_user_name_flag_needs_a_user_name"],
    ),
    broken(
        "a password without its flag passes",
        "MQTT-3.1.2-18",
        Swallow(kind::CONNECT, |frame| flags(frame) & 0x40 == 0 && !fits(frame)),
        &["a_password_without_its_flag_is_refused"],
    ),
    broken(
        "a password flag without one passes",
        "MQTT-3.1.2-19",
        Swallow(kind::CONNECT, |frame| flags(frame) & 0x40 != 0 && !fits(frame)),
        &["a_password_flag_needs_a_password"],
    ),
    broken(
        "another order in CONNECT passes",
        "MQTT-3.1.3-1",
        Swallow(kind::CONNECT, |frame| {
            flags(frame) & 4 != 0 && frame.body.get(11..13) == Some(&[0, 0])
        }),
        &["payload_fields_have_their_order"],
    ),
    broken(
        "a CONNECT without client identifier passes",
        "MQTT-3.1.3-3",
        Swallow(kind::CONNECT, |frame| frame.body.len() < 13),
        &["a_client_identifier_is_there"],
    ),
    broken(
        "an ill-formed client identifier passes",
        "MQTT-3.1.3-4",
        Swallow(kind::CONNECT, |frame| {
            flags(frame) & 0xC4 == 0 && frame.body.iter().any(|byte| *byte >= 0xC0)
        }),
        &["a_client_identifier_is_well_formed"],
    ),
    broken(
        "an ill-formed will topic passes",
        "MQTT-3.1.3-11",
        Swallow(kind::CONNECT, |frame| {
            flags(frame) & 4 != 0 && frame.body.iter().any(|byte| *byte >= 0xC0)
        }),
        &["a_will_topic_is_well_formed"],
    ),
    broken(
        "an ill-formed user name passes",
        "MQTT-3.1.3-12",
        Swallow(kind::CONNECT, |frame| {
            flags(frame) & 0x80 != 0 && frame.body.iter().any(|byte| *byte >= 0xC0)
        }),
        &["a_user_name_is_well_formed"],
    ),
    broken(
        "a CONNECT that is cut short passes",
        "MQTT-3.1.4-1",
        Swallow(kind::CONNECT, |frame| frame.body.len() < 12),
        &["a_client_identifier_is_there", "a_malformed_connect_closes"],
    ),
    broken(
        "an unknown method passes",
        "MQTT-4.12.0-1",
        Swallow(kind::CONNECT, |frame| has(frame, b"no such method")),
        &["an_unknown_method_is_refused"],
    ),
    broken(
        "a second CONNECT passes",
        "MQTT-3.1.0-2",
        SwallowSecond(kind::CONNECT),
        &["a_second_connect_is_refused"],
    ),
    broken(
        "a refused client identifier is not refused",
        "MQTT-3.1.3-8",
        Swallow(kind::CONNECT, |frame| frame.body.len() > 1_000),
        &["long_client_identifiers_are_accepted_or_refused"],
    ),
];

fn has(frame: &Frame, bytes: &[u8]) -> bool {
    frame.body.windows(bytes.len()).any(|window| window == bytes)
}

fn topic(frame: &Frame) -> Option<&[u8]> {
    let [high, low, rest @ ..] = frame.body.as_slice() else { return None };
    rest.get(..usize::from(u16::from_be_bytes([*high, *low])))
}

fn wild(topic: Option<&[u8]>) -> bool {
    topic.is_some_and(|topic| topic.iter().any(|byte| matches!(byte, b'#' | b'+')))
}

/// The connect flags of version 5.
fn flags(frame: &Frame) -> u8 {
    frame.body.get(7).copied().unwrap_or(0)
}

/// Whether the payload of a CONNECT of version 5 is as its flags say.
fn fits(frame: &Frame) -> bool {
    let flags = flags(frame);
    let Some(&length) = frame.body.get(10) else { return false };
    let Some(mut rest) = frame.body.get(11 + usize::from(length)..) else { return false };
    let counted = |rest: &mut &[u8]| {
        let [high, low, more @ ..] = *rest else { return false };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(more) = more.get(length..) else { return false };
        *rest = more;
        true
    };
    if !counted(&mut rest) {
        return false;
    }
    if flags & 4 != 0 {
        let Some((&length, more)) = rest.split_first() else { return false };
        let Some(more) = more.get(usize::from(length)..) else { return false };
        rest = more;
        if !counted(&mut rest) || !counted(&mut rest) {
            return false;
        }
    }
    let names = u32::from(flags >> 7) + u32::from(flags >> 6 & 1);
    (0..names).all(|_| counted(&mut rest)) && rest.is_empty()
}
