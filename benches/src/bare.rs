//! The bare disk: appending to a growing file, with a sync behind each batch.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends batches of so many bytes and returns how long that took.
pub(crate) fn append(folder: &Path, batches: impl IntoIterator<Item = u64>) -> Duration {
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join("bare");
    let mut file = File::create(&path).expect("a file");
    let bytes = vec![0x5a; 4 * 1024 * 1024];
    let began = Instant::now();
    for batch in batches {
        let batch = usize::try_from(batch).unwrap_or(bytes.len()).min(bytes.len());
        file.write_all(&bytes[..batch]).expect("room on the disk");
        file.sync_data().expect("a disk that syncs");
    }
    let took = began.elapsed();
    fs::remove_file(path).expect("our file");
    took
}
