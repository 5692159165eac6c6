//! The Merkle tree over the ledger's leaves.
//!
//! Leaf 0 is 32 zero bytes; leaf *i* belongs to the entry at seqno *i*. The tree is unbalanced: the last node of a
//! level with an odd count is promoted unchanged. Kept are the roots of all *complete* subtrees, level by level; what
//! lies to their right is folded when asked for. So appending costs one hash on average, any earlier root or path can
//! be had, and truncation is exact.
//!
//! Memory: 64 bytes an entry.

use std::ops::Range;

use coco_crypto::Sha256;
use coco_types::Digest;

/// A step from a leaf towards the root: the sibling, and on which side it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// The sibling is on the left.
    Left(Digest),
    /// The sibling is on the right.
    Right(Digest),
}

/// The tree. Never empty: leaf 0 is always there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerkleTree {
    /// `levels[k][j]` is the root over leaves `j << k` to `(j + 1) << k`, for every such range that is full. So level
    /// *k* has `len >> k` nodes, and there are as many levels as `len` has bits.
    levels: Vec<Vec<Digest>>,
}

impl MerkleTree {
    /// The tree before the first entry: leaf 0 alone.
    #[must_use]
    pub fn new() -> Self {
        Self { levels: vec![vec![Digest::ZERO]] }
    }

    /// How many leaves there are; also the seqno of the next entry.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.levels[0].len() as u64
    }

    /// Never: leaf 0 is always there.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Appends the leaf of the next entry.
    pub fn append(&mut self, leaf: Digest) {
        self.levels[0].push(leaf);
        let mut level = 0;
        while self.levels[level].len().is_multiple_of(2) {
            let nodes = &self.levels[level];
            let parent = node(&nodes[nodes.len() - 2], &nodes[nodes.len() - 1]);
            level += 1;
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(parent);
        }
    }

    /// The leaf at an index.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Digest> {
        self.levels[0].get(usize::try_from(index).ok()?).copied()
    }

    /// The leaves of a range of indices; none when the tree does not hold them all.
    #[must_use]
    pub fn leaves(&self, range: Range<u64>) -> Option<&[Digest]> {
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        self.levels[0].get(start..end)
    }

    /// The root over all leaves.
    ///
    /// # Panics
    /// Never: there is a leaf.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root_at(self.len()).expect("the tree holds as many leaves as it holds")
    }

    /// The root as it was when the tree had `size` leaves; none for 0 or more than there are.
    #[must_use]
    pub fn root_at(&self, size: u64) -> Option<Digest> {
        let size =
            usize::try_from(size).ok().filter(|size| (1..=self.levels[0].len()).contains(size))?;
        Some(self.fold(0, size))
    }

    /// The roots of the complete subtrees that `size` leaves fall into, from the largest on the left; none for more
    /// leaves than there are.
    #[must_use]
    pub fn peaks(&self, size: u64) -> Option<Vec<Digest>> {
        let size = usize::try_from(size).ok().filter(|size| *size <= self.levels[0].len())?;
        let peaks = (0..self.levels.len()).rev().filter(|level| size >> level & 1 == 1);
        Some(peaks.map(|level| self.levels[level][(size >> level) - 1]).collect())
    }

    /// The path from a leaf to the root over `size` leaves, lowest step first; none when the leaf is not among them or
    /// the tree is smaller.
    #[must_use]
    pub fn path(&self, leaf: u64, size: u64) -> Option<Vec<PathStep>> {
        let size = usize::try_from(size).ok().filter(|size| *size <= self.levels[0].len())?;
        let mut index = usize::try_from(leaf).ok().filter(|leaf| *leaf < size)?;
        let mut path = Vec::new();
        let mut level = 0;
        // Nodes of this level when the last one, complete or not, is counted.
        let mut count = size;
        while count > 1 {
            if index % 2 == 1 {
                path.push(PathStep::Left(self.levels[level][index - 1]));
            } else if index + 1 < count {
                let start = (index + 1) << level;
                let end = size.min(start + (1 << level));
                path.push(PathStep::Right(self.fold(start, end)));
            }
            index /= 2;
            count = count.div_ceil(2);
            level += 1;
        }
        Some(path)
    }

    /// Forgets every leaf from index `size` on.
    ///
    /// # Panics
    /// When `size` is 0 or larger than the tree: whoever takes entries back knows how many there were.
    pub fn truncate(&mut self, size: u64) {
        let size = usize::try_from(size).expect("a tree fits memory");
        assert!(
            (1..=self.levels[0].len()).contains(&size),
            "a tree of {} truncated to {size}",
            self.levels[0].len()
        );
        for (level, nodes) in self.levels.iter_mut().enumerate() {
            nodes.truncate(size >> level);
        }
        self.levels.retain(|nodes| !nodes.is_empty());
    }

    /// The tree of `size` leaves as signature entries carry it: the leaves from index `flushed` on, and the roots of
    /// the complete subtrees that the leaves before fall into, smallest first. Numbers are big-endian. Source:
    /// merklecpp's serialisation.
    ///
    /// # Panics
    /// Unless `flushed < size <= len`: a tree without leaves of its own has no root there.
    #[must_use]
    pub fn encode(&self, flushed: u64, size: u64) -> Vec<u8> {
        assert!(
            flushed < size && size <= self.len(),
            "leaves {flushed} to {size} of {}",
            self.len()
        );
        let index = |n| usize::try_from(n).expect("a tree fits memory");
        let leaves = &self.levels[0][index(flushed)..index(size)];
        let mut peaks = self.peaks(flushed).expect("fewer leaves than there are");
        peaks.reverse();
        let mut bytes = Vec::with_capacity(16 + 32 * (leaves.len() + peaks.len()));
        bytes.extend_from_slice(&(size - flushed).to_be_bytes());
        bytes.extend_from_slice(&flushed.to_be_bytes());
        for digest in leaves.iter().chain(&peaks) {
            bytes.extend_from_slice(&digest.0);
        }
        bytes
    }

    /// The root over leaves `start` to `end`, where `start` is a multiple of the range's size rounded up to a power
    /// of two: the peaks of the range, folded from the right.
    fn fold(&self, start: usize, end: usize) -> Digest {
        let count = end - start;
        let mut done = end;
        let mut root = None;
        for level in (0..self.levels.len()).filter(|level| count >> level & 1 == 1) {
            done -= 1 << level;
            let peak = self.levels[level][done >> level];
            root = Some(root.map_or(peak, |right| node(&peak, &right)));
        }
        root.expect("a range of the tree holds a leaf")
    }
}

impl Default for MerkleTree {
    fn default() -> Self {
        Self::new()
    }
}

/// The root that a leaf and its path lead to.
#[must_use]
pub fn root_from_path(leaf: Digest, path: &[PathStep]) -> Digest {
    path.iter().fold(leaf, |right_or_left, step| match step {
        PathStep::Left(left) => node(left, &right_or_left),
        PathStep::Right(right) => node(&right_or_left, right),
    })
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update(&left.0);
    hash.update(&right.0);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, level by level.
    fn plain_root(leaves: &[Digest]) -> Digest {
        let mut level = leaves.to_vec();
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| if pair.len() == 2 { node(&pair[0], &pair[1]) } else { pair[0] })
                .collect();
        }
        level[0]
    }

    fn leaves(n: u64) -> Vec<Digest> {
        let rest = (1..n).map(|i| coco_crypto::sha256(&i.to_le_bytes()));
        std::iter::once(Digest::ZERO).chain(rest).collect()
    }

    fn tree(n: u64) -> MerkleTree {
        let mut tree = MerkleTree::new();
        leaves(n).into_iter().skip(1).for_each(|leaf| tree.append(leaf));
        tree
    }

    #[test]
    fn every_root_is_that_of_the_definition_now_and_later() {
        let (all, full) = (leaves(70), tree(70));
        for n in 1..=70 {
            let expected = plain_root(&all[..usize::try_from(n).unwrap()]);
            assert_eq!(tree(n).root(), expected, "{n}");
            assert_eq!(full.root_at(n), Some(expected), "{n}");
        }
        assert_eq!((full.root_at(0), full.root_at(71)), (None, None));
    }

    #[test]
    fn every_path_leads_to_its_root() {
        let full = tree(40);
        for size in 1..=40 {
            for leaf in 0..size {
                let path = full.path(leaf, size).unwrap();
                assert_eq!(
                    root_from_path(full.leaf(leaf).unwrap(), &path),
                    full.root_at(size).unwrap(),
                    "{leaf} of {size}"
                );
            }
            assert_eq!(full.path(size, size), None);
        }
        assert_eq!(full.path(0, 41), None);
    }

    #[test]
    fn truncation_gives_back_the_earlier_tree() {
        for n in 1..=40 {
            let mut truncated = tree(40);
            truncated.truncate(n);
            assert_eq!(truncated, tree(n), "{n}");
        }
    }

    #[test]
    fn peaks_stand_for_the_bits_of_the_count() {
        let tree = tree(13);
        let peaks = tree.peaks(13).unwrap();
        let all = leaves(13);
        assert_eq!(peaks, [plain_root(&all[..8]), plain_root(&all[8..12]), all[12]]);
        assert_eq!(tree.peaks(0), Some(Vec::new()));
        assert_eq!(tree.peaks(14), None);
    }

    #[test]
    fn the_encoded_tree_lists_new_leaves_and_old_peaks() {
        let tree = tree(13);
        let bytes = tree.encode(11, 13);
        assert_eq!(bytes.len(), 16 + 32 * (2 + 3));
        assert_eq!(bytes[..16], [[0, 0, 0, 0, 0, 0, 0, 2], [0, 0, 0, 0, 0, 0, 0, 11]].concat());
        assert_eq!(bytes[16..48], tree.leaf(11).unwrap().0);
        // The smallest subtree of the eleven flushed leaves is leaf 10 alone.
        assert_eq!(bytes[80..112], tree.leaf(10).unwrap().0);
    }
}
