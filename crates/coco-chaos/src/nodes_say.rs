//! What the nodes say when they are asked: who is primary, and the chain that they have in the end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    checker::{Block, Chain, Transfer},
    client::{Connection, Tls, parsed, quantity},
    history::Account,
    interrupt,
    network::client_address,
};

/// A node that is well answers a question within this time.
const QUESTION_TIME: Duration = Duration::from_secs(2);
/// Time for all nodes to have the same chain once nobody writes.
const AGREE_TIME: Duration = Duration::from_secs(40);
/// They agree when nothing changes for so long.
const QUIET_TIME: Duration = Duration::from_millis(400);
const POLL: Duration = Duration::from_millis(50);
/// Blocks, with their transactions, asked for at a time.
const BLOCKS_BATCH: u64 = 50;
/// Accounts asked for at a time.
const ACCOUNTS_BATCH: usize = 100;

/// A question to a node: a path, its status and its body.
pub(crate) async fn get(tls: &Tls, node: usize, path: &str) -> anyhow::Result<(u16, Value)> {
    let asking = async {
        let answer = Connection::open(tls, client_address(node)).await?.get(path).await?;
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        Ok::<_, anyhow::Error>((answer.status, body))
    };
    timeout(QUESTION_TIME, asking).await.with_context(|| format!("n{node} is silent"))?
}

/// The id of the node that this one takes for the primary.
pub(crate) async fn primary_id(tls: &Tls, node: usize) -> anyhow::Result<Option<String>> {
    let (_, network) = get(tls, node, "/node/network").await?;
    Ok(network["primary_id"].as_str().map(str::to_owned))
}

/// The id of the node that runs there: another one after each start, where nodes come back as others.
pub(crate) async fn own_id(tls: &Tls, node: usize) -> anyhow::Result<Option<String>> {
    let (_, state) = get(tls, node, "/node/state").await?;
    Ok(state["node_id"].as_str().map(str::to_owned))
}

/// The ids of the nodes that have a vote, as this one knows them; none while a change of voters is under way.
pub(crate) async fn voters(tls: &Tls, node: usize) -> anyhow::Result<Vec<String>> {
    let (_, body) = get(tls, node, "/node/consensus").await?;
    let details = &body["details"];
    let configs = details["configs"].as_array().context("a list of configurations")?;
    let [configuration] = configs.as_slice() else { return Ok(Vec::new()) };
    let nodes = configuration["nodes"].as_object().context("nodes")?;
    let is_learner = |id: &str| details["learners"].get(id).is_some();
    Ok(nodes.keys().filter(|id| !is_learner(id)).cloned().collect())
}

/// The time of a node's last block, in seconds.
pub(crate) async fn latest_time(tls: &Tls, node: usize) -> anyhow::Result<u64> {
    let asking = async {
        let mut connection = Connection::open(tls, client_address(node)).await?;
        let answers =
            connection.call_all(vec![("eth_getBlockByNumber", json!(["latest", false]))]).await?;
        quantity(&answers.first().context("one answer")?["timestamp"])
    };
    timeout(QUESTION_TIME, asking).await.with_context(|| format!("n{node} is silent"))?
}

/// The chain and the accounts that all of `nodes` have, once they agree. Nobody may write any more.
pub(crate) async fn chain(
    tls: &Tls,
    nodes: &[usize],
    accounts: &[Address],
    funded: &[(Address, U256)],
) -> anyhow::Result<Chain> {
    let last = agreed(tls, nodes).await?;
    let mut chain = Chain::default();
    for (address, balance) in funded {
        chain.genesis.insert(*address, Account { nonce: 0, balance: *balance });
    }
    let first = *nodes.first().context("no node is up")?;
    let mut last_hash = None;
    for node in nodes {
        let mut connection = Connection::open(tls, client_address(*node)).await?;
        if *node == first {
            (chain.blocks, last_hash) = blocks(&mut connection, last).await?;
        } else if last > 0 {
            // A block names its parent by hash, so one hash stands for all before.
            let header = json!([format!("{last:#x}"), false]);
            let answer = connection.call_all(vec![("eth_getBlockByNumber", header)]).await?;
            let hash = parsed(&answer.first().context("one answer")?["hash"])?;
            ensure!(Some(hash) == last_hash, "n{node} has another block {last} than n{first}");
        }
        chain.finals.insert(*node, balances(&mut connection, accounts).await?);
    }
    Ok(chain)
}

/// Waits until all nodes have the same last block; its number.
async fn agreed(tls: &Tls, nodes: &[usize]) -> anyhow::Result<u64> {
    let deadline = Instant::now() + AGREE_TIME;
    let mut since: Option<(u64, Instant)> = None;
    loop {
        let mut found = Vec::new();
        for node in nodes {
            let asking = async {
                let mut connection = Connection::open(tls, client_address(*node)).await?;
                let answers = connection.call_all(vec![("eth_blockNumber", json!([]))]).await?;
                quantity(answers.first().context("one answer")?)
            };
            let asked = timeout(QUESTION_TIME, asking).await;
            found.push(asked.ok().and_then(Result::ok));
        }
        match found.first().copied().flatten() {
            Some(last) if found.iter().all(|one| *one == Some(last)) => match since {
                Some((block, moment)) if block == last => {
                    if moment.elapsed() > QUIET_TIME {
                        return Ok(last);
                    }
                }
                Some(_) | None => since = Some((last, Instant::now())),
            },
            Some(_) | None => since = None,
        }
        if interrupt::is_asked() {
            bail!("interrupted");
        }
        ensure!(
            Instant::now() < deadline,
            "the nodes do not come to one chain in {AGREE_TIME:?}; of {nodes:?} the last blocks are {found:?}"
        );
        sleep(POLL).await;
    }
}

async fn blocks(
    connection: &mut Connection,
    last: u64,
) -> anyhow::Result<(Vec<Block>, Option<B256>)> {
    let mut blocks = Vec::new();
    let mut parent: Option<B256> = None;
    let mut next = 1;
    while next <= last {
        let until = last.min(next + BLOCKS_BATCH - 1);
        let calls = (next..=until)
            .map(|number| ("eth_getBlockByNumber", json!([format!("{number:#x}"), true])));
        for block in connection.call_all(calls.collect()).await? {
            ensure!(
                parent.is_none() || parent == Some(parsed(&block["parentHash"])?),
                "block {} has another parent than the block before it",
                block["number"]
            );
            parent = Some(parsed(&block["hash"])?);
            blocks.push(read_block(&block).with_context(|| format!("block {block}"))?);
        }
        next = until + 1;
    }
    Ok((blocks, parent))
}

fn read_block(block: &Value) -> anyhow::Result<Block> {
    let transfers = block["transactions"].as_array().context("transactions")?;
    let transfers = transfers.iter().map(|transfer| {
        Ok(Transfer {
            hash: parsed(&transfer["hash"])?,
            from: parsed(&transfer["from"])?,
            nonce: quantity(&transfer["nonce"])?,
            to: parsed(&transfer["to"])?,
            value: parsed(&transfer["value"])?,
        })
    });
    Ok(Block {
        timestamp: quantity(&block["timestamp"])?,
        transfers: transfers.collect::<anyhow::Result<_>>()?,
    })
}

async fn balances(
    connection: &mut Connection,
    accounts: &[Address],
) -> anyhow::Result<BTreeMap<Address, Account>> {
    let mut found = BTreeMap::new();
    for accounts in accounts.chunks(ACCOUNTS_BATCH) {
        let calls = accounts.iter().flat_map(|account| {
            ["eth_getTransactionCount", "eth_getBalance"]
                .map(|method| (method, json!([account, "latest"])))
        });
        let answers = connection.call_all(calls.collect()).await?;
        for (account, pair) in accounts.iter().zip(answers.chunks(2)) {
            let [nonce, balance] = pair else { bail!("two answers an account") };
            let state = Account { nonce: quantity(nonce)?, balance: parsed(balance)? };
            found.insert(*account, state);
        }
    }
    Ok(found)
}
