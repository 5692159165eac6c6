//! The time of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. A clock that stands before that says zero.
pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
