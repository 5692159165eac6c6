//! Who votes, who only listens, and which change may follow which.
//!
//! A change of one voter goes directly to the next configuration, since any two majorities still share a node. A change
//! of more goes through a *joint* one (Ongaro 2014, section 4.3): while it lasts, elections and commits need a majority
//! of the old voters and one of the new. A second entry ends it.

use std::collections::BTreeSet;

use coco_planted::Bug;
use coco_types::{NodeId, limits::NODES_MAX};
use thiserror::Error;

/// The nodes of a network, as far as consensus knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Those that vote: 1 to [`NODES_MAX`], each once.
    pub voters: Vec<NodeId>,
    /// The voters before, while a joint change is under way; a majority of them is needed as well. Otherwise empty.
    pub outgoing: Vec<NodeId>,
    /// Those that get every entry and do not vote; at most [`NODES_MAX`], none of them among the voters, old or new.
    pub learners: Vec<NodeId>,
}

/// Why these nodes make no configuration.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationError {
    /// Nobody votes.
    #[error("no node votes")]
    NoVoter,
    /// Too many nodes.
    #[error("{found} nodes of one kind, {NODES_MAX} are allowed")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// One node is named twice, or two have ids that begin with the same eight bytes, or one begins with eight zeros.
    #[error("node {0} is named twice or begins like another")]
    Twice(NodeId),
}

impl Configuration {
    /// Voters only.
    #[must_use]
    pub const fn of(voters: Vec<NodeId>) -> Self {
        Self { voters, outgoing: Vec::new(), learners: Vec::new() }
    }

    /// All nodes, each once: voters, those that leave, learners.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let leaving = self.outgoing.iter().filter(|node| !self.voters.contains(node));
        self.voters.iter().chain(leaving).chain(&self.learners).copied()
    }

    /// Whether it names this node at all.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes().any(|other| other == node)
    }

    /// Whether a node votes in it, as an old voter or a new one.
    #[must_use]
    pub fn votes(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether a joint change is under way.
    #[must_use]
    pub const fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether more than half of the voters, and of those before them, are such.
    pub fn majority(&self, is: impl Fn(NodeId) -> bool) -> bool {
        let more_than_half =
            |nodes: &[NodeId]| 2 * nodes.iter().filter(|node| is(**node)).count() > nodes.len();
        more_than_half(&self.voters) && (!self.is_joint() || more_than_half(&self.outgoing))
    }

    /// Whether it is one at all.
    ///
    /// # Errors
    /// [`ConfigurationError`].
    pub fn check(&self) -> Result<(), ConfigurationError> {
        if self.voters.is_empty() {
            return Err(ConfigurationError::NoVoter);
        }
        let kinds = [&self.voters, &self.outgoing, &self.learners];
        if let Some(found) = kinds.map(Vec::len).into_iter().find(|count| *count > NODES_MAX) {
            return Err(ConfigurationError::TooMany { found });
        }
        let distinct: BTreeSet<_> = self.outgoing.iter().collect();
        if distinct.len() < self.outgoing.len() {
            let first = self.outgoing.first().copied().unwrap_or_default();
            return Err(ConfigurationError::Twice(first));
        }
        let mut ids = BTreeSet::from([0]);
        match self.nodes().find(|node| !ids.insert(raft_id(*node))) {
            Some(node) => Err(ConfigurationError::Twice(node)),
            None => Ok(()),
        }
    }

    /// Whether `next` may be the very next configuration.
    #[must_use]
    pub fn may_become(&self, next: &Self) -> bool {
        let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        let (old, new) = (set(&self.voters), set(&next.voters));
        if next.check().is_err() {
            return false;
        }
        match (self.is_joint(), next.is_joint()) {
            (true, false) => old == new && set(&self.learners) == set(&next.learners),
            (true, true) => false,
            (false, true) => set(&next.outgoing) == old,
            (false, false) => old.symmetric_difference(&new).count() <= 1,
        }
    }

    /// The smallest step to these voters and learners.
    #[must_use]
    pub fn step_to(&self, voters: Vec<NodeId>, learners: Vec<NodeId>) -> Self {
        let direct = Self { voters, outgoing: Vec::new(), learners };
        if self.may_become(&direct) || coco_planted::is(Bug::SkipJoint) {
            return direct;
        }
        Self { outgoing: self.voters.clone(), ..direct }
    }
}

/// What the `raft` crate calls a node: the first eight bytes of its id. The rest of an id never matters to it, and a
/// configuration in which two ids begin alike is refused.
pub(crate) const fn raft_id(node: NodeId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = node.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: &[u8]) -> Vec<NodeId> {
        numbers.iter().map(|n| NodeId([*n; 32])).collect()
    }

    fn configuration(voters: &[u8], outgoing: &[u8], learners: &[u8]) -> Configuration {
        let [voters, outgoing, learners] = [voters, outgoing, learners].map(nodes);
        Configuration { voters, outgoing, learners }
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let check = |voters: &[u8], outgoing: &[u8], learners: &[u8]| {
            configuration(voters, outgoing, learners).check()
        };
        assert_eq!(check(&[1], &[], &[]), Ok(()));
        assert_eq!(check(&[1, 2, 4], &[1, 2, 3], &[5]), Ok(()));
        assert_eq!(check(&[], &[], &[1]), Err(ConfigurationError::NoVoter));
        let twice = |n: u8| Err(ConfigurationError::Twice(NodeId([n; 32])));
        assert_eq!(check(&[1, 1], &[], &[]), twice(1));
        assert_eq!(check(&[1], &[2, 2], &[]), twice(2));
        assert_eq!(check(&[1], &[], &[1]), twice(1));
        assert_eq!(check(&[1], &[1, 2], &[2]), twice(2));
        assert_eq!(check(&[0], &[], &[]), twice(0));
        let all: Vec<u8> = (1..=64).collect();
        assert_eq!(check(&all, &[], &[]), Ok(()));
        let more: Vec<u8> = (1..=65).collect();
        assert_eq!(check(&more, &[], &[]), Err(ConfigurationError::TooMany { found: 65 }));
        let mut like = configuration(&[1, 2], &[], &[]);
        like.voters[1].0[..8].copy_from_slice(&[1; 8]);
        assert_eq!(like.check(), Err(ConfigurationError::Twice(like.voters[1])));
    }

    #[test]
    fn more_than_one_voter_changes_only_through_a_joint_configuration() {
        let now = configuration(&[1, 2, 3], &[], &[4]);
        for (next, expected) in [
            (configuration(&[1, 2, 3], &[], &[]), true),
            (configuration(&[1, 2, 3], &[], &[4, 5]), true),
            (configuration(&[1, 2], &[], &[4]), true),
            (configuration(&[1, 2, 3, 4], &[], &[]), true),
            (configuration(&[1, 2, 4], &[], &[]), false),
            (configuration(&[1, 2, 4], &[1, 2, 3], &[]), true),
            (configuration(&[1, 2, 4], &[1, 2], &[]), false),
            (configuration(&[], &[], &[4]), false),
        ] {
            assert_eq!(now.may_become(&next), expected, "{next:?}");
        }
        let joint = now.step_to(nodes(&[1, 2, 4]), Vec::new());
        assert_eq!(joint, configuration(&[1, 2, 4], &[1, 2, 3], &[]));
        assert!(joint.may_become(&configuration(&[1, 2, 4], &[], &[])));
        assert!(!joint.may_become(&configuration(&[1, 2], &[], &[])));
        assert!(!joint.may_become(&configuration(&[1, 2, 4], &[1, 2, 4], &[])));
        assert!(!joint.may_become(&configuration(&[1, 2, 4], &[], &[5])));
    }

    #[test]
    fn a_joint_majority_is_one_of_both() {
        let joint = configuration(&[1, 2, 4], &[1, 2, 3], &[5]);
        let has = |numbers: &[u8]| joint.majority(|node| numbers.contains(&node.0[0]));
        assert!(has(&[1, 2]));
        assert!(has(&[1, 3, 4]));
        assert!(!has(&[1, 4, 5]));
        assert!(!has(&[1, 3]));
        assert_eq!(joint.nodes().map(|node| node.0[0]).collect::<Vec<_>>(), [1, 2, 4, 3, 5]);
    }
}
