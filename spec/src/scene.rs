//! What a case plays on: connections to the target under names that no other case uses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::case::Checked;
use crate::client::Client;
use crate::line::{Line, Socket};
use crate::wire::Version;
use crate::wire::build::Connect;
use crate::wire::encode;
use crate::wire::packet::Publish;

/// What the connections of a case share.
#[derive(Debug)]
pub struct Shared {
    pub(crate) patience: Duration,
    pub(crate) settle: Duration,
    /// Topics that may hold a retained message at the end.
    pub(crate) retained: RefCell<Vec<Vec<u8>>>,
    log: RefCell<Vec<String>>,
    kinds: Cell<u32>,
    unjudged: RefCell<BTreeSet<&'static str>>,
}

impl Shared {
    pub(crate) fn note(&self, line: String) {
        self.log.borrow_mut().push(line);
    }

    pub(crate) fn saw(&self, kind: u8) {
        self.kinds.set(self.kinds.get() | 1 << kind);
    }

    pub(crate) fn sent(&self, kind: u8) {
        self.kinds.set(self.kinds.get() | 1 << (16 + kind));
    }
}

/// One case's place.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What the target offers.
    pub capabilities: &'a Capabilities,
    /// Begins every client identifier of this case.
    pub unique: String,
    target: SocketAddr,
    shared: Rc<Shared>,
}

impl<'a> Scene<'a> {
    /// A place under the name `unique`, of letters and digits.
    #[must_use]
    pub fn new(target: SocketAddr, capabilities: &'a Capabilities, unique: String) -> Self {
        let shared = Shared {
            patience: Duration::from_millis(capabilities.patience_ms),
            settle: Duration::from_millis(capabilities.settle_ms),
            retained: RefCell::default(),
            log: RefCell::default(),
            kinds: Cell::default(),
            unjudged: RefCell::default(),
        };
        Scene { capabilities, unique, target, shared: Rc::new(shared) }
    }

    /// A connection that has sent nothing yet.
    ///
    /// # Errors
    /// The target does not accept it.
    pub fn open(&self, label: &str) -> Checked<Client> {
        let line = if self.capabilities.by_websocket {
            Line::WebSocket(Socket::open(self.capabilities, "mqtt")?)
        } else {
            Line::tcp(&self.target, self.shared.patience)?
        };
        Ok(Client::new(line, Rc::clone(&self.shared), label))
    }

    /// CONNECT of the client `name` of this case, with the target's credentials if there are any.
    #[must_use]
    pub fn client(&self, name: &str) -> Connect {
        let mut connect = Connect::new(format!("{}{name}", self.unique));
        if let Some(credentials) = &self.capabilities.credentials {
            connect.user_name = Some(credentials.user_name.clone());
            connect.password = Some(credentials.password.clone().into_bytes());
        }
        connect
    }

    /// An accepted connection.
    ///
    /// # Errors
    /// The target does not accept it.
    pub fn connect(&self, connect: &Connect) -> Checked<Client> {
        let label = connect.client_id.strip_prefix(&self.unique).unwrap_or("?");
        let mut client = self.open(label)?;
        client.connect(connect)?;
        Ok(client)
    }

    /// An accepted connection of the client `name`, from a clean start.
    ///
    /// # Errors
    /// The target does not accept it.
    pub fn start(&self, name: &str) -> Checked<Client> {
        self.connect(&self.client(name))
    }

    /// An accepted connection in an older version.
    ///
    /// # Errors
    /// The target does not accept it.
    pub fn start_in(&self, version: Version, name: &str) -> Checked<Client> {
        self.connect(&self.client(name).version(version))
    }

    /// A topic of this case.
    #[must_use]
    pub fn topic(&self, name: &str) -> String {
        format!("conformance/{}/{name}", self.unique)
    }

    /// A topic that the target refuses to clients.
    ///
    /// # Errors
    /// None is known.
    pub fn refused_topic(&self) -> Checked<String> {
        self.capabilities.refused_topic.clone().ok_or_else(|| "no refused_topic".into())
    }

    /// A filter that the target refuses in SUBACK.
    ///
    /// # Errors
    /// None is known.
    pub fn refused_filter(&self) -> Checked<String> {
        self.capabilities.refused_filter.clone().ok_or_else(|| "no refused_filter".into())
    }

    /// Lets time pass that the case is about.
    pub fn wait_ms(&self, ms: u64) {
        self.shared.note(format!("{ms} ms pass"));
        std::thread::sleep(Duration::from_millis(ms));
    }

    /// Notes something for the report of a failure.
    pub fn note(&self, line: String) {
        self.shared.note(line);
    }

    /// Says that the target did nothing to which the statement applies: it keeps it, and that shows little.
    pub fn nothing_to_judge(&self, statement: &'static str) {
        self.shared.unjudged.borrow_mut().insert(statement);
    }

    /// The statements of which the case said so.
    #[must_use]
    pub fn unjudged(&self) -> BTreeSet<&'static str> {
        self.shared.unjudged.borrow().clone()
    }

    /// What went over the wire, the last lines of it.
    #[must_use]
    pub fn log(&self, lines: usize) -> Vec<String> {
        let log = self.shared.log.borrow();
        log.iter().skip(log.len().saturating_sub(lines)).cloned().collect()
    }

    /// The types of packets as bits: those that came low, those that were sent high.
    #[must_use]
    pub fn kinds(&self) -> u32 {
        self.shared.kinds.get()
    }

    /// Removes the retained messages that are left.
    ///
    /// # Errors
    /// The target does not let it.
    pub fn clean(&self) -> Checked {
        let topics = std::mem::take(&mut *self.shared.retained.borrow_mut());
        if topics.is_empty() {
            return Ok(());
        }
        let mut client = self.start("z")?;
        for topic in topics {
            client.send(&encode::publish(&Publish::new(topic, "").retain(), Version::V5));
        }
        client.alive()
    }
}
