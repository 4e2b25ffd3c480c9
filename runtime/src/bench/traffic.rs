//! What is published, and whether it arrives as often and in the order that it should.

use std::collections::BTreeSet;

use hdrhistogram::Histogram;
use signalhouse_core::wire::types::QoS;

use super::BenchError;
use super::frames::{self, Arrived, Frame, Template};
use super::scenario::{Protocol, Scenario};

/// Latencies are kept up to this, in nanoseconds.
const LATENCY_MAXIMUM_NS: u64 = 60_000_000_000;

/// A numbered series of messages on one topic.
#[derive(Debug)]
struct Stream {
    template: Template,
    sent: u32,
    /// Arrivals over all receivers, repeats included.
    arrived: u64,
    receivers: u32,
}

/// A connection that publishes one or more streams in turn.
#[derive(Debug)]
struct Publisher {
    streams: Vec<u32>,
    turn: usize,
    sent: u64,
    unacknowledged: u32,
    /// How many may be.
    window: u32,
    packet_id: u16,
}

/// What a subscriber has of one stream.
#[derive(Clone, Debug, Default)]
struct Received {
    next: u32,
    missing: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    None,
    Publisher(usize),
    Subscriber(usize),
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) delivered: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
}

/// All streams, and who has what of them.
#[derive(Debug)]
pub(super) struct Traffic {
    protocol: Protocol,
    qos: QoS,
    burst: u32,
    ahead: u32,
    window: u32,
    streams: Vec<Stream>,
    publishers: Vec<Publisher>,
    /// By subscriber, then by stream.
    received: Vec<Vec<Received>>,
    /// By peer.
    roles: Vec<Role>,
    /// Publications over all publishers at most.
    pub(super) maximum: u64,
    pub(super) tally: Tally,
    /// From the moment a message was due to its arrival, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// Whether arrivals enter `latency`.
    pub(super) counts_latency: bool,
}

impl Traffic {
    pub(super) fn new(scenario: &Scenario) -> Self {
        // Three digits between a microsecond and a minute are valid bounds.
        let latency = Histogram::new_with_bounds(1_000, LATENCY_MAXIMUM_NS, 3)
            .unwrap_or_else(|_| Histogram::new(3).expect("three digits are allowed"));
        Traffic {
            protocol: scenario.protocol,
            qos: scenario.qos,
            burst: scenario.burst,
            ahead: scenario.ahead,
            window: scenario.window,
            streams: Vec::new(),
            publishers: Vec::new(),
            received: Vec::new(),
            roles: Vec::new(),
            maximum: u64::MAX,
            tally: Tally::default(),
            latency,
            counts_latency: false,
        }
    }

    /// Adds a stream to `topic` that so many subscribers will receive.
    pub(super) fn stream(&mut self, topic: &str, payload_bytes: usize, receivers: u32) -> u32 {
        let template = Template::new(self.protocol, topic, self.qos, payload_bytes);
        self.streams.push(Stream { template, sent: 0, arrived: 0, receivers });
        u32::try_from(self.streams.len() - 1).unwrap_or(u32::MAX)
    }

    /// Lets `peer` publish these streams in turn.
    pub(super) fn publisher(&mut self, peer: usize, streams: Vec<u32>) {
        self.set_role(peer, Role::Publisher(self.publishers.len()));
        let window = self.window;
        let publisher =
            Publisher { streams, turn: 0, sent: 0, unacknowledged: 0, window, packet_id: 0 };
        self.publishers.push(publisher);
    }

    /// The broker takes so many unacknowledged publications from `peer`.
    pub(super) fn bound_window(&mut self, peer: usize, receive_maximum: u16) {
        if let Some(Role::Publisher(publisher)) = self.roles.get(peer) {
            let window = &mut self.publishers[*publisher].window;
            *window = (*window).min(u32::from(receive_maximum));
        }
    }

    /// Lets `peer` receive.
    pub(super) fn subscriber(&mut self, peer: usize) {
        self.set_role(peer, Role::Subscriber(self.received.len()));
        self.received.push(Vec::new());
    }

    /// Lets a new connection go on as the subscriber that `old` was.
    pub(super) fn move_subscriber(&mut self, old: usize, new: usize) {
        let role = std::mem::replace(&mut self.roles[old], Role::None);
        self.set_role(new, role);
    }

    fn set_role(&mut self, peer: usize, role: Role) {
        if self.roles.len() <= peer {
            self.roles.resize(peer + 1, Role::None);
        }
        self.roles[peer] = role;
    }

    /// The peers that publish, in the order of their numbers.
    pub(super) fn publisher_peers(&self) -> Vec<usize> {
        let is_publisher = |role: &Role| matches!(role, Role::Publisher(_));
        let peers = self.roles.iter().enumerate().filter(|(_, role)| is_publisher(role));
        peers.map(|(peer, _)| peer).collect()
    }

    /// Writes what a publisher may send now, a burst at most. Returns how many.
    pub(super) fn publish(&mut self, publisher: usize, due_ns: u64, out: &mut Vec<u8>) -> u32 {
        let count = self.room(publisher).min(self.burst);
        for _ in 0..count {
            self.publish_one(publisher, due_ns, out);
        }
        count
    }

    /// Writes a publisher's next message, whatever is still under way.
    pub(super) fn publish_one(&mut self, publisher: usize, due_ns: u64, out: &mut Vec<u8>) {
        let publisher = &mut self.publishers[publisher];
        let number = publisher.streams[publisher.turn];
        publisher.turn = (publisher.turn + 1) % publisher.streams.len();
        publisher.sent += 1;
        if self.qos != QoS::AtMostOnce {
            publisher.unacknowledged += 1;
            // 0 is no identifier; what was sent 65,535 messages ago is long finished.
            publisher.packet_id = publisher.packet_id.checked_add(1).unwrap_or(1);
        }
        let stream = &mut self.streams[number as usize];
        stream.template.write(publisher.packet_id, due_ns, number, stream.sent, out);
        stream.sent += 1;
        self.tally.published += 1;
    }

    /// How many messages a publisher may send before something has to come back.
    pub(super) fn room(&self, publisher: usize) -> u32 {
        let left = self.maximum.saturating_sub(self.tally.published);
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let publisher = &self.publishers[publisher];
        let window = match self.qos {
            QoS::AtMostOnce => u32::MAX,
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                publisher.window.saturating_sub(publisher.unacknowledged)
            }
        };
        let arrived: u64 =
            publisher.streams.iter().map(|stream| self.arrived_everywhere(*stream)).sum();
        let under_way = publisher.sent.saturating_sub(arrived);
        let ahead = self.ahead.saturating_sub(u32::try_from(under_way).unwrap_or(u32::MAX));
        window.min(ahead).min(left)
    }

    fn arrived_everywhere(&self, stream: u32) -> u64 {
        let stream = &self.streams[stream as usize];
        // What nobody receives has arrived where it was going.
        if stream.receivers == 0 {
            u64::from(stream.sent)
        } else {
            stream.arrived / u64::from(stream.receivers)
        }
    }

    /// Takes a packet that arrived at `peer`, and answers it.
    pub(super) fn take(
        &mut self,
        peer: usize,
        frame: Frame<'_>,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), BenchError> {
        let role = self.roles.get(peer).copied().unwrap_or(Role::None);
        let packet_id = frame.packet_id().ok_or_else(frames::garbled);
        match (frame.packet_type(), role) {
            (frames::PUBLISH, Role::Subscriber(subscriber)) => {
                let arrived = frames::arrived(frame, self.protocol)?;
                match arrived.qos {
                    0 => {}
                    1 => frames::write_ack(frames::PUBACK, arrived.packet_id, out),
                    _ => frames::write_ack(frames::PUBREC, arrived.packet_id, out),
                }
                self.arrive(subscriber, arrived, now_ns)
            }
            (frames::PUBREL, Role::Subscriber(_)) => {
                frames::write_ack(frames::PUBCOMP, packet_id?, out);
                Ok(())
            }
            (frames::PUBREC, Role::Publisher(_)) if !is_refusal(frame) => {
                frames::write_ack(frames::PUBREL, packet_id?, out);
                Ok(())
            }
            (frames::PUBACK | frames::PUBREC | frames::PUBCOMP, Role::Publisher(publisher)) => {
                let publisher = &mut self.publishers[publisher];
                publisher.unacknowledged = publisher.unacknowledged.saturating_sub(1);
                if is_refusal(frame) {
                    self.tally.refused += 1;
                } else {
                    self.tally.acknowledged += 1;
                }
                Ok(())
            }
            (frames::DISCONNECT, _) => {
                let reason = frame.body.first().copied().unwrap_or(0);
                Err(BenchError::Broker(format!("disconnected a client with 0x{reason:02X}")))
            }
            _ => Err(frames::garbled()),
        }
    }

    fn arrive(
        &mut self,
        subscriber: usize,
        arrived: Arrived,
        now_ns: u64,
    ) -> Result<(), BenchError> {
        let Some(stream) = self.streams.get_mut(arrived.publisher as usize) else {
            return Err(BenchError::Broker("delivered what was not published now".to_owned()));
        };
        stream.arrived += 1;
        self.tally.delivered += 1;
        if self.counts_latency {
            self.latency.saturating_record(now_ns.saturating_sub(arrived.due_ns).max(1));
        }
        let streams = self.streams.len();
        let received = &mut self.received[subscriber];
        if received.is_empty() {
            received.resize(streams, Received::default());
        }
        let received = &mut received[arrived.publisher as usize];
        if arrived.number >= received.next {
            received.missing.extend(received.next..arrived.number);
            received.next = arrived.number + 1;
        } else if received.missing.remove(&arrived.number) {
            self.tally.out_of_order += 1;
        } else {
            self.tally.duplicated += 1;
        }
        Ok(())
    }

    /// From now on, everything published to these streams is to arrive at one subscriber each.
    pub(super) fn expect_arrivals(&mut self, streams: &[u32]) {
        for stream in streams {
            self.streams[*stream as usize].receivers = 1;
        }
    }

    /// Deliveries that have not happened, of all that was published so far.
    pub(super) fn missing(&self) -> u64 {
        let wanted: u64 = self
            .streams
            .iter()
            .map(|stream| u64::from(stream.sent) * u64::from(stream.receivers))
            .sum();
        (wanted + self.tally.duplicated).saturating_sub(self.tally.delivered)
    }

    /// Publications that were not answered.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.publishers.iter().map(|publisher| u64::from(publisher.unacknowledged)).sum()
    }
}

/// Whether an acknowledgement carries a reason code of 0x80 or above.
fn is_refusal(frame: Frame<'_>) -> bool {
    frame.body.get(2).is_some_and(|reason| *reason >= 0x80)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::scenario::Shape;
    use super::*;

    fn traffic(qos: QoS) -> Traffic {
        let mut traffic = Traffic::new(&Scenario {
            shape: Shape::Pairs(1),
            qos,
            payload_bytes: 16,
            protocol: Protocol::V5,
            warmup: Duration::ZERO,
            duration: Duration::ZERO,
            burst: 4,
            ahead: 10,
            window: 3,
            rate: None,
            sources: 1,
        });
        traffic.subscriber(0);
        let stream = traffic.stream("t", 16, 1);
        traffic.publisher(1, vec![stream]);
        traffic
    }

    fn arrive(traffic: &mut Traffic, number: u32) {
        let arrived = Arrived { qos: 0, packet_id: 0, due_ns: 0, publisher: 0, number };
        traffic.arrive(0, arrived, 1).expect("a known stream");
    }

    #[test]
    fn a_publisher_waits_for_arrivals_and_for_acknowledgements() {
        let mut out = Vec::new();
        let mut at_most_once = traffic(QoS::AtMostOnce);
        let sent: Vec<u32> = (0..4).map(|_| at_most_once.publish(0, 0, &mut out)).collect();
        assert_eq!(sent, [4, 4, 2, 0]);
        arrive(&mut at_most_once, 0);
        assert_eq!(at_most_once.publish(0, 0, &mut out), 1);
        assert_eq!(traffic(QoS::AtLeastOnce).publish(0, 0, &mut out), 3);
        let mut bounded = traffic(QoS::AtLeastOnce);
        bounded.bound_window(1, 2);
        assert_eq!(bounded.publish(0, 0, &mut out), 2);
    }

    #[test]
    fn what_is_lost_repeated_or_late_is_counted() {
        let mut traffic = traffic(QoS::AtMostOnce);
        traffic.publish(0, 0, &mut Vec::new());
        for number in [0, 2, 1, 1] {
            arrive(&mut traffic, number);
        }
        assert_eq!((traffic.tally.out_of_order, traffic.tally.duplicated), (1, 1));
        assert_eq!(traffic.missing(), 1);
    }
}
