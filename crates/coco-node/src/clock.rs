//! The time of this machine.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

static FIRST_ASKED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Seconds since 1970. A clock that stands before that says zero.
pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Milliseconds since this process first asked, on a clock that only runs.
pub(crate) fn running_ms() -> u64 {
    u64::try_from(FIRST_ASKED.elapsed().as_millis()).unwrap_or(u64::MAX)
}
