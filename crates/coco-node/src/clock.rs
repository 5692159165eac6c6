//! The time of this machine.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

static FIRST_ASKED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Seconds since 1970. A clock that stands before that says zero.
pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Milliseconds since this process first asked, on a clock that only runs.
pub(crate) fn running_ms() -> u64 {
    millis_since(*FIRST_ASKED)
}

/// Milliseconds since then.
pub(crate) fn millis_since(since: Instant) -> u64 {
    millis(since.elapsed())
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
