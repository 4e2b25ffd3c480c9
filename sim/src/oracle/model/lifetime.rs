//! When connections and sessions can have ended, and what a CONNECT can have found.

use super::{Connection, Model, Moment, Network, Request, Seen, Session, SessionId};
use crate::history::ConnectionNumber;
use crate::oracle::properties as property;
use crate::packet::{Packet, Property};

use super::connection::ConnAck;

/// What the model expected of Session Present when a client was let in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    pub(crate) connection: ConnectionNumber,
    /// What the client was told.
    pub(crate) present: bool,
    /// Whether this protocol level tells it at all.
    pub(crate) is_told: bool,
    pub(crate) clean_start: bool,
    /// Whether a session surely lived.
    pub(crate) must: bool,
    /// Whether a session may have lived.
    pub(crate) may: bool,
    /// Whether what was expected follows from an expiry interval.
    pub(crate) by_expiry: bool,
    /// Whether the operator ended the session that was there before.
    pub(crate) by_order: bool,
    /// Whether the broker was restarted meanwhile.
    pub(crate) across_restart: bool,
    /// Where the last CONNECT of this client is that can have made or kept the session.
    pub(crate) earlier: Option<usize>,
    /// Whether the session that surely lived is somebody else's.
    pub(crate) is_of_another: bool,
}

/// Earliest and latest time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

/// Expiry interval that never ends.
const FOR_EVER: u32 = u32::MAX;

impl Model {
    /// A client read CONNACK.
    pub(super) fn connack(
        &mut self,
        number: ConnectionNumber,
        present: bool,
        reason: u8,
        properties: &[Property],
    ) -> Seen {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return Seen::Nothing };
        if connection.connect.is_none() || connection.connack.is_some() {
            return Seen::Nothing;
        }
        if reason != 0 {
            connection.refused = Some(now);
            let client_id = connection.client_id.clone();
            // What was sent behind CONNECT may have been refused, and not CONNECT.
            let level = connection.connect.as_ref().map_or(0, |(_, connect)| connect.level);
            let is_older = level < 5 && !connection.pipelined.is_empty();
            // An order came behind CONNECT, which may have begun or resumed a session by then.
            let by_order = connection.sent_away.iter().any(|one| one.refuses_by_order(reason));
            if connection.misbehaved.is_some() || is_older || by_order {
                return Seen::Nothing;
            }
            if let Some(client) = self.clients.get_mut(&client_id) {
                client.attempts.retain(|attempt| *attempt != number);
            }
            return Seen::Nothing;
        }
        let connack = ConnAck { moment: now, present, properties: properties.to_vec() };
        connection.connack = Some(connack);
        if let Some(assigned) = property::text(properties, property::ASSIGNED_CLIENT_ID)
            && connection.client_id.is_empty()
        {
            connection.client_id = assigned.to_owned();
            self.named(number, assigned);
            self.name_publications(number);
        }
        self.serves();
        let presence = self.presence(number, present);
        if self.expiry_s(number) > 0 {
            let sent_ms = self.connect_moment(number).at_ms;
            self.durable_before_ms = self.durable_before_ms.max(sent_ms);
            self.time_is_recorded(sent_ms);
        }
        self.admit(number, &presence);
        let connect = self.connect_moment(number);
        self.answered(number, connect, Request::Connect);
        Seen::Admitted(Box::new(presence))
    }

    /// The session expiry interval that holds on a connection, as far as CONNECT and CONNACK say.
    pub(crate) fn expiry_s(&self, number: ConnectionNumber) -> u32 {
        let Some(connection) = self.connections.get(&number) else { return 0 };
        let maximum_s = self.bounds.session_expiry_maximum_s;
        let Some((_, connect)) = &connection.connect else { return 0 };
        if connect.level < 5 {
            return if connect.clean_start { 0 } else { maximum_s };
        }
        let granted = connection
            .connack
            .as_ref()
            .and_then(|connack| property::number(&connack.properties, property::SESSION_EXPIRY));
        let asked = connection.asked(property::SESSION_EXPIRY).unwrap_or(0);
        granted.unwrap_or(asked.min(maximum_s))
    }

    /// When the broker can have ended a connection.
    pub(crate) fn closing(&self, connection: &Connection) -> Range {
        let latency_ms = self.bounds.latency_ms;
        let seen_open_ms = match (connection.broker_gone, connection.ended) {
            (Some(gone), _) => gone.at_ms,
            (None, Some((ended, _))) => ended.at_ms,
            (None, None) => self.now.at_ms,
        };
        let mut from_ms = connection.evidence.at_ms;
        let told_from_ms = self.sent_from_ms(connection, seen_open_ms);
        if self.is_prompt(connection, told_from_ms) {
            from_ms = from_ms.max(told_from_ms);
        }
        if let Some(goodbye) = connection.goodbye {
            from_ms = from_ms.min(goodbye.moment.at_ms);
        }
        let mut to_ms = match (connection.ended, connection.network) {
            (None, _) => u64::MAX,
            (Some((ended, _)), Network::Calm(since_ms)) => ended.at_ms.max(since_ms) + latency_ms,
            (Some(_), Network::Held) => u64::MAX,
            (Some((ended, _)), Network::BlackHole) => match connection.keep_alive_s() {
                0 => u64::MAX,
                seconds => ended.at_ms + u64::from(seconds) * 1500 + self.bounds.slack_ms,
            },
        };
        for outage in &self.outages {
            // What was done shortly before a crash may be undone; then it is done at recovery.
            let is_after = outage.stopped.at_ms >= from_ms;
            let is_undone = to_ms >= outage.durable_before_ms;
            if is_after && is_undone {
                let started = outage.served.or(outage.started);
                let started = started.map(|started| started.at_ms + self.bounds.slack_ms);
                to_ms = match started {
                    Some(started_ms) if to_ms == u64::MAX => started_ms,
                    Some(started_ms) => to_ms.max(started_ms),
                    None => u64::MAX,
                };
            }
        }
        Range { from_ms, to_ms: to_ms.max(from_ms) }
    }

    /// Connections of the same client that may have come after `owner`. A CONNECT sent before may be slower on its way.
    pub(crate) fn later<'a>(
        &'a self,
        owner: &'a Connection,
    ) -> impl Iterator<Item = &'a Connection> {
        let never = Moment { index: usize::MAX, at_ms: 0 };
        let sent = owner.connect.as_ref().map_or(never, |(sent, _)| *sent);
        self.others(owner).filter(move |other| match (&other.connect, &other.connack) {
            (Some((at, _)), _) if at.index > sent.index => true,
            (_, Some(connack)) => connack.moment.index > sent.index,
            (Some(_), None) => self.closing(other).to_ms >= sent.at_ms,
            (None, None) => false,
        })
    }

    /// Whether the DISCONNECT that a client sent has surely arrived and is known for good: the network works, nothing
    /// else ended the connection, not what the client sent before that must end it either, and the broker ran on.
    pub(crate) fn has_surely_left(&self, owner: &Connection) -> bool {
        let Some(goodbye) = owner.goodbye else { return false };
        let latency_ms = self.bounds.latency_ms;
        let arrived_ms = goodbye.moment.at_ms + latency_ms;
        let has_outage = self.outages.iter().any(|outage| {
            outage.stopped.at_ms >= goodbye.moment.at_ms && arrived_ms >= outage.durable_before_ms
        });
        let has_rival = self
            .later(owner)
            .any(|other| other.connect.as_ref().is_some_and(|(at, _)| at.at_ms <= arrived_ms));
        !has_outage
            && owner.misbehaved.is_none_or(|at| at.index > goodbye.moment.index)
            && owner.broker_gone.is_none_or(|gone| gone.index > goodbye.moment.index)
            && !has_rival
            && !owner.was_reset
            && owner.dismissed.is_none()
            && owner.misbehaved.is_none_or(|at| at.index > goodbye.moment.index)
            && owner.sent_away.iter().all(|order| order.moment.at_ms > arrived_ms)
            && owner.connack.is_some()
            && !owner.may_be_refused()
            && !self.may_outstay(owner, goodbye.moment.at_ms)
            && self.is_prompt(owner, goodbye.moment.at_ms.saturating_sub(latency_ms))
    }

    /// When the session that a connection served can have ended, if no other connection came.
    pub(crate) fn expiring(&self, connection: &Connection) -> Range {
        let closing = self.closing(connection);
        let granted_s = self.expiry_s(connection.number);
        let changed_s = connection.goodbye.and_then(|goodbye| goodbye.expiry_s);
        let changed_s = changed_s
            .map_or(granted_s, |changed| changed.min(self.bounds.session_expiry_maximum_s));
        let granted_s = if self.has_surely_left(connection) { changed_s } else { granted_s };
        let for_ms = |seconds: u32| match seconds {
            FOR_EVER => u64::MAX,
            seconds => u64::from(seconds) * 1000,
        };
        let to_ms = if self.may_hold_expiry() {
            u64::MAX
        } else {
            let latest_ms = self.latest_ms(closing.to_ms, for_ms(granted_s.max(changed_s)));
            latest_ms.saturating_add(self.bounds.slack_ms)
        };
        let from_ms =
            self.earliest_ms(closing.from_ms, closing.to_ms, for_ms(granted_s.min(changed_s)));
        Range { from_ms, to_ms }
    }

    /// Whether the broker may have ended a connection for its client's token before what was sent at
    /// `at_ms` came.
    pub(crate) fn may_outstay(&self, connection: &Connection, at_ms: u64) -> bool {
        let Some(lifetime_ms) = self.bounds.token_lifetime_ms else { return false };
        let given_ms = self.connect_moment(connection.number).at_ms;
        let is_lasting = self.calm.is_some_and(|calm| calm.at_ms <= given_ms);
        !is_lasting && given_ms + lifetime_ms <= at_ms + self.bounds.latency_ms
    }

    /// Whether a session has surely ended.
    pub(crate) fn is_over(&self, session: &Session) -> bool {
        self.is_over_at(session, self.now)
    }

    /// Whether a session had surely ended at a moment.
    pub(crate) fn is_over_at(&self, session: &Session, moment: Moment) -> bool {
        let last = session.connections.last().and_then(|number| self.connections.get(number));
        let mut until_ms = last.map_or(0, |last| self.keeps_session_until_ms(last));
        // A CONNECT that was never answered may have been heard, and keep it longer.
        let attempts = self.clients.get(&session.client_id).into_iter();
        let attempts = attempts.flat_map(|client| &client.attempts);
        for attempt in attempts.filter_map(|number| self.connections.get(number)) {
            let Some((sent, connect)) = &attempt.connect else { continue };
            let may_be_let_in = attempt.connack.is_none() && attempt.refused.is_none();
            if may_be_let_in && !connect.clean_start && sent.at_ms <= until_ms && *sent < moment {
                until_ms = until_ms.max(self.keeps_session_until_ms(attempt));
            }
        }
        session.replaced.is_some_and(|at| at.index <= moment.index) || until_ms < moment.at_ms
    }

    /// Until when a session may last that nothing but this connection keeps.
    fn keeps_session_until_ms(&self, connection: &Connection) -> u64 {
        if connection.ended.is_none() && connection.broker_gone.is_none() {
            return u64::MAX;
        }
        match self.expiry_s(connection.number) {
            0 => self.closing(connection).to_ms,
            _ => self.expiring(connection).to_ms,
        }
    }

    fn connect_moment(&self, number: ConnectionNumber) -> Moment {
        let connect = self.connections.get(&number).and_then(|found| found.connect.as_ref());
        connect.map_or(self.now, |(moment, _)| *moment)
    }

    /// A will or message sent before the client knew its identifier belongs to it all the same.
    fn name_publications(&mut self, number: ConnectionNumber) {
        let Some(connection) = self.connections.get(&number) else { return };
        for publication in &mut self.publications {
            if publication.client_id.is_empty() && publication.first_connection() == number {
                publication.client_id.clone_from(&connection.client_id);
            }
        }
    }

    /// CONNECTs of the same client whose effect this one can have met.
    fn prior(&self, number: ConnectionNumber) -> Vec<&Connection> {
        let Some(connection) = self.connections.get(&number) else { return Vec::new() };
        let Some(client) = self.clients.get(&connection.client_id) else { return Vec::new() };
        let others = client.attempts.iter().filter(|attempt| **attempt != number);
        others.filter_map(|attempt| self.connections.get(attempt)).collect()
    }

    /// Whether the client of `one` knew that it was let in before it sent CONNECT on `other`.
    fn is_before(&self, one: &Connection, other: ConnectionNumber) -> bool {
        let sent = self.connect_moment(other);
        one.connack.as_ref().is_some_and(|connack| connack.moment.index < sent.index)
    }

    fn presence(&self, number: ConnectionNumber, present: bool) -> Presence {
        let Some(connection) = self.connections.get(&number) else { return Presence::default() };
        let Some((sent, connect)) = &connection.connect else { return Presence::default() };
        let prior = self.prior(number);
        let lives_on = |other: &&Connection| {
            let has_expiry = self.expiry_s(other.number) > 0;
            other.ordered_out.or(other.may_be_ordered_out).or(other.refused).is_none()
                && has_expiry
                && self.expiring(other).from_ms > self.now.at_ms
        };
        let may_live_on = |other: &&Connection| {
            let changed_s = other.goodbye.and_then(|goodbye| goodbye.expiry_s).unwrap_or(0);
            let has_expiry = self.expiry_s(other.number).max(changed_s) > 0;
            // A CONNECT sent before the order may have come before it too.
            let is_ended = other
                .ordered_out
                .is_some_and(|ended| ended.index < sent.index && !self.may_be_undone(ended));
            !is_ended && has_expiry && self.expiring(other).to_ms >= sent.at_ms
        };
        let definite = prior.iter().any(|other| self.is_before(other, number));
        let from = prior.iter().map(|other| other.evidence.index).min();
        let is_of_another = |other: &&Connection| {
            other.connack.is_some() && other.user_name() != connection.user_name()
        };
        Presence {
            is_of_another: definite
                && prior.iter().all(|other| lives_on(other) && is_of_another(other)),
            connection: number,
            present,
            is_told: connect.level > 3,
            clean_start: connect.clean_start,
            must: !connect.clean_start && definite && prior.iter().all(lives_on),
            may: !connect.clean_start && prior.iter().any(may_live_on),
            by_expiry: prior.iter().any(|other| {
                let seconds = self.expiry_s(other.number);
                let is_over = other.ended.is_some() || other.broker_gone.is_some();
                is_over && seconds > 0 && seconds < FOR_EVER
            }),
            by_order: prior.iter().any(|other| other.ordered_out.is_some()),
            across_restart: from.is_some_and(|from| self.has_outage(from, self.now.index)),
            earlier: prior
                .iter()
                .filter_map(|other| other.connect.as_ref())
                .map(|(at, _)| at.index)
                .max(),
        }
    }

    /// Gives a connection its session, and forgets CONNECTs that can no longer matter.
    fn admit(&mut self, number: ConnectionNumber, presence: &Presence) {
        let prior = self.prior(number);
        let has_session =
            if presence.is_told { presence.present } else { presence.must || presence.may };
        let definite = prior
            .iter()
            .filter(|other| self.is_before(other, number))
            .max_by_key(|other| other.connack.as_ref().map(|connack| connack.moment));
        let known = definite.and_then(|other| other.session);
        // An unanswered CONNECT begins a new session if it is clean, or if it finds none.
        let is_unclear = !presence.is_told && !presence.must
            || prior.iter().any(|other| match (&other.connack, &other.connect) {
                (Some(_), _) => other.session != known,
                (None, Some((_, connect))) => connect.clean_start || !presence.must,
                (None, None) => false,
            });
        let ahead: Vec<(Moment, Packet)> = prior
            .iter()
            .filter(|other| other.connack.is_none() && other.refused.is_none())
            .flat_map(|other| other.pipelined.clone())
            .collect();
        let mut sessions: Vec<SessionId> = prior.iter().filter_map(|other| other.session).collect();
        let sent = self.connect_moment(number);
        let may_come_later = |other: &&&Connection| match &other.connack {
            Some(connack) => connack.moment.index > sent.index,
            None => self.closing(other).to_ms >= sent.at_ms,
        };
        let kept: Vec<ConnectionNumber> =
            prior.iter().filter(may_come_later).map(|other| other.number).collect();
        sessions.dedup();
        let unanswered: Vec<ConnectionNumber> =
            prior.iter().filter(|other| other.connack.is_none()).map(|one| one.number).collect();
        let session = match known.filter(|_| has_session && !is_unclear) {
            Some(session) => {
                for other in unanswered {
                    if let Some(other) = self.connections.get_mut(&other) {
                        other.presumed = Some(session);
                    }
                }
                session
            }
            None => {
                for session in &sessions {
                    self.sessions[*session].replaced.get_or_insert(self.now);
                }
                let heirs = if has_session { sessions } else { Vec::new() };
                self.begin(number, &heirs)
            }
        };
        if has_session {
            for (moment, packet) in ahead {
                self.apply_to(session, moment, &packet);
            }
        }
        self.enter(number, session, kept);
    }

    /// Begins a session. What it may have from others, if they are the same, is uncertain.
    fn begin(&mut self, number: ConnectionNumber, heirs: &[SessionId]) -> SessionId {
        let mut fresh = Session { started: self.connect_moment(number), ..Session::default() };
        for heir in heirs {
            let heir = &self.sessions[*heir];
            for (filter, versions) in &heir.subscriptions {
                for version in versions {
                    let mut version = version.clone();
                    version.is_certain = false;
                    fresh.subscriptions.entry(filter.clone()).or_default().push(version);
                }
            }
            let exchanges = heir.exchanges.iter().filter(|(_, holder)| holder.qos == 2);
            fresh.inherited.extend(exchanges.map(|(id, holder)| (*id, holder.token.clone())));
            fresh.inherited.extend(heir.inherited.iter().cloned());
            fresh.used_ids.extend(&heir.used_ids);
            fresh.inbound.extend(&heir.inbound);
            fresh.hostile = fresh.hostile.or(heir.hostile);
        }
        self.sessions.push(fresh);
        self.sessions.len() - 1
    }

    fn enter(
        &mut self,
        number: ConnectionNumber,
        session: SessionId,
        mut kept: Vec<ConnectionNumber>,
    ) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.session = Some(session);
        let pipelined = connection.pipelined.clone();
        let client = self.clients.entry(connection.client_id.clone()).or_default();
        kept.push(number);
        client.attempts = kept;
        if client.sessions.last() != Some(&session) {
            client.sessions.push(session);
        }
        let found = &mut self.sessions[session];
        found.client_id.clone_from(&connection.client_id);
        found.connections.push(number);
        if let Some(misbehaved) = connection.misbehaved {
            found.hostile.get_or_insert(misbehaved);
        }
        let may_be_over = connection.may_be_ordered_out.is_some();
        for (moment, packet) in pipelined {
            self.apply(number, moment, &packet);
        }
        if may_be_over {
            for subscription in self.sessions[session].subscriptions.values_mut().flatten() {
                subscription.is_certain = false;
            }
        }
    }
}
