//! `signalhouse passwd`: the users of a password file.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, complain};
use super::replace::replace;
use crate::access::hash::PasswordHash;
use crate::access::passwords::{Passwords, User, check_name};
use crate::access::scram::Verifier;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  signalhouse passwd users.txt ann            asks for the password, and makes the file if need be
  echo \"$SECRET\" | signalhouse passwd users.txt ann
  signalhouse passwd --remove users.txt ann

The broker reads the file named in security.password_file, and reads it again when it changes.
Hashes are argon2id; beside each stands what SCRAM-SHA-256 needs. Hashes of mosquitto_passwd hold too.")]
pub(super) struct PasswdArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The user to add, or whose password to change.
    #[arg(value_name = "USER")]
    user: String,
    /// Remove the user instead.
    #[arg(short = 'D', long)]
    remove: bool,
    /// Leave out what SCRAM needs: it is a little easier to guess a password by than the hash.
    #[arg(long, conflicts_with = "remove")]
    no_scram: bool,
}

pub(super) fn run(args: &PasswdArgs) -> Exit {
    match change(args) {
        Ok(done) => {
            say!("{done}");
            Exit::Orderly
        }
        Err(fault) => complain(Exit::Failed, &fault),
    }
}

fn change(args: &PasswdArgs) -> Result<String, String> {
    let (file, user) = (&args.file, args.user.as_str());
    check_name(user).map_err(|error| format!("the user name {error}"))?;
    let mut passwords = match fs::read_to_string(file) {
        Ok(text) => {
            Passwords::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !args.remove => {
            Passwords::default()
        }
        Err(error) => return Err(format!("{}: cannot be read: {error}", file.display())),
    };
    let done = if args.remove {
        if !passwords.remove(user) {
            return Err(format!("{}: there is no user {user}", file.display()));
        }
        "removed"
    } else {
        let password = ask_password(user)?;
        let verifier = (!args.no_scram).then(|| Verifier::new(password.as_bytes()));
        let hash = Some(PasswordHash::new(password.as_bytes()));
        if passwords.set(user, User { hash, verifier }) { "changed" } else { "added" }
    };
    replace(file, &passwords.to_string())
        .map_err(|error| format!("{}: cannot be written: {error}", file.display()))?;
    Ok(format!("{user} {done}; {} users in {}", passwords.len(), file.display()))
}

/// Asks twice at a terminal; otherwise takes the first line.
fn ask_password(user: &str) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("the password cannot be read: {error}");
    let password = if io::stdin().is_terminal() {
        let ask = |prompt: String| rpassword::prompt_password(prompt).map_err(unreadable);
        let password = ask(format!("Password of {user}: "))?;
        if ask("The same again: ".to_owned())? != password {
            return Err("the passwords differ; nothing was changed".to_owned());
        }
        password
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(unreadable)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() { Err("the password is empty".to_owned()) } else { Ok(password) }
}
