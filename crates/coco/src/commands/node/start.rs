//! `coco node start`: one node, until it is told to stop.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use coco_node::{
    Node,
    node::{StartNodeError, Stopped},
};
use tokio::signal::unix::{SignalKind, signal};

use super::log;
use crate::{
    codes::Code,
    fault::{Fault, chain},
};

/// How often a running node is asked whether it still runs.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// Configuration file (TOML)
    #[arg(long)]
    config: PathBuf,
    /// Write the node's addresses to this file once it serves
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Stop when standard input ends, as it does when the process that started this one is gone
    #[arg(long)]
    stop_with_parent: bool,
}

/// How often a process that is left behind copies another node's ledger before it gives up.
const COPIES_MAX: u32 = 100;

/// Ends when standard input does; never, when it is not to be watched.
async fn orphaned(is_watched: bool) {
    if !is_watched {
        return std::future::pending().await;
    }
    let (gone, wait) = tokio::sync::oneshot::channel();
    // A blocking read of standard input cannot be cancelled, so it has a thread of its own, which the process's end ends.
    std::thread::spawn(move || {
        let mut rest = std::io::stdin().lock();
        let ended = std::io::copy(&mut rest, &mut std::io::sink());
        tracing::info!(ok = ended.is_ok(), "standard input ended");
        let _stopped: Result<(), ()> = gone.send(());
    });
    // An error means that the thread could not say it; either way the parent is not there.
    let _said = wait.await.is_ok();
}

pub(crate) fn run(arguments: &StartArgs) -> anyhow::Result<()> {
    let log = log::start().context("cannot start the log")?;
    let ended = serve(arguments);
    log.finish();
    ended
}

fn serve(arguments: &StartArgs) -> anyhow::Result<()> {
    let (config, _) = super::config::load(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let parent = arguments.stop_with_parent;
    let mut told = Box::pin(async move {
        tokio::select! {
            () = orphaned(parent) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
    let ready_file = arguments.ready_file.as_deref();
    // An earlier run that was killed left its own behind.
    say_not_ready(ready_file)?;
    let mut node = Node::start(&config).map_err(does_not_start)?;
    for _ in 0..COPIES_MAX {
        if let Some(path) = ready_file {
            say_ready(path, &node)
                .map_err(|error| Fault::file(Code::FileUnwritable, path, &error))?;
        }
        let has_ended = runtime.block_on(async {
            loop {
                tokio::select! {
                    () = &mut told => return false,
                    () = tokio::time::sleep(WATCH_INTERVAL) => {
                        if node.has_ended() {
                            return true;
                        }
                    }
                }
            }
        });
        tracing::info!("stopping");
        say_not_ready(ready_file)?;
        match node.stop().context("the node broke")? {
            Stopped::Told if has_ended => bail!("the node ended by itself"),
            Stopped::Behind(life) if has_ended => {
                tracing::warn!(
                    "the primary has archived what this node's ledger lacks: it copies another node's"
                );
                node = Node::start_again(&config, life).map_err(does_not_start)?;
            }
            Stopped::Recovered => {
                tracing::info!(
                    "members have given the ledger's secrets back: the ledger is loaded under them"
                );
                node = Node::start_recovered(&config).map_err(does_not_start)?;
                continue;
            }
            Stopped::Told | Stopped::Behind(_) => return Ok(()),
        }
    }
    node.stop().context("the node broke")?;
    bail!("the node was left behind again after {COPIES_MAX} copies of another node's ledger");
}

/// Takes the ready file away: its addresses are not served, or no longer.
fn say_not_ready(path: Option<&Path>) -> Result<(), Fault> {
    let Some(path) = path else { return Ok(()) };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::file(Code::FileUnwritable, path, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Why a node does not start, or does not go on.
fn does_not_start(error: StartNodeError) -> Fault {
    let code = match &error {
        StartNodeError::Identity(_)
        | StartNodeError::Files { .. }
        | StartNodeError::HardState { .. }
        | StartNodeError::Snapshots { .. }
        | StartNodeError::NoGenesis { .. }
        | StartNodeError::LostAlone { .. } => Code::FileUnreadable,
        StartNodeError::Folder { .. } => Code::FileUnwritable,
        StartNodeError::Configuration(_) => Code::ConfigUnusable,
        StartNodeError::Listen { .. } => Code::AddressTaken,
        StartNodeError::Copy(_)
        | StartNodeError::Load { .. }
        | StartNodeError::Nodes(_)
        | StartNodeError::SetBack { .. }
        | StartNodeError::Consensus(_)
        | StartNodeError::Tls(_)
        | StartNodeError::Thread(_) => Code::Failed,
    };
    Fault::new(code, format!("the node does not start: {}", chain(&error)))
}

/// Writes the node's addresses into the ready file.
fn say_ready(path: &Path, node: &Node) -> std::io::Result<()> {
    let development =
        node.development_address.map(|address| address.to_string()).unwrap_or_default();
    let text = format!("{}\n{development}\n", node.client_address);
    // Whoever waits for the file must not see half of it.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}
