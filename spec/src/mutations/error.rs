//! A server that closes and does not say why, or lets pass what it says that it does not offer.

use super::{Mutation, broken};
use crate::proxy::Memory;
use crate::proxy::Spoil::{HoldOpen, Instead, Swallow, SwallowUnframed};
use crate::wire::Frame;
use crate::wire::packet::kind;
use crate::wire::property::id;

pub(super) const MUTATIONS: &[Mutation] = &[
    broken(
        "a violation is not told",
        "error-close",
        Instead(kind::DISCONNECT, |frame, _| without(frame, &[0x81, 0x82])),
        &["a_violation_is_told_before_the_close"],
    ),
    broken(
        "0x94 is not told",
        "error-codes",
        Instead(kind::DISCONNECT, |frame, _| without(frame, &[0x94])),
        &["an_invalid_alias_is_told"],
    ),
    broken(
        "0x93 is not told",
        "error-codes",
        Instead(kind::DISCONNECT, |frame, _| without(frame, &[0x93])),
        &["more_than_the_receive_maximum_is_told"],
    ),
    broken(
        "0x95 is not told",
        "error-codes",
        Instead(kind::DISCONNECT, |frame, _| without(frame, &[0x95])),
        &["a_packet_over_the_servers_limit_is_told"],
    ),
    broken(
        "0x9A and 0x9B are not told",
        "error-codes",
        Instead(kind::DISCONNECT, |frame, _| without(frame, &[0x9A, 0x9B])),
        &["a_qos_that_is_not_offered_is_told", "retain_that_is_not_offered_is_told"],
    ),
    broken(
        "0x9E, 0xA1 and 0xA2 are not told",
        "error-codes",
        Instead(kind::DISCONNECT, |frame, _| without(frame, &[0x9E, 0xA1, 0xA2])),
        &[
            "a_share_that_is_not_offered_is_told",
            "a_wildcard_that_is_not_offered_is_told",
            "an_identifier_that_is_not_offered_is_told",
        ],
    ),
    broken(
        "a CONNECT is refused without CONNACK",
        "connect-error-answer",
        Instead(
            kind::CONNACK,
            |frame, _| {
                if frame.body.get(1) == Some(&0) { vec![frame] } else { vec![] }
            },
        ),
        &["a_refused_connect_is_told"],
    ),
    broken(
        "who may not come in is kept",
        "MQTT-3.1.4-2",
        HoldOpen(kind::CONNACK),
        &[
            "an_unknown_method_is_refused",
            "who_is_refused_takes_nothing_over",
            "wrong_credentials_are_refused",
        ],
    ),
    broken(
        "what follows a refused CONNECT is answered",
        "MQTT-3.1.4-6",
        Instead(kind::CONNACK, answered),
        &["a_wrong_answer_is_refused", "after_a_refusal_nothing_is_processed"],
    ),
    broken(
        "a QoS over the maximum passes",
        "MQTT-3.2.2-11",
        Swallow(kind::PUBLISH, |frame| frame.first & 6 == 4),
        &["a_publication_over_the_maximum_qos_is_refused"],
    ),
    broken(
        "a will's QoS over the maximum passes",
        "MQTT-3.2.2-12",
        Swallow(kind::CONNECT, |frame| flags(frame) & 0x1C == 0x14),
        &["a_will_over_the_maximum_qos_is_refused"],
    ),
    broken(
        "a will to be retained passes where nothing is",
        "MQTT-3.2.2-13",
        Swallow(kind::CONNECT, |frame| flags(frame) & 0x24 == 0x24),
        &["a_retained_will_is_refused"],
    ),
    broken(
        "RETAIN passes where nothing is retained",
        "MQTT-3.2.2-14",
        Swallow(kind::PUBLISH, |frame| frame.first & 1 == 1),
        &["a_retained_publication_is_refused"],
    ),
    broken(
        "no packet of a megabyte is seen",
        "MQTT-3.2.2-15",
        SwallowUnframed,
        &["a_packet_of_the_servers_limit_is_taken", "a_packet_over_the_servers_limit_is_refused"],
    ),
    broken(
        "an alias passes where there is none",
        "MQTT-3.2.2-18",
        Swallow(kind::PUBLISH, |frame| {
            frame.body.windows(2).any(|two| two == [3, id::TOPIC_ALIAS])
        }),
        &["an_alias_is_refused_where_there_is_none"],
    ),
    broken(
        "open after too many publications",
        "MQTT-3.3.4-7",
        HoldOpen(kind::DISCONNECT),
        &["more_than_the_receive_maximum_is_refused"],
    ),
];

/// Nothing in place of a DISCONNECT with one of the codes.
fn without(frame: Frame, codes: &[u8]) -> Vec<Frame> {
    if frame.body.first().is_some_and(|code| codes.contains(code)) { vec![] } else { vec![frame] }
}

/// PINGRESP behind a refusing CONNACK.
fn answered(frame: Frame, _: &mut Memory) -> Vec<Frame> {
    if frame.body.get(1) == Some(&0) {
        return vec![frame];
    }
    vec![frame, Frame { first: 0xD0, body: Vec::new() }]
}

/// The connect flags of version 5.
fn flags(frame: &Frame) -> u8 {
    frame.body.get(7).copied().unwrap_or(0)
}
