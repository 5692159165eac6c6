//! Go-betweens for the channels between nodes, one for each ordered pair, which hand bytes on after a delay.
//!
//! They know nothing of what they carry: nodes authenticate each other through them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coco_node::NodeConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::mpsc,
    time::sleep_until,
};

use crate::{dice::Dice, lan::client_address, network::peer_address, scene::NODES};

/// The first of the ports.
const PORT: u16 = 20_000;
/// Largest piece handed on at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces on their way in one direction; then the sender waits.
const PIECES_MAX: usize = 256;

/// Where node `from` reaches node `to` through the go-between.
fn port(from: usize, to: usize) -> u16 {
    PORT + u16::try_from(from * NODES + to).expect("a network has few nodes")
}

/// Has node `i` reach all others through the go-betweens.
pub(crate) fn go_between(i: usize, config: &mut NodeConfig) {
    for (to, node) in config.nodes.iter_mut().enumerate().filter(|(to, _)| *to != i) {
        node.peer = format!("{}:{}", client_address(), port(i, to));
    }
}

/// Starts the go-betweens on a runtime in the clients' namespace. Bytes are late by `delay_ms`, a fifth more or less.
pub(crate) fn start(runtime: &Runtime, delay_ms: &Arc<AtomicU64>) -> anyhow::Result<()> {
    for from in 0..NODES {
        for to in (0..NODES).filter(|to| *to != from) {
            let address = (client_address(), port(from, to));
            let listener = runtime.block_on(TcpListener::bind(address))?;
            runtime.spawn(serve(listener, to, Arc::clone(delay_ms)));
        }
    }
    Ok(())
}

async fn serve(listener: TcpListener, to: usize, delay_ms: Arc<AtomicU64>) {
    while let Ok((near, _)) = listener.accept().await {
        let delay_ms = Arc::clone(&delay_ms);
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(peer_address(to)).await else { return };
            if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
                return;
            }
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            // When one direction ends, both do: half a channel is of no use.
            tokio::select! {
                _ended = carry(near_in, far_out, &delay_ms) => {}
                _ended = carry(far_in, near_out, &delay_ms) => {}
            }
        });
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay_ms: &AtomicU64,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let mut dice = Dice::new(0);
    let reading = async move {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let count = from.read(&mut piece).await?;
            if count == 0 {
                return Ok::<(), io::Error>(());
            }
            piece.truncate(count);
            let delay_us = delay_ms.load(Ordering::Relaxed) * dice.between(800, 1200);
            if sender.send((Instant::now() + Duration::from_micros(delay_us), piece)).await.is_err()
            {
                return Ok(());
            }
        }
    };
    let writing = async {
        while let Some((due, piece)) = pieces.recv().await {
            // Pieces keep their order, as in any stream.
            sleep_until(due.into()).await;
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(|((), ())| ())
}
