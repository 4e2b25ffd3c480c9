//! A client inside the process that receives for an HTTP request: with a session of its own, or
//! with one that outlives the request.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use signalhouse_core::Time;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    Ack, ClientPacket, Connect, Disconnect, OutboundPublish, RetainHandling, ServerPacket, SubAck,
    Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{
    Delivery, InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version,
};
use tokio::sync::{mpsc, oneshot};

use super::door::Caller;
use super::fault::{Fault, Outcome};
use super::trust::Guest;
use super::{State, Timer, text};
use crate::shard::{Insider, LocalClient};

/// Events that may wait for their acknowledgement.
const WINDOW: u16 = 256;
/// Deliveries looked at to find which one an event was.
const DELIVERIES: usize = u16::MAX as usize;
/// How long the broker may take to let a request's client in.
const OPEN_MS: u64 = 10_000;

/// Names a delivery to a session, across connections and restarts: the message, and the packet
/// identifier under which it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventId {
    message: MessageId,
    packet_id: OutboundPacketId,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.message.0, self.packet_id.0.value())
    }
}

impl FromStr for EventId {
    type Err = Fault;

    fn from_str(id: &str) -> Result<Self, Fault> {
        let parsed = id.split_once('-').and_then(|(message, packet_id)| {
            let packet_id = OutboundPacketId(PacketId::new(packet_id.parse().ok()?)?);
            Some(EventId { message: MessageId(message.parse().ok()?), packet_id })
        });
        parsed.ok_or_else(|| Fault::bad_request(format!("{id} is not the id of an event")))
    }
}

/// What a request wants to receive.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) filters: Vec<String>,
    pub(crate) qos: QoS,
    /// The session, if it is to outlive the request.
    pub(crate) session: Option<Text>,
    pub(crate) session_expiry_s: u32,
    /// Everything up to this event is acknowledged.
    pub(crate) acknowledged: Option<EventId>,
    /// A topic that the request made, which it may read whatever the rules say.
    pub(crate) inbox: Option<Topic>,
}

impl Opening {
    /// For what comes at a topic of the request's own, in a session that ends with it.
    pub(crate) fn inbox(topic: &Topic) -> Self {
        Opening {
            filters: vec![topic.as_text().as_str().to_owned()],
            qos: QoS::AtLeastOnce,
            session: None,
            session_expiry_s: 0,
            acknowledged: None,
            inbox: Some(topic.clone()),
        }
    }
}

/// What can happen to a subscriber.
#[derive(Debug)]
pub(crate) enum Happened {
    /// A message came.
    Delivered(Delivered),
    /// Another request acknowledges.
    Order(Order),
    /// Nothing, for long enough.
    Silence,
    /// The broker ended the connection.
    Closed,
}

/// A message that has come.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) message: Arc<Message>,
    /// Its name, if it is to be acknowledged.
    pub(crate) id: Option<EventId>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) repeated: bool,
    pub(crate) message_expiry_interval_s: Option<u32>,
}

/// An acknowledgement from another request, and how it hears how many deliveries that was.
pub(crate) type Order = (EventId, oneshot::Sender<usize>);

/// Event streams that are open, by session, with whose they are.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<BTreeMap<Text, OpenStream>>,
}

#[derive(Debug)]
struct OpenStream {
    owner: Option<Text>,
    /// Tells it from the one that had the session before.
    number: u64,
    orders: mpsc::Sender<Order>,
}

impl Streams {
    /// The way to the session's stream, if there is one of this identity.
    pub(crate) fn find(
        &self,
        session: &Text,
        identity: Option<&Text>,
    ) -> Option<mpsc::Sender<Order>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = open.get(session).filter(|stream| stream.owner.as_ref() == identity)?;
        Some(stream.orders.clone())
    }

    fn enter(&self, session: Text, owner: Option<Text>, orders: mpsc::Sender<Order>) -> u64 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.get(&session).map_or(0, |stream| stream.number + 1);
        open.insert(session, OpenStream { owner, number, orders });
        number
    }

    fn leave(&self, session: &Text, number: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(session).is_some_and(|stream| stream.number == number) {
            open.remove(session);
        }
    }
}

/// Receives for one request.
#[derive(Debug)]
pub(crate) struct Subscriber {
    client: LocalClient,
    /// Came while something else was waited for.
    early: VecDeque<OutboundPublish>,
    /// Deliveries of an earlier request that are acknowledged by this one.
    acknowledged: BTreeSet<EventId>,
    /// Given out and not acknowledged, in order.
    unacknowledged: VecDeque<EventId>,
    pub(crate) session_present: bool,
    orders: mpsc::Receiver<Order>,
    entry: Option<Entry>,
    /// Sends it away when what its caller showed is withdrawn.
    _guest: Guest,
}

/// A stream's entry among the open ones, for as long as it lives.
struct Entry {
    state: State,
    session: Text,
    number: u64,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} {})", self.session, self.number)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.state.streams.leave(&self.session, self.number);
    }
}

impl Subscriber {
    /// Connects and subscribes as the caller.
    pub(crate) async fn open(state: &State, caller: &Caller, opening: Opening) -> Outcome<Self> {
        let filters = filters(&opening.filters)?;
        let open = Subscriber::connect(state, caller, &opening, filters);
        let opened = state.timer.within(OPEN_MS, open).await;
        opened.unwrap_or_else(|| Err(Fault::unavailable()))
    }

    /// Connects, and waits until it is accepted.
    async fn new(
        state: &State,
        caller: &Caller,
        insider: Insider,
        connect: Connect,
        orders: mpsc::Receiver<Order>,
    ) -> Outcome<Self> {
        let client = state.gateway.client(insider, connect);
        let client = client.await.ok_or_else(Fault::unavailable)?;
        let guest = Guest::enter(state, caller, client.id())?;
        let mut subscriber = Subscriber {
            client,
            early: VecDeque::new(),
            acknowledged: BTreeSet::new(),
            unacknowledged: VecDeque::new(),
            session_present: false,
            orders,
            entry: None,
            _guest: guest,
        };
        subscriber.accepted().await?;
        Ok(subscriber)
    }

    async fn connect(
        state: &State,
        caller: &Caller,
        opening: &Opening,
        filters: Vec<TopicFilter>,
    ) -> Outcome<Self> {
        let session = opening.session.clone();
        let connect = connect(session.clone().unwrap_or_default(), opening.session_expiry_s);
        let (sender, orders) = mpsc::channel(1);
        let mut insider = Insider { takes_over: true, ..caller.insider() };
        insider.credential.inbox = opening.inbox.clone().map(Box::new);
        let mut subscriber = Subscriber::new(state, caller, insider, connect, orders).await?;
        // What is refused leaves everything as it was.
        if let Err(fault) = subscriber.begin(filters, opening).await {
            subscriber.give_up().await;
            return Err(fault);
        }
        if let Some(session) = session {
            if let Some(last) = opening.acknowledged {
                subscriber.acknowledge_earlier(state, &session, last).await?;
            }
            let owner = caller.identity.clone();
            let number = state.streams.enter(session.clone(), owner, sender);
            subscriber.entry = Some(Entry { state: state.clone(), session, number });
        }
        Ok(subscriber)
    }

    async fn begin(&mut self, filters: Vec<TopicFilter>, opening: &Opening) -> Outcome<()> {
        if !filters.is_empty() {
            self.subscribe(filters, opening).await
        } else if self.session_present {
            Ok(())
        } else {
            Err(Fault::bad_request("a new session needs a filter"))
        }
    }

    /// What happens next, until the moment `until`. Messages are taken if `takes_more`. Nothing is
    /// lost when the future is dropped before it is done.
    pub(crate) async fn next(&mut self, timer: &Timer, until: Time, takes_more: bool) -> Happened {
        loop {
            let early = if takes_more { self.early.pop_front() } else { None };
            let publish = match early {
                Some(publish) => publish,
                None => tokio::select! {
                    biased;
                    packet = self.client.receive(), if takes_more => match packet {
                        Some(ServerPacket::Publish(publish)) => publish,
                        Some(ServerPacket::Disconnect(_)) | None => return Happened::Closed,
                        Some(_) => continue,
                    },
                    order = self.orders.recv(), if self.entry.is_some() => match order {
                        Some(order) => return Happened::Order(order),
                        None => return Happened::Closed, // another request has the session now
                    },
                    () = timer.sleep_until(until) => return Happened::Silence,
                },
            };
            if let Some(delivered) = self.take(publish) {
                return Happened::Delivered(delivered);
            }
        }
    }

    /// Notes a message that is to be given out.
    fn take(&mut self, publish: OutboundPublish) -> Option<Delivered> {
        let message = publish.message;
        let id = match publish.delivery {
            Delivery::AtMostOnce => None,
            Delivery::AtLeastOnce(packet_id) | Delivery::ExactlyOnce(packet_id) => {
                Some(EventId { message: message.id, packet_id })
            }
        };
        if let Some(id) = id {
            if self.acknowledged.remove(&id) {
                return None; // an earlier request had it, and it is acknowledged already
            }
            self.unacknowledged.push_back(id);
        }
        Some(Delivered {
            qos: publish.delivery.qos(),
            id,
            retain: publish.retain,
            repeated: publish.dup,
            message_expiry_interval_s: publish.message_expiry_interval_s,
            message,
        })
    }

    /// Whether nothing more comes before something is acknowledged.
    pub(crate) fn is_full(&self) -> bool {
        self.unacknowledged.len() >= usize::from(WINDOW)
    }

    /// Acknowledges everything up to `last`, and says how much that was.
    pub(crate) async fn acknowledge(&mut self, last: EventId) -> Option<usize> {
        let place = self.unacknowledged.iter().position(|id| *id == last);
        let Some(place) = place else { return Some(0) };
        for _ in 0..=place {
            if let Some(id) = self.unacknowledged.pop_front() {
                self.client.send(puback(id)).await?;
            }
        }
        Some(place + 1)
    }

    /// Ends the connection in good order.
    pub(crate) async fn leave(self) {
        self.disconnect(None).await;
    }

    /// Ends the connection, and the session with it if that was not there before.
    async fn give_up(self) {
        let expiry_s = if self.session_present { None } else { Some(0) };
        self.disconnect(expiry_s).await;
    }

    async fn disconnect(self, session_expiry_interval_s: Option<u32>) {
        let disconnect = Disconnect {
            reason: ReasonCode::Success,
            session_expiry_interval_s,
            server_reference: None,
            reason_string: None,
            user_properties: Vec::new(),
        };
        let _gone = self.client.send(ClientPacket::Disconnect(Box::new(disconnect))).await;
    }

    async fn accepted(&mut self) -> Outcome<()> {
        match self.receive().await {
            Some(ServerPacket::ConnAck(connack)) if connack.reason.is_error() => {
                if self.client.is_kept_out() {
                    let reason = "the session's client is connected, and acknowledges itself";
                    return Err(Fault::new(StatusCode::CONFLICT, "session_in_use", reason));
                }
                let is_quota = |text: &Text| text.as_str().starts_with("the quota");
                if connack.reason_string.as_ref().is_some_and(is_quota) {
                    let reason = "the quota of connections is used up";
                    return Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "quota", reason));
                }
                Err(Fault::of_reason(connack.reason, "this session"))
            }
            Some(ServerPacket::ConnAck(connack)) => {
                self.session_present = connack.session_present;
                Ok(())
            }
            Some(_) | None => Err(Fault::unavailable()),
        }
    }

    /// Acknowledges what an earlier request received, up to `last`. If that was acknowledged
    /// before, there is nothing to do.
    async fn acknowledge_earlier(
        &mut self,
        state: &State,
        session: &Text,
        last: EventId,
    ) -> Outcome<usize> {
        let client_id = session.clone();
        let look = state.look(move |view| view.broker.inflight_of(&client_id, DELIVERIES));
        let inflight = look.await?;
        let ids: Vec<EventId> = inflight
            .into_iter()
            .filter(|delivery| delivery.maybe_sent)
            .filter_map(|delivery| {
                Some(EventId { message: delivery.message_id?, packet_id: delivery.packet_id? })
            })
            .collect();
        let Some(place) = ids.iter().position(|id| *id == last) else { return Ok(0) };
        for id in &ids[..=place] {
            self.acknowledged.insert(*id);
            self.client.send(puback(*id)).await.ok_or_else(Fault::unavailable)?;
        }
        Ok(place + 1)
    }

    async fn subscribe(&mut self, filters: Vec<TopicFilter>, opening: &Opening) -> Outcome<()> {
        // A session that goes on must not be sent its retained messages at every reconnect.
        let retain_handling =
            if opening.session.is_some() { RetainHandling::IfNew } else { RetainHandling::Always };
        let options = SubscriptionOptions {
            maximum_qos: opening.qos,
            retain_handling,
            ..SubscriptionOptions::default()
        };
        let subscribe = Subscribe {
            packet_id: InboundPacketId(PacketId::MIN),
            subscription_id: None,
            subscriptions: filters.iter().map(|filter| (filter.clone(), options)).collect(),
            user_properties: Vec::new(),
        };
        let sent = self.client.send(ClientPacket::Subscribe(Box::new(subscribe))).await;
        sent.ok_or_else(Fault::unavailable)?;
        let suback = self.suback().await?;
        let refused = filters.iter().zip(suback.reasons).filter(|(_, reason)| reason.is_error());
        // One is at fault, and the others come to nothing with it.
        match refused.min_by_key(|(_, reason)| *reason == ReasonCode::UnspecifiedError) {
            Some((filter, reason)) => {
                Err(Fault::of_reason(reason, &format!("the filter {filter}")))
            }
            None => Ok(()),
        }
    }

    async fn suback(&mut self) -> Outcome<SubAck> {
        loop {
            match self.receive().await {
                Some(ServerPacket::SubAck(suback)) => return Ok(*suback),
                Some(ServerPacket::Publish(publish)) => self.early.push_back(publish),
                Some(ServerPacket::Disconnect(disconnect)) => {
                    return Err(Fault::of_reason(disconnect.reason, "this subscription"));
                }
                Some(_) => {}
                None => return Err(Fault::unavailable()),
            }
        }
    }

    async fn receive(&mut self) -> Option<ServerPacket> {
        self.client.receive().await
    }
}

/// Acknowledges deliveries of a session that no request is receiving, nor a client of its own.
pub(crate) async fn acknowledge_idle(
    state: &State,
    caller: &Caller,
    session: Text,
    last: EventId,
) -> Outcome<usize> {
    let expiry_s = session_expiry_of(state, &session).await?;
    let connect = connect(session.clone(), expiry_s);
    let (_, orders) = mpsc::channel(1);
    let insider = Insider { takes_over: false, ..caller.insider() };
    let mut subscriber = Subscriber::new(state, caller, insider, connect, orders).await?;
    let count = subscriber.acknowledge_earlier(state, &session, last).await?;
    subscriber.leave().await;
    Ok(count)
}

/// An acknowledgement must not make a session, nor change how long it lives.
async fn session_expiry_of(state: &State, session: &Text) -> Outcome<u32> {
    let client_id = session.clone();
    let look = state.look(move |view| view.broker.session(&client_id));
    let known = look.await?;
    let known = known.ok_or_else(|| Fault::not_found(format!("there is no session {session}")))?;
    Ok(known.session_expiry_interval_s)
}

fn filters(filters: &[String]) -> Outcome<Vec<TopicFilter>> {
    let mut parsed = Vec::new();
    for filter in filters {
        let bad = |error: String| Fault::new(StatusCode::BAD_REQUEST, "bad_filter", error);
        let filter = TopicFilter::new(text("filter", filter)?)
            .map_err(|error| bad(format!("filter {filter}: {error}")))?;
        parsed.push(filter);
    }
    Ok(parsed)
}

fn connect(client_id: Text, session_expiry_interval_s: u32) -> Connect {
    Connect {
        version: Version::V5,
        clean_start: client_id.is_empty(),
        keep_alive_s: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        session_expiry_interval_s,
        receive_maximum: WINDOW,
        maximum_packet_size_bytes: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    }
}

fn puback(id: EventId) -> ClientPacket {
    ClientPacket::PubAck(Ack::new(id.packet_id, ReasonCode::Success))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_read_as_they_are_written() {
        let packet_id = OutboundPacketId(PacketId::new(7).expect("not zero"));
        let id = EventId { message: MessageId(12), packet_id };
        assert_eq!(id.to_string(), "12-7");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "12", "12-0", "12-70000", "x-1", "-1", "1-", "1-1-1"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }
}
