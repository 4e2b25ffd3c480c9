//! The journal's records: any bytes are a record or refused, a record that was read or made of typed fields, written
//! and read again is the same, and any run of records makes a broker that serves its clients, or is refused.

mod made;

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use signalhouse::journal::codec::{decode, decode_first, encode};
use signalhouse_core::input::Gone;
use signalhouse_core::wire::packet::{ClientPacket, Connect};
use signalhouse_core::wire::types::{Text, Version};
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, LogPosition, Outbox, Record, Recovery, Seed, Time,
};

use made::Made;

const WORK_MAXIMUM: u32 = 10_000;
/// The first byte of an input that is a list of [`Made`] records; no record begins with it.
const MADE: u8 = 0xFE;
/// So many clients of the records come back.
const CLIENTS: usize = 4;

/// Takes `data` for a record, and for several; or makes records of it.
///
/// # Panics
/// If a record changes on the way, or what a broker made of them does not make the same again.
pub fn run(data: &[u8]) {
    if let Some((&MADE, fields)) = data.split_first() {
        let Ok(made) = Vec::<Made>::arbitrary_take_rest(Unstructured::new(fields)) else { return };
        let records: Vec<Record> = made.iter().map(Made::record).collect();
        for record in &records {
            stays_the_same(record);
        }
        return recover(records);
    }
    if let Ok(record) = decode(data) {
        stays_the_same(&record);
    }
    let mut records = Vec::new();
    let mut rest = data;
    while let Ok((record, behind)) = decode_first(rest) {
        records.push(record);
        rest = behind;
    }
    recover(records);
}

fn stays_the_same(record: &Record) {
    let mut bytes = BytesMut::new();
    encode(record, &mut bytes);
    assert_eq!(decode(&bytes).as_ref(), Ok(record), "a record changes on the way");
}

fn recover(records: Vec<Record>) {
    let mut recovery = Recovery::new(Config::default(), Seed(1));
    let mut through = LogPosition::START;
    let mut clients: Vec<Text> = Vec::new();
    for record in records {
        if let Record::Connected { client_id, .. } = &record
            && clients.len() < CLIENTS
            && !clients.contains(client_id)
        {
            clients.push(client_id.clone());
        }
        // What does not fit is left out, as a repair leaves it out.
        if recovery.apply(record).is_ok() {
            through = LogPosition(through.0 + 1);
        }
    }
    let now = recovery.latest();
    let broker = recovery.finish(now, through);
    let snapshot = broker.snapshot();
    let again = Broker::recover(Config::default(), Seed(1), now, through, snapshot.clone());
    let again = again.expect("a snapshot makes a broker");
    // Records that no broker writes, such as two entries in one place, may change their order.
    assert_eq!(again.snapshot().len(), snapshot.len(), "a snapshot makes another broker");
    let mut served = Served { broker, now, out: Outbox::new() };
    served.work();
    for (index, client_id) in clients.into_iter().enumerate() {
        let index = u32::try_from(index).expect("they are few");
        served.client_comes(ConnectionId { index, generation: 0 }, client_id);
    }
    served.end();
}

/// A broker whose records are durable at once, and that gets no message read back: the journal has none.
struct Served {
    broker: Broker,
    now: Time,
    out: Outbox,
}

impl Served {
    fn client_comes(&mut self, connection: ConnectionId, client_id: Text) {
        let peer = client_id.clone();
        self.tell(Input::Opened { connection, peer, room_bytes: 100_000 });
        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            session_expiry_interval_s: u32::MAX,
            receive_maximum: u16::MAX,
            maximum_packet_size_bytes: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: Vec::new(),
        };
        let packet = ClientPacket::Connect(Box::new(connect));
        self.tell(Input::Packet { connection, packet });
        self.work();
    }

    /// All go at once.
    fn end(&mut self) {
        for index in 0..CLIENTS {
            let index = u32::try_from(index).expect("they are few");
            let connection = ConnectionId { index, generation: 0 };
            self.tell(Input::Closed { connection, cause: Gone::Failed });
        }
        self.work();
    }

    fn tell(&mut self, input: Input) {
        self.broker.handle(self.now, input, &mut self.out);
        while let Some(through) = self.last_record() {
            self.broker.handle(self.now, Input::Durable { through }, &mut self.out);
        }
    }

    fn work(&mut self) {
        let mut left = WORK_MAXIMUM;
        while self.broker.has_more_work() && left > 0 {
            self.broker.resume(self.now, 100, &mut self.out);
            while let Some(through) = self.last_record() {
                self.broker.handle(self.now, Input::Durable { through }, &mut self.out);
            }
            left -= 1;
        }
        assert!(left > 0, "the work after a recovery has no end");
    }

    fn last_record(&mut self) -> Option<LogPosition> {
        self.out.drain().fold(None, |last, action| match action {
            Action::Persist { at, .. } => Some(at),
            Action::Send { .. }
            | Action::Close { .. }
            | Action::Ask { .. }
            | Action::Fetch { .. }
            | Action::Answer(_)
            | Action::Notice(_) => last,
        })
    }
}
