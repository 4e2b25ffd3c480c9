//! A broker of the library, in this process: a shard on a thread of its own, on a port of loopback.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use signalhouse::seams::{Authenticate, Caller, LocalSpawn, MemoryJournal, TcpNet, TokioClock};
use signalhouse::shard::{Options, Shard, Surroundings, Timeouts};
use signalhouse::transport::websocket::MessageLimits;
use signalhouse::transport::{Door, Kind, Strangers};
use signalhouse_core::credential::Credential;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{Config, ConnectionId, ExchangeStep, Question, Seed};

/// Who may not come in.
pub(crate) const DENIED: &str = "mallory";
/// The enhanced method: one question, one answer.
pub(crate) const METHOD: &str = "CHALLENGE";
pub(crate) const QUESTION: &str = "who goes there?";
pub(crate) const ANSWER: &str = "a friend";

/// Where a broker listens.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) tcp: SocketAddr,
    pub(crate) websocket: SocketAddr,
}

/// Starts a broker that lives as long as the process, and says where it listens.
pub(crate) fn start(config: Config) -> Addresses {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime");
        runtime.block_on(async move {
            let surroundings = Surroundings {
                net: TcpNet,
                clock: TokioClock::from_wall_clock(),
                journal: MemoryJournal::new(),
                spawn: LocalSpawn,
                authenticate: Doorkeeper,
            };
            let bytes = config.limits.maximum_packet_size_bytes;
            let shard = Shard::new(surroundings, options(config));
            let at = SocketAddr::from(([127, 0, 0, 1], 0));
            let tcp = shard.listen(at, 1_024).expect("a free port");
            let door = websocket_door(bytes);
            let websocket = shard.listen_through(door, at, 1_024).expect("a free port");
            tell.send(Addresses { tcp, websocket }).expect("somebody waits for it");
            shard.run().await.expect("a journal of memory does not fail");
        });
    });
    told.recv().expect("the broker starts")
}

fn websocket_door(maximum_packet_size_bytes: u32) -> Door {
    // A message of just over a packet's limit must reach the broker, which says why it is refused.
    let bytes = maximum_packet_size_bytes as usize + 1024;
    let limits = MessageLimits { strangers_bytes: 256 * 1024, clients_bytes: bytes };
    let strangers = Strangers::new(u32::MAX, u32::MAX);
    Door::new(Kind::WebSocket, Rc::default(), strangers, limits, 30_000)
}

fn options(config: Config) -> Options {
    Options {
        config,
        seed: Seed(1),
        outgoing_buffer_bytes: 256 * 1024,
        connect_maximum_bytes: 256 * 1024,
        timeouts: Timeouts { close_ms: 5_000, write_stall_ms: 60_000 },
    }
}

/// Lets in everybody but one by name, and serves one enhanced method.
struct Doorkeeper;

impl Authenticate for Doorkeeper {
    fn asks_credentials(&self, _: ConnectionId) -> bool {
        true
    }

    fn methods(&self) -> Vec<Text> {
        vec![Text::try_from(METHOD).expect("a short text")]
    }

    async fn answer(self: Rc<Self>, _: Caller, question: Question) -> AuthOutcome {
        let refused = AuthOutcome::Refused { reason: ReasonCode::NotAuthorized };
        match question {
            Question::Credentials { user_name, .. } => {
                let denied = user_name.is_some_and(|name| name.as_str() == DENIED);
                if denied { refused } else { accepted(None) }
            }
            Question::Exchange { data, step, .. } => match step {
                ExchangeStep::Connect | ExchangeStep::ReAuthenticate => {
                    AuthOutcome::Continue { data: Some(Bytes::from_static(QUESTION.as_bytes())) }
                }
                ExchangeStep::Continue => {
                    let right = data.is_some_and(|data| data == ANSWER.as_bytes());
                    if right { accepted(Some("pass")) } else { refused }
                }
            },
        }
    }

    fn forget(&self, _: ConnectionId) {}
}

fn accepted(data: Option<&'static str>) -> AuthOutcome {
    let data = data.map(|data| Bytes::from_static(data.as_bytes()));
    AuthOutcome::Accepted { identity: None, data, credential: Credential::default() }
}
