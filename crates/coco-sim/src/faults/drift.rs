//! A wall clock that stands still, or runs at 0.9 to 1.1 of its pace, until somebody sets it right. Nothing that must be
//! right depends on it.

use crate::{plan::Micros, world::World};

/// The pace of a wall clock since some time.
#[derive(Clone, Copy, Debug)]
pub struct Drift {
    since: Micros,
    /// Thousandths of the right pace.
    per_mille: u64,
    /// What it was ahead already, in microseconds.
    ahead_us: i64,
}

impl Drift {
    /// A clock that is right.
    pub const NONE: Self = Self { since: 0, per_mille: 1000, ahead_us: 0 };

    /// By how many microseconds the clock is ahead.
    #[must_use]
    pub fn ahead_us(&self, time: Micros) -> i64 {
        let elapsed_us = i64::try_from(time.saturating_sub(self.since)).unwrap_or(i64::MAX);
        let pace = i64::try_from(self.per_mille).unwrap_or(1000) - 1000;
        self.ahead_us.saturating_add(elapsed_us.saturating_mul(pace) / 1000)
    }
}

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    let per_mille = match world.dice.below(4) {
        0 => 0,
        1 => 1000,
        _ => world.dice.between(900, 1100),
    };
    match per_mille {
        0 => world.marks.reach("a wall clock stood still"),
        1000 => {}
        _ => world.marks.reach("a wall clock ran at another pace"),
    }
    // A clock that is set right again is right; one whose pace changes goes on from where it is.
    let ahead_us = match per_mille {
        1000 => 0,
        _ => world.machines[node].drift.ahead_us(world.time),
    };
    world.machines[node].drift = Drift { since: world.time, per_mille, ahead_us };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_by_its_pace() {
        for (per_mille, ahead_us) in [(0, -995), (900, -95), (1000, 5), (1100, 105)] {
            let drift = Drift { since: 500, per_mille, ahead_us: 5 };
            assert_eq!(drift.ahead_us(1_500), ahead_us, "{per_mille}");
        }
    }
}
