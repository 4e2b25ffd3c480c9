//! From file, environment and command line to settings, or to the one line that says what is wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use toml::{Table, Value};

use super::problem::{Place, Problem, nearest};
use super::section::{Key, Kind};
use super::{Settings, is_loopback};

const PREFIX: &str = "SIGNALHOUSE_";

/// Where settings come from, apart from the command line.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// The file and this process's environment. Variables that are no text are left out: no key
    /// can be meant by them.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Sources { file, environment }
    }
}

/// What the command line says over file and environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`, instead of `network.listen`.
    pub listen: Vec<String>,
    /// `--data`, instead of `store.path`.
    pub data: Option<String>,
    /// `--durability`, instead of `store.durability`.
    pub durability: Option<String>,
    /// `--http`, instead of `http.listen`.
    pub http: Vec<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// Reads and checks the settings.
///
/// # Errors
/// The first [`Problem`] that was found.
pub fn load(sources: &Sources, overrides: &Overrides) -> Result<Settings, Problem> {
    let mut gathered = Gathered::default();
    if let Some(path) = &sources.file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let mend = "give a TOML file that can be read with --config";
            Problem::new(Place::File(path.clone()), None, format!("cannot be read: {error}"), mend)
        })?;
        gathered.file(path, &text)?;
    }
    gathered.environment(&sources.environment)?;
    gathered.overrides(overrides)?;
    finish(gathered)
}

/// Reads and checks a file's text alone; `path` names it in what is wrong.
///
/// # Errors
/// The first [`Problem`] that was found.
pub fn load_text(path: &Path, text: &str) -> Result<Settings, Problem> {
    let mut gathered = Gathered::default();
    gathered.file(path, text)?;
    finish(gathered)
}

fn finish(gathered: Gathered) -> Result<Settings, Problem> {
    let places = gathered.places;
    let settings = Settings::deserialize_from(gathered.table)?;
    let place = |key: &str| places.get(key).cloned().unwrap_or(Place::Defaults);
    check_listeners(&settings, place)?;
    super::http::check(&settings.http, place)?;
    if settings.store.path.is_empty() {
        let (key, mend) = ("store.path", "name the folder of what outlives the process");
        return Err(Problem::new(place(key), Some(key.to_owned()), "is empty", mend));
    }
    settings.quotas.to_core().map_err(|fault| {
        let key = "quotas.file";
        let mend = "write [[quota]] with user, key or address, and its bounds";
        Problem::new(place(key), Some(key.to_owned()), fault, mend)
    })?;
    Ok(settings)
}

impl Settings {
    fn deserialize_from(table: Table) -> Result<Self, Problem> {
        table.try_into().map_err(|error: toml::de::Error| {
            Problem::new(Place::Defaults, None, error.message().to_owned(), "")
        })
    }
}

#[derive(Default)]
struct Gathered {
    table: Table,
    /// Where each key's value comes from, by `section.name`.
    places: BTreeMap<String, Place>,
}

impl Gathered {
    fn set(&mut self, key: &Key, place: Place, value: Value) -> Result<(), Problem> {
        check(key, &value).map_err(|fault| problem(place.clone(), key, fault))?;
        self.places.insert(full_name(key), place);
        let section = self.table.entry(key.section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.name.to_owned(), value);
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, text: &str) -> Result<(), Problem> {
        let place = |offset| Place::at(path, text, offset);
        let document = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let mend = "write [section] and then key = value lines";
            Problem::new(place(offset), None, format!("not TOML: {}", error.message()), mend)
        })?;
        for (section, content) in document.get_ref() {
            let at = place(section.span().start);
            let section = section.get_ref().as_ref();
            check_section(section, &at)?;
            let DeValue::Table(content) = content.get_ref() else {
                let fault = format!("{}, but it is a section", a(content.get_ref().type_str()));
                let mend = format!("write [{section}] on a line of its own, its keys below");
                return Err(Problem::new(at, Some(section.to_owned()), fault, mend));
            };
            for (name, value) in content {
                let at = place(name.span().start);
                let key = find(section, name.get_ref(), &at)?;
                let at = place(value.span().start);
                let value = convert(value).map_err(|fault| problem(at.clone(), key, fault))?;
                self.set(key, at, value)?;
            }
        }
        Ok(())
    }

    fn environment(&mut self, variables: &[(String, String)]) -> Result<(), Problem> {
        let mut ours: Vec<_> = variables
            .iter()
            .filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)))
            .collect();
        ours.sort();
        for (name, path, value) in ours {
            // Others use the prefix as well: Kubernetes names a service's variables after it.
            let Some((section, key)) = path.split_once("__") else { continue };
            let place = Place::Variable(name.clone());
            let section = section.to_ascii_lowercase();
            check_section(&section, &place)?;
            let key = find(&section, &key.to_ascii_lowercase(), &place)?;
            let value =
                from_variable(key, value).map_err(|fault| problem(place.clone(), key, fault))?;
            self.set(key, place, value)?;
        }
        Ok(())
    }

    fn overrides(&mut self, overrides: &Overrides) -> Result<(), Problem> {
        if !overrides.listen.is_empty() {
            let listen = overrides.listen.iter().cloned().map(Value::String).collect();
            self.argument("network", "listen", "--listen", Value::Array(listen))?;
        }
        if let Some(data) = &overrides.data {
            self.argument("store", "path", "--data", Value::String(data.clone()))?;
        }
        if let Some(level) = &overrides.durability {
            self.argument("store", "durability", "--durability", Value::String(level.clone()))?;
        }
        if !overrides.http.is_empty() {
            let listen = overrides.http.iter().cloned().map(Value::String).collect();
            self.argument("http", "listen", "--http", Value::Array(listen))?;
        }
        if let Some(format) = &overrides.log_format {
            self.argument("log", "format", "--log-format", Value::String(format.clone()))?;
        }
        if let Some(level) = &overrides.log_level {
            self.argument("log", "level", "--log-level", Value::String(level.clone()))?;
        }
        Ok(())
    }

    fn argument(
        &mut self,
        section: &str,
        name: &str,
        option: &'static str,
        value: Value,
    ) -> Result<(), Problem> {
        let place = Place::Argument(option);
        let key = find(section, name, &place)?;
        self.set(key, place, value)
    }
}

fn full_name(key: &Key) -> String {
    format!("{}.{}", key.section, key.name)
}

fn problem(place: Place, key: &Key, fault: String) -> Problem {
    let default = Settings::default().value(key);
    let default = default.map_or(String::new(), |value| value.to_string());
    let name = key.name;
    let mend = match key.kind {
        Kind::Whole(least, most) => {
            format!("write a whole number from {least} to {most}, such as {name} = {default}")
        }
        Kind::Truth => format!("write {name} = true or {name} = false"),
        Kind::Word(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            format!("write one of {}", words.join(", "))
        }
        Kind::Text(most) => format!("write a text of at most {most} bytes, such as {name} = \"a\""),
        Kind::OptionalAddresses => {
            let example = if default == "[]" { "[\"127.0.0.1:8883\"]" } else { &default };
            format!("write a list of \"ADDRESS:PORT\", such as {name} = {example}")
        }
        Kind::Origins => {
            format!("write a list of origins, such as {name} = [\"https://example.com\"]")
        }
    };
    Problem::new(place, Some(full_name(key)), fault, mend)
}

fn check_section(section: &str, place: &Place) -> Result<(), Problem> {
    if Settings::keys().any(|key| key.section == section) {
        return Ok(());
    }
    let mut sections: Vec<&str> = Settings::keys().map(|key| key.section).collect();
    sections.dedup();
    let home = Settings::keys().find(|key| key.name == section);
    let mend = match (home, nearest(section, sections.iter().copied())) {
        (Some(key), _) => format!("{section} belongs under [{}]", key.section),
        (None, Some(name)) => format!("did you mean [{name}]?"),
        (None, None) => format!("there are [{}]", sections.join("], [")),
    };
    Err(Problem::new(place.clone(), Some(section.to_owned()), "unknown section", mend))
}

fn find(section: &str, name: &str, place: &Place) -> Result<&'static Key, Problem> {
    let here = || Settings::keys().filter(move |key| key.section == section);
    if let Some(key) = here().find(|key| key.name == name) {
        return Ok(key);
    }
    let home = Settings::keys().find(|key| key.name == name);
    let mend = match (nearest(name, here().map(|key| key.name)), home) {
        (_, Some(key)) => format!("it belongs under [{}]", key.section),
        (Some(near), None) => format!("did you mean {near}?"),
        (None, None) => "`signalhouse check` shows every key".to_owned(),
    };
    Err(Problem::new(place.clone(), Some(format!("{section}.{name}")), "unknown key", mend))
}

/// What is wrong with the value, if anything.
fn check(key: &Key, value: &Value) -> Result<(), String> {
    match (key.kind, value) {
        (Kind::Whole(least, most), Value::Integer(number)) => match u64::try_from(*number) {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            Ok(_) | Err(_) => Err(format!("{number} is out of range")),
        },
        (Kind::Truth, Value::Boolean(_)) => Ok(()),
        (Kind::Word(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
        (Kind::Word(words), Value::String(word)) => {
            Err(match nearest(word, words.iter().copied()) {
                Some(near) => format!("\"{word}\" is not known, did you mean \"{near}\"?"),
                None => format!("\"{word}\" is not known"),
            })
        }
        (Kind::Text(most), Value::String(text)) => {
            if text.len() > most {
                Err(format!("{} bytes are too long", text.len()))
            } else if text.contains('\0') {
                Err("a text must not have U+0000".to_owned())
            } else {
                Ok(())
            }
        }
        (Kind::OptionalAddresses, Value::Array(addresses)) => check_addresses(addresses),
        (Kind::Origins, Value::Array(origins)) => check_origins(origins),
        (
            Kind::Whole(..)
            | Kind::Truth
            | Kind::Word(_)
            | Kind::Text(_)
            | Kind::OptionalAddresses
            | Kind::Origins,
            other,
        ) => Err(format!("{} is not what it takes", a(other.type_str()))),
    }
}

fn check_addresses(addresses: &[Value]) -> Result<(), String> {
    let mut known: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        let Some(text) = address.as_str() else {
            return Err(format!("{} is not an address", a(address.type_str())));
        };
        let Ok(parsed) = text.parse::<SocketAddr>() else {
            return Err(match text.parse::<std::net::IpAddr>() {
                Ok(_) => format!("\"{text}\" has no port"),
                Err(_) => format!("\"{text}\" is not an address"),
            });
        };
        if parsed.port() != 0 && known.contains(&parsed) {
            return Err(format!("\"{text}\" is there twice"));
        }
        known.push(parsed);
    }
    Ok(())
}

fn check_origins(origins: &[Value]) -> Result<(), String> {
    for origin in origins {
        let Some(text) = origin.as_str() else {
            return Err(format!("{} is not an origin", a(origin.type_str())));
        };
        let host = text.split_once("://").map(|(_, host)| host);
        if text != "*" && host.is_none_or(|host| host.is_empty() || host.contains('/')) {
            return Err(format!("\"{text}\" is not an origin"));
        }
    }
    Ok(())
}

fn check_listeners(settings: &Settings, place: impl Fn(&str) -> Place) -> Result<(), Problem> {
    let doors = settings.doors();
    let problem = |key: &str, fault: String, mend: &str| {
        Err(Problem::new(place(key), Some(key.to_owned()), fault, mend))
    };
    if doors.is_empty() {
        let mend = "write a list of \"ADDRESS:PORT\", such as listen = [\"127.0.0.1:1883\"]";
        return problem("network.listen", "nothing to listen on".to_owned(), mend);
    }
    let twice = doors.iter().enumerate().find(|(place, (_, address))| {
        let before = &doors[..*place];
        address.port() != 0 && before.iter().any(|(_, other)| other == address)
    });
    if let Some((_, (kind, address))) = twice {
        let fault = format!("{address} is another listener's already");
        return problem(kind.key(), fault, "give each listener a port of its own");
    }
    if let Some((kind, _)) = doors.iter().find(|(kind, _)| kind.is_secure())
        && settings.tls.certificate_file.is_empty()
    {
        let fault = "there is no certificate".to_owned();
        let mend = "set tls.certificate_file and tls.key_file";
        return problem(kind.key(), fault, mend);
    }
    if settings.tls.client_certificates != "none" && settings.tls.client_ca_file.is_empty() {
        let fault = "nobody vouches for the certificates of clients".to_owned();
        return problem("tls.client_certificates", fault, "set tls.client_ca_file");
    }
    if settings.jwt.is_used() && settings.jwt.user_name_claim.is_empty() {
        let mend = "name a claim, such as \"sub\"";
        return problem("jwt.user_name_claim", "tokens would say nobody's name".to_owned(), mend);
    }
    let open = doors.iter().find(|(_, address)| !is_loopback(address.ip()));
    let Some((kind, address)) = open else { return Ok(()) };
    if settings.security.allow_anonymous || settings.authenticates() {
        return Ok(());
    }
    let fault = format!("{address} is open to the network, and no client has to say who it is");
    let mend = "listen on 127.0.0.1, or set security.password_file, keys in [jwt] or \
                tls.client_certificates, or security.allow_anonymous = true \
                (SIGNALHOUSE_SECURITY__ALLOW_ANONYMOUS=true) if everybody may come in";
    problem(kind.key(), fault, mend)
}

/// The value of a variable: as it stands where text is wanted, a list's parts between commas.
fn from_variable(key: &Key, text: &str) -> Result<Value, String> {
    Ok(match key.kind {
        Kind::Whole(..) => Value::Integer(
            text.trim().parse().map_err(|_| format!("\"{text}\" is not a whole number"))?,
        ),
        Kind::Truth => Value::Boolean(
            text.trim().parse().map_err(|_| format!("\"{text}\" is neither true nor false"))?,
        ),
        Kind::Word(_) | Kind::Text(_) => Value::String(text.to_owned()),
        Kind::OptionalAddresses | Kind::Origins => Value::Array(
            text.split(',')
                .map(|part| Value::String(part.trim().to_owned()))
                .filter(|part| part.as_str() != Some(""))
                .collect(),
        ),
    })
}

/// The type's name with its article.
fn a(type_name: &str) -> String {
    let article = if type_name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {type_name}")
}

fn convert(value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => Value::Integer(
            i64::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| format!("{integer} is out of range"))?,
        ),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Float(float) => {
            return Err(format!("{} is not a whole number", float.as_str()));
        }
        DeValue::Array(array) => Value::Array(convert_all(array)?),
        DeValue::Datetime(_) | DeValue::Table(_) => {
            return Err(format!("{} is not what it takes", a(value.get_ref().type_str())));
        }
    })
}

fn convert_all(array: &DeArray<'_>) -> Result<Vec<Value>, String> {
    array.iter().map(convert).collect()
}
