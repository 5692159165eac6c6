//! What a primary has not on its own disk.
//!
//! The others may commit entries while the primary's disk hangs, and all that it was handed stays in memory. So the
//! primary does not run ahead of its disk further than it may run ahead of commits; and when nothing but this disk is in
//! the way for long, another one takes over, whose disk works.

use std::collections::VecDeque;

use coco_consensus::PersistToken;
use coco_types::Role;

use crate::{effects::Persist, replica::Replica};

/// How long the disk may be all that execution waits for, in ticks, before the primary hands over: longer than disks take
/// when they are merely busy.
const HELD_UP_TICKS_MAX: u32 = 300;

/// What was handed to the disk and is not durable.
#[derive(Debug, Default)]
pub(crate) struct OwnDisk {
    /// Bytes of entries, by the token that will say that they are durable.
    writes: VecDeque<(PersistToken, u64)>,
    bytes: u64,
    held_up_ticks: u32,
}

impl OwnDisk {
    pub(crate) fn handed(&mut self, persist: &Persist) {
        let bytes = persist.entries.iter().map(|(entry, _)| entry.len() as u64).sum();
        if bytes > 0 {
            let token = persist.token.expect("entries have to be durable");
            self.writes.push_back((token, bytes));
            self.bytes += bytes;
        }
    }

    pub(crate) fn durable(&mut self, token: PersistToken) {
        while let Some((_, bytes)) = self.writes.pop_front_if(|(waits, _)| *waits <= token) {
            self.bytes -= bytes;
        }
    }

    /// How many bytes of entries are not durable, those among them that were rolled back meanwhile.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A tick, and whether the disk alone was in the way; whether that has lasted too long. Then it is counted anew.
    const fn has_hung(&mut self, is_held_up: bool) -> bool {
        self.held_up_ticks = if is_held_up { self.held_up_ticks + 1 } else { 0 };
        let has_hung = self.held_up_ticks >= HELD_UP_TICKS_MAX;
        if has_hung {
            self.held_up_ticks = 0;
        }
        has_hung
    }
}

impl Replica {
    /// Hands over to the voter that is furthest when this node's disk hangs and those of others do not: what it has not
    /// written has long been committed.
    pub(crate) fn look_at_own_disk(&mut self) {
        let bytes_max = self.settings.uncommitted_bytes_max;
        let is_held_up = self.engine.role() == Role::Primary
            && self.own_disk.bytes() >= bytes_max
            && self.core.uncommitted_bytes() < bytes_max / 2;
        if !self.own_disk.has_hung(is_held_up) {
            return;
        }
        // One that fails is tried again when the disk has hung for as long once more.
        self.hand_over(|_| true);
    }
}
