//! Rules of the standard, broken one by one behind the suite's back, each with the cases that must
//! notice.

mod client;
mod error;
mod exchange;
mod message;
mod older;
mod server;
mod violation;
mod websocket;

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::case::Case;
use crate::line;
use crate::proxy::{Proxy, Spoil};
use crate::run::{Outcome, Verdict, run};
use crate::suite;

/// One broken rule.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// What goes wrong.
    pub name: &'static str,
    /// The statement or expected behaviour that is broken.
    pub statement: &'static str,
    /// How.
    pub spoil: Spoil,
    /// Exactly the cases that notice, of those that show the statement and the controls.
    pub noticed_by: &'static [&'static str],
}

/// Cases that must go on passing whatever is broken, unless they use the packets that are.
const CONTROLS: [&str; 10] = [
    "a_good_connect_is_accepted",
    "pingreq_is_answered",
    "each_qos_has_its_answer",
    "a_code_for_each_filter_in_order",
    "several_filters_are_removed_at_once",
    "an_empty_payload_is_delivered",
    "a_large_payload_is_delivered",
    "an_unsubscribe_without_filters_is_refused",
    "a_disconnect_with_a_code_alone_is_understood",
    "packets_in_pieces_are_put_together",
];

/// CONNACK and CONNECT, which every case uses.
const CONNECTING: u32 = 1 << 2 | 1 << (16 + 1);

/// How many statements must be noticed broken for a run over the whole suite to prove it.
pub const LEAST_STATEMENTS: usize = 100;

/// How long an answer may take at first: each broken rule costs a wait or two.
const IMPATIENT_MS: u64 = 1_500;

const fn broken(
    name: &'static str,
    statement: &'static str,
    spoil: Spoil,
    noticed_by: &'static [&'static str],
) -> Mutation {
    Mutation { name, statement, spoil, noticed_by }
}

/// Every mutation.
#[must_use]
pub fn all() -> Vec<Mutation> {
    [
        server::MUTATIONS,
        message::MUTATIONS,
        client::MUTATIONS,
        older::MUTATIONS,
        violation::MUTATIONS,
        error::MUTATIONS,
        exchange::MUTATIONS,
        websocket::MUTATIONS,
    ]
    .concat()
}

/// Those of rules that the target has: every case that is to notice passed without them.
#[must_use]
pub fn of_target(sound: &[Outcome]) -> Vec<Mutation> {
    let passed: BTreeSet<&str> = sound
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Passed)
        .map(|outcome| outcome.case.name)
        .collect();
    let noticed =
        |mutation: &Mutation| mutation.noticed_by.iter().all(|name| passed.contains(name));
    all().into_iter().filter(noticed).collect()
}

/// What came of a mutation.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// The mutation.
    pub mutation: Mutation,
    /// The cases that failed.
    pub failed: BTreeSet<&'static str>,
    /// How many were played.
    pub played: usize,
}

impl Noticed {
    /// What is wrong, if anything: nobody noticed, or not the ones that are named.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let Noticed { mutation, failed, .. } = self;
        let expected: BTreeSet<&str> = mutation.noticed_by.iter().copied().collect();
        let stray = |name: &&&str| {
            suite::cases()
                .iter()
                .find(|case| case.name == **name)
                .is_none_or(|case| !case.statements.contains(&mutation.statement))
        };
        if let Some(name) = expected.iter().find(stray) {
            return Some(format!("{name} does not show {}", mutation.statement));
        }
        if expected.is_empty() {
            return Some(format!("nobody is to notice; {failed:?} did"));
        }
        (*failed != expected).then(|| format!("{expected:?} should notice, {failed:?} did"))
    }
}

/// The statements whose breaking was noticed by exactly the right cases; expected behaviours are none.
#[must_use]
pub fn statements(noticed: &[Noticed]) -> BTreeSet<&'static str> {
    let right = noticed.iter().filter(|one| one.fault().is_none());
    let broken = right.map(|one| one.mutation.statement);
    broken.filter(|statement| statement.starts_with("MQTT")).collect()
}

/// Why the cases are not proven by what came of the mutations; nothing if they are.
///
/// `sound` are the outcomes without any proxy: where a case failed there, [`of_target`] leaves its mutations out, and
/// nobody would miss them. At least `least` statements have to be noticed broken.
#[must_use]
pub fn unproven(sound: &[Outcome], noticed: &[Noticed], least: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let failed = sound.iter().filter(|outcome| outcome.failed()).count();
    if failed > 0 {
        lines
            .push(format!("{failed} cases fail with no rule broken, which leaves their rules out"));
    }
    let faults = noticed.iter().filter(|one| one.fault().is_some()).count();
    if faults > 0 {
        lines.push(format!("{faults} mutations were not noticed by exactly the right cases"));
    }
    let statements = statements(noticed).len();
    if statements < least {
        lines.push(format!(
            "{statements} statements noticed broken, at least {least} are asked for"
        ));
    }
    lines
}

/// Plays what shows each broken statement, and the controls, through a proxy that breaks it.
///
/// `sound` are the outcomes without any proxy, which tell what each case uses.
#[must_use]
pub fn play(
    mutations: &[Mutation],
    target: SocketAddr,
    capabilities: &Capabilities,
    sound: &[Outcome],
    parallel: usize,
) -> Vec<Noticed> {
    play_among(mutations, &BTreeSet::new(), target, capabilities, sound, parallel)
}

/// As [`play`], and every case is a control that does not use packets of the type and direction that are broken. Of
/// CONNECT and CONNACK there is none, since all cases connect.
#[must_use]
pub fn play_widely(
    mutations: &[Mutation],
    target: SocketAddr,
    capabilities: &Capabilities,
    sound: &[Outcome],
    parallel: usize,
) -> Vec<Noticed> {
    let has_others = |mutation: &&Mutation| {
        let kinds = mutation.spoil.kinds();
        kinds != 0 && kinds & CONNECTING == 0
    };
    let wide = mutations.iter().filter(has_others).map(|mutation| mutation.name).collect();
    play_among(mutations, &wide, target, capabilities, sound, parallel)
}

fn play_among(
    mutations: &[Mutation],
    wide: &BTreeSet<&str>,
    target: SocketAddr,
    capabilities: &Capabilities,
    sound: &[Outcome],
    parallel: usize,
) -> Vec<Noticed> {
    let next = AtomicUsize::new(0);
    let noticed = Mutex::new(vec![None; mutations.len()]);
    std::thread::scope(|scope| {
        for _ in 0..parallel.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutation) = mutations.get(index) else { return };
                    let wide = wide.contains(mutation.name);
                    let cases = cases_for(mutation, wide, sound);
                    let one = play_one(mutation, &cases, target, capabilities);
                    let mut noticed = noticed.lock().unwrap_or_else(|error| error.into_inner());
                    if let Some(place) = noticed.get_mut(index) {
                        *place = Some(one);
                    }
                }
            });
        }
    });
    let noticed = noticed.into_inner().unwrap_or_else(|error| error.into_inner());
    noticed.into_iter().flatten().collect()
}

fn cases_for(mutation: &Mutation, wide: bool, sound: &[Outcome]) -> Vec<Case> {
    let chosen = sound.iter().filter(|outcome| chosen(outcome, mutation, wide));
    chosen.map(|outcome| outcome.case).collect()
}

fn play_one(
    mutation: &Mutation,
    cases: &[Case],
    target: SocketAddr,
    capabilities: &Capabilities,
) -> Noticed {
    let played = |patience_ms: u64| {
        let failed = match spoilt(mutation, target, capabilities) {
            Ok((_proxy, at, capabilities)) => {
                let capabilities = Capabilities { patience_ms, ..capabilities };
                let outcomes = run(cases, at, &capabilities, 16);
                outcomes.iter().filter(|one| one.failed()).map(|one| one.case.name).collect()
            }
            Err(_) => BTreeSet::new(),
        };
        Noticed { mutation: *mutation, failed, played: cases.len() }
    };
    let noticed = played(IMPATIENT_MS);
    // On a busy machine an answer may have come too late.
    if noticed.fault().is_none() { noticed } else { played(capabilities.patience_ms) }
}

/// A proxy that breaks the rule, and where the suite finds the target behind it: by the packets'
/// own way, or by WebSocket.
fn spoilt(
    mutation: &Mutation,
    target: SocketAddr,
    capabilities: &Capabilities,
) -> std::io::Result<(Proxy, SocketAddr, Capabilities)> {
    let capabilities = capabilities.clone();
    if !mutation.spoil.is_of_websocket() {
        let proxy = Proxy::start(target, mutation.spoil)?;
        let at = proxy.at;
        return Ok((proxy, at, capabilities));
    }
    let url = capabilities.websocket.clone().unwrap_or_default();
    let (address, path) = url.split_once('/').unwrap_or((&url, ""));
    let patience = Duration::from_millis(capabilities.patience_ms);
    let (address, _) = line::first(address.to_socket_addrs()?, patience)?;
    let proxy = Proxy::start(address, mutation.spoil)?;
    let websocket = Some(format!("{}/{path}", proxy.at));
    Ok((proxy, target, Capabilities { websocket, ..capabilities }))
}

/// Whether a case is played for a mutation.
fn chosen(outcome: &Outcome, mutation: &Mutation, wide: bool) -> bool {
    // Only where CONNACK is replaced altogether does it make a difference that every case connects.
    let replaced = matches!(mutation.spoil, Spoil::Instead(2, _));
    let touched = replaced || outcome.kinds & mutation.spoil.kinds() & !CONNECTING != 0;
    let control = (wide || CONTROLS.contains(&outcome.case.name)) && !touched;
    outcome.verdict == Verdict::Passed
        && (control || outcome.case.statements.contains(&mutation.statement))
}
