//! A target's corpus as one file: each input behind its length, four bytes, little-endian.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Where the corpus of a target is.
#[must_use]
pub fn path(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora").join(format!("{target}.corpus"))
}

/// The inputs of a target; none if it has no corpus.
///
/// # Errors
/// If the file cannot be read, or is cut off.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let packed = match std::fs::read(path(target)) {
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

/// Makes the files of `folder` the corpus of a target, each input once, the short ones first. Says
/// how many there are, and how many bytes the file has.
///
/// # Errors
/// If something cannot be read or written.
pub fn pack(target: &str, folder: &Path) -> io::Result<(usize, usize)> {
    let mut inputs = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let input = std::fs::read(entry?.path())?;
        inputs.insert((input.len(), input));
    }
    let mut packed = Vec::new();
    for (length, input) in &inputs {
        let length = u32::try_from(*length).map_err(|_| io::ErrorKind::InvalidInput)?;
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(input);
    }
    let path = path(target);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, &packed)?;
    Ok((inputs.len(), packed.len()))
}

/// Writes the inputs of a target into `folder`, a file each, for a fuzzer to begin with.
///
/// # Errors
/// If something cannot be read or written.
pub fn unpack(target: &str, folder: &Path) -> io::Result<usize> {
    let inputs = read(target)?;
    std::fs::create_dir_all(folder)?;
    for (place, input) in inputs.iter().enumerate() {
        std::fs::write(folder.join(format!("{place:05}")), input)?;
    }
    Ok(inputs.len())
}
