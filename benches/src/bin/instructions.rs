//! Counts the instructions of the scenes: run under `valgrind --tool=callgrind` by `.ci/instructions/run`, which
//! compares them with those of before.
//!
//! ```text
//! instructions            prints the names of the scenes
//! instructions NAME       does one scene's work where callgrind counts, in `counted`
//! instructions NAME slow  the same, and every twentieth time twice
//! ```

use std::process::ExitCode;

use signalhouse_benches::scenes::SCENES;

/// Calls before counting begins, so that nothing grows any more.
const WARMUP: u32 = 20;
/// Calls that are counted.
const CALLS: u32 = 100;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for scene in SCENES {
            println!("{}", scene.name);
        }
        return ExitCode::SUCCESS;
    };
    let Some(scene) = SCENES.iter().find(|scene| scene.name == name) else {
        eprintln!("there is no scene `{name}`");
        return ExitCode::from(2);
    };
    let is_slow = arguments.next().is_some();
    let mut work = scene.set();
    for _ in 0..WARMUP {
        work();
    }
    for call in 0..CALLS {
        counted(&mut work);
        if is_slow && call % 20 == 0 {
            counted(&mut work);
        }
    }
    ExitCode::SUCCESS
}

/// What callgrind is told to count: this function and what it calls.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}
