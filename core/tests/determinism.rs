//! The same seed and inputs give the same outputs, byte for byte, in one process and in two.

// Not every module uses everything here; `random.rs` does.
#![allow(dead_code)]

#[path = "random/acting.rs"]
mod acting;
#[path = "random/check.rs"]
mod check;
#[path = "random/client.rs"]
mod client;
#[path = "random/reading.rs"]
mod reading;
#[path = "random/rng.rs"]
mod rng;
#[path = "random/sent.rs"]
mod sent;
#[path = "random/world.rs"]
mod world;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use world::{Shape, World};

const CLIENTS: usize = 50;
const INPUTS: u64 = 100_000;
const SEED: u64 = 20_260_101;

/// In the child process: where its transcript goes.
const CHILD: &str = "SIGNALHOUSE_TRANSCRIPT_OF_CHILD";

#[test]
fn the_same_seed_and_inputs_give_the_same_transcript_in_one_process_and_in_two() {
    if let Some(path) = std::env::var_os(CHILD) {
        write_transcript(Path::new(&path));
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let paths = ["first", "second", "child"]
        .map(|name| folder.join(format!("determinism-{}-{name}.txt", std::process::id())));
    let [first, second, child] = &paths;
    // The child works while this process does.
    let program = std::env::current_exe().expect("a test knows its own program");
    let mut running = Command::new(program)
        .args(["--exact", "--nocapture"])
        .arg("the_same_seed_and_inputs_give_the_same_transcript_in_one_process_and_in_two")
        .env(CHILD, child)
        .spawn()
        .expect("a test can start itself");
    write_transcript(first);
    write_transcript(second);
    assert!(running.wait().expect("the child can be waited for").success());
    let bytes = fs::read(first).expect("it was just written");
    println!("{} bytes, hash {:016x}", bytes.len(), hash(&bytes));
    assert_same("a second run in this process", &bytes, second);
    assert_same("a run in another process", &bytes, child);
    for path in paths {
        let _ = fs::remove_file(path);
    }
}

/// Plays the world and writes down every input and every action.
fn write_transcript(path: &Path) {
    let shape =
        Shape { seed: SEED, clients: CLIENTS, inputs: INPUTS, checked: false, traced: true };
    let mut world = World::new(&shape);
    let mut file = BufWriter::new(File::create(path).expect("the folder is there"));
    while world.inputs < shape.inputs {
        world.step();
        file.write_all(world.take_trace().as_bytes()).expect("there is room on the disk");
    }
    file.flush().expect("there is room on the disk");
    println!("{} inputs, {} crashes", world.inputs, world.crashes);
}

fn assert_same(what: &str, bytes: &[u8], path: &Path) {
    let others = fs::read(path).expect("it was just written");
    if bytes == others {
        return;
    }
    let place = bytes.iter().zip(&others).take_while(|(one, other)| one == other).count();
    let part = |bytes: &[u8]| {
        let from = place.saturating_sub(200).min(bytes.len());
        let to = (place + 200).min(bytes.len());
        String::from_utf8_lossy(&bytes[from..to]).into_owned()
    };
    panic!("{what} differs at byte {place}:\n{}\n---\n{}", part(bytes), part(&others));
}

/// FNV-1a, to name a transcript in one line.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
