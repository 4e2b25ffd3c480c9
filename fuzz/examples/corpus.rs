//! Packs and unpacks corpora: `corpus pack TARGET FOLDER`, `corpus unpack TARGET FOLDER`, `corpus list`.

use std::path::Path;
use std::process::ExitCode;

use signalhouse_fuzz::{corpus, target};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = match arguments[..] {
        ["list"] => {
            target::ALL.iter().for_each(|(name, _)| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        ["pack", name, folder] => corpus::pack(name, Path::new(folder))
            .map(|(inputs, bytes)| format!("{name}: {inputs} inputs, {bytes} bytes")),
        ["unpack", name, folder] => {
            corpus::unpack(name, Path::new(folder)).map(|inputs| format!("{name}: {inputs} inputs"))
        }
        _ => {
            eprintln!("corpus pack TARGET FOLDER | corpus unpack TARGET FOLDER | corpus list");
            return ExitCode::from(2);
        }
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
