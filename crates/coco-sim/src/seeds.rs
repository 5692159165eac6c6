//! Which seeds a run takes, one after the other, by however many threads.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// The seeds of a run: those from one number on, then as many from another.
#[derive(Debug)]
pub(crate) struct Seeds {
    taken: AtomicU64,
    parts: Vec<Range<u64>>,
}

impl Seeds {
    /// So many from each of these on.
    pub(crate) fn new(from: impl IntoIterator<Item = u64>, count: u64) -> Self {
        let part = |first: u64| first..first.saturating_add(count);
        Self { taken: AtomicU64::new(0), parts: from.into_iter().map(part).collect() }
    }

    /// The next one.
    pub(crate) fn next(&self) -> Option<u64> {
        let mut at = self.taken.fetch_add(1, Ordering::Relaxed);
        for Range { start, end } in &self.parts {
            match at.checked_sub(end - start) {
                None => return Some(start + at),
                Some(later) => at = later,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_taken_once_and_in_order() {
        let seeds = Seeds::new([7, 40], 2);
        let taken: Vec<u64> = std::iter::from_fn(|| seeds.next()).collect();
        assert_eq!(taken, [7, 8, 40, 41]);
        assert_eq!(seeds.next(), None);
        assert_eq!(Seeds::new([u64::MAX], 2).next(), None);
        assert_eq!(Seeds::new([9], u64::MAX).next(), Some(9));
    }
}
