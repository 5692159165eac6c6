//! Evidence in a world: each channel has a transcript, and hosts now and then put something else in the place of what their node shows:
//! what it has shown on the channel before, or what another node shows.
//!
//! Whoever is asked knows its channel, so that it sees through both, and what it is shown next is good again. What a primary believed
//! all the same stands in the ledger, where the backups see it.

use std::collections::BTreeSet;

use coco_attest::ReportData;
use coco_crypto::sha256;
use coco_ledger::GenesisNode;
use coco_replica::ShownEvidence;
use coco_types::NodeId;

use super::World;
use crate::dice::Dice;

/// One of so many nodes that show something is relayed, or shows something old.
const ONE_IN: u64 = 12;
/// What the dice for evidence begin with, beside the seed.
const EVIDENCE_DICE: u64 = 0x4556_4944_454e_4345;

/// What a world knows of evidence.
#[derive(Debug)]
pub(super) struct Evidence {
    dice: Dice,
    /// Whether hosts touch it.
    is_touched: bool,
    channels: u64,
    /// Nodes that have shown something which is not theirs, or not of its channel.
    bad: BTreeSet<NodeId>,
}

impl Evidence {
    pub(super) fn new(seed: u64, is_touched: bool) -> Self {
        let dice = Dice::new(seed.rotate_left(24) ^ EVIDENCE_DICE);
        Self { dice, is_touched, channels: 0, bad: BTreeSet::new() }
    }

    /// What one node binds on its channel of this number.
    fn data(node: NodeId, channel: u64) -> ReportData {
        let transcript = sha256(&[&node.0[..], &channel.to_le_bytes()].concat());
        ReportData { node, transcript }
    }
}

impl World {
    /// What a node shows on a channel of its own.
    pub(crate) fn shows(&mut self, record: &GenesisNode) -> ShownEvidence {
        let evidence = &mut self.evidence;
        evidence.channels += 1;
        let own = |channel| Evidence::data(record.node_id, channel);
        let data = own(evidence.channels);
        let honest = |data: &ReportData| ShownEvidence::insecure(&record.code_digest, data);
        if !evidence.is_touched || evidence.dice.below(ONE_IN) > 0 || self.is_healed {
            return honest(&data);
        }
        evidence.bad.insert(record.node_id);
        let shown = if evidence.dice.below(2) == 0 {
            self.marks.reach("a host showed what its node had shown before");
            honest(&own(evidence.channels - 1))
        } else {
            self.marks.reach("a host showed what another node runs");
            honest(&ReportData { node: NodeId(sha256(b"another node").0), ..data })
        };
        // Whoever is shown it knows its own channel.
        ShownEvidence { transcript: data.transcript, ..shown }
    }

    /// A node is told that what it showed is not believed.
    ///
    /// # Panics
    /// When it has shown nothing bad: all run the same code.
    pub(crate) fn is_not_believed(&mut self, node: NodeId) {
        assert!(self.evidence.bad.contains(&node), "{node} is not believed, and showed its own");
        self.marks.reach("evidence of another node or channel was not believed");
    }
}
