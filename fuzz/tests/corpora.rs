//! What fuzzers found worth keeping, played again without one.

use std::path::{Path, PathBuf};

use signalhouse_fuzz::{corpus, target};

#[test]
fn every_corpus_passes() {
    for (name, run) in target::ALL {
        let inputs = corpus::read(name).expect("a corpus that can be read");
        let found = corpus::read_found(name).expect("a file that can be read");
        let bytes: usize = inputs.iter().chain(&found).map(Vec::len).sum();
        println!("corpus {name}: {} inputs, {bytes} bytes", inputs.len() + found.len());
        assert!(!inputs.is_empty(), "{name} has no corpus: .ci/fuzz/run {name} 60");
        for input in inputs.iter().chain(&found) {
            let outcome = std::panic::catch_unwind(|| run(input));
            assert!(outcome.is_ok(), "{name}: {input:?}");
        }
    }
}

#[test]
fn corpora_are_small_and_have_targets() {
    let folder = corpus::path("x");
    let folder = folder.parent().expect("a folder");
    let mut total_bytes = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let entry = entry.expect("a readable folder");
        total_bytes += entry.metadata().expect("a readable file").len();
        let name = entry.file_name().into_string().expect("a plain name");
        let target = name.strip_suffix(".corpus").or_else(|| name.strip_suffix(".found"));
        let target = target.expect("a corpus");
        let is_known =
            cfg!(not(feature = "runtime")) || target::ALL.iter().any(|(known, _)| *known == target);
        assert!(is_known, "{name} belongs to no target");
    }
    assert!(total_bytes < 2_500_000, "{total_bytes} bytes of corpora");
}

/// A build without them compiles nothing of the fuzzers, and one without the runtime only some.
#[test]
fn every_target_has_its_fuzzer_and_all_are_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("the manifest");
    let fuzzers = manifest.split("[[bin]]").skip(1).map(|table| table.trim());
    let fuzzers: Vec<&str> = fuzzers.collect();
    for (name, _) in target::ALL {
        let source = std::fs::read_to_string(folder.join(format!("targets/{name}.rs")));
        let expected = format!(
            "//! The fuzzer around `signalhouse_fuzz::target::{name}`.\n#![no_main]\n\n\
             libfuzzer_sys::fuzz_target!(|data: &[u8]| signalhouse_fuzz::target::{name}::run(data));\n"
        );
        assert_eq!(source.expect("its fuzzer"), expected);
        // Nor do `cargo test` and the others build one.
        let table = format!(
            "name = \"{name}\"\npath = \"targets/{name}.rs\"\n\
             test = false\ndoc = false\nbench = false\nrequired-features = [\"fuzzer\""
        );
        assert!(fuzzers.iter().any(|fuzzer| fuzzer.starts_with(&table)), "{name}");
    }
    #[cfg(feature = "runtime")]
    assert_eq!(fuzzers.len(), target::ALL.len(), "{fuzzers:?}");
}

fn dictionaries() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dictionaries")
}

/// The words of a target's dictionary, with the names of those that have one.
fn dictionary(target: &str) -> Vec<(String, Vec<u8>)> {
    let path = dictionaries().join(format!("{target}.dict"));
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| word(line).unwrap_or_else(|| panic!("{target}: {line}"))).collect()
}

/// A line as libFuzzer reads it: what is before the first quote is a name, and between that and the last one stand
/// printable letters, `\\`, `\"` and `\xAB`. Stricter in that a quote within needs its backslash, and that a word has
/// bytes.
fn word(line: &str) -> Option<(String, Vec<u8>)> {
    let (name, rest) = line.split_once('"')?;
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !(name.is_empty() || name.strip_suffix('=').is_some_and(is_name)) {
        return None;
    }
    let mut letters = rest.strip_suffix('"')?.bytes();
    let mut bytes = Vec::new();
    while let Some(letter) = letters.next() {
        bytes.push(match letter {
            b'\\' => match letters.next()? {
                escaped @ (b'\\' | b'"') => escaped,
                b'x' => {
                    let digits = [letters.next()?, letters.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                _ => return None,
            },
            b'"' => return None,
            b' '..=b'~' => letter,
            _ => return None,
        });
    }
    (!bytes.is_empty()).then(|| (name.trim_end_matches('=').to_owned(), bytes))
}

#[test]
fn every_target_has_a_dictionary_that_a_fuzzer_can_read() {
    for (name, _) in target::ALL {
        assert!(dictionary(name).len() > 3, "{name}");
    }
    for entry in std::fs::read_dir(dictionaries()).expect("the folder is there") {
        let name = entry.expect("a readable folder").file_name();
        let name = name.into_string().expect("a plain name");
        let target = name.strip_suffix(".dict").expect("a dictionary");
        let is_known =
            cfg!(not(feature = "runtime")) || target::ALL.iter().any(|(known, _)| *known == target);
        assert!(is_known, "{name} belongs to no target");
        dictionary(target);
    }
}

#[test]
fn lines_of_a_dictionary_are_read_strictly() {
    let read = |line| word(line).map(|(name, bytes)| format!("{name}|{}", bytes.escape_ascii()));
    assert_eq!(read(r#""a b""#).as_deref(), Some("|a b"));
    assert_eq!(read(r#"a_1="\x00\\\"""#).as_deref(), Some(r#"a_1|\x00\\\""#));
    let wrong = [
        "a",
        "\"a",
        "a\"",
        "\"\"",
        "a b=\"c\"",
        "\"\\xf\"",
        "\"\\xgg\"",
        "\"\\n\"",
        "\"a\"b\"",
        "\"\t\"",
        "\"ä\"",
        "\"a\" ",
        "\"\\\"",
    ];
    for line in wrong {
        assert_eq!(word(line), None, "{line}");
    }
}

#[cfg(feature = "runtime")]
#[test]
fn the_dictionary_of_settings_has_every_section_and_key() {
    let words: Vec<Vec<u8>> = dictionary("settings").into_iter().map(|(_, word)| word).collect();
    let has = |word: &str| words.iter().any(|known| known == word.as_bytes());
    let wanted = signalhouse::settings::Settings::keys()
        .flat_map(|key| [key.name.to_owned(), format!("[{}]", key.section)]);
    let missing: Vec<String> = wanted.filter(|word| !has(word)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[cfg(feature = "runtime")]
#[test]
fn the_dictionaries_of_the_journal_have_a_record_of_each_kind() {
    for target in ["record", "recovery"] {
        let mut kinds = std::collections::BTreeSet::new();
        for (name, bytes) in dictionary(target) {
            if name.starts_with("record_") {
                let record = signalhouse::journal::codec::decode(&bytes);
                assert!(record.is_ok(), "{target}: {name}: {record:?}");
                kinds.insert(bytes[0]);
            }
        }
        // The tags are numbers from 1, and no other is known.
        let next = kinds.len() as u8 + 1;
        assert_eq!(kinds, (1..next).collect(), "{target}");
        let unknown = signalhouse::journal::codec::decode(&[next, 1, 1, 1, 1, 1]);
        let unknown = unknown.expect_err("no record").to_string();
        assert!(unknown.contains("tag"), "{target} lacks records of kind {next}: {unknown}");
    }
}
