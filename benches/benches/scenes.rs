//! Times the scenes: codec, matching, routing, fan-out, session queue, gate.
//!
//!     cargo bench -p signalhouse-benches --bench scenes [-- NAME]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use signalhouse_benches::scenes::SCENES;

fn scenes(criterion: &mut Criterion) {
    for scene in SCENES {
        let mut group = criterion.benchmark_group(scene.name);
        group.throughput(Throughput::Elements(scene.units));
        let mut work = scene.set();
        group.bench_function("work", |bencher| bencher.iter(&mut work));
        group.finish();
    }
}

criterion_group!(all, scenes);
criterion_main!(all);
