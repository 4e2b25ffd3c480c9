//! Settings, as a file and as variables, and files beside them: API keys, quotas, keys that sign tokens, certificates.
//! They are read or refused with a reason; settings that were read, written and read again are the same.

use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use rustls::pki_types::CertificateDer;
use signalhouse::access::Known;
use signalhouse::access::texts::Texts;
use signalhouse::http::keys::{KeyFile, Keys};
use signalhouse::settings::{Overrides, Settings, Sources, load, load_text};
use signalhouse::transport::tls::{NameSource, end_of, name_of};

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    File(&'a str),
    /// A file of keys that there are, with any values.
    Lines(Vec<(u8, &'a str)>),
    Variables(Vec<(u8, &'a str)>),
    Keys(&'a str),
    Quotas(&'a str),
    SigningKey(&'a [u8]),
    SigningKeys(&'a [u8]),
    Certificate(&'a [u8]),
}

/// Reads a text as what the first byte says.
///
/// # Panics
/// If it changes on the way, or is refused without a reason.
pub fn run(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    match case {
        Case::File(text) => file(text),
        Case::Lines(lines) => file(&lines_of(&lines)),
        Case::Variables(variables) => {
            let environment = variables.into_iter().map(|(place, value)| {
                let (section, name) = key(place);
                let name = format!("SIGNALHOUSE_{section}__{name}").to_uppercase();
                (name, value.to_owned())
            });
            let sources = Sources { file: None, environment: environment.collect() };
            judge(load(&sources, &Overrides::default()).map_err(|problem| problem.to_string()));
        }
        Case::Keys(text) => match KeyFile::parse(text).and_then(|file| Keys::new(&file)) {
            Ok(keys) => drop(keys),
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        Case::Quotas(text) => has_reason(Settings::default().quotas.with_file(text)),
        Case::SigningKey(pem) => {
            has_reason(Known::from_texts(&Texts { token_key: Some(pem), ..Texts::default() }));
        }
        Case::SigningKeys(json) => {
            has_reason(Known::from_texts(&Texts { token_keys: Some(json), ..Texts::default() }));
        }
        Case::Certificate(der) => certificate(&CertificateDer::from(der)),
    }
}

fn has_reason<T>(read: Result<T, String>) {
    if let Err(reason) = read {
        assert!(!reason.is_empty(), "no reason");
    }
}

fn certificate(der: &CertificateDer<'_>) {
    std::hint::black_box(end_of(der));
    let names = [NameSource::CommonName, NameSource::DnsName, NameSource::Email, NameSource::Uri]
        .map(|source| name_of(der, source));
    for name in names.into_iter().flatten() {
        assert!(!name.is_empty(), "nobody is let in by it");
    }
}

fn file(text: &str) {
    judge(load_text(Path::new("f.toml"), text).map_err(|problem| problem.to_string()));
}

fn judge(read: Result<Settings, String>) {
    match read {
        Ok(settings) => {
            let text = toml::to_string(&settings).expect("settings are TOML");
            let again = load_text(Path::new("f.toml"), &text);
            assert_eq!(again.as_ref().ok(), Some(&settings), "{text}\n{again:?}");
        }
        Err(problem) => {
            assert!(problem.lines().next().is_some_and(|line| !line.is_empty()), "no reason");
        }
    }
}

fn key(place: u8) -> (&'static str, &'static str) {
    let count = Settings::keys().count();
    let key = Settings::keys().nth(usize::from(place) % count).expect("a place below the count");
    (key.section, key.name)
}

fn lines_of(lines: &[(u8, &str)]) -> String {
    let mut lines: Vec<_> = lines.iter().map(|(place, value)| (key(*place), *value)).collect();
    lines.sort_unstable();
    let mut text = String::new();
    let mut section = "";
    for ((of, name), value) in lines {
        if of != section {
            text.push_str(&format!("[{of}]\n"));
            section = of;
        }
        text.push_str(&format!("{name} = {value}\n"));
    }
    text
}
