//! A target's corpus as one file: each input behind its length, four bytes, little-endian.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where the corpus of a target is.
#[must_use]
pub fn path(target: &str) -> PathBuf {
    file(&format!("{target}.corpus"))
}

/// Where the inputs are on which a target failed before what was wrong was mended. They add no coverage, and so no
/// fuzzer would keep them; nothing takes them out again.
#[must_use]
pub fn found_path(target: &str) -> PathBuf {
    file(&format!("{target}.found"))
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora").join(name)
}

/// The inputs of a target; none if it has no corpus.
///
/// # Errors
/// If the file cannot be read, or is cut off.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    inputs_of(&path(target))
}

/// The inputs on which a target once failed; mostly none.
///
/// # Errors
/// If the file cannot be read, or is cut off.
pub fn read_found(target: &str) -> io::Result<Vec<Vec<u8>>> {
    inputs_of(&found_path(target))
}

fn inputs_of(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let packed = match std::fs::read(path) {
        Ok(packed) => packed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut rest = &packed[..];
    let mut inputs = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (input, behind) =
            behind.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        inputs.push(input.to_vec());
        rest = behind;
    }
    Ok(inputs)
}

fn packed<'a>(inputs: impl IntoIterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    for input in inputs {
        let length = u32::try_from(input.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(input);
    }
    Ok(packed)
}

/// Adds files to the inputs on which a target once failed, each input once and behind those that are there. Says how
/// many are new, and how many there are.
///
/// # Errors
/// If something cannot be read or written.
pub fn keep(target: &str, files: &[&Path]) -> io::Result<(usize, usize)> {
    let before = read_found(target)?;
    let mut new: Vec<Vec<u8>> = Vec::new();
    for file in files {
        let input = std::fs::read(file)?;
        if !before.contains(&input) && !new.contains(&input) {
            new.push(input);
        }
    }
    let packed = packed(new.iter().map(Vec::as_slice))?;
    let mut found =
        std::fs::OpenOptions::new().append(true).create(true).open(found_path(target))?;
    found.write_all(&packed)?;
    Ok((new.len(), before.len() + new.len()))
}

/// Makes the files of `folder` the corpus of a target, each input once, the short ones first, without those that are
/// kept because the target once failed on them. Says how many there are, and how many bytes the file has.
///
/// # Errors
/// If something cannot be read or written.
pub fn pack(target: &str, folder: &Path) -> io::Result<(usize, usize)> {
    let mut inputs = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let input = std::fs::read(entry?.path())?;
        inputs.insert((input.len(), input));
    }
    // They are played beside it.
    for input in read_found(target)? {
        inputs.remove(&(input.len(), input));
    }
    let packed = packed(inputs.iter().map(|(_, input)| input.as_slice()))?;
    let path = path(target);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, &packed)?;
    Ok((inputs.len(), packed.len()))
}

/// Writes the inputs of a target into `folder`, a file each, for a fuzzer to begin with, those too on which it once
/// failed.
///
/// # Errors
/// If something cannot be read or written.
pub fn unpack(target: &str, folder: &Path) -> io::Result<usize> {
    let inputs = [read(target)?, read_found(target)?].concat();
    std::fs::create_dir_all(folder)?;
    for (place, input) in inputs.iter().enumerate() {
        std::fs::write(folder.join(format!("{place:05}")), input)?;
    }
    Ok(inputs.len())
}
