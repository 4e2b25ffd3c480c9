//! A client on one connection: sends bytes, and knows what it waits for.
//!
//! Everything it reads goes through the strict parser, so each case also checks the form of all
//! that comes. While it waits for an answer it puts messages aside, because they may come first.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::case::{Checked, Failure, ensure};
use crate::line::Line;
use crate::scene::Shared;
use crate::wire::build::{self, Subscribe};
use crate::wire::packet::{Ack, Codes, ConnAck, Packet, Publish, Reasoned, name};
use crate::wire::{Frame, Version, encode, hex, hex_whole, parse};

/// What can come next on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet.
    Packet(Packet),
    /// The end.
    Closed,
    /// Nothing within the time.
    Silence,
}

/// As [`Event`], before it is looked into.
enum Framed {
    Frame(Frame),
    Closed,
    Silence,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    line: Line,
    shared: Rc<Shared>,
    label: String,
    version: Version,
    incoming: Vec<u8>,
    aside: VecDeque<Publish>,
    next_id: u16,
    /// The CONNACK that accepted it.
    pub connack: ConnAck,
}

impl Client {
    pub(crate) fn new(line: Line, shared: Rc<Shared>, label: &str) -> Self {
        Client {
            line,
            shared,
            label: label.to_owned(),
            version: Version::V5,
            incoming: Vec::new(),
            aside: VecDeque::new(),
            next_id: 0,
            connack: ConnAck::default(),
        }
    }

    /// Reads what comes as that version from now on.
    pub fn speak(&mut self, version: Version) {
        self.version = version;
    }

    /// Sends bytes as they are. A target that has closed already is not an error here: reading
    /// will tell.
    pub fn send(&mut self, bytes: &[u8]) {
        self.shared.note(format!("{} > {}", self.label, hex_whole(bytes)));
        if let Some(first) = bytes.first() {
            self.shared.sent(first >> 4);
        }
        // Several at once, too.
        let mut rest = bytes.to_vec();
        while let Ok(Some(frame)) = Frame::take(&mut rest) {
            self.shared.sent(frame.kind());
        }
        if let Err(error) = self.line.send(bytes) {
            self.shared.note(format!("{} cannot send: {error}", self.label));
        }
    }

    /// Sends CONNECT and waits to be accepted.
    ///
    /// # Errors
    /// Anything but a CONNACK 0x00.
    pub fn connect(&mut self, connect: &build::Connect) -> Checked {
        self.version = connect.version;
        self.send(&connect.to_bytes());
        match self.receive()? {
            Packet::ConnAck(connack) if connack.reason == 0 => {
                self.connack = connack;
                Ok(())
            }
            other => Err(Failure(format!("CONNACK 0x00 expected, {other:?} came"))),
        }
    }

    /// Cuts the connection without a word.
    pub fn cut(self) {
        self.shared.note(format!("{} is cut", self.label));
        // The drop would do; shutting down makes it certain that nothing holds it open.
        self.line.cut();
    }

    /// Sends DISCONNECT 0x00 and waits for the end.
    ///
    /// # Errors
    /// If the target sends packets instead, or leaves the connection open.
    pub fn disconnect(mut self) -> Checked {
        self.send(&build::DISCONNECT);
        self.line.finish();
        self.ended()
    }

    /// The next frame, not looked into; `None` at the end.
    ///
    /// # Errors
    /// Nothing comes.
    pub fn frame(&mut self) -> Checked<Option<Frame>> {
        match self.framed_within(self.shared.patience)? {
            Framed::Frame(frame) => Ok(Some(frame)),
            Framed::Closed => Ok(None),
            Framed::Silence => Err("a packet expected, and nothing came".into()),
        }
    }

    /// The next that comes, within the patience.
    ///
    /// # Errors
    /// What comes is malformed.
    pub fn event(&mut self) -> Checked<Event> {
        self.event_within(self.shared.patience)
    }

    /// The next that comes within `time`.
    ///
    /// # Errors
    /// What comes is malformed.
    pub fn event_within(&mut self, time: Duration) -> Checked<Event> {
        Ok(match self.framed_within(time)? {
            Framed::Frame(frame) => Event::Packet(parse::packet(&frame, self.version)?),
            Framed::Closed => Event::Closed,
            Framed::Silence => Event::Silence,
        })
    }

    fn framed_within(&mut self, time: Duration) -> Checked<Framed> {
        let end = Instant::now() + time;
        loop {
            if let Some(frame) = Frame::take(&mut self.incoming)? {
                self.shared.note(format!("{} < {}", self.label, hex_whole(&frame.to_bytes())));
                self.shared.saw(frame.kind());
                return Ok(Framed::Frame(frame));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let ms = time.as_millis();
                self.shared.note(format!("{}: nothing comes for {ms} ms", self.label));
                return Ok(Framed::Silence);
            }
            match self.line.read(left) {
                Ok(piece) if piece.is_empty() => return Ok(self.closed()),
                Ok(piece) => self.incoming.extend(piece),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// The next packet.
    ///
    /// # Errors
    /// None comes, or a malformed one.
    pub fn receive(&mut self) -> Checked<Packet> {
        match self.event()? {
            Event::Packet(packet) => Ok(packet),
            Event::Closed => Err("a packet expected, and the connection was closed".into()),
            Event::Silence => Err("a packet expected, and nothing came".into()),
        }
    }

    /// The next packet that is no PUBLISH; those are put aside for [`Client::message`].
    ///
    /// # Errors
    /// None comes, or one of another type than `kind`.
    pub fn expect(&mut self, kind: u8) -> Checked<Packet> {
        loop {
            match self.receive()? {
                Packet::Publish(publish) if kind != 3 => self.aside.push_back(publish),
                packet if packet.kind() == kind => return Ok(packet),
                other => {
                    return Err(Failure(format!("{} expected, {other:?} came", name(kind))));
                }
            }
        }
    }

    /// PUBACK (4), PUBREC (5), PUBREL (6) or PUBCOMP (7) of this identifier, with any code.
    ///
    /// # Errors
    /// Something else comes.
    pub fn ack(&mut self, kind: u8, packet_id: u16) -> Checked<Ack> {
        match self.expect(kind)? {
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => {
                ensure!(
                    ack.packet_id == packet_id,
                    "[MQTT-2.2.1-5] {} of {packet_id} expected, {ack:?} came",
                    name(kind)
                );
                Ok(ack)
            }
            other => Err(Failure(format!("{} expected, {other:?} came", name(kind)))),
        }
    }

    /// The next message, not answered.
    ///
    /// # Errors
    /// Something else comes, or nothing.
    pub fn message(&mut self) -> Checked<Publish> {
        if let Some(publish) = self.aside.pop_front() {
            return Ok(publish);
        }
        match self.receive()? {
            Packet::Publish(publish) => Ok(publish),
            other => Err(Failure(format!("PUBLISH expected, {other:?} came"))),
        }
    }

    /// The next message, answered as its QoS asks.
    ///
    /// # Errors
    /// Something else comes, or nothing.
    pub fn take(&mut self) -> Checked<Publish> {
        let publish = self.message()?;
        match publish.qos {
            0 => {}
            1 => self.answer(4, publish.packet_id, 0),
            _ => {
                self.answer(5, publish.packet_id, 0);
                self.ack(6, publish.packet_id)?;
                self.answer(7, publish.packet_id, 0);
            }
        }
        Ok(publish)
    }

    /// The next message, answered; its payload must be this.
    ///
    /// # Errors
    /// Something else comes, or nothing.
    pub fn take_payload(&mut self, payload: &str) -> Checked<Publish> {
        let publish = self.take()?;
        ensure!(
            publish.payload == payload.as_bytes(),
            "message {payload:?} expected, {publish:?} came"
        );
        Ok(publish)
    }

    /// Sends an acknowledgement of the type `kind`.
    pub fn answer(&mut self, kind: u8, packet_id: u16, reason: u8) {
        let ack = Ack { packet_id, reason, ..Ack::default() };
        self.send(&encode::ack(kind, &ack, self.version));
    }

    /// A packet identifier that this connection has not used.
    pub fn fresh_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// Sends a PUBLISH, with a fresh identifier if it needs one and has none; returns it.
    pub fn send_publish(&mut self, publish: &Publish) -> u16 {
        let mut publish = publish.clone();
        if publish.qos > 0 && publish.packet_id == 0 {
            publish.packet_id = self.fresh_id();
        }
        if publish.retain && !publish.payload.is_empty() {
            self.shared.retained.borrow_mut().push(publish.topic.clone());
        }
        self.send(&encode::publish(&publish, self.version));
        publish.packet_id
    }

    /// Publishes, to the end of the exchange.
    ///
    /// # Errors
    /// The exchange goes wrong, or the target refuses.
    pub fn publish(&mut self, publish: &Publish) -> Checked {
        let ack = self.publish_answer(publish)?;
        ensure!(ack.reason < 0x80, "the publication was refused: {ack:?}");
        Ok(())
    }

    /// Publishes, to the end of the exchange; the first acknowledgement, whatever its code.
    ///
    /// # Errors
    /// The exchange goes wrong.
    pub fn publish_answer(&mut self, publish: &Publish) -> Checked<Ack> {
        let packet_id = self.send_publish(publish);
        match publish.qos {
            0 => Ok(Ack::default()),
            1 => self.ack(4, packet_id),
            _ => {
                let received = self.ack(5, packet_id)?;
                if received.reason < 0x80 {
                    self.answer(6, packet_id, 0);
                    let complete = self.ack(7, packet_id)?;
                    ensure!(complete.reason == 0, "PUBCOMP: {complete:?}");
                }
                Ok(received)
            }
        }
    }

    /// Subscribes; every filter must be granted.
    ///
    /// # Errors
    /// It is not.
    pub fn subscribe(&mut self, subscribe: &Subscribe) -> Checked<Codes> {
        let answer = self.subscribe_answer(subscribe)?;
        ensure!(answer.codes.iter().all(|code| *code < 0x80), "refused: {answer:?}");
        Ok(answer)
    }

    /// Subscribes; the answer, whatever the codes.
    ///
    /// # Errors
    /// The answer does not fit the request.
    pub fn subscribe_answer(&mut self, subscribe: &Subscribe) -> Checked<Codes> {
        let packet_id = self.fresh_id();
        self.send(&subscribe.to_bytes(packet_id, self.version));
        let Packet::SubAck(answer) = self.expect(9)? else { return Err("no SUBACK".into()) };
        ensure!(
            answer.packet_id == packet_id,
            "[MQTT-3.8.4-2] SUBACK of {packet_id} expected, {answer:?} came"
        );
        ensure!(
            answer.codes.len() == subscribe.filters.len(),
            "[MQTT-3.8.4-6] a code for each of {} filters expected: {answer:?}",
            subscribe.filters.len()
        );
        Ok(answer)
    }

    /// Unsubscribes; the answer, whatever the codes.
    ///
    /// # Errors
    /// The answer does not fit the request.
    pub fn unsubscribe(&mut self, filters: &[&[u8]]) -> Checked<Codes> {
        let packet_id = self.fresh_id();
        self.send(&build::unsubscribe(packet_id, filters, self.version));
        let Packet::UnsubAck(answer) = self.expect(11)? else { return Err("no UNSUBACK".into()) };
        ensure!(
            answer.packet_id == packet_id,
            "[MQTT-3.10.4-5] UNSUBACK of {packet_id} expected, {answer:?} came"
        );
        ensure!(
            self.version != Version::V5 || answer.codes.len() == filters.len(),
            "a code for each of {} filters expected: {answer:?}",
            filters.len()
        );
        Ok(answer)
    }

    /// Nothing is on its way to this client.
    ///
    /// # Errors
    /// Something is.
    pub fn quiet(&mut self) -> Checked {
        std::thread::sleep(self.shared.settle);
        self.send(&build::PINGREQ);
        if let Some(publish) = self.aside.pop_front() {
            return Err(Failure(format!("nothing expected, {publish:?} came")));
        }
        match self.receive()? {
            Packet::PingResp => Ok(()),
            other => Err(Failure(format!("nothing expected, {other:?} came"))),
        }
    }

    /// The connection still serves: PINGREQ is answered, messages before it put aside.
    ///
    /// # Errors
    /// It does not.
    pub fn alive(&mut self) -> Checked {
        self.send(&build::PINGREQ);
        self.expect(13).map(|_| ())
    }

    /// The target closes the connection, after at most a DISCONNECT with one of the codes.
    ///
    /// # Errors
    /// It does not, or says something else.
    pub fn refused(&mut self, codes: &[u8]) -> Checked {
        match self.event()? {
            Event::Closed => Ok(()),
            Event::Silence => Err("[MQTT-4.13.1-1] the connection stays open".into()),
            Event::Packet(Packet::Disconnect(Reasoned { reason, .. })) => {
                ensure!(
                    codes.contains(&reason),
                    "DISCONNECT {} expected, {reason:#04X} came",
                    hex(codes)
                );
                self.ended()
            }
            Event::Packet(other) => Err(Failure(format!("a close expected, {other:?} came"))),
        }
    }

    /// The target sends DISCONNECT with one of the codes, and closes.
    ///
    /// # Errors
    /// It does not.
    pub fn told(&mut self, codes: &[u8]) -> Checked<Reasoned> {
        match self.expect(14)? {
            Packet::Disconnect(disconnect) if codes.contains(&disconnect.reason) => {
                self.ended()?;
                Ok(disconnect)
            }
            other => Err(Failure(format!("DISCONNECT {} expected, {other:?} came", hex(codes)))),
        }
    }

    /// The target refuses a CONNECT: it closes, after at most a CONNACK with one of the codes.
    ///
    /// # Errors
    /// It does not, or says something else.
    pub fn rejected(&mut self, codes: &[u8]) -> Checked {
        match self.event()? {
            Event::Closed => Ok(()),
            Event::Silence => Err("[MQTT-3.1.4-1] the connection stays open".into()),
            Event::Packet(Packet::ConnAck(ConnAck { reason, .. })) => {
                ensure!(
                    codes.contains(&reason),
                    "CONNACK {} or a close expected, {reason:#04X} came",
                    hex(codes)
                );
                self.ended()
            }
            Event::Packet(other) => {
                Err(Failure(format!("[MQTT-3.14.0-1] CONNACK or a close expected, {other:?} came")))
            }
        }
    }

    /// Nothing but the end comes.
    ///
    /// # Errors
    /// Something else does, or the connection stays open.
    pub fn ended(&mut self) -> Checked {
        match self.event()? {
            Event::Closed => Ok(()),
            Event::Silence => Err("the connection stays open".into()),
            Event::Packet(packet) => Err(Failure(format!("the end expected, {packet:?} came"))),
        }
    }

    fn closed(&self) -> Framed {
        self.shared.note(format!("{} is closed", self.label));
        Framed::Closed
    }
}

impl Publish {
    /// A message at QoS 0.
    #[must_use]
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Publish {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            ..Publish::default()
        }
    }

    /// At another QoS.
    #[must_use]
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// With RETAIN.
    #[must_use]
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Under this packet identifier.
    #[must_use]
    pub fn id(mut self, packet_id: u16) -> Self {
        self.packet_id = packet_id;
        self
    }

    /// With DUP.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.dup = true;
        self
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, id: u8, value: crate::wire::property::Value) -> Self {
        self.properties = self.properties.with(id, value);
        self
    }
}
