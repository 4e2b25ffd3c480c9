//! A shard on a network, a journal and an authenticator made of memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use signalhouse::client::Client;
use signalhouse::seams::{
    Anonymous, Authenticate, Clock, Journal, Listener, LocalSpawn, MemoryJournal, Net, TokioClock,
};
use signalhouse::shard::{Handle, Options, RunError, Shard, Surroundings, Timeouts};
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    ClientPacket, ConnAck, Publish, ServerPacket, Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text};
use signalhouse_core::{Config, JournalRoom, LogPosition, Record, Seed, Time};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use crate::connect::connect;

pub(crate) const START: Time = Time::from_ms(1_000_000);
/// What a connection holds on its way in either direction.
pub(crate) const PIPE_BYTES: usize = 4_096;

/// Connections are handed over as they are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryNet {
    arriving: Rc<RefCell<Arriving>>,
}

#[derive(Debug, Default)]
struct Arriving {
    queue: VecDeque<io::Result<DuplexStream>>,
    listener: Option<Waker>,
}

impl MemoryNet {
    pub(crate) fn open(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        self.arrive(Ok(theirs));
        ours
    }

    pub(crate) fn arrive(&self, arriving: io::Result<DuplexStream>) {
        let mut shared = self.arriving.borrow_mut();
        shared.queue.push_back(arriving);
        if let Some(listener) = shared.listener.take() {
            listener.wake();
        }
    }
}

impl Net for MemoryNet {
    type Stream = DuplexStream;
    type Listener = MemoryNet;

    fn listen(&self, _: SocketAddr, _: u32) -> io::Result<MemoryNet> {
        Ok(self.clone())
    }

    async fn connect(&self, _: &str, _: u16) -> io::Result<DuplexStream> {
        Ok(self.open())
    }
}

impl Listener for MemoryNet {
    type Stream = DuplexStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(peer())
    }

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        poll_fn(|cx| {
            let mut shared = self.arriving.borrow_mut();
            match shared.queue.pop_front() {
                Some(arriving) => Poll::Ready(arriving.map(|stream| (stream, peer()))),
                None => {
                    shared.listener = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1883))
}

/// A journal whose disk is as slow, or as broken, as the test says.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlowJournal {
    state: Rc<RefCell<SlowState>>,
}

#[derive(Debug, Default)]
struct SlowState {
    records: usize,
    appended: LogPosition,
    told: LogPosition,
    synced: LogPosition,
    broken: bool,
    driver: Option<Waker>,
}

impl SlowJournal {
    pub(crate) fn records(&self) -> usize {
        self.state.borrow().records
    }

    /// Everything appended so far reaches the disk.
    pub(crate) fn sync(&self) {
        let mut state = self.state.borrow_mut();
        state.synced = state.appended;
        if let Some(driver) = state.driver.take() {
            driver.wake();
        }
    }

    pub(crate) fn break_down(&self) {
        let mut state = self.state.borrow_mut();
        state.broken = true;
        if let Some(driver) = state.driver.take() {
            driver.wake();
        }
    }
}

impl Journal for SlowJournal {
    fn append(&mut self, at: LogPosition, _: Record) {
        let mut state = self.state.borrow_mut();
        state.records += 1;
        state.appended = at;
    }

    fn flush(&mut self) -> Option<LogPosition> {
        None
    }

    fn poll_durable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<LogPosition>> {
        let mut state = self.state.borrow_mut();
        if state.broken {
            return Poll::Ready(Err(io::Error::other("the disk is gone")));
        }
        if state.told < state.synced {
            state.told = state.synced;
            return Poll::Ready(Ok(state.told));
        }
        state.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    fn fetch(&mut self, _: MessageId) {
        unreachable!("everything is in memory")
    }

    fn take_fetched(&mut self) -> Poll<Arc<Message>> {
        Poll::Pending
    }

    fn room(&self) -> JournalRoom {
        JournalRoom::Ample
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A running shard.
pub(crate) struct Running {
    pub(crate) net: MemoryNet,
    pub(crate) clock: TokioClock,
    pub(crate) handle: Handle<DuplexStream>,
    pub(crate) ended: JoinHandle<Result<(), RunError>>,
}

pub(crate) fn options() -> Options {
    Options {
        config: Config { sys_interval_ms: 0, ..Config::default() },
        seed: Seed(7),
        outgoing_buffer_bytes: 16 * 1024,
        connect_maximum_bytes: 64 * 1024,
        timeouts: Timeouts { close_ms: 5_000, write_stall_ms: 60_000 },
    }
}

pub(crate) fn start(options: Options) -> Running {
    start_on(options, MemoryJournal::new(), Anonymous)
}

pub(crate) fn start_on<J: Journal, A: Authenticate>(
    options: Options,
    journal: J,
    authenticate: A,
) -> Running {
    let net = MemoryNet::default();
    let clock = TokioClock::starting_at(START);
    let surroundings =
        Surroundings { net: net.clone(), clock, journal, spawn: LocalSpawn, authenticate };
    let shard = Shard::new(surroundings, options);
    shard.listen(peer(), 1).expect("memory listens anywhere");
    let handle = shard.handle();
    let ended = tokio::task::spawn_local(shard.run());
    Running { net, clock, handle, ended }
}

pub(crate) type Peer = Client<DuplexStream, TokioClock>;

impl Running {
    pub(crate) async fn client(&self, client_id: &str) -> (Peer, ConnAck) {
        let connected = Client::connect(self.net.open(), self.clock, connect(client_id), 60_000);
        connected.await.expect("the broker lets everybody in")
    }
}

pub(crate) fn publish(
    topic: &str,
    payload: &[u8],
    delivery: Delivery<InboundPacketId>,
) -> ClientPacket {
    ClientPacket::Publish(Publish {
        dup: false,
        retain: false,
        delivery,
        topic: Topic::try_from(topic).expect("a topic"),
        payload: Bytes::copy_from_slice(payload),
        message_expiry_interval_s: None,
        properties: None,
    })
}

pub(crate) fn id(value: u16) -> InboundPacketId {
    InboundPacketId(PacketId::new(value).expect("not zero"))
}

pub(crate) async fn subscribe(peer: &mut Peer, filter: &str, qos: QoS) {
    let options = SubscriptionOptions { maximum_qos: qos, ..SubscriptionOptions::default() };
    let filter = TopicFilter::new(Text::try_from(filter).expect("a short text"));
    peer.queue(&ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: id(1),
        subscription_id: None,
        subscriptions: vec![(filter.expect("a filter"), options)],
        user_properties: Vec::new(),
    })))
    .expect("a small packet");
    let answer = peer.receive().await.expect("an answer");
    assert!(matches!(answer, ServerPacket::SubAck(_)), "{answer:?}");
}

/// How long it takes until `future` is done, on the shard's clock.
pub(crate) async fn ms_until<T>(clock: TokioClock, future: impl Future<Output = T>) -> (u64, T) {
    let before = clock.now();
    let output = future.await;
    (clock.now().since_ms(before), output)
}
