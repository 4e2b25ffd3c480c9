//! What fuzzers found worth keeping, played again without one.

use signalhouse_fuzz::{corpus, target};

#[test]
fn every_corpus_passes() {
    for (name, run) in target::ALL {
        let inputs = corpus::read(name).expect("a corpus that can be read");
        let bytes: usize = inputs.iter().map(Vec::len).sum();
        println!("corpus {name}: {} inputs, {bytes} bytes", inputs.len());
        assert!(!inputs.is_empty(), "{name} has no corpus: .ci/fuzz/run {name} 60");
        for input in &inputs {
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
        let target = name.strip_suffix(".corpus").expect("a corpus");
        let is_known =
            cfg!(not(feature = "runtime")) || target::ALL.iter().any(|(known, _)| *known == target);
        assert!(is_known, "{name} belongs to no target");
    }
    assert!(total_bytes < 2_000_000, "{total_bytes} bytes of corpora");
}
