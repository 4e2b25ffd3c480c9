//! Every transcript of the core is judged by the oracle too: played against the broker, told as a
//! history by the simulator's own codec, and held to every guarantee: what is owed has come by its end.
//! Where disk and long jobs are not delayed by hand, the history has the broker's own order.

#[allow(dead_code, reason = "what the core's own test does with a transcript is not done here")]
#[path = "../../../core/tests/transcript/edge.rs"]
mod edge;
#[path = "../../../core/tests/transcript/look.rs"]
mod look;
#[path = "../../../core/tests/transcript/observed.rs"]
mod observed;
#[path = "../../../core/tests/transcript/packets.rs"]
mod packets;
#[allow(dead_code, reason = "as above")]
#[path = "../../../core/tests/transcript/parse.rs"]
mod parse;
#[allow(dead_code, reason = "as above")]
#[path = "../../../core/tests/transcript/run.rs"]
mod run;
#[path = "../../../core/tests/transcript/settings.rs"]
mod settings;
#[path = "../../../core/tests/transcript/show.rs"]
mod show;

mod names;
mod permits;
mod teller;

use std::fmt::Write as _;
use std::path::Path;

use signalhouse_sim::history::{Beside, Event, Violation, What};
use signalhouse_sim::oracle::{Bounds, Verdicts, check_within};
use signalhouse_sim::packet::Packet;

use names::unique_payloads;
use teller::Teller;

#[test]
fn transcripts_pass_the_oracle() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the core's transcripts are beside the simulator")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let (mut must, mut failures) = (0, String::new());
    for path in &files {
        let text = std::fs::read_to_string(path).expect("a transcript can be read");
        match Story::of(&text).judge() {
            Ok(verdicts) => must += verdicts.must,
            Err(violation) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let _ = writeln!(failures, "{name}: {} {}", violation.guarantee, violation.what);
            }
        }
    }
    println!("{} transcripts judged, {must} deliveries owed at their ends", files.len());
    assert!(failures.is_empty(), "\n{failures}");
    assert!(files.len() > 400 && must > 200, "{} transcripts, {must} owed", files.len());
}

#[test]
fn a_transcript_told_wrongly_does_not_pass() {
    let text = "> a connect clean\n> a subscribe t qos=1\n> a publish t \"x\" qos=1 id=2\n";
    let Story { bounds, history } = Story::of(text);
    assert_eq!(check_within(bounds.clone(), &history).map(|verdicts| verdicts.must), Ok(1));
    let place = history
        .iter()
        .position(|event| matches!(&event.what, What::Received { packet: Packet::Publish(_), .. }))
        .expect("the message arrives");
    let mut again = history.clone();
    again.insert(place + 1, history[place].clone());
    assert!(check_within(bounds.clone(), &again).is_err(), "it comes twice");
    let mut never = history;
    never.remove(place);
    assert!(check_within(bounds, &never).is_err(), "it does not come");
}

/// A guarantee that seems broken where this is left out of what happens in the text.
type LeftOut<'a> = (&'static str, &'a str, fn(&Beside) -> bool);

#[test]
fn what_happens_beside_the_connections_must_be_told() {
    let rules = "> permissions deny publish t client=a\n> a connect clean\n\
                 > a publish t \"x\" qos=1 id=1\n";
    let ended =
        "> a connect expiry=60\n> a closed\n> command end-session a\n> a connect expiry=60\n";
    let sent_away = "> a connect clean\n> command disconnect a\n";
    let refused = "config ask_credentials=true\n> a connect clean\n> accept a\n> refuse a\n";
    let jump = "config time_jump_maximum_ms=60000\n> a connect expiry=10\n> a closed\n\
                > time 70000\n> a connect expiry=10\n";
    let confirmed =
        format!("{jump}> a closed\n> command confirm-time\n> time +20000\n> a connect\n");
    let owner = "config ask_credentials=true\n> a connect expiry=60\n> accept a identity=ann\n\
                 > a closed\n> a connect\n> accept a identity=bob\n";
    let stories: [LeftOut<'_>; 7] = [
        ("AU", rules, |beside| matches!(beside, Beside::Permitted(_))),
        ("PR", sent_away, |beside| matches!(beside, Beside::SentAway { .. })),
        ("PR", refused, |beside| matches!(beside, Beside::Refused { .. })),
        ("SX", ended, |beside| matches!(beside, Beside::SessionEnded { .. })),
        ("SX", jump, |beside| matches!(beside, Beside::ClockStepped { .. })),
        ("SX", &confirmed, |beside| matches!(beside, Beside::TimeConfirmed)),
        ("AU", owner, |beside| matches!(beside, Beside::Identified { .. })),
    ];
    for (guarantee, text, is_left_out) in stories {
        let mut story = Story::of(text);
        let verdict = story.judge();
        assert!(verdict.is_ok(), "{text}{verdict:?}");
        story
            .history
            .retain(|event| !matches!(&event.what, What::Beside(beside) if is_left_out(beside)));
        let violation = story.judge().expect_err(text);
        assert_eq!(violation.guarantee, guarantee, "{violation:?}");
    }
}

#[test]
fn a_request_answered_wrongly_does_not_pass() {
    let text = "> a connect clean\n> a subscribe t qos=1\n> command request t \"x\" qos=1 once=k\n\
                > command request t \"x\" qos=1 once=k\n";
    let Story { bounds, history } = Story::of(text);
    assert!(check_within(bounds.clone(), &history).is_ok());
    let is_answer = |event: &Event| matches!(&event.what, What::Beside(Beside::Answered { .. }));
    for place in (0..history.len()).filter(|place| is_answer(&history[*place])) {
        for wrong_reason in [None, Some(0x10), Some(0x87), Some(0x91)] {
            let mut history = history.clone();
            if let What::Beside(Beside::Answered { reason, is_repeated, .. }) =
                &mut history[place].what
            {
                *is_repeated ^= wrong_reason.is_none();
                *reason = wrong_reason.unwrap_or(*reason);
            }
            let verdict = check_within(bounds.clone(), &history);
            assert!(verdict.is_err(), "{:?} passes", history[place]);
        }
    }
}

/// A history of a transcript, and how much time things may take in it.
struct Story {
    bounds: Bounds,
    history: Vec<Event>,
}

impl Story {
    /// The transcript as clients saw it, every payload made unlike all others.
    fn of(text: &str) -> Self {
        let is_delayed = text.lines().any(|line| line.starts_with("manual "));
        // In the end what was delayed by hand is done.
        let end = "automatic durable resume fetch\n> time +0\n";
        let text_to_end = format!("{}{end}", unique_payloads(text));
        let played = run::play(&text_to_end).expect("the core's own test plays it too");
        let mut teller = Teller::new(setting(text, "ask_credentials", false));
        for (at_ms, observed) in &played.observed {
            teller.tell(*at_ms, observed);
        }
        let last_ms = played.observed.last().map_or(0, |(at_ms, _)| *at_ms);
        let mut history = teller.finish(last_ms);
        let (latency_ms, slack_ms) = if is_delayed { (last_ms + 1, 1) } else { (0, 0) };
        history.push(Event { at_ms: last_ms, what: What::Calm });
        history.push(Event { at_ms: last_ms + 1 + 2 * latency_ms, what: What::End });
        Story { bounds: bounds(text, latency_ms, slack_ms), history }
    }

    fn judge(&self) -> Result<Verdicts, Violation> {
        check_within(self.bounds.clone(), &self.history)
    }
}

fn bounds(text: &str, latency_ms: u64, slack_ms: u64) -> Bounds {
    let hour_ms = 3_600_000;
    Bounds {
        connect_timeout_ms: setting(text, "connect_timeout_ms", 10_000),
        connections_at_once: setting(text, "connections", u64::MAX),
        latency_ms,
        slack_ms,
        session_expiry_maximum_s: setting(text, "session_expiry_interval_maximum_s", u32::MAX),
        time_jump_maximum_ms: setting(text, "time_jump_maximum_ms", 24 * hour_ms),
        queue_messages: setting(text, "queue_messages", u64::MAX),
        queue_bytes: setting(text, "queue_bytes", u64::MAX),
        request_keys: setting(text, "request_keys", 100_000),
        request_key_ms: setting(text, "request_key_ms", 24 * hour_ms),
        ..Bounds::default()
    }
}

/// What a transcript sets, or the broker by itself.
fn setting<T: std::str::FromStr>(text: &str, name: &str, default: T) -> T {
    let lines = text.lines().filter_map(|line| line.strip_prefix("config "));
    let mut values = lines.flat_map(|line| line.split(' ')).filter_map(|word| {
        let (key, value) = word.split_once('=')?;
        (key == name).then_some(value)
    });
    values.next().map_or(default, |value| {
        value.parse().unwrap_or_else(|_| panic!("{name}={value} cannot be read"))
    })
}
