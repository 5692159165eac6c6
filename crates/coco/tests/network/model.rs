//! What the acknowledged transfers imply, compared with what the nodes say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, ensure};

use super::{
    cluster::Network,
    load::Acknowledged,
    program::until,
    rpc::{Rpc, hash, number},
};

/// Time for a node to catch up with what the others have.
const CATCH_UP_TIME: Duration = Duration::from_secs(20);

/// The accounts and what they had at first.
#[derive(Debug)]
pub(crate) struct Model {
    initial: BTreeMap<Address, U256>,
    /// How many acknowledged transfers had their receipts looked at on every node.
    checked: usize,
}

/// What an account should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expected {
    nonce: u64,
    balance: U256,
}

impl Model {
    pub(crate) fn new(network: &Network, accounts: Vec<Address>) -> anyhow::Result<Self> {
        let balances = Rpc::to(network.addresses(0)?.development)?.balances(&accounts)?;
        Ok(Self { initial: accounts.into_iter().zip(balances).collect(), checked: 0 })
    }

    pub(crate) fn accounts(&self) -> Vec<Address> {
        self.initial.keys().copied().collect()
    }

    fn expected(
        &self,
        acknowledged: &[Acknowledged],
    ) -> anyhow::Result<BTreeMap<Address, Expected>> {
        let initial = |(address, balance): (&Address, &U256)| {
            (*address, Expected { nonce: 0, balance: *balance })
        };
        let mut accounts: BTreeMap<Address, Expected> = self.initial.iter().map(initial).collect();
        for transfer in acknowledged {
            let value = U256::from(transfer.value);
            let from = accounts.get_mut(&transfer.from).context("a known sender")?;
            ensure!(from.nonce == transfer.nonce, "{} acknowledged out of order", transfer.hash);
            from.nonce += 1;
            from.balance -= value;
            accounts.get_mut(&transfer.to).context("a known receiver")?.balance += value;
        }
        let total = |balances: &mut dyn Iterator<Item = U256>| {
            balances.fold(U256::ZERO, |sum, balance| sum + balance)
        };
        ensure!(
            total(&mut self.initial.values().copied())
                == total(&mut accounts.values().map(|account| account.balance)),
            "transfers make or burn nothing"
        );
        Ok(accounts)
    }

    /// Compares every node with everything that was acknowledged; the load must have paused.
    pub(crate) fn check(
        &mut self,
        network: &Network,
        acknowledged: &[Acknowledged],
    ) -> anyhow::Result<()> {
        let expected = self.expected(acknowledged)?;
        for i in 0..network.len() {
            self.check_node(network, i, &expected, &acknowledged[self.checked..])
                .with_context(|| format!("n{i}"))?;
        }
        self.checked = acknowledged.len();
        Ok(())
    }

    fn check_node(
        &self,
        network: &Network,
        i: usize,
        expected: &BTreeMap<Address, Expected>,
        acknowledged: &[Acknowledged],
    ) -> anyhow::Result<()> {
        let mut rpc = Rpc::to(network.addresses(i)?.development)?;
        let accounts = self.accounts();
        let mut nonces = Vec::new();
        let caught_up = until("it has caught up", CATCH_UP_TIME, || {
            nonces = rpc.nonces(&accounts, "latest")?;
            Ok(accounts
                .iter()
                .zip(&nonces)
                .all(|(account, nonce)| expected[account].nonce <= *nonce))
        });
        let differing = || {
            let of_account = |(account, nonce): (&Address, &u64)| {
                let expected = expected[account].nonce;
                (expected != *nonce)
                    .then(|| format!("{account} has nonce {nonce}, acknowledged are {expected}"))
            };
            accounts.iter().zip(&nonces).filter_map(of_account).collect::<Vec<_>>().join("; ")
        };
        caught_up.with_context(differing)?;
        ensure!(differing().is_empty(), "{}", differing());
        for ((account, balance), found) in expected.iter().zip(rpc.balances(&accounts)?) {
            ensure!(
                balance.balance == found,
                "{account} has {found}, acknowledged transfers imply {}",
                balance.balance
            );
        }
        let hashes: Vec<B256> = acknowledged.iter().map(|transfer| transfer.hash).collect();
        for (hash, receipt) in hashes.iter().zip(rpc.receipts(&hashes)?) {
            ensure!(
                receipt["status"] == "0x1",
                "{hash} was acknowledged as committed, its receipt is {receipt}"
            );
        }
        Ok(())
    }

    /// Looks at every receipt and every block again, on every node; the load must have paused for good.
    pub(crate) fn check_all(
        &mut self,
        network: &Network,
        acknowledged: &[Acknowledged],
    ) -> anyhow::Result<()> {
        let expected = self.expected(acknowledged)?;
        let mut first_blocks = None;
        for i in 0..network.len() {
            self.check_node(network, i, &expected, acknowledged)
                .with_context(|| format!("n{i}"))?;
            let mut rpc = Rpc::to(network.addresses(i)?.development)?;
            let last = rpc.block_number()?;
            let blocks = rpc.blocks(last)?;
            let hashes = blocks
                .iter()
                .map(|block| hash(&block["hash"]))
                .collect::<anyhow::Result<Vec<_>>>()?;
            if let Some(first) = &first_blocks {
                ensure!(first == &hashes, "n{i} has other blocks than n0");
                continue;
            }
            first_blocks = Some(hashes);
            let included = included_in(&blocks)?;
            let sent: BTreeSet<B256> = acknowledged.iter().map(|transfer| transfer.hash).collect();
            ensure!(
                included == sent,
                "blocks hold {} transactions, {} were acknowledged",
                included.len(),
                sent.len()
            );
            println!("{} transfers, all acknowledged as committed, in {last} blocks", sent.len());
        }
        self.checked = acknowledged.len();
        Ok(())
    }
}

/// The transactions of a chain of blocks: each once, each sender's nonces without gaps.
fn included_in(blocks: &[serde_json::Value]) -> anyhow::Result<BTreeSet<B256>> {
    let mut included = BTreeSet::new();
    let mut nonces: BTreeMap<String, u64> = BTreeMap::new();
    let mut parent = None;
    for block in blocks {
        ensure!(
            parent.is_none() || parent == Some(hash(&block["parentHash"])?),
            "a block has another parent"
        );
        parent = Some(hash(&block["hash"])?);
        for transaction in block["transactions"].as_array().context("transactions")? {
            let nonce = nonces.entry(transaction["from"].to_string()).or_default();
            ensure!(
                number(&transaction["nonce"])? == *nonce,
                "expected nonce {nonce}: {transaction}"
            );
            *nonce += 1;
            ensure!(included.insert(hash(&transaction["hash"])?), "included twice: {transaction}");
        }
    }
    Ok(included)
}
