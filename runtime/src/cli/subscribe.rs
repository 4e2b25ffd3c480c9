//! `signalhouse sub`.

use std::io::{self, Write};

use clap::Args;
use signalhouse_core::Time;
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::wire::packet::{
    ClientPacket, Disconnect, OutboundPublish, RetainHandling, ServerPacket, Subscribe,
    SubscriptionOptions, Unsubscribe,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{InboundPacketId, PacketId, QoS};
use tokio::signal::unix::{SignalKind, signal};

use super::connection::{ConnectionArgs, Plan, ToolClient, text};
use super::exit::{Exit, complain};
use super::format::Format;
use super::tool;
use crate::client::{ClientError, Inbox};
use crate::seams::{Clock, TokioClock};

#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  signalhouse sub -t 'rooms/#' -v                 every message below rooms/, with its topic
  signalhouse sub -t rooms/1 -C 1 -W 5            one message, or exit 27 after 5 seconds
  signalhouse sub -t t -q 1 -i me -c              messages wait while this client is away
  signalhouse sub -t '$share/workers/jobs' -q 1   shares the work with others
  signalhouse sub -t t -F '%I %q %t %p'           a format of one's own
  signalhouse sub -h broker.example --cafile ca.pem --cert me.pem --key me.key -t t    over TLS

Formats: %t topic, %p payload, %x and %X payload in hexadecimal, %l its length, %q QoS, %r retain,
%d repeat, %m packet identifier, %C content type, %D correlation data, %E expiry, %F payload
format, %P user properties, %R response topic, %S subscription identifiers, %U seconds since 1970,
%% a percent sign, \\n \\t \\0 \\\\ as ever.

Exits with 0 after -C, -E, SIGINT or SIGTERM; with 1 when refused or cut off; with 27 after -W."
)]
pub(super) struct SubscribeArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Topic filter to subscribe to. Repeatable.
    #[arg(short, long, value_name = "FILTER")]
    topic: Vec<String>,
    /// Do not show messages that match this. Repeatable.
    #[arg(short = 'T', long, value_name = "FILTER")]
    filter_out: Vec<String>,
    /// Remove this subscription of a kept session. Repeatable.
    #[arg(short = 'U', long, value_name = "FILTER")]
    unsubscribe: Vec<String>,
    /// Highest QoS to receive at.
    #[arg(short, long, value_name = "0|1|2", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// End after so many messages.
    #[arg(short = 'C', long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds, with exit code 27.
    #[arg(short = 'W', long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Show the topic before the payload.
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
    /// Show messages like this.
    #[arg(short = 'F', long)]
    format: Option<String>,
    /// No end of line after a message.
    #[arg(short = 'N', long = "no-eol")]
    no_eol: bool,
    /// Do not show retained messages that were there before.
    #[arg(short = 'R', long, conflicts_with = "retained_only")]
    no_retained: bool,
    /// Show retained messages that were there before, and end at the first other one.
    #[arg(long)]
    retained_only: bool,
    /// Show RETAIN as the publisher set it (MQTT 5).
    #[arg(long)]
    retain_as_published: bool,
    /// When retained messages come: 0 always, 1 for a new subscription, 2 never (MQTT 5).
    #[arg(long, value_name = "0|1|2", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    retain_handling: u8,
    /// Leave out what this client publishes itself (MQTT 5).
    #[arg(long)]
    no_local: bool,
    /// End when the broker has acknowledged the subscriptions.
    #[arg(short = 'E', long)]
    exit_after_subscribe: bool,
}

pub(super) fn run(args: &SubscribeArgs, groups: &[Vec<String>]) -> Exit {
    let prepared = args.connection.plan(groups).and_then(|plan| Ok((args.prepare(&plan)?, plan)));
    match prepared {
        Ok((prepared, plan)) => tool::block_on(async { subscribe(args, &plan, prepared).await }),
        Err(fault) => complain(Exit::Arguments, &fault),
    }
}

/// The arguments, checked.
struct Prepared {
    filters: Vec<(TopicFilter, SubscriptionOptions)>,
    unsubscribe: Vec<TopicFilter>,
    filter_out: Vec<TopicFilter>,
    format: Format,
}

impl SubscribeArgs {
    fn prepare(&self, plan: &Plan) -> Result<Prepared, String> {
        let filters = |list: &[String]| -> Result<Vec<TopicFilter>, String> {
            list.iter().map(|filter| parse_filter(filter)).collect()
        };
        let options = SubscriptionOptions {
            maximum_qos: QoS::from_u8(self.qos).unwrap_or_default(),
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: match self.retain_handling {
                0 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                _ => RetainHandling::Never,
            },
        };
        let mut wanted: Vec<TopicFilter> = filters(&self.topic)?;
        if let Some(topic) = plan.topic() {
            wanted.push(parse_filter(topic)?);
        }
        if wanted.is_empty() && self.unsubscribe.is_empty() {
            return Err("what? give a topic filter with -t".to_owned());
        }
        let format = match (&self.format, self.verbose) {
            (Some(format), _) => format.as_str(),
            (None, true) => "%t %p",
            (None, false) => "%p",
        };
        Ok(Prepared {
            filters: wanted.into_iter().map(|filter| (filter, options)).collect(),
            unsubscribe: filters(&self.unsubscribe)?,
            filter_out: filters(&self.filter_out)?,
            format: Format::parse(format, !self.no_eol)?,
        })
    }
}

fn parse_filter(filter: &str) -> Result<TopicFilter, String> {
    let filter_text = text(filter, "the topic filter")?;
    TopicFilter::new(filter_text).map_err(|error| format!("topic filter \"{filter}\": {error}"))
}

/// How a subscriber ends, other than by failing.
enum End {
    Orderly,
    TimedOut,
    Refused,
}

async fn subscribe(args: &SubscribeArgs, plan: &Plan, prepared: Prepared) -> Exit {
    let (client, _) = match plan.carry_out().await {
        Ok(connected) => connected,
        Err(error) => return complain(Exit::Failed, &error),
    };
    let mut subscriber = Subscriber { client, inbox: Inbox::default(), args, prepared, shown: 0 };
    let end = match subscriber.run(plan).await {
        Ok(end) => end,
        Err(error) => return complain(Exit::Failed, &error),
    };
    let goodbye = Disconnect {
        session_expiry_interval_s: plan.properties.disconnect.session_expiry_interval_s,
        reason_string: plan.properties.disconnect.reason_string.clone(),
        user_properties: plan.properties.disconnect.user_properties.clone(),
        ..Disconnect::default()
    };
    match (subscriber.client.disconnect(goodbye).await, end) {
        (_, End::Refused) => Exit::Failed,
        (_, End::TimedOut) => Exit::TimedOut,
        (Ok(()), End::Orderly) => Exit::Orderly,
        (Err(error), End::Orderly) => complain(Exit::Failed, &error),
    }
}

struct Subscriber<'a> {
    client: ToolClient,
    inbox: Inbox,
    args: &'a SubscribeArgs,
    prepared: Prepared,
    shown: u64,
}

impl Subscriber<'_> {
    async fn run(&mut self, plan: &Plan) -> Result<End, ClientError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let clock = TokioClock::from_wall_clock();
        let end = self
            .args
            .timeout
            .map_or(Time::NEVER, |seconds| clock.now().plus_ms(seconds.saturating_mul(1_000)));
        let mut waiting = self.ask(plan)?;
        loop {
            let packet = tokio::select! {
                biased;
                packet = self.client.receive() => packet?,
                _ = terminate.recv() => return Ok(End::Orderly),
                _ = interrupt.recv() => return Ok(End::Orderly),
                () = clock.sleep_until(end) => {
                    if clock.now() < end {
                        continue;
                    }
                    return Ok(End::TimedOut);
                }
            };
            if self.args.connection.debug {
                eprintln!("received {packet:?}");
            }
            match &packet {
                ServerPacket::SubAck(ack) if !self.judge(&ack.reasons) => return Ok(End::Refused),
                ServerPacket::SubAck(_) | ServerPacket::UnsubAck(_) => {
                    waiting -= 1;
                    if waiting == 0 && (self.args.exit_after_subscribe || self.only_unsubscribes())
                    {
                        return Ok(End::Orderly);
                    }
                }
                ServerPacket::ConnAck(_)
                | ServerPacket::Publish(_)
                | ServerPacket::PubAck(_)
                | ServerPacket::PubRec(_)
                | ServerPacket::PubRel(_)
                | ServerPacket::PubComp(_)
                | ServerPacket::PingResp
                | ServerPacket::Disconnect(_)
                | ServerPacket::Auth(_) => {}
            }
            if self.take(packet, &clock)? {
                return Ok(End::Orderly);
            }
        }
    }

    fn only_unsubscribes(&self) -> bool {
        self.prepared.filters.is_empty()
    }

    /// Queues SUBSCRIBE and UNSUBSCRIBE, and says how many answers are owed.
    fn ask(&mut self, plan: &Plan) -> Result<usize, ClientError> {
        let first = InboundPacketId(PacketId::MIN);
        let second = InboundPacketId(PacketId::new(2).unwrap_or(PacketId::MIN));
        let mut owed = 0;
        if !self.prepared.filters.is_empty() {
            self.client.queue(&ClientPacket::Subscribe(Box::new(Subscribe {
                packet_id: first,
                subscription_id: plan.properties.subscribe.subscription_id,
                subscriptions: self.prepared.filters.clone(),
                user_properties: plan.properties.subscribe.user_properties.clone(),
            })))?;
            owed += 1;
        }
        if !self.prepared.unsubscribe.is_empty() {
            self.client.queue(&ClientPacket::Unsubscribe(Box::new(Unsubscribe {
                packet_id: second,
                filters: self.prepared.unsubscribe.clone(),
                user_properties: plan.properties.unsubscribe.clone(),
            })))?;
            owed += 1;
        }
        Ok(owed)
    }

    /// Says which subscriptions were refused; `false` if all were.
    fn judge(&self, reasons: &[ReasonCode]) -> bool {
        for ((filter, _), reason) in self.prepared.filters.iter().zip(reasons) {
            if reason.is_error() && !self.args.connection.quiet {
                eprintln!("signalhouse: the subscription to {filter} was refused: {reason}");
            }
        }
        reasons.iter().any(|reason| !reason.is_error())
    }

    /// Answers a packet and shows what it brings; `true` if that was all that is wanted.
    fn take(&mut self, packet: ServerPacket, clock: &TokioClock) -> Result<bool, ClientError> {
        let received = self.inbox.receive(packet);
        if let Some(answer) = received.answer {
            self.client.queue(&answer)?;
        }
        if let Some(publish) = received.publish {
            if self.args.retained_only && !publish.retain {
                return Ok(true);
            }
            if self.is_wanted(&publish) && !self.is_complete() {
                let mut out = io::stdout().lock();
                let shown = self.prepared.format.write(&publish, clock.now(), &mut out);
                match shown.and_then(|()| out.flush()) {
                    Ok(()) => {}
                    // Whoever read the output has had enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
                    Err(error) => return Err(error.into()),
                }
                self.shown += 1;
            }
        }
        // An exchange at QoS 2 is brought to its end first.
        Ok(self.is_complete() && !self.inbox.is_open())
    }

    fn is_complete(&self) -> bool {
        self.args.count.is_some_and(|count| self.shown >= count)
    }

    fn is_wanted(&self, publish: &OutboundPublish) -> bool {
        let topic = &publish.message.topic;
        let is_old = publish.retain && self.args.no_retained;
        !is_old && !self.prepared.filter_out.iter().any(|filter| filter.matches(topic))
    }
}
