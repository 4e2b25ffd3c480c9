//! Your own client under simulated faults: a meter sends readings at QoS 1 and keeps each until it
//! is acknowledged; a collector, whose session outlives its connections, must get every one.
//!
//! The packets are those of `rumqttc`, another people's codec; what is tried out here is the logic
//! around it: when to send again, when to connect again. Meanwhile the broker loses its power twice
//! and the meter's network breaks. Nothing here takes real time, and each seed gives the same run:
//!
//!     cargo run -p signalhouse-sim --example reconnecting_client -- 0 20

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Filter, Packet, PubAck, Publish, Subscribe,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use signalhouse_sim::harness::{
    ClientError, Connection, Harness, HarnessError, LinkFault, Network,
};
use signalhouse_sim::plan::BrokerFault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

const READINGS: u32 = 30;
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> Result<(), HarnessError> {
    let mut bounds = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let (first, end) = (bounds.next().unwrap_or(0), bounds.next().unwrap_or(10));
    for seed in first..end {
        let readings = Rc::new(RefCell::new(BTreeSet::new()));
        let collected = Rc::clone(&readings);
        let simulated_ms = Harness::new(seed)
            .with("network.latency_ms", 3)
            .with("journal.sync_ms", 20)
            .at_ms(700 + 13 * seed, BrokerFault::PowerCut)
            .at_ms(1_500, BrokerFault::Start)
            .at_ms(2_600 + 7 * seed, BrokerFault::PowerCut)
            .at_ms(3_000, BrokerFault::Start)
            .disk_hangs(4_000, 4_800)
            .client("collector", move |network| collect(network, collected))
            .client("meter", measure)
            .run(120_000)?;
        let count = readings.borrow().len();
        assert_eq!(count, READINGS as usize, "seed {seed}");
        println!("seed {seed}: {count} readings in {simulated_ms} simulated ms");
    }
    Ok(())
}

/// Sends reading after reading, each until it is acknowledged.
async fn measure(network: Network) -> Result<(), ClientError> {
    sleep(Duration::from_millis(200)).await; // the collector subscribes first
    let mut next = 0;
    while next < READINGS {
        // Whatever goes wrong ends the attempt; what was not acknowledged is sent again.
        if send_from(&network, &mut next).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn send_from(network: &Network, next: &mut u32) -> Result<(), ClientError> {
    let mut link = Link::open(network, "meter").await?;
    while *next < READINGS {
        let id = u16::try_from(*next % 1000)? + 1;
        let mut publish = Publish::new("meter/1", QoS::AtLeastOnce, next.to_string(), None);
        publish.pkid = id;
        link.send(&Packet::Publish(publish)).await?;
        if *next % 10 == 5 && network.now_ms().is_multiple_of(2) {
            link.stream.fault(LinkFault::Reset);
        }
        while !matches!(link.receive().await?, Packet::PubAck(ack) if ack.pkid == id) {}
        *next += 1;
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Collects readings until it has them all.
async fn collect(
    network: Network,
    readings: Rc<RefCell<BTreeSet<u32>>>,
) -> Result<(), ClientError> {
    while readings.borrow().len() < READINGS as usize {
        if collect_on(&network, &readings).await.is_err() {
            sleep(Duration::from_millis(30)).await;
        }
    }
    Ok(())
}

async fn collect_on(
    network: &Network,
    readings: &Rc<RefCell<BTreeSet<u32>>>,
) -> Result<(), ClientError> {
    let mut link = Link::open(network, "collector").await?;
    let mut subscribe = Subscribe::new(Filter::new("meter/+", QoS::AtLeastOnce), None);
    subscribe.pkid = 1;
    link.send(&Packet::Subscribe(subscribe)).await?;
    while readings.borrow().len() < READINGS as usize {
        if let Packet::Publish(publish) = link.receive().await? {
            let reading = std::str::from_utf8(&publish.payload)?.parse()?;
            readings.borrow_mut().insert(reading); // QoS 1: may come twice
            link.send(&Packet::PubAck(PubAck::new(publish.pkid, None))).await?;
        }
    }
    Ok(())
}

/// A connection on which CONNACK has come.
struct Link {
    stream: Connection,
    buffer: BytesMut,
}

impl Link {
    async fn open(network: &Network, client_id: &str) -> Result<Self, ClientError> {
        let stream = timeout(PATIENCE, network.connect()).await??;
        let mut link = Link { stream, buffer: BytesMut::new() };
        let mut properties = ConnectProperties::new();
        properties.session_expiry_interval = Some(3600);
        let connect = Connect {
            keep_alive: 0,
            client_id: client_id.to_owned(),
            clean_start: false,
            properties: Some(properties),
        };
        link.send(&Packet::Connect(connect, None, None)).await?;
        let first = link.receive().await?;
        if matches!(first, Packet::ConnAck(_)) {
            Ok(link)
        } else {
            Err(format!("{first:?} instead of CONNACK").into())
        }
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), ClientError> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).map_err(|error| format!("{error:?}"))?;
        timeout(PATIENCE, self.stream.write_all(&bytes)).await??;
        Ok(())
    }

    async fn receive(&mut self) -> Result<Packet, ClientError> {
        loop {
            match Packet::read(&mut self.buffer, None) {
                Ok(packet) => return Ok(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(format!("{error:?}").into()),
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await??;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}
