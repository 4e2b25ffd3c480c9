//! Who answers the broker's questions about who a client is.

use std::future::Future;
use std::rc::Rc;

use signalhouse_core::credential::Credential;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{ConnectionId, Question};

/// Answers who a client is: password files, tokens, enhanced methods.
///
/// An answer may take its time (password hashing belongs on another thread): the connection waits,
/// nobody else does. A connection has one question open at a time.
pub trait Authenticate: 'static {
    /// Whether every client's credentials are to be checked. If not, clients that use no enhanced
    /// method come in as anonymous, without a question.
    fn asks_credentials(&self) -> bool;

    /// The enhanced methods that [`Question::Exchange`] may name. Others are refused with 0x8C.
    fn methods(&self) -> Vec<Text>;

    /// The answer to `question`. An enhanced method keeps what it must remember between the steps
    /// of an exchange under `connection`.
    fn answer(
        self: Rc<Self>,
        connection: ConnectionId,
        question: Question,
    ) -> impl Future<Output = AuthOutcome> + 'static;

    /// The connection is gone, and with it any exchange on it.
    fn forget(&self, connection: ConnectionId);
}

/// Asks nobody: every client is anonymous.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Authenticate for Anonymous {
    fn asks_credentials(&self) -> bool {
        false
    }

    fn methods(&self) -> Vec<Text> {
        Vec::new()
    }

    async fn answer(self: Rc<Self>, _: ConnectionId, _: Question) -> AuthOutcome {
        AuthOutcome::Accepted { identity: None, data: None, credential: Credential::default() }
    }

    fn forget(&self, _: ConnectionId) {}
}
