//! What clients read: which PUBLISH is a new message, and which only repeats one.

use super::{
    Delivery, Holder, Model, Moment, Publication, PublicationId, Seen, SessionId, Stage, token_of,
};
use crate::history::ConnectionNumber;
use crate::packet::Publish;

impl Model {
    /// A client read PUBLISH.
    pub(super) fn delivered(
        &mut self,
        number: ConnectionNumber,
        publish: &Publish,
        alias_topic: Option<&str>,
    ) -> Seen {
        let now = self.now;
        let Some(session) = self.connections.get(&number).and_then(|found| found.session) else {
            return Seen::Nothing;
        };
        let topic = match alias_topic {
            Some(topic) if publish.topic.is_empty() => topic,
            Some(_) | None => publish.topic.as_str(),
        };
        let token = token_of(&publish.payload);
        let publication =
            if publish.payload.is_empty() { None } else { self.by_token.get(token).copied() };
        let mut delivery = Delivery {
            moment: now,
            connection: number,
            session,
            publication,
            topic: topic.to_owned(),
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            id: publish.id,
            is_fresh: true,
            replaced: None,
            properties: publish.properties.clone(),
            payload: publish.payload.clone(),
        };
        if let Some(id) = publish.id.filter(|_| publish.qos > 0) {
            self.occupy(&mut delivery, id, token);
        }
        let delivery_id = self.deliveries.len();
        if let Some(publication) = publication {
            let known = self.sessions[session].deliveries.entry(publication).or_default();
            known.push(delivery_id);
        }
        self.deliveries.push(delivery);
        Seen::Delivered(delivery_id)
    }

    /// Notes what a packet identifier stands for now, and whether the message is new.
    fn occupy(&mut self, delivery: &mut Delivery, id: u16, token: &[u8]) {
        let session = &mut self.sessions[delivery.session];
        let before = session.exchanges.remove(&id);
        let is_same =
            before.as_ref().is_some_and(|before| before.token == token && !token.is_empty());
        let is_known = delivery
            .publication
            .is_some_and(|publication| session.deliveries.contains_key(&publication));
        delivery.is_fresh = match (delivery.qos, before.as_ref().map(|before| before.stage)) {
            (2, Some(Stage::Read | Stage::Recorded(_) | Stage::Refused(_))) => !is_same,
            (2, Some(Stage::Released(_) | Stage::Done(_))) => true,
            (2, None) => !(delivery.dup && session.inherited.contains(&(id, token.to_vec()))),
            (_, _) => !(delivery.dup && is_known),
        };
        if delivery.qos == 2 {
            session.used_ids.insert(id);
        }
        let is_new = !is_same || delivery.is_fresh;
        let first = before.as_ref().filter(|_| !is_new).map_or(delivery.moment, |one| one.first);
        // At QoS 1 a publisher repeats what it does not know to be accepted, and the broker takes it
        // for two. Once the first may be over, this may be the second.
        let is_repeated = delivery.qos == 1
            && delivery.publication.is_some_and(|id| self.publications[id].instances > 1);
        let asked_again = |since: Moment| {
            let publication = delivery.publication.map(|id| &self.publications[id]);
            let mut requests = publication.into_iter().flat_map(|one| session.replays(one));
            requests.any(|request| request.requested > since)
        };
        let may_be_second = before.as_ref().filter(|_| is_same).is_some_and(|before| {
            // What was retained comes as a copy of its own, and with each SUBSCRIBE.
            let is_replay =
                before.retain != delivery.retain || delivery.retain && asked_again(before.moment);
            let is_other = is_repeated || delivery.qos == 1 && is_replay;
            before.may_be_second || is_other && matches!(before.stage, Stage::Done(_))
        });
        let stage = match before.as_ref().map(|before| before.stage) {
            Some(stage @ Stage::Recorded(_)) if is_same => stage,
            Some(
                Stage::Read
                | Stage::Recorded(_)
                | Stage::Released(_)
                | Stage::Refused(_)
                | Stage::Done(_),
            )
            | None => Stage::Read,
        };
        delivery.replaced = before;
        let holder = Holder {
            token: token.to_vec(),
            publication: delivery.publication,
            topic: delivery.topic.clone(),
            qos: delivery.qos,
            retain: delivery.retain,
            moment: delivery.moment,
            first,
            connection: delivery.connection,
            stage,
            may_be_second,
        };
        session.exchanges.insert(id, holder);
    }

    /// A connection is over: what a share's member has not acknowledged at QoS 1 goes to another,
    /// and the identifier is free.
    pub(super) fn forget_shared(&mut self, session: SessionId, number: ConnectionNumber) {
        let now = self.now;
        let session = &mut self.sessions[session];
        let mut exchanges = std::mem::take(&mut session.exchanges);
        for holder in exchanges.values_mut() {
            let is_shared = candidates(&self.publications, holder.publication, &holder.topic)
                .flat_map(|publication| session.possible(publication))
                .any(|found| found.share.is_some());
            let is_refused = matches!(holder.stage, Stage::Refused(_));
            if holder.qos == 1 && holder.connection == number && is_shared && !is_refused {
                holder.stage = Stage::Done(now);
            }
        }
        session.exchanges = exchanges;
    }

    /// A crash: at QoS 1, which identifier a message has need not have been remembered.
    pub(super) fn forget_qos1_identifiers(&mut self) {
        let now = self.now;
        for session in &mut self.sessions {
            for holder in session.exchanges.values_mut() {
                if holder.qos == 1 {
                    holder.stage = Stage::Done(now);
                }
            }
        }
    }

    /// When a client acknowledged a message at QoS 1, taking or refusing it, if the broker has surely heard
    /// that and ran on.
    pub(crate) fn surely_acknowledged(&self, copy: &Delivery) -> Option<Moment> {
        let at = *self.acknowledged.get(&copy.moment)?;
        self.has_heard(copy.connection, at).then_some(at)
    }

    /// Whether the broker has surely heard what a client said on a connection at `at`, and ran on.
    pub(crate) fn has_heard(&self, number: ConnectionNumber, at: Moment) -> bool {
        let connection = self.connections.get(&number);
        connection.is_some_and(|found| found.evidence > at && found.misbehaved.is_none())
            && !self.has_outage(at.index, usize::MAX)
    }

    /// Publications that a message may be which was read without a payload.
    pub(crate) fn clears<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Publication> {
        candidates(&self.publications, None, topic)
    }

    /// Deliveries of `publication` to `session` that a correct receiver takes for new messages.
    pub(crate) fn fresh(
        &self,
        session: SessionId,
        publication: PublicationId,
    ) -> impl Iterator<Item = &Delivery> {
        let known = self.sessions[session].deliveries.get(&publication);
        let all = known.into_iter().flatten().map(|delivery| &self.deliveries[*delivery]);
        all.filter(|delivery| delivery.is_fresh)
    }
}

/// Publications that a message on `topic` may be: the one that its token names. Nothing tells one that
/// clears a retained message, and so has no payload, from another on its topic.
fn candidates<'a>(
    publications: &'a [Publication],
    named: Option<PublicationId>,
    topic: &'a str,
) -> impl Iterator<Item = &'a Publication> {
    let clears = publications
        .iter()
        .filter(move |found| named.is_none() && found.payload.is_empty() && found.topic == topic);
    named.map(|id| &publications[id]).into_iter().chain(clears)
}
