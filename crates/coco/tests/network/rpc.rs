//! Ethereum JSON-RPC over one connection.

use std::{net::SocketAddr, time::Duration};

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::http::{Connection, PATIENCE};

/// Calls in one batch of the readers below.
const BATCH_CALLS: usize = 200;

/// What a call was refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: i64,
    pub(crate) message: String,
}

/// Result or refusal of one response object.
pub(crate) fn outcome(response: &Value) -> anyhow::Result<Result<Value, Refused>> {
    if let Some(error) = response.get("error") {
        let code = error["code"].as_i64().with_context(|| format!("no code in {response}"))?;
        let message =
            error["message"].as_str().with_context(|| format!("no message in {response}"))?;
        return Ok(Err(Refused { code, message: message.to_owned() }));
    }
    let result = response
        .get("result")
        .with_context(|| format!("neither result nor error in {response}"))?;
    Ok(Ok(result.clone()))
}

pub(crate) fn call_body(id: usize, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A client of one node.
#[derive(Debug)]
pub(crate) struct Rpc {
    connection: Connection,
}

impl Rpc {
    pub(crate) fn to(address: SocketAddr) -> anyhow::Result<Self> {
        Self::with_patience(address, PATIENCE)
    }

    pub(crate) fn with_patience(address: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::plain(address, patience)? })
    }

    pub(crate) const fn over(connection: Connection) -> Self {
        Self { connection }
    }

    /// One call; the outer error is the transport's.
    pub(crate) fn try_call(
        &mut self,
        method: &str,
        params: &Value,
    ) -> anyhow::Result<Result<Value, Refused>> {
        let response =
            self.connection.post_json("/", call_body(1, method, params).to_string().as_bytes())?;
        ensure!(
            response.status == 200,
            "status {}: {}",
            response.status,
            String::from_utf8_lossy(&response.body)
        );
        outcome(&response.json()?)
    }

    pub(crate) fn call(&mut self, method: &str, params: &Value) -> anyhow::Result<Value> {
        match self.try_call(method, params)? {
            Ok(result) => Ok(result),
            Err(refused) => bail!("{method} {params}: {refused:?}"),
        }
    }

    /// A batch to `path`; one outcome a call, in order.
    pub(crate) fn try_batch(
        &mut self,
        path: &str,
        method: &str,
        params: &[Value],
    ) -> anyhow::Result<Vec<Result<Value, Refused>>> {
        let calls: Vec<Value> =
            params.iter().enumerate().map(|(id, params)| call_body(id, method, params)).collect();
        let response =
            self.connection.post_json(path, Value::from(calls).to_string().as_bytes())?;
        ensure!(
            response.status == 200,
            "status {}: {}",
            response.status,
            String::from_utf8_lossy(&response.body)
        );
        let Value::Array(answers) = response.json()? else {
            bail!("the answer to a batch is no array")
        };
        ensure!(
            answers.len() == params.len(),
            "{} answers to {} calls",
            answers.len(),
            params.len()
        );
        for (id, answer) in answers.iter().enumerate() {
            ensure!(answer["id"] == id, "answer {id} of a batch is {answer}");
        }
        answers.iter().map(outcome).collect()
    }

    /// Many calls in batches; every one must succeed.
    pub(crate) fn call_all(
        &mut self,
        method: &str,
        params: &[Value],
    ) -> anyhow::Result<Vec<Value>> {
        let mut results = Vec::with_capacity(params.len());
        for part in params.chunks(BATCH_CALLS) {
            for (params, outcome) in part.iter().zip(self.try_batch("/", method, part)?) {
                results.push(
                    outcome.map_err(|refused| anyhow::anyhow!("{method} {params}: {refused:?}"))?,
                );
            }
        }
        Ok(results)
    }

    pub(crate) fn block_number(&mut self) -> anyhow::Result<u64> {
        number(&self.call("eth_blockNumber", &json!([]))?)
    }

    pub(crate) fn balances(&mut self, accounts: &[Address]) -> anyhow::Result<Vec<U256>> {
        let params: Vec<Value> =
            accounts.iter().map(|account| json!([account, "latest"])).collect();
        self.call_all("eth_getBalance", &params)?
            .into_iter()
            .map(|value| Ok(serde_json::from_value(value)?))
            .collect()
    }

    pub(crate) fn nonces(&mut self, accounts: &[Address], tag: &str) -> anyhow::Result<Vec<u64>> {
        let params: Vec<Value> = accounts.iter().map(|account| json!([account, tag])).collect();
        self.call_all("eth_getTransactionCount", &params)?.iter().map(number).collect()
    }

    /// Receipts of transactions; null where there is none.
    pub(crate) fn receipts(&mut self, hashes: &[B256]) -> anyhow::Result<Vec<Value>> {
        let params: Vec<Value> = hashes.iter().map(|hash| json!([hash])).collect();
        self.call_all("eth_getTransactionReceipt", &params)
    }

    /// Blocks `1..=last` with full transactions.
    pub(crate) fn blocks(&mut self, last: u64) -> anyhow::Result<Vec<Value>> {
        let params: Vec<Value> =
            (1..=last).map(|number| json!([format!("{number:#x}"), true])).collect();
        self.call_all("eth_getBlockByNumber", &params)
    }
}

/// A quantity.
pub(crate) fn number(value: &Value) -> anyhow::Result<u64> {
    let text = value.as_str().with_context(|| format!("{value} is no quantity"))?;
    let digits = text.strip_prefix("0x").with_context(|| format!("{text} is no quantity"))?;
    Ok(u64::from_str_radix(digits, 16)?)
}

pub(crate) fn hash(value: &Value) -> anyhow::Result<B256> {
    value
        .as_str()
        .with_context(|| format!("{value} is no hash"))?
        .parse()
        .with_context(|| format!("{value}"))
}
