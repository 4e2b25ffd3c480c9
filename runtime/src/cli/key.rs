//! `signalhouse key`: the file of API keys.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::exit::{Exit, complain};
use super::replace::replace;
use crate::http::keys::{KeyEntry, KeyFile, KeyFileError, Keys, Scope};
use crate::seams::{Clock, TokioClock};
use crate::settings::{self, Overrides, Sources};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  signalhouse key add --file keys.toml --user orders --scope publish --topic 'orders/#'
  signalhouse key add --file keys.toml --user ops --scope admin --scope metrics --expires 90d
  signalhouse key list --file keys.toml
  signalhouse key remove --file keys.toml 3fa94c0b12de

A key is shown once, when it is made; the file has its hash. A running broker watches the file,
and takes it over when it changes.")]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it.
    Add(AddArgs),
    /// Print the keys, without their secrets.
    List(FileArgs),
    /// Remove a key.
    Remove {
        #[command(flatten)]
        file: FileArgs,
        /// The key's id.
        id: String,
    },
}

#[derive(Args, Debug)]
struct FileArgs {
    /// The file of keys; otherwise the one that the settings name.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Settings, as TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Whose key it is: permissions and quotas of users are about this name, a quota of the key
    /// about its id.
    #[arg(long)]
    user: String,
    /// What it may be used for: publish, subscribe, tokens, metrics or admin. Repeatable.
    #[arg(long, required = true, value_parser = parse_scope)]
    scope: Vec<Scope>,
    /// A filter that bounds what it may publish and subscribe to. Repeatable.
    #[arg(long, value_name = "FILTER")]
    topic: Vec<String>,
    /// When it ends: 90d, 12h, 30m or 45s from now.
    #[arg(long, value_name = "TIME", value_parser = parse_span_s)]
    expires: Option<u64>,
}

pub(super) fn run(args: KeyArgs) -> Exit {
    let outcome = match args.action {
        Action::Add(args) => add(args),
        Action::List(file) => list(&file),
        Action::Remove { file, id } => remove(&file, &id),
    };
    match outcome {
        Ok(()) => Exit::Orderly,
        Err((exit, fault)) => complain(exit, &fault),
    }
}

type Outcome<T> = Result<T, (Exit, String)>;

fn add(args: AddArgs) -> Outcome<()> {
    let path = args.file.path()?;
    let mut file = read_or_new(&path)?;
    let now_s = TokioClock::from_wall_clock().now().as_ms() / 1000;
    let key = file
        .add(KeyEntry {
            id: String::new(),
            user: args.user,
            sha256: String::new(),
            scopes: args.scope,
            topics: args.topic,
            created_at_s: now_s,
            expires_at_s: args.expires.map(|span_s| now_s.saturating_add(span_s)),
        })
        .map_err(|error| (Exit::Failed, error.to_string()))?;
    Keys::new(&file).map_err(|error| fault(&path, &error))?;
    write(&path, &file)?;
    let id = file.keys.last().map_or("", |key| key.id.as_str());
    eprintln!("added {id} to {}; this is the only time the key is shown:", path.display());
    say!("{key}");
    Ok(())
}

fn list(args: &FileArgs) -> Outcome<()> {
    let path = args.path()?;
    let file = KeyFile::read(&path).map_err(|error| fault(&path, &error))?;
    for key in &file.keys {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.word()).collect();
        let topics = match key.topics.as_slice() {
            [] => "all topics".to_owned(),
            topics => topics.join(" "),
        };
        let expires = key.expires_at_s.map_or("never expires".to_owned(), |at_s| {
            format!("expires at {at_s} (seconds since 1970)")
        });
        say!("{}  {}  {}  {topics}  {expires}", key.id, key.user, scopes.join(","));
    }
    Ok(())
}

fn remove(args: &FileArgs, id: &str) -> Outcome<()> {
    let path = args.path()?;
    let mut file = KeyFile::read(&path).map_err(|error| fault(&path, &error))?;
    let before = file.keys.len();
    file.keys.retain(|key| key.id != id);
    if file.keys.len() == before {
        return Err((Exit::Failed, format!("{}: there is no key {id}", path.display())));
    }
    write(&path, &file)
}

impl FileArgs {
    fn path(&self) -> Outcome<PathBuf> {
        if let Some(path) = &self.file {
            return Ok(path.clone());
        }
        let sources = Sources::of_process(self.config.clone());
        let settings = settings::load(&sources, &Overrides::default())
            .map_err(|problem| (Exit::Settings, problem.to_string()))?;
        if settings.http.keys_file.is_empty() {
            let fault = "which file? give --file, or --config with http.keys_file";
            return Err((Exit::Arguments, fault.to_owned()));
        }
        Ok(settings.http.keys_file.into())
    }
}

fn read_or_new(path: &Path) -> Outcome<KeyFile> {
    match KeyFile::read(path) {
        Ok(file) => Ok(file),
        Err(KeyFileError::Read(error)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(KeyFile::default())
        }
        Err(error) => Err(fault(path, &error)),
    }
}

fn write(path: &Path, file: &KeyFile) -> Outcome<()> {
    Keys::new(file).map_err(|error| (Exit::Arguments, error.to_string()))?;
    let text = toml::to_string(file).map_err(|error| (Exit::Failed, error.to_string()))?;
    replace(path, &text).map_err(|error| (Exit::Failed, format!("{}: {error}", path.display())))
}

fn fault(path: &Path, error: &KeyFileError) -> (Exit, String) {
    (Exit::Settings, format!("{}: {error}", path.display()))
}

fn parse_scope(word: &str) -> Result<Scope, String> {
    Scope::ALL.into_iter().find(|scope| scope.word() == word).ok_or_else(|| {
        let words: Vec<_> = Scope::ALL.into_iter().map(Scope::word).collect();
        format!("there are {}", words.join(", "))
    })
}

fn parse_span_s(text: &str) -> Result<u64, String> {
    let bad = || "write a number and its unit: 90d, 12h, 30m or 45s".to_owned();
    let unit_s = match text.chars().last() {
        Some('d') => 24 * 60 * 60,
        Some('h') => 60 * 60,
        Some('m') => 60,
        Some('s') => 1,
        Some(_) | None => return Err(bad()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    number.checked_mul(unit_s).filter(|span_s| *span_s > 0).ok_or_else(bad)
}
