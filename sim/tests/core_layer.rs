//! Runs of the core layer: repeatable, and clean where nothing goes wrong.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use signalhouse_sim::core_layer;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::{Plan, Profile, draw};

#[test]
fn a_plan_run_again_gives_the_same_trace() {
    for profile in Profile::EACH {
        for seed in 1000..1003 {
            let plan = draw(seed, profile);
            let first = core_layer::run(&plan, true).unwrap();
            let second = core_layer::run(&plan, false).unwrap();
            assert_eq!(first.trace_hash, second.trace_hash, "{profile:?} {seed}");
            assert_eq!(first.inputs, second.inputs);
            // The plan's text stands for the plan.
            let again = Plan::from_text(&plan.to_text()).unwrap();
            let third = core_layer::run(&again, true).unwrap();
            assert_eq!(first.lines, third.lines);
        }
    }
}

#[test]
fn another_process_gives_the_same_trace() {
    let double = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["double", "7", "0x8", "--profile", "each"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&double.stdout);
    assert!(double.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("same ")).count(), 18);
}

#[test]
fn plans_have_hundreds_of_inputs() {
    let mut inputs: Vec<u64> = (2000..2031)
        .map(|seed| core_layer::run(&draw(seed, Profile::Calm), false).unwrap().inputs)
        .collect();
    inputs.sort_unstable();
    assert!(inputs[15] >= 300, "{inputs:?}");
}

#[test]
fn an_unknown_setting_is_an_error() {
    let mut plan = draw(1, Profile::Calm);
    plan.settings.push(("colour".to_owned(), 1));
    assert_eq!(core_layer::run(&plan, false).unwrap_err(), "the setting `colour` is not known");
}

#[test]
fn every_defect_once_found_stays_mended() {
    for (folder, layer) in [("corpus", Layer::Core), ("corpus/runtime", Layer::Runtime)] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut plans: Vec<_> = entries.filter(|path| path.is_file()).collect();
        plans.sort();
        assert!(!plans.is_empty());
        for path in plans {
            let plan = Plan::from_text(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let run = layer.run(&plan, false).unwrap();
            assert_eq!(run.violation, None, "{}", path.display());
        }
    }
}
