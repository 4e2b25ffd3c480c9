//! For every publication at QoS 1 and 2 and every session with a matching subscription: must it
//! have arrived at the end, may it, or must it not?

use std::collections::BTreeMap;

use crate::oracle::model::{Model, Moment, Publication, PublicationId, Session, SessionId};
use crate::oracle::or::{Publisher, publisher};

/// How many pairs of a publication at QoS 1 or 2 and a session with a matching subscription were
/// judged how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// It had to arrive.
    pub must: u64,
    /// It might.
    pub may: u64,
    /// It was refused.
    pub must_not: u64,
    /// The session ended in the meantime, so nothing is owed any more.
    pub ended: u64,
}

/// A publication that had to arrive and did not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    pub(crate) publication: PublicationId,
    pub(crate) session: SessionId,
    /// At which QoS it was owed.
    pub(crate) qos: u8,
    /// Whether the broker was restarted after it had said that it has the message.
    pub(crate) across_restart: bool,
}

/// What is owed at the end.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    pub(crate) missing: Vec<Missing>,
    pub(crate) verdicts: Verdicts,
}

/// How one pair is judged.
enum Verdict {
    Must(u8),
    May,
    MustNot,
    Ended,
}

/// How many messages without a payload came, by session and topic.
fn clears(model: &Model) -> BTreeMap<(SessionId, &str), usize> {
    let mut clears = BTreeMap::new();
    for delivery in model.deliveries.iter().filter(|delivery| delivery.payload.is_empty()) {
        *clears.entry((delivery.session, delivery.topic.as_str())).or_default() += 1;
    }
    clears
}

impl Owed {
    pub(crate) fn of(model: &Model) -> Self {
        let mut owed = Owed::default();
        let mut topics: BTreeMap<&str, Vec<PublicationId>> = BTreeMap::new();
        for (id, publication) in model.publications.iter().enumerate() {
            if publication.qos > 0 && !publication.is_will() {
                topics.entry(&publication.topic).or_default().push(id);
            }
        }
        let clears = clears(model);
        for (number, session) in model.sessions.iter().enumerate() {
            let state = State::of(model, session);
            for (topic, publications) in &topics {
                let is_meant =
                    session.all().any(|found| found.share.is_none() && found.means(topic));
                if !is_meant {
                    continue;
                }
                let (mut missing, mut cleared) = (Vec::new(), Vec::new());
                for id in publications {
                    let publication = &model.publications[*id];
                    match judge(model, session, publication, &state) {
                        None => {}
                        Some(Verdict::Must(qos)) => {
                            owed.verdicts.must += 1;
                            if publication.payload.is_empty() {
                                cleared.push((*id, qos));
                            } else if !session.deliveries.contains_key(id) {
                                missing.push((*id, qos));
                            }
                        }
                        Some(Verdict::May) => owed.verdicts.may += 1,
                        Some(Verdict::MustNot) => owed.verdicts.must_not += 1,
                        Some(Verdict::Ended) => owed.verdicts.ended += 1,
                    }
                }
                owed.excuse(model, number, topic, &missing, 0);
                // Nothing tells one empty payload from another, but there must be as many.
                let came = clears.get(&(number, *topic)).copied().unwrap_or(0);
                owed.excuse(model, number, topic, &cleared, came);
            }
        }
        owed
    }

    /// Keeps of what is missing what the broker did not say it dropped, but for `came` of them.
    fn excuse(
        &mut self,
        model: &Model,
        session: SessionId,
        topic: &str,
        missing: &[(PublicationId, u8)],
        mut came: usize,
    ) {
        let receiver = &model.sessions[session].client_id;
        let notices = drops(model, receiver, topic).into_iter();
        let (mut expired, mut others): (Vec<usize>, Vec<usize>) =
            notices.partition(|notice| is_of_expiry(model, *notice));
        // Whatever excuses a later message can excuse an earlier one.
        let mut left: Vec<(PublicationId, u8)> = missing.iter().rev().copied().collect();
        left.retain(|(id, _)| {
            let publication = &model.publications[*id];
            let can_be = may_be_expired(model, publication, model.now.at_ms);
            !(can_be && take(&mut expired, publication))
        });
        left.retain(|(id, _)| !take(&mut others, &model.publications[*id]));
        for (id, qos) in left.into_iter().rev() {
            if came > 0 {
                came -= 1;
                continue;
            }
            let publication = &model.publications[id];
            let accepted = publication.accepted.unwrap_or(publication.first()).index;
            self.missing.push(Missing {
                publication: id,
                session,
                qos,
                across_restart: model.has_outage(accepted, usize::MAX),
            });
        }
    }
}

/// Takes one of `notices` away that came after `publication` was sent, if there is one.
fn take(notices: &mut Vec<usize>, publication: &Publication) -> bool {
    let place = notices.iter().position(|notice| *notice > publication.first().index);
    place.map(|place| notices.remove(place)).is_some()
}

/// Whether the broker gave expiry as the reason there.
fn is_of_expiry(model: &Model, place: usize) -> bool {
    let notice = model.drops.iter().find(|drop| drop.moment.index == place);
    notice.is_some_and(|notice| notice.cause == "Expired")
}

/// Where the broker said that it dropped a message at QoS 1 or 2 on `topic` for `receiver`.
pub(crate) fn drops(model: &Model, receiver: &str, topic: &str) -> Vec<usize> {
    let is_meant = |drop: &&crate::oracle::model::Dropped| {
        let is_offline = drop.cause.to_ascii_lowercase().contains("offline");
        // What the receiver refused, it has read.
        let is_read = drop.cause.starts_with("RefusedByClient");
        let is_meant = drop.is_for(model, receiver) && drop.topic == topic;
        is_meant && !is_offline && !is_read && !drop.is_of_will()
    };
    model.drops.iter().filter(is_meant).map(|drop| drop.moment.index).collect()
}

/// Whether the expiry of `publication` may have passed at `at_ms`.
pub(crate) fn may_be_expired(model: &Model, publication: &Publication, at_ms: u64) -> bool {
    let (first_ms, now_ms) = (publication.first().at_ms, model.now.at_ms);
    let lives = |seconds| model.earliest_ms(first_ms, now_ms, u64::from(seconds) * 1000) > at_ms;
    publication.expiry_s.is_some_and(|seconds| !lives(seconds))
}

/// What is known of a session at the end.
struct State<'a> {
    model: &'a Model,
    is_served: bool,
    is_over: bool,
    /// Of each stream, by what it is of, when the last message that arrived was first sent.
    latest: BTreeMap<(Publisher, &'a str, u8), Moment>,
}

impl<'a> State<'a> {
    fn of(model: &'a Model, session: &'a Session) -> Self {
        let mut latest: BTreeMap<(Publisher, &str, u8), Moment> = BTreeMap::new();
        for (id, deliveries) in &session.deliveries {
            let publication = &model.publications[*id];
            let may_be_replay = session.replays(publication).next().is_some();
            let is_shared = session.possible(publication).any(|found| found.share.is_some());
            if may_be_replay || is_shared || publication.is_will() || publication.muddled {
                continue;
            }
            for delivery in deliveries {
                let qos = model.deliveries[*delivery].qos;
                let stream = (publisher(model, publication), publication.topic.as_str(), qos);
                let sent = latest.entry(stream).or_default();
                *sent = publication.first().max(*sent);
            }
        }
        State {
            model,
            is_served: model.served(session).is_some(),
            is_over: model.is_over(session),
            latest,
        }
    }

    /// Whether something arrived that its publisher sent later, in the same stream.
    fn is_overtaken(&self, publication: &Publication, qos: u8) -> bool {
        let stream = (publisher(self.model, publication), publication.topic.as_str(), qos);
        publication.sends.len() == 1
            && !publication.payload.is_empty()
            && self.latest.get(&stream).is_some_and(|sent| *sent > publication.first())
    }

    /// Whether a connection of the session worked for long enough after a message was taken.
    fn had_time(&self, session: &Session, accepted: Moment) -> bool {
        let connections = session.connections.iter();
        let mut connections = connections.filter_map(|number| self.model.connections.get(number));
        session.hostile.is_none()
            && connections.any(|connection| {
                let let_in_ms = connection.connack.as_ref().map(|connack| connack.moment.at_ms);
                let from_ms =
                    let_in_ms.map(|ms| ms.max(accepted.at_ms).max(connection.troubled_ms));
                let by_ms = from_ms.map(|ms| ms.saturating_add(self.model.bounds.delivery_ms));
                by_ms.is_some_and(|by_ms| by_ms <= connection.evidence.at_ms)
            })
    }
}

fn judge(
    model: &Model,
    session: &Session,
    publication: &Publication,
    state: &State<'_>,
) -> Option<Verdict> {
    let best = session
        .possible(publication)
        .filter(|found| found.share.is_none())
        .map(|found| found.qos.min(publication.qos))
        .max()?;
    if best == 0 {
        return None;
    }
    if publication.is_refused() {
        return Some(Verdict::MustNot);
    }
    let otherwise = if state.is_over { Verdict::Ended } else { Verdict::May };
    let Some(accepted) = publication.accepted else { return Some(otherwise) };
    let Some(qos @ 1..) = session.stable_qos(publication) else { return Some(otherwise) };
    let is_in_time = state.is_served && accepted.at_ms <= model.settled_by_ms();
    let is_overtaken = qos == best && state.is_overtaken(publication, qos);
    let is_due = (is_in_time || is_overtaken || state.had_time(session, accepted))
        && session.hostile.is_none()
        && !publication.muddled
        // What expires is dropped, and the broker says so, unless it was restarted meanwhile.
        && !(may_be_expired(model, publication, model.now.at_ms)
            && model.has_outage(accepted.index, usize::MAX));
    Some(if is_due { Verdict::Must(qos) } else { otherwise })
}
