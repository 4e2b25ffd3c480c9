//! The way into a shard for what is not MQTT: requests from any task of any thread, answered by
//! the driver in its turn.

use std::fmt;
use std::rc::Rc;

use signalhouse_core::input::{Command, Gone, PublishFor};
use signalhouse_core::wire::packet::{ClientPacket, Connect, ServerPacket};
use signalhouse_core::{Answer, Broker, ConnectionId, Time};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::inbox::Arrival;
use super::local::{Departure, Insider, Local, Packets};
use crate::history::History;
use crate::metrics::Counts;
use crate::seams::Spawn;

/// Requests that may wait for the shard.
const WAITING: usize = 1024;

/// What can be looked at, between two rounds of the driver.
#[derive(Debug)]
pub struct View<'a> {
    /// The broker.
    pub broker: &'a Broker,
    /// What its notices add up to.
    pub counts: &'a Counts,
    /// What became of its clients.
    pub history: &'a History,
    /// Network connections, the ones that are just being closed included.
    pub connections: usize,
    /// Whether the shard has been told to stop.
    pub is_stopping: bool,
    /// Now.
    pub now: Time,
}

/// Reaches a shard from anywhere. Everything answers `None` once the shard has ended.
#[derive(Clone, Debug)]
pub struct Gateway {
    jobs: mpsc::Sender<Job>,
}

/// A client inside the process.
#[derive(Debug)]
pub struct LocalClient {
    id: ConnectionId,
    jobs: mpsc::Sender<Job>,
    packets: Packets,
    /// Room is owed to the broker that could not be told yet.
    owes_room: bool,
}

pub(crate) enum Job {
    Look(Look),
    Command(Command),
    Publish(Box<PublishFor>, oneshot::Sender<Answer>),
    Open(Insider, oneshot::Sender<(ConnectionId, Packets)>),
    Arrival(ConnectionId, Arrival),
}

/// Something that wants to look.
pub(crate) struct Look(pub(crate) Box<dyn FnOnce(&View<'_>) + Send>);

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

impl Gateway {
    /// A gateway to the shard, with the task that serves it.
    pub(crate) fn open<S: 'static, P: Spawn>(shared: Rc<Shared<S>>, spawn: &P) -> Self {
        let (sender, jobs) = mpsc::channel(WAITING);
        spawn.spawn(serve(shared, jobs, spawn.clone()));
        Gateway { jobs: sender }
    }

    /// What `look` sees.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let (seen, answer) = oneshot::channel();
        let look = Look(Box::new(move |view| drop(seen.send(look(view)))));
        self.jobs.send(Job::Look(look)).await.ok()?;
        answer.await.ok()
    }

    /// Gives the broker an order.
    pub async fn command(&self, command: Command) -> Option<()> {
        self.jobs.send(Job::Command(command)).await.ok()
    }

    /// Publishes, and says what came of it once that is durable. The ticket is chosen here.
    pub async fn publish(&self, request: PublishFor) -> Option<Answer> {
        let (told, answer) = oneshot::channel();
        self.jobs.send(Job::Publish(Box::new(request), told)).await.ok()?;
        answer.await.ok()
    }

    /// Opens a client inside the process, whose identity is known.
    pub async fn client(&self, who: Insider, connect: Connect) -> Option<LocalClient> {
        let (opened, answer) = oneshot::channel();
        self.jobs.send(Job::Open(who, opened)).await.ok()?;
        let (id, packets) = answer.await.ok()?;
        let client = LocalClient { id, jobs: self.jobs.clone(), packets, owes_room: false };
        client.send(ClientPacket::Connect(Box::new(connect))).await?;
        Some(client)
    }
}

impl LocalClient {
    /// The name of its connection.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether it was refused because it may not take over, and the session has a connection.
    #[must_use]
    pub fn is_kept_out(&self) -> bool {
        self.packets.is_kept_out()
    }

    /// Gives the broker a packet.
    pub async fn send(&self, packet: ClientPacket) -> Option<()> {
        self.jobs.send(Job::Arrival(self.id, Arrival::Packet(packet))).await.ok()
    }

    /// The next packet from the broker; `None` once it has closed the connection. Nothing is lost
    /// when the future is dropped before it is done.
    pub async fn receive(&mut self) -> Option<ServerPacket> {
        if self.owes_room {
            self.jobs.send(Job::Arrival(self.id, Arrival::Room)).await.ok()?;
            self.owes_room = false;
        }
        let (packet, has_room) = self.packets.next().await?;
        // Told before the next packet is waited for, when it cannot be told at once.
        self.owes_room = (has_room || self.owes_room)
            && self.jobs.try_send(Job::Arrival(self.id, Arrival::Room)).is_err();
        Some(packet)
    }
}

async fn serve<S: 'static, P: Spawn>(
    shared: Rc<Shared<S>>,
    mut jobs: mpsc::Receiver<Job>,
    spawn: P,
) {
    let mut ticket = 0_u64;
    loop {
        let job = tokio::select! {
            biased;
            () = shared.ended.wait() => break,
            job = jobs.recv() => job,
        };
        let Some(job) = job else { return };
        while shared.inbox.is_full() {
            tokio::task::yield_now().await;
        }
        match job {
            Job::Look(look) => shared.inbox.look(look),
            Job::Command(command) => shared.inbox.command(command),
            Job::Publish(mut request, told) => {
                ticket += 1;
                request.ticket = ticket;
                let mut tickets = shared.tickets.borrow_mut();
                // Requests whose caller has gone away keep their entry until they are answered.
                tickets.insert(ticket, told);
                shared.inbox.command(Command::PublishFor(request));
            }
            Job::Open(who, opened) => {
                let admitted = admit(&shared, |id| Local::new(id, who));
                let Some((id, packets, departure)) = admitted else { continue };
                // If nobody waits for it any more, it departs at once.
                drop(opened.send((id, packets)));
                let shared = Rc::clone(&shared);
                spawn.spawn(async move {
                    drop(departure.await);
                    shared.inbox.push(id, Arrival::Closed(Gone::PeerClosed));
                });
            }
            Job::Arrival(id, arrival) => shared.inbox.push(id, arrival),
        }
    }
    // Nobody will answer any more, and whoever waits must hear of it.
    shared.tickets.borrow_mut().clear();
    shared.inbox.clear();
}

/// Makes a client of the shard, unless the shard is stopping or full.
fn admit<S>(
    shared: &Shared<S>,
    make: impl FnOnce(ConnectionId) -> (Local, Packets, Departure),
) -> Option<(ConnectionId, Packets, Departure)> {
    let mut table = shared.table.borrow_mut();
    if shared.deaf.is_set() || table.len() >= shared.connections_maximum {
        return None;
    }
    let id = table.next_id();
    let (local, packets, departure) = make(id);
    table.insert_local(local);
    shared.inbox.push(id, Arrival::Opened);
    Some((id, packets, departure))
}
