//! Receipts of what a run has committed, as its nodes would hand them out.

use coco_types::Seqno;

use super::World;
use crate::audit;

/// Receipts of drawn entries, beside that of a client's last transfer.
const RECEIPTS: u64 = 4;

impl World {
    /// Has receipts made by a node, some of them of what a client waited for, and verifies them; how many.
    ///
    /// # Panics
    /// When one does not verify.
    pub(super) fn check_receipts(&mut self) -> usize {
        let voters = self.machines.iter().filter(|machine| machine.votes());
        let voters: Vec<_> = voters.collect();
        let machine = voters[self.dice.place(voters.len())];
        let replica = machine.replica.as_ref().expect("who votes is up");
        let state = replica.state();
        let state = state.read();
        let committed = state.committed().seqno.0;
        let mut seqnos: Vec<Seqno> =
            self.done.last().map(|done| done.id.seqno).into_iter().collect();
        seqnos.extend((0..RECEIPTS).map(|_| Seqno(self.dice.between(1, committed))));
        for seqno in &seqnos {
            audit::check_receipt(&self.keys, (&state, &machine.ledger), *seqno, &mut self.dice);
        }
        seqnos.len()
    }
}
