//! Times the journal without waiting for the disk: records into frames, in batches.
//!
//!     cargo bench -p signalhouse-benches --bench journal

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use signalhouse::journal::codec;
use signalhouse_core::Record;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::record::{Enqueued, Origin, QueueSeq, Receiver, RetainedChange, SessionId};
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::property::SubscriptionIds;
use signalhouse_core::wire::types::QoS;

const BATCH: u64 = 256;

fn journal(criterion: &mut Criterion) {
    let records: Vec<Record> = (1..=BATCH).map(published).collect();
    let mut encoded = Vec::new();
    for record in &records {
        let mut bytes = BytesMut::new();
        codec::encode(record, &mut bytes);
        encoded.push(bytes.freeze());
    }
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(BATCH));
    let mut out = BytesMut::new();
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            for record in &records {
                codec::encode(record, &mut out);
            }
            std::hint::black_box(out.len())
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            for bytes in &encoded {
                let record = codec::decode(bytes).expect("what was encoded");
                std::hint::black_box(&record);
            }
        });
    });
    group.finish();
}

fn published(number: u64) -> Record {
    let message = Message {
        id: MessageId(number),
        topic: Topic::try_from("bench/journal/1").expect("a topic"),
        payload: Bytes::from_static(&[b'.'; 256]),
        qos: QoS::AtLeastOnce,
        expires_at: None,
        properties: None,
    };
    Record::Published {
        message: message.into(),
        origin: Origin::Untracked,
        retained: RetainedChange::None,
        entries: vec![Enqueued {
            receiver: Receiver::Session(SessionId(1)),
            seq: QueueSeq(number),
            qos: QoS::AtLeastOnce,
            retain: false,
            maybe_sent: false,
            group: None,
            subscription_ids: SubscriptionIds::None,
        }],
        at: None,
    }
}

criterion_group!(all, journal);
criterion_main!(all);
