//! A server that gets enhanced authentication wrong, and sessions and exchanges at their beginning and end.

use super::server::{add, long, pair, properties, reason, replace, text};
use super::{Mutation, broken};
use crate::proxy::Spoil::{Alter, Bytes, HoldOpen, Instead, Swallow};
use crate::wire::Frame;
use crate::wire::packet::kind;
use crate::wire::property::id;

pub(super) const MUTATIONS: &[Mutation] = &[
    broken(
        "other packets in the exchange let in",
        "MQTT-3.1.2-30",
        Bytes(kind::CONNACK, let_in),
        &["other_packets_in_the_exchange_are_refused"],
    ),
    broken(
        "who leaves the exchange is kept",
        "MQTT-3.1.2-30",
        HoldOpen(kind::AUTH),
        &["a_client_may_leave_the_exchange"],
    ),
    broken(
        "a question with a client's code",
        "MQTT-3.15.2-1",
        Alter(kind::AUTH, |packet, _| reason(packet, 0x19)),
        &[
            "an_exchange_lets_in",
            "another_code_in_the_exchange_is_refused",
            "re_authentication_succeeds",
        ],
    ),
    broken(
        "AUTH with too long a reason",
        "MQTT-3.15.2-2",
        Alter(kind::AUTH, |packet, _| add(packet, id::REASON_STRING, long())),
        &["an_auth_fits"],
    ),
    broken(
        "AUTH with too long a user property",
        "MQTT-3.15.2-3",
        Alter(kind::AUTH, |packet, _| add(packet, id::USER_PROPERTY, pair())),
        &["an_auth_fits"],
    ),
    broken(
        "a question that says all is well",
        "MQTT-4.12.0-2",
        Alter(kind::AUTH, |packet, _| reason(packet, 0)),
        &["an_exchange_lets_in"],
    ),
    broken(
        "another code in the exchange lets in",
        "MQTT-4.12.0-3",
        Bytes(kind::CONNACK, let_in),
        &["another_code_in_the_exchange_is_refused"],
    ),
    broken(
        "a wrong answer lets in",
        "MQTT-4.12.0-4",
        Bytes(kind::CONNACK, let_in),
        &["a_wrong_answer_is_refused"],
    ),
    broken(
        "AUTH of another method",
        "MQTT-4.12.0-5",
        Alter(kind::AUTH, |packet, _| replace(packet, id::AUTHENTICATION_METHOD, text("other"))),
        &[
            "an_exchange_lets_in",
            "another_method_in_the_exchange_is_refused",
            "re_authentication_succeeds",
        ],
    ),
    broken(
        "CONNACK without the method",
        "MQTT-4.12.0-5",
        Alter(kind::CONNACK, |packet, _| properties(packet).remove(id::AUTHENTICATION_METHOD)),
        &["an_exchange_lets_in", "re_authentication_succeeds"],
    ),
    broken(
        "the end of a re-authentication without the method",
        "MQTT-4.12.0-5",
        // Behind the questions at CONNECT and at the new beginning.
        Alter(kind::AUTH, |packet, memory| {
            if memory.count == 3 {
                properties(packet).remove(id::AUTHENTICATION_METHOD);
            }
        }),
        &["re_authentication_succeeds"],
    ),
    broken(
        "another method lets in",
        "MQTT-4.12.0-5",
        Bytes(kind::CONNACK, let_in),
        &["another_method_in_the_exchange_is_refused"],
    ),
    broken(
        "a re-authentication is not seen",
        "MQTT-4.12.1-1",
        Swallow(kind::AUTH, |frame| frame.body.first() == Some(&0x19)),
        &["re_authentication_by_another_method_is_refused", "re_authentication_succeeds"],
    ),
    broken(
        "a re-authentication by another method passes",
        "MQTT-4.12.1-1",
        Swallow(kind::AUTH, |frame| has(frame, b"another")),
        &["re_authentication_by_another_method_is_refused"],
    ),
    broken(
        "open after a re-authentication that failed",
        "MQTT-4.12.1-2",
        HoldOpen(kind::DISCONNECT),
        &["re_authentication_that_fails_closes"],
    ),
    broken(
        "no session is begun without Clean Start",
        "MQTT-3.1.2-6",
        Swallow(kind::CONNECT, |frame| frame.body.get(7).is_some_and(|flags| flags & 2 == 0)),
        &["without_clean_start_a_session_is_created"],
    ),
    broken(
        "an empty client identifier is not taken",
        "MQTT-3.1.3-6",
        Swallow(kind::CONNECT, |frame| frame.body.get(10..13) == Some(&[0, 0, 0])),
        &["an_empty_client_identifier_gets_one_assigned"],
    ),
    broken(
        "a message that was sent expires",
        "MQTT-4.3.3-7",
        Instead(kind::PUBREL, |frame, memory| if memory.resumed { vec![] } else { vec![frame] }),
        &["expiry_does_not_end_a_qos_2_delivery"],
    ),
    broken(
        "a refusing PUBREC does not free the identifier",
        "MQTT-4.3.3-9",
        Bytes(kind::PUBREC, |frame| {
            if frame.body.len() == 2 {
                frame.body.push(0x91);
            }
        }),
        &["after_a_refused_pubrec_the_identifier_is_free"],
    ),
    broken(
        "a begun delivery goes on to another member",
        "MQTT-4.8.2-5",
        Instead(kind::PINGRESP, |frame, _| {
            vec![Frame { first: 0x30, body: b"\0\x01a\0begun".to_vec() }, frame]
        }),
        &["a_begun_qos_2_delivery_ends_with_the_session"],
    ),
];

/// Makes a refusing CONNACK accept. To swallow what is refused would not do: a server that waits too long closes.
fn let_in(frame: &mut Frame) {
    if let Some(code) = frame.body.get_mut(1) {
        *code = 0;
    }
}

fn has(frame: &Frame, bytes: &[u8]) -> bool {
    frame.body.windows(bytes.len()).any(|window| window == bytes)
}
