//! The judgement over a run that is over.

use bytes::Bytes;
use coco_ledger::LedgerSecrets;

use super::{Report, World};
use crate::{
    audit,
    client::check_order,
    ethereum::{self, Model},
    periods,
};

impl World {
    /// Judges the run. Of a network that stands still, only what it has committed.
    pub(super) fn conclude(mut self, is_over: bool) -> Report {
        check_order(&self.done);
        let ledger = self.check.committed.clone();
        let secrets = periods::of_ledger(&ledger);
        let (model, reads) = self.check_reads(&ledger, &secrets);
        assert!(model.is_whole(self.clients.len()), "money was made or lost");
        for done in &self.done {
            assert_eq!(
                model.places.get(&done.hash),
                Some(&done.id.seqno),
                "{} is final",
                done.hash
            );
        }
        let mut audited = 0;
        if is_over {
            self.check_voters(&ledger, &secrets, &model);
            self.check_politics(&ledger, &secrets);
            self.check_states();
            audited = self.check_receipts();
        }
        self.check_disks();
        if let Some(service) = self.keys.certificate() {
            audit::check(std::slice::from_ref(service), &ledger, Some(&secrets));
        }
        Report {
            audited,
            digest: self.digest,
            committed: self.done.len(),
            entries: ledger.len(),
            states: self.check.states(),
            reads,
            time_us: self.time,
            faults: self.faults.into_iter().map(|(fault, acts)| (fault.name(), acts)).collect(),
            marks: self.marks,
        }
    }

    /// Holds what clients read against what the committed ledger says. The state after it, and how many reads there were.
    fn check_reads(&self, ledger: &[Bytes], secrets: &LedgerSecrets) -> (Model, usize) {
        let mut model = Model::new(self.clients.len());
        let mut seen = self.seen.clone();
        seen.sort_unstable_by_key(|seen| seen.seqno);
        let mut seen = seen.into_iter().peekable();
        let mut reads = 0;
        for (entry, at) in ledger.iter().zip(1..) {
            model.take(entry, secrets);
            while let Some(seen) = seen.next_if(|seen| seen.seqno.0 == at) {
                assert_eq!(seen, model.expect(seen.seqno, seen.account), "a node shows what was");
                reads += 1;
            }
        }
        assert!(seen.peek().is_none(), "a node showed a committed state that is no more");
        (model, reads)
    }

    /// All nodes that vote have the committed ledger, its secrets, and the state that it makes.
    fn check_voters(&self, ledger: &[Bytes], secrets: &LedgerSecrets, model: &Model) {
        for (node, machine) in self.machines.iter().enumerate() {
            let Some(replica) = machine.replica.as_ref().filter(|_| machine.votes()) else {
                continue;
            };
            assert!(machine.ledger == ledger, "n{node} has another ledger");
            let held = replica.state().read().secrets().encode();
            assert!(held.expose() == secrets.encode().expose(), "n{node} has other secrets");
            let at = replica.state().read().committed().seqno;
            for client in 0..self.clients.len() {
                let account = ethereum::account(client);
                let seen = ethereum::look(&replica.reader(), at, account);
                assert_eq!(seen, Some(model.expect(at, account)), "n{node} holds what was written");
            }
        }
    }
}
