//! Doubles of keys, and the first entries of a network, as provisioning makes them.

use bytes::Bytes;
use coco_crypto::sha256;
use coco_kv::WriteSet;
use coco_ledger::{EntryFlags, LedgerSecret, MerkleTree, Signer, seal, signature_write_set};
use coco_types::{Digest, NodeId, Seqno, TxId, View};

use crate::ethereum;

/// Seconds since 1970 at which every run begins.
pub const START_S: u64 = 1_700_000_000;

/// How many entries every ledger begins with: nodes, a signature, the chain's state, a signature.
pub const FIRST_ENTRIES: u64 = 4;

/// Signs fast and means nothing.
#[derive(Clone, Copy, Debug)]
pub struct DoubleSigner(NodeId);

impl DoubleSigner {
    /// The signer of node number `node`.
    ///
    /// # Panics
    /// Never in a network of a size that is planned.
    #[must_use]
    pub fn new(node: usize) -> Self {
        Self(NodeId([u8::try_from(node + 1).expect("few nodes"); 32]))
    }
}

impl Signer for DoubleSigner {
    fn node_id(&self) -> NodeId {
        self.0
    }

    fn node_certificate_pem(&self) -> &'static str {
        "no certificate"
    }

    fn service_key_digest(&self) -> Digest {
        Digest([0x5e; 32])
    }

    fn sign_root(&self, root: &Digest) -> Vec<u8> {
        sha256(&[self.0.0, root.0].concat()).0.to_vec()
    }

    fn sign_cose(&self, to_be_signed: &[u8]) -> Vec<u8> {
        sha256(to_be_signed).0.repeat(3)
    }
}

/// The secret of every simulated ledger.
#[must_use]
pub fn secret() -> LedgerSecret {
    LedgerSecret::new(&[0x42; 32])
}

/// The first entries of a network with so many clients, under the first node's signature.
///
/// # Panics
/// Never: the constant counts what is made here.
#[must_use]
pub fn first_entries(clients: usize) -> Vec<Bytes> {
    let mut ledger = FirstLedger { tree: MerkleTree::new(), entries: Vec::new() };
    ledger.append(&WriteSet::new());
    ledger.sign();
    ledger.append(&ethereum::opening(clients));
    ledger.sign();
    assert_eq!(ledger.entries.len() as u64, FIRST_ENTRIES, "as the constant says");
    ledger.entries
}

struct FirstLedger {
    tree: MerkleTree,
    entries: Vec<Bytes>,
}

impl FirstLedger {
    fn next(&self) -> TxId {
        TxId { view: View::GENESIS, seqno: Seqno(self.tree.len()) }
    }

    fn append(&mut self, writes: &WriteSet) {
        let sealed = seal(&secret(), self.next(), EntryFlags::NONE, &Digest::ZERO, writes)
            .expect("it is small");
        self.tree.append(sealed.leaf);
        self.entries.push(sealed.bytes);
    }

    fn sign(&mut self) {
        let previous = Seqno(self.tree.len().saturating_sub(2));
        let signer = DoubleSigner::new(0);
        let writes = signature_write_set(&signer, &self.tree, self.next(), previous, START_S);
        self.append(&writes);
    }
}
