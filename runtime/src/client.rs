//! A small MQTT client on the codec of the core, for the tools and for tests.
//!
//! It knows packets and keep-alive; sessions, identifiers and exchanges are its user's, with
//! [`Outbox`] and [`Inbox`] to help.

mod exchange;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use signalhouse_core::Time;
use signalhouse_core::wire::packet::{ClientPacket, ConnAck, Connect, Disconnect, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Text, Version};
use signalhouse_core::wire::{ClientReader, DecodeError, ReaderLimits, Written, encode_client};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

pub use self::exchange::{Inbox, Outbox, Outcome, Received};
use crate::seams::Clock;

/// Why a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no way to the broker.
    #[error("cannot reach {place}: {source}")]
    Unreachable {
        /// Host and port.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The network failed.
    #[error("the network failed: {0}")]
    Network(#[from] io::Error),
    /// The broker closed the connection without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker did not let the client in.
    #[error("the broker refused the connection: {}", with_detail(*.reason, .detail.as_ref()))]
    Refused {
        /// Its code.
        reason: ReasonCode,
        /// Its words, if any.
        detail: Option<Text>,
    },
    /// The broker ended the connection.
    #[error("the broker disconnected: {}", with_detail(*.reason, .detail.as_ref()))]
    Disconnected {
        /// Its code.
        reason: ReasonCode,
        /// Its words, if any.
        detail: Option<Text>,
    },
    /// What came is not MQTT.
    #[error("the broker sent what it must not: {0}")]
    Malformed(#[from] DecodeError),
    /// Something other than the answer came.
    #[error("the broker sent {0} where it must not")]
    Unexpected(&'static str),
    /// The packet cannot be written in the connection's version, or is too large for MQTT.
    #[error("MQTT {0} cannot carry this packet")]
    Unwritable(Version),
    /// Nothing was heard of the broker.
    #[error("the broker did not answer within {0} seconds")]
    Silent(u64),
}

/// A reason code and, if the broker sent one, its words.
fn with_detail(reason: ReasonCode, detail: Option<&Text>) -> String {
    match detail {
        Some(detail) => format!("{reason}: {detail}"),
        None => reason.to_string(),
    }
}

/// One connection to a broker.
#[derive(Debug)]
pub struct Client<S, C: Clock> {
    stream: S,
    clock: C,
    version: Version,
    reader: ClientReader,
    input: BytesMut,
    output: BytesMut,
    keep_alive_ms: u64,
    last_sent: Time,
    ping_sent: Option<Time>,
    timer: Option<(Time, Pin<Box<C::Sleep>>)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Client<S, C> {
    /// Sends CONNECT and waits for CONNACK.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's reason, or what else went wrong.
    pub async fn connect(
        stream: S,
        clock: C,
        connect: Connect,
        timeout_ms: u64,
    ) -> Result<(Self, ConnAck), ClientError> {
        let now = clock.now();
        let limits = ReaderLimits {
            maximum_packet_size_bytes: connect.maximum_packet_size_bytes.unwrap_or(u32::MAX),
            topic_alias_maximum: connect.topic_alias_maximum,
            ..ReaderLimits::default()
        };
        let keep_alive_ms = u64::from(connect.keep_alive_s) * 1_000;
        let mut client = Client {
            stream,
            version: connect.version,
            reader: ClientReader::new(connect.version, limits),
            input: BytesMut::new(),
            output: BytesMut::new(),
            keep_alive_ms: 0, // begins with CONNACK
            last_sent: now,
            ping_sent: None,
            timer: None,
            clock,
        };
        client.queue(&ClientPacket::Connect(Box::new(connect)))?;
        let mut late = pin!(client.clock.sleep_until(now.plus_ms(timeout_ms)));
        let packet = tokio::select! {
            biased;
            packet = client.receive() => packet?,
            () = late.as_mut() => return Err(ClientError::Silent(timeout_ms / 1_000)),
        };
        let ServerPacket::ConnAck(ack) = packet else {
            return Err(ClientError::Unexpected(packet_name(&packet)));
        };
        if ack.reason.is_error() {
            return Err(ClientError::Refused { reason: ack.reason, detail: ack.reason_string });
        }
        let imposed = ack.server_keep_alive_s.map(|seconds| u64::from(seconds) * 1_000);
        client.keep_alive_ms = imposed.unwrap_or(keep_alive_ms);
        Ok((client, *ack))
    }

    /// Puts a packet into the outgoing buffer. [`Client::receive`] and [`Client::flush`] write it.
    ///
    /// # Errors
    /// [`ClientError::Unwritable`] if the version has no such packet.
    pub fn queue(&mut self, packet: &ClientPacket) -> Result<(), ClientError> {
        match encode_client(packet, self.version, &mut self.output) {
            Written::Whole(_) => Ok(()),
            Written::DroppedTooLarge | Written::Nothing => {
                Err(ClientError::Unwritable(self.version))
            }
        }
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.output.len()
    }

    /// The protocol version spoken.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The next packet, but for PINGRESP. Writes what is queued and keeps the connection alive
    /// meanwhile. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`ClientError`]; the broker's DISCONNECT is one.
    pub async fn receive(&mut self) -> Result<ServerPacket, ClientError> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Writes everything queued. What comes meanwhile is kept for [`Client::receive`].
    ///
    /// # Errors
    /// When the network fails.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        poll_fn(|cx| {
            if self.poll_write(cx)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            // A broker that waits for us to read must not wait for ever.
            while let Poll::Ready(bytes) = self.poll_read(cx)? {
                if bytes == 0 {
                    return Poll::Ready(Err(ClientError::Closed));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Says good-bye, and waits for the broker to close.
    ///
    /// # Errors
    /// When the network fails before everything is written.
    pub async fn disconnect(mut self, disconnect: Disconnect) -> Result<(), ClientError> {
        const GOODBYE_MS: u64 = 1_000;
        self.queue(&ClientPacket::Disconnect(Box::new(disconnect)))?;
        self.flush().await?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
        let mut late = pin!(self.clock.sleep_until(self.clock.now().plus_ms(GOODBYE_MS)));
        poll_fn(|cx| {
            if late.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            loop {
                self.input.clear();
                match ready!(self.poll_read(cx)) {
                    Ok(bytes) if bytes > 0 => {}
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<ServerPacket, ClientError>> {
        loop {
            if let Some(packet) = self.reader.read(&mut self.input)? {
                if let ServerPacket::Disconnect(disconnect) = packet {
                    return Poll::Ready(Err(ClientError::Disconnected {
                        reason: disconnect.reason,
                        detail: disconnect.reason_string,
                    }));
                }
                if packet != ServerPacket::PingResp {
                    return Poll::Ready(Ok(packet));
                }
                self.ping_sent = None;
                continue;
            }
            self.keep_alive(cx)?;
            let _ = self.poll_write(cx)?;
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(ClientError::Closed));
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        while !self.output.is_empty() {
            let bytes = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(bytes);
            self.last_sent = self.clock.now();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, io::Error>> {
        self.input.reserve(self.reader.missing_bytes().clamp(4 * 1024, 64 * 1024));
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    /// Sends PINGREQ when nothing else was sent, and notices a broker that does not answer.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Result<(), ClientError> {
        while self.keep_alive_ms > 0 {
            let now = self.clock.now();
            if let Some(sent) = self.ping_sent
                && sent.plus_ms(self.keep_alive_ms) <= now
            {
                return Err(ClientError::Silent(self.keep_alive_ms / 1_000));
            }
            if self.ping_sent.is_none() && self.last_sent.plus_ms(self.keep_alive_ms) <= now {
                self.queue(&ClientPacket::PingReq)?;
                self.ping_sent = Some(now);
                self.last_sent = now;
            }
            let from = self.ping_sent.unwrap_or(self.last_sent);
            let due = from.plus_ms(self.keep_alive_ms);
            if self.timer.as_ref().is_none_or(|(at, _)| due < *at) {
                self.timer = Some((due, Box::pin(self.clock.sleep_until(due))));
            }
            let fired =
                self.timer.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready());
            if !fired {
                break;
            }
            self.timer = None;
        }
        Ok(())
    }
}

/// The packet's name, for people.
pub(crate) fn packet_name(packet: &ServerPacket) -> &'static str {
    match packet {
        ServerPacket::ConnAck(_) => "CONNACK",
        ServerPacket::Publish(_) => "PUBLISH",
        ServerPacket::PubAck(_) => "PUBACK",
        ServerPacket::PubRec(_) => "PUBREC",
        ServerPacket::PubRel(_) => "PUBREL",
        ServerPacket::PubComp(_) => "PUBCOMP",
        ServerPacket::SubAck(_) => "SUBACK",
        ServerPacket::UnsubAck(_) => "UNSUBACK",
        ServerPacket::PingResp => "PINGRESP",
        ServerPacket::Disconnect(_) => "DISCONNECT",
        ServerPacket::Auth(_) => "AUTH",
    }
}
