//! Simulated clients, and the hand that plays the broker.

use signalhouse_sim::client::{ClientInput, ClientOutput, Clients};
use signalhouse_sim::codec::{decode_client, encode};
use signalhouse_sim::history::What;
use signalhouse_sim::packet::{AckKind, Connect, Packet, Property, Publish};
use signalhouse_sim::plan::{ClientSpec, Do};
use signalhouse_sim::token::Token;

pub(crate) const TAKEN_OVER: u8 = 0x8E;
pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;

pub(crate) fn spec() -> ClientSpec {
    ClientSpec {
        client_id: "c".to_owned(),
        level: 5,
        session_expiry_interval_s: 60,
        keep_alive_s: 0,
        receive_maximum: 1,
        later_receive_maximum: 0,
        maximum_packet_size_bytes: 1_000,
        topic_alias_maximum: 0,
        ack_delay_ms: 0,
        reorders_acks: false,
        reconnect_after_ms: None,
        forgets: false,
        clock_percent: 100,
        stranger: false,
        pipelines: false,
        aliases: false,
        refuses: false,
    }
}

/// Clients, and a broker's hand: everything that a client wants done is kept until it is asked for.
pub(crate) struct Stage {
    pub(crate) clients: Clients,
    pub(crate) level: u8,
    pub(crate) now_ms: u64,
    pub(crate) connections: u64,
    /// Packets sent, by connection, checked against the history.
    pub(crate) sent: Vec<(u64, Packet)>,
    pub(crate) raw: Vec<(u64, Vec<u8>)>,
    pub(crate) opens: Vec<(usize, u64)>,
    pub(crate) closed: Vec<u64>,
    pub(crate) history: Vec<What>,
}

impl Stage {
    pub(crate) fn new(specs: &[ClientSpec]) -> Self {
        Self {
            clients: Clients::new(1, specs),
            level: specs[0].level,
            now_ms: 0,
            connections: 0,
            sent: Vec::new(),
            raw: Vec::new(),
            opens: Vec::new(),
            closed: Vec::new(),
            history: Vec::new(),
        }
    }

    pub(crate) fn tell(&mut self, client: usize, input: ClientInput<'_>) {
        let mut out = Vec::new();
        self.clients.handle(self.now_ms, client, input, &mut out);
        let mut announced = None;
        for output in out {
            match output {
                ClientOutput::Open { attempt } => self.opens.push((client, attempt)),
                ClientOutput::Close { connection, reset: _ } => self.closed.push(connection),
                ClientOutput::Send { connection, bytes } => match announced.take() {
                    Some(packet) => {
                        let read = decode_client(&bytes, self.level).unwrap();
                        assert_eq!(read, Some((packet, bytes.len())));
                        let (packet, _) = read.unwrap();
                        self.sent.push((connection, packet));
                    }
                    None => self.raw.push((connection, bytes)),
                },
                ClientOutput::Event(what) => {
                    if let What::Sent { connection: _, packet } = &what {
                        announced = Some(packet.clone());
                    }
                    self.history.push(what);
                }
            }
        }
        // Whatever is due has been done: an engine that calls at deadlines never spins.
        let deadline_ms = self.clients.client(client).next_deadline_ms();
        assert!(deadline_ms.is_none_or(|deadline_ms| deadline_ms > self.now_ms));
    }

    pub(crate) fn act(&mut self, client: usize, step: &Do) {
        self.tell(client, ClientInput::Do(step));
    }

    /// Lets time pass, up to and including what is due at its end.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while let Some((deadline_ms, client)) = self.clients.next_deadline_ms() {
            if deadline_ms > end_ms {
                break;
            }
            self.now_ms = deadline_ms;
            self.tell(client, ClientInput::Time);
        }
        self.now_ms = end_ms;
    }

    /// Lets the connection that was asked for come about, and gives its number and CONNECT.
    pub(crate) fn accept(&mut self) -> (u64, Connect) {
        let (client, attempt) = self.opens.pop().expect("a connection was asked for");
        self.connections += 1;
        let connection = self.connections;
        self.tell(client, ClientInput::Opened { attempt, connection });
        let mut sent = self.take(connection);
        let first = sent.remove(0);
        self.sent.extend(sent.into_iter().map(|packet| (connection, packet)));
        let Packet::Connect(connect) = first else { panic!("{first:?}") };
        (connection, connect)
    }

    /// Connects a client and accepts it.
    pub(crate) fn connect(&mut self, client: usize, session_present: bool) -> u64 {
        self.act(client, &Do::Connect { client, clean_start: false, will: None });
        self.greet(client, session_present, Vec::new())
    }

    pub(crate) fn greet(
        &mut self,
        client: usize,
        session_present: bool,
        properties: Vec<Property>,
    ) -> u64 {
        let (connection, _) = self.accept();
        let connack = Packet::ConnAck { session_present, reason: 0, properties };
        self.say(client, connection, &connack);
        connection
    }

    pub(crate) fn say(&mut self, client: usize, connection: u64, packet: &Packet) {
        let bytes = encode(packet, self.level);
        self.tell(client, ClientInput::Bytes { connection, bytes: &bytes });
    }

    pub(crate) fn ack(&mut self, client: usize, connection: u64, kind: AckKind, id: u16) {
        self.say(client, connection, &ack(kind, id, 0));
    }

    pub(crate) fn publish(&mut self, client: usize, qos: u8) {
        self.act(client, &publish(client, qos));
    }

    /// Packets sent on a connection since the last time.
    pub(crate) fn take(&mut self, connection: u64) -> Vec<Packet> {
        let (taken, left) =
            std::mem::take(&mut self.sent).into_iter().partition(|(on, _)| *on == connection);
        self.sent = left;
        let taken: Vec<(u64, Packet)> = taken;
        taken.into_iter().map(|(_, packet)| packet).collect()
    }
}

pub(crate) fn ack(kind: AckKind, id: u16, reason: u8) -> Packet {
    Packet::Ack { kind, id, reason, properties: Vec::new() }
}

pub(crate) fn publish(client: usize, qos: u8) -> Do {
    Do::Publish {
        client,
        topic: "t".to_owned(),
        qos,
        retain: false,
        fill_bytes: 3,
        clears: false,
        expiry_s: 0,
        user_properties: 2,
    }
}

/// QoS, identifier, DUP and the token's sequence number of each PUBLISH.
pub(crate) fn publishes(packets: &[Packet]) -> Vec<(u8, Option<u16>, bool, u64)> {
    let each = packets.iter().map(|packet| {
        let Packet::Publish(Publish { qos, id, dup, payload, .. }) = packet else {
            panic!("{packet:?}")
        };
        (*qos, *id, *dup, Token::parse(payload).unwrap().sequence)
    });
    each.collect()
}

pub(crate) fn delivery(qos: u8, id: u16) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t".to_owned(),
        id: Some(id),
        properties: Vec::new(),
        payload: Vec::new(),
    })
}
