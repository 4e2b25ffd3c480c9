//! What both layers do alike: the steps of a plan, and the calm after the last of them.

use crate::client::ClientInput;
use crate::history::What;
use crate::plan::{BrokerFault, ClientIndex, Denial, DiskFault, Do, NetworkFault, Order, Plan};

/// The world of a layer, as a plan acts on it.
pub(crate) trait Stage {
    /// The plan.
    fn plan(&self) -> &Plan;

    /// Adds to the history.
    fn event(&mut self, what: What);

    /// Tells a client something and does what it wants.
    fn tell(&mut self, client: ClientIndex, input: ClientInput<'_>);

    /// A client's reading may have been switched on: it reads on all its connections.
    fn read_on(&mut self, client: ClientIndex);

    /// Does something to the network between a client and the broker.
    fn network_fault(&mut self, client: ClientIndex, fault: NetworkFault);

    /// Holds what is under way on every connection there is.
    fn hold_all(&mut self);

    /// Has the broker's host stand still, or go on.
    fn set_frozen(&mut self, on: bool);

    /// Whether the broker's host stands still.
    fn is_frozen(&self) -> bool;

    /// Does something to the broker's process.
    fn broker_fault(&mut self, fault: BrokerFault);

    /// Denies something more; with `None`, allows everything again.
    fn deny(&mut self, denial: Option<&Denial>);

    /// Gives the broker an order, if it is there to take one.
    fn order(&mut self, order: &Order);

    /// Sets the wall clock of the broker's host, forward or back.
    fn set_wall_clock(&mut self, by_ms: i64);

    /// Lets the disk's syncs complete, or hang.
    fn set_syncs(&mut self, on: bool);

    /// Does something else to the disk.
    fn disk_fault(&mut self, fault: DiskFault);

    /// The faults of the disk end.
    fn mend_disk(&mut self);

    /// From now on the dead are dead.
    fn set_calm(&mut self);

    /// Whether a client has been let in.
    fn is_let_in(&self, client: ClientIndex) -> bool;

    /// Whether a client has a connection that works.
    fn is_well(&mut self, client: ClientIndex) -> bool;

    /// Does a step of the plan.
    fn step(&mut self, what: &Do) {
        match what {
            Do::Connect { client, .. }
            | Do::Subscribe { client, .. }
            | Do::Unsubscribe { client, .. }
            | Do::Publish { client, .. }
            | Do::Ping { client }
            | Do::Disconnect { client, .. }
            | Do::Vanish { client }
            | Do::Misbehave { client, .. }
            | Do::Acknowledging { client, .. }
            | Do::Pinging { client, .. } => self.tell(*client, ClientInput::Do(what)),
            Do::Reading { client, .. } => {
                self.tell(*client, ClientInput::Do(what));
                self.read_on(*client);
            }
            // The host that stands still holds everything; its going on releases it.
            Do::Network { fault: NetworkFault::Release, .. } if self.is_frozen() => {}
            Do::Network { client, fault } => self.network_fault(*client, *fault),
            Do::Broker(fault) => self.broker_fault(*fault),
            Do::Frozen { on } => self.freeze(*on),
            Do::Deny(denial) => self.deny(Some(denial)),
            Do::AllowAll => self.deny(None),
            Do::Order(order) => self.order(order),
            Do::WallClock { by_ms } => {
                self.event(What::WallClock { by_ms: *by_ms });
                self.set_wall_clock(*by_ms);
            }
            Do::DiskSyncs { on } => self.set_syncs(*on),
            Do::Disk(fault) => self.disk_fault(*fault),
        }
    }

    /// Nothing passes between the clients and a host that stands still.
    fn freeze(&mut self, on: bool) {
        let clients = 0..self.plan().clients.len();
        self.set_frozen(on);
        if on {
            for client in clients {
                self.event(What::Network { client, fault: NetworkFault::Hold });
            }
            self.hold_all();
        } else {
            for client in clients {
                self.network_fault(client, NetworkFault::Release);
            }
        }
    }

    /// The faults end, and everybody who lives comes back.
    fn calm(&mut self) {
        self.event(What::Calm);
        self.set_calm();
        self.mend_disk();
        if self.plan().steps.iter().any(|step| step.what == Do::Frozen { on: true }) {
            self.freeze(false);
        }
        self.broker_fault(BrokerFault::Start);
        for client in 0..self.plan().clients.len() {
            self.network_fault(client, NetworkFault::Release);
            self.tell(client, ClientInput::Do(&Do::Reading { client, on: true }));
            self.read_on(client);
            self.tell(client, ClientInput::Do(&Do::Acknowledging { client, on: true }));
        }
        for client in self.plan().dead.clone() {
            self.tell(client, ClientInput::Do(&Do::Vanish { client }));
            // It wants nothing any more, least of all the session of one that lives.
            let (reason, session_expiry_interval_s) = (0, None);
            let leave = Do::Disconnect { client, reason, session_expiry_interval_s };
            self.tell(client, ClientInput::Do(&leave));
        }
        self.bring_back();
    }

    /// Who should be connected by now and is not, connects.
    fn bring_back(&mut self) {
        for client in 0..self.plan().clients.len() {
            if self.plan().dead.contains(&client) || self.is_well(client) {
                continue;
            }
            let connect = Do::Connect { client, clean_start: false, will: None };
            self.tell(client, ClientInput::Do(&connect));
        }
    }

    /// Says at the end who lives and is not let in. Of several with one identifier, one may keep the others out.
    fn tell_absent(&mut self) {
        let Plan { clients, dead, .. } = self.plan();
        let lives = |client: &ClientIndex| !dead.contains(client);
        let is_alone = |client: &ClientIndex| {
            let id = &clients[*client].client_id;
            let holders = clients.iter().enumerate().filter(|(_, one)| one.client_id == *id);
            id.is_empty() || holders.filter(|(other, _)| lives(other)).count() == 1
        };
        let living = (0..clients.len()).filter(|client| lives(client) && is_alone(client));
        let absent: Vec<ClientIndex> = living.filter(|client| !self.is_let_in(*client)).collect();
        for client in absent {
            self.event(What::Absent { client });
        }
    }
}
