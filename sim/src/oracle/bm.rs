//! BM: the broker keeps no more than it may, at any time: queues and retained messages stay within
//! their limits. At the end it keeps no more than its sessions and retained messages need: what a
//! client that reads and acknowledges has had is gone, and so is what was cleared.

use std::collections::BTreeMap;

use crate::history::{ConnectionNumber, Event, Kept, KeptSession, Violation, Waiting, What};
use crate::oracle::fc::receive_maximum;
use crate::oracle::model::{Bounds, Connection, Model, Publication, Seen, Session};
use crate::oracle::owed::{Owed, may_be_expired};
use crate::oracle::quotas::size_bytes;
use crate::oracle::rule::{Rule, violation};

/// Judges BM.
#[derive(Default)]
pub(crate) struct Memory {
    last: Option<(usize, Kept)>,
}

impl Rule for Memory {
    fn look(&mut self, model: &Model, _seen: &Seen, event: &Event) -> Result<(), Violation> {
        let place = model.now.index;
        let What::Kept(kept) = &event.what else {
            // What was kept earlier says nothing of the end.
            self.last.take_if(|(of, _)| event.what != What::End || *of + 1 < place);
            return Ok(());
        };
        self.last = Some((place, kept.clone()));
        let mut counted = kept.clone();
        counted.retained.retain(|topic| !may_have_expired(model, topic));
        let more = More {
            open: open(model),
            may_return: &|| windows(model),
            may_be_under_way: &|client_id| may_be_under_way(model, client_id),
            largest_alone: &|client_id| largest_alone(model, client_id),
        };
        match over_limit(&model.bounds, &counted, &more) {
            Some(what) => Err(violation("BM", what, [place])),
            None => Ok(()),
        }
    }

    fn finish(&mut self, model: &Model, _owed: &Owed) -> Vec<Violation> {
        let Some((place, kept)) = self.last.as_ref().filter(|_| model.end.is_some()) else {
            return Vec::new();
        };
        let sessions = kept.sessions.iter().filter_map(|session| needless(model, session));
        let retained = kept.retained.iter().filter_map(|topic| cleared(model, topic));
        sessions.chain(retained).map(|what| violation("BM", what, [*place])).collect()
    }
}

/// Whether what is retained on a topic may have expired: a start reads it back, and drops it after that.
fn may_have_expired(model: &Model, topic: &str) -> bool {
    let mut of_topic = model.publications.iter().filter(|one| one.retain && one.topic == topic);
    of_topic.any(|publication| may_be_expired(model, publication, model.now.at_ms))
}

/// How many connections the broker may have open.
fn open(model: &Model) -> u64 {
    let may_be_open = |connection: &&Connection| {
        connection.connect.is_some() && model.closing(connection).to_ms >= model.now.at_ms
    };
    model.connections.values().filter(may_be_open).count() as u64
}

/// What members of shares can have had in flight, each within its receive maximum.
fn windows(model: &Model) -> Waiting {
    let mut windows: BTreeMap<&str, u32> = BTreeMap::new();
    for connection in model.connections.values().filter(|one| one.connect.is_some()) {
        let window = windows.entry(&connection.client_id).or_default();
        *window = receive_maximum(connection).max(*window);
    }
    let messages = windows.into_values().map(u64::from).sum::<u64>();
    let largest = model.publications.iter().map(size_bytes).max().unwrap_or(0);
    let bytes = messages.saturating_mul(largest);
    Waiting { messages: usize::try_from(messages).unwrap_or(usize::MAX), bytes }
}

/// What a client can have been sent and not acknowledged on its last connection, of what waited for it before and of
/// what was published meanwhile. A start finds it waiting: at QoS 1 nothing is recorded of it at once.
fn may_be_under_way(model: &Model, client_id: &str) -> Waiting {
    let connections = model.clients.get(client_id).into_iter().flat_map(|one| &one.connections);
    let mut last = connections.filter_map(|number| model.connections.get(number)).rev();
    let Some((connection, sent)) =
        last.find_map(|one| Some((one, one.connect.as_ref().map(|(sent, _)| *sent)?)))
    else {
        return Waiting::default();
    };
    let until_ms = model.closing(connection).to_ms;
    let is_meant = |publication: &&Publication| {
        let first = publication.first();
        publication.qos > 0 && first.index > sent.index && first.at_ms <= until_ms
    };
    let most = model.bounds.queue_messages.min(model.publications.len() as u64);
    let messages = most + model.publications.iter().filter(is_meant).count() as u64;
    let messages = messages.min(u64::from(receive_maximum(connection)));
    let largest = model.publications.iter().map(size_bytes).max().unwrap_or(0);
    Waiting {
        messages: usize::try_from(messages).unwrap_or(usize::MAX),
        bytes: messages.saturating_mul(largest),
    }
}

/// The size of the largest message that may wait alone for a client however short its queue is: one that was to be
/// retained, or that a share has given it.
fn largest_alone(model: &Model, client_id: &str) -> u64 {
    let client = model.clients.get(client_id);
    let sessions = client.into_iter().flat_map(|client| &client.sessions);
    let mut subscriptions = sessions.flat_map(|id| model.sessions[*id].all());
    let has_share = subscriptions.any(|subscription| subscription.share.is_some());
    let all = model.publications.iter().filter(|publication| publication.retain || has_share);
    all.map(size_bytes).max().unwrap_or(0)
}

/// What may be kept beyond the limits.
struct More<'a> {
    /// How many connections may be open.
    open: u64,
    /// What members of a share had in flight.
    may_return: &'a dyn Fn() -> Waiting,
    /// What a client may have been sent at QoS 1, of which nothing is recorded at once.
    may_be_under_way: &'a dyn Fn(&str) -> Waiting,
    /// The size of a message that may wait for a client alone.
    largest_alone: &'a dyn Fn(&str) -> u64,
}

/// What is more than its limit. Exchanges that began are bounded by the client's receive maximum,
/// which FC judges. What a passing member of a share has in its queue is kept at the share until it
/// is sent, so that each open connection may add a queue. What members had in flight when their
/// connections ended goes back to the share, whatever waits there. A retained message, or one of a share, that
/// is larger than a queue may be waits alone, for a record or for its turn.
fn over_limit(bounds: &Bounds, kept: &Kept, more: &More<'_>) -> Option<String> {
    let (most, most_bytes) = (bounds.queue_messages, bounds.queue_bytes);
    let is_over = |client_id: &str, found: Waiting| {
        let goes_alone = found.messages == 1 && found.bytes <= (more.largest_alone)(client_id);
        let is_over = found.messages as u64 > most || found.bytes > most_bytes && !goes_alone;
        is_over && {
            let Waiting { messages, bytes } = (more.may_be_under_way)(client_id);
            found.messages as u64 > most.saturating_add(messages as u64)
                || found.bytes > most_bytes.saturating_add(bytes) && !goes_alone
        }
    };
    let limit = || format!("at most {most} of {most_bytes} bytes may");
    if let Some(session) =
        kept.sessions.iter().find(|session| is_over(&session.client_id, session.waiting))
    {
        let Waiting { messages, bytes } = session.waiting;
        let client_id = &session.client_id;
        return Some(format!(
            "{messages} messages of {bytes} bytes wait for {client_id:?}, {}",
            limit()
        ));
    }
    let is_over = |found: u64, most: u64, returns: &dyn Fn() -> u64| {
        let most = most.saturating_mul(1 + more.open);
        found > most && found > most.saturating_add(returns())
    };
    let is_over = |found: &&Waiting| {
        is_over(found.messages as u64, most, &|| (more.may_return)().messages as u64)
            || is_over(found.bytes, most_bytes, &|| (more.may_return)().bytes)
    };
    if let Some(Waiting { messages, bytes }) = kept.shares.iter().find(is_over) {
        return Some(format!("{messages} messages of {bytes} bytes wait at a share, {}", limit()));
    }
    let (retained, most) = (kept.retained.len(), bounds.retained_messages);
    (retained as u64 > most)
        .then(|| format!("{retained} messages are retained, at most {most} may"))
}

/// What of a session is kept for nothing.
fn needless(model: &Model, kept: &KeptSession) -> Option<String> {
    let client_id = &kept.client_id;
    let client = model.clients.get(client_id);
    let sessions = client.into_iter().flat_map(|client| &client.sessions);
    let mut living = sessions.map(|id| &model.sessions[*id]).filter(|one| !model.is_over(one));
    let Some(session) = living.next_back() else {
        // A CONNECT without an answer may have begun one, and a broker that hears nothing of an end
        // may still have one.
        let may_last = |number: &ConnectionNumber| {
            let connection = model.connections.get(number);
            connection.is_some_and(|one| model.expiring(one).to_ms > model.settled_by_ms())
        };
        let is_unclear = client.is_some_and(|client| {
            let lasting = client.connections.iter().any(may_last);
            let attempts = client.attempts.iter().filter_map(|one| model.connections.get(one));
            lasting || attempts.into_iter().any(|one| one.connack.is_none())
        });
        // Whose it is, a client that was never told its identifier cannot know.
        let may_be_orphan = client.is_none()
            && model.connections.values().any(|one| {
                let is_nameless = one.connect.as_ref().is_some_and(|(_, connect)| {
                    let is_told = connect.level >= 5 && one.connack.is_some();
                    connect.client_id.is_empty() && !is_told
                });
                is_nameless && model.expiring(one).to_ms > model.settled_by_ms()
            });
        return (!is_unclear && !may_be_orphan)
            .then(|| format!("a session of {client_id:?} is kept, and none lives"));
    };
    if !has_had_everything(model, session) {
        return None;
    }
    let waiting = kept.waiting.messages + kept.under_way;
    if waiting > 0 {
        return Some(format!("{waiting} messages are kept for {client_id:?}, which has had them"));
    }
    let under_way = session.connections.last().and_then(|number| model.connections.get(number));
    let under_way = under_way.map_or(0, |connection| connection.outstanding.len());
    (kept.inbound > under_way).then(|| {
        let held = kept.inbound;
        format!("{held} packet identifiers of {client_id:?} are kept, {under_way} are under way")
    })
}

/// Whether a client is served at the end and has finished every exchange.
fn has_had_everything(model: &Model, session: &Session) -> bool {
    let is_settled = |at_ms: u64| at_ms <= model.settled_by_ms();
    model.served(session).is_some()
        && session.exchanges.values().all(|holder| is_settled(holder.moment.at_ms))
        && session
            .deliveries
            .values()
            .flatten()
            .all(|delivery| is_settled(model.deliveries[*delivery].moment.at_ms))
}

/// A retained message where there can be none.
fn cleared(model: &Model, topic: &str) -> Option<String> {
    let writes = || model.publications.iter().filter(|found| found.retain && found.topic == topic);
    if writes().all(|write| write.payload.is_empty()) {
        return Some(format!("a retained message is kept on {topic:?}, where none was published"));
    }
    let last = writes().max_by_key(|write| write.first())?;
    let is_alone = |write: &Publication| {
        write.token == last.token
            || !write.is_will() && write.settled.is_some_and(|at| at.index < last.first().index)
    };
    let is_cleared = last.payload.is_empty()
        && last.accepted.is_some()
        && last.sends.len() == 1
        && writes().all(is_alone);
    is_cleared.then(|| format!("a retained message is kept on {topic:?}, which was cleared"))
}

#[cfg(test)]
mod tests {
    use super::{Memory, More, over_limit};
    use crate::history::{Kept, KeptSession, Waiting, What};
    use crate::oracle::model::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, number, passes, passes_within, publish_of,
    };
    use crate::packet::{Connect, Publish};
    use crate::plan::NetworkFault;

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 2);
        told.publish(1, "t", "one", 2).read(2, "t", "one", 2);
        told
    }

    /// So many messages of ten bytes each.
    fn waits(messages: usize) -> Waiting {
        Waiting { messages, bytes: 10 * messages as u64 }
    }

    fn keeps(client_id: &str, inbound: usize, waiting: usize) -> Kept {
        let (client_id, waiting) = (client_id.to_owned(), waits(waiting));
        let session = KeptSession { client_id, inbound, waiting, under_way: 0 };
        Kept { sessions: vec![session], ..Kept::default() }
    }

    fn retains(topics: &[&str]) -> Kept {
        Kept {
            retained: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..Kept::default()
        }
    }

    fn ends_with(told: &mut Told, kept: Kept) {
        told.push(What::Calm).wait(60_000).push(What::Kept(kept)).push(What::End);
    }

    /// What is said of a moment under a limit of two messages, or of so many bytes, in a queue, and of one retained,
    /// where one in flight may return.
    fn limited_to(queue_bytes: u64, kept: &Kept) -> Option<String> {
        let bounds = Bounds { retained_messages: 1, queue_bytes, ..Bounds::default() };
        let queue_messages = if queue_bytes == u64::MAX { 2 } else { u64::MAX };
        let more = More {
            open: 0,
            may_return: &|| waits(1),
            may_be_under_way: &|client_id| waits(usize::from(client_id == "busy")),
            largest_alone: &|_| 10,
        };
        over_limit(&Bounds { queue_messages, ..bounds }, kept, &more)
    }

    fn limited(kept: &Kept) -> Option<String> {
        limited_to(u64::MAX, kept)
    }

    #[test]
    fn sessions_without_messages_are_right() {
        let mut told = two();
        ends_with(&mut told, keeps("b", 0, 0));
        passes(Memory::default(), &told);
    }

    #[test]
    fn messages_for_a_client_that_is_away_are_right() {
        let mut told = two();
        told.lose(2).publish(1, "t", "two", 1);
        ends_with(&mut told, keeps("b", 0, 1));
        passes(Memory::default(), &told);
    }

    #[test]
    fn messages_that_were_acknowledged_are_wrong() {
        let mut told = two();
        ends_with(&mut told, keeps("b", 0, 1));
        fails(Memory::default(), &told, "BM");
    }

    #[test]
    fn an_identifier_that_was_released_is_wrong() {
        let mut told = two();
        ends_with(&mut told, keeps("a", 1, 0));
        fails(Memory::default(), &told, "BM");
    }

    #[test]
    fn a_session_that_ended_is_wrong() {
        let mut told = two();
        told.connect(3, "c").lose(3);
        ends_with(&mut told, keeps("c", 0, 0));
        fails(Memory::default(), &told, "BM");
    }

    #[test]
    fn a_session_of_nobody_may_be_that_of_a_client_that_was_never_told_its_identifier() {
        let with = |client_id: &str| {
            let mut told = two();
            let properties = vec![number(property::SESSION_EXPIRY, 1000)];
            told.asks_in(3, Connect { properties, ..connect_of(client_id) }).lose(3);
            ends_with(&mut told, keeps("auto-1", 0, 0));
            told
        };
        passes(Memory::default(), &with(""));
        fails(Memory::default(), &with("c"), "BM");
        let mut told = two();
        told.enters(3, Connect { level: 4, ..connect_of("") }, false);
        ends_with(&mut told, keeps("auto-1", 0, 0));
        passes(Memory::default(), &told);
    }

    #[test]
    fn a_session_whose_end_the_broker_cannot_have_noticed_is_right() {
        let mut told = two();
        told.connect(3, "c").network(3, NetworkFault::BlackHoleToBroker).lose(3);
        ends_with(&mut told, keeps("c", 0, 0));
        passes(Memory::default(), &told);
    }

    #[test]
    fn a_retained_message_is_right_until_it_is_cleared() {
        let mut told = two();
        told.retain(1, "r", "value", 1);
        ends_with(&mut told, retains(&["r"]));
        passes(Memory::default(), &told);
        let mut told = two();
        let clear = Publish { retain: true, ..publish_of("r", "", 1, 77) };
        told.retain(1, "r", "value", 1).publishes(1, clear);
        ends_with(&mut told, retains(&["r"]));
        fails(Memory::default(), &told, "BM");
    }

    #[test]
    fn what_expired_is_read_back_at_a_start_and_dropped_then() {
        let reads_back = |wait_ms| {
            let mut told = two();
            let properties = vec![number(property::MESSAGE_EXPIRY, 1)];
            let short = Publish { retain: true, properties, ..publish_of("r", "short", 1, 9) };
            told.publishes(1, short).wait(wait_ms);
            told.retain(1, "s", "long", 1).crash();
            told.push(What::Kept(retains(&["r", "s"])));
            told
        };
        let within = || Bounds { latency_ms: 100, retained_messages: 1, ..Bounds::default() };
        passes_within(within(), Memory::default(), &reads_back(2_000));
        fails_within(within(), Memory::default(), &reads_back(0), "BM");
    }

    #[test]
    fn what_is_within_its_limit_is_right() {
        assert_eq!(limited(&keeps("a", 9, 2)), None);
        assert_eq!(limited(&Kept { shares: vec![waits(2), waits(3)], ..retains(&["r"]) }), None);
        assert_eq!(limited_to(20, &keeps("a", 9, 2)), None);
        let at_shares = Kept { shares: vec![waits(2), waits(3)], ..Kept::default() };
        assert_eq!(limited_to(20, &at_shares), None);
        // As large as what is retained, and alone.
        assert_eq!(limited_to(9, &keeps("a", 9, 1)), None);
    }

    #[test]
    fn what_is_over_its_limit_is_wrong() {
        assert!(limited(&keeps("a", 0, 3)).is_some());
        assert!(limited(&keeps("busy", 0, 3)).is_none() && limited(&keeps("busy", 0, 4)).is_some());
        assert!(limited(&Kept { shares: vec![waits(1), waits(4)], ..Kept::default() }).is_some());
        assert!(limited_to(29, &keeps("a", 0, 3)).is_some());
        assert!(limited_to(9, &keeps("a", 0, 2)).is_some());
        let larger = Waiting { messages: 1, bytes: 11 };
        let sessions = keeps("a", 0, 1).sessions;
        let sessions = sessions.into_iter().map(|one| KeptSession { waiting: larger, ..one });
        assert!(limited_to(9, &Kept { sessions: sessions.collect(), ..Kept::default() }).is_some());
        let at_shares = Kept { shares: vec![waits(1), waits(4)], ..Kept::default() };
        assert!(limited_to(29, &at_shares).is_some());
        assert!(limited(&retains(&["r", "s"])).is_some());
    }
}
