//! The loop: one poller, all connections, everything that is ready in turn.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::BenchError;
use super::frames::{self, Frame, Session};
use super::peer::Peer;
use super::relay;
use super::scenario::Scenario;
use super::target::Target;
use super::traffic::{Tally, Traffic};

/// Connections in the making at once.
const CONNECTING_MAXIMUM: usize = 128;
/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: usize = 500;
/// How long nothing may happen before a run is given up.
const PATIENCE: Duration = Duration::from_secs(20);
const SCRATCH_BYTES: usize = 256 * 1024;
const TIMER: Token = Token(usize::MAX);

/// How far a connection has come.
#[derive(Debug)]
enum Stage {
    Connecting(Hello),
    AwaitingConnack(Box<Session>),
    /// Filters from this one on are still to be subscribed to.
    Subscribing(Box<Session>, usize),
    Ready,
}

/// What a connection says first.
#[derive(Clone, Debug)]
pub(super) enum Hello {
    /// CONNECT.
    Mqtt(Box<Session>),
    /// Its place in the relay.
    Relay(relay::Role, u32),
}

/// All connections to one target.
pub(super) struct Load<'a> {
    target: &'a Target,
    scenario: &'a Scenario,
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    start: Instant,
    peers: Vec<Peer>,
    stages: Vec<Stage>,
    dirty: Vec<usize>,
    scratch: Vec<u8>,
    ready: usize,
    /// Connections that are gone.
    gone: usize,
    progress: Progress<'a>,
    pub(super) traffic: Traffic,
}

/// Told now and then how far a run is.
struct Progress<'a> {
    tell: &'a mut dyn FnMut(&str),
    told_at: Instant,
    delivered: u64,
}

impl Progress<'_> {
    const EVERY: Duration = Duration::from_millis(500);

    fn tell(&mut self, connections: usize, tally: &Tally) {
        let elapsed = self.told_at.elapsed();
        if elapsed < Self::EVERY {
            return;
        }
        let rate = (tally.delivered - self.delivered) as f64 / elapsed.as_secs_f64();
        (self.tell)(&format!(
            "{connections} connections, {} published, {} delivered, {rate:.0}/s",
            tally.published, tally.delivered
        ));
        self.told_at = Instant::now();
        self.delivered = tally.delivered;
    }
}

impl<'a> Load<'a> {
    pub(super) fn new(
        target: &'a Target,
        scenario: &'a Scenario,
        tell: &'a mut dyn FnMut(&str),
    ) -> Result<Self, BenchError> {
        let poll = Poll::new().map_err(BenchError::io("no poller"))?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .map_err(|error| BenchError::io("no timer")(error.into()))?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)
            .map_err(BenchError::io("no timer"))?;
        Ok(Load {
            target,
            scenario,
            poll,
            events: Events::with_capacity(1024),
            timer,
            start: Instant::now(),
            peers: Vec::new(),
            stages: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            ready: 0,
            gone: 0,
            progress: Progress { tell, told_at: Instant::now(), delivered: 0 },
            traffic: Traffic::new(scenario),
        })
    }

    /// Nanoseconds since this load began.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Connections that were made so far; the next one's number.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Makes these connections and waits until each has its session and subscriptions.
    pub(super) fn connect(&mut self, hellos: Vec<Hello>) -> Result<(), BenchError> {
        let mut waiting = hellos.into_iter();
        let wanted = self.peers.len() + waiting.len();
        let mut progress = (self.ready, Instant::now());
        while self.ready < wanted {
            while self.peers.len() - self.ready < CONNECTING_MAXIMUM {
                let Some(hello) = waiting.next() else { break };
                self.open(hello)?;
            }
            self.round(Some(Duration::from_millis(100)), |_, _| {})?;
            if self.gone > 0 {
                return Err(BenchError::Broker("closed a connection".to_owned()));
            }
            if self.ready > progress.0 {
                progress = (self.ready, Instant::now());
            } else if progress.1.elapsed() > PATIENCE {
                return Err(BenchError::Broker("does not let a client in".to_owned()));
            }
        }
        Ok(())
    }

    /// Says DISCONNECT on every connection from `first` on, and forgets them.
    pub(super) fn disconnect(&mut self, first: usize) -> Result<(), BenchError> {
        for peer in self.peers[first..].iter_mut().filter(|peer| !peer.is_closed) {
            frames::write_disconnect(peer.outbound());
            peer.write_out().map_err(BenchError::io("cannot disconnect"))?;
            let _ = self.poll.registry().deregister(peer.stream_mut());
            let _ = peer.stream_mut().shutdown(std::net::Shutdown::Both);
            peer.is_closed = true;
        }
        Ok(())
    }

    /// Ends the sessions of the connections from `first` on by a clean start of each.
    pub(super) fn end_sessions(
        &mut self,
        first: usize,
        sessions: u32,
        hello: &dyn Fn(u32) -> Hello,
    ) -> Result<(), BenchError> {
        self.disconnect(first)?;
        self.connect((0..sessions).map(hello).collect())?;
        self.disconnect(first)
    }

    /// Publishes as fast as what comes back allows, until `until`.
    pub(super) fn flood(&mut self, until: Instant) -> Result<(), BenchError> {
        let peers = self.traffic.publisher_peers();
        let mut progress = (self.traffic.tally.published, Instant::now());
        let mut may_go_on = false;
        while Instant::now() < until {
            // Who may send more does not wait for an answer.
            let wait = if may_go_on { Duration::ZERO } else { Duration::from_millis(10) };
            may_go_on = false;
            self.round(Some(wait), |load, now_ns| {
                for (publisher, peer) in peers.iter().enumerate() {
                    may_go_on |= load.publish(publisher, *peer, now_ns);
                }
            })?;
            self.check_gone()?;
            if self.traffic.tally.published >= self.traffic.maximum {
                break;
            }
            if self.traffic.tally.published > progress.0 {
                progress = (self.traffic.tally.published, Instant::now());
            } else if progress.1.elapsed() > PATIENCE {
                return Err(BenchError::Broker("has come to a halt".to_owned()));
            }
        }
        Ok(())
    }

    /// Publishes until so many messages are published.
    pub(super) fn flood_count(&mut self, messages: u64) -> Result<(), BenchError> {
        const LONG: Duration = Duration::from_secs(24 * 60 * 60);
        self.traffic.maximum = messages;
        self.flood(Instant::now() + LONG)
    }

    /// Publishes `rate` messages a second at fixed moments until `until`. A late message keeps the
    /// moment at which it was due, so that a stall counts against everything that it delays.
    pub(super) fn pace(&mut self, rate: f64, until: Instant) -> Result<(), BenchError> {
        let peers = self.traffic.publisher_peers();
        let first_ns = self.now_ns();
        let interval_ns = 1e9 / rate;
        let mut number = 0_u64;
        while Instant::now() < until {
            let due = |number: u64| first_ns + (number as f64 * interval_ns) as u64;
            self.set_timer(due(number))?;
            self.round(None, |load, now_ns| {
                while due(number) <= now_ns {
                    let publisher = usize::try_from(number).unwrap_or(0) % peers.len();
                    let peer = &mut load.peers[peers[publisher]];
                    load.traffic.publish_one(publisher, due(number), peer.outbound());
                    mark(&mut load.dirty, peer, peers[publisher]);
                    number += 1;
                }
            })?;
            self.check_gone()?;
        }
        Ok(())
    }

    /// Waits until everything published has arrived, or nothing more comes.
    pub(super) fn drain(&mut self) -> Result<(), BenchError> {
        const SILENCE: Duration = Duration::from_secs(2);
        let state =
            |load: &Load<'_>| (load.traffic.tally.delivered, load.traffic.tally.acknowledged);
        let mut progress = (state(self), Instant::now());
        while self.traffic.missing() > 0 || self.traffic.unacknowledged() > 0 {
            self.round(Some(Duration::from_millis(10)), |_, _| {})?;
            self.check_gone()?;
            if state(self) != progress.0 {
                progress = (state(self), Instant::now());
            } else if progress.1.elapsed() > SILENCE {
                break;
            }
        }
        // The last acknowledgements have to leave.
        self.round(Some(Duration::from_millis(1)), |_, _| {})
    }

    /// Answers what comes, without publishing, until `until`.
    pub(super) fn idle(&mut self, until: Instant) -> Result<(), BenchError> {
        while Instant::now() < until {
            self.round(Some(Duration::from_millis(50)), |_, _| {})?;
            self.check_gone()?;
        }
        Ok(())
    }

    fn check_gone(&self) -> Result<(), BenchError> {
        if self.gone == 0 {
            Ok(())
        } else {
            Err(BenchError::Broker(format!("closed {} connections", self.gone)))
        }
    }

    /// Publishes what fits in one write, and says whether more could follow at once.
    fn publish(&mut self, publisher: usize, number: usize, now_ns: u64) -> bool {
        let peer = &mut self.peers[number];
        // What the socket does not take would only pile up here.
        if peer.has_outbound() && !peer.is_dirty {
            return false;
        }
        if self.traffic.publish(publisher, now_ns, peer.outbound()) == 0 {
            return false;
        }
        mark(&mut self.dirty, peer, number);
        self.traffic.room(publisher) > 0
    }

    /// Everything that is ready, once: reads, then `work`, then one write for each connection.
    fn round(
        &mut self,
        timeout: Option<Duration>,
        mut work: impl FnMut(&mut Self, u64),
    ) -> Result<(), BenchError> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BenchError::io("cannot poll")(error)),
        }
        let now_ns = self.now_ns();
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() == TIMER {
                let mut expirations = [0; 8];
                let _ = rustix::io::read(&self.timer, &mut expirations);
                continue;
            }
            self.ready_peer(event.token().0, event.is_readable(), event.is_writable(), now_ns)?;
        }
        self.events = events;
        work(self, now_ns);
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            let peer = &mut self.peers[number];
            peer.is_dirty = false;
            if !peer.is_closed && peer.write_out().is_err() {
                peer.is_closed = true;
                self.gone += 1;
            }
        }
        self.dirty = dirty;
        self.progress.tell(self.ready, &self.traffic.tally);
        Ok(())
    }

    fn ready_peer(
        &mut self,
        number: usize,
        readable: bool,
        writable: bool,
        now_ns: u64,
    ) -> Result<(), BenchError> {
        let (peer, stage) = (&mut self.peers[number], &mut self.stages[number]);
        if peer.is_closed {
            return Ok(());
        }
        if writable {
            peer.set_writable();
            if let Stage::Connecting(hello) = stage {
                if let Ok(Some(error)) | Err(error) = peer.connect_error() {
                    return Err(BenchError::io("cannot connect")(error));
                }
                *stage = match hello {
                    Hello::Mqtt(session) => {
                        frames::write_connect(session, self.scenario.protocol, peer.outbound())?;
                        Stage::AwaitingConnack(session.clone())
                    }
                    Hello::Relay(role, channel) => {
                        relay::write_hello(*role, *channel, peer.outbound());
                        self.ready += 1;
                        Stage::Ready
                    }
                };
            }
            mark(&mut self.dirty, peer, number);
        }
        if !readable {
            return Ok(());
        }
        let (traffic, ready) = (&mut self.traffic, &mut self.ready);
        let protocol = self.scenario.protocol;
        peer.read(&mut self.scratch, |out, frame| match stage {
            Stage::Ready => traffic.take(number, frame, now_ns, out),
            Stage::AwaitingConnack(_) => {
                traffic.bound_window(number, frames::receive_maximum(frame, protocol));
                greet(stage, frame, protocol, ready, out)
            }
            Stage::Connecting(_) | Stage::Subscribing(..) => {
                greet(stage, frame, protocol, ready, out)
            }
        })?;
        if peer.is_closed {
            self.gone += 1;
        } else if peer.has_outbound() {
            mark(&mut self.dirty, peer, number);
        }
        Ok(())
    }

    fn open(&mut self, hello: Hello) -> Result<(), BenchError> {
        let number = self.peers.len();
        let fault = BenchError::io("cannot connect");
        let source = self.source(number);
        let mut stream = match source {
            None => TcpStream::connect(self.target.address),
            Some(source) => connect_from(source, self.target.address),
        }
        .map_err(fault)?;
        let _ = stream.set_nodelay(true);
        self.poll
            .registry()
            .register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)
            .map_err(BenchError::io("cannot poll a connection"))?;
        self.peers.push(Peer::new(stream));
        self.stages.push(Stage::Connecting(hello));
        Ok(())
    }

    /// The loopback address that a connection comes from; `None` leaves it to the system.
    fn source(&self, number: usize) -> Option<SocketAddr> {
        let sources = usize::from(self.scenario.sources.max(1));
        if sources == 1 || !self.target.address.ip().is_loopback() {
            return None;
        }
        let last = u8::try_from(1 + number % sources).unwrap_or(1);
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0))
    }

    fn set_timer(&self, at_ns: u64) -> Result<(), BenchError> {
        let left = at_ns.saturating_sub(self.now_ns()).max(1);
        let value = Timespec {
            tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(left % 1_000_000_000).unwrap_or(0),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
            .map(drop)
            .map_err(|error| BenchError::io("cannot set a timer")(error.into()))
    }
}

fn mark(dirty: &mut Vec<usize>, peer: &mut Peer, number: usize) {
    if !peer.is_dirty {
        peer.is_dirty = true;
        dirty.push(number);
    }
}

/// Takes CONNACK or SUBACK, and says what comes next.
fn greet(
    stage: &mut Stage,
    frame: Frame<'_>,
    protocol: super::Protocol,
    ready: &mut usize,
    out: &mut Vec<u8>,
) -> Result<(), BenchError> {
    let refused = frame.body.get(1..).is_none_or(|reasons| reasons.first() != Some(&0));
    let (session, from) = match (std::mem::replace(stage, Stage::Ready), frame.packet_type()) {
        (Stage::AwaitingConnack(_), frames::CONNACK) if refused => {
            let reason = frame.body.get(1).copied().unwrap_or(0);
            return Err(BenchError::Broker(format!("refused a client with {reason:#04X}")));
        }
        (Stage::AwaitingConnack(session), frames::CONNACK) => (session, 0),
        (Stage::Subscribing(session, from), frames::SUBACK) => {
            if frame.body.last().is_none_or(|reason| *reason >= 0x80) {
                return Err(BenchError::Broker("refused a subscription".to_owned()));
            }
            (session, from)
        }
        _ => return Err(frames::garbled()),
    };
    let filters = &session.filters[from..];
    if filters.is_empty() {
        *ready += 1;
        return Ok(());
    }
    let next = &filters[..filters.len().min(FILTERS_PER_PACKET)];
    frames::write_subscribe(next, session.maximum_qos, protocol, out)?;
    let from = from + next.len();
    *stage = Stage::Subscribing(session, from);
    Ok(())
}

/// Connects from an address of one's own choice, so that there are ports for more connections.
fn connect_from(source: SocketAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(target), socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&source.into())?;
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}
