//! How clients go about what they do, each manner from a stream of its own: several filters in one packet, topic
//! aliases, refusals, and identifiers that are left to the broker.

use super::{Draft, Percent as _};
use crate::plan::Do;

impl Draft {
    pub(super) fn have_manners(&mut self) {
        self.join_filters();
        self.use_aliases();
        self.refuse();
        self.leave_names_to_the_broker();
    }

    /// In two plans of five some requests for and against subscriptions have more than one filter.
    fn join_filters(&mut self) {
        let mut chance = self.stream("filters");
        if !chance.percent(40) {
            return;
        }
        std::mem::swap(&mut self.chance, &mut chance);
        for place in 0..self.plan.steps.len() {
            let step = &mut self.plan.steps[place];
            let at_ms = step.at_ms;
            let subscribes = matches!(step.what, Do::Subscribe { .. });
            let (Do::Subscribe { client, joined, .. } | Do::Unsubscribe { client, joined, .. }) =
                &mut step.what
            else {
                continue;
            };
            if !self.chance.percent(40) {
                continue;
            }
            *joined = true;
            let client = *client;
            let first = self.plan.steps.len();
            for _ in 0..self.chance.between(1, 3) {
                if subscribes {
                    self.subscribe(at_ms, client);
                } else {
                    self.unsubscribe(at_ms, client);
                }
            }
            let last = self.plan.steps.len() - 1;
            for step in &mut self.plan.steps[first..last] {
                if let Do::Subscribe { joined, .. } | Do::Unsubscribe { joined, .. } =
                    &mut step.what
                {
                    *joined = true;
                }
            }
        }
        std::mem::swap(&mut self.chance, &mut chance);
    }

    /// In half of the plans.
    fn use_aliases(&mut self) {
        let mut chance = self.stream("client aliases");
        if chance.percent(50) {
            for client in &mut self.plan.clients {
                client.aliases = client.level >= 5 && chance.percent(50);
            }
        }
    }

    /// In a quarter of the plans.
    fn refuse(&mut self) {
        let mut chance = self.stream("refusals");
        if chance.percent(25) {
            for client in &mut self.plan.clients {
                client.refuses = client.level >= 5 && chance.percent(40);
            }
        }
    }

    /// In a quarter of the plans some clients have no identifier, where nothing goes by that.
    fn leave_names_to_the_broker(&mut self) {
        let mut chance = self.stream("names");
        let goes_by_names = |name: &str| name.starts_with("quota.") || name.starts_with("token.");
        let settings = &self.plan.settings;
        if settings.iter().any(|(name, _)| goes_by_names(name)) || !chance.percent(25) {
            return;
        }
        for place in 0..self.plan.clients.len() {
            let client_id = self.plan.clients[place].client_id.clone();
            let holders = self.plan.clients.iter().filter(|one| one.client_id == client_id);
            let is_denied = self.plan.steps.iter().any(
                |step| matches!(&step.what, Do::Deny(denial) if denial.client_id == client_id),
            );
            // 3.1 has no clients without.
            let may = self.plan.clients[place].level >= 4 && holders.count() == 1 && !is_denied;
            if may && chance.percent(35) {
                self.plan.clients[place].client_id.clear();
            }
        }
    }
}
