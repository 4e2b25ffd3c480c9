//! PR and SO, for clients that leave it to the broker how they are called: each is given an identifier that nobody else
//! has, and nobody else is given one.

use crate::history::{Event, Violation};
use crate::oracle::model::{Connection, Model, Seen};
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};

/// Judges PR and SO by assigned client identifiers.
pub(crate) struct Naming;

impl Rule for Naming {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Admitted(presence) = seen else { return Ok(()) };
        let Some(connection) = model.connections.get(&presence.connection) else { return Ok(()) };
        let (Some((sent, connect)), Some(connack)) = (&connection.connect, &connection.connack)
        else {
            return Ok(());
        };
        let assigned = property::text(&connack.properties, property::ASSIGNED_CLIENT_ID);
        let is_nameless = connect.client_id.is_empty() && connect.level >= 5;
        let (code, wrong, other) = match (is_nameless, assigned) {
            (true, None | Some("")) => ("PR", "is given none", None),
            (false, Some(_)) => ("PR", "has one and is given another", None),
            (true, Some(_)) => match holder(model, connection) {
                Some(other) => ("SO", "is given one that somebody has", other.connect.as_ref()),
                None => return Ok(()),
            },
            (false, None) => return Ok(()),
        };
        let what = format!("a client with the identifier {:?} {wrong}", connect.client_id);
        let other = other.map(|(sent, _)| sent.index);
        Err(violation(code, what, [sent.index, model.now.index].into_iter().chain(other)))
    }
}

/// Another connection under the same identifier that is open, or whose session surely lives.
fn holder<'a>(model: &'a Model, connection: &'a Connection) -> Option<&'a Connection> {
    let has_it = |other: &&Connection| {
        // What this very CONNACK replaced was there until now.
        let session = model.session_of(other.number);
        let is_there = session.is_some_and(|one| one.replaced.is_none_or(|at| at == model.now));
        let lives_on = model.expiry_s(other.number) > 0
            && model.expiring(other).from_ms > model.now.at_ms
            && is_there;
        other.connack.is_some() && (other.is_open() || lives_on)
    };
    model.others(connection).find(has_it)
}

#[cfg(test)]
mod tests {
    use super::Naming;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, connect_of, fails, number, passes};
    use crate::packet::{Connect, Packet, Property, Value};

    /// A client without an identifier is let in, and given this one.
    fn named<'a>(told: &'a mut Told, on: u64, expiry_s: u32, id: Option<&str>) -> &'a mut Told {
        let properties = vec![number(property::SESSION_EXPIRY, expiry_s)];
        told.asks_in(on, Connect { properties, ..connect_of("") });
        let value = id.map(|id| Value::Text(id.to_owned()));
        let property = value.map(|value| Property { id: property::ASSIGNED_CLIENT_ID, value });
        let properties = property.into_iter().collect();
        told.got(on, Packet::ConnAck { session_present: false, reason: 0, properties })
    }

    #[test]
    fn each_client_is_given_an_identifier_of_its_own() {
        let mut told = Told::new();
        named(&mut told, 1, 1000, Some("x"));
        named(&mut told, 2, 0, Some("y")).lose(1).resume(3, "x").lose(2).wait(60_000);
        named(&mut told, 4, 0, Some("y")).connect(5, "z").end();
        passes(Naming, &told);
    }

    #[test]
    fn before_version_5_nobody_is_told() {
        let mut told = Told::new();
        told.enters(1, Connect { level: 4, ..connect_of("") }, false).subscribe(1, "t", 1);
        told.enters(2, Connect { level: 4, ..connect_of("") }, false).subscribe(2, "t", 1);
        told.publish(1, "t", "one", 1).read(1, "t", "one", 1).read(2, "t", "one", 1).lose(1);
        told.ping(2).end();
        passes(Naming, &told);
    }

    #[test]
    fn none_or_an_empty_one_is_wrong() {
        fails(Naming, named(&mut Told::new(), 1, 0, None), "PR");
        fails(Naming, named(&mut Told::new(), 1, 0, Some("")), "PR");
    }

    #[test]
    fn one_for_a_client_that_has_one_is_wrong() {
        let mut told = Told::new();
        told.asks_in(1, connect_of("a"));
        let id = property::ASSIGNED_CLIENT_ID;
        let properties = vec![Property { id, value: Value::Text("b".to_owned()) }];
        told.got(1, Packet::ConnAck { session_present: false, reason: 0, properties });
        fails(Naming, &told, "PR");
    }

    #[test]
    fn that_of_somebody_else_is_wrong() {
        let mut told = Told::new();
        fails(Naming, named(told.connect(1, "x"), 2, 0, Some("x")), "SO");
        let mut told = Told::new();
        fails(Naming, named(told.durable(1, "x").lose(1), 2, 0, Some("x")), "SO");
    }
}
