//! What a server of 3.1.1 must not do: only connections of that version are spoilt, where it makes a difference.

use super::{Mutation, broken};
use crate::proxy::Memory;
use crate::proxy::Spoil::{Bytes, Instead, Rewrite, Swallow};
use crate::wire::packet::kind;
use crate::wire::{Frame, Version, put_counted};

const CLEAN_SESSION: u8 = 0x02;
const WILL: u8 = 0x3C;
const PASSWORD: u8 = 0x40;
/// Where a CONNECT of 3.1.1 says how long it may be silent, two bytes.
const KEEP_ALIVE: usize = 8;

pub(super) const MUTATIONS: &[Mutation] = &[
    broken(
        "3.1.1: no session is stored",
        "MQTT311-3.1.2-4",
        Rewrite(kind::CONNECT, |frame| connect(frame, |flags, _| *flags |= CLEAN_SESSION)),
        &["version_4_cleans_and_resumes"],
    ),
    broken(
        "3.1.1: Clean Session is not seen",
        "MQTT311-3.1.2-6",
        Rewrite(kind::CONNECT, |frame| connect(frame, |flags, _| *flags &= !CLEAN_SESSION)),
        &["version_4_cleans_and_resumes"],
    ),
    broken(
        "3.1.1: session present is always 0",
        "MQTT311-3.2.2-2",
        Instead(kind::CONNACK, |frame, memory| changed(frame, memory, |frame| set(frame, 0, 0))),
        &["version_4_cleans_and_resumes"],
    ),
    broken(
        "3.1.1: nothing is stored for a client that is away",
        "MQTT311-3.1.2-5",
        Instead(kind::PUBLISH, |frame, memory| without(frame, memory, |_, memory| memory.resumed)),
        &["version_4_stores_what_comes_while_it_is_away"],
    ),
    broken(
        "3.1.1: nothing is repeated on resuming",
        "MQTT311-4.4.0-1",
        Instead(kind::PUBLISH, |frame, memory| without(frame, memory, |_, memory| memory.resumed)),
        &["version_4_repeats_with_dup_on_resuming"],
    ),
    broken(
        "3.1.1: a will is not taken",
        "MQTT311-3.1.2-8",
        Rewrite(kind::CONNECT, |frame| connect(frame, without_will)),
        &["wills_in_version_4"],
    ),
    broken(
        "3.1.1: DISCONNECT leaves the will",
        "MQTT311-3.14.4-3",
        Swallow(kind::DISCONNECT, |_| true),
        &["wills_in_version_4"],
    ),
    broken(
        "3.1.1: a reserved flag passes",
        "MQTT311-3.1.2-3",
        Rewrite(kind::CONNECT, |frame| connect(frame, |flags, _| *flags &= !1)),
        &["a_reserved_flag_closes_without_a_word"],
    ),
    broken(
        "3.1.1: a CONNECT that is not as it should be passes",
        "MQTT311-3.2.2-6",
        Rewrite(kind::CONNECT, |frame| connect(frame, |flags, _| *flags &= !1)),
        &["a_connect_that_no_return_code_fits_gets_no_connack"],
    ),
    broken(
        "3.1.1: a password without a user passes",
        "MQTT311-3.1.2-22",
        Rewrite(kind::CONNECT, |frame| connect(frame, without_password)),
        &["a_password_needs_a_user_name"],
    ),
    broken(
        "3.1.1: no identifier and a session to be stored",
        "MQTT311-3.1.3-7",
        Rewrite(kind::CONNECT, |frame| {
            connect(frame, |flags, fields| {
                if fields.first().is_some_and(Vec::is_empty) {
                    *flags |= CLEAN_SESSION;
                }
            });
        }),
        &["an_empty_identifier_needs_a_clean_session"],
    ),
    broken(
        "3.1.1: another return code for no identifier",
        "MQTT311-3.1.3-8",
        Instead(kind::CONNACK, |frame, memory| changed(frame, memory, not_authorized)),
        &["an_empty_identifier_needs_a_clean_session"],
    ),
    broken(
        "3.1.1: another return code for an identifier",
        "MQTT311-3.1.3-9",
        Instead(kind::CONNACK, |frame, memory| changed(frame, memory, not_authorized)),
        &["a_rejected_identifier_gets_return_code_2"],
    ),
    broken(
        "3.1.1: another return code for an unknown version",
        "MQTT311-3.1.2-2",
        // Only an older version has a CONNACK of two bytes.
        Bytes(kind::CONNACK, |frame| {
            if frame.body == [0, 1] {
                set(frame, 1, 2);
            }
        }),
        &["an_unknown_version_gets_return_code_1"],
    ),
    broken(
        "3.1.1: keep alive is not seen",
        "MQTT311-3.1.2-24",
        Rewrite(kind::CONNECT, |frame| {
            if is_connect(frame) {
                set(frame, KEEP_ALIVE, 0);
                set(frame, KEEP_ALIVE + 1, 0);
            }
        }),
        &["keep_alive_in_version_4"],
    ),
    broken(
        "3.1.1: nothing is taken over from an older connection",
        "MQTT311-3.1.4-2",
        // Under another identifier it stays as it is.
        Rewrite(kind::CONNECT, |frame| {
            connect(frame, |_, fields| {
                if let Some(client_id) = fields.first_mut() {
                    client_id.push(b'x');
                }
            });
        }),
        &["a_takeover_closes_the_older_version"],
    ),
    broken(
        "3.1.1: a PUBLISH that is not allowed has no consequence",
        "MQTT311-3.3.5-2",
        Swallow(kind::PUBLISH, is_on_anothers_topic),
        &["a_refused_publication_closes_or_is_acknowledged"],
    ),
    broken(
        "3.1.1: subscriptions end before the connection",
        "MQTT311-4.1.0-2",
        Instead(kind::PUBLISH, |frame, memory| {
            without(frame, memory, |_, memory| memory.count > 1)
        }),
        &["a_session_of_version_4_lasts_as_long_as_its_connection"],
    ),
    broken(
        "3.1.1: PINGRESP before CONNACK",
        "MQTT311-3.2.0-1",
        Instead(kind::CONNACK, |frame, memory| match memory.version {
            Version::V4 => vec![Frame { first: 0xD0, body: Vec::new() }, frame],
            Version::V3 | Version::V5 => vec![frame],
        }),
        &["version_4_is_served_beside_5"],
    ),
    broken(
        "3.1.1: retained messages end with the session",
        "MQTT311-3.1.2-7",
        Instead(kind::PUBLISH, |frame, memory| without(frame, memory, |frame, _| retain(frame))),
        &["retained_messages_outlive_a_session_of_version_4"],
    ),
    broken(
        "3.1.1: the retained message of before stays",
        "MQTT311-3.3.1-7",
        Instead(kind::PUBLISH, |frame, memory| {
            changed(frame, memory, |frame| {
                if frame.body.ends_with(b"behind") {
                    frame.body.truncate(frame.body.len() - b"behind".len());
                    frame.body.extend_from_slice(b"before");
                }
            })
        }),
        &["a_retained_message_at_qos_0_discards_the_one_before"],
    ),
    broken(
        "3.1.1: a retained message without RETAIN",
        "MQTT311-3.3.1-8",
        Instead(kind::PUBLISH, |frame, memory| changed(frame, memory, |frame| frame.first &= !1)),
        &["retained_messages_in_version_4"],
    ),
    broken(
        "3.1.1: RETAIN for an existing subscription",
        "MQTT311-3.3.1-9",
        Instead(kind::PUBLISH, |frame, memory| changed(frame, memory, |frame| frame.first |= 1)),
        &["retained_messages_in_version_4"],
    ),
    broken(
        "3.1.1: retained messages come once",
        "MQTT311-3.8.4-3",
        Instead(kind::PUBLISH, |frame, memory| {
            without(frame, memory, |frame, memory| retain(frame) && memory.count > 2)
        }),
        &["retained_messages_in_version_4"],
    ),
    broken(
        "3.1.1: SUBACK says another QoS 2",
        "MQTT311-3.9.3-2",
        Instead(kind::SUBACK, |frame, memory| {
            changed(frame, memory, |frame| {
                for code in frame.body.iter_mut().skip(2).filter(|code| **code == 2) {
                    *code = 3;
                }
            })
        }),
        &["suback_codes_of_version_4"],
    ),
    broken(
        "3.1.1: UNSUBACK with a code",
        "MQTT311-3.10.4-4",
        Instead(kind::UNSUBACK, |frame, memory| changed(frame, memory, |frame| frame.body.push(0))),
        &["unsuback_has_no_codes_in_version_4"],
    ),
    broken(
        "3.1.1: options of SUBSCRIBE pass",
        "MQTT311-3.8.3-4",
        Swallow(kind::SUBSCRIBE, |frame| frame.body.last().is_some_and(|options| *options > 2)),
        &["a_violation_closes_without_disconnect"],
    ),
    broken(
        "3.1.1: QoS 3 passes",
        "MQTT311-4.8.0-1",
        Swallow(kind::PUBLISH, |frame| frame.first & 0x06 == 0x06),
        &["a_violation_closes_without_disconnect"],
    ),
];

/// What comes in place of a server's packet to a client of 3.1.1.
fn changed(mut frame: Frame, memory: &Memory, change: fn(&mut Frame)) -> Vec<Frame> {
    if memory.version == Version::V4 {
        change(&mut frame);
    }
    vec![frame]
}

/// Keeps a server's packet back from a client of 3.1.1.
fn without(frame: Frame, memory: &Memory, is_lost: fn(&Frame, &Memory) -> bool) -> Vec<Frame> {
    if memory.version == Version::V4 && is_lost(&frame, memory) { Vec::new() } else { vec![frame] }
}

fn retain(frame: &Frame) -> bool {
    frame.first & 1 == 1
}

fn set(frame: &mut Frame, at: usize, byte: u8) {
    if let Some(place) = frame.body.get_mut(at) {
        *place = byte;
    }
}

/// Any refusal becomes this one.
fn not_authorized(frame: &mut Frame) {
    if frame.body.get(1).is_some_and(|code| *code != 0) {
        set(frame, 1, 5);
    }
}

/// Whether a PUBLISH is on a topic that is not one of the suite's own, as the one that the target refuses is.
fn is_on_anothers_topic(frame: &Frame) -> bool {
    let topic = frame.body.get(2..).unwrap_or_default();
    !topic.starts_with(b"conformance/")
}

fn is_connect(frame: &Frame) -> bool {
    matches!(frame.body.as_slice(), [0, 4, _, _, _, _, 4, ..])
}

/// Changes the flags and the fields of the payload of a CONNECT of 3.1.1.
fn connect(frame: &mut Frame, change: fn(&mut u8, &mut Vec<Vec<u8>>)) {
    const FLAGS: usize = 7;
    const PAYLOAD: usize = 10;
    let &[0, 4, _, _, _, _, 4, mut flags, _, _, ref payload @ ..] = frame.body.as_slice() else {
        return;
    };
    let mut fields = Vec::new();
    let mut rest = payload;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((field, behind)) = behind.split_at_checked(length) else { return };
        fields.push(field.to_vec());
        rest = behind;
    }
    if !rest.is_empty() {
        return;
    }
    change(&mut flags, &mut fields);
    set(frame, FLAGS, flags);
    frame.body.truncate(PAYLOAD);
    for field in fields {
        put_counted(&mut frame.body, &field);
    }
}

fn without_will(flags: &mut u8, fields: &mut Vec<Vec<u8>>) {
    if *flags & WILL != 0 && fields.len() > 2 {
        *flags &= !WILL;
        fields.drain(1..3);
    }
}

fn without_password(flags: &mut u8, fields: &mut Vec<Vec<u8>>) {
    if *flags & PASSWORD != 0 {
        *flags &= !PASSWORD;
        fields.pop();
    }
}
