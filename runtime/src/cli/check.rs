//! `signalhouse check`: are the settings right, and what do they mean.

use std::io::{self, Write};

use super::exit::{Exit, complain};
use crate::settings::{self, Overrides, Settings, Sources};

pub(super) fn run(sources: &Sources, overrides: &Overrides) -> Exit {
    let settings = match settings::load(sources, overrides) {
        Ok(settings) => settings,
        Err(problem) => return complain(Exit::Settings, &problem),
    };
    match write(&settings, &mut io::stdout().lock()) {
        Ok(()) => Exit::Orderly,
        Err(error) => complain(Exit::Failed, &error),
    }
}

fn write(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    let open = settings.open_addresses();
    writeln!(out, "# What is open to whom")?;
    for address in settings.addresses() {
        let whom = if open.contains(&address) {
            "everybody who can reach it, without a password"
        } else {
            "everybody on this machine, without a password"
        };
        writeln!(out, "#   {address}  MQTT over TCP  {whom}")?;
    }
    for address in settings.http.addresses() {
        let keyless = settings.http.loopback_without_key && settings::is_loopback(address.ip());
        let whom = if keyless {
            "programs on this machine, to publish, subscribe and read metrics; who has a key, all it is for"
        } else {
            "who has a key, for what it is for"
        };
        writeln!(out, "#   {address}  HTTP  {whom}")?;
    }
    writeln!(out, "#\n# The settings in force; [r] can change while the broker runs (SIGHUP)")?;
    let mut section = "";
    for key in Settings::keys() {
        if key.section != section {
            section = key.section;
            writeln!(out, "\n[{section}]")?;
        }
        let Some(value) = settings.value(key) else { continue };
        let reloads = if key.reloads { " [r]" } else { "" };
        writeln!(out, "# {}{reloads}\n{} = {value}", key.about, key.name)?;
    }
    Ok(())
}
