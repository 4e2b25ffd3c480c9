//! What is worth a line in the log, and the lines.
//!
//! Every connect, refusal and disconnect has its line. What a flood could repeat without end
//! (dropped messages, ignored packets) is counted, and said once a second with the count.

use std::io;

use signalhouse_core::notice::{DropCause, SessionEnd};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{ConnectionId, Notice, Time};
use tracing::{debug, error, info, warn};

use crate::tally::{Tallies, Tally};
use crate::transport::KeptOut;

/// Kinds of what is counted. The order is that of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Dropped(DropCause),
    SessionDiscarded(SessionEnd),
    PublishRefused(ReasonCode),
    SubscribeRefused(ReasonCode),
    UnknownAck,
    DuplicateSuppressed,
    /// The label of the bound that was reached.
    TurnedAway(&'static str),
    AcceptFailed,
}

/// Counts what is said once a second.
#[derive(Debug, Default)]
pub(crate) struct Events(Tallies<(Kind, Text)>);

impl Events {
    /// When counts are to be said.
    pub(crate) fn due(&self) -> Option<Time> {
        self.0.due()
    }

    /// Says them when it is time.
    pub(crate) fn tick(&mut self, now: Time) {
        if self.due().is_some_and(|due| due <= now) {
            self.write_out();
        }
    }

    /// Says them now.
    pub(crate) fn write_out(&mut self) {
        self.0.write_out(|(kind, who), tally| write_tally(kind, &who, &tally));
    }

    fn count(&mut self, now: Time, kind: Kind, who: &Text, count: u64, example: &dyn ToString) {
        // A slice of a read buffer must not stay: the key is copied when it is new.
        let compact = |(kind, who): (Kind, Text)| (kind, who.compact());
        self.0.count(now, (kind, who.clone()), count, example, compact);
    }

    /// A connection ended before it was the broker's. Whether that is counted and said later.
    pub(crate) fn kept_out(&mut self, now: Time, peer: &Text, cause: &KeptOut) -> bool {
        match cause {
            KeptOut::Strangers(_) | KeptOut::Connections => {
                let example = format!("{peer}: {cause}");
                self.count(now, Kind::TurnedAway(cause.word()), &Text::default(), 1, &example);
                true
            }
            KeptOut::HandshakeTimeout(_) | KeptOut::Refused(_) | KeptOut::Gone(_) => {
                info!(%peer, %cause, "connection closed before MQTT");
                false
            }
        }
    }

    /// A connection could not be accepted.
    pub(crate) fn accept_failed(&mut self, error: &io::Error, now: Time) {
        self.count(now, Kind::AcceptFailed, &Text::default(), 1, error);
    }

    /// Logs or counts what the broker has to say.
    pub(crate) fn notice(
        &mut self,
        now: Time,
        notice: &Notice,
        peer: impl FnOnce(ConnectionId) -> Option<Text>,
    ) {
        match notice {
            Notice::Connected { .. } => write_connected(notice),
            Notice::Refused { connection, peer, client_id, cause } => {
                let client = client_id.as_ref().map(tracing::field::display);
                info!(client, %peer, %connection, %cause, "refused");
            }
            Notice::Disconnected { connection, client_id, cause, queued } => {
                let peer = peer(*connection).unwrap_or_default();
                info!(client = %client_id, %peer, %connection, %cause, queued, "disconnected");
            }
            Notice::SessionStarted { client_id } => debug!(client = %client_id, "session started"),
            Notice::SessionEnded { client_id, cause, discarded } => {
                debug!(client = %client_id, %cause, discarded, "session ended");
                if *discarded > 0 {
                    let kind = Kind::SessionDiscarded(*cause);
                    self.count(now, kind, client_id, u64::from(*discarded), &"");
                }
            }
            Notice::Dropped { receiver, topic, cause } => {
                self.count(now, Kind::Dropped(*cause), receiver, 1, topic);
            }
            Notice::DroppedUnread { receiver, message, cause } => {
                self.count(now, Kind::Dropped(*cause), receiver, 1, message);
            }
            Notice::PublishRefused { client_id, topic, reason } => {
                self.count(now, Kind::PublishRefused(*reason), client_id, 1, topic);
            }
            Notice::Subscribed { client_id, filter, qos } => {
                debug!(client = %client_id, %filter, %qos, "subscribed");
            }
            Notice::SubscribeRefused { client_id, filter, reason } => {
                self.count(now, Kind::SubscribeRefused(*reason), client_id, 1, filter);
            }
            Notice::Unsubscribed { client_id, filter } => {
                debug!(client = %client_id, %filter, "unsubscribed");
            }
            Notice::WillPublished { client_id, topic } => {
                info!(client = %client_id, %topic, "will published");
            }
            Notice::WillRefused { client_id, topic, reason } => {
                warn!(client = %client_id, %topic, %reason, "will not published");
            }
            Notice::UnknownAck { client_id, packet, packet_id } => {
                let example = format!("{packet} {packet_id}");
                self.count(now, Kind::UnknownAck, client_id, 1, &example);
            }
            Notice::DuplicateSuppressed { client_id, packet_id } => {
                self.count(now, Kind::DuplicateSuppressed, client_id, 1, packet_id);
            }
            Notice::RetainedExpired { topic } => debug!(%topic, "retained message expired"),
            Notice::JournalSpace { is_short } => write_journal_space(*is_short),
            Notice::PermissionsReplaced => info!("permissions replaced"),
            Notice::TimeJumped { by_ms } => {
                warn!(
                    by_ms,
                    "time jumped forward; nothing durable expires until SIGHUP confirms it"
                );
            }
        }
    }
}

fn write_journal_space(is_short: bool) {
    if is_short {
        error!("the disk is full: what would have to be stored is refused until there is room");
    } else {
        info!("the disk has room again");
    }
}

fn write_connected(notice: &Notice) {
    if let Notice::Connected {
        connection,
        peer,
        client_id,
        identity,
        version,
        session_present,
        keep_alive_s,
        session_expiry_interval_s,
    } = notice
    {
        let user = identity.as_ref().map(tracing::field::display);
        info!(
            client = %client_id, %peer, %connection, user, mqtt = %version, session_present,
            keep_alive_s, session_expiry_interval_s, "connected"
        );
    }
}

fn write_tally(kind: Kind, who: &Text, tally: &Tally) {
    let Tally { count, example } = tally;
    match kind {
        Kind::Dropped(cause) => {
            warn!(receiver = %who, count, %cause, topic = %example, "messages dropped");
        }
        Kind::SessionDiscarded(cause) => {
            warn!(receiver = %who, count, %cause, "messages dropped with their session");
        }
        Kind::PublishRefused(reason) => {
            warn!(client = %who, count, %reason, topic = %example, "publications refused");
        }
        Kind::SubscribeRefused(reason) => {
            warn!(client = %who, count, %reason, filter = %example, "subscriptions refused");
        }
        Kind::UnknownAck => {
            warn!(client = %who, count, packet = %example, "acknowledgements of nothing ignored");
        }
        Kind::DuplicateSuppressed => {
            info!(client = %who, count, packet_id = %example, "repeated publications suppressed");
        }
        Kind::AcceptFailed => warn!(count, error = %example, "connections could not be accepted"),
        Kind::TurnedAway(bound) => {
            warn!(count, bound, example = %example, "connections closed unserved");
        }
    }
}

/// A peer's bytes break the rules of what carries MQTT. The broker's own line follows.
pub(crate) fn broken(connection: ConnectionId, peer: &Text, cause: &io::Error) {
    info!(%connection, %peer, %cause, "the connection is dropped");
}

/// A peer took nothing for too long. The broker's own line follows.
pub(crate) fn stalled(connection: ConnectionId, peer: &Text, timeout_ms: u64) {
    info!(%connection, %peer, timeout_ms, "the peer reads nothing; the connection is dropped");
}

/// A peer did not take the last packets.
pub(crate) fn unread(connection: ConnectionId, peer: &Text) {
    info!(%connection, %peer, "the peer did not read its last packets in time");
}

/// A packet that the broker sent does not fit the client's maximum.
pub(crate) fn too_large(connection: ConnectionId, peer: &Text) {
    warn!(%connection, %peer, "a packet is larger than the client takes and was not sent");
}
