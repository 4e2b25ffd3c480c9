//! The revision of the sources under test, as far as git knows one.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What stands for a revision where there is no git, or no repository.
const UNKNOWN: &str = "unknown";

/// The revision's short name, with a `+` if files of it were changed since.
pub(super) fn revision() -> &'static str {
    static REVISION: OnceLock<String> = OnceLock::new();
    REVISION.get_or_init(|| of(workspace()).unwrap_or_else(|| UNKNOWN.to_owned()))
}

/// The folder with the sources of this program.
pub(super) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

fn of(folder: &Path) -> Option<String> {
    // Sources without a repository of their own may lie in somebody else's.
    if !git(folder, &["rev-parse", "--show-cdup"])?.is_empty() {
        return None;
    }
    let name = git(folder, &["rev-parse", "--short", "HEAD"])?;
    let changes = git(folder, &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { name } else { name + "+" })
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(arguments).stdin(Stdio::null());
    let output = git.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{of, workspace};

    #[test]
    fn a_folder_without_a_repository_of_its_own_has_no_revision() {
        assert_eq!(of(&workspace().join("sim")), None);
        assert_eq!(of(&workspace().join("no such folder")), None);
    }
}
