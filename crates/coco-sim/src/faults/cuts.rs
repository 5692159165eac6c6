//! Links that carry nothing for a while.

use std::collections::BTreeMap;

use crate::plan::Micros;

/// Most spans that are remembered of one link; further ones are not cut.
const SPANS_MAX: usize = 64;

/// When links carry nothing, by sender and receiver: from a time to a time, in any order.
#[derive(Clone, Debug, Default)]
pub struct Cuts(BTreeMap<(usize, usize), Vec<(Micros, Micros)>>);

impl Cuts {
    /// Whether a message may set out.
    #[must_use]
    pub fn carries(&self, from: usize, to: usize, time: Micros) -> bool {
        let is_cut = |(start, end): &(Micros, Micros)| (*start..*end).contains(&time);
        self.0.get(&(from, to)).is_none_or(|spans| !spans.iter().any(is_cut))
    }

    /// Mends everything, what was to be cut later included.
    pub fn heal(&mut self) {
        self.0.clear();
    }

    /// Cuts one way, from now on.
    pub(super) fn cut(&mut self, from: usize, to: usize, (now, until): (Micros, Micros)) {
        self.cut_later(from, to, now, (now, until));
    }

    /// Cuts both ways, from now on.
    pub(super) fn both(&mut self, one: usize, other: usize, (now, until): (Micros, Micros)) {
        self.both_later(one, other, now, (now, until));
    }

    /// Cuts both ways for a span that may be in the future.
    pub(super) fn both_later(
        &mut self,
        one: usize,
        other: usize,
        now: Micros,
        span: (Micros, Micros),
    ) {
        self.cut_later(one, other, now, span);
        self.cut_later(other, one, now, span);
    }

    fn cut_later(&mut self, from: usize, to: usize, now: Micros, span: (Micros, Micros)) {
        if from == to {
            return;
        }
        let spans = self.0.entry((from, to)).or_default();
        spans.retain(|(_, end)| *end > now);
        if spans.len() < SPANS_MAX {
            spans.push(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_cut_within_its_spans_only() {
        let mut cuts = Cuts::default();
        cuts.both_later(0, 1, 5, (10, 20));
        cuts.cut(0, 1, (5, 8));
        for (time, there, back) in [
            (5, false, true),
            (8, true, true),
            (10, false, false),
            (19, false, false),
            (20, true, true),
        ] {
            assert_eq!(cuts.carries(0, 1, time), there, "there at {time}");
            assert_eq!(cuts.carries(1, 0, time), back, "back at {time}");
        }
        cuts.heal();
        assert!(cuts.carries(0, 1, 10));
    }

    #[test]
    fn spans_of_a_link_have_a_most() {
        let mut cuts = Cuts::default();
        for start in 0..=SPANS_MAX as u64 {
            cuts.both_later(0, 1, 0, (10 + start * 10, 11 + start * 10));
        }
        assert!(!cuts.carries(0, 1, 10 + (SPANS_MAX as u64 - 1) * 10));
        assert!(cuts.carries(0, 1, 10 + SPANS_MAX as u64 * 10));
    }
}
