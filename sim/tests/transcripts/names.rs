//! Gives payloads names: the oracle knows messages by what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Gives each payload that a later command publishes anew a name of its own, as long as it was. What is
/// sent again with DUP keeps the name it had under its identifier, and a request that it had under its key.
pub(crate) fn unique_payloads(text: &str) -> String {
    let mut names = Names::default();
    let mut story = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words.first() != Some(&">") {
            let _ = writeln!(story, "{line}");
        } else if let (Some(from), Some(to), Some(&("publish" | "request"))) =
            (line.find('"'), line.rfind('"'), words.get(2))
        {
            let (key, is_again) = key_of(&words);
            let fresh = names.of(key, &line[from + 1..to.max(from + 1)], is_again);
            let _ = writeln!(story, "{}{fresh}{}", &line[..=from], &line[to.max(from + 1)..]);
        } else if let Some(will) = words.iter().find(|word| word.starts_with("will="))
            && let Some((head, payload)) = will.split_once(':')
        {
            let fresh = names.of((String::new(), String::new()), payload, false);
            let _ = writeln!(story, "{}", line.replace(will, &format!("{head}:{fresh}")));
        } else {
            let _ = writeln!(story, "{line}");
        }
    }
    story
}

/// What a publication is known by, and whether it may be one that was sent before.
fn key_of(words: &[&str]) -> ((String, String), bool) {
    if words[1..3] == ["command", "request"] {
        let is_once = words.iter().any(|word| word.starts_with("once="));
        let all: Vec<&str> =
            words.iter().filter(|word| !word.starts_with("ticket=")).copied().collect();
        return ((String::new(), all.join(" ")), is_once);
    }
    let id = words.iter().find(|word| word.starts_with("id=")).copied();
    ((words[1].to_owned(), id.unwrap_or_default().to_owned()), words.contains(&"dup"))
}

/// Payloads that were given names.
#[derive(Default)]
struct Names {
    known: BTreeMap<(String, String), String>,
    used: BTreeSet<String>,
}

impl Names {
    /// The name of a payload.
    fn of(&mut self, key: (String, String), payload: &str, is_again: bool) -> String {
        let before = self.known.get(&key).filter(|_| is_again).cloned();
        let name = before.unwrap_or_else(|| self.fresh(payload));
        self.used.insert(name.clone());
        self.known.insert(key, name.clone());
        name
    }

    /// The payload itself, or a name of its length, or a longer one if none is left.
    fn fresh(&self, payload: &str) -> String {
        if payload.is_empty() || !self.used.contains(payload) {
            return payload.to_owned();
        }
        let length = payload.len();
        let numbers = (0..100_000).map(|number| format!("{number:0length$}"));
        let as_long = |name: &String| name.len() == length && !payload.contains('\\');
        let mut plain = numbers.take_while(as_long);
        plain.find(|name| !self.used.contains(name)).unwrap_or_else(|| {
            let longer = (0..).map(|number| format!("{payload}~{number}"));
            longer.filter(|name| !self.used.contains(name)).take(1).collect()
        })
    }
}

#[test]
fn payloads_are_told_apart_and_stay_as_long() {
    let text = "> a publish t \"x\"\n> a publish t \"x\" qos=1 id=1\n> a publish t \"x\" qos=1 id=1 dup\n\
                > command request t \"long\" once=k\n> command request t \"long\" once=k ticket=2\n\
                > command request t \"long\"\n> b publish t \"\"\n";
    let unique = unique_payloads(text);
    let payloads: Vec<&str> = unique.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(payloads, ["x", "0", "0", "long", "long", "0000", ""]);
}
