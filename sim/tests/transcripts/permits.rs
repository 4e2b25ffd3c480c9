//! What each client of a transcript may do: the operator's rules and its own grants, as they read for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use signalhouse_core::credential::{Claims, Credential};
use signalhouse_core::permission::{Action, Effect, Permissions, Rule, Who};
use signalhouse_core::wire::types::Text;
use signalhouse_sim::history::{Beside, Permit, PermitRule, RuleList};

/// Who is known of, and by which rules.
#[derive(Default)]
pub(crate) struct Permits {
    rules: Arc<Permissions>,
    subjects: BTreeMap<String, Subject>,
    told: BTreeMap<String, Permit>,
}

/// What is known of a client, or of whoever makes a request.
pub(crate) struct Subject {
    /// Its client identifier, as far as rules go by it.
    client_id: String,
    identity: Option<String>,
    claims: Claims,
    grants: Option<Arc<Permissions>>,
    inbox: Option<String>,
}

impl Subject {
    pub(crate) fn new(client_id: &str, identity: Option<&Text>, credential: &Credential) -> Self {
        Subject {
            client_id: client_id.to_owned(),
            identity: identity.map(|name| name.as_str().to_owned()),
            claims: credential.claims.clone(),
            grants: credential.grants.clone(),
            inbox: credential.inbox.as_ref().map(|topic| topic.as_str().to_owned()),
        }
    }
}

impl Permits {
    /// The rules are replaced. What is to be told, as from the others, if anything changes by it.
    pub(crate) fn replace(&mut self, rules: Arc<Permissions>) -> Option<Beside> {
        self.rules = rules;
        self.news()
    }

    /// A client, by the name under which the history knows it, has proved who it is.
    pub(crate) fn meet(&mut self, name: &str, subject: Subject) -> Option<Beside> {
        self.subjects.insert(name.to_owned(), subject);
        self.news()
    }

    /// The broker was restarted: no rules are set, and what was shown for a connection went with it.
    pub(crate) fn restarted(&mut self) -> Option<Beside> {
        self.rules = Arc::default();
        for subject in self.subjects.values_mut() {
            (subject.grants, subject.inbox) = (None, None);
        }
        self.news()
    }

    fn news(&mut self) -> Option<Beside> {
        let all = self.subjects.iter().map(|(name, one)| (name.clone(), self.permit(one)));
        let all: BTreeMap<String, Permit> = all.filter(|(_, permit)| !is_free(permit)).collect();
        let is_new = all != self.told;
        self.told.clone_from(&all);
        is_new.then_some(Beside::Permitted(all))
    }

    fn permit(&self, subject: &Subject) -> Permit {
        let lists = [Some(&self.rules), subject.grants.as_ref()].into_iter().flatten();
        Permit {
            lists: lists.map(|list| resolved(list, subject)).collect(),
            inbox: subject.inbox.clone(),
        }
    }
}

/// Whether it allows everything.
fn is_free(permit: &Permit) -> bool {
    permit.lists.iter().all(|list| list.default_allows && list.rules.is_empty())
}

fn resolved(list: &Permissions, subject: &Subject) -> RuleList {
    RuleList {
        default_allows: list.default_effect() == Effect::Allow,
        rules: list.rules().iter().filter_map(|rule| rule_for(rule, subject)).collect(),
    }
}

/// The rule as it reads for a client, if it is about that one.
fn rule_for(rule: &Rule, subject: &Subject) -> Option<PermitRule> {
    let identity = subject.identity.as_deref();
    let is_about = match &rule.who {
        Who::Any => true,
        Who::Anonymous => identity.is_none(),
        Who::Named => identity.is_some(),
        Who::User(name) => identity == Some(name.as_str()),
        Who::Client(id) => subject.client_id == id.as_str(),
        Who::Claim(name, value) => {
            subject.claims.iter().any(|(known, claimed)| known == name && claimed == value)
        }
    };
    let pattern = pattern_for(rule.pattern.as_text().as_str(), subject)?;
    let allows = rule.effect == Effect::Allow;
    let is_meant = |action| rule.actions.contains(action);
    is_about.then(|| PermitRule {
        allows,
        publish: is_meant(Action::Publish),
        subscribe: is_meant(Action::Subscribe),
        receive: is_meant(Action::Receive),
        pattern,
    })
}

/// A pattern with what its variables stand for; nothing, if one of them has no value that can be a level.
fn pattern_for(source: &str, subject: &Subject) -> Option<String> {
    let mut pattern = String::new();
    let mut rest = source;
    while !rest.is_empty() {
        let Some((value, length)) = variable(rest, subject) else {
            let first = rest.chars().next().map_or(0, char::len_utf8);
            pattern.push_str(&rest[..first]);
            rest = &rest[first..];
            continue;
        };
        let value = value.filter(|value| !value.is_empty() && !value.contains(['/', '+', '#']))?;
        if pattern.is_empty() && value.starts_with('$') {
            return None;
        }
        pattern.push_str(&value);
        rest = &rest[length..];
    }
    Some(pattern)
}

/// The value of the variable with which a text begins, and how long its name is.
fn variable(text: &str, subject: &Subject) -> Option<(Option<String>, usize)> {
    let plain = [
        ("{username}", subject.identity.as_ref()),
        ("%u", subject.identity.as_ref()),
        ("{client_id}", Some(&subject.client_id)),
        ("%c", Some(&subject.client_id)),
    ];
    if let Some((name, value)) = plain.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((value.cloned(), name.len()));
    }
    let claim = text.strip_prefix("{claim.")?;
    let (name, _) = claim.split_once('}')?;
    let values: Vec<&Text> = subject
        .claims
        .iter()
        .filter(|(known, _)| known.as_str() == name)
        .map(|(_, value)| value)
        .collect();
    let value = match values.as_slice() {
        [value] => Some(value.as_str().to_owned()),
        _ => None,
    };
    Some((value, "{claim.}".len() + name.len()))
}
