//! Which rules hold at which block.

use std::fmt;

use coco_types::codec::{DecodeError, Reader, put_u64};
use revm::primitives::hardfork::SpecId;

/// When a fork begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// At this block number and after.
    Block(u64),
    /// At the first block whose timestamp (seconds since 1970) is this or later.
    Time(u64),
}

/// The forks of a chain, in their historical order. Frontier rules hold before the first.
#[derive(Clone, PartialEq, Eq)]
pub struct ForkSchedule {
    /// Ascending by fork; within one kind of activation, never descending.
    forks: Vec<(SpecId, Activation)>,
}

/// The newest fork that is final on the public network and complete in the interpreter.
pub const LATEST: SpecId = SpecId::OSAKA;

impl ForkSchedule {
    /// One fork from the first block on.
    #[must_use]
    pub fn always(spec: SpecId) -> Self {
        Self { forks: vec![(spec, Activation::Block(0))] }
    }

    /// A schedule of forks, each later than the one before; `None` when they are not.
    #[must_use]
    pub fn new(forks: Vec<(SpecId, Activation)>) -> Option<Self> {
        let ordered = forks.windows(2).all(|pair| {
            let ((earlier, from), (later, to)) = (pair[0], pair[1]);
            let by_time = match (from, to) {
                (Activation::Block(from), Activation::Block(to))
                | (Activation::Time(from), Activation::Time(to)) => from <= to,
                (Activation::Block(_), Activation::Time(_)) => true,
                (Activation::Time(_), Activation::Block(_)) => false,
            };
            earlier < later && by_time
        });
        let known = forks.iter().all(|(spec, _)| *spec <= LATEST);
        (ordered && known).then_some(Self { forks })
    }

    /// The rules of the block with this number and timestamp (seconds).
    #[must_use]
    pub fn spec(&self, number: u64, timestamp: u64) -> SpecId {
        let begun = |activation: Activation| match activation {
            Activation::Block(from) => number >= from,
            Activation::Time(from) => timestamp >= from,
        };
        let newest = self.forks.iter().rev().find(|(_, activation)| begun(*activation));
        newest.map_or(SpecId::FRONTIER, |(spec, _)| *spec)
    }

    /// Appends the schedule in the stored form: a count, then per fork its number, the kind and the position.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.forks.len() as u64);
        for (spec, activation) in &self.forks {
            let (kind, at) = match activation {
                Activation::Block(at) => (KIND_BLOCK, at),
                Activation::Time(at) => (KIND_TIME, at),
            };
            out.push(u8::from(*spec));
            out.push(kind);
            put_u64(out, *at);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(FORK_BYTES, "forks")?;
        let mut forks = Vec::with_capacity(count);
        for _ in 0..count {
            let number = reader.u8("fork")?;
            let wrong = DecodeError::Value { field: "fork", found: u64::from(number) };
            let spec = SpecId::try_from_u8(number).ok_or(wrong)?;
            let activation = match reader.u8("fork kind")? {
                KIND_BLOCK => Activation::Block(reader.u64("fork block")?),
                KIND_TIME => Activation::Time(reader.u64("fork time")?),
                found => {
                    return Err(DecodeError::Value { field: "fork kind", found: u64::from(found) });
                }
            };
            forks.push((spec, activation));
        }
        Self::new(forks).ok_or(DecodeError::Value { field: "fork order", found: count as u64 })
    }
}

impl fmt::Debug for ForkSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.forks.iter().map(|(spec, activation)| (spec, activation)))
            .finish()
    }
}

const KIND_BLOCK: u8 = 0;
const KIND_TIME: u8 = 1;
const FORK_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_fork_that_has_begun_holds() {
        let schedule = ForkSchedule::new(vec![
            (SpecId::HOMESTEAD, Activation::Block(10)),
            (SpecId::LONDON, Activation::Block(20)),
            (SpecId::CANCUN, Activation::Time(1000)),
        ])
        .expect("in order");
        let at = |number, time| schedule.spec(number, time);
        assert_eq!(
            [at(0, 0), at(9, 0), at(10, 0)],
            [SpecId::FRONTIER, SpecId::FRONTIER, SpecId::HOMESTEAD]
        );
        assert_eq!(
            [at(19, 999), at(20, 999), at(21, 1000)],
            [SpecId::HOMESTEAD, SpecId::LONDON, SpecId::CANCUN]
        );
        let mut bytes = Vec::new();
        schedule.encode(&mut bytes);
        assert_eq!(ForkSchedule::decode(&mut Reader::new(&bytes)), Ok(schedule));
    }

    #[test]
    fn forks_out_of_order_or_unknown_are_refused() {
        let london = (SpecId::LONDON, Activation::Block(5));
        for wrong in [
            vec![london, (SpecId::BERLIN, Activation::Block(6))],
            vec![(SpecId::BERLIN, Activation::Block(6)), london],
            vec![(SpecId::CANCUN, Activation::Time(6)), (SpecId::PRAGUE, Activation::Time(5))],
            vec![(SpecId::CANCUN, Activation::Time(6)), (SpecId::PRAGUE, Activation::Block(7))],
            vec![(SpecId::AMSTERDAM, Activation::Time(0))],
        ] {
            assert_eq!(ForkSchedule::new(wrong.clone()), None, "{wrong:?}");
        }
    }
}
