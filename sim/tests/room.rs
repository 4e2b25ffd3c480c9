//! The broker on a disk whose room others take: what is told to its clients, and when.
#![allow(clippy::unwrap_used)] // a test may panic

use signalhouse_sim::history::{Event, What};
use signalhouse_sim::layer::Layer;
use signalhouse_sim::packet::{AckKind, Packet};
use signalhouse_sim::plan::Plan;

const QUOTA_EXCEEDED: u8 = 0x97;

/// A message every 100 ms from the first second to the twelfth, and no room between 3,000 and 8,000 ms.
fn plan() -> Plan {
    let mut text = String::from(
        "plan 1\nprofile disk\nset journal.sync_ms 1\nset journal.segment_bytes 131072\n\
         client pub expiry_s=3600 reconnect_after_ms=20\nclient sub expiry_s=3600\n\
         calm 13000\nbound 30000\nat 0 connect 0\nat 100 connect 1\nat 200 subscribe 1 t qos=1\nat 300 disconnect 1\n",
    );
    for at_ms in (1_000..12_000).step_by(100) {
        if at_ms == 3_000 {
            text.push_str("at 3000 disk_left 0\n");
        }
        if at_ms == 8_000 {
            text.push_str("at 8000 disk_has_space\n");
        }
        text.push_str(&format!("at {at_ms} publish 0 t qos=1\n"));
    }
    Plan::from_text(&text).unwrap()
}

fn acknowledged(event: &Event) -> Option<(u64, u8)> {
    let What::Received { packet: Packet::Ack { kind: AckKind::PubAck, reason, .. }, .. } =
        &event.what
    else {
        return None;
    };
    Some((event.at_ms, *reason))
}

#[test]
fn what_is_new_is_refused_within_a_second_and_taken_again() {
    let outcome = Layer::Runtime.run(&plan(), true).unwrap();
    assert_eq!(outcome.violation, None);
    let answers: Vec<(u64, u8)> = outcome.history.iter().filter_map(acknowledged).collect();
    let refused: Vec<u64> = answers
        .iter()
        .filter(|(_, reason)| *reason == QUOTA_EXCEEDED)
        .map(|(at_ms, _)| *at_ms)
        .collect();
    let (first, last) = (refused[0], refused[refused.len() - 1]);
    assert!((3_000..4_200).contains(&first), "{refused:?}");
    assert!((7_900..9_300).contains(&last), "{refused:?}");
    // No segment was made in the meantime: all of it fits in the first.
    assert!(
        answers.iter().all(|(at_ms, reason)| {
            (first..=last).contains(at_ms) == (*reason == QUOTA_EXCEEDED)
        })
    );
    assert!(answers.len() >= 110, "{}", answers.len());
}
