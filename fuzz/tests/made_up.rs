//! Every target on inputs that a generator makes up, the same on every machine, without a fuzzer.

use signalhouse_fuzz::target;

/// Targets with the first byte that chooses a form of theirs, which chance would seldom choose.
const FORMS: &[(&str, u8)] = &[
    ("again", 0xFE),
    ("again", 0xFD),
    ("filter", 0xFE),
    #[cfg(feature = "runtime")]
    ("record", 0xFE),
    #[cfg(feature = "runtime")]
    ("permission", 0xFD),
];

/// A generator that gives the same on every machine.
fn numbers() -> impl FnMut() -> u64 {
    let mut state = 0x5EED_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn inputs_made_up_on_the_spot_pass() {
    let mut next = numbers();
    for (name, run) in target::ALL {
        for _ in 0..200 {
            let length = usize::try_from(next() % 600).expect("a small number");
            let input: Vec<u8> = (0..length).map(|_| (next() >> 24) as u8).collect();
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(outcome.is_ok(), "{name}: {input:?}");
        }
    }
}

#[test]
fn forms_behind_a_byte_of_their_own_pass() {
    let mut next = numbers();
    for (name, first) in FORMS {
        let target = target::ALL.iter().find(|(known, _)| known == name);
        let (_, run) = target.expect("a target of this name");
        for _ in 0..2_000 {
            let length = next() % 200;
            let mut input = vec![*first];
            // Half of them letters, so that texts are longer than a byte or two.
            input.extend((0..length).map(|_| match next() >> 24 {
                letter if letter & 0x100 == 0 => b'a' + (letter as u8) % 26,
                byte => byte as u8,
            }));
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(outcome.is_ok(), "{name}: {input:?}");
        }
    }
}
