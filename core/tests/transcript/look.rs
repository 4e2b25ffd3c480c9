//! What a driver may look at, as lines: `> look …`.

use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::{Broker, Time};
use signalhouse_core::{DeliveryView, SessionView};

use super::parse::{Args, text};

/// As many as a test shows.
const MANY: u16 = 100;

pub(crate) fn look(broker: &Broker, now: Time, rest: &str) -> Result<Vec<String>, String> {
    let mut args = Args::parse(rest)?;
    let what = args.word("what to look at")?;
    let limit = usize::from(args.number::<u16>("limit")?.unwrap_or(MANY));
    let visits = args.number::<u16>("visits")?.unwrap_or(MANY);
    let after = args.text("after")?;
    let lines = match what.as_str() {
        "sessions" => {
            let from = args.number("from")?.unwrap_or(0);
            let (found, next) = broker.sessions(from, limit, u32::from(visits), |_| true);
            let lines = found.iter().map(|found| session(found, now));
            lines.chain(next.map(|place| format!("next {place}"))).collect()
        }
        "session" => {
            let client_id = text(&args.word("a client")?)?;
            let none = format!("session {client_id} none");
            vec![broker.session(&client_id).map_or(none, |found| session(&found, now))]
        }
        "subscriptions" => {
            let client_id = text(&args.word("a client")?)?;
            let after = after.map(|after| filter(after.as_str())).transpose()?;
            let found = broker.subscriptions_of(&client_id, after.as_ref(), limit);
            found
                .iter()
                .map(|found| format!("subscription {} {}", found.filter, found.qos))
                .collect()
        }
        "inflight" => {
            let client_id = text(&args.word("a client")?)?;
            broker.inflight_of(&client_id, limit).iter().map(delivery).collect()
        }
        "queue" => {
            let client_id = text(&args.word("a client")?)?;
            broker.queue_of(&client_id, limit).iter().map(delivery).collect()
        }
        "retained" => {
            let filter = filter(&args.word("a filter")?)?;
            let after = after.map(|after| Topic::try_from(after.as_str())).transpose();
            let after = after.map_err(|error| error.to_string())?;
            let visits = usize::from(visits);
            let (found, next) = broker.retained_matching(&filter, after.as_ref(), limit, visits);
            let lines = found.iter().map(|message| {
                let payload = String::from_utf8_lossy(&message.payload);
                format!("retained {} {payload:?}", message.topic)
            });
            lines.chain(next.map(|topic| format!("next {topic}"))).collect()
        }
        "counters" => {
            // `Counters { name: 0, … }`
            let all = format!("{:?}", broker.counters());
            let pairs = all.trim_end_matches(" }").split_once("{ ").map_or("", |(_, pairs)| pairs);
            let moved = pairs.split(", ").filter(|pair| !pair.ends_with(": 0"));
            vec![format!("counters {}", moved.collect::<Vec<_>>().join(", "))]
        }
        other => return Err(format!("nothing called {other} can be looked at")),
    };
    args.finish()?;
    Ok(lines)
}

fn filter(filter: &str) -> Result<TopicFilter, String> {
    TopicFilter::try_from(filter).map_err(|error| error.to_string())
}

fn session(found: &SessionView, now: Time) -> String {
    let state = if found.connection.is_some() { "connected" } else { "away" };
    let ends = found.ends_at.map(|at| format!(" ends_in={}", at.since_ms(now)));
    let waits = found.waits_since.map(|since| format!(" waits_for={}", now.since_ms(since)));
    format!(
        "session {} {state} expiry={} subscriptions={} queued={}/{} inflight={}/{}{}{}{}",
        found.client_id,
        found.session_expiry_interval_s,
        found.subscriptions,
        found.queued,
        found.queued_bytes,
        found.inflight,
        found.inflight_bytes,
        if found.has_will { " will" } else { "" },
        ends.unwrap_or_default(),
        waits.unwrap_or_default(),
    )
}

fn delivery(found: &DeliveryView) -> String {
    let message = found.message_id.map_or("release".into(), |id| format!("m{}", id.0));
    let topic = found.topic.as_ref().map(|topic| format!(" {topic}"));
    let id = found.packet_id.map(|id| format!(" id={}", id.0.value()));
    format!(
        "delivery {message}{} {} bytes={}{}{}",
        topic.unwrap_or_default(),
        found.qos,
        found.bytes,
        id.unwrap_or_default(),
        if found.maybe_sent { " maybe_sent" } else { "" },
    )
}
