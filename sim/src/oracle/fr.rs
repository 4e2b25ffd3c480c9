//! FR: a client that reads and acknowledges is served within a fixed bound, whatever others do.
//!
//! What a client has not been sent because it owes acknowledgements, or because something else was
//! on its way to it, is its own backlog: the bound counts from the end of that.

use std::collections::BTreeMap;

use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::oracle::model::{
    Answered, Connection, Delivery, Model, Publication, Request, Seen, Session, SessionId, Stage,
};
use crate::oracle::rule::{Rule, violation};
use crate::oracle::wl;
use crate::packet::{AckKind, Packet};

/// Judges FR.
#[derive(Default)]
pub(crate) struct Fairness {
    /// When each session last read a message, or last acknowledged one.
    served_ms: BTreeMap<SessionId, u64>,
}

impl Rule for Fairness {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        if let What::Sent { connection, packet } = &event.what {
            self.acknowledges(model, *connection, packet);
            return Ok(());
        }
        let What::Received { connection, .. } = &event.what else { return Ok(()) };
        let Some(connection) = model.connections.get(connection) else { return Ok(()) };
        match seen {
            Seen::Answered(answered) => self.answer(model, connection, answered),
            Seen::Delivered(delivery) => {
                let delivery = &model.deliveries[*delivery];
                let idle_since_ms = self.served_ms.insert(delivery.session, model.now.at_ms);
                late(model, connection, delivery, idle_since_ms.unwrap_or(0))
            }
            Seen::Nothing | Seen::Admitted(_) | Seen::Unasked | Seen::Released(_) => Ok(()),
        }
    }
}

impl Fairness {
    /// Until a client has acknowledged what it was sent, it may owe more than the broker lets it.
    fn acknowledges(&mut self, model: &Model, connection: ConnectionNumber, packet: &Packet) {
        let ends = matches!(packet, Packet::Ack { kind: AckKind::PubAck | AckKind::PubComp, .. });
        let session = model.connections.get(&connection).and_then(|known| known.session);
        if let Some(session) = session.filter(|_| ends) {
            self.served_ms.insert(session, model.now.at_ms);
        }
    }

    /// An answer to a request, or to CONNECT.
    fn answer(
        &self,
        model: &Model,
        connection: &Connection,
        answered: &Answered,
    ) -> Result<(), Violation> {
        // Which of several PINGREQs was answered, nothing tells; AH and LV find one that never is.
        if answered.request == Request::Ping && !connection.pings.is_empty() {
            return Ok(());
        }
        let asked_ms = answered.moment.at_ms;
        let took_ms = model.now.at_ms - asked_ms;
        let last_ms = connection.session.and_then(|session| self.served_ms.get(&session));
        let since_ms = last_ms.map_or(asked_ms, |last_ms| asked_ms.max(*last_ms));
        let waited_ms = model.now.at_ms - since_ms;
        let allowed_ms = bound_ms(model) + model.crowding_ms(connection, since_ms);
        if waited_ms <= allowed_ms || !is_owed(model, connection, since_ms) {
            return Ok(());
        }
        let what = format!(
            "{} of {:?} was answered after {took_ms} ms, {allowed_ms} ms are allowed",
            named(&answered.request),
            connection.client_id,
        );
        Err(violation("FR", what, [answered.moment.index, model.now.index]))
    }
}

/// There and back, for what nothing comes before on the same connection.
fn bound_ms(model: &Model) -> u64 {
    2 * model.bounds.latency_ms
}

/// Whether nothing but the broker can have kept the client waiting since then.
fn is_owed(model: &Model, connection: &Connection, since_ms: u64) -> bool {
    let has_outage = model.outages.iter().any(|outage| {
        outage.started.is_none_or(|started| started.at_ms + bound_ms(model) >= since_ms)
    });
    let is_hostile = connection.misbehaved.is_some()
        || model.session_of(connection.number).is_some_and(|session| session.hostile.is_some());
    !has_outage && !is_hostile && model.is_prompt(connection, since_ms)
}

/// A message that waited although its receiver had nothing else to do.
fn late(
    model: &Model,
    connection: &Connection,
    delivery: &Delivery,
    idle_since_ms: u64,
) -> Result<(), Violation> {
    let Some(id) = delivery.publication.filter(|_| delivery.is_fresh) else { return Ok(()) };
    let publication = &model.publications[id];
    let session = &model.sessions[delivery.session];
    if publication.is_will() {
        return late_will(model, connection, delivery, publication, idle_since_ms);
    }
    let (Some(accepted), Some(connack)) = (publication.accepted, &connection.connack) else {
        return Ok(());
    };
    let since_ms = accepted.at_ms.max(connack.moment.at_ms).max(idle_since_ms);
    let waited_ms = model.now.at_ms - since_ms;
    let is_direct = !may_be_elsewhere(session, publication);
    let allowed_ms = bound_ms(model) + model.crowding_ms(connection, since_ms);
    if waited_ms <= allowed_ms
        || !owes_nothing(session, delivery)
        || !is_direct
        || !is_owed(model, connection, since_ms)
    {
        return Ok(());
    }
    let what = format!(
        "{} on {:?} reached {:?} after {waited_ms} ms without cause, {allowed_ms} ms are allowed",
        publication.name(),
        publication.topic,
        session.client_id,
    );
    Err(violation("FR", what, [accepted.index, delivery.moment.index]))
}

/// WL: a will that was published, or sent on, long after it was due, though nothing came in its way.
fn late_will(
    model: &Model,
    connection: &Connection,
    delivery: &Delivery,
    publication: &Publication,
    idle_since_ms: u64,
) -> Result<(), Violation> {
    let session = &model.sessions[delivery.session];
    let owner = publication.will_of.and_then(|number| model.connections.get(&number));
    let (Some(owner), Some(connack)) = (owner, &connection.connack) else { return Ok(()) };
    // Who comes again may put it off, or end its session.
    let is_alone = model.later(owner).next().is_none();
    let due_ms = wl::latest_due_ms(model, publication, owner);
    let since_ms = due_ms.max(connack.moment.at_ms).max(idle_since_ms);
    let waited_ms = model.now.at_ms.saturating_sub(since_ms);
    let allowed_ms = bound_ms(model) + model.crowding_ms(connection, since_ms);
    if waited_ms <= allowed_ms
        || !is_alone
        || owner.misbehaved.is_some()
        // A session that lasts longer than was said at first puts it off.
        || owner.goodbye.is_some_and(|goodbye| goodbye.expiry_s.is_some())
        || model.may_hold_expiry()
        || may_be_elsewhere(session, publication)
        || !owes_nothing(session, delivery)
        || !is_owed(model, connection, since_ms)
    {
        return Ok(());
    }
    let what = format!(
        "the will {} of {:?} reached {:?} {waited_ms} ms after it was due at the latest, {allowed_ms} ms \
         are allowed",
        publication.name(),
        owner.client_id,
        session.client_id,
    );
    Err(violation("WL", what, [publication.first().index, delivery.moment.index]))
}

/// Whether every exchange but that of `delivery` is over.
fn owes_nothing(session: &Session, delivery: &Delivery) -> bool {
    session.exchanges.values().all(|holder| match holder.stage {
        Stage::Read | Stage::Recorded(_) | Stage::Released(_) => holder.moment == delivery.moment,
        Stage::Refused(_) | Stage::Done(_) => true,
    })
}

/// Whether the message may have waited at a share or among the retained ones, or was sent again.
fn may_be_elsewhere(session: &Session, publication: &Publication) -> bool {
    publication.sends.len() > 1
        || session.possible(publication).any(|found| found.share.is_some())
        || session.replays(publication).next().is_some()
}

fn named(request: &Request) -> &'static str {
    match request {
        Request::Connect => "CONNECT",
        Request::Ping => "PINGREQ",
        Request::Publish(..) | Request::Recorded(_) => "PUBLISH",
        Request::Release(_) => "PUBREL",
        Request::Subscribe(_) => "SUBSCRIBE",
        Request::Unsubscribe(_) => "UNSUBSCRIBE",
    }
}

#[cfg(test)]
mod tests {
    use super::Fairness;
    use crate::oracle::model::Bounds;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, number, passes, passes_within, will_of,
    };
    use crate::packet::{AckKind, Connect, Packet};
    use crate::plan::NetworkFault;

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).wait(1000);
        told
    }

    /// A client with a will that is delayed by two seconds is gone, and another has read it so much later.
    fn will_after(ms: u64) -> Told {
        let mut told = Told::new();
        told.durable(2, "b").subscribe(2, "w", 1).wait(1000);
        let properties = vec![number(crate::oracle::properties::SESSION_EXPIRY, 1000)];
        let will = Some(will_of("w", "will", 2));
        told.enters(1, Connect { properties, will, ..connect_of("a") }, false).lose(1).wait(ms);
        told
    }

    #[test]
    fn a_will_comes_soon_behind_its_delay_and_not_long_after() {
        passes(Fairness::default(), will_after(2_000).read(2, "w", "will", 1).end());
        fails(Fairness::default(), will_after(12_000).read(2, "w", "will", 1), "WL");
        // It waits for whoever is away.
        let mut away = will_after(0);
        away.lose(2).wait(12_000).resume(3, "b");
        passes(Fairness::default(), away.read(3, "w", "will", 1).end());
    }

    #[test]
    fn who_is_served_at_once_is_served_fairly() {
        let mut told = two();
        told.ping(1).publish(1, "t", "one", 1).read(2, "t", "one", 1).end();
        passes(Fairness::default(), &told);
    }

    #[test]
    fn who_does_not_acknowledge_waits_for_itself() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1).read_only(2, "t", "one", 1, 7);
        told.wait(1000).read(2, "t", "two", 1);
        passes(Fairness::default(), &told);
    }

    #[test]
    fn a_network_that_holds_back_is_not_the_brokers() {
        let mut told = two();
        told.network(1, NetworkFault::Hold).sent(1, Packet::PingReq).wait(1000);
        told.network(1, NetworkFault::Release).got(1, Packet::PingResp).end();
        passes(Fairness::default(), &told);
    }

    #[test]
    fn a_late_answer_is_wrong() {
        let mut told = two();
        told.sent(1, Packet::PingReq).wait(300).got(1, Packet::PingResp);
        fails(Fairness::default(), &told, "FR");
    }

    #[test]
    fn what_waits_behind_an_acknowledgement_counts_from_there() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1).read_only(2, "t", "one", 1, 7);
        told.wait(1000).sent_ack(2, AckKind::PubAck, 7).wait(50).read(2, "t", "two", 1);
        passes(Fairness::default(), &told);
    }

    #[test]
    fn a_backlog_that_stops_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1).read_only(2, "t", "one", 1, 7);
        told.wait(1000).sent_ack(2, AckKind::PubAck, 7).wait(300).read(2, "t", "two", 1);
        fails(Fairness::default(), &told, "FR");
    }

    #[test]
    fn what_waited_for_a_client_comes_with_it() {
        let mut told = two();
        told.lose(2).publish(1, "t", "one", 1).wait(1000).resume(3, "b").read(3, "t", "one", 1);
        passes(Fairness::default(), &told);
    }

    #[test]
    fn what_waited_for_a_client_and_goes_on_waiting_is_wrong() {
        let mut told = two();
        told.lose(2).publish(1, "t", "one", 1).resume(3, "b").wait(300).read(3, "t", "one", 1);
        fails(Fairness::default(), &told, "FR");
    }

    #[test]
    fn an_answer_behind_messages_is_right() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1).sent(2, Packet::PingReq).wait(150);
        told.read(2, "t", "one", 1).wait(150).got(2, Packet::PingResp);
        passes(Fairness::default(), &told);
    }

    #[test]
    fn answers_take_their_time_through_a_network_that_takes_few_at_a_time() {
        let narrow =
            || Bounds { latency_ms: 100, capacity_bytes: 20, turn_ms: 30, ..Bounds::default() };
        let wide = || Bounds { latency_ms: 100, ..Bounds::default() };
        let mut told = two();
        for id in 1..=10 {
            told.publish_unanswered(1, "u", &format!("m{id}"), 1, id);
        }
        for id in 1..=10 {
            told.wait(20).got_ack(1, AckKind::PubAck, id, 0);
        }
        passes_within(narrow(), Fairness::default(), &told);
        fails_within(wide(), Fairness::default(), &told, "FR");
        // The one that is late has nothing before it.
        let mut told = two();
        told.sent(1, Packet::PingReq).wait(300).got(1, Packet::PingResp);
        fails_within(narrow(), Fairness::default(), &told, "FR");
        let mut told = two();
        told.publish(1, "t", "one", 1).wait(300).read(2, "t", "one", 1);
        fails_within(narrow(), Fairness::default(), &told, "FR");
    }

    #[test]
    fn a_late_message_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 1).wait(300).read(2, "t", "one", 1);
        fails(Fairness::default(), &told, "FR");
    }
}
