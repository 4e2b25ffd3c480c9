//! What a message at QoS 0 asks of the allocator once everything has its size: nothing.
//!
//! A shard on a thread of its own serves TCP; what that thread allocates is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use signalhouse::seams::{Anonymous, LocalSpawn, MemoryJournal, TcpNet, TokioClock};
use signalhouse::shard::{Shard, Surroundings};
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::wire::packet::{ClientPacket, Subscribe, SubscriptionOptions};
use signalhouse_core::wire::types::{Delivery, Version};
use signalhouse_core::wire::{ClientReader, ReaderLimits, encode_client};
use tokio::task::LocalSet;

use super::support::{START, id, options, publish};
use crate::connect::connect;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    // A thread that ends has no such value any more.
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(block, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Messages in one write.
const BURST: usize = 16;

#[test]
fn qos0_deliveries_allocate_nothing() {
    let at = serve();
    for subscribers in [1, 20] {
        let topic = format!("to/{subscribers}");
        let mut receivers: Vec<Peer> = (0..subscribers)
            .map(|number| Peer::connect(at, &format!("receiver-{subscribers}-{number}")))
            .collect();
        for receiver in &mut receivers {
            receiver.send(&subscribe(&topic));
            receiver.wait_for_packet();
        }
        let mut publisher = Peer::connect(at, &format!("publisher-{subscribers}"));
        let mut burst = BytesMut::new();
        for _ in 0..BURST {
            let packet =
                publish(&topic, b"a message of a common size, for example", Delivery::AtMostOnce);
            let _written = encode_client(&packet, Version::V5, &mut burst);
        }
        let mut play = |bursts: usize| {
            for _ in 0..bursts {
                publisher.stream.write_all(&burst).expect("it is read");
                for receiver in &mut receivers {
                    receiver.skip(burst.len());
                }
            }
        };
        play(100);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        play(500);
        assert!(before > 0, "to connect takes memory, which is counted");
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        let deliveries = 500 * BURST * subscribers;
        // Reads are gathered by chance: now and then more of them than ever before are in use at once.
        assert!(
            allocations * 1000 <= deliveries,
            "{allocations} allocations for {deliveries} deliveries to {subscribers}"
        );
    }
}

/// Starts a shard on a thread that is counted.
fn serve() -> SocketAddr {
    let (told, tells) = mpsc::channel();
    std::thread::spawn(move || {
        IS_COUNTED.set(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), async move {
            let surroundings = Surroundings {
                net: TcpNet,
                clock: TokioClock::starting_at(START),
                journal: MemoryJournal::new(),
                spawn: LocalSpawn,
                authenticate: Anonymous,
            };
            let shard = Shard::new(surroundings, options());
            let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
            told.send(shard.listen(any_port, 64).expect("a port")).expect("the test waits");
            shard.run().await.expect("it serves until the process ends");
        });
    });
    tells.recv().expect("it listens")
}

fn subscribe(filter: &str) -> ClientPacket {
    let filter = TopicFilter::try_from(filter).expect("a filter");
    ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: id(1),
        subscription_id: None,
        subscriptions: vec![(filter, SubscriptionOptions::default())],
        user_properties: Vec::new(),
    }))
}

struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    fn connect(at: SocketAddr, client_id: &str) -> Self {
        let stream = TcpStream::connect(at).expect("the shard listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
        stream.set_nodelay(true).expect("a TCP stream");
        let mut peer = Peer { stream, buffer: vec![0; 64 * 1024] };
        peer.send(&ClientPacket::Connect(Box::new(connect(client_id))));
        peer.wait_for_packet();
        peer
    }

    fn send(&mut self, packet: &ClientPacket) {
        let mut bytes = BytesMut::new();
        let _written = encode_client(packet, Version::V5, &mut bytes);
        self.stream.write_all(&bytes).expect("it is read");
    }

    fn wait_for_packet(&mut self) {
        let mut reader = ClientReader::new(Version::V5, ReaderLimits::default());
        let mut bytes = BytesMut::new();
        while reader.read(&mut bytes).expect("a packet").is_none() {
            let read = self.stream.read(&mut self.buffer).expect("an answer in time");
            assert!(read > 0, "the shard closed the connection");
            bytes.extend_from_slice(&self.buffer[..read]);
        }
    }

    /// Takes so many bytes of messages.
    fn skip(&mut self, bytes: usize) {
        self.stream.read_exact(&mut self.buffer[..bytes]).expect("all messages in time");
    }
}
