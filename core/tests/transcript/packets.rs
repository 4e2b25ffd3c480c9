//! Builds what clients and operators send from the words of a command.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use signalhouse_core::credential::{Claims, Credential};
use signalhouse_core::input::{AuthOutcome, Command, PublishCommand, PublishFor, Publisher};
use signalhouse_core::permission::{Action, Actions, Effect, Pattern, Permissions, Rule, Who};
use signalhouse_core::quota::{Holder, Quota, Quotas};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::encode_client;
use signalhouse_core::wire::packet::{
    Ack, Auth, ClientPacket, Connect, Disconnect, Publish, ReasonDetails, RetainHandling,
    Subscribe, SubscriptionOptions, Unsubscribe, Will,
};
use signalhouse_core::wire::property::MessageProperties;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{
    Delivery, InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version,
};

use crate::parse::{Args, number, text};
use crate::run::START;

/// The packet that `> connection verb rest` sends.
pub(crate) fn client_packet(verb: &str, rest: &str, name: &str) -> Result<ClientPacket, String> {
    let mut groups = Args::parse_groups(rest)?;
    if verb == "subscribe" {
        return subscribe(groups);
    }
    if groups.len() != 1 {
        return Err("a comma stands where no list is".into());
    }
    let mut args = groups.remove(0);
    let packet = match verb {
        "connect" => ClientPacket::Connect(Box::new(connect(&mut args, name)?)),
        "publish" => ClientPacket::Publish(publish(&mut args)?),
        "puback" => ClientPacket::PubAck(ack(&mut args, OutboundPacketId)?),
        "pubrec" => ClientPacket::PubRec(ack(&mut args, OutboundPacketId)?),
        "pubrel" => ClientPacket::PubRel(ack(&mut args, InboundPacketId)?),
        "pubcomp" => ClientPacket::PubComp(ack(&mut args, OutboundPacketId)?),
        "unsubscribe" => ClientPacket::Unsubscribe(Box::new(unsubscribe(&mut args)?)),
        "ping" => ClientPacket::PingReq,
        "disconnect" => ClientPacket::Disconnect(Box::new(disconnect(&mut args)?)),
        "auth" => ClientPacket::Auth(Box::new(auth(&mut args)?)),
        _ => return Err(format!("unknown command `{verb}`")),
    };
    args.finish()?;
    Ok(packet)
}

/// The order that `> command verb rest` gives.
pub(crate) fn command(rest: &str) -> Result<Command, String> {
    let mut groups = Args::parse_groups(rest)?;
    let mut args = groups.remove(0);
    let verb = args.word("the command")?;
    if !groups.is_empty() {
        return Err("a comma stands where no list is".into());
    }
    let command = match verb.as_str() {
        "publish" => Command::Publish(Box::new(publish_command(&mut args)?)),
        "request" => Command::PublishFor(Box::new(PublishFor {
            ticket: args.number("ticket")?.unwrap_or(1),
            publisher: publisher(&mut args)?,
            once: args.text("once")?,
            message: publish_command(&mut args)?,
        })),
        "disconnect" => Command::Disconnect {
            reason: reason(&mut args)?.unwrap_or(ReasonCode::AdministrativeAction),
            client_id: text(&args.word("the client")?)?,
        },
        "end-session" => Command::EndSession { client_id: text(&args.word("the client")?)? },
        "stop" => Command::Stop {
            reason: reason(&mut args)?.unwrap_or(ReasonCode::ServerShuttingDown),
            server_reference: args.text("server")?,
        },
        "confirm-time" => Command::ConfirmTime,
        _ => return Err(format!("unknown command `{verb}`")),
    };
    args.finish()?;
    Ok(command)
}

/// `operator`, or a somebody with or without an identity.
fn publisher(args: &mut Args) -> Result<Option<Publisher>, String> {
    let client_id = args.text("client")?.unwrap_or(text("http")?);
    let identity = args.text("identity")?;
    let peer = args.text("peer")?.unwrap_or(text("192.0.2.1:5")?);
    let credential = Credential { key: args.text("key")?, ..Credential::default() };
    let publisher = Publisher { identity, client_id, peer, credential };
    Ok((!args.flag("operator")).then_some(publisher))
}

fn publish_command(args: &mut Args) -> Result<PublishCommand, String> {
    let properties = properties(args)?;
    Ok(PublishCommand {
        retain: args.flag("retain"),
        qos: qos(args, "qos")?,
        message_expiry_interval_s: args.number("expiry")?,
        payload: args.payload(),
        topic: topic(&args.word("the topic")?)?,
        properties,
    })
}

/// A PUBLISH by which a client would have published the same.
pub(crate) fn as_publish(command: &PublishCommand) -> Bytes {
    let id = InboundPacketId(PacketId::new(1).expect("not zero"));
    let packet = ClientPacket::Publish(Publish {
        dup: false,
        retain: command.retain,
        delivery: match command.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce(id),
            QoS::ExactlyOnce => Delivery::ExactlyOnce(id),
        },
        topic: command.topic.clone(),
        payload: command.payload.clone(),
        message_expiry_interval_s: command.message_expiry_interval_s,
        properties: command.properties.clone(),
    });
    let mut bytes = BytesMut::new();
    let _written = encode_client(&packet, Version::V5, &mut bytes);
    bytes.freeze()
}

/// The rules of `> permissions`: one in each group, in order.
pub(crate) fn permissions(rest: &str) -> Result<Command, String> {
    let mut default = Effect::Allow;
    let mut rules = Vec::new();
    for mut args in Args::parse_groups(rest)? {
        if let Some(value) = args.text("default")? {
            default = effect(value.as_str())?;
        }
        if let Some(word) = args.optional_word() {
            rules.push(rule(effect(&word)?, &mut args)?);
        }
        args.finish()?;
    }
    let permissions = Permissions::new(default, rules).map_err(|error| error.to_string())?;
    Ok(Command::SetPermissions(Arc::new(permissions)))
}

/// The quotas of `> quotas`: one in each group.
pub(crate) fn quotas(rest: &str) -> Result<Command, String> {
    let mut quotas = Quotas::default();
    for mut args in Args::parse_groups(rest)? {
        let quota = Quota {
            messages_per_second: args.number("per_second")?.unwrap_or(0),
            messages_per_day: args.number("per_day")?.unwrap_or(0),
            connections: args.number("connections")?.unwrap_or(0),
            stored_bytes: args.number("stored")?.unwrap_or(0),
            closes_at_qos0: args.flag("closes"),
        };
        if let Some(id) = args.text("key")? {
            quotas.of.insert(Holder::Key(id), quota);
            args.finish()?;
            continue;
        }
        match (args.text("user")?, args.text("client")?, args.text("address")?) {
            (Some(name), None, None) => drop(quotas.of.insert(Holder::User(name), quota)),
            (None, Some(name), None) => drop(quotas.of.insert(Holder::Client(name), quota)),
            (None, None, Some(name)) => drop(quotas.of.insert(Holder::Address(name), quota)),
            (None, None, None) if args.flag("users") => quotas.every_user = Some(quota),
            (None, None, None) if args.flag("addresses") => quotas.every_address = Some(quota),
            (None, None, None) if args.flag("none") => {}
            _ => return Err("whose quota?".into()),
        }
        args.finish()?;
    }
    Ok(Command::SetQuotas(Arc::new(quotas)))
}

fn effect(word: &str) -> Result<Effect, String> {
    match word {
        "allow" => Ok(Effect::Allow),
        "deny" => Ok(Effect::Deny),
        _ => Err(format!("`{word}` is neither allow nor deny")),
    }
}

fn rule(effect: Effect, args: &mut Args) -> Result<Rule, String> {
    let mut actions = Actions::NONE;
    for (word, action) in [
        ("publish", Action::Publish.into()),
        ("subscribe", Action::Subscribe.into()),
        ("receive", Action::Receive.into()),
        ("read", Actions::READ),
        ("all", Actions::ALL),
    ] {
        if args.flag(word) {
            actions = actions | action;
        }
    }
    let who = match (args.text("user")?, args.text("client")?) {
        (Some(name), None) => Who::User(name),
        (None, Some(id)) => Who::Client(id),
        (None, None) if args.has("claim") => {
            let (name, value) = args.pairs("claim")?.remove(0);
            Who::Claim(name, value)
        }
        (None, None) if args.flag("anonymous") => Who::Anonymous,
        (None, None) if args.flag("named") => Who::Named,
        (None, None) => Who::Any,
        (Some(_), Some(_)) => return Err("a rule is about a user or a client".into()),
    };
    let pattern = args.word("the pattern")?;
    let pattern = Pattern::new(&pattern).map_err(|error| error.to_string())?;
    Ok(Rule { effect, who, actions, pattern })
}

/// What `accept`, `continue` and `refuse` answer.
pub(crate) fn outcome(verb: &str, args: &mut Args) -> Result<AuthOutcome, String> {
    let outcome = match verb {
        "accept" => {
            let credential = credential(args)?;
            AuthOutcome::Accepted {
                identity: args.text("identity")?,
                data: args.bytes("data"),
                credential,
            }
        }
        "continue" => AuthOutcome::Continue { data: args.bytes("data") },
        _ => AuthOutcome::Refused { reason: reason(args)?.unwrap_or(ReasonCode::NotAuthorized) },
    };
    args.finish()?;
    Ok(outcome)
}

/// What `accept` says of the client beyond its identity.
fn credential(args: &mut Args) -> Result<Credential, String> {
    let claims = args.pairs("claim")?;
    let ends_at_ms: Option<u64> = args.number("ends")?;
    let mut grants = Vec::new();
    for (action, pattern) in args.pairs("grant")? {
        let action = match action.as_str() {
            "publish" => Action::Publish.into(),
            "read" => Actions::READ,
            _ => return Err(format!("no grant is called `{action}`")),
        };
        let pattern = Pattern::new(&pattern).map_err(|error| error.to_string())?;
        grants.push(Rule { effect: Effect::Allow, who: Who::Any, actions: action, pattern });
    }
    let grants = Some(grants).filter(|grants| !grants.is_empty()).map(|grants| {
        Permissions::new(Effect::Deny, grants).map(Arc::new).map_err(|error| error.to_string())
    });
    Ok(Credential {
        claims: Claims::new(claims),
        grants: grants.transpose()?,
        key: args.text("key")?,
        inbox: args.text("inbox")?.map(|name| topic(&name)).transpose()?.map(Box::new),
        ends_at: ends_at_ms.map(|ms| START.plus_ms(ms)),
    })
}

/// The version that `v=` names.
pub(crate) fn version(args: &mut Args) -> Result<Option<Version>, String> {
    match args.text("v")?.as_deref() {
        None => Ok(None),
        Some("5") => Ok(Some(Version::V5)),
        Some("4" | "3.1.1") => Ok(Some(Version::V311)),
        Some("3" | "3.1") => Ok(Some(Version::V31)),
        Some(other) => Err(format!("no version {other}")),
    }
}

fn connect(args: &mut Args, name: &str) -> Result<Connect, String> {
    let version = version(args)?.unwrap_or(Version::V5);
    let clean_start = args.flag("clean");
    let default_expiry_s = if version == Version::V5 || clean_start { 0 } else { u32::MAX };
    Ok(Connect {
        version,
        clean_start,
        keep_alive_s: args.number("keepalive")?.unwrap_or(0),
        client_id: args.text("client")?.map_or_else(|| text(name), Ok)?,
        will: will(args)?.map(Box::new),
        user_name: args.text("user")?,
        password: args.bytes("password"),
        session_expiry_interval_s: args.number("expiry")?.unwrap_or(default_expiry_s),
        receive_maximum: args.number("receive_maximum")?.unwrap_or(u16::MAX),
        maximum_packet_size_bytes: args.number("max_packet")?,
        topic_alias_maximum: args.number("alias_maximum")?.unwrap_or(0),
        request_response_information: args.flag("response_information"),
        request_problem_information: !args.flag("no_problem_information"),
        authentication_method: args.text("method")?,
        authentication_data: args.bytes("data"),
        user_properties: args.user_properties()?,
    })
}

fn will(args: &mut Args) -> Result<Option<Will>, String> {
    let Some(value) = args.bytes("will") else { return Ok(None) };
    let colon = value.iter().position(|byte| *byte == b':').ok_or("will needs topic:payload")?;
    let mut properties = MessageProperties {
        payload_format_indicator: args.flag("will_utf8").then_some(true),
        content_type: args.text("will_content_type")?,
        response_topic: args.text("will_response_topic")?.map(|t| topic(&t)).transpose()?,
        correlation_data: args.bytes("will_correlation"),
        user_properties: Vec::new(),
    };
    while let Some(pair) = args.text("will_prop")? {
        let (name, value) = pair.split_once(':').ok_or("will_prop needs name:value")?;
        properties.user_properties.push((text(name)?, text(value)?));
    }
    Ok(Some(Will {
        topic: topic(&String::from_utf8_lossy(&value[..colon]))?,
        payload: value.slice(colon + 1..),
        qos: qos(args, "will_qos")?,
        retain: args.flag("will_retain"),
        delay_interval_s: args.number("will_delay")?.unwrap_or(0),
        message_expiry_interval_s: args.number("will_expiry")?,
        properties: (!properties.is_empty()).then(|| Box::new(properties)),
    }))
}

fn publish(args: &mut Args) -> Result<Publish, String> {
    let properties = properties(args)?;
    let id = args.number::<u16>("id")?;
    let delivery = match (qos(args, "qos")?, id) {
        (QoS::AtMostOnce, None) => Delivery::AtMostOnce,
        (QoS::AtLeastOnce, Some(id)) => Delivery::AtLeastOnce(InboundPacketId(packet_id(id)?)),
        (QoS::ExactlyOnce, Some(id)) => Delivery::ExactlyOnce(InboundPacketId(packet_id(id)?)),
        (QoS::AtMostOnce, Some(_)) => return Err("QoS 0 has no id".into()),
        (QoS::AtLeastOnce | QoS::ExactlyOnce, None) => return Err("id= is missing".into()),
    };
    Ok(Publish {
        dup: args.flag("dup"),
        retain: args.flag("retain"),
        delivery,
        message_expiry_interval_s: args.number("expiry")?,
        payload: args.payload(),
        topic: topic(&args.word("the topic")?)?,
        properties,
    })
}

fn properties(args: &mut Args) -> Result<Option<Box<MessageProperties>>, String> {
    let properties = MessageProperties {
        payload_format_indicator: args.flag("utf8").then_some(true),
        content_type: args.text("content_type")?,
        response_topic: args.text("response_topic")?.map(|t| topic(&t)).transpose()?,
        correlation_data: args.bytes("correlation"),
        user_properties: args.user_properties()?,
    };
    Ok((!properties.is_empty()).then(|| Box::new(properties)))
}

fn ack<Id>(args: &mut Args, id: fn(PacketId) -> Id) -> Result<Ack<Id>, String> {
    let value = number(&args.word("the packet identifier")?)?;
    let details = ReasonDetails {
        reason_string: args.text("reason_string")?,
        user_properties: args.user_properties()?,
    };
    Ok(Ack {
        packet_id: id(packet_id(value)?),
        reason: reason(args)?.unwrap_or_default(),
        details: (details != ReasonDetails::default()).then(|| Box::new(details)),
    })
}

fn subscribe(mut groups: Vec<Args>) -> Result<ClientPacket, String> {
    let first = groups.first_mut().ok_or("a filter is missing")?;
    let mut packet = Subscribe {
        packet_id: InboundPacketId(packet_id(first.number("id")?.unwrap_or(1))?),
        subscription_id: first.number("sub_id")?,
        subscriptions: Vec::new(),
        user_properties: first.user_properties()?,
    };
    for args in &mut groups {
        let options = SubscriptionOptions {
            maximum_qos: qos(args, "qos")?,
            no_local: args.flag("nl"),
            retain_as_published: args.flag("rap"),
            retain_handling: match args.number::<u8>("rh")? {
                None | Some(0) => RetainHandling::Always,
                Some(1) => RetainHandling::IfNew,
                Some(2) => RetainHandling::Never,
                Some(other) => return Err(format!("no retain handling {other}")),
            },
        };
        packet.subscriptions.push((filter(&args.word("the filter")?)?, options));
        args.finish()?;
    }
    Ok(ClientPacket::Subscribe(Box::new(packet)))
}

fn unsubscribe(args: &mut Args) -> Result<Unsubscribe, String> {
    let mut filters = Vec::new();
    while let Some(word) = args.optional_word() {
        filters.push(filter(&word)?);
    }
    Ok(Unsubscribe {
        packet_id: InboundPacketId(packet_id(args.number("id")?.unwrap_or(1))?),
        filters,
        user_properties: args.user_properties()?,
    })
}

fn disconnect(args: &mut Args) -> Result<Disconnect, String> {
    Ok(Disconnect {
        reason: reason(args)?.unwrap_or_default(),
        session_expiry_interval_s: args.number("expiry")?,
        server_reference: None,
        reason_string: args.text("reason_string")?,
        user_properties: args.user_properties()?,
    })
}

fn auth(args: &mut Args) -> Result<Auth, String> {
    Ok(Auth {
        reason: reason(args)?.unwrap_or(ReasonCode::ContinueAuthentication),
        method: args.text("method")?,
        data: args.bytes("data"),
        reason_string: args.text("reason_string")?,
        user_properties: args.user_properties()?,
    })
}

/// `reason=0x80` or `reason=UnspecifiedError`.
fn reason(args: &mut Args) -> Result<Option<ReasonCode>, String> {
    let Some(value) = args.text("reason")? else { return Ok(None) };
    let named = ReasonCode::ALL.iter().copied().find(|code| format!("{code:?}") == value.as_str());
    if named.is_some() {
        return Ok(named);
    }
    ReasonCode::from_u8(number(&value)?).map(Some).ok_or_else(|| format!("no reason {value}"))
}

fn qos(args: &mut Args, name: &str) -> Result<QoS, String> {
    let value = args.number::<u8>(name)?.unwrap_or(0);
    QoS::from_u8(value).ok_or_else(|| format!("no QoS {value}"))
}

fn packet_id(value: u16) -> Result<PacketId, String> {
    PacketId::new(value).ok_or_else(|| "a packet identifier is not 0".into())
}

fn topic(value: &str) -> Result<Topic, String> {
    Topic::new(Text::new(Bytes::copy_from_slice(value.as_bytes())).map_err(|e| e.to_string())?)
        .map_err(|error| format!("{value}: {error}"))
}

fn filter(value: &str) -> Result<TopicFilter, String> {
    TopicFilter::try_from(value).map_err(|error| format!("{value}: {error}"))
}
