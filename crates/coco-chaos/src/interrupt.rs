//! Ctrl-C and SIGTERM: whoever waits fails soon, and so cleans up.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// The longest nap until the next look.
const NAP: Duration = Duration::from_millis(50);

/// Watches for the signals, as long as the process lives.
pub(crate) fn watch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let watching = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        IS_ASKED.store(true, Ordering::SeqCst);
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watching)
        .map(drop)
        .context("cannot start a thread")
}

/// Whether somebody asked this process to end.
pub(crate) fn is_asked() -> bool {
    IS_ASKED.load(Ordering::SeqCst)
}

/// Waits, or fails when this process is asked to end.
pub(crate) fn sleep(time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    loop {
        if is_asked() {
            bail!("interrupted");
        }
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Ok(());
        }
        std::thread::sleep(rest.min(NAP));
    }
}
