//! The passing of time: what falls due, and jumps of the clock.

use super::Broker;
use crate::input::ConnectionId;
use crate::link::Phase;
use crate::message::Message;
use crate::notice::{Cause, Notice, SessionEnd};
use crate::outbox::Outbox;
use crate::time::Time;
use crate::timers::{Timer, Timers};
use crate::wire::reason::ReasonCode;

/// The next moment at which the broker must be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Time,
    /// Why.
    pub reason: DeadlineReason,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadlineReason {
    /// A connection must have been accepted, or a client heard of.
    Connection(ConnectionId),
    /// A session's expiry interval ends.
    SessionExpiry,
    /// A will's delay ends.
    WillDelay,
    /// A retained message expires.
    RetainedExpiry,
    /// `$SYS` is to be updated.
    Sys,
    /// A look at the clock, so that idleness is not taken for a jump of time.
    Heartbeat,
}

/// What is left of expiry intervals at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remainder {
    now: Time,
    /// Where time stands still for what expires, if it jumped.
    held_at: Option<Time>,
    /// Where it jumped to.
    jumped_to: Time,
}

impl Remainder {
    /// What is left of a message's, in whole seconds `[MQTT-3.3.2-6]`. What may have come after a jump
    /// of time counts by the new time, or it would show more than it came with.
    pub(super) fn of(self, message: &Message) -> Option<u32> {
        let is_new = message.expires_at? >= self.jumped_to;
        match self.held_at {
            Some(_) if is_new => message.remaining_expiry_s(self.now).map(|left_s| left_s.max(1)),
            Some(held_at) => message.remaining_expiry_s(held_at),
            None => message.remaining_expiry_s(self.now),
        }
    }
}

/// Timers of durable state fired in one call; `resume` goes on with the others.
const DURABLE_SLICE: usize = 256;

/// Retained messages that may expire in one go before other timers have their turn.
const EXPIRY_SLICE: usize = 256;

impl Broker {
    /// The next moment at which the broker must be called, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let durable = if self.held_at.is_some() { None } else { self.durable_timers.first() };
        let (at, timer) = match (self.timers.first(), durable) {
            (Some(first), Some(second)) => first.min(second),
            (first, second) => first.or(second)?,
        };
        let reason = match timer {
            Timer::Connection(connection) => DeadlineReason::Connection(connection),
            Timer::WillDelay(_) => DeadlineReason::WillDelay,
            Timer::SessionExpiry(_) => DeadlineReason::SessionExpiry,
            Timer::RetainedExpiry => DeadlineReason::RetainedExpiry,
            Timer::Sys => DeadlineReason::Sys,
            Timer::Heartbeat => DeadlineReason::Heartbeat,
        };
        Some(Deadline { at, reason })
    }

    /// How much is left of expiry intervals now.
    pub(super) fn remainder(&self) -> Remainder {
        Remainder { now: self.now, held_at: self.held_at, jumped_to: self.jumped_to }
    }

    pub(super) fn start_timers(&mut self) {
        if self.config.sys_interval_ms > 0 {
            // At once, for whoever comes before the first interval is over.
            self.timers.insert(self.now, Timer::Sys);
        } else if self.config.time_jump_maximum_ms < u64::MAX {
            self.timers.insert(self.now.plus_ms(self.heartbeat_ms()), Timer::Heartbeat);
        }
    }

    /// Moves to `now` and fires everything due, in the order of time.
    #[inline]
    pub(super) fn advance_time(&mut self, now: Time, out: &mut Outbox) {
        // Nearly every input finds the time as the one before left it.
        let is_due = |timers: &Timers| timers.first().is_some_and(|(at, _)| at <= now);
        if now == self.now && !is_due(&self.timers) && !is_due(&self.durable_timers) {
            return;
        }
        self.pass_time(now, out);
    }

    fn pass_time(&mut self, now: Time, out: &mut Outbox) {
        assert!(now >= self.now, "the driver's time goes back");
        if core::mem::take(&mut self.jump_is_untold)
            && let Some(held_at) = self.held_at
        {
            out.notice(Notice::TimeJumped { by_ms: self.jumped_to.since_ms(held_at) });
        }
        let by_ms = now.since_ms(self.now);
        if by_ms > self.config.time_jump_maximum_ms && self.held_at.is_none() {
            self.held_at = Some(self.now);
            self.jumped_to = now;
            out.notice(Notice::TimeJumped { by_ms });
        }
        self.now = now;
        // What is overdue beyond this budget already behaves as gone where anyone looks at it.
        let mut durable_budget = DURABLE_SLICE;
        loop {
            let durable = self.due_durable().filter(|_| durable_budget > 0);
            let timer = match (self.timers.first(), durable) {
                (Some(first), Some(second)) if first < second => self.timers.take_due(now),
                (_, Some(_)) => {
                    durable_budget -= 1;
                    self.durable_timers.take_due(now)
                }
                (_, None) => self.timers.take_due(now),
            };
            let Some(timer) = timer else { break };
            self.end_crowd();
            self.fire(timer, out);
        }
    }

    /// The first timer of durable state, if it is due.
    pub(super) fn due_durable(&self) -> Option<(Time, Timer)> {
        let held = self.held_at.is_some();
        self.durable_timers.first().filter(|(at, _)| !held && *at <= self.now)
    }

    /// The operator says that the time is right.
    pub(super) fn confirm_time(&mut self, out: &mut Outbox) {
        self.held_at = None;
        self.advance_time(self.now, out);
    }

    /// Asks to be called when the next retained message expires.
    pub(super) fn set_retained_timer(&mut self, earlier: Option<Time>) {
        let next = self.retained.next_expiry();
        if next != earlier {
            if let Some(at) = earlier {
                self.durable_timers.remove(at, Timer::RetainedExpiry);
            }
            if let Some(at) = next {
                self.durable_timers.insert(at, Timer::RetainedExpiry);
            }
        }
    }

    fn fire(&mut self, timer: Timer, out: &mut Outbox) {
        match timer {
            Timer::Connection(connection) => self.connection_due(connection, out),
            Timer::WillDelay(key) => {
                if let Some(session) = self.sessions.get_mut(key)
                    && let Some(will) = &mut session.will
                {
                    will.due_at = Time::NEVER;
                    self.publish_will(key, out);
                }
            }
            Timer::SessionExpiry(key) => {
                if let Some(session) = self.sessions.get_mut(key) {
                    session.ends_at = Time::NEVER;
                    let cause = if session.is_durable() {
                        self.counters.sessions_expired += 1;
                        SessionEnd::Expired
                    } else {
                        SessionEnd::WithConnection
                    };
                    self.end_session(key, cause, out);
                }
            }
            Timer::RetainedExpiry => self.expire_retained(out),
            Timer::Sys => {
                self.update_sys(out);
                self.timers.insert(self.now.plus_ms(self.config.sys_interval_ms), Timer::Sys);
            }
            Timer::Heartbeat => {
                self.timers.insert(self.now.plus_ms(self.heartbeat_ms()), Timer::Heartbeat);
            }
        }
    }

    fn connection_due(&mut self, connection: ConnectionId, out: &mut Outbox) {
        let now = self.now;
        let Some(link) = self.links.get_mut(connection) else { return };
        link.timer_at = Time::NEVER;
        match link.phase {
            Phase::AwaitingConnect | Phase::Authenticating(_) => {
                self.close(connection, Cause::ConnectTimeout, out);
            }
            // Who has a session is told that they have it, and then why they must go.
            Phase::Accepting(_) if link.ends_at <= now => {}
            Phase::Accepting(_) | Phase::Live(_) => {
                // Re-armed here and not at every packet: most timers find that they are early.
                let due_at = link.due_at();
                if link.ends_at <= now {
                    self.close_for_its_end(connection, out);
                } else if due_at <= now {
                    self.close(connection, Cause::KeepAliveTimeout, out); // [MQTT-3.1.2-22]
                } else {
                    self.set_connection_timer(connection, due_at);
                }
            }
        }
    }

    /// What the client was let in by has ended.
    pub(super) fn close_for_its_end(&mut self, connection: ConnectionId, out: &mut Outbox) {
        let reason = ReasonCode::MaximumConnectTime;
        let detail = "what the client was let in by has ended";
        self.close(connection, Cause::NotAllowed { reason, detail }, out);
    }

    fn expire_retained(&mut self, out: &mut Outbox) {
        let now = self.now;
        for expired in self.retained.take_expired(now, EXPIRY_SLICE) {
            self.discount_retained(Some(&expired));
            let topic = expired.message.topic.clone();
            out.notice(Notice::RetainedExpired { topic });
        }
        self.set_retained_timer(None);
    }

    fn heartbeat_ms(&self) -> u64 {
        (self.config.time_jump_maximum_ms / 2).max(1)
    }
}
