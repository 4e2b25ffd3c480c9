//! What only a broker sends: CONNACK, SUBACK and UNSUBACK.

use alloc::vec::Vec;

use super::acks::reason_code;
use super::cursor::Cursor;
use super::properties::PropertySet;
use crate::wire::codes;
use crate::wire::error::DecodeError;
use crate::wire::frame::Side;
use crate::wire::packet::{ConnAck, SubAck, UnsubAck};
use crate::wire::property_id::PropertyPlace;
use crate::wire::reason::ReasonCode;
use crate::wire::types::Version;

/// CONNACK.
pub(super) fn connack(mut body: Cursor, version: Version) -> Result<ConnAck, DecodeError> {
    let packet = body.packet();
    let flags = body.byte()?;
    let session_present = match (version, flags) {
        (Version::V31, _) => false, // the byte is unused
        (Version::V311 | Version::V5, 0) => false,
        (Version::V311 | Version::V5, 1) => true,
        // [MQTT-3.2.2-1]
        (Version::V311 | Version::V5, 2..) => return Err(DecodeError::ConnAckFlagsReserved),
    };
    let code = body.byte()?;
    let (reason, properties) = match version {
        Version::V5 => {
            let reason = reason_code(code, packet, Side::Server)?;
            (reason, PropertySet::read(&mut body, PropertyPlace::Packet(packet))?)
        }
        Version::V31 | Version::V311 => {
            let reason = codes::from_return_code(code);
            let reason = reason.ok_or(DecodeError::UnknownReasonCode { packet, code })?;
            (reason, PropertySet::default())
        }
    };
    body.finish()?;
    // [MQTT-3.2.2-6]
    if session_present && reason != ReasonCode::Success {
        return Err(DecodeError::SessionPresentWithRefusal);
    }
    Ok(ConnAck {
        session_present,
        reason,
        session_expiry_interval_s: properties.session_expiry_interval_s,
        receive_maximum: properties.receive_maximum,
        maximum_qos: properties.maximum_qos,
        retain_available: properties.retain_available,
        maximum_packet_size_bytes: properties.maximum_packet_size_bytes,
        assigned_client_id: properties.assigned_client_id,
        topic_alias_maximum: properties.topic_alias_maximum,
        wildcard_subscription_available: properties.wildcard_subscription_available,
        subscription_identifiers_available: properties.subscription_identifiers_available,
        shared_subscription_available: properties.shared_subscription_available,
        server_keep_alive_s: properties.server_keep_alive_s,
        response_information: properties.response_information,
        server_reference: properties.server_reference,
        authentication_method: properties.authentication_method,
        authentication_data: properties.authentication_data,
        reason_string: properties.reason_string,
        user_properties: properties.user_properties,
    })
}

/// SUBACK.
pub(super) fn suback(mut body: Cursor, version: Version) -> Result<SubAck, DecodeError> {
    let packet_id = body.packet_id()?;
    let details = match version {
        Version::V5 => answer_properties(&mut body)?.into_details(),
        Version::V31 | Version::V311 => None,
    };
    Ok(SubAck { packet_id, reasons: reasons(body, version)?, details })
}

/// UNSUBACK.
pub(super) fn unsuback(mut body: Cursor, version: Version) -> Result<UnsubAck, DecodeError> {
    let packet_id = body.packet_id()?;
    if version != Version::V5 {
        body.finish()?;
        return Ok(UnsubAck { packet_id, reasons: Vec::new(), details: None });
    }
    let details = answer_properties(&mut body)?.into_details();
    Ok(UnsubAck { packet_id, reasons: reasons(body, version)?, details })
}

fn answer_properties(body: &mut Cursor) -> Result<PropertySet, DecodeError> {
    let place = PropertyPlace::Packet(body.packet());
    PropertySet::read(body, place)
}

fn reasons(body: Cursor, version: Version) -> Result<Vec<ReasonCode>, DecodeError> {
    let packet = body.packet();
    let codes = body.into_rest();
    if codes.is_empty() {
        return Err(DecodeError::PayloadMissing { packet });
    }
    let older = version != Version::V5;
    codes
        .iter()
        .map(|&code| match code {
            // 0x80 is the only failure that older versions have.
            0x03..=0x7f | 0x81.. if older => Err(DecodeError::UnknownReasonCode { packet, code }),
            _ => reason_code(code, packet, Side::Server),
        })
        .collect()
}
