//! Who may publish, subscribe and receive what.
//!
//! Rules are compiled and applied here; `permission/pattern.rs` has what a rule says about topics.
//! Files of rules, and who a client is, are other people's business: the driver's.
//!
//! # What is decided, and how
//!
//! Rules are in order. The first one that is about the client, the action and the topic decides;
//! if there is none, the default does.
//!
//! - **Publish** (also as a will): the rule's pattern matches the topic.
//! - **Subscribe**: the pattern covers the requested filter, that is, matches every topic the
//!   filter matches. A rule that is only about some of those topics does not decide, whether it
//!   allows or denies. So with `deny secret/#, allow #`, a subscription to `#` is accepted and one
//!   to `secret/#` or `secret/x` refused. Several rules that cover a filter together do not: each
//!   stands for itself. A shared subscription is judged by the filter behind its share name.
//! - **Receive**, for each delivery: the rules about receiving decide on the topic; and beyond
//!   that, the client must be allowed to subscribe to this very topic. So a wide subscription
//!   never brings what a narrow one would be refused, even if the rule names
//!   [`Action::Subscribe`] alone: `secret/x` is not delivered in the example above.
//!
//! Rules that are replaced hold from then on for existing subscriptions too, because of the last
//! point.
//!
//! Above all rules is a client's own inbox, if it has one: a single topic that it may subscribe to and
//! receive. Nobody else's rights there change by that.
//!
//! A wildcard on a pattern's first level does not reach topics that begin with `$`, except in a
//! rule that denies: `deny #` denies everything. [`Pattern::everything`] allows everything.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::BitOr;

use crate::credential::Claims;
use crate::routing::topic::{Topic, TopicFilter};
use crate::wire::types::Text;

mod pattern;

pub use pattern::{Pattern, PatternError};

/// Whether something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    /// Publish a message, or leave one as its will.
    Publish = 1,
    /// Subscribe to a filter.
    Subscribe = 2,
    /// Be sent a message, live, queued or retained.
    Receive = 4,
}

/// A set of actions. Join them with `|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actions(u8);

impl Actions {
    /// No action. A rule needs at least one.
    pub const NONE: Actions = Actions(0);
    /// What it takes to read a topic: subscribe and receive.
    pub const READ: Actions = Actions(Action::Subscribe as u8 | Action::Receive as u8);
    /// Every action.
    pub const ALL: Actions = Actions(Self::READ.0 | Action::Publish as u8);

    /// Whether `action` is in the set.
    #[must_use]
    pub const fn contains(self, action: Action) -> bool {
        self.0 & action as u8 != 0
    }

    /// Whether the set has no action.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Self {
        Actions(action as u8)
    }
}

impl BitOr for Actions {
    type Output = Actions;

    fn bitor(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }
}

impl BitOr for Action {
    type Output = Actions;

    fn bitor(self, other: Action) -> Actions {
        Actions::from(self) | Actions::from(other)
    }
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every client.
    Any,
    /// Clients without a user name.
    Anonymous,
    /// Clients with a user name, whichever.
    Named,
    /// The clients with this user name.
    User(Text),
    /// The client with this client identifier. Clients choose it themselves, so rely on it only
    /// where authentication vouches for it.
    Client(Text),
    /// The clients of whom this is claimed: the claim's name, and its value or one of them.
    Claim(Text, Text),
}

impl Who {
    fn includes(&self, subject: &Subject<'_>) -> bool {
        match self {
            Who::Any => true,
            Who::Anonymous => subject.user_name.is_none(),
            Who::Named => subject.user_name.is_some(),
            Who::User(name) => subject.user_name == Some(name),
            Who::Client(id) => subject.client_id == id,
            Who::Claim(name, value) => subject.claims.has(name, value),
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it says.
    pub effect: Effect,
    /// To whom.
    pub who: Who,
    /// About which actions, at least one.
    pub actions: Actions,
    /// On which topics.
    pub pattern: Pattern,
}

/// The client that wants something.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The user name it was authenticated by; `None` for an anonymous client.
    pub user_name: Option<&'a Text>,
    /// Its client identifier.
    pub client_id: &'a Text,
    /// What is claimed of it beyond that.
    pub claims: &'a Claims,
    /// What it may do at most, whatever the broker's rules allow.
    pub grants: Option<&'a Permissions>,
    /// A topic that it may subscribe to and receive in any case.
    pub inbox: Option<&'a Topic>,
}

impl<'a> Subject<'a> {
    /// A client of whom nothing else is known.
    #[must_use]
    pub const fn new(user_name: Option<&'a Text>, client_id: &'a Text) -> Self {
        Subject { user_name, client_id, claims: &Claims::NONE, grants: None, inbox: None }
    }

    /// Whether a topic or filter is its inbox.
    fn owns(&self, narrow: &[u8]) -> bool {
        self.inbox.is_some_and(|inbox| inbox.as_text().as_bytes() == narrow)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// The place of the deciding rule, from 0; `None` if it was the default or the inbox.
    pub rule: Option<usize>,
}

/// A compiled rule set. The module's documentation says how it decides.
///
/// The default allows everything. A decision looks only at the rules for the client's user name or
/// client identifier and at those for many clients, so a rule for each of a million users costs
/// one lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    default: Effect,
    rules: Box<[Rule]>,
    index: Index,
    /// Whether some rule speaks of only one of subscribing and receiving.
    splits_reading: bool,
}

impl Permissions {
    /// Compiles `rules`; what none of them decides gets the effect `default`.
    ///
    /// # Errors
    /// [`RulesError`] names the rule.
    pub fn new(default: Effect, rules: Vec<Rule>) -> Result<Self, RulesError> {
        let mut index = Index::default();
        for (place, rule) in rules.iter().enumerate() {
            if rule.actions.is_empty() {
                return Err(RulesError::NoActions { rule: place });
            }
            index.add(place, &rule.who);
        }
        let splits_reading = rules.iter().any(|rule| {
            rule.actions.contains(Action::Subscribe) != rule.actions.contains(Action::Receive)
        });
        Ok(Permissions { default, rules: rules.into(), index, splits_reading })
    }

    /// Whether everybody may do everything, so that there is nothing to ask.
    #[must_use]
    pub fn is_allow_all(&self) -> bool {
        self.default == Effect::Allow && self.rules.is_empty()
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What holds where no rule decides.
    #[must_use]
    pub fn default_effect(&self) -> Effect {
        self.default
    }

    /// Whether `subject` may do `action` on `topic`. To subscribe means, here, to this very topic.
    #[must_use]
    #[inline]
    pub fn allows(&self, subject: &Subject<'_>, action: Action, topic: &Topic) -> Decision {
        if self.is_allow_all() && subject.grants.is_none() {
            return Decision { allowed: true, rule: None };
        }
        self.allows_by_rules(subject, action, topic)
    }

    fn allows_by_rules(&self, subject: &Subject<'_>, action: Action, topic: &Topic) -> Decision {
        if Actions::READ.contains(action) && subject.owns(topic.as_text().as_bytes()) {
            return Decision { allowed: true, rule: None };
        }
        let decision = self.allows_alone(subject, action, topic);
        let granted = |grants: &Permissions| grants.allows_alone(subject, action, topic).allowed;
        Self::narrow(decision, subject, granted)
    }

    /// [`Permissions::allows`] without the subject's own grants.
    fn allows_alone(&self, subject: &Subject<'_>, action: Action, topic: &Topic) -> Decision {
        let name = topic.as_text().as_bytes();
        let decision = self.decide(subject, action, name);
        if action == Action::Receive && decision.allowed && self.splits_reading {
            let subscribe = self.decide(subject, Action::Subscribe, name);
            if !subscribe.allowed {
                return subscribe;
            }
        }
        decision
    }

    /// Whether `subject` may subscribe to `filter`.
    #[must_use]
    pub fn allows_subscribe(&self, subject: &Subject<'_>, filter: &TopicFilter) -> Decision {
        let narrow = filter.covered_bytes();
        if subject.owns(narrow) {
            return Decision { allowed: true, rule: None };
        }
        let decision = self.decide(subject, Action::Subscribe, narrow);
        let granted =
            |grants: &Permissions| grants.decide(subject, Action::Subscribe, narrow).allowed;
        Self::narrow(decision, subject, granted)
    }

    /// A decision that holds for `subject`, whose own grants may allow less.
    fn narrow(
        decision: Decision,
        subject: &Subject<'_>,
        granted: impl FnOnce(&Permissions) -> bool,
    ) -> Decision {
        match subject.grants {
            Some(grants) if decision.allowed => Decision { allowed: granted(grants), ..decision },
            Some(_) | None => decision,
        }
    }

    /// The first rule about all of `narrow`, the bytes of a topic or of a filter.
    fn decide(&self, subject: &Subject<'_>, action: Action, narrow: &[u8]) -> Decision {
        let mut candidates = self.index.candidates(subject);
        while let Some(place) = candidates.next()
            && let Some(rule) = self.rules.get(place)
        {
            // Denying errs on the side of denying.
            let reaches_system = rule.effect == Effect::Deny;
            if rule.actions.contains(action)
                && rule.who.includes(subject)
                && rule.pattern.covers(subject, narrow, reaches_system)
            {
                return Decision { allowed: rule.effect == Effect::Allow, rule: Some(place) };
            }
        }
        Decision { allowed: self.default == Effect::Allow, rule: None }
    }
}

impl Default for Permissions {
    fn default() -> Self {
        Permissions {
            default: Effect::Allow,
            rules: Box::default(),
            index: Index::default(),
            splits_reading: false,
        }
    }
}

/// Why rules cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A rule is about no action.
    #[error("rule {rule} is about no action")]
    NoActions {
        /// The rule's place, from 0.
        rule: usize,
    },
}

/// The places of rules, by whom they are about; each list ascends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    users: BTreeMap<Text, Vec<usize>>,
    clients: BTreeMap<Text, Vec<usize>>,
    /// Rules about many clients.
    others: Vec<usize>,
}

impl Index {
    fn add(&mut self, place: usize, who: &Who) {
        let places = match who {
            Who::Any | Who::Anonymous | Who::Named | Who::Claim(..) => &mut self.others,
            Who::User(name) => self.users.entry(name.clone()).or_default(),
            Who::Client(id) => self.clients.entry(id.clone()).or_default(),
        };
        places.push(place);
    }

    fn candidates(&self, subject: &Subject<'_>) -> Candidates<'_> {
        let user = subject.user_name.and_then(|name| self.users.get(name));
        let client = self.clients.get(subject.client_id);
        Candidates([
            &self.others,
            user.map_or(&[], Vec::as_slice),
            client.map_or(&[], Vec::as_slice),
        ])
    }
}

/// Merges three ascending lists without common elements.
struct Candidates<'a>([&'a [usize]; 3]);

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lists = self.0.iter_mut().filter(|list| !list.is_empty());
        lists.min_by_key(|list| list.first().copied())?.split_off_first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(effect: Effect, who: Who, actions: impl Into<Actions>, pattern: &str) -> Rule {
        let pattern = Pattern::new(pattern).expect("a pattern");
        Rule { effect, who, actions: actions.into(), pattern }
    }

    fn text(text: &str) -> Text {
        Text::try_from(text).expect("a string of the protocol")
    }

    /// Asks for the user `ann` at the client `c1`.
    fn decision(permissions: &Permissions, action: Action, topic: &str) -> (bool, Option<usize>) {
        let (user_name, client_id) = (text("ann"), text("c1"));
        let subject = Subject::new(Some(&user_name), &client_id);
        let topic = Topic::try_from(topic).expect("a topic");
        let decision = permissions.allows(&subject, action, &topic);
        (decision.allowed, decision.rule)
    }

    fn may_subscribe(permissions: &Permissions, filter: &str) -> (bool, Option<usize>) {
        let (user_name, client_id) = (text("ann"), text("c1"));
        let subject = Subject::new(Some(&user_name), &client_id);
        let filter = TopicFilter::try_from(filter).expect("a filter");
        let decision = permissions.allows_subscribe(&subject, &filter);
        (decision.allowed, decision.rule)
    }

    #[test]
    fn everything_is_allowed_by_default() {
        let permissions = Permissions::default();
        assert!(permissions.is_allow_all());
        assert_eq!(decision(&permissions, Action::Publish, "$SYS/x"), (true, None));
        assert_eq!(may_subscribe(&permissions, "#"), (true, None));
    }

    #[test]
    fn the_first_rule_about_it_decides() {
        let permissions = Permissions::new(
            Effect::Deny,
            alloc::vec![
                rule(Effect::Allow, Who::Client(text("c2")), Actions::ALL, "#"),
                rule(Effect::Deny, Who::User(text("ann")), Action::Publish, "a/+"),
                rule(Effect::Allow, Who::Client(text("c1")), Actions::ALL, "a/#"),
                rule(Effect::Deny, Who::Any, Actions::ALL, "a/b"),
                rule(Effect::Allow, Who::Named, Actions::ALL, "users/{username}/#"),
                rule(Effect::Allow, Who::Anonymous, Actions::ALL, "#"),
            ],
        )
        .expect("rules");
        assert_eq!(decision(&permissions, Action::Publish, "a/b"), (false, Some(1)));
        assert_eq!(decision(&permissions, Action::Receive, "a/b"), (true, Some(2)));
        assert_eq!(decision(&permissions, Action::Publish, "users/ann/x"), (true, Some(4)));
        assert_eq!(decision(&permissions, Action::Publish, "users/bob/x"), (false, None));
        let error = Permissions::new(
            Effect::Allow,
            alloc::vec![rule(Effect::Allow, Who::Any, Actions::NONE, "a")],
        );
        assert_eq!(error, Err(RulesError::NoActions { rule: 0 }));
    }

    #[test]
    fn a_wide_subscription_does_not_bring_what_a_narrow_one_is_refused() {
        for denied in [Actions::READ, Action::Subscribe.into(), Action::Receive.into()] {
            let permissions = Permissions::new(
                Effect::Deny,
                alloc::vec![
                    rule(Effect::Deny, Who::Any, denied, "secret/#"),
                    rule(Effect::Allow, Who::Any, Actions::ALL, "#"),
                ],
            )
            .expect("rules");
            assert_eq!(may_subscribe(&permissions, "#"), (true, Some(1)));
            assert_eq!(may_subscribe(&permissions, "+/x"), (true, Some(1)));
            let refused = denied.contains(Action::Subscribe);
            assert_eq!(may_subscribe(&permissions, "secret/+").0, !refused);
            assert_eq!(may_subscribe(&permissions, "$share/g/secret/#").0, !refused);
            assert_eq!(decision(&permissions, Action::Receive, "secret/x"), (false, Some(0)));
            assert_eq!(decision(&permissions, Action::Receive, "x"), (true, Some(1)));
            assert_eq!(decision(&permissions, Action::Publish, "secret/x"), (true, Some(1)));
        }
    }

    #[test]
    fn narrow_subscriptions_can_be_allowed_where_wide_ones_are_not() {
        let permissions = Permissions::new(
            Effect::Allow,
            alloc::vec![
                rule(Effect::Allow, Who::Any, Action::Subscribe, "rooms/+/chat"),
                rule(Effect::Deny, Who::Any, Action::Subscribe, "#"),
            ],
        )
        .expect("rules");
        assert_eq!(may_subscribe(&permissions, "rooms/1/chat"), (true, Some(0)));
        assert_eq!(may_subscribe(&permissions, "rooms/#"), (false, Some(1)));
        assert_eq!(decision(&permissions, Action::Receive, "rooms/1/chat"), (true, None));
        assert_eq!(decision(&permissions, Action::Receive, "rooms/1"), (false, Some(1)));
    }

    #[test]
    fn leading_wildcards_reach_system_topics_only_to_deny() {
        let allow = |pattern| {
            let rule =
                Rule { effect: Effect::Allow, who: Who::Any, actions: Actions::ALL, pattern };
            Permissions::new(Effect::Deny, alloc::vec![rule]).expect("rules")
        };
        let all = allow(Pattern::new("#").expect("a pattern"));
        assert_eq!(decision(&all, Action::Publish, "$SYS/x"), (false, None));
        assert_eq!(may_subscribe(&all, "$SYS/#"), (false, None));
        assert_eq!(may_subscribe(&all, "#"), (true, Some(0)));
        let everything = allow(Pattern::everything());
        assert_eq!(decision(&everything, Action::Publish, "$SYS/x"), (true, Some(0)));
        assert_eq!(may_subscribe(&everything, "$SYS/#"), (true, Some(0)));
        let deny = rule(Effect::Deny, Who::Any, Actions::ALL, "+/#");
        let none = Permissions::new(Effect::Allow, alloc::vec![deny]).expect("rules");
        assert_eq!(decision(&none, Action::Publish, "$SYS/x"), (false, Some(0)));
        assert_eq!(may_subscribe(&none, "$SYS/#"), (false, Some(0)));
    }
}
