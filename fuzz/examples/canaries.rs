//! Which deliberate defects of the core the corpora of some targets show, in the simulator's own build alone:
//!
//!     RUSTFLAGS='--cfg tokio_unstable --cfg signalhouse_sim' cargo run -p signalhouse-fuzz --no-default-features \
//!         --target-dir target/canaries --example canaries -- broker world

#[cfg(not(signalhouse_sim))]
fn main() {
    eprintln!("canaries: this build has no defects to switch on; see the source");
    std::process::exit(2);
}

#[cfg(signalhouse_sim)]
fn main() {
    use signalhouse_core::canary::{Canary, switch_on};
    use signalhouse_fuzz::{corpus, target};

    std::panic::set_hook(Box::new(|_| {}));
    for name in std::env::args().skip(1) {
        let found = target::ALL.iter().find(|(known, _)| *known == name);
        let (_, run) = found.unwrap_or_else(|| panic!("no target is called {name}"));
        let read = |inputs: std::io::Result<Vec<_>>| inputs.expect("a file that can be read");
        let inputs = [read(corpus::read(&name)), read(corpus::read_found(&name))].concat();
        let mut seen = 0;
        for canary in Canary::ALL {
            let fails = |input: &Vec<u8>| {
                // What an input switches on is off again behind it.
                switch_on(Some(*canary));
                let outcome = std::panic::catch_unwind(|| run(input));
                switch_on(None);
                outcome.is_err()
            };
            let place = inputs.iter().position(fails);
            seen += usize::from(place.is_some());
            let told = place.map_or("not seen".into(), |place| format!("input {place}"));
            println!("{name:12} {:34} {told}", canary.name());
        }
        println!("{name}: {seen} of {} defects seen by {} inputs", Canary::ALL.len(), inputs.len());
    }
}
