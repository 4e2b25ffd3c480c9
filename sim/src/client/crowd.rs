//! All clients of a plan, and the sessions that they share.

use std::collections::BTreeMap;

use super::session::Session;
use super::{Client, ClientInput, ClientOutput, Turn};
use crate::chance::Streams;
use crate::plan::{ClientIndex, ClientSpec};

/// The clients of a run.
#[derive(Debug)]
pub struct Clients {
    clients: Vec<Client>,
    sessions: Vec<Session>,
    /// The session of each client, by place.
    session_of: Vec<usize>,
}

impl Clients {
    /// The clients of a plan, none of them connected. What they leave to chance is drawn from
    /// `seed`'s streams.
    #[must_use]
    pub fn new(seed: u64, specs: &[ClientSpec]) -> Self {
        let streams = Streams::new(seed);
        let mut sessions = Vec::new();
        let mut session_of = Vec::new();
        let mut known: BTreeMap<(&str, bool), usize> = BTreeMap::new();
        for spec in specs {
            let fresh = sessions.len();
            let session = match spec.client_id.as_str() {
                // The broker gives each of them an identifier of its own.
                "" => fresh,
                // A stranger has nothing in common with the client whose name it uses.
                id => *known.entry((id, spec.stranger)).or_insert(fresh),
            };
            if session == fresh {
                sessions.push(Session::default());
            }
            session_of.push(session);
        }
        let clients = specs.iter().cloned().enumerate();
        let clients = clients.map(|(index, spec)| Client::new(index, spec, streams)).collect();
        Self { clients, sessions, session_of }
    }

    /// Tells client `index` what it experiences at `now_ms`, which never decreases, and appends to
    /// `out` what it wants done.
    ///
    /// # Panics
    ///
    /// If there is no such client.
    pub fn handle(
        &mut self,
        now_ms: u64,
        index: ClientIndex,
        input: ClientInput<'_>,
        out: &mut Vec<ClientOutput>,
    ) {
        let was_connected = self.clients[index].is_connected();
        let session = &mut self.sessions[self.session_of[index]];
        let owner_before = session.owner;
        let mut turn = Turn { now_ms, session, out };
        self.clients[index].handle(&mut turn, input);
        let owner = turn.session.owner;
        if let Some(before) = owner_before.filter(|before| owner != Some(*before)) {
            self.clients[before].displace(&mut turn);
        }
        if !was_connected && self.clients[index].is_connected() {
            self.displace_namesakes(now_ms, index, out);
        }
    }

    /// Client `index` was let in, so whoever has another session under its name has lost it.
    fn displace_namesakes(&mut self, now_ms: u64, index: ClientIndex, out: &mut Vec<ClientOutput>) {
        let client_id = self.clients[index].spec.client_id.clone();
        if client_id.is_empty() {
            return;
        }
        for other in 0..self.clients.len() {
            let place = self.session_of[other];
            let is_namesake = self.clients[other].spec.client_id == client_id;
            if is_namesake && place != self.session_of[index] {
                let mut turn = Turn { now_ms, session: &mut self.sessions[place], out };
                self.clients[other].displace(&mut turn);
            }
        }
    }

    /// The earliest time at which a client wants to be called, in milliseconds since the start, and
    /// that client: the first one of several.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<(u64, ClientIndex)> {
        let deadlines = self.clients.iter().filter_map(|client| {
            client.next_deadline_ms().map(|deadline_ms| (deadline_ms, client.index))
        });
        deadlines.min()
    }

    /// A client.
    ///
    /// # Panics
    ///
    /// If there is no such client.
    #[must_use]
    pub fn client(&self, index: ClientIndex) -> &Client {
        &self.clients[index]
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether nothing is under way for this client: it is away and will not come back by itself,
    /// or it is connected and nothing is to be sent, acknowledged or answered on either side.
    #[must_use]
    pub fn is_idle(&self, index: ClientIndex) -> bool {
        self.clients[index].is_idle(&self.sessions[self.session_of[index]])
    }
}
