//! A broker behind its doors on free ports of loopback, in a folder of its own, and clients.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use signalhouse::access::files::{self, Loaded};
use signalhouse::access::{Access, Bounds};
use signalhouse::client::{Client, ClientError};
use signalhouse::http::Server;
use signalhouse::seams::{LocalSpawn, MemoryJournal, TcpNet, TokioClock};
use signalhouse::settings::{self, Overrides, Settings, Sources};
use signalhouse::shard::{Handle, Shard, Surroundings};
use signalhouse::transport::websocket::{MessageLimits, Origins};
use signalhouse::transport::{Door, Kind, Locks, Strangers};
use signalhouse_core::Seed;
use signalhouse_core::input::Command;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    Ack, ClientPacket, ConnAck, Connect, Publish, ServerPacket, Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::connect::connect;

/// How long anything may take on a busy machine before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a test's tasks on one thread.
pub(crate) async fn play(test: impl Future<Output = ()>) {
    tokio::time::timeout(4 * DEADLINE, LocalSet::new().run_until(test)).await.expect("in time");
}

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("signalhouse-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a writable place");
        Folder(path)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a writable folder");
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A broker, as `serve` makes it of its settings.
pub(crate) struct Running {
    pub(crate) folder: Folder,
    pub(crate) clock: TokioClock,
    handle: Handle<TcpStream>,
    access: Rc<Access<TokioClock>>,
    locks: Rc<RefCell<Locks>>,
    places: Vec<(Kind, SocketAddr)>,
    pub(crate) http_at: SocketAddr,
}

impl Running {
    /// Starts with these settings; `DIR` in them stands for the folder.
    pub(crate) fn start(folder: Folder, text: &str) -> Self {
        let settings = read(&folder, text);
        let Loaded { known, secured, trust, .. } = files::load(&settings).expect("right files");
        let clock = TokioClock::from_wall_clock();
        let mut options = settings.options(Seed(7));
        options.config.permissions = known.permissions();
        let bounds = Bounds { password_threads: 2, waiting_logins: 64 };
        let access = Rc::new(Access::new(clock, known, bounds));
        let origins = Origins::new(&settings.websocket.origins);
        let locks = Rc::new(RefCell::new(Locks { secured, origins }));
        let surroundings = Surroundings {
            net: TcpNet,
            clock,
            journal: MemoryJournal::new(),
            spawn: LocalSpawn,
            authenticate: Rc::clone(&access),
        };
        let shard = Shard::new(surroundings, options);
        let network = &settings.network;
        let strangers = Strangers::new(network.strangers_per_address, network.strangers);
        let messages = MessageLimits { strangers_bytes: 64 * 1024, clients_bytes: 2 * 1024 * 1024 };
        let places = settings
            .doors()
            .into_iter()
            .map(|(kind, at)| {
                let (locks, strangers) = (Rc::clone(&locks), Rc::clone(&strangers));
                let timeout_ms = network.handshake_timeout_ms;
                let door = Door::new(kind, locks, strangers, messages, timeout_ms);
                (kind, shard.listen_through(door, at, 16).expect("a free port"))
            })
            .collect();
        let handle = shard.handle();
        let (gateway, options) = (shard.gateway(), settings.http.options());
        let http = Server::new(gateway, clock, LocalSpawn, options, trust);
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let http_at = http.listen(&TcpNet, anywhere, 16).expect("a free port");
        tokio::task::spawn_local(shard.run());
        Running { folder, clock, handle, access, locks, places, http_at }
    }

    /// Reads everything again, as on SIGHUP.
    pub(crate) fn reload(&self, text: &str) {
        let settings = read(&self.folder, text);
        let Loaded { known, secured, .. } = files::load(&settings).expect("right files");
        let origins = Origins::new(&settings.websocket.origins);
        *self.locks.borrow_mut() = Locks { secured, origins };
        self.handle.command(Command::SetPermissions(known.permissions()));
        for connection in self.access.replace(known).gone() {
            self.handle.refuse(connection, ReasonCode::NotAuthorized);
        }
    }

    pub(crate) fn place(&self, kind: Kind) -> SocketAddr {
        let place = self.places.iter().find(|(other, _)| *other == kind);
        place.expect("such a listener").1
    }

    pub(crate) async fn tcp(&self, kind: Kind) -> TcpStream {
        TcpStream::connect(self.place(kind)).await.expect("the broker listens")
    }

    pub(crate) async fn try_client(
        &self,
        connect: Connect,
    ) -> Result<(Peer<TcpStream>, ConnAck), ClientError> {
        let stream = self.tcp(Kind::Tcp).await;
        Client::connect(stream, self.clock, connect, 30_000).await
    }

    /// A client of this user, whose password is its name.
    pub(crate) async fn client(&self, client_id: &str, user: Option<&str>) -> Peer<TcpStream> {
        let connected = self.try_client(connect_as(client_id, user, user)).await;
        connected.expect("the client is let in").0
    }
}

pub(crate) fn read(folder: &Folder, text: &str) -> Settings {
    let text = text.replace("DIR", &folder.path().display().to_string());
    let file = Some(folder.write("settings.toml", &text));
    let sources = Sources { file, environment: Vec::new() };
    settings::load(&sources, &Overrides::default()).unwrap_or_else(|problem| panic!("{problem}"))
}

pub(crate) type Peer<S> = Client<S, TokioClock>;

pub(crate) fn connect_as(client_id: &str, user: Option<&str>, password: Option<&str>) -> Connect {
    Connect {
        user_name: user.map(|user| Text::try_from(user).expect("a short text")),
        password: password.map(|password| Bytes::copy_from_slice(password.as_bytes())),
        ..connect(client_id)
    }
}

fn id() -> InboundPacketId {
    InboundPacketId(PacketId::MIN)
}

/// Publishes at QoS 1 and gives the broker's answer.
pub(crate) async fn publish<S: AsyncRead + AsyncWrite + Unpin>(
    peer: &mut Peer<S>,
    topic: &str,
    payload: &str,
    retain: bool,
) -> ReasonCode {
    let answer = publish_at(peer, QoS::AtLeastOnce, topic, payload, retain).await;
    answer.expect("QoS 1 is answered")
}

/// Publishes and gives the broker's answer, if the QoS has one. At QoS 2 the exchange is completed.
pub(crate) async fn publish_at<S: AsyncRead + AsyncWrite + Unpin>(
    peer: &mut Peer<S>,
    qos: QoS,
    topic: &str,
    payload: &str,
    retain: bool,
) -> Option<ReasonCode> {
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce(id()),
        QoS::ExactlyOnce => Delivery::ExactlyOnce(id()),
    };
    peer.queue(&ClientPacket::Publish(Publish {
        dup: false,
        retain,
        delivery,
        topic: Topic::try_from(topic).expect("a topic"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        message_expiry_interval_s: None,
        properties: None,
    }))
    .expect("a small packet");
    if qos == QoS::AtMostOnce {
        peer.flush().await.expect("a living connection");
        return None;
    }
    match receive(peer).await {
        ServerPacket::PubAck(ack) if qos == QoS::AtLeastOnce => Some(ack.reason),
        ServerPacket::PubRec(ack) if qos == QoS::ExactlyOnce => {
            if !ack.reason.is_error() {
                let release = ClientPacket::PubRel(Ack::new(id(), ReasonCode::Success));
                peer.queue(&release).expect("a small packet");
                let answer = receive(peer).await;
                assert!(matches!(answer, ServerPacket::PubComp(_)), "{answer:?}");
            }
            Some(ack.reason)
        }
        other => panic!("expected an answer at {qos:?}, got {other:?}"),
    }
}

/// Subscribes at QoS 0 and gives the broker's answer.
pub(crate) async fn subscribe<S: AsyncRead + AsyncWrite + Unpin>(
    peer: &mut Peer<S>,
    filter: &str,
) -> ReasonCode {
    subscribe_at(peer, QoS::AtMostOnce, filter).await
}

/// Subscribes and gives the broker's answer.
pub(crate) async fn subscribe_at<S: AsyncRead + AsyncWrite + Unpin>(
    peer: &mut Peer<S>,
    qos: QoS,
    filter: &str,
) -> ReasonCode {
    let options = SubscriptionOptions { maximum_qos: qos, ..Default::default() };
    let filter = TopicFilter::new(Text::try_from(filter).expect("a short text"));
    peer.queue(&ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: id(),
        subscription_id: None,
        subscriptions: vec![(filter.expect("a filter"), options)],
        user_properties: Vec::new(),
    })))
    .expect("a small packet");
    match receive(peer).await {
        ServerPacket::SubAck(ack) => ack.reasons[0],
        other => panic!("expected SUBACK, got {other:?}"),
    }
}

pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>) -> ServerPacket {
    let received = tokio::time::timeout(DEADLINE, peer.receive()).await.expect("in time");
    received.expect("a living connection")
}

/// The next message's topic and payload.
pub(crate) async fn message<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>) -> String {
    delivered(peer).await.0
}

/// The same, with the QoS of its delivery.
pub(crate) async fn delivered<S: AsyncRead + AsyncWrite + Unpin>(
    peer: &mut Peer<S>,
) -> (String, QoS) {
    match receive(peer).await {
        ServerPacket::Publish(publish) => {
            let payload = String::from_utf8_lossy(&publish.message.payload).into_owned();
            (format!("{} {payload}", publish.message.topic), publish.delivery.qos())
        }
        other => panic!("expected PUBLISH, got {other:?}"),
    }
}

/// The reason with which the broker ends the connection.
pub(crate) async fn end<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>) -> ReasonCode {
    match tokio::time::timeout(DEADLINE, peer.receive()).await.expect("in time") {
        Err(ClientError::Disconnected { reason, .. }) => reason,
        other => panic!("expected DISCONNECT, got {other:?}"),
    }
}
