//! The plans that show canaries: small, for every group of guarantees, and clean by themselves.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use signalhouse_sim::canary;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Plan;

/// The most steps of a plan that shows a canary.
const STEPS: usize = 12;

/// The folders with plans, and where those run.
const FOLDERS: [(&str, Layer); 3] = [
    ("canaries", Layer::Core),
    ("canaries/store", Layer::Runtime),
    ("canaries/shard", Layer::Runtime),
];

fn plans(folder: &str) -> Vec<(String, Plan)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let read = |path: &Path| Plan::from_text(&std::fs::read_to_string(path).unwrap()).unwrap();
    paths.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

#[test]
fn the_plan_of_a_canary_is_small_and_clean_without_it() {
    for (folder, layer) in FOLDERS {
        let plans = plans(folder);
        assert!(!plans.is_empty(), "no plans in {folder}");
        for (path, plan) in plans {
            let name = canary::name_in(&plan).unwrap_or_else(|| panic!("{path} has no canary"));
            assert!(path.ends_with(&format!("{name}.plan")), "{path} has the canary {name}");
            assert!(plan.steps.len() <= STEPS, "{path} has {} steps", plan.steps.len());
            let run = layer.run(&canary::without(&plan), false).unwrap();
            assert_eq!(run.violation, None, "{path}");
        }
    }
}

#[test]
#[cfg(not(signalhouse_sim))]
fn an_ordinary_build_has_no_canaries() {
    let (_, plan) = plans("canaries").remove(0);
    let error = Layer::Core.run(&plan, false).unwrap_err();
    assert!(error.starts_with("this build has no canary `"), "{error}");
}
