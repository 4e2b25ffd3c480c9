//! The journal's records: any bytes are a record or refused, a record that was read, written and
//! read again is the same, and any run of records makes a broker or is refused.

use bytes::BytesMut;
use signalhouse::journal::codec::{decode, decode_first, encode};
use signalhouse_core::{Broker, Config, LogPosition, Outbox, Record, Recovery, Seed};

const WORK_MAXIMUM: u32 = 10_000;

/// Takes `data` for a record, and for several.
///
/// # Panics
/// If a record changes on the way, or what a broker made of them does not make the same again.
pub fn run(data: &[u8]) {
    if let Ok(record) = decode(data) {
        let mut bytes = BytesMut::new();
        encode(&record, &mut bytes);
        assert_eq!(decode(&bytes).as_ref(), Ok(&record), "a record changes on the way");
    }
    let mut records = Vec::new();
    let mut rest = data;
    while let Ok((record, behind)) = decode_first(rest) {
        records.push(record);
        rest = behind;
    }
    recover(records);
}

fn recover(records: Vec<Record>) {
    let mut recovery = Recovery::new(Config::default(), Seed(1));
    let mut through = LogPosition::START;
    for record in records {
        // What does not fit is left out, as a repair leaves it out.
        if recovery.apply(record).is_ok() {
            through = LogPosition(through.0 + 1);
        }
    }
    let now = recovery.latest();
    let mut broker = recovery.finish(now, through);
    let snapshot = broker.snapshot();
    let again = Broker::recover(Config::default(), Seed(1), now, through, snapshot.clone());
    let again = again.expect("a snapshot makes a broker");
    // Records that no broker writes, such as two entries in one place, may change their order.
    assert_eq!(again.snapshot().len(), snapshot.len(), "a snapshot makes another broker");
    let mut out = Outbox::new();
    let mut left = WORK_MAXIMUM;
    while broker.has_more_work() && left > 0 {
        broker.resume(now, 100, &mut out);
        out.drain().for_each(drop);
        left -= 1;
    }
    assert!(left > 0, "the work after a recovery has no end");
}
