//! PR and LV, for who is sent away and who is not let in: a broker ends a connection, or refuses one, for a cause that
//! the history or the settings give, and says it from version 5 on. Once the faults are over, who comes is let in.

mod cause;

use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::oracle::model::{Connection, Model, Moment, Seen};
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;
use crate::plan::ClientIndex;

/// Judges PR and LV by the ends of connections.
pub(crate) struct SentAway;

impl Rule for SentAway {
    fn look(&mut self, model: &Model, _seen: &Seen, event: &Event) -> Result<(), Violation> {
        if let What::Absent { client } = &event.what {
            return absent(model, *client);
        }
        let Some((number, ending)) = Ending::of(&event.what) else { return Ok(()) };
        let Some(connection) = model.connections.get(&number) else { return Ok(()) };
        let is_wrong = match ending {
            Ending::Dismissed(reason) | Ending::Refused(reason) => {
                !cause::excuses(model, connection, Some(reason))
            }
            Ending::Closed => {
                connection.dismissed.is_none()
                    && connection.refused.is_none()
                    && !cause::excuses(model, connection, None)
            }
            Ending::GivenUp => is_unanswered(model, connection),
        };
        if !is_wrong {
            return Ok(());
        }
        let is_calm = is_of_calm(model, connection);
        let name = &connection.client_id;
        let what = match ending {
            Ending::Dismissed(reason) => format!("{name:?} is sent away with {reason:#04x}"),
            Ending::Refused(reason) => format!("{name:?} is refused with {reason:#04x}"),
            Ending::Closed => format!("the connection of {name:?} is closed"),
            Ending::GivenUp => format!("CONNECT of {name:?} is not answered"),
        };
        let what = format!("{what} on connection {number}, and nothing is a cause for it");
        let sent = connection.connect.as_ref().map_or(connection.opened, |(sent, _)| *sent);
        let code = if is_calm { "LV" } else { "PR" };
        Err(violation(code, what, [sent.index, model.now.index]))
    }
}

/// How a connection ended, or is about to.
#[derive(Clone, Copy)]
enum Ending {
    Dismissed(u8),
    Refused(u8),
    Closed,
    GivenUp,
}

impl Ending {
    fn of(what: &What) -> Option<(ConnectionNumber, Self)> {
        if let What::Ended { connection, by_client } = what {
            return Some((*connection, if *by_client { Ending::GivenUp } else { Ending::Closed }));
        }
        let What::Received { connection, packet, .. } = what else { return None };
        if let Packet::Disconnect { reason, .. } = packet {
            return Some((*connection, Ending::Dismissed(*reason)));
        }
        let Packet::ConnAck { reason: reason @ 1.., .. } = packet else { return None };
        Some((*connection, Ending::Refused(*reason)))
    }
}

/// Whether a connection was asked for when the faults were over.
fn is_of_calm(model: &Model, connection: &Connection) -> bool {
    let sent = connection.connect.as_ref().map_or(connection.opened, |(sent, _)| *sent);
    model.calm.is_some_and(|calm| sent.index > calm.index)
}

/// Whether the client gave up waiting for CONNACK, in the calm and on a network that works.
fn is_unanswered(model: &Model, connection: &Connection) -> bool {
    let Some((sent, _)) = &connection.connect else { return false };
    is_of_calm(model, connection)
        && connection.connack.is_none()
        && connection.refused.is_none()
        && sent.at_ms + model.bounds.latency_ms < model.now.at_ms
        && model.is_prompt(connection, sent.at_ms)
        && !cause::excuses(model, connection, None)
        && !is_replaced(model, connection)
}

/// Whether its client asked for another connection, and listens on this one no more.
fn is_replaced(model: &Model, connection: &Connection) -> bool {
    let mut others = model.connections.range(connection.number + 1..);
    others.any(|(_, other)| other.client == connection.client)
}

/// A client that lives is not connected at the end. Where it was sent away or not answered, that was judged already.
fn absent(model: &Model, client: ClientIndex) -> Result<(), Violation> {
    let calm = model.calm.unwrap_or_default();
    let mut own = model.connections.values().rev().filter(|one| one.client == client);
    let last = own.next();
    let is_explained = last.is_some_and(|last| {
        let is_turned_away =
            last.ended.is_some_and(|(at, by_client)| at.index > calm.index && !by_client);
        let is_waiting = last.ended.is_none();
        is_turned_away || is_waiting || last.misbehaved.is_some()
    });
    if is_explained {
        return Ok(());
    }
    let last = last.and_then(|last| last.ended).map_or(Moment::default(), |(at, _)| at);
    let what = format!("client {client} is not connected at the end, though nobody keeps it away");
    Err(violation("LV", what, [last.index, model.now.index]))
}

#[cfg(test)]
mod tests {
    use super::SentAway;
    use crate::history::{Beside, What};
    use crate::oracle::model::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, number, passes, passes_within, will_of,
    };
    use crate::packet::{Connect, Packet};
    use crate::plan::{BrokerFault, Denial, NetworkFault};

    fn refuses(told: &mut Told, on: u64, reason: u8) {
        let packet = Packet::ConnAck { session_present: false, reason, properties: Vec::new() };
        told.got(on, packet).closed(on);
    }

    /// A client whose only fault is that it is there.
    fn one() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").ping(1).wait(1000);
        told
    }

    #[test]
    fn a_client_sent_away_for_nothing_is_wrong() {
        for reason in [0x00, 0x80, 0x83, 0x89, 0x8b, 0x8d, 0x93, 0x95, 0x97, 0x98, 0x9a] {
            fails(SentAway, one().dismissed(1, reason), "PR");
        }
        fails(SentAway, one().closed(1), "PR");
    }

    #[test]
    fn a_stop_a_reset_and_a_half_close_end_connections() {
        for fault in [BrokerFault::Stop, BrokerFault::Kill, BrokerFault::PowerCut] {
            passes(SentAway, one().push(What::Broker(fault)).dismissed(1, 0x8b));
            passes(SentAway, one().push(What::Broker(fault)).closed(1));
        }
        for fault in [NetworkFault::Reset, NetworkFault::HalfClose] {
            passes(SentAway, one().network(1, fault).closed(1));
            fails(SentAway, one().network(2, fault).closed(1), "PR");
        }
    }

    #[test]
    fn a_stop_long_ago_is_no_cause() {
        let mut told = one();
        told.crash().wait(1000).resume(2, "a").wait(1000).dismissed(2, 0x8b);
        fails(SentAway, &told, "PR");
    }

    #[test]
    fn who_says_nothing_is_sent_away_and_nobody_else() {
        let after = |ms, keep_alive_s| {
            let mut told = Told::new();
            let connect = Connect { keep_alive_s, ..connect_of("a") };
            told.enters(1, connect, false).wait(ms).dismissed(1, 0x8d);
            told
        };
        passes(SentAway, &after(1_500, 1));
        fails(SentAway, &after(1_500, 30), "PR");
        fails(SentAway, &after(60_000, 0), "PR");
    }

    #[test]
    fn who_comes_again_takes_over_and_nobody_else() {
        let mut told = one();
        told.asks_in(2, connect_of("a")).dismissed(1, 0x8e);
        passes(SentAway, told.let_in(2, false));
        let mut told = one();
        fails(SentAway, told.asks_in(2, connect_of("b")).dismissed(1, 0x8e), "PR");
    }

    #[test]
    fn what_is_on_its_way_when_the_network_stands_still_takes_over_later() {
        let comes_back = |wait_ms| {
            let mut told = Told::new();
            told.asks_in(1, connect_of("a")).lose(1).wait(wait_ms);
            told.network(1, NetworkFault::Hold).wait(5_000);
            told.asks_in(2, connect_of("a")).network(1, NetworkFault::Release).closed(2);
            told
        };
        passes(SentAway, &comes_back(0));
        fails(SentAway, &comes_back(1_000), "PR");
    }

    #[test]
    fn a_will_is_refused_that_a_quota_has_no_room_for() {
        let refused = |will: &str| {
            let mut told = one();
            told.asks_in(2, Connect { will: Some(will_of("w", will, 0)), ..connect_of("b") });
            refuses(&mut told, 2, 0x97);
            told
        };
        let within = || Bounds { latency_ms: 100, stored_bytes: Some(5), ..Bounds::default() };
        passes_within(within(), SentAway, &refused("12345"));
        fails_within(within(), SentAway, &refused("1234"), "PR");
    }

    #[test]
    fn an_older_client_is_closed_where_it_cannot_be_told_and_only_there() {
        let asks = |is_denied| {
            let mut told = Told::new();
            told.enters(1, Connect { level: 4, ..connect_of("a") }, false);
            let filter = "t".to_owned();
            let denial = Denial { client_id: String::new(), filter, publish: true, read: false };
            if is_denied {
                told.push(What::Denied(vec![denial]));
            }
            told.publish_unanswered(1, "t", "one", 1, 1).closed(1);
            told
        };
        passes(SentAway, &asks(true));
        fails(SentAway, &asks(false), "PR");
    }

    #[test]
    fn a_refusal_needs_a_cause_in_the_settings_or_in_connect() {
        let refused = |reason, connect: Connect| {
            let mut told = one();
            told.asks_in(2, connect);
            refuses(&mut told, 2, reason);
            told
        };
        let within = |sessions| Bounds { latency_ms: 100, sessions, ..Bounds::default() };
        passes_within(within(1), SentAway, &refused(0x97, connect_of("b")));
        fails_within(within(2), SentAway, &refused(0x97, connect_of("b")), "PR");
        let end = || Beside::SessionEnded { client_id: "a".to_owned() };
        let mut told = one();
        told.asks_in(2, connect_of("b")).beside(end());
        refuses(&mut told, 2, 0x97);
        passes_within(within(1), SentAway, &told);
        let mut told = one();
        told.beside(end()).asks_in(2, connect_of("b"));
        refuses(&mut told, 2, 0x97);
        fails_within(within(1), SentAway, &told, "PR");
        for reason in [0x80, 0x81, 0x85, 0x87, 0x88, 0x89, 0x90, 0x95, 0x97, 0x9a, 0x9b] {
            fails(SentAway, &refused(reason, connect_of("b")), "PR");
        }
        let with_will = || Connect { will: Some(will_of("w", "will", 0)), ..connect_of("b") };
        let no_qos = Bounds { latency_ms: 100, maximum_qos: 0, ..Bounds::default() };
        passes_within(no_qos.clone(), SentAway, &refused(0x9b, with_will()));
        fails_within(no_qos, SentAway, &refused(0x9b, connect_of("b")), "PR");
        let small = vec![number(property::MAXIMUM_PACKET_SIZE, 20)];
        passes(SentAway, &refused(0x95, Connect { properties: small, ..connect_of("b") }));
    }

    #[test]
    fn a_will_is_refused_where_it_is_denied() {
        let refused = |filter: &str| {
            let mut told = one();
            let filter = filter.to_owned();
            let denial = Denial { client_id: "b".to_owned(), filter, publish: true, read: false };
            told.push(What::Denied(vec![denial]));
            let will = Some(will_of("w", "will", 0));
            told.asks_in(2, Connect { will, ..connect_of("b") });
            refuses(&mut told, 2, 0x87);
            told
        };
        passes(SentAway, &refused("w"));
        fails(SentAway, &refused("v"), "PR");
    }

    #[test]
    fn who_comes_in_the_calm_is_let_in_and_stays() {
        let calm = || {
            let mut told = one();
            told.lose(1).push(What::Calm);
            told
        };
        passes(SentAway, calm().resume(2, "a").wait(60_000).ping(2).push(What::End));
        let mut refused = calm();
        refused.asks_in(2, connect_of("a"));
        refuses(&mut refused, 2, 0x88);
        fails(SentAway, &refused, "LV");
        fails(SentAway, calm().resume(2, "a").dismissed(2, 0x80), "LV");
        fails(SentAway, calm().resume(2, "a").closed(2), "LV");
    }

    #[test]
    fn connect_in_the_calm_is_answered() {
        let asks = |waits_ms| {
            let mut told = one();
            told.lose(1).push(What::Calm).asks_in(2, connect_of("a")).wait(waits_ms).lose(2);
            told
        };
        passes(SentAway, &asks(50));
        fails(SentAway, &asks(10_000), "LV");
        let mut held = one();
        held.lose(1).push(What::Calm).asks_in(2, connect_of("a"));
        passes(SentAway, held.network(2, NetworkFault::Hold).wait(10_000).lose(2));
    }

    #[test]
    fn who_lives_is_there_at_the_end() {
        let absent = |told: &mut Told| {
            told.wait(60_000).push(What::Absent { client: 1 }).push(What::End);
        };
        let mut told = one();
        absent(told.lose(1).push(What::Calm));
        fails(SentAway, &told, "LV");
        let mut told = Told::new();
        absent(told.push(What::Calm));
        fails(SentAway, &told, "LV");
    }
}
