//! What the operator denies, and allows again, while clients are at work.

use super::{Draft, Percent as _};
use crate::plan::{Denial, Do};

impl Draft {
    /// Changes of the rules in one plan of five, from a stream of their own. At the end everything
    /// is allowed, so that who was refused can come back. Says whether there are any.
    pub(super) fn change_access(&mut self) -> bool {
        let mut chance = self.stream("access");
        if !chance.percent(20) {
            return false;
        }
        if chance.percent(50) {
            self.plan.settings.push(("ask_credentials".to_owned(), 1));
        }
        for _ in 0..chance.between(1, 6) {
            let at_ms = chance.between(300, self.now_ms);
            if chance.percent(25) {
                self.push(at_ms, Do::AllowAll);
                continue;
            }
            let client_id = if chance.percent(70) {
                chance.pick(&self.plan.clients).client_id.clone()
            } else {
                String::new()
            };
            let filter = chance.pick(&self.filters).clone();
            let filter = match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'))
            {
                Some((_, filter)) => filter.to_owned(),
                None => filter,
            };
            let publish = chance.percent(50);
            let read = !publish || chance.percent(30);
            self.push(at_ms, Do::Deny(Denial { client_id, filter, publish, read }));
        }
        self.push(self.now_ms, Do::AllowAll);
        true
    }
}
