//! The packets of a reason code and little more: PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH.

use super::cursor::Cursor;
use super::properties::PropertySet;
use crate::wire::codes;
use crate::wire::error::DecodeError;
use crate::wire::frame::{PacketType, Side};
use crate::wire::packet::{Ack, Auth, Disconnect, WireId};
use crate::wire::property_id::{PropertyId, PropertyPlace};
use crate::wire::reason::ReasonCode;
use crate::wire::types::Version;

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(super) fn ack<Id: WireId>(
    mut body: Cursor,
    version: Version,
    sender: Side,
) -> Result<Ack<Id>, DecodeError> {
    let packet_id = body.packet_id()?;
    if version != Version::V5 {
        body.finish()?;
        return Ok(Ack::new(packet_id, ReasonCode::Success));
    }
    let (reason, properties) = reason_and_properties(body, sender)?;
    Ok(Ack { packet_id, reason, details: properties.and_then(PropertySet::into_details) })
}

/// DISCONNECT.
pub(super) fn disconnect(
    body: Cursor,
    version: Version,
    sender: Side,
) -> Result<Disconnect, DecodeError> {
    if version != Version::V5 {
        body.finish()?;
        return Ok(Disconnect::default());
    }
    let (reason, properties) = reason_and_properties(body, sender)?;
    let properties = properties.unwrap_or_default();
    let misused = match sender {
        Side::Client => properties.server_reference.as_ref().map(|_| PropertyId::ServerReference),
        // [MQTT-3.14.2-2]
        Side::Server => {
            properties.session_expiry_interval_s.map(|_| PropertyId::SessionExpiryInterval)
        }
    };
    if let Some(property) = misused {
        return Err(DecodeError::PropertyFromWrongSide { property });
    }
    Ok(Disconnect {
        reason,
        session_expiry_interval_s: properties.session_expiry_interval_s,
        server_reference: properties.server_reference,
        reason_string: properties.reason_string,
        user_properties: properties.user_properties,
    })
}

/// AUTH.
pub(super) fn auth(body: Cursor, version: Version, sender: Side) -> Result<Auth, DecodeError> {
    if version != Version::V5 {
        return Err(DecodeError::NotInVersion { packet: PacketType::Auth, version });
    }
    // A broker's success may be abbreviated to nothing, method and all.
    let abbreviated = body.is_empty();
    let (reason, properties) = reason_and_properties(body, sender)?;
    let properties = properties.unwrap_or_default();
    if properties.authentication_method.is_none() && !abbreviated {
        return Err(DecodeError::AuthenticationMethodMissing);
    }
    Ok(Auth {
        reason,
        method: properties.authentication_method,
        data: properties.authentication_data,
        reason_string: properties.reason_string,
        user_properties: properties.user_properties,
    })
}

/// A reason code that `sender` may put into `packet`.
pub(super) fn reason_code(
    code: u8,
    packet: PacketType,
    sender: Side,
) -> Result<ReasonCode, DecodeError> {
    let reason =
        ReasonCode::from_u8(code).ok_or(DecodeError::UnknownReasonCode { packet, code })?;
    if !codes::is_allowed(packet, sender, reason) {
        return Err(DecodeError::MisplacedReasonCode { packet, code: reason });
    }
    Ok(reason)
}

/// The rest of `body`, where first the properties and then the reason code may be left out.
fn reason_and_properties(
    mut body: Cursor,
    sender: Side,
) -> Result<(ReasonCode, Option<PropertySet>), DecodeError> {
    let packet = body.packet();
    let code = if body.is_empty() { ReasonCode::Success.value() } else { body.byte()? };
    let reason = reason_code(code, packet, sender)?;
    if body.is_empty() {
        return Ok((reason, None));
    }
    let properties = PropertySet::read(&mut body, PropertyPlace::Packet(packet))?;
    body.finish()?;
    Ok((reason, Some(properties)))
}
