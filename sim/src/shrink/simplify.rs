//! Plainer versions of clients and steps.

use crate::plan::{ClientSpec, Do, WillSpec};

/// The client with one trait after the other made plain.
pub(super) fn clients(spec: &ClientSpec) -> Vec<ClientSpec> {
    let plain = ClientSpec::plain(&spec.client_id);
    let mut simpler = vec![
        plain.clone(),
        ClientSpec { session_expiry_interval_s: spec.session_expiry_interval_s, ..plain.clone() },
    ];
    let mut one = |change: fn(&mut ClientSpec)| {
        let mut client = spec.clone();
        change(&mut client);
        simpler.push(client);
    };
    one(|client| client.level = 5);
    one(|client| client.keep_alive_s = 0);
    one(|client| client.receive_maximum = u16::MAX);
    one(|client| client.later_receive_maximum = 0);
    one(|client| client.maximum_packet_size_bytes = 0);
    one(|client| client.topic_alias_maximum = 0);
    one(|client| client.ack_delay_ms = 0);
    one(|client| client.reorders_acks = false);
    one(|client| client.reconnect_after_ms = None);
    one(|client| client.forgets = false);
    one(|client| client.pipelines = false);
    one(|client| client.aliases = false);
    one(|client| client.refuses = false);
    one(|client| client.clock_percent = 100);
    one(|client| client.session_expiry_interval_s = 0);
    one(|client| client.session_expiry_interval_s = u32::MAX);
    simpler
}

/// The step with one trait after the other made plain.
pub(super) fn steps(what: &Do) -> Vec<Do> {
    match what {
        Do::Connect { client, clean_start, will } => {
            let client = *client;
            let mut simpler = vec![
                Do::Connect { client, clean_start: false, will: None },
                Do::Connect { client, clean_start: *clean_start, will: None },
                Do::Connect { client, clean_start: false, will: will.clone() },
            ];
            for will in will.iter().flat_map(wills) {
                let will = Some(will);
                simpler.push(Do::Connect { client, clean_start: *clean_start, will });
            }
            simpler
        }
        Do::Subscribe { .. } => subscribes(what),
        Do::Publish { .. } => publishes(what),
        Do::Disconnect { client, reason, session_expiry_interval_s: _ } => {
            let (client, reason) = (*client, *reason);
            vec![
                Do::Disconnect { client, reason: 0, session_expiry_interval_s: None },
                Do::Disconnect { client, reason, session_expiry_interval_s: None },
            ]
        }
        Do::Unsubscribe { client, filter, joined: true } => {
            vec![Do::Unsubscribe { client: *client, filter: filter.clone(), joined: false }]
        }
        Do::Unsubscribe { joined: false, .. }
        | Do::Ping { .. }
        | Do::Vanish { .. }
        | Do::Misbehave { .. }
        | Do::Reading { .. }
        | Do::Acknowledging { .. }
        | Do::Pinging { .. }
        | Do::Network { .. }
        | Do::Broker(_)
        | Do::Frozen { .. }
        | Do::Deny(_)
        | Do::AllowAll
        | Do::Order(_)
        | Do::WallClock { .. }
        | Do::DiskSyncs { .. }
        | Do::Disk(_) => Vec::new(),
    }
}

fn wills(will: &WillSpec) -> [WillSpec; 4] {
    [
        WillSpec { delay_s: 0, ..will.clone() },
        WillSpec { expiry_s: 0, ..will.clone() },
        WillSpec { retain: false, ..will.clone() },
        WillSpec { qos: 0, ..will.clone() },
    ]
}

fn subscribes(what: &Do) -> Vec<Do> {
    let mut simpler = Vec::new();
    let mut one = |change: fn(&mut bool, &mut bool, &mut u8, &mut u32)| {
        let mut step = what.clone();
        if let Do::Subscribe {
            no_local,
            retain_as_published,
            retain_handling,
            subscription_id,
            ..
        } = &mut step
        {
            change(no_local, retain_as_published, retain_handling, subscription_id);
        }
        simpler.push(step);
    };
    one(|no_local, as_published, handling, id| {
        (*no_local, *as_published, *handling, *id) = (false, false, 0, 0);
    });
    one(|no_local, _, _, _| *no_local = false);
    one(|_, as_published, _, _| *as_published = false);
    one(|_, _, handling, _| *handling = 0);
    one(|_, _, _, id| *id = 0);
    let mut alone = what.clone();
    if let Do::Subscribe { joined, .. } = &mut alone {
        *joined = false;
    }
    simpler.push(alone);
    simpler
}

fn publishes(what: &Do) -> Vec<Do> {
    let mut simpler = Vec::new();
    let mut one = |change: fn(&mut bool, &mut u32, &mut u32, &mut u8)| {
        let mut step = what.clone();
        if let Do::Publish { retain, fill_bytes, expiry_s, user_properties, .. } = &mut step {
            change(retain, fill_bytes, expiry_s, user_properties);
        }
        simpler.push(step);
    };
    one(|retain, fill, expiry, properties| {
        (*retain, *fill, *expiry, *properties) = (false, 0, 0, 0);
    });
    one(|retain, _, _, _| *retain = false);
    one(|_, fill, _, _| *fill = 0);
    one(|_, _, expiry, _| *expiry = 0);
    one(|_, _, _, properties| *properties = 0);
    simpler
}
