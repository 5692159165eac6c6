//! Which bug is planted where. Compiled for the simulator only.

use std::cell::Cell;

use crate::Bug;

std::thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this bug is planted in the present thread.
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Plants a bug in the present thread, or none, in place of the one before.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
