//! Who answers the broker's questions about who a client is.

use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use signalhouse_core::credential::Credential;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{ConnectionId, Question};

use crate::transport::tls::Shown;

/// What a connection itself shows of who is at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The connection.
    pub connection: ConnectionId,
    /// Where it comes from.
    pub address: IpAddr,
    /// The certificate that its client showed and proved to own.
    pub certificate: Option<Arc<Shown>>,
}

/// Answers who a client is: password files, tokens, enhanced methods.
///
/// An answer may take its time (password hashing belongs on another thread): the connection waits,
/// nobody else does. A connection has one question open at a time.
pub trait Authenticate: 'static {
    /// Whether the credentials of a client that uses no enhanced method are to be checked. If not,
    /// it comes in as anonymous at once, and whoever answers so may remember that of the connection. Heard at
    /// every CONNECT, for the answer may change.
    fn asks_credentials(&self, connection: ConnectionId) -> bool;

    /// The enhanced methods that [`Question::Exchange`] may ever name, as known at the start. Others
    /// are refused with 0x8C.
    fn methods(&self) -> Vec<Text>;

    /// The answer to `question`. An enhanced method keeps what it must remember between the steps
    /// of an exchange under the caller's connection.
    fn answer(
        self: Rc<Self>,
        caller: Caller,
        question: Question,
    ) -> impl Future<Output = AuthOutcome> + 'static;

    /// The connection is gone, and with it any exchange on it.
    fn forget(&self, connection: ConnectionId);
}

/// Asks nobody: every client is anonymous.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Authenticate for Anonymous {
    fn asks_credentials(&self, _: ConnectionId) -> bool {
        false
    }

    fn methods(&self) -> Vec<Text> {
        Vec::new()
    }

    async fn answer(self: Rc<Self>, _: Caller, _: Question) -> AuthOutcome {
        AuthOutcome::Accepted { identity: None, data: None, credential: Credential::default() }
    }

    fn forget(&self, _: ConnectionId) {}
}
