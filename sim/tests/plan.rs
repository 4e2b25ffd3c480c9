//! Plans as text and back, and what is drawn.
#![allow(clippy::unwrap_used)]

use signalhouse_sim::plan::{Plan, Profile, draw};

#[test]
fn every_drawn_plan_reads_back_as_itself() {
    for profile in Profile::EACH {
        for seed in 0..60 {
            let plan = draw(seed, profile);
            assert_eq!(Plan::from_text(&plan.to_text()).unwrap(), plan, "{profile:?} {seed}");
        }
    }
}

#[test]
fn the_median_plan_has_five_clients_and_more_than_a_hundred_steps() {
    for profile in Profile::EACH {
        let mut steps: Vec<usize> = (0..101).map(|seed| draw(seed, profile).steps.len()).collect();
        steps.sort_unstable();
        assert!(steps[50] > 120, "{profile:?}: {}", steps[50]);
        assert!((0..101).all(|seed| draw(seed, profile).clients.len() >= 5));
    }
}

#[test]
fn odd_texts_survive() {
    let mut plan = draw(1, Profile::Calm);
    for odd in ["", "a b", "x=y", "#", "\"\\", "tab\tline\nend", "é", "0x10", "clean", "\u{7f}"] {
        plan.clients[0].client_id = odd.to_owned();
        odd.clone_into(&mut plan.profile);
        plan.settings[0].0 = odd.to_owned();
        let text = plan.to_text();
        assert_eq!(Plan::from_text(&text).unwrap(), plan, "{odd:?} in {text}");
    }
}

#[test]
fn errors_name_the_line_and_the_cause() {
    let with = |line: &str| {
        Plan::from_text(&format!("# made by hand\nplan 1\nclient a\n{line}\n"))
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let cases = [
        ("at 5 ping 0", Ok(())),
        ("at 5 ping 0 # why not", Ok(())),
        ("at 5 send_away a", Ok(())),
        ("at 5 end_session a", Ok(())),
        ("at 5 backup", Ok(())),
        ("at 5 end_session", Err("line 4: a client identifier is missing")),
        ("", Ok(())),
        ("at x ping 0", Err("line 4: `x` is no number in range for a moment")),
        ("at 5 ping", Err("line 4: a client is missing")),
        ("at 5 ping 1", Err("a step at 5 speaks of client 1; there are 1")),
        ("at 5 jump 0", Err("line 4: `jump` is nothing that can happen")),
        ("at 5 publish 0 t qos=9999", Err("line 4: `9999` is no value for qos")),
        (
            "at 5 publish 0 t quality=1",
            Err("line 4: the field `quality` is not known here, or stands twice"),
        ),
        (
            "at 5 publish 0 t retain retain",
            Err("line 4: `retain` is not known here, or stands twice"),
        ),
        ("at 5 publish 0 \"t", Err("line 4: a quote is not closed")),
        ("at 5 reading 0 maybe", Err("line 4: `maybe` is neither `on` nor `off`")),
        ("at 5 network 0 flood", Err("line 4: `flood` is no network fault")),
        ("dead 7", Err("client 7 is dead; there are 1")),
        ("at 5 ping 0\nat 4 ping 0", Err("the steps are not in the order of time")),
    ];
    for (line, expected) in cases {
        assert_eq!(with(line), expected.map_err(str::to_owned), "{line}");
    }
    assert_eq!(Plan::from_text("").unwrap_err().to_string(), "there is no line `plan 1`");
    let newer = Plan::from_text("plan 2").unwrap_err().to_string();
    assert_eq!(newer, "line 1: version 2 of plans is not known; 1 is");
}
