//! What is promised to those who publish without a connection, kept beside the broker.

use std::collections::BTreeMap;

use signalhouse_core::input::{PublishCommand, Publisher};
use signalhouse_core::permission::{Action, Permissions, Subject};
use signalhouse_core::wire::types::Text;
use signalhouse_core::{Answer, Time};

use super::settings::REQUEST_KEY_MS;

/// Each identity's keys are its own.
type Key = (Option<Text>, Text);

/// Every request, since the last crash, that has no answer; and what was carried out.
#[derive(Debug, Default)]
pub(super) struct Requests {
    tickets: u64,
    asked: BTreeMap<u64, Asked>,
    carried_out: BTreeMap<Key, CarriedOut>,
}

#[derive(Debug)]
struct Asked {
    key: Option<Key>,
    at: Time,
    /// Whether the journal may know of it.
    is_recorded: bool,
    is_allowed: bool,
}

#[derive(Debug)]
struct CarriedOut {
    ticket: u64,
    at: Time,
    is_recorded: bool,
    matched: u32,
}

impl Requests {
    /// Somebody asks. Returns the ticket.
    pub(super) fn ask(
        &mut self,
        now: Time,
        message: &PublishCommand,
        publisher: Option<&Publisher>,
        once: Option<&Text>,
        permissions: &Permissions,
    ) -> u64 {
        let identity = publisher.and_then(|publisher| publisher.identity.clone());
        let is_allowed = publisher.is_none_or(|publisher| {
            let subject = Subject {
                user_name: publisher.identity.as_ref(),
                client_id: &publisher.client_id,
                claims: &publisher.credential.claims,
                grants: publisher.credential.grants.as_deref(),
                inbox: publisher.credential.inbox.as_deref(),
            };
            permissions.allows(&subject, Action::Publish, &message.topic).allowed
        });
        let key = once.map(|once| (identity, once.clone()));
        self.tickets += 1;
        let is_recorded = !message.topic.as_str().starts_with("$SYS/");
        self.asked.insert(self.tickets, Asked { key, at: now, is_recorded, is_allowed });
        self.tickets
    }

    /// The broker answers.
    ///
    /// # Panics
    /// If it was not asked, answers twice, takes what is not allowed, or carries out twice what is
    /// to be done once.
    pub(super) fn answered(&mut self, answer: &Answer, keeps_keys: bool) {
        let asked = self.asked.remove(&answer.ticket);
        let Asked { key, at, is_recorded, is_allowed } =
            asked.unwrap_or_else(|| panic!("nobody waits for {answer:?}"));
        let is_taken = !answer.reason.is_error();
        assert!(!is_taken || answer.repeated || is_allowed, "{answer:?} is not allowed");
        let Some(key) = key else {
            return assert!(!answer.repeated, "{answer:?} repeats what has no key");
        };
        if !is_taken {
            return;
        }
        let earlier = self.carried_out.get(&key);
        if !answer.repeated {
            // Answers come as the disk lets them, not in the order in which they were asked for.
            let is_again = earlier.is_some_and(|earlier| {
                at.since_ms(earlier.at).max(earlier.at.since_ms(at)) < REQUEST_KEY_MS
            });
            assert!(!is_again || !keeps_keys, "{answer:?} is carried out again");
            if earlier.is_none_or(|earlier| earlier.ticket < answer.ticket) {
                let Answer { ticket, matched, .. } = *answer;
                self.carried_out.insert(key, CarriedOut { ticket, at, is_recorded, matched });
            }
        } else if let Some(earlier) = earlier
            && earlier.ticket < answer.ticket
            && earlier.at.plus_ms(REQUEST_KEY_MS) > at
        {
            assert_eq!(earlier.matched, answer.matched, "{answer:?} is the earlier answer");
        }
    }

    /// The process ends: nobody waits for an answer any more, and nothing of `$SYS` is known. What was not
    /// answered may have been carried out, and then counts as what its key stands for.
    pub(super) fn crash(&mut self) {
        for key in std::mem::take(&mut self.asked).into_values().filter_map(|asked| asked.key) {
            self.carried_out.remove(&key);
        }
        self.carried_out.retain(|_, request| request.is_recorded);
    }

    /// Whether a key stands for something that is never recorded.
    pub(super) fn is_unrecorded(&self, identity: Option<&Text>, key: &Text) -> bool {
        let carried_out = self.carried_out.get(&(identity.cloned(), key.clone()));
        carried_out.is_some_and(|request| !request.is_recorded)
    }

    /// # Panics
    /// If somebody waits in vain.
    pub(super) fn assert_all_answered(&self) {
        assert!(self.asked.is_empty(), "no answer comes: {:?}", self.asked);
    }
}
