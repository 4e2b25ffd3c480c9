//! `signalhouse check`: are the settings right, and what do they mean.

use std::io::{self, Write};

use super::exit::{Exit, complain};
use crate::access::files::{self, Loaded};
use crate::settings::{self, Overrides, Settings, Sources};
use crate::transport::Kind;

pub(super) fn run(sources: &Sources, overrides: &Overrides) -> Exit {
    let settings = match settings::load(sources, overrides) {
        Ok(settings) => settings,
        Err(problem) => return complain(Exit::Settings, &problem),
    };
    let loaded = match files::load(&settings) {
        Ok(loaded) => loaded,
        Err(fault) => return complain(Exit::Settings, &fault),
    };
    match write(&settings, &loaded, &mut io::stdout().lock()) {
        Ok(()) => Exit::Orderly,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Unread,
        Err(error) => complain(Exit::Failed, &error),
    }
}

/// What a client has to show at a listener.
fn who_comes_in(settings: &Settings, kind: Kind) -> String {
    let mut ways = Vec::new();
    if kind.is_secure() {
        match settings.tls.client_certificates.as_str() {
            "required" => return "with a certificate".to_owned(),
            // Over WebSocket it is not asked for.
            "optional" if !kind.is_websocket() => ways.push("with a certificate"),
            _ => {}
        }
    }
    if !settings.security.password_file.is_empty() {
        ways.push("with a password");
    }
    if settings.jwt.is_used() || !settings.http.token_secret_file.is_empty() {
        ways.push("with a token");
    }
    if settings.security.allow_anonymous || !settings.authenticates() {
        ways.push("without a password");
    }
    if ways.is_empty() {
        "but nobody has a way to say who it is".to_owned()
    } else {
        ways.join(" or ")
    }
}

fn write(settings: &Settings, loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    let open = settings.open_addresses();
    writeln!(out, "# What is open to whom")?;
    for (kind, address) in settings.doors() {
        let place = if open.contains(&address) { "who can reach it" } else { "on this machine" };
        let whom = who_comes_in(settings, kind);
        writeln!(out, "#   {address}  {}  everybody {place}, {whom}", kind.name())?;
    }
    for address in settings.http.addresses() {
        let anonymous = settings.security.allow_anonymous || !settings.authenticates();
        let here = settings::is_loopback(address.ip());
        let keyless = settings.http.loopback_without_key && anonymous && here;
        let whom = if keyless {
            "programs on this machine, to publish, subscribe and read metrics; who has a key, all it is for"
        } else {
            "who has a key, for what it is for"
        };
        writeln!(out, "#   {address}  HTTP  {whom}")?;
    }
    let what = if settings.security.acl_file.is_empty() {
        "everything: there is no security.acl_file"
    } else {
        "what the rules of security.acl_file allow"
    };
    writeln!(out, "#   Clients may publish and subscribe to {what}")?;
    writeln!(out, "#   {}", loaded.known.summary())?;
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
