//! When two states are the same: a hash of everything in them, but for counters.
//!
//! It reads the `Debug` text of a state, so that a new field counts without being named here; what
//! does not count is named. Numbers that only rise are replaced by what matters of them: ranks,
//! distances from the present, positions beyond the durable one.

use std::fmt::Write as _;

use crate::chance::hash64;

/// Fields that make no difference to what can still happen: counts, and configuration.
const LEFT_OUT: [&str; 15] = [
    "config",
    "permissions",
    "rng",
    "now",
    "counters",
    "sys",
    "scratch",
    "crowd",
    "packing",
    "spares",
    "room_bytes",
    "heard_at",
    "timer_at",
    "peer",
    "moved_at",
];

/// Names of numbers of which only the order matters, with the counter that the next one comes from. Packet
/// identifiers and the order of exchanges are not among them: each session has its own.
const RANKED: [(&str, &str); 5] = [
    ("MessageId", "next_message"),
    ("QueueSeq", "next_seq"),
    ("SessionId", "next_session"),
    ("GroupId", "next_group"),
    ("generation", "generation"),
];

/// What a state's text is relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// The present moment, in milliseconds.
    pub(super) now_ms: u64,
    /// The durable position.
    pub(super) durable: u64,
}

/// The digest of a state that is shown by `text`.
pub(super) fn digest(text: &str, present: Present) -> u64 {
    let canonical = canonical(text, present);
    hash64(canonical.as_bytes())
}

/// A number in the canonical text that waits for its rank.
struct Ranked {
    kind: usize,
    value: u64,
    /// Where it goes.
    at: usize,
}

fn canonical(text: &str, present: Present) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut ranked: Vec<Ranked> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '"') {
        kept.push_str(&rest[..start]);
        rest = &rest[start..];
        if rest.starts_with('"') {
            let end = end_of_string(rest);
            kept.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        rest = behind;
        if behind.starts_with(": ") && LEFT_OUT.contains(&word) {
            rest = &behind[end_of_value(behind)..];
            continue;
        }
        kept.push_str(word);
        let opening = if behind.starts_with('(') { "(" } else { ": " };
        let Some(number) = behind.strip_prefix(opening) else { continue };
        let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let Ok(value) = number[..digits].parse::<u64>() else { continue };
        if let Some(kind) = RANKED.iter().position(|(name, next)| *name == word || *next == word) {
            ranked.push(Ranked { kind, value, at: kept.len() });
        } else if word == "LogPosition" {
            let _ = write!(kept, "+{}", value.saturating_sub(present.durable));
        } else if word == "Time" {
            let _ = write!(kept, "{}", i128::from(value) - i128::from(present.now_ms));
        } else {
            continue;
        }
        rest = &number[digits..];
    }
    kept.push_str(rest);
    with_ranks(&kept, &ranked)
}

fn with_ranks(kept: &str, ranked: &[Ranked]) -> String {
    let mut values: Vec<(usize, u64)> = ranked.iter().map(|one| (one.kind, one.value)).collect();
    values.sort_unstable();
    values.dedup();
    let mut canonical = String::with_capacity(kept.len() + 4 * ranked.len());
    let mut from = 0;
    for one in ranked {
        canonical.push_str(&kept[from..one.at]);
        from = one.at;
        let first = values.partition_point(|value| *value < (one.kind, 0));
        let place = values.partition_point(|value| *value < (one.kind, one.value));
        let _ = write!(canonical, "#{}", place - first);
    }
    canonical.push_str(&kept[from..]);
    canonical
}

/// Where the string ends that `text` begins with, its last quote included.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the value ends that `text` begins with: before the comma or bracket that is not its own.
fn end_of_value(text: &str) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                at += end_of_string(&text[at..]);
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return at,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{Present, canonical};

    const PRESENT: Present = Present { now_ms: 100, durable: 7 };

    #[test]
    fn numbers_that_only_rise_become_what_matters_of_them() {
        let text = "A { first: SessionId(9), other: SessionId(12), again: SessionId(9), \
                    at: Time(150), past: LogPosition(3), next: LogPosition(9), n: 5 }";
        assert_eq!(
            canonical(text, PRESENT),
            "A { first: SessionId#0), other: SessionId#1), again: SessionId#0), \
             at: Time50), past: LogPosition+0), next: LogPosition+2), n: 5 }"
        );
    }

    #[test]
    fn what_makes_no_difference_is_left_out() {
        let text = r#"A { config: C { x: [1, 2], y: "a}\",b" }, kept: 1, counters: 8 }"#;
        assert_eq!(canonical(text, PRESENT), "A { , kept: 1, }");
    }

    #[test]
    fn strings_are_not_looked_into() {
        let text = r#"A { topic: "now: 5, Time(3)" }"#;
        assert_eq!(canonical(text, PRESENT), text);
    }
}
