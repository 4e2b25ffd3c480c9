//! The `signalhouse` program.

fn main() -> signalhouse::cli::Exit {
    signalhouse::cli::main()
}
