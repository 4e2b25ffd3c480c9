//! `sim repro`, `sim replay` and `sim trace`: one run, told in full.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use signalhouse_sim::core_layer::Outcome;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Plan;
use signalhouse_sim::trace::concern::Concern;
use signalhouse_sim::trace::html;

use super::source::Source;
use super::{Ended, Verdict};

/// What `trace` is told.
#[derive(Debug, Args)]
pub(super) struct TraceArguments {
    #[command(flatten)]
    source: Source,
    /// Only what concerns this client: its identifier, or its number in the plan
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Only lines with this text in them: a token, a connection `n12 `, a client identifier
    #[arg(long, value_name = "TEXT")]
    with: Vec<String>,
    /// Write one page for a browser instead: lanes for the broker and its clients, with filters
    #[arg(long, value_name = "FILE", conflicts_with = "with")]
    html: Option<PathBuf>,
}

impl TraceArguments {
    pub(super) fn has_canary(&self) -> bool {
        self.source.has_canary()
    }
}

/// Runs a plan and prints its trace, its hash, and what is wrong.
pub(super) fn repeat(source: &Source, layer: Layer) -> Ended {
    let plan = source.plan()?;
    source.tell_revision(layer);
    let outcome = layer.run(&plan, true)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    // A reader that has seen enough, like `head`, is no error.
    let _ = outcome.lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    let _ = write_end(&mut out, &outcome);
    Ok(verdict(&outcome))
}

/// Prints the trace of a seed, or the lines of it that are asked for.
pub(super) fn trace(arguments: &TraceArguments, layer: Layer) -> Ended {
    let plan = arguments.source.plan()?;
    arguments.source.tell_revision(layer);
    let concern = arguments.client.as_deref().map(|name| Concern::new(&plan, name)).transpose()?;
    if let Some(path) = &arguments.html {
        return write_page(&plan, path, layer, concern.as_ref());
    }
    let outcome = layer.run(&plan, true)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let wanted = |line: &&str| {
        arguments.with.is_empty() || arguments.with.iter().any(|text| line.contains(text.as_str()))
    };
    let lines = match &concern {
        None => outcome.lines.iter().map(String::as_str).collect(),
        Some(concern) => concern.lines(&outcome),
    };
    let _ = lines.into_iter().filter(wanted).try_for_each(|line| writeln!(out, "{line}"));
    let _ = write_end(&mut out, &outcome);
    Ok(verdict(&outcome))
}

fn write_page(plan: &Plan, path: &Path, layer: Layer, concern: Option<&Concern<'_>>) -> Ended {
    let outcome = layer.run(plan, true)?;
    std::fs::write(path, html::page(plan, &outcome, concern))
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    let _ = write_end(&mut std::io::stdout(), &outcome);
    println!("the page is {}", path.display());
    Ok(verdict(&outcome))
}

fn verdict(outcome: &Outcome) -> Verdict {
    if outcome.violation.is_some() { Verdict::Violated } else { Verdict::Clean }
}

fn write_end(out: &mut impl std::io::Write, outcome: &Outcome) -> std::io::Result<()> {
    let Outcome { trace_hash, inputs, packets, simulated_ms, .. } = outcome;
    writeln!(
        out,
        "trace {trace_hash:#018x}: {inputs} inputs, {packets} packets sent, {} simulated s",
        simulated_ms / 1000
    )?;
    match &outcome.violation {
        None => writeln!(out, "no violation"),
        Some(violation) => {
            writeln!(out, "{} violated: {}", violation.guarantee, violation.what)?;
            for event in &violation.events {
                let mark = format!(" #{event} ");
                if let Some(line) = outcome.lines.iter().find(|line| line.contains(&mark)) {
                    writeln!(out, "  {line}")?;
                }
            }
            Ok(())
        }
    }
}
