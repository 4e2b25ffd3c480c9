//! A server that misreads what is right: as if the client had asked for something else.

use super::{Mutation, broken};
use crate::proxy::Spoil::{Rewrite, Swallow};
use crate::wire::Frame;
use crate::wire::packet::kind;
use crate::wire::property::id;

pub(super) const MUTATIONS: &[Mutation] = &[
    broken(
        "Clean Start is not seen",
        "MQTT-3.1.2-4",
        Rewrite(kind::CONNECT, |frame| flags(frame, |flags| flags & !0x02)),
        &[
            "a_clean_start_forgets_held_identifiers",
            "a_takeover_with_clean_start_ends_the_session",
            "clean_start_discards_the_session",
        ],
    ),
    broken(
        "Clean Start is seen too late",
        "MQTT-3.1.4-4",
        Rewrite(kind::CONNECT, |frame| flags(frame, |flags| flags & !0x02)),
        &["clean_start_discards_the_session"],
    ),
    broken(
        "every start is clean",
        "MQTT-3.1.2-5",
        Rewrite(kind::CONNECT, |frame| flags(frame, |flags| flags | 0x02)),
        &["without_clean_start_the_session_goes_on"],
    ),
    broken(
        "no session is kept",
        "MQTT-3.1.2-23",
        Rewrite(kind::CONNECT, |frame| flags(frame, |flags| flags | 0x02)),
        &["a_session_is_kept_until_it_expires", "without_clean_start_the_session_goes_on"],
    ),
    broken(
        "a will is retained unasked",
        "MQTT-3.1.2-14",
        Rewrite(kind::CONNECT, |frame| {
            flags(frame, |flags| if flags & 4 == 0 { flags } else { flags | 0x20 });
        }),
        &["a_will_without_retain_is_not_retained"],
    ),
    broken(
        "a will is not retained",
        "MQTT-3.1.2-15",
        Rewrite(kind::CONNECT, |frame| flags(frame, |flags| flags & !0x20)),
        &["a_will_with_retain_is_retained"],
    ),
    broken(
        "keep alive is not seen",
        "MQTT-3.1.2-22",
        Rewrite(kind::CONNECT, |frame| keep_alive(frame, 0)),
        &[
            "a_silent_client_is_closed",
            "a_silent_client_leaves_its_will",
            "what_a_client_receives_does_not_keep_it_alive",
        ],
    ),
    broken(
        "another keep alive than the client's",
        "MQTT-3.2.2-22",
        Rewrite(kind::CONNECT, |frame| keep_alive(frame, 60)),
        &["a_silent_client_is_closed"],
    ),
    broken(
        "sessions never expire",
        "MQTT-4.1.0-2",
        Rewrite(kind::CONNECT, |frame| property(frame, id::SESSION_EXPIRY_INTERVAL, &[0, 1, 0, 0])),
        &["a_session_expires", "a_session_without_expiry_ends_with_its_connection"],
    ),
    broken(
        "a session ends while its connection is open",
        "MQTT-4.1.0-1",
        Rewrite(kind::CONNECT, |frame| property(frame, id::SESSION_EXPIRY_INTERVAL, &[0, 0, 0, 0])),
        &["a_session_does_not_end_while_connected"],
    ),
    broken(
        "the client's receive maximum is not seen",
        "MQTT-3.3.4-9",
        Rewrite(kind::CONNECT, |frame| property(frame, id::RECEIVE_MAXIMUM, &[0xFF, 0xFF])),
        &["deliveries_stay_within_the_receive_maximum"],
    ),
    broken(
        "the client's packet size is not seen",
        "MQTT-3.1.2-25",
        Rewrite(kind::CONNECT, |frame| property(frame, id::MAXIMUM_PACKET_SIZE, &[0x7F, 0, 0, 0])),
        &[
            "a_message_too_large_counts_as_delivered",
            "a_message_too_large_for_one_reaches_the_others",
        ],
    ),
    broken(
        "a will's delay is not seen",
        "MQTT-3.1.3-9",
        Rewrite(kind::CONNECT, |frame| will_delay(frame, [0; 4])),
        &["a_new_connection_cancels_the_waiting_will", "a_takeover_cancels_a_will_with_delay"],
    ),
    broken(
        "client identifiers differ by nothing but case",
        "MQTT-3.1.3-2",
        Rewrite(kind::CONNECT, |frame| {
            frame.body.iter_mut().skip(13).for_each(|byte| byte.make_ascii_lowercase());
        }),
        &["sessions_belong_to_client_identifiers"],
    ),
    broken(
        "client identifiers may not be long",
        "MQTT-3.1.3-5",
        Swallow(kind::CONNECT, |frame| frame.body.len() >= 13 + 23),
        &["client_identifiers_of_23_letters_and_digits_are_accepted"],
    ),
    broken(
        "No Local is not seen",
        "MQTT-3.8.3-3",
        Rewrite(kind::SUBSCRIBE, |frame| options(frame, |options| options & !0x04)),
        &["no_local_goes_by_client_identifier", "no_local_keeps_own_messages_away"],
    ),
    broken(
        "Retain As Published is not seen",
        "MQTT-3.3.1-13",
        Rewrite(kind::SUBSCRIBE, |frame| options(frame, |options| options & !0x08)),
        &["retain_as_published_keeps_retain"],
    ),
    broken(
        "Retain As Published is seen everywhere",
        "MQTT-3.3.1-12",
        Rewrite(kind::SUBSCRIBE, |frame| options(frame, |options| options | 0x08)),
        &["live_messages_lose_retain"],
    ),
    broken(
        "Retain Handling 1 is taken for 0",
        "MQTT-3.3.1-10",
        Rewrite(kind::SUBSCRIBE, |frame| options(frame, |options| options & !0x30)),
        &[
            "retain_handling_1_knows_the_subscriptions_of_a_session",
            "retain_handling_1_sends_to_new_subscriptions",
        ],
    ),
    broken(
        "Retain Handling 2 is taken for 0",
        "MQTT-3.3.1-11",
        Rewrite(kind::SUBSCRIBE, |frame| options(frame, |options| options & !0x30)),
        &["retain_handling_2_sends_none"],
    ),
    broken(
        "Retain Handling 0 is taken for 1",
        "MQTT-3.3.1-9",
        Rewrite(kind::SUBSCRIBE, |frame| options(frame, |options| options | 0x10)),
        &["retain_handling_0_sends_at_every_subscribe"],
    ),
    broken(
        "QoS 0 is granted to all",
        "MQTT-3.8.4-3",
        Rewrite(kind::SUBSCRIBE, |frame| options(frame, |options| options & !0x03)),
        &["a_subscription_is_replaced"],
    ),
    broken(
        "every filter is lower case",
        "MQTT-4.7.3-4",
        Rewrite(kind::SUBSCRIBE, |frame| {
            frame.body.iter_mut().skip(5).for_each(|byte| byte.make_ascii_lowercase());
        }),
        &["case_and_spaces_count"],
    ),
    broken(
        "filters with wildcards match no more at $",
        "MQTT-4.7.2-1",
        Rewrite(kind::SUBSCRIBE, unwild),
        &["wildcards_do_not_match_dollar_topics", "wildcards_do_not_match_sys_topics"],
    ),
    broken(
        "another filter is removed",
        "MQTT-3.10.4-1",
        Rewrite(kind::UNSUBSCRIBE, |frame| last(frame, b'~')),
        &["unsubscribe_removes_the_same_filter"],
    ),
    broken(
        "no filter is removed",
        "MQTT-3.10.4-2",
        Rewrite(kind::UNSUBSCRIBE, |frame| last(frame, b'~')),
        &["after_unsuback_nothing_new_comes"],
    ),
    broken(
        "RETAIN is not seen",
        "MQTT-3.3.1-5",
        Rewrite(kind::PUBLISH, |frame| frame.first &= !1),
        &["a_retained_message_replaces_the_one_before", "retained_messages_keep_their_qos"],
    ),
    broken(
        "every message is retained",
        "MQTT-3.3.1-8",
        Rewrite(kind::PUBLISH, |frame| frame.first |= 1),
        &["a_message_without_retain_changes_nothing"],
    ),
    broken(
        "an empty message is retained",
        "MQTT-3.3.1-7",
        Rewrite(kind::PUBLISH, |frame| {
            if frame.body.last() == Some(&0) {
                frame.body.push(b' ');
            }
        }),
        &["an_empty_message_is_never_retained"],
    ),
    broken(
        "messages do not expire",
        "MQTT-3.3.2-5",
        Rewrite(kind::PUBLISH, |frame| expiry(frame, [0, 0, 0, 99])),
        &["a_message_expires_in_a_queue", "an_expired_message_is_passed_over"],
    ),
    broken(
        "messages have less than their expiry",
        "MQTT-3.3.2-6",
        Rewrite(kind::PUBLISH, |frame| expiry(frame, [0, 0, 0, 3])),
        &[
            "a_live_message_has_its_whole_expiry",
            "the_expiry_is_counted_down_in_a_queue",
            "the_expiry_of_a_retained_message_is_counted_down",
        ],
    ),
    broken(
        "an alias is not known again",
        "MQTT-3.3.2-12",
        Swallow(kind::PUBLISH, |frame| frame.body.starts_with(&[0, 0, 3, id::TOPIC_ALIAS])),
        &["every_alias_up_to_the_maximum_is_taken"],
    ),
    broken(
        "an error code of a client is not seen",
        "MQTT-4.4.0-2",
        Rewrite(kind::PUBREC, |frame| frame.body.truncate(2)),
        &["a_pubrec_with_an_error_ends_the_delivery"],
    ),
    broken(
        "PUBACK with an error is not seen",
        "MQTT-4.8.2-6",
        Swallow(kind::PUBACK, |frame| frame.body.len() > 2),
        &["a_refused_message_goes_to_nobody_else"],
    ),
    broken(
        "an ending PUBREC is taken for a good one",
        "MQTT-4.3.3-4",
        Rewrite(kind::PUBREC, |frame| frame.body.truncate(2)),
        &["a_pubrec_with_an_error_ends_the_delivery"],
    ),
    broken(
        "PUBREC is not seen",
        "MQTT-4.3.3-6",
        Swallow(kind::PUBREC, |_| true),
        &["after_pubrel_the_publish_does_not_come_again"],
    ),
    broken(
        "PUBREL is not seen",
        "MQTT-4.3.3-11",
        Swallow(kind::PUBREL, |_| true),
        &[
            "a_release_is_understood_on_the_next_connection",
            "each_qos_has_its_answer",
            "pubrel_is_answered_by_pubcomp",
        ],
    ),
    broken(
        "PUBREL frees nothing",
        "MQTT-4.3.3-12",
        Swallow(kind::PUBREL, |_| true),
        &["a_clean_start_forgets_held_identifiers", "after_pubcomp_the_identifier_is_free"],
    ),
    broken(
        "SUBSCRIBE waits for the window",
        "MQTT-3.3.4-10",
        Swallow(kind::SUBSCRIBE, |frame| frame.body.starts_with(&[0, 2])),
        &["a_full_window_delays_nothing_else"],
    ),
    broken(
        "PUBLISH waits for the window",
        "MQTT-4.9.0-3",
        Swallow(kind::PUBLISH, |frame| frame.body.windows(3).any(|three| three == b"/c\0")),
        &["a_full_window_delays_nothing_else"],
    ),
    broken(
        "a normal DISCONNECT leaves the will",
        "MQTT-3.14.4-3",
        Rewrite(kind::DISCONNECT, |frame| {
            if frame.body.is_empty() {
                frame.body = vec![0x04];
            }
        }),
        &["a_normal_disconnect_deletes_the_will"],
    ),
    broken(
        "DISCONNECT is not seen",
        "MQTT-3.1.2-10",
        Rewrite(kind::DISCONNECT, |frame| {
            if frame.body.is_empty() {
                frame.body = vec![0x04];
            }
        }),
        &["a_new_connect_replaces_the_will", "a_normal_disconnect_deletes_the_will"],
    ),
    broken(
        "the session's deliveries go on for nobody",
        "MQTT-3.10.4-3",
        Swallow(kind::PUBREC, |_| true),
        &["what_was_begun_is_finished"],
    ),
    broken(
        "the topic's levels do not count",
        "MQTT-4.7.1-2",
        Rewrite(kind::SUBSCRIBE, unwild),
        &["a_plus_fills_its_level", "a_plus_matches_one_level", "wildcards_are_for_filters"],
    ),
    broken(
        "a long topic is not taken",
        "MQTT-4.7.3-3",
        Swallow(kind::SUBSCRIBE, |frame| frame.body.len() > 30_000),
        &["topics_may_be_long"],
    ),
    broken(
        "large packets are not taken apart",
        "MQTT-4.2.0-1",
        Swallow(kind::PUBLISH, |frame| frame.body.len() > 16_000),
        &["a_large_payload_is_delivered"],
    ),
    broken(
        "QoS above 0 is not subscribed",
        "MQTT-3.2.2-10",
        Swallow(kind::SUBSCRIBE, |frame| frame.body.last() == Some(&2)),
        &["subscriptions_of_every_qos_are_taken"],
    ),
    broken(
        "a delivery is never over",
        "MQTT-4.3.2-3",
        Swallow(kind::PUBACK, |_| true),
        &[
            "an_unanswered_qos_1_delivery_is_outstanding",
            "what_was_acknowledged_does_not_come_again",
        ],
    ),
];

/// Where the connect flags are: behind the protocol name and the level.
fn flags_at(frame: &Frame) -> usize {
    2 + usize::from(frame.body.get(1).copied().unwrap_or(4)) + 1
}

fn flags(frame: &mut Frame, change: fn(u8) -> u8) {
    let at = flags_at(frame);
    if let Some(flags) = frame.body.get_mut(at) {
        *flags = change(*flags);
    }
}

fn keep_alive(frame: &mut Frame, seconds: u8) {
    let at = flags_at(frame) + 1;
    // Those that a case is about, not those that are far away.
    if let Some(bytes) = frame.body.get_mut(at..at + 2)
        && *bytes == [0, 1]
    {
        bytes[1] = seconds;
    }
}

/// Overwrites a property of CONNECT, or of PUBLISH and a will where `from` is behind the topic.
fn overwrite(frame: &mut Frame, from: usize, id: u8, value: &[u8]) {
    use crate::wire::property::{Type, type_of};
    let end = from + 1 + usize::from(frame.body.get(from).copied().unwrap_or(0));
    let mut at = from + 1;
    while at < end {
        let Some(&found) = frame.body.get(at) else { return };
        let counted = |at: usize| {
            let length = frame.body.get(at..at + 2).unwrap_or(&[0, 0]);
            2 + usize::from(length[0]) * 256 + usize::from(length[1])
        };
        let length = match type_of(found) {
            Some(Type::Byte | Type::Variable) => 1,
            Some(Type::Two) => 2,
            Some(Type::Four) => 4,
            Some(Type::Text | Type::Binary) => counted(at + 1),
            Some(Type::Pair) => counted(at + 1) + counted(at + 1 + counted(at + 1)),
            None => return,
        };
        if found == id
            && let Some(place) = frame.body.get_mut(at + 1..at + 1 + value.len())
        {
            place.copy_from_slice(value);
        }
        at += 1 + length;
    }
}

fn property(frame: &mut Frame, id: u8, value: &[u8]) {
    let from = flags_at(frame) + 3;
    // 0 and 0xFFFFFFFF are refused or stand for something else, and no case here is about them.
    overwrite(frame, from, id, value);
}

/// Overwrites the will's delay, which is the only property in the wills that it is about.
fn will_delay(frame: &mut Frame, value: [u8; 4]) {
    let at = frame.body.windows(5).position(|five| five[0] == 5 && five[1] == 0x18);
    if let Some(place) = at.and_then(|at| frame.body.get_mut(at + 2..at + 6)) {
        place.copy_from_slice(&value);
    }
}

fn expiry(frame: &mut Frame, value: [u8; 4]) {
    let length = frame.body.get(..2).unwrap_or(&[0, 0]);
    let topic = 2 + usize::from(length[0]) * 256 + usize::from(length[1]);
    let from = topic + if frame.first & 6 == 0 { 0 } else { 2 };
    overwrite(frame, from, id::MESSAGE_EXPIRY_INTERVAL, &value);
}

/// Changes the options of every filter of a SUBSCRIBE with a short property length.
fn options(frame: &mut Frame, change: fn(u8) -> u8) {
    let mut at = 3 + usize::from(frame.body.get(2).copied().unwrap_or(0));
    while let Some(&[high, low]) = frame.body.get(at..at + 2) {
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if let Some(options) = frame.body.get_mut(at) {
            *options = change(*options);
        }
        at += 1;
    }
}

/// Makes `+` and `#` ordinary characters.
fn unwild(frame: &mut Frame) {
    for byte in frame.body.iter_mut().skip(5).filter(|byte| matches!(byte, b'+' | b'#')) {
        *byte = b'~';
    }
}

fn last(frame: &mut Frame, byte: u8) {
    if let Some(place) = frame.body.last_mut() {
        *place = byte;
    }
}
