//! The table of requirements and what it names fit together, in every direction.
//!
//! Cases of the suite and transcripts name the statements that they show; `requirements.toml` lists
//! for each statement what shows it. `UPDATE_REQUIREMENTS=1` with this test rewrites those lists
//! from what the cases and transcripts say; entries with `cargo:` are written by hand. The rules
//! are functions of data, so that the tests at the end can show each of them failing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use signalhouse_spec::requirements::{Requirements, TEXT};
use signalhouse_spec::suite;

#[test]
fn the_tests_that_the_document_of_bad_input_names_are_there() {
    let text = std::fs::read_to_string(top().join("spec/bad-input.md")).expect("the document");
    let named: Vec<&str> = text.split('`').filter(|piece| piece.contains(".rs::")).collect();
    assert!(named.len() > 20, "{named:?}");
    let tests = cargo_tests();
    let missing: Vec<&str> = named.into_iter().filter(|name| !tests.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn requirements_and_tests_name_each_other() {
    if std::env::var_os("UPDATE_REQUIREMENTS").is_some() {
        let text = rewritten(TEXT, &named());
        std::fs::write(top().join("spec/requirements.toml"), text).expect("it can be written");
        return;
    }
    let requirements: Requirements = toml::from_str(TEXT).expect("requirements.toml is valid");
    let faults = faults(&requirements, &named(), &cargo_tests(), &tags());
    assert!(
        faults.is_empty(),
        "{} faults (UPDATE_REQUIREMENTS=1 mends lists that are behind):\n  {}",
        faults.len(),
        faults.join("\n  ")
    );
}

#[test]
fn all_statements_are_there() {
    let requirements = Requirements::load();
    assert_eq!(requirements.statement.len(), 251);
    let ids: BTreeSet<&str> = requirements.all().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), requirements.all().len(), "an identifier is there twice");
}

#[test]
fn names_of_cases_are_unique() {
    let cases = suite::cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
}

/// What shows something (`suite:…`, `transcript:…`), with the identifiers that it names.
type Named = BTreeMap<String, Vec<String>>;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn named() -> Named {
    let mut named = Named::new();
    for case in suite::cases() {
        let ids = case.statements.iter().map(|id| (*id).to_owned()).collect();
        named.insert(format!("suite:{}", case.name), ids);
    }
    let folder = top().join("core/tests/transcripts");
    for entry in std::fs::read_dir(folder).expect("there are transcripts").flatten() {
        let path = entry.path();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = std::fs::read_to_string(&path).expect("a transcript is text");
            named.insert(format!("transcript:{name}"), statements_of(&text));
        }
    }
    assert!(named.len() > 600, "only {} cases and transcripts found", named.len());
    named
}

/// What a transcript's lines `# Statements:` and `# Expected:` name. Only `none (…)` in place of statements is left
/// out: what is mistyped, the head of a line included, stays, and is then found to be unknown.
fn statements_of(text: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('#')) {
        let words = match (line.strip_prefix("# Statements: "), line.strip_prefix("# Expected: ")) {
            (Some(none), _) if none.starts_with("none (") && none.ends_with(')') => continue,
            (Some(words), _) | (_, Some(words)) => words,
            (None, None) => {
                let head =
                    line.trim_start_matches(['#', ' ']).split(' ').next().unwrap_or_default();
                let meant = head.to_lowercase();
                if meant.starts_with("statement")
                    || (meant.starts_with("expect") && head.ends_with(':'))
                {
                    ids.push(line.to_owned());
                }
                continue;
            }
        };
        ids.extend(words.split(',').map(|word| word.trim().to_owned()));
    }
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn what_a_transcript_names_is_read_whole() {
    let good = "# A story.\n# Statements: MQTT-1.1.1-1, MQTT-1.1.1-2\n# Expected: kindness\n# Expected: b\n";
    assert_eq!(statements_of(good), ["MQTT-1.1.1-1", "MQTT-1.1.1-2", "b", "kindness"]);
    assert_eq!(statements_of("# Statements: none (policy: a, b)\n"), [] as [&str; 0]);
    let two = "# Statements: MQTT-1.1.1-1\n\n> time 1\n# Statements: MQTT-2.2.2-2\n";
    assert_eq!(statements_of(two), ["MQTT-1.1.1-1", "MQTT-2.2.2-2"]);
    let unknown = |line: &str| {
        let (requirements, mut named, tests) = small();
        named.insert("transcript:t".to_owned(), statements_of(line));
        faults(&requirements, &named, &tests, &[]).join("\n").contains("transcript:t names ")
    };
    for mistyped in [
        "# Statements: MQQT-1.1.1-1",
        "# Statements: MQTT-1.1.1-1 MQTT311-1.1.1-1",
        "# Statements: MQTT-1.1.1-1,",
        "# Statements: none",
        "# Statements: none (policy",
        "# Statement: MQTT-1.1.1-1",
        "#Statements: MQTT-1.1.1-1",
        "# statements: MQTT-1.1.1-1",
        "# Expected: kindnes",
        "# Expects: kindness",
    ] {
        assert!(unknown(mistyped), "{mistyped}");
    }
    assert!(!unknown("# Statements: MQTT-1.1.1-1, MQTT311-1.1.1-1"));
}

/// Every test function as `folder/…/file.rs::name`.
fn cargo_tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for (path, text) in sources() {
        tests.extend(tests_of(&text).into_iter().map(|name| format!("{path}::{name}")));
    }
    tests
}

/// The functions of a source that `cargo test` plays: with an attribute of a test, and none that leaves them out.
fn tests_of(source: &str) -> Vec<String> {
    let (mut tests, mut is_test, mut is_ignored) = (Vec::new(), false, false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            is_ignored |= line.starts_with("#[ignore");
        } else if !line.is_empty() && !line.starts_with("//") {
            if let (true, false, Some(rest)) = (is_test, is_ignored, line.split("fn ").nth(1)) {
                tests.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
            (is_test, is_ignored) = (false, false);
        }
    }
    tests
}

#[test]
fn only_what_is_played_is_a_test() {
    let source = "#[test]\nfn a() {}\n#[tokio::test(flavor = \"x\")]\n/// Why.\nasync fn b() {}\n\
                  #[cfg(test)]\nfn helper() {}\n#[cfg(test)]\nmod tests {\n    fn other() {}\n    #[test]\n\
                  #[should_panic(expected = \"c\")]\n    fn c() {}\n#[test]\n#[ignore = \"slow\"]\nfn d() {}\n";
    assert_eq!(tests_of(source), ["a", "b", "c"]);
}

/// Every identifier that a line of code names in brackets, with where it does.
fn tags() -> Vec<(String, String)> {
    let mut tags = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            tags.extend(tags_of(line).into_iter().map(|id| (id, place.clone())));
        }
    }
    assert!(tags.len() > 300, "only {} tags found", tags.len());
    tags
}

/// What follows an opening bracket at once. Written so that this file has none that is not meant.
const TAG: &str = concat!("[", "MQTT");

/// The identifiers in brackets, of 5.0 and of 3.1.1. What is mistyped stays as it is, and is then found to be unknown.
fn tags_of(line: &str) -> Vec<String> {
    let tag = |piece: &str| match piece.split_once(']') {
        Some((id, _)) => format!("MQTT{id}"),
        None => format!("MQTT{piece} without an end"),
    };
    line.split(TAG).skip(1).map(tag).collect()
}

#[test]
fn a_tag_is_read_whole_or_is_a_fault() {
    let line = |text: &str| text.replace('<', TAG);
    let known = tags_of(&line("a() // <-1.1.1-1], <311-1.1.1-1]: why"));
    assert_eq!(known, ["MQTT-1.1.1-1", "MQTT311-1.1.1-1"]);
    assert_eq!(tags_of("MQTT-9.9.9-9, [1], [a]"), [] as [&str; 0]);
    let (requirements, named, tests) = small();
    let found = |text: &str| {
        let tags: Vec<_> =
            tags_of(&line(text)).into_iter().map(|id| (id, "a.rs:1".to_owned())).collect();
        faults(&requirements, &named, &tests, &tags).len()
    };
    assert_eq!(found("<-1.1.1-1] and <311-1.1.1-1]"), 0);
    for mistyped in [
        "<-9.9.9-9]",
        "<311-9.9.9-9]",
        "<-x.1.1-1]",
        "<-1.1.1-1",
        "<-1.1.1-1, 2]",
        "<1.1.1-1]",
        "<]",
        "<5-1.1.1-1]",
    ] {
        assert_eq!(found(mistyped), 1, "{mistyped}");
    }
}

/// Every Rust file with its path from the top.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec![top()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder can be read").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let short = path.strip_prefix(top()).unwrap_or(&path).display().to_string();
                found.push((short, std::fs::read_to_string(&path).expect("source is text")));
            }
        }
    }
    found
}

fn faults(
    requirements: &Requirements,
    named: &Named,
    cargo_tests: &BTreeSet<String>,
    tags: &[(String, String)],
) -> Vec<String> {
    let mut faults = Vec::new();
    let all: BTreeMap<&str, &[String]> = requirements.all().into_iter().collect();
    for (shows, ids) in named {
        for id in ids {
            match all.get(id.as_str()) {
                None => faults.push(format!("{shows} names {id}, which does not exist")),
                // A new transcript need not be listed to be right; a case must be to be counted.
                Some(shown_by) if shows.starts_with("suite:") && !shown_by.contains(shows) => {
                    faults.push(format!("{id} does not list {shows}, which names it"));
                }
                Some(_) => {}
            }
        }
    }
    for (id, shown_by) in &all {
        for shows in *shown_by {
            let known = match shows.strip_prefix("cargo:") {
                Some(test) => cargo_tests.contains(test),
                None => named.get(shows).is_some_and(|ids| ids.iter().any(|named| named == id)),
            };
            if !known {
                faults.push(format!("{id} lists {shows}, which does not exist or not name it"));
            }
        }
    }
    faults.extend(not_shown(requirements));
    for (id, place) in tags {
        let is_older = requirements.older.iter().any(|older| older.id == *id);
        if !is_older && !requirements.statement.iter().any(|statement| statement.id == *id) {
            faults.push(format!("{place} implements {id}, which does not exist"));
        }
    }
    faults
}

/// What goes without a test says why; a statement may only if none but a client can obey it.
fn not_shown(requirements: &Requirements) -> Vec<String> {
    let mut faults = Vec::new();
    for one in &requirements.statement {
        if one.shown_by.is_empty() == one.not_shown.is_empty() {
            faults.push(format!("{} is either shown, or says why not", one.id));
        }
        if !one.not_shown.is_empty() && one.check != "client" {
            faults.push(format!("{} can be shown: not only a client can obey it", one.id));
        }
    }
    for one in &requirements.older {
        if one.shown_by.is_empty() == one.not_shown.is_empty() {
            faults.push(format!("{} is either shown, or says why not", one.id));
        }
    }
    for one in &requirements.expected {
        if one.shown_by.is_empty() == one.not_shown.is_empty() {
            faults.push(format!("{} is either shown, or says why not", one.name));
        }
    }
    faults
}

/// The text with every `shown_by` made from what names the statement, `cargo:` entries kept.
fn rewritten(text: &str, named: &Named) -> String {
    let mut shows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (test, ids) in named {
        for id in ids {
            shows.entry(id).or_default().push(test);
        }
    }
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let (mut out, mut id, mut list) = (String::new(), String::new(), None::<Vec<String>>);
    for line in text.lines() {
        if line.starts_with("id = ") || line.starts_with("name = ") {
            id = quoted(line);
        }
        if line.starts_with("shown_by = ") {
            list = Some(Vec::new());
        }
        let Some(kept) = &mut list else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let by_hand = line.split('"').filter(|word| word.starts_with("cargo:"));
        kept.extend(by_hand.map(str::to_owned));
        if line.ends_with(']') {
            let mut names: Vec<&str> = shows.get(id.as_str()).cloned().unwrap_or_default();
            names.extend(kept.iter().map(String::as_str));
            out.push_str(&wrapped(&names));
            list = None;
        }
    }
    out
}

fn wrapped(names: &[&str]) -> String {
    let items: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let short = format!("shown_by = [{}]\n", items.join(", "));
    if short.len() <= 100 {
        return short;
    }
    let mut text = String::from("shown_by = [\n");
    for item in items {
        text.push_str(&format!("  {item},\n"));
    }
    text + "]\n"
}

fn small() -> (Requirements, Named, BTreeSet<String>) {
    let text = "
        [[statement]]
        id = \"MQTT-1.1.1-1\"
        binds = \"server\"
        packet = [\"any\"]
        level = \"MUST\"
        check = \"wire\"
        paraphrase = \"be good\"
        shown_by = [\"suite:a\", \"cargo:x.rs::b\"]
        [[older]]
        id = \"MQTT311-1.1.1-1\"
        paraphrase = \"be good already\"
        shown_by = [\"suite:a\"]
        [[expected]]
        name = \"kindness\"
        section = \"1\"
        packet = [\"any\"]
        paraphrase = \"be kind\"
        shown_by = []
        not_shown = \"hard to measure\"
    ";
    let requirements = toml::from_str(text).expect("valid");
    let ids = vec!["MQTT-1.1.1-1".to_owned(), "MQTT311-1.1.1-1".to_owned()];
    let named = Named::from([("suite:a".to_owned(), ids)]);
    (requirements, named, BTreeSet::from(["x.rs::b".to_owned()]))
}

#[test]
fn good_requirements_pass() {
    let (requirements, named, tests) = small();
    let tags = [("MQTT-1.1.1-1".to_owned(), "a.rs:1".to_owned())];
    assert_eq!(faults(&requirements, &named, &tests, &tags), [] as [String; 0]);
}

#[test]
fn each_fault_is_found() {
    let found = |change: &dyn Fn(&mut Requirements, &mut Named), tags: &[(String, String)]| {
        let (mut requirements, mut named, tests) = small();
        change(&mut requirements, &mut named);
        faults(&requirements, &named, &tests, tags).join("\n")
    };
    let none = [];
    let lost = |r: &mut Requirements, _: &mut Named| {
        r.statement[0].check = "client".to_owned();
        r.statement[0].shown_by.clear();
    };
    assert!(found(&lost, &none).contains("MQTT-1.1.1-1 is either shown, or says why not"));
    let excused = |r: &mut Requirements, _: &mut Named| {
        r.statement[0].check = "wire".to_owned();
        r.statement[0].shown_by.clear();
        r.statement[0].not_shown = "so".to_owned();
    };
    assert!(found(&excused, &none).contains("MQTT-1.1.1-1 can be shown"));
    assert!(found(&|r, _| r.older[0].shown_by.clear(), &none).contains("says why not"));
    let both = |r: &mut Requirements, _: &mut Named| r.older[0].not_shown = "so".to_owned();
    assert!(found(&both, &none).contains("MQTT311-1.1.1-1 is either shown, or says why not"));
    assert!(found(&|r, _| r.expected[0].not_shown.clear(), &none).contains("says why not"));
    let unknown = |_: &mut Requirements, named: &mut Named| {
        named.insert("suite:b".to_owned(), vec!["MQTT-9.9.9-9".to_owned()]);
    };
    assert!(found(&unknown, &none).contains("names MQTT-9.9.9-9, which does not exist"));
    let unlisted = |_: &mut Requirements, named: &mut Named| {
        named.insert("suite:b".to_owned(), vec!["MQTT-1.1.1-1".to_owned()]);
    };
    assert!(found(&unlisted, &none).contains("does not list suite:b"));
    let gone = |r: &mut Requirements, _: &mut Named| {
        r.statement[0].shown_by.push("cargo:x.rs::c".to_owned());
    };
    assert!(found(&gone, &none).contains("lists cargo:x.rs::c, which does not exist"));
    let gone = |r: &mut Requirements, _: &mut Named| {
        r.statement[0].shown_by.push("transcript:c".to_owned());
    };
    assert!(found(&gone, &none).contains("lists transcript:c"));
    let tags = [("MQTT-9.9.9-9".to_owned(), "a.rs:1".to_owned())];
    assert!(found(&|_, _| {}, &tags).contains("a.rs:1 implements MQTT-9.9.9-9"));
}

#[test]
fn lists_are_rewritten() {
    let (_, named, _) = small();
    let text = "id = \"MQTT-1.1.1-1\"\nshown_by = [\"gone\", \"cargo:x.rs::b\"]\nend\n";
    let expected = "id = \"MQTT-1.1.1-1\"\nshown_by = [\"suite:a\", \"cargo:x.rs::b\"]\nend\n";
    assert_eq!(rewritten(text, &named), expected);
}
