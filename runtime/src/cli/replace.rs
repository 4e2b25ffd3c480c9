//! Files of secrets, written anew as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Replaces the file as a whole, so that nobody ever reads a half. It keeps its mode and owner; a
/// new one is for its owner's eyes only.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link is kept, and what it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
        if let Ok(before) = fs::metadata(&path) {
            file.set_permissions(fs::Permissions::from_mode(before.permissions().mode()))?;
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
