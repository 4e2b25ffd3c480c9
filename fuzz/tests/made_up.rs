//! Every target on inputs that a generator makes up, the same on every machine, without a fuzzer.

use signalhouse_fuzz::target;

#[test]
fn inputs_made_up_on_the_spot_pass() {
    // A generator that gives the same on every machine.
    let mut state = 0x5EED_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (name, run) in target::ALL {
        for _ in 0..200 {
            let length = usize::try_from(next() % 600).expect("a small number");
            let input: Vec<u8> = (0..length).map(|_| (next() >> 24) as u8).collect();
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(outcome.is_ok(), "{name}: {input:?}");
        }
    }
}
