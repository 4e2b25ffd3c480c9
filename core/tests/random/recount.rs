//! What the broker counts of stored bytes, against a count of everything: for random worlds, and for
//! inputs that a fuzzer makes up.

use std::collections::BTreeMap;
use std::sync::Arc;

use signalhouse_core::input::Command;
use signalhouse_core::quota::{Holder, Quotas};
use signalhouse_core::{Broker, DeliveryView, Input, Outbox, Time};

/// Counts again under the quotas in force. Says how large the largest account is.
///
/// # Panics
/// If an account, or the sum of a session, is not what the count comes to.
pub(crate) fn check(broker: &Broker, now: Time, quotas: &Arc<Quotas>) -> u64 {
    let kept = accounts(broker);
    let mut again = broker.clone();
    // The same again would be left as they are.
    for quotas in [Arc::default(), Arc::clone(quotas)] {
        let command = Command::SetQuotas(quotas);
        again.handle(now, Input::Command(command), &mut Outbox::new());
    }
    assert_eq!(kept, accounts(&again), "what quotas count of stored bytes");
    check_sums(broker);
    kept.into_values().max().unwrap_or(0)
}

fn accounts(broker: &Broker) -> BTreeMap<Holder, u64> {
    broker.stored_bytes().map(|(holder, bytes)| (holder.clone(), bytes)).collect()
}

/// What the count of everything goes by: the sums of each session.
fn check_sums(broker: &Broker) {
    let (sessions, _) = broker.sessions(0, usize::MAX, u32::MAX, |_| true);
    for session in sessions {
        let bytes = |deliveries: Vec<DeliveryView>| {
            deliveries.iter().map(|delivery| delivery.bytes).sum::<u64>()
        };
        let client_id = &session.client_id;
        assert_eq!(session.queued_bytes, bytes(broker.queue_of(client_id, usize::MAX)));
        assert_eq!(session.inflight_bytes, bytes(broker.inflight_of(client_id, usize::MAX)));
    }
}
