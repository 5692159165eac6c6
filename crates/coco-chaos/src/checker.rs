//! Judges a history against the chain that the nodes have in the end.
//!
//! The order of the chain is the order of transaction ids. The checker replays it on a model that knows transfers and
//! nothing else, and holds what every client was told against it:
//!
//! 1. Every acknowledged write is in the chain, at the place and in the order of the transaction ids that its client
//!    was told; no refused one is, and none that nobody sent.
//! 2. Nonces have no gaps, nobody spends what is not there, and every account has in the end, on every node, what the
//!    model has.
//! 3. A write that ended before another began stands before it. One pass from the end of the chain compares the
//!    beginning of each write with the earliest end of those behind it.
//! 4. Every read saw what the model has after a block between those that its node named around it, of writes that had
//!    begun; and a node that was not restarted in between never went back.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use coco_types::{Seqno, TxId, View};
use thiserror::Error;

use crate::history::{Account, History, Outcome, Place, Read, Write};

/// The chain that the nodes have in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// The funded accounts before the first block.
    pub(crate) genesis: BTreeMap<Address, Account>,
    /// All blocks from the first on.
    pub(crate) blocks: Vec<Block>,
    /// What each node says of all accounts in the end.
    pub(crate) finals: BTreeMap<usize, BTreeMap<Address, Account>>,
}

/// One block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    /// Seconds.
    pub(crate) timestamp: u64,
    pub(crate) transfers: Vec<Transfer>,
}

/// One transfer of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) hash: B256,
    pub(crate) from: Address,
    pub(crate) nonce: u64,
    pub(crate) to: Address,
    pub(crate) value: U256,
}

/// What a history that is in order consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) reads: usize,
}

/// What is wrong with a history or a chain.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Violation {
    #[error("{count} acknowledged writes are not in the chain, the first is {hash} of entry {id}")]
    Lost { count: usize, hash: B256, id: TxId },
    #[error("{hash} was acknowledged at {told:?} and stands at {found:?}")]
    Moved { hash: B256, told: Place, found: Place },
    #[error("{hash} was refused ({reason}) and stands at {found:?}")]
    RefusedButIncluded { hash: B256, reason: String, found: Place },
    #[error("{hash} at {found:?} was sent by nobody, or otherwise")]
    Invented { hash: B256, found: Place },
    #[error("{hash} stands at {first:?} and at {second:?}")]
    IncludedTwice { hash: B256, first: Place, second: Place },
    #[error("{hash}: {from} is at nonce {expected}, the transfer has {found}")]
    Nonce { hash: B256, from: Address, expected: u64, found: u64 },
    #[error("{hash}: {from} has {balance} and sends {value}")]
    Overdrawn { hash: B256, from: Address, balance: U256, value: U256 },
    #[error("block {number} has the time {found}, the block before it {before}")]
    Time { number: u64, before: u64, found: u64 },
    #[error("block {block} is said to be entry {one} and entry {other}")]
    TwoIds { block: u64, one: TxId, other: TxId },
    #[error("block {block} is entry {id}, but block {before} is entry {id_before}")]
    IdOrder { before: u64, id_before: TxId, block: u64, id: TxId },
    #[error("{later} began after {earlier} was acknowledged, and stands before it")]
    RealTime { earlier: B256, later: B256 },
    #[error("n{node} shows {account} with {found:?} in the end, the chain implies {expected:?}")]
    Final { node: usize, account: Address, expected: Account, found: Account },
    #[error("no block that n{node} could know gives what it was read to have: {read:?}", node = read.node)]
    Read { read: Box<Read> },
    #[error("n{node} went back from block {from} to block {to}")]
    WentBack { node: usize, from: u64, to: u64 },
}

/// Judges a history.
pub(crate) fn judge(history: &History, chain: &Chain) -> Result<Judged, Violation> {
    let places = places(chain)?;
    let writes: BTreeMap<B256, &Write> =
        history.writes.iter().map(|write| (write.hash, write)).collect();
    nothing_lost(history, &places)?;
    sent_as_included(chain, &writes)?;
    ids_in_order(history)?;
    real_time(chain, &writes)?;
    let model = Model::replay(chain, &writes)?;
    model.finals(chain)?;
    for read in &history.reads {
        model.read(read)?;
    }
    nodes_go_forward(&history.reads)?;
    let count =
        |is: fn(&Outcome) -> bool| history.writes.iter().filter(|write| is(&write.outcome)).count();
    Ok(Judged {
        acknowledged: count(|outcome| matches!(outcome, Outcome::Acknowledged { .. })),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown)),
        reads: history.reads.len(),
    })
}

/// All transfers with their places.
fn in_order(chain: &Chain) -> impl DoubleEndedIterator<Item = (Place, &Transfer)> {
    (1..).zip(0..chain.blocks.len()).collect::<Vec<(u64, usize)>>().into_iter().flat_map(
        |(block, at)| {
            let transfers = chain.blocks[at].transfers.iter().enumerate();
            transfers.map(move |(index, transfer)| (Place { block, index: index as u64 }, transfer))
        },
    )
}

fn places(chain: &Chain) -> Result<BTreeMap<B256, Place>, Violation> {
    let mut places = BTreeMap::new();
    for (second, Transfer { hash, .. }) in in_order(chain) {
        if let Some(first) = places.insert(*hash, second) {
            return Err(Violation::IncludedTwice { hash: *hash, first, second });
        }
    }
    Ok(places)
}

fn nothing_lost(history: &History, places: &BTreeMap<B256, Place>) -> Result<(), Violation> {
    let mut lost = Vec::new();
    for Write { hash, outcome, .. } in &history.writes {
        let hash = *hash;
        match (outcome, places.get(&hash)) {
            (Outcome::Acknowledged { id, .. }, None) => lost.push((hash, *id)),
            (Outcome::Acknowledged { place, .. }, Some(found)) if place != found => {
                return Err(Violation::Moved { hash, told: *place, found: *found });
            }
            (Outcome::Refused(reason), Some(found)) => {
                let reason = reason.clone();
                return Err(Violation::RefusedButIncluded { hash, reason, found: *found });
            }
            (Outcome::Acknowledged { .. }, Some(_))
            | (Outcome::Refused(_), None)
            | (Outcome::Unknown, _) => {}
        }
    }
    match lost.first() {
        Some((hash, id)) => Err(Violation::Lost { count: lost.len(), hash: *hash, id: *id }),
        None => Ok(()),
    }
}

fn sent_as_included(chain: &Chain, writes: &BTreeMap<B256, &Write>) -> Result<(), Violation> {
    for (found, Transfer { hash, from, nonce, to, value }) in in_order(chain) {
        let is_as_sent = writes.get(hash).is_some_and(|write| {
            (write.from, write.nonce, write.to, write.value) == (*from, *nonce, *to, *value)
        });
        if !is_as_sent {
            return Err(Violation::Invented { hash: *hash, found });
        }
    }
    Ok(())
}

/// An entry holds one block, and both count the same way.
fn ids_in_order(history: &History) -> Result<(), Violation> {
    let mut entries: BTreeMap<u64, TxId> = BTreeMap::new();
    for write in &history.writes {
        let Outcome::Acknowledged { id, place: Place { block, .. }, .. } = write.outcome else {
            continue;
        };
        let one = *entries.entry(block).or_insert(id);
        if one != id {
            return Err(Violation::TwoIds { block, one, other: id });
        }
    }
    let mut last = (0, TxId { view: View(0), seqno: Seqno(0) });
    for (block, id) in entries {
        if id.seqno <= last.1.seqno || id.view < last.1.view {
            return Err(Violation::IdOrder { before: last.0, id_before: last.1, block, id });
        }
        last = (block, id);
    }
    Ok(())
}

fn real_time(chain: &Chain, writes: &BTreeMap<B256, &Write>) -> Result<(), Violation> {
    let mut earliest: Option<(u64, B256)> = None;
    for (_, Transfer { hash, .. }) in in_order(chain).rev() {
        let Some(write) = writes.get(hash) else { continue };
        if let Some((end_us, earlier)) = earliest
            && write.begin_us > end_us
        {
            return Err(Violation::RealTime { earlier, later: *hash });
        }
        if let Outcome::Acknowledged { end_us, .. } = write.outcome
            && earliest.is_none_or(|(earliest, _)| end_us < earliest)
        {
            earliest = Some((end_us, *hash));
        }
    }
    Ok(())
}

/// Each account after each block that changed it.
struct Model {
    accounts: BTreeMap<Address, Vec<Version>>,
    /// Whom the genesis names.
    blocks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Version {
    block: u64,
    account: Account,
    /// When the last-begun write up to here began.
    begun_us: u64,
}

impl Model {
    fn replay(chain: &Chain, writes: &BTreeMap<B256, &Write>) -> Result<Self, Violation> {
        let first = |(address, account): (&Address, &Account)| {
            (*address, vec![Version { block: 0, account: *account, begun_us: 0 }])
        };
        let mut model = Self {
            accounts: chain.genesis.iter().map(first).collect(),
            blocks: chain.blocks.len() as u64,
        };
        let mut before = 0;
        for (number, block) in (1..).zip(&chain.blocks) {
            if block.timestamp < before {
                return Err(Violation::Time { number, before, found: block.timestamp });
            }
            before = block.timestamp;
        }
        for (Place { block, .. }, transfer) in in_order(chain) {
            let begun_us = writes.get(&transfer.hash).map_or(0, |write| write.begin_us);
            model.apply(block, transfer, begun_us)?;
        }
        Ok(model)
    }

    fn last(&self, address: &Address) -> Account {
        let versions = self.accounts.get(address);
        versions
            .and_then(|versions| versions.last())
            .map_or(Account::default(), |last| last.account)
    }

    fn apply(&mut self, block: u64, transfer: &Transfer, begun_us: u64) -> Result<(), Violation> {
        let Transfer { hash, from, nonce, to, value } = transfer;
        let (hash, from, value) = (*hash, *from, *value);
        let mut sender = self.last(&from);
        if sender.nonce != *nonce {
            return Err(Violation::Nonce { hash, from, expected: sender.nonce, found: *nonce });
        }
        let Some(rest) = sender.balance.checked_sub(value) else {
            return Err(Violation::Overdrawn { hash, from, balance: sender.balance, value });
        };
        sender = Account { nonce: nonce + 1, balance: rest };
        self.set(from, block, sender, begun_us);
        let mut receiver = self.last(to);
        receiver.balance += value;
        self.set(*to, block, receiver, begun_us);
        Ok(())
    }

    fn set(&mut self, address: Address, block: u64, account: Account, begun_us: u64) {
        let versions = self.accounts.entry(address).or_insert_with(|| {
            vec![Version { block: 0, account: Account::default(), begun_us: 0 }]
        });
        let begun_us = versions.last().map_or(0, |last| last.begun_us).max(begun_us);
        match versions.last_mut() {
            Some(last) if last.block == block => *last = Version { block, account, begun_us },
            Some(_) | None => versions.push(Version { block, account, begun_us }),
        }
    }

    fn finals(&self, chain: &Chain) -> Result<(), Violation> {
        for (node, accounts) in &chain.finals {
            let all: BTreeSet<&Address> = accounts.keys().chain(self.accounts.keys()).collect();
            for account in all {
                let expected = self.last(account);
                let found = accounts.get(account).copied().unwrap_or_default();
                if expected != found {
                    return Err(Violation::Final {
                        node: *node,
                        account: *account,
                        expected,
                        found,
                    });
                }
            }
        }
        Ok(())
    }

    /// Nonce and balance are two questions, so each may be answered after a block of its own.
    fn read(&self, read: &Read) -> Result<(), Violation> {
        let refused = || Err(Violation::Read { read: Box::new(read.clone()) });
        if read.block_before > read.block_after || read.block_after > self.blocks {
            return refused();
        }
        let origin = [Version { block: 0, account: Account::default(), begun_us: 0 }];
        let versions = self.accounts.get(&read.account).map_or(&origin[..], Vec::as_slice);
        // The version that held after `block_before`, and all that came until `block_after`.
        let from = versions.partition_point(|version| version.block <= read.block_before) - 1;
        let possible = || {
            let until = versions[from..].iter();
            until
                .take_while(|version| version.block <= read.block_after)
                .filter(|version| version.begun_us <= read.end_us)
        };
        let Some(nonce) = possible().find(|version| version.account.nonce == read.state.nonce)
        else {
            return refused();
        };
        let balance = possible().find(|version| {
            version.block >= nonce.block && version.account.balance == read.state.balance
        });
        if balance.is_some() { Ok(()) } else { refused() }
    }
}

/// A node's committed state goes forward as long as its process lives.
fn nodes_go_forward(reads: &[Read]) -> Result<(), Violation> {
    let mut starts: BTreeMap<(usize, u64), Vec<&Read>> = BTreeMap::new();
    for read in reads {
        starts.entry((read.node, read.start)).or_default().push(read);
    }
    for ((node, _), mut reads) in starts {
        reads.sort_by_key(|read| read.begin_us);
        let mut ended: Vec<&Read> = reads.clone();
        ended.sort_by_key(|read| read.end_us);
        let mut ended = ended.into_iter().peekable();
        // The furthest block that a read had shown when it ended.
        let mut furthest = 0;
        for read in reads {
            while let Some(before) = ended.next_if(|before| before.end_us < read.begin_us) {
                furthest = furthest.max(before.block_after);
            }
            if read.block_before < furthest {
                return Err(Violation::WentBack { node, from: furthest, to: read.block_before });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
