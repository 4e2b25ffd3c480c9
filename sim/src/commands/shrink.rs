//! `sim shrink`: a failing plan made small, and written to a file.

use std::path::{Path, PathBuf};

use clap::Args;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Plan;
use signalhouse_sim::shrink as shrinking;

use super::source::Source;
use super::watch::{self, Watch};
use super::{Ended, Verdict};

/// What `shrink` is told.
#[derive(Debug, Args)]
pub(super) struct ShrinkArguments {
    #[command(flatten)]
    source: Source,
    /// Where the small plan goes [default: named after guarantee and seed]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many plans are tried at most
    #[arg(long, default_value_t = 5_000)]
    tries: usize,
}

impl ShrinkArguments {
    pub(super) fn has_canary(&self) -> bool {
        self.source.has_canary()
    }
}

/// Shrinks what fails, and says where it went: the smallest plan found until then, if Ctrl-C ended it.
pub(super) fn shrink(arguments: &ShrinkArguments, layer: Layer) -> Ended {
    let plan = arguments.source.plan()?;
    arguments.source.tell_revision(layer);
    let watch = Watch::begin();
    let Some(violation) = layer.run(&plan, false)?.violation else {
        return Err("this plan violates nothing".to_owned());
    };
    let guarantee = violation.guarantee;
    let path = arguments.out.clone().unwrap_or_else(|| {
        PathBuf::from(format!("{}-{:x}.plan", guarantee.to_lowercase(), plan.seed))
    });
    // What takes minutes should not end with a file that cannot be written.
    write(&path, &plan.to_text())?;
    let (mut runs, mut steps) = (0, plan.steps.len());
    let small = shrinking::shrink(&plan, arguments.tries, &mut |plan: &Plan| {
        if watch::is_interrupted() {
            return None;
        }
        runs += 1;
        let outcome = layer.run(plan, false).ok();
        let violation = outcome.and_then(|outcome| outcome.violation);
        let fails = violation.is_some_and(|violation| violation.guarantee == guarantee);
        if fails {
            steps = plan.steps.len();
        }
        watch.show(|| format!("{guarantee}: {steps} steps left, {runs} plans tried"));
        Some(fails)
    });
    let violation = layer.run(&small, false)?.violation;
    let what = violation.map(|violation| violation.what).unwrap_or_default();
    let text = format!("# {guarantee}: {}\n{}", what.replace('\n', " "), small.to_text());
    watch.end();
    print!("{text}");
    write(&path, &text)?;
    println!(
        "# {} steps of {}, {} clients of {}, {runs} plans tried: {}",
        small.steps.len(),
        plan.steps.len(),
        small.clients.len(),
        plan.clients.len(),
        path.display()
    );
    Ok(Verdict::Violated)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
