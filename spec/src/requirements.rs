//! The statements of the standard as data, each with what shows that it is kept.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The file, as it was when this was built.
pub const TEXT: &str = include_str!("../requirements.toml");

/// `requirements.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// The normative statements of MQTT 5.0.
    pub statement: Vec<Statement>,
    /// Those of MQTT 3.1.1 that differ.
    pub older: Vec<Older>,
    /// What else users expect.
    pub expected: Vec<Expected>,
}

/// A normative statement of MQTT 5.0.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// `MQTT-x.y.z-n`.
    pub id: String,
    /// Whom it binds: `server`, `client` or `both`.
    pub binds: String,
    /// The packets it is about.
    pub packet: Vec<String>,
    /// `MUST` or `MUST NOT`.
    pub level: String,
    /// How it shows: `wire`, `reject`, `client` or `internal`.
    pub check: String,
    /// In our own words.
    pub paraphrase: String,
    /// What shows it.
    pub shown_by: Vec<String>,
    /// Why nothing shows it: none but a client can obey it, and a server has no answer to a violation.
    #[serde(default)]
    pub not_shown: String,
}

/// A statement of MQTT 3.1.1 that differs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Older {
    /// `MQTT311-x.y.z-n`.
    pub id: String,
    /// In our own words.
    pub paraphrase: String,
    /// What shows it.
    pub shown_by: Vec<String>,
    /// Why nothing shows it here, if nothing does.
    #[serde(default)]
    pub not_shown: String,
}

/// Behaviour that the text asks for, advises or allows outside the numbered statements.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// A name of ours.
    pub name: String,
    /// Where the text has it.
    pub section: String,
    /// The packets it is about.
    pub packet: Vec<String>,
    /// In our own words.
    pub paraphrase: String,
    /// What shows it.
    pub shown_by: Vec<String>,
    /// Why nothing shows it here, if nothing does.
    #[serde(default)]
    pub not_shown: String,
}

impl Requirements {
    /// The requirements that were built in.
    ///
    /// # Panics
    /// Never: a test reads the same text.
    #[must_use]
    pub fn load() -> Self {
        toml::from_str(TEXT).expect("requirements.toml was read by a test")
    }

    /// Every identifier with what shows it.
    #[must_use]
    pub fn all(&self) -> Vec<(&str, &[String])> {
        let statements = self.statement.iter().map(|one| (one.id.as_str(), &one.shown_by[..]));
        let older = self.older.iter().map(|one| (one.id.as_str(), &one.shown_by[..]));
        let expected = self.expected.iter().map(|one| (one.name.as_str(), &one.shown_by[..]));
        statements.chain(older).chain(expected).collect()
    }

    /// How many of the normative statements of 5.0 the cases show.
    #[must_use]
    pub fn covered_by(&self, cases: &BTreeSet<&str>) -> usize {
        let shows = |shown: &str| shown.strip_prefix("suite:").is_some_and(|n| cases.contains(n));
        self.statement.iter().filter(|one| one.shown_by.iter().any(|by| shows(by))).count()
    }

    /// The normative statements of 5.0 that only a client can obey. What shows one of these shows how a server meets a
    /// client that does not.
    #[must_use]
    pub fn client_only(&self) -> usize {
        self.statement.iter().filter(|one| one.check == "client").count()
    }

    /// Those of them to whose violation no server has an answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.statement.iter().filter(|one| !one.not_shown.is_empty()).count()
    }
}
