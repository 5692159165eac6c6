//! How a ledger begins, or begins anew after a disaster: entries made before there is a network to agree on them.

use bytes::Bytes;
use coco_kv::WriteSet;
use coco_types::{Digest, Seqno, TxId, View};

use crate::{
    EntryFlags, LedgerSecret, MerkleTree, SealEntryError, Signer, seal, signature_write_set,
};

/// The first entries of a ledger or of a recovered service, as they are made. Every initial node starts with the same
/// bytes.
#[derive(Debug)]
pub struct FirstLedger {
    secret: LedgerSecret,
    view: View,
    tree: MerkleTree,
    last_signature: Seqno,
    entries: Vec<Bytes>,
}

impl FirstLedger {
    /// An empty ledger under `secret`.
    #[must_use]
    pub fn new(secret: LedgerSecret) -> Self {
        let (tree, last_signature) = (MerkleTree::new(), Seqno::ZERO);
        Self { secret, view: View::GENESIS, tree, last_signature, entries: Vec::new() }
    }

    /// Goes on from a ledger whose last entry, a signature, is at `last_signature`; in a later view, under another secret.
    #[must_use]
    pub const fn after(
        secret: LedgerSecret,
        view: View,
        tree: MerkleTree,
        last_signature: Seqno,
    ) -> Self {
        Self { secret, view, tree, last_signature, entries: Vec::new() }
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// [`SealEntryError`] when the write set is too large.
    pub fn append(&mut self, writes: &WriteSet) -> Result<(), SealEntryError> {
        let sealed = seal(&self.secret, self.next(), EntryFlags::NONE, &Digest::ZERO, writes)?;
        self.tree.append(sealed.leaf);
        self.entries.push(sealed.bytes);
        Ok(())
    }

    /// Appends a signature entry over all that is there. `now_s` is in seconds since 1970.
    ///
    /// # Errors
    /// [`SealEntryError`] when the signer's certificate makes the entry too large.
    pub fn sign(&mut self, signer: &dyn Signer, now_s: u64) -> Result<(), SealEntryError> {
        let (next, previous) = (self.next(), self.last_signature);
        self.append(&signature_write_set(signer, &self.tree, next, previous, now_s))?;
        self.last_signature = next.seqno;
        Ok(())
    }

    /// The entries that were made, in order.
    #[must_use]
    pub fn into_entries(self) -> Vec<Bytes> {
        self.entries
    }

    fn next(&self) -> TxId {
        TxId { view: self.view, seqno: Seqno(self.tree.len()) }
    }
}
