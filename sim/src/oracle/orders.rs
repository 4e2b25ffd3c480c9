//! AH, for orders: who is ordered to be sent away, or is refused by who was asked, is not served any more.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Connection, Model, Moment, Seen};
use crate::oracle::rule::{Rule, violation};

/// Judges AH by orders.
pub(crate) struct Orders;

impl Rule for Orders {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        match (&event.what, seen) {
            (What::Received { connection, .. }, Seen::Answered(answered)) => {
                let Some(connection) = model.connections.get(connection) else { return Ok(()) };
                match ordered(connection) {
                    Some(order) if order.index < answered.moment.index => {
                        Err(still_there(model, connection, order))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            (What::Ended { connection, by_client: true }, _) => {
                model.connections.get(connection).map_or(Ok(()), |found| late(model, found))
            }
            (What::End, _) => {
                let open = model.connections.values().filter(|found| found.ended.is_none());
                open.into_iter().try_for_each(|connection| late(model, connection))
            }
            (_, _) => Ok(()),
        }
    }
}

/// When its client was ordered to be sent away that had been let in before.
fn ordered(connection: &Connection) -> Option<Moment> {
    let let_in = connection.connack.as_ref()?.moment;
    let mut orders = connection.sent_away.iter().map(|order| order.moment);
    orders.find(|order| let_in.index < order.index)
}

/// A connection on which its client waited for its end.
fn late(model: &Model, connection: &Connection) -> Result<(), Violation> {
    let Some(order) = ordered(connection) else { return Ok(()) };
    let is_told = connection.dismissed.is_some() || connection.broker_gone.is_some();
    let by_ms = order.at_ms + 2 * model.bounds.latency_ms + model.bounds.slack_ms;
    if is_told || by_ms >= model.now.at_ms || !model.is_prompt(connection, order.at_ms) {
        return Ok(());
    }
    Err(still_there(model, connection, order))
}

fn still_there(model: &Model, connection: &Connection, order: Moment) -> Violation {
    let (name, number) = (&connection.client_id, connection.number);
    let what = format!("{name:?} was to be sent away on connection {number}, and is still there");
    violation("AH", what, [order.index, model.now.index])
}

#[cfg(test)]
mod tests {
    use super::Orders;
    use crate::history::Beside;
    use crate::oracle::away::SentAway;
    use crate::oracle::sx::SessionExpiry;
    use crate::oracle::told::{Told, connect_of, fails, passes};
    use crate::packet::{Connect, Packet};
    use crate::plan::NetworkFault;

    fn sends_away(client_id: Option<&str>) -> Beside {
        Beside::SentAway { client_id: client_id.map(str::to_owned), reason: 0x98 }
    }

    fn ends(client_id: &str) -> Beside {
        Beside::SessionEnded { client_id: client_id.to_owned() }
    }

    /// Two clients, and an order.
    fn ordered(order: Beside) -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").wait(1_000).beside(order);
        told
    }

    #[test]
    fn who_is_ordered_away_is_told_so_and_nobody_else_is() {
        for order in [sends_away(Some("a")), ends("a")] {
            passes(Orders, ordered(order.clone()).dismissed(1, 0x98).end());
            fails(SentAway, ordered(order.clone()).dismissed(1, 0x8b), "PR");
            fails(SentAway, ordered(order).closed(1), "PR");
        }
        fails(SentAway, ordered(sends_away(Some("a"))).dismissed(2, 0x98), "PR");
        fails(SentAway, ordered(ends("a")).dismissed(2, 0x98), "PR");
        let mut everybody = ordered(sends_away(None));
        everybody.dismissed(1, 0x98);
        fails(Orders, everybody.clone().end(), "AH");
        passes(Orders, everybody.dismissed(2, 0x98).end());
    }

    #[test]
    fn an_older_client_is_closed_without_a_word() {
        let mut told = Told::new();
        told.enters(1, Connect { level: 4, ..connect_of("a") }, false).wait(1_000);
        passes(SentAway, told.beside(sends_away(Some("a"))).closed(1));
    }

    #[test]
    fn an_order_long_past_sends_nobody_away_who_came_later() {
        let mut told = ordered(sends_away(Some("a")));
        told.dismissed(1, 0x98).resume(3, "a").wait(1_000);
        fails(SentAway, told.clone().dismissed(3, 0x98), "PR");
        passes(Orders, told.ping(3).end());
    }

    #[test]
    fn who_is_not_let_in_yet_is_refused_or_let_in_behind_the_order() {
        let asks = |reason| {
            let mut told = Told::new();
            told.asks_in(1, connect_of("a")).beside(sends_away(Some("a")));
            let properties = Vec::new();
            told.got(1, Packet::ConnAck { session_present: false, reason, properties });
            told
        };
        passes(SentAway, asks(0x88).closed(1));
        fails(SentAway, &asks(0x97), "PR");
        passes(Orders, asks(0).ping(1).end());
        passes(Orders, asks(0).dismissed(1, 0x98).end());
    }

    #[test]
    fn who_is_served_on_is_wrong() {
        for order in [sends_away(Some("a")), ends("a")] {
            fails(Orders, ordered(order.clone()).ping(1), "AH");
            fails(Orders, ordered(order.clone()).end(), "AH");
            // What was under way when the order came.
            let mut told = Told::new();
            told.durable(1, "a").sent(1, Packet::PingReq).beside(order.clone());
            passes(Orders, told.got(1, Packet::PingResp).dismissed(1, 0x98));
            // Who cannot be reached hears of it later.
            let mut held = ordered(order);
            held.network(1, NetworkFault::Hold).wait(10_000).network(1, NetworkFault::Release);
            passes(Orders, held.dismissed(1, 0x98).end());
        }
    }

    #[test]
    fn who_was_asked_may_let_nobody_stay() {
        let mut told = Told::new();
        told.durable(1, "a").beside(Beside::Refused { connection: 1, reason: 0x86 });
        passes(SentAway, told.clone().dismissed(1, 0x87));
        fails(SentAway, told.clone().dismissed(1, 0x98), "PR");
        fails(Orders, told.ping(1), "AH");
        let mut asks = Told::new();
        asks.asks_in(1, connect_of("a")).beside(Beside::Refused { connection: 1, reason: 0x86 });
        let packet = Packet::ConnAck { session_present: false, reason: 0x86, properties: vec![] };
        passes(SentAway, asks.got(1, packet).closed(1));
    }

    #[test]
    fn an_end_may_come_before_or_behind_a_connect_under_way() {
        let returns = |present, is_dismissed| {
            let mut told = Told::new();
            told.durable(1, "a").lose(1);
            let connect = Connect { clean_start: false, ..connect_of("a") };
            let properties = connect_properties();
            told.asks_in(2, Connect { properties, ..connect }).beside(ends("a")).let_in(2, present);
            if is_dismissed {
                told.dismissed(2, 0x98);
            } else {
                told.ping(2).lose(2);
            }
            told
        };
        passes(Orders, returns(true, true).returns(3, "a", false));
        passes(Orders, returns(false, true).returns(3, "a", false));
        passes(Orders, returns(false, false).returns(3, "a", true));
        fails(SessionExpiry, returns(false, false).returns(3, "a", false), "SX");
        fails(SessionExpiry, returns(false, true).returns(3, "a", true), "SX");
    }

    fn connect_properties() -> Vec<crate::packet::Property> {
        vec![crate::oracle::told::number(crate::oracle::properties::SESSION_EXPIRY, 1000)]
    }
}
