//! Who clients are and what they may do, as a plan has it: answered to the shipped shard, which asks
//! as it asks its own password files and tokens.

use std::rc::Rc;
use std::sync::Arc;

use signalhouse::seams::{Authenticate, Caller, Clock as _};
use signalhouse_core::credential::Credential;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::permission::Permissions;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{ConnectionId, Question};

use super::shared::Shared;
use crate::clock::SimClock;
use crate::core_layer::{access, setting};
use crate::plan::Plan;

/// Everybody is who they say they are, and until the calm stays for as long as a token lasts.
pub(super) struct Names {
    pub(super) shared: Rc<Shared>,
    /// The clock of the broker's process.
    pub(super) clock: SimClock,
}

/// Whether a plan's clients are asked who they are.
pub(super) fn asks(plan: &Plan) -> bool {
    setting(plan, "ask_credentials").unwrap_or(0) != 0
}

/// The rules in force.
pub(super) fn permissions(shared: &Shared) -> Arc<Permissions> {
    Arc::new(access::permissions(&shared.denials.borrow(), asks(&shared.plan)))
}

impl Authenticate for Names {
    fn asks_credentials(&self, _: ConnectionId) -> bool {
        asks(&self.shared.plan)
    }

    fn methods(&self) -> Vec<Text> {
        Vec::new()
    }

    async fn answer(self: Rc<Self>, _: Caller, question: Question) -> AuthOutcome {
        let identity = match question {
            Question::Credentials { user_name, .. } => user_name,
            Question::Exchange { .. } => None,
        };
        // An answer may take its time; in two plans of three it does.
        let takes_ms = self.shared.plan.seed % 3;
        if takes_ms > 0 {
            self.clock.sleep_ms(takes_ms).await;
        }
        let lifetime_ms = setting(&self.shared.plan, "token.lifetime_ms");
        let lifetime_ms = lifetime_ms.filter(|_| !self.shared.is_calm.get());
        let ends_at = lifetime_ms.map(|ms| self.clock.now().plus_ms(ms));
        let credential = Credential { ends_at, ..Credential::default() };
        AuthOutcome::Accepted { identity, data: None, credential }
    }

    fn forget(&self, _: ConnectionId) {}
}
