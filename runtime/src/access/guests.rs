//! Who came in with a password, so that they can be sent away when it is no longer theirs.

use std::collections::BTreeMap;

use signalhouse_core::ConnectionId;

use super::hash::PasswordHash;
use super::passwords::Passwords;

/// Connections by what let them in. As many as there are connections.
#[derive(Debug, Default)]
pub(crate) struct Guests(BTreeMap<ConnectionId, (Box<str>, PasswordHash)>);

impl Guests {
    pub(crate) fn enter(&mut self, connection: ConnectionId, user: &str, hash: PasswordHash) {
        self.0.insert(connection, (user.into(), hash));
    }

    pub(crate) fn leave(&mut self, connection: ConnectionId) {
        self.0.remove(&connection);
    }

    /// Those whose user is not in `passwords` with the same hash.
    pub(crate) fn no_longer_hold(&self, passwords: Option<&Passwords>) -> Vec<ConnectionId> {
        let holds = |user: &str, hash: &PasswordHash| {
            let user = passwords.and_then(|passwords| passwords.user(user));
            user.is_some_and(|user| user.hash.as_ref() == Some(hash))
        };
        let gone = self.0.iter().filter(|(_, (user, hash))| !holds(user, hash));
        gone.map(|(connection, _)| *connection).collect()
    }
}
