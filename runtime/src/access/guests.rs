//! Who came in by what, so that they can be sent away when it no longer holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use signalhouse_core::ConnectionId;

use super::Known;
use super::hash::PasswordHash;
use super::token::Basis;
use crate::transport::tls::{Authority, Shown};

/// What a client was let in by.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// The password that had this hash.
    Password { user: Box<str>, hash: PasswordHash },
    /// A token. When it ends is the broker's matter.
    Token(Basis),
    /// A certificate. When it ends is the broker's matter.
    Certificate(Arc<Shown>),
}

impl Proof {
    /// Whether it would let its bearer in today.
    pub(crate) fn holds(&self, known: &Known) -> bool {
        match self {
            Proof::Certificate(shown) => {
                known.authority.as_ref().is_some_and(|authority| authority.vouches_for(shown))
            }
            Proof::Password { user, hash } => {
                let user = known.passwords.as_ref().and_then(|passwords| passwords.user(user));
                user.is_some_and(|user| user.hash.as_ref() == Some(hash))
            }
            Proof::Token(basis) => known.tokens.still_has(*basis),
        }
    }
}

/// Connections by what let them in: as many as there are connections, and those who wait for the
/// answer.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    waiting: BTreeSet<ConnectionId>,
    inside: BTreeMap<ConnectionId, Proof>,
    /// Let in without showing anything.
    unnamed: BTreeSet<ConnectionId>,
}

impl Guests {
    /// The connection wants to know whether it is let in.
    pub(crate) fn wait(&mut self, connection: ConnectionId) {
        self.waiting.insert(connection);
    }

    /// Whether the connection is still there to hear the answer. It no longer waits.
    pub(crate) fn answer(&mut self, connection: ConnectionId) -> bool {
        self.waiting.remove(&connection)
    }

    /// The connection is let in.
    pub(crate) fn enter(&mut self, connection: ConnectionId, proof: Proof) {
        self.inside.insert(connection, proof);
    }

    /// The connection is let in without having shown anything.
    pub(crate) fn enter_unnamed(&mut self, connection: ConnectionId) {
        self.unnamed.insert(connection);
    }

    pub(crate) fn leave(&mut self, connection: ConnectionId) {
        self.waiting.remove(&connection);
        self.inside.remove(&connection);
        self.unnamed.remove(&connection);
    }

    /// What has to be judged again now that `known` is known.
    pub(crate) fn review(&self, known: &Arc<Known>) -> Review {
        let mut review = Review { gone: Vec::new(), shown: Vec::new(), authority: None };
        for (connection, proof) in &self.inside {
            match proof {
                Proof::Certificate(shown) => review.shown.push((*connection, Arc::clone(shown))),
                Proof::Password { .. } | Proof::Token(_) if !proof.holds(known) => {
                    review.gone.push(*connection);
                }
                Proof::Password { .. } | Proof::Token(_) => {}
            }
        }
        if !known.allow_anonymous {
            review.gone.extend(&self.unnamed);
        }
        review.authority.clone_from(&known.authority);
        review
    }
}

/// Who may have to leave after files were read again.
#[derive(Debug)]
pub struct Review {
    gone: Vec<ConnectionId>,
    shown: Vec<(ConnectionId, Arc<Shown>)>,
    authority: Option<Authority>,
}

impl Review {
    /// The connections whose users are gone or have another password than the one they came in with,
    /// that did not say who they are and now would have to, whose token's key is gone, or whose
    /// certificate nobody vouches for any more. Checks
    /// the signatures of certificates, so with many of them it belongs on a thread of its own.
    #[must_use]
    pub fn gone(self) -> Vec<ConnectionId> {
        let Review { mut gone, shown, authority } = self;
        let vouches = |shown: &Shown| {
            authority.as_ref().is_some_and(|authority| authority.vouches_for(shown))
        };
        gone.extend(shown.iter().filter(|(_, shown)| !vouches(shown)).map(|(id, _)| *id));
        gone
    }
}
