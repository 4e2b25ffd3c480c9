//! How `sub` shows a message.

use std::io::{self, Write};

use signalhouse_core::Time;
use signalhouse_core::wire::packet::OutboundPublish;
use signalhouse_core::wire::types::Delivery;

/// A format, taken apart.
#[derive(Debug)]
pub(super) struct Format(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(char),
    Field(char),
}

const FIELDS: &str = "tpxXlqrdmCDEFPRSU";

impl Format {
    /// Reads a format, and adds an end of line if `eol`.
    pub(super) fn parse(format: &str, eol: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '%' => match characters.next() {
                    Some('%') => Piece::Literal('%'),
                    Some(field) if FIELDS.contains(field) => Piece::Field(field),
                    Some(other) => return Err(format!("-F: there is no %{other}")),
                    None => return Err("-F: a % at the end stands for nothing".to_owned()),
                },
                '\\' => match characters.next() {
                    Some('n') => Piece::Literal('\n'),
                    Some('r') => Piece::Literal('\r'),
                    Some('t') => Piece::Literal('\t'),
                    Some('0') => Piece::Literal('\0'),
                    Some('\\') => Piece::Literal('\\'),
                    Some(other) => return Err(format!("-F: there is no \\{other}")),
                    None => return Err("-F: a \\ at the end stands for nothing".to_owned()),
                },
                other => Piece::Literal(other),
            });
        }
        if eol {
            pieces.push(Piece::Literal('\n'));
        }
        Ok(Format(pieces))
    }

    pub(super) fn write(
        &self,
        publish: &OutboundPublish,
        now: Time,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(character) => write!(out, "{character}"),
            Piece::Field(field) => write_field(*field, publish, now, out),
        })
    }
}

fn write_field(
    field: char,
    publish: &OutboundPublish,
    now: Time,
    out: &mut impl Write,
) -> io::Result<()> {
    let message = &publish.message;
    match field {
        't' => write!(out, "{}", message.topic),
        'p' => out.write_all(&message.payload),
        'x' => message.payload.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        'X' => message.payload.iter().try_for_each(|byte| write!(out, "{byte:02X}")),
        'l' => write!(out, "{}", message.payload.len()),
        'q' => write!(out, "{}", publish.delivery.qos()),
        'r' => write!(out, "{}", u8::from(publish.retain)),
        'd' => write!(out, "{}", u8::from(publish.dup)),
        'm' => match publish.delivery {
            Delivery::AtMostOnce => write!(out, "0"),
            Delivery::AtLeastOnce(id) | Delivery::ExactlyOnce(id) => write!(out, "{}", id.0),
        },
        'E' => publish.message_expiry_interval_s.map_or(Ok(()), |left| write!(out, "{left}")),
        'S' => {
            let ids = publish.subscription_ids.as_slice().iter();
            let ids: Vec<String> = ids.map(ToString::to_string).collect();
            write!(out, "{}", ids.join(" "))
        }
        'U' => write!(out, "{}.{:03}", now.as_ms() / 1_000, now.as_ms() % 1_000),
        _ => write_property(field, publish, out),
    }
}

fn write_property(field: char, publish: &OutboundPublish, out: &mut impl Write) -> io::Result<()> {
    let Some(properties) = &publish.message.properties else { return Ok(()) };
    match field {
        'C' => properties.content_type.as_ref().map_or(Ok(()), |value| write!(out, "{value}")),
        'D' => properties.correlation_data.as_ref().map_or(Ok(()), |data| out.write_all(data)),
        'F' => {
            let indicator = properties.payload_format_indicator;
            indicator.map_or(Ok(()), |is_text| write!(out, "{}", u8::from(is_text)))
        }
        'R' => properties.response_topic.as_ref().map_or(Ok(()), |value| write!(out, "{value}")),
        'P' => {
            let pairs = properties.user_properties.iter();
            let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}:{value}")).collect();
            write!(out, "{}", pairs.join(" "))
        }
        // `parse` lets no other field through.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_checked_before_anything_is_sent() {
        assert!(Format::parse("%t %p\\n\\t%%", true).is_ok());
        for wrong in ["%", "%z", "\\", "\\q"] {
            assert!(Format::parse(wrong, true).is_err(), "{wrong}");
        }
    }
}
