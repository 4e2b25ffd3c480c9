//! How a play ends badly: with a broken promise, which is what it looks for, or with anything else.

use std::fmt;

use crate::process::Ended;
use crate::undo::Undone;

#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker did not keep what it had promised.
    Broken(String),
    /// The play could not be played, and says nothing about promises.
    Unplayed(String),
}

impl Failure {
    /// The broker does not start again. After a power cut that took something back, a store that is no longer
    /// what it was is a broken promise.
    pub(crate) fn to_start(ended: &Ended, undone: Undone) -> Self {
        let is_refused = [" is damaged at offset ", " is missing"]
            .iter()
            .any(|refusal| ended.said.contains(refusal));
        let what = format!("it does not start: it {ended}");
        if ended.code == Some(65) && is_refused && undone.sectors + undone.names > 0 {
            Failure::Broken(what)
        } else {
            Failure::Unplayed(what)
        }
    }

    /// The same as a proof that missing syncs are found: something must have been acknowledged, and something
    /// must have been taken back.
    pub(crate) fn into_proof(self, acknowledged: u64, undone: Undone) -> Self {
        match self {
            Failure::Broken(what) if acknowledged == 0 || undone.writes == 0 => {
                let Undone { writes, .. } = undone;
                Failure::Unplayed(format!(
                    "{what}; but {acknowledged} messages were acknowledged and {writes} writes were not synced"
                ))
            }
            failure @ (Failure::Broken(_) | Failure::Unplayed(_)) => failure,
        }
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Failure::Unplayed(what)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Broken(what) => write!(f, "a broken promise: {what}"),
            Failure::Unplayed(what) => write!(f, "not played to its end: {what}"),
        }
    }
}
