//! Packs, unpacks and plays the inputs of fuzz targets; without a command it says how.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use signalhouse_fuzz::{corpus, target};

const USAGE: &str = "\
corpus list                   the targets
corpus unpack TARGET FOLDER   writes the inputs of a target into a folder, a file each
corpus pack TARGET FOLDER     makes the files of a folder the corpus of a target
corpus keep TARGET FILE...    adds files to the inputs on which a target once failed, which are played for ever
corpus play TARGET FILE...    runs a target on files, without a fuzzer";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = match arguments[..] {
        ["list"] => {
            target::ALL.iter().for_each(|(name, _)| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        [command @ ("pack" | "unpack" | "keep" | "play"), name, ref files @ ..]
            if !files.is_empty() =>
        {
            let Some((_, run)) = target::ALL.iter().find(|(known, _)| *known == name) else {
                eprintln!("corpus: no target is called {name}; corpus list names them");
                return ExitCode::from(2);
            };
            match (command, files) {
                ("pack", [folder]) => corpus::pack(name, Path::new(folder))
                    .map(|(inputs, bytes)| format!("{name}: {inputs} inputs, {bytes} bytes")),
                ("unpack", [folder]) => corpus::unpack(name, Path::new(folder))
                    .map(|inputs| format!("{name}: {inputs} inputs")),
                ("keep", _) => {
                    let files: Vec<&Path> = files.iter().map(Path::new).collect();
                    corpus::keep(name, &files)
                        .map(|(new, all)| format!("{name}: {new} new inputs, {all} kept in all"))
                }
                ("play", _) => play(name, *run, files),
                (_, _) => return usage(),
            }
        }
        _ => return usage(),
    };
    match told {
        Ok(line) => println!("{line}"),
        Err(error) => {
            eprintln!("corpus: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Runs the target on each file, and says on which it panics.
fn play(name: &str, run: target::Target, files: &[&str]) -> io::Result<String> {
    let mut failed = 0;
    for file in files {
        let input = std::fs::read(file)?;
        if std::panic::catch_unwind(|| run(&input)).is_err() {
            println!("{name} fails on {file}");
            failed += 1;
        }
    }
    let line = format!("{name}: {} inputs played, {failed} failed", files.len());
    if failed == 0 { Ok(line) } else { Err(io::Error::other(line)) }
}
