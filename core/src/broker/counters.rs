//! Counts of what happened, for `$SYS` and metrics.

/// Counts since the broker was built. They only rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Network connections opened.
    pub connections_opened: u64,
    /// Connections accepted by CONNACK.
    pub clients_accepted: u64,
    /// Accepted connections that have ended.
    pub clients_gone: u64,
    /// Packets of every kind received.
    pub packets_received: u64,
    /// Packets of every kind sent.
    pub packets_sent: u64,
    /// PUBLISH packets received.
    pub publish_received: u64,
    /// Bytes of payload in them.
    pub publish_bytes_received: u64,
    /// PUBLISH packets sent.
    pub publish_sent: u64,
    /// Bytes of payload in them.
    pub publish_bytes_sent: u64,
    /// Publications refused, or ignored at QoS 0.
    pub publish_refused: u64,
    /// Messages that did not reach one of their receivers.
    pub dropped: u64,
    /// Sessions that ended because their expiry interval passed.
    pub sessions_expired: u64,
    /// The most clients connected at once.
    pub clients_maximum: u64,
}
