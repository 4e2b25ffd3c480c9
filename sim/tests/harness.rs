//! What a program under the harness can have done to its own connections.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::time::Duration;

use signalhouse_sim::harness::{ClientError, Connection, Harness, LinkFault, Network};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// CONNECT of version 5 with the identifier `a`.
const CONNECT: [u8; 16] = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'a'];
const CONNACK: u8 = 0x20;
const WHILE: Duration = Duration::from_secs(3);

async fn greet(connection: &mut Connection) -> Result<(), ClientError> {
    connection.write_all(&CONNECT).await?;
    assert_eq!(connection.read_u8().await?, CONNACK);
    let mut rest = vec![0; usize::from(connection.read_u8().await?)];
    connection.read_exact(&mut rest).await?;
    Ok(())
}

fn run<Fut>(code: impl FnOnce(Network) -> Fut + 'static)
where
    Fut: Future<Output = Result<(), ClientError>> + 'static,
{
    Harness::new(1).client("a", code).run(60_000).unwrap();
}

#[test]
fn what_drips_takes_its_time_until_the_release() {
    run(|network| async move {
        let mut took_ms = Vec::new();
        for fault in [None, Some(LinkFault::Drip), Some(LinkFault::Release)] {
            let mut connection = network.connect().await?;
            if fault.is_some() {
                connection.fault(LinkFault::Drip);
            }
            if fault == Some(LinkFault::Release) {
                connection.fault(LinkFault::Release);
            }
            let from_ms = network.now_ms();
            greet(&mut connection).await?;
            took_ms.push(network.now_ms() - from_ms);
        }
        // Seven pauses of 5 ms between eight drops.
        assert!(took_ms[0] < 30 && took_ms[1] >= 35 && took_ms[2] < 30, "{took_ms:?}");
        Ok(())
    });
}

#[test]
fn a_half_closed_connection_takes_nothing_more_and_is_read_to_its_end() {
    run(|network| async move {
        let mut connection = network.connect().await?;
        greet(&mut connection).await?;
        let silence = timeout(WHILE, connection.read_u8()).await;
        assert!(silence.is_err(), "it stays open: {silence:?}");
        connection.fault(LinkFault::HalfClose);
        let refused = connection.write_all(&[0xC0, 0]).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::BrokenPipe));
        let end = timeout(WHILE, connection.read(&mut [0; 8])).await;
        assert!(matches!(end, Ok(Ok(0))), "the broker closes its side: {end:?}");
        Ok(())
    });
}

#[test]
fn out_of_reach_no_connection_is_made_and_back_again_it_is() {
    run(|network| async move {
        let mut before = network.connect().await?;
        network.set_reachable(false);
        assert!(timeout(WHILE, network.connect()).await.is_err(), "it is made");
        greet(&mut before).await?;
        network.set_reachable(true);
        greet(&mut timeout(WHILE, network.connect()).await??).await
    });
}
