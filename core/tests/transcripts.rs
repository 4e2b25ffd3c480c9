//! Plays every transcript in `transcripts/` and compares what comes with what is written there.
//! The language is described in `transcripts/README.md`.

#[path = "transcript/edge.rs"]
mod edge;
#[path = "transcript/look.rs"]
mod look;
#[path = "transcript/observed.rs"]
mod observed;
#[path = "transcript/packets.rs"]
mod packets;
#[path = "transcript/parse.rs"]
mod parse;
#[path = "transcript/run.rs"]
mod run;
#[path = "transcript/settings.rs"]
mod settings;
#[path = "transcript/show.rs"]
mod show;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn transcripts_show_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    let mut failures = String::new();
    let mut failed = 0;
    let files = files_in(&folder);
    for (path, transcript) in &files {
        if let Err(failure) = check(transcript) {
            failed += 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let _ = writeln!(failures, "--- {name}\n{}", failure.text);
            if let (true, Some(actual)) = (update, failure.actual) {
                fs::write(path, actual).expect("transcripts can be written");
            }
        }
    }
    let total = files.len();
    println!("{} of {total} transcripts as expected", total - failed);
    assert!(failed == 0, "\n{failures}{failed} of {total} transcripts differ");
}

#[test]
fn transcripts_are_many_and_say_what_they_show() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let files = files_in(&folder);
    let mut stories: BTreeMap<&str, &Path> = BTreeMap::new();
    let mut problems = String::new();
    for (path, transcript) in &files {
        if let Err(problem) = check_header(transcript) {
            let _ = writeln!(problems, "{}: {problem}", path.display());
        }
        let story = transcript.split_once("\n\n").map_or(transcript.as_str(), |(_, story)| story);
        if let Some(other) = stories.insert(story, path) {
            let _ = writeln!(problems, "{} repeats {}", path.display(), other.display());
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
    let delayed = files.iter().filter(|(_, text)| text.contains("\nmanual durable\n")).count();
    assert!(files.len() >= 80, "only {} transcripts", files.len());
    assert!(delayed >= 20, "only {delayed} transcripts delay Durable");
}

#[test]
fn a_transcript_played_again_gives_the_same_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    for (path, transcript) in files_in(&folder) {
        let play = || run::play(&transcript).map(|played| played.observed);
        assert_eq!(play(), play(), "{}", path.display());
    }
}

#[test]
fn every_prefix_of_every_journal_recovers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut failures = String::new();
    for (path, transcript) in files_in(&folder) {
        // A transcript that cannot be played is the other test's business.
        let checked = run::play(&transcript).map_or(Ok(()), |played| played.check_every_prefix());
        if let Err(failure) = checked {
            let _ = writeln!(failures, "{}: {failure}", path.display());
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

struct Failure {
    text: String,
    /// What should stand in the file, if it could be played at all.
    actual: Option<String>,
}

/// Plays one transcript and compares.
fn check(transcript: &str) -> Result<(), Failure> {
    match run::play(transcript) {
        Err(text) => Err(Failure { text: format!("{text}\n"), actual: None }),
        Ok(played) => {
            let actual = played.text;
            let (expected, came) = (by_connection(transcript), by_connection(&actual));
            if expected == came {
                return Ok(());
            }
            Err(Failure { text: difference(&expected, &came), actual: Some(actual) })
        }
    }
}

/// The transcript with the outputs of each command sorted by connection. How the outputs of one
/// command to different connections mix means nothing; the order on each connection does.
fn by_connection(transcript: &str) -> String {
    let mut sorted: Vec<&str> = Vec::new();
    let mut outputs: Vec<&str> = Vec::new();
    for line in transcript.lines() {
        if let parse::Line::Output = parse::Line::of(line) {
            outputs.push(line);
            continue;
        }
        outputs.sort_by_key(|output| subject(output));
        sorted.append(&mut outputs);
        sorted.push(line);
    }
    outputs.sort_by_key(|output| subject(output));
    sorted.append(&mut outputs);
    sorted.iter().flat_map(|line| [*line, "\n"]).collect()
}

/// What an output line is about: a connection, `@` for records, `!` for notices.
fn subject(output: &str) -> &str {
    if output.starts_with('@') { "@" } else { output.split(' ').next().unwrap_or_default() }
}

/// A transcript opens with what it shows and the statements it is about.
fn check_header(transcript: &str) -> Result<(), String> {
    let shows = transcript.lines().next().and_then(|line| line.strip_prefix("# "));
    if shows.is_none_or(|text| text.len() < 10) {
        return Err("the first line does not say what the transcript shows".into());
    }
    let statements = transcript
        .lines()
        .take_while(|line| line.starts_with('#'))
        .find_map(|line| line.strip_prefix("# Statements: "))
        .ok_or("no line `# Statements: …` in the opening comment")?;
    if statements.starts_with("none (policy: ") && statements.ends_with(')') {
        return Ok(());
    }
    match statements.split(", ").find(|id| !is_statement_id(id)) {
        Some(id) => Err(format!("`{id}` is not of the form MQTT-1.2.3-4")),
        None => Ok(()),
    }
}

fn is_statement_id(id: &str) -> bool {
    let Some((section, statement)) = id.strip_prefix("MQTT-").and_then(|id| id.split_once('-'))
    else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    section.split('.').count() == 3 && section.split('.').all(is_number) && is_number(statement)
}

/// The lines of both texts, what is only in one marked with `-` (expected) and `+` (came).
fn difference(expected: &str, actual: &str) -> String {
    let expected: Vec<&str> = expected.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    // Longest common subsequence from each pair of places to the ends.
    let mut common = vec![vec![0usize; actual.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..actual.len()).rev() {
            common[i][j] = if expected[i] == actual[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    while i < expected.len() || j < actual.len() {
        if i < expected.len() && j < actual.len() && expected[i] == actual[j] {
            let _ = writeln!(text, "  {}", expected[i]);
            (i, j) = (i + 1, j + 1);
        } else if i < expected.len() && (j == actual.len() || common[i + 1][j] >= common[i][j + 1])
        {
            let _ = writeln!(text, "- {}", expected[i]);
            i += 1;
        } else {
            let _ = writeln!(text, "+ {}", actual[j]);
            j += 1;
        }
    }
    text
}

fn files_in(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("the folder of transcripts is there");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a transcript is UTF-8");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}
