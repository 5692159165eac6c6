//! Clients that hold connections and ask for nothing, and clients that ask for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use tokio::{io::AsyncWriteExt, sync::Semaphore};

use super::{Case, Set};
use crate::{
    client::{Connection, Tls},
    need::Need,
    network::client_address,
    scene::{Scene, Setup, Stage},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "connections-1000",
        about: "1,000 idle and 50 slow connections to the primary",
        needs: &[],
        set: Set::Ci,
        play: |stage| crowd(stage, Crowd { idle: 1_000, slow: 50, time_s: 5 }),
    },
    Case {
        name: "connections-10000",
        about: "10,000 idle and 200 slow connections to the primary, whose limit is above that",
        needs: &[Need::Descriptors],
        set: Set::Long,
        play: |stage| crowd(stage, Crowd { idle: 10_000, slow: 200, time_s: 15 }),
    },
];

#[derive(Clone, Copy)]
struct Crowd {
    idle: usize,
    slow: usize,
    /// How long the load goes on once all are there.
    time_s: u64,
}

/// Room for the crowd and for those who work.
const PLACES: usize = 11_000;
/// Handshakes under way at one time, so that those who work have their turn.
const HANDSHAKES: usize = 8;
/// Time for all handshakes.
const GATHER_TIME: Duration = Duration::from_secs(180);
/// Writes are never interrupted for longer.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// A slow client sends a byte so often.
const DRIP: Duration = Duration::from_millis(700);

fn crowd(stage: Stage<'_>, Crowd { idle, slow, time_s }: Crowd) -> anyhow::Result<()> {
    let setup = Setup {
        adjust: Box::new(|_, config| config.limits.connections_max = PLACES),
        ..Setup::default()
    };
    let mut scene = Scene::open(stage, setup)?;
    scene.under_load()?;
    let primary = scene.primary()?;
    let moment = scene.load.now_us();
    let arrived = Arc::new(AtomicUsize::new(0));
    let door = Arc::new(Semaphore::new(HANDSHAKES));
    for i in 0..idle + slow {
        let (tls, arrived, door) = (scene.tls.clone(), Arc::clone(&arrived), Arc::clone(&door));
        scene.runtime.spawn(async move {
            // They end with the runtime.
            if i < idle {
                drop(stay(&tls, primary, &arrived, &door).await);
            } else {
                while drip(&tls, primary, &arrived, &door).await.is_ok() {}
            }
        });
    }
    let mut waited = Duration::ZERO;
    while arrived.load(Ordering::Relaxed) < idle + slow {
        ensure!(
            waited < GATHER_TIME,
            "only {} connections were made in {GATHER_TIME:?}",
            arrived.load(Ordering::Relaxed)
        );
        scene.go_on(Duration::from_millis(100))?;
        waited += Duration::from_millis(100);
    }
    scene.note(&format!("n{primary}; all there after {:.1} s", waited.as_secs_f64()));
    scene.go_on(Duration::from_secs(time_s))?;
    scene.note(&format!("{} writes a second with the crowd", scene.load.rate(3)));
    scene.hardly_noticed(moment, SILENCE_MAX)?;
    scene.close()
}

/// Asks once, and then holds the connection.
async fn stay(
    tls: &Tls,
    node: usize,
    arrived: &AtomicUsize,
    door: &Semaphore,
) -> anyhow::Result<()> {
    let passing = door.acquire().await?;
    let mut connection = Connection::open(tls, client_address(node)).await?;
    connection.get("/node/state").await?;
    drop(passing);
    arrived.fetch_add(1, Ordering::Relaxed);
    std::future::pending::<()>().await;
    drop(connection);
    Ok(())
}

/// Sends a request byte by byte until the node has had enough of it.
async fn drip(
    tls: &Tls,
    node: usize,
    arrived: &AtomicUsize,
    door: &Semaphore,
) -> anyhow::Result<()> {
    let passing = door.acquire().await?;
    let mut stream = tls.connect(client_address(node)).await?;
    drop(passing);
    arrived.fetch_add(1, Ordering::Relaxed);
    for byte in b"GET /node/state HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(DRIP).await;
    }
    Ok(())
}
