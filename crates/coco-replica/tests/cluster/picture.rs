//! Everything that can be seen of a replica's state, to be compared.

use coco_kv::{MapName, Reader};
use coco_replica::{Keyring, LedgerState, Loader};
use coco_types::{Digest, Seqno, TxId};

use crate::bank::{self, BALANCES, DONE, SLIPS, TIME};

/// Key of the fingerprints of history maps, the same on all nodes so that their indexes can be compared.
pub(crate) const INDEX_KEY: [u64; 2] = [7, 11];

/// More transfers than any test makes.
const TRANSFERS_MAX: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) last: TxId,
    pub(crate) root: Digest,
    views: Vec<TxId>,
    signatures: Vec<Seqno>,
    version: Seqno,
    balances: Vec<u64>,
    time: Option<Vec<u8>>,
    /// Transfers, where they stand, and where the history map says that they are.
    pub(crate) done: Vec<(u64, u64, Vec<Seqno>)>,
    /// What the history map says of transfers that were not made.
    absent: Vec<(u64, Vec<Seqno>)>,
}

impl Picture {
    /// What reader and state show; `transfers` are ids that may have been made.
    pub(crate) fn of(reader: &Reader, state: &LedgerState, transfers: u64) -> Self {
        let head = reader.head();
        let map = |name| head.map(&MapName::from_static(name)).expect("it is in the schema");
        let slips = |id: u64| head.locate(map(SLIPS), &id.to_be_bytes());
        assert!(head.get(map(BALANCES), &[bank::ACCOUNTS]).is_none(), "nobody opens accounts");
        let done: Vec<_> = head
            .range(map(DONE), &[], None, TRANSFERS_MAX)
            .into_iter()
            .map(|(id, seqno)| {
                let id = u64::from_be_bytes((*id).try_into().expect("eight bytes"));
                (id, bank::number(&seqno), slips(id))
            })
            .collect();
        let is_absent = |id: &u64| !done.iter().any(|(other, ..)| other == id);
        let mut signatures = Vec::new();
        while let Some(next) =
            state.covering_signature(signatures.last().copied().unwrap_or(Seqno::ZERO))
        {
            signatures.push(next);
        }
        Self {
            last: state.last(),
            root: state.tree().root(),
            views: state.view_history(),
            signatures,
            version: head.version(),
            balances: bank::balances(reader),
            time: head.get(map(TIME), b"now").map(|time| time.to_vec()),
            absent: (0..transfers).filter(is_absent).map(|id| (id, slips(id))).collect(),
            done,
        }
    }

    /// What a replica would show that has never seen anything but these entries.
    pub(crate) fn of_entries<'a>(
        keyring: Keyring,
        entries: impl IntoIterator<Item = &'a bytes::Bytes>,
        transfers: u64,
    ) -> Self {
        let mut loader = Loader::new(keyring, bank::schema(), INDEX_KEY, 0);
        for entry in entries {
            loader.push(entry.clone(), false).expect("entries of a ledger can be loaded");
        }
        let state = loader.state();
        let state = state.read();
        Self::of(&loader.reader(), &state, transfers)
    }
}
