//! The node's log: JSON lines on standard error, which nothing ever waits for.
//!
//! Standard error may be a pipe whose reader is slow or stuck. A thread that waited for it would hold up consensus, and
//! the node would look alive while it serves nobody. So lines go through a bounded queue to a thread of their own; when
//! the queue is full they are dropped, and counted in the next line that gets through.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Lines that may wait; a node that starts or fails writes some dozens.
const LINES_MAX: usize = 4096;
/// How long the end of the process waits until the last lines are out.
const LAST_TIME: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(10);

/// The way to the writing thread.
#[derive(Clone, Debug)]
pub(super) struct Log {
    lines: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// Answer when everything before it is out.
    Flush(SyncSender<()>),
}

/// Starts logging; `COCO_LOG` selects what.
pub(super) fn start() -> io::Result<Log> {
    let filter = EnvFilter::try_from_env("COCO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = Log::to(io::stderr())?;
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(log.clone()).init();
    Ok(log)
}

impl Log {
    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, items) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        std::thread::Builder::new().name("log".into()).spawn(move || write(out, &items, &count))?;
        Ok(Self { lines, dropped })
    }

    /// Waits until the last lines are out, for a moment at most.
    pub(super) fn finish(&self) {
        self.finish_within(LAST_TIME);
    }

    fn finish_within(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let (done, is_done) = sync_channel(1);
        let mut flush = Item::Flush(done);
        loop {
            match self.lines.try_send(flush) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => flush = back,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return,
            }
            std::thread::sleep(RETRY);
        }
        // Either way the process ends now.
        let _is_out =
            is_done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok();
    }
}

/// The thread. A sink that fails loses lines, and nothing else.
fn write(mut out: impl Write, items: &Receiver<Item>, dropped: &AtomicU64) {
    for item in items {
        match item {
            Item::Line(line) => {
                let count = dropped.swap(0, Ordering::Relaxed);
                let note = (count > 0).then(|| {
                    format!("{{\"level\":\"WARN\",\"fields\":{{\"message\":\"log lines were dropped\",\"count\":{count}}}}}\n")
                });
                let _is_written =
                    note.map_or(Ok(()), |note| out.write_all(note.as_bytes())).is_ok()
                        && out.write_all(&line).is_ok();
            }
            Item::Flush(done) => {
                let _is_flushed = out.flush().is_ok();
                // Whoever asked may have stopped waiting.
                let _is_heard = done.try_send(()).is_ok();
            }
        }
    }
}

/// Takes one line, or drops it.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a Log);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.lines.try_send(Item::Line(bytes.to_vec())).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    /// A sink that stands still until it is let go.
    #[derive(Clone, Default)]
    struct Sink(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        is_free: bool,
        bytes: Vec<u8>,
    }

    impl Sink {
        fn release(&self) {
            self.0.0.lock().expect("no panic").is_free = true;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.0.lock().expect("no panic").bytes).into_owned()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, changed) = &*self.0;
            let state = state.lock().expect("no panic");
            let mut state = changed.wait_while(state, |state| !state.is_free).expect("no panic");
            state.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(log: &Log, i: usize) {
        log.make_writer().write_all(format!("line {i}\n").as_bytes()).expect("never fails");
    }

    #[test]
    fn lines_come_out_in_order() {
        let sink = Sink::default();
        sink.release();
        let log = Log::to(sink.clone()).expect("starts");
        (0..3).for_each(|i| line(&log, i));
        log.finish();
        assert_eq!(sink.text(), "line 0\nline 1\nline 2\n");
    }

    #[test]
    fn a_sink_that_stands_still_holds_up_nobody_and_the_loss_is_told() {
        let sink = Sink::default();
        let log = Log::to(sink.clone()).expect("starts");
        // One line is in the thread's hands or in the queue, so one more or less is dropped.
        (0..LINES_MAX + 10).for_each(|i| line(&log, i));
        let started = Instant::now();
        log.finish_within(Duration::from_millis(50));
        assert!(started.elapsed() < Duration::from_secs(5), "it waits for a moment only");
        assert_eq!(sink.text(), "");
        sink.release();
        log.finish_within(Duration::from_secs(60));
        line(&log, 9999);
        log.finish_within(Duration::from_secs(60));
        let text = sink.text();
        assert!(text.contains("line 0\n") && text.contains("line 4000\n"));
        assert!(text.contains("\"log lines were dropped\""), "{}", &text[text.len() - 200..]);
        assert!(text.ends_with("line 9999\n"), "{}", &text[text.len() - 200..]);
    }
}
