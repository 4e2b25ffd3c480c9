//! Takes back what a power cut could have taken: reads what `.ci/kills/unsynced.c` wrote down.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::chance::Chance;

/// Disks write whole sectors.
const SECTOR: u64 = 512;

/// What was taken back, over all kills.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Undone {
    pub(crate) writes: u64,
    pub(crate) sectors: u64,
    pub(crate) names: u64,
}

impl Undone {
    pub(crate) fn add(&mut self, more: Undone) {
        self.writes += more.writes;
        self.sectors += more.sectors;
        self.names += more.names;
    }
}

/// One write that was not synced.
struct Change {
    offset: u64,
    written: u64,
    before: Vec<u8>,
    length: u64,
}

/// Leaves in `data` what could be left of it: of each file's unsynced writes and of the folder's unsynced
/// names a part that `chance` chooses, often none.
pub(crate) fn power_cut(data: &Path, undo: &Path, chance: &mut Chance) -> io::Result<Undone> {
    let mut undone = Undone::default();
    let keeps_nothing = chance.one_in(2);
    let lines = match fs::read_to_string(undo.join("names.undo")) {
        // The process was killed before it changed anything.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        lines => lines?,
    };
    undone.names = undo_names(data, undo, &lines, keeps_nothing, chance)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        files.insert(entry.metadata()?.ino(), entry.path());
    }
    let mut logs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(undo)? {
        logs.push(entry?.path());
    }
    logs.sort();
    for log in &logs {
        let stem = log.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if let Ok(inode) = stem.parse::<u64>()
            && let Some(file) = files.get(&inode)
        {
            let changes = changes(&fs::read(log)?);
            let file = OpenOptions::new().read(true).write(true).open(file)?;
            undone.writes += changes.len() as u64;
            undone.sectors += undo_writes(&file, &changes, keeps_nothing, chance)?;
        }
    }
    for log in logs {
        // What was parked may have its name again.
        let _gone = fs::remove_file(log);
    }
    Ok(undone)
}

fn changes(mut bytes: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<32>() {
        let number = |at: usize| {
            u64::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes of the head"))
        };
        let kept = usize::try_from(number(16)).expect("a write fits into memory");
        // The process may have been killed while it wrote this down, and so before the write.
        let Some((before, rest)) = rest.split_at_checked(kept) else { break };
        changes.push(Change {
            offset: number(0),
            written: number(8),
            before: before.to_vec(),
            length: number(24),
        });
        bytes = rest;
    }
    changes
}

/// Each sector is left as it was after some number of its writes.
fn undo_writes(
    file: &File,
    changes: &[Change],
    keeps_nothing: bool,
    chance: &mut Chance,
) -> io::Result<u64> {
    let Some(first) = changes.first() else { return Ok(0) };
    // How many of the file's writes each sector has seen.
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    let mut undone = 0;
    for (place, change) in changes.iter().enumerate().rev() {
        let end = change.offset + change.written;
        let mut from = change.offset;
        while from < end {
            let to = end.min((from / SECTOR + 1) * SECTOR);
            let kept = *seen.entry(from / SECTOR).or_insert_with(|| {
                if keeps_nothing { 0 } else { chance.below(changes.len() as u64 + 1) as usize }
            });
            if place >= kept {
                undone += 1;
                let start = (from - change.offset) as usize;
                let stop = (to - change.offset) as usize;
                let before = change.before.get(start..).unwrap_or_default();
                let before = before.get(..stop - start).unwrap_or(before);
                // What was behind the end reads as zeros until the length is taken back as well.
                let mut sector = before.to_vec();
                sector.resize(stop - start, 0);
                file.write_all_at(&sector, from)?;
            }
            from = to;
        }
    }
    if keeps_nothing {
        file.set_len(first.length)?;
    }
    Ok(undone)
}

/// The folder is left as it was after some number of changes.
fn undo_names(
    data: &Path,
    undo: &Path,
    lines: &str,
    keeps_nothing: bool,
    chance: &mut Chance,
) -> io::Result<u64> {
    let lines: Vec<&str> = lines.lines().collect();
    let kept = if keeps_nothing { 0 } else { chance.below(lines.len() as u64 + 1) as usize };
    let mut undone = 0;
    for line in lines[kept..].iter().rev() {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = match words.as_slice() {
            ["made", name] => fs::remove_file(data.join(name)),
            ["moved", from, to] => fs::rename(data.join(to), data.join(from)),
            ["parked", number, name] => {
                fs::rename(undo.join(format!("parked-{number}")), data.join(name))
            }
            _ => Err(io::Error::other(format!("what is `{line}`?"))),
        };
        match outcome {
            // The process was killed between the word and the deed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
        undone += 1;
    }
    Ok(undone)
}
