//! What `.ci/run` gathers at its end from what its stages printed.

use std::path::{Path, PathBuf};
use std::process::Command;

const CONFORMANCE: &str = "\
noise\n3 of 3 mutations noticed by exactly the right cases; 2 statements broken\n\
suite: 7 of 8 cases passed over all profiles\n\
test the_library_conforms ... statements: 249 of 251 of MQTT 5.0 shown over TCP\n";
const COVERAGE: &str = "\
test every_corpus_passes ... corpus again: 10 inputs, 100 bytes\ncorpus broker: 5 inputs, 50 bytes\n\
corpus again: 10 inputs, 100 bytes\n\
  20 of   30 lines  wire/codes.rs\ncodec: 20 of 30 lines reached by the corpora (66.7 %)\n\
codec: 2 of 3 regions reached by the corpora (66.7 %)\n";
const SIMULATOR: &str = "crashes  9 states, exhausted\n326651 distinct states in all\n";

/// What the script prints of these stages, and whether it found everything.
fn figures(test: &str, stages: &[(&str, &str)]) -> (String, bool) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    for (stage, said) in stages {
        std::fs::write(folder.join(stage), said).expect("a file");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/figures/run");
    let output = Command::new(script).arg(&folder).output().expect("the script starts");
    (String::from_utf8(output.stdout).expect("text"), output.status.success())
}

#[test]
fn every_figure_is_gathered() {
    let stages = [
        ("conformance", CONFORMANCE),
        ("coverage", COVERAGE),
        ("simulator", SIMULATOR),
        ("lint", "corpus lint: 1 inputs, 1 bytes\n"),
    ];
    let expected = "\
statements: 249 of 251 of MQTT 5.0 shown over TCP
suite: 7 of 8 cases passed over all profiles
mutations: 3 of 3 mutations noticed by exactly the right cases; 2 statements broken
corpora: 15 inputs of 2 targets, 150 bytes
codec: 20 of 30 lines reached by the corpora (66.7 %)
model check: 326651 distinct states in all
";
    assert_eq!(figures("figures-all", &stages), (expected.to_owned(), true));
}

#[test]
fn stages_that_did_not_run_have_no_figures_and_those_that_say_nothing_fail() {
    let some = figures("figures-some", &[("simulator", SIMULATOR), ("lint", "")]);
    assert_eq!(some, ("model check: 326651 distinct states in all\n".to_owned(), true));
    assert_eq!(figures("figures-none", &[]), (String::new(), true));
    let (said, is_whole) = figures("figures-silent", &[("coverage", "without llvm-cov\n")]);
    let expected = "corpora: not printed by stage coverage\ncodec: not printed by stage coverage\n";
    assert_eq!((said.as_str(), is_whole), (expected, false));
}
