//! CONNECT in all its versions.

use alloc::boxed::Box;

use super::cursor::Cursor;
use super::properties::PropertySet;
use crate::routing::topic::Topic;
use crate::wire::error::DecodeError;
use crate::wire::frame::PacketType;
use crate::wire::packet::{Connect, Will};
use crate::wire::property_id::PropertyPlace;
use crate::wire::types::{QoS, Version};

/// Protocol name and level; what follows is for [`connect`].
pub(in crate::wire) fn protocol(body: &mut Cursor) -> Result<Version, DecodeError> {
    let name = body.binary()?;
    version_of(&name, body.byte()?)
}

/// Looks for name and level in the first bytes of a body that is not going to be read.
///
/// # Errors
/// How many more bytes it takes to know; never more than the longest known name and the level.
pub(in crate::wire) fn peek_protocol(body: &[u8]) -> Result<Option<Version>, usize> {
    let Some(([high, low], rest)) = body.split_first_chunk::<2>() else {
        return Err(2 - body.len());
    };
    let name_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    if name_bytes != NAME.len() && name_bytes != NAME_V31.len() {
        return Ok(None);
    }
    match rest.split_at_checked(name_bytes) {
        Some((name, [level, ..])) => Ok(match version_of(name, *level) {
            Ok(version) => Some(version),
            Err(DecodeError::UnsupportedProtocol { answer, .. }) => Some(answer),
            Err(_) => None,
        }),
        Some((_, [])) | None => Err(name_bytes + 1 - rest.len()),
    }
}

/// Reads everything behind the protocol level.
pub(in crate::wire) fn connect(mut body: Cursor, version: Version) -> Result<Connect, DecodeError> {
    let flags = Flags::new(body.byte()?, version)?;
    let keep_alive_s = body.u16()?;
    let properties = match version {
        Version::V5 => PropertySet::read(&mut body, PropertyPlace::Packet(PacketType::Connect))?,
        Version::V31 | Version::V311 => PropertySet {
            session_expiry_interval_s: (!flags.clean_start).then_some(u32::MAX),
            ..PropertySet::default()
        },
    };
    // [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4]
    let client_id = body.text()?;
    let will = match flags.will {
        Some(will_flags) => Some(Box::new(will(&mut body, will_flags, version)?)),
        None => None,
    };
    // 3.1 lets a string be missing though its flag is set.
    let may_be_missing = version == Version::V31;
    // [MQTT-3.1.2-17] [MQTT-3.1.3-12]
    let has_user_name = flags.user_name && !(may_be_missing && body.is_empty());
    let user_name = if has_user_name { Some(body.text()?) } else { None };
    // [MQTT-3.1.2-19]
    let has_password = flags.password && !(may_be_missing && body.is_empty());
    let password = if has_password { Some(body.binary()?) } else { None };
    // [MQTT-3.1.2-16] [MQTT-3.1.2-18] [MQTT-3.1.4-1]
    body.finish()?;

    let client_id_required = match version {
        Version::V31 => true,
        Version::V311 => !flags.clean_start,
        Version::V5 => false,
    };
    if client_id.is_empty() && client_id_required {
        return Err(DecodeError::ClientIdEmpty);
    }
    if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
        return Err(DecodeError::AuthenticationDataWithoutMethod);
    }
    Ok(Connect {
        version,
        clean_start: flags.clean_start,
        keep_alive_s,
        client_id,
        will,
        user_name,
        password,
        session_expiry_interval_s: properties.session_expiry_interval_s.unwrap_or(0),
        receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX),
        maximum_packet_size_bytes: properties.maximum_packet_size_bytes,
        topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
        request_response_information: properties.request_response_information.unwrap_or(false),
        request_problem_information: properties.request_problem_information.unwrap_or(true),
        authentication_method: properties.authentication_method,
        authentication_data: properties.authentication_data,
        user_properties: properties.user_properties,
    })
}

const NAME: &[u8] = b"MQTT";
const NAME_V31: &[u8] = b"MQIsdp";

/// The version with this name and level `[MQTT-3.1.2-1]` `[MQTT-3.1.2-2]`.
fn version_of(name: &[u8], level: u8) -> Result<Version, DecodeError> {
    let answer = match (name, level) {
        (NAME, 5) => return Ok(Version::V5),
        (NAME, 4) => return Ok(Version::V311),
        (NAME_V31, 3) => return Ok(Version::V31),
        (NAME_V31, _) => Version::V31,
        (_, 0..=4) => Version::V311,
        (_, 5..) => Version::V5,
    };
    Err(DecodeError::UnsupportedProtocol { level, answer })
}

struct Flags {
    clean_start: bool,
    will: Option<WillFlags>,
    user_name: bool,
    password: bool,
}

#[derive(Clone, Copy)]
struct WillFlags {
    qos: QoS,
    retain: bool,
}

impl Flags {
    fn new(byte: u8, version: Version) -> Result<Self, DecodeError> {
        // 3.1 disregards what 3.1.1 and 5 forbid: the unused bit, and will flags without a will.
        let lenient = version == Version::V31;
        // [MQTT-3.1.2-3]
        if byte & 0x01 != 0 && !lenient {
            return Err(DecodeError::ConnectFlagReserved);
        }
        let will = if byte & 0x04 != 0 {
            // [MQTT-3.1.2-12]
            let qos = QoS::from_u8(byte >> 3 & 0b11).ok_or(DecodeError::WillQos3)?;
            Some(WillFlags { qos, retain: byte & 0x20 != 0 })
        } else {
            // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
            if byte & 0x38 != 0 && !lenient {
                return Err(DecodeError::WillFlagsWithoutWill);
            }
            None
        };
        let flags = Flags {
            clean_start: byte & 0x02 != 0,
            will,
            user_name: byte & 0x80 != 0,
            password: byte & 0x40 != 0,
        };
        if flags.password && !flags.user_name && version != Version::V5 {
            return Err(DecodeError::PasswordWithoutUserName);
        }
        Ok(flags)
    }
}

/// Will properties, will topic and will payload `[MQTT-3.1.2-9]`.
fn will(body: &mut Cursor, flags: WillFlags, version: Version) -> Result<Will, DecodeError> {
    let mut properties = match version {
        Version::V5 => PropertySet::read(body, PropertyPlace::Will)?,
        Version::V31 | Version::V311 => PropertySet::default(),
    };
    Ok(Will {
        // [MQTT-3.1.3-11]
        topic: Topic::new(body.text()?)?,
        payload: body.binary()?,
        qos: flags.qos,
        retain: flags.retain,
        delay_interval_s: properties.will_delay_interval_s.unwrap_or(0),
        message_expiry_interval_s: properties.message_expiry_interval_s,
        properties: properties.take_message_properties(),
    })
}
