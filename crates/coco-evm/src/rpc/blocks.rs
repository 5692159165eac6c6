//! Blocks, transactions, receipts and logs in the shapes of go-ethereum's RPC server.

use std::sync::Arc;

use alloy_consensus::{Transaction, Typed2718};
use alloy_eips::{eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{B256, Log, U256};

use super::{
    CachedBlock, Rpc, error::RpcError, json::Json, method::Bodies, params::BlockId, view::Chain,
};
use crate::block::{Block, Included, TxEnvelope};

impl Rpc {
    /// `eth_getBlockBy*`.
    pub(super) fn block(
        chain: &Chain<'_>,
        id: BlockId,
        bodies: Bodies,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        match chain.block(id)? {
            Some(block) => write_block(json, &block, bodies),
            None => json.null(),
        }
        Ok(())
    }

    /// `eth_getBlockReceipts`.
    pub(super) fn block_receipts(
        chain: &Chain<'_>,
        id: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        match chain.block(id)? {
            None => json.null(),
            Some(block) => json.list(0..block.block.transactions.len(), |json, position| {
                write_receipt(json, &block, position);
            }),
        }
        Ok(())
    }

    /// `eth_getBlockTransactionCountBy*`.
    pub(super) fn transaction_count_of(
        chain: &Chain<'_>,
        id: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        match chain.block(id)? {
            Some(block) => json.quantity(block.block.transactions.len() as u64),
            None => json.null(),
        }
        Ok(())
    }

    /// `eth_getUncleCountBy*`: none, in every block that there is.
    pub(super) fn uncle_count_of(
        chain: &Chain<'_>,
        id: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        match chain.block(id)? {
            Some(_) => json.quantity(0),
            None => json.null(),
        }
        Ok(())
    }

    /// `eth_getTransactionByBlock*AndIndex`, written by `write`.
    pub(super) fn transaction_at(
        chain: &Chain<'_>,
        (id, index): (BlockId, u64),
        json: &mut Json,
        write: impl FnOnce(&mut Json, &CachedBlock, usize),
    ) -> Result<(), RpcError> {
        let block = chain.block(id)?;
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        match block.filter(|block| position < block.block.transactions.len()) {
            Some(block) => write(json, &block, position),
            None => json.null(),
        }
        Ok(())
    }

    /// `eth_getTransactionByHash`: also one that was executed and is not committed yet, as pending.
    pub(super) fn transaction(
        chain: &Chain<'_>,
        hash: &B256,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        if let Some((block, position)) = chain.transaction(hash)? {
            write_transaction(json, &block, position);
        } else if let Some((block, position)) = chain.pending_transaction(hash)? {
            write_fields(json, &block.block.transactions[position], None);
        } else {
            json.null();
        }
        Ok(())
    }

    /// `eth_getRawTransactionByHash`.
    pub(super) fn raw_transaction(
        chain: &Chain<'_>,
        hash: &B256,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let found = match chain.transaction(hash)? {
            Some(found) => Some(found),
            None => chain.pending_transaction(hash)?,
        };
        match found {
            Some((block, position)) => write_raw(json, &block, position),
            None => json.null(),
        }
        Ok(())
    }

    /// `eth_getTransactionReceipt`.
    pub(super) fn receipt_of(
        chain: &Chain<'_>,
        hash: &B256,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        match chain.transaction(hash)? {
            Some((block, position)) => write_receipt(json, &block, position),
            None => json.null(),
        }
        Ok(())
    }
}

fn write_block(json: &mut Json, cached: &Arc<CachedBlock>, bodies: Bodies) {
    let (block, header) = (&cached.block, &cached.block.header);
    json.raw(r#"{"number":"#).quantity(header.number);
    json.name("hash").data(block.hash);
    json.name("parentHash").data(header.parent_hash);
    json.name("nonce").data(header.nonce);
    json.name("mixHash").data(header.mix_hash);
    json.name("sha3Uncles").data(header.ommers_hash);
    json.name("logsBloom").data(header.logs_bloom);
    json.name("stateRoot").data(header.state_root);
    json.name("miner").data(header.beneficiary);
    json.name("difficulty").quantity_u256(header.difficulty);
    json.name("extraData").data(&header.extra_data);
    json.name("gasLimit").quantity(header.gas_limit);
    json.name("gasUsed").quantity(header.gas_used);
    json.name("timestamp").quantity(header.timestamp);
    json.name("transactionsRoot").data(header.transactions_root);
    json.name("receiptsRoot").data(header.receipts_root);
    json.optional_quantity("baseFeePerGas", header.base_fee_per_gas.map(u128::from));
    json.optional_data("withdrawalsRoot", header.withdrawals_root.as_ref());
    json.optional_quantity("blobGasUsed", header.blob_gas_used.map(u128::from));
    json.optional_quantity("excessBlobGas", header.excess_blob_gas.map(u128::from));
    json.optional_data("parentBeaconBlockRoot", header.parent_beacon_block_root.as_ref());
    json.optional_data("requestsHash", header.requests_hash.as_ref());
    json.name("size").quantity(block.size());
    json.name("transactions").list(0..block.transactions.len(), |json, position| match bodies {
        Bodies::Hashes => json.data(block.transactions[position].hash),
        Bodies::Full => write_transaction(json, cached, position),
    });
    json.name("uncles").raw("[]");
    if header.withdrawals_root.is_some() {
        json.name("withdrawals").raw("[]");
    }
    json.raw("}");
}

/// A transaction of a committed block.
pub(super) fn write_transaction(json: &mut Json, cached: &CachedBlock, position: usize) {
    write_fields(json, &cached.block.transactions[position], Some((&cached.block, position)));
}

/// A transaction's bytes.
pub(super) fn write_raw(json: &mut Json, cached: &CachedBlock, position: usize) {
    json.data(&cached.block.transactions[position].raw);
}

fn write_fields(json: &mut Json, included: &Included, place: Option<(&Block, usize)>) {
    let transaction = &included.transaction;
    let price = match place {
        Some(_) => included.outcome.effective_gas_price,
        None => transaction.max_fee_per_gas(),
    };
    json.raw(r#"{"blockHash":"#).data_or_null(place.map(|(block, _)| block.hash));
    match place {
        Some((block, _)) => json.name("blockNumber").quantity(block.number()),
        None => json.name("blockNumber").null(),
    };
    json.name("from").data(included.sender);
    json.name("gas").quantity(transaction.gas_limit());
    json.name("gasPrice").quantity_u128(price);
    if transaction.is_dynamic_fee() {
        json.name("maxFeePerGas").quantity_u128(transaction.max_fee_per_gas());
        json.optional_quantity("maxPriorityFeePerGas", transaction.max_priority_fee_per_gas());
    }
    json.name("hash").data(included.hash);
    json.name("input").data(transaction.input());
    json.name("nonce").quantity(transaction.nonce());
    json.name("to").data_or_null(transaction.to());
    match place {
        Some((_, position)) => json.name("transactionIndex").quantity(position as u64),
        None => json.name("transactionIndex").null(),
    };
    json.name("value").quantity_u256(transaction.value());
    json.name("type").quantity(u64::from(transaction.ty()));
    if let Some(list) = transaction.access_list() {
        write_access_list(json.name("accessList"), list);
    }
    json.optional_quantity("chainId", transaction.chain_id().map(u128::from));
    if let Some(list) = transaction.authorization_list() {
        json.name("authorizationList").list(list, write_authorization);
    }
    write_signature(json, transaction);
    json.raw("}");
}

fn write_access_list(json: &mut Json, list: &AccessList) {
    json.list(list.iter(), |json, item| {
        json.raw(r#"{"address":"#).data(item.address);
        json.name("storageKeys").list(&item.storage_keys, |json, key| json.data(key));
        json.raw("}");
    });
}

fn write_authorization(json: &mut Json, signed: &SignedAuthorization) {
    json.raw(r#"{"chainId":"#).quantity_u256(signed.chain_id);
    json.name("address").data(signed.address);
    json.name("nonce").quantity(signed.nonce);
    json.name("yParity").quantity(u64::from(signed.y_parity()));
    json.name("r").quantity_u256(signed.r());
    json.name("s").quantity_u256(signed.s());
    json.raw("}");
}

fn write_signature(json: &mut Json, transaction: &TxEnvelope) {
    let signature = transaction.signature();
    let parity = u64::from(signature.v());
    let v = match (transaction.is_legacy(), transaction.chain_id()) {
        (true, Some(chain_id)) => U256::from(chain_id) * U256::from(2) + U256::from(35 + parity),
        (true, None) => U256::from(27 + parity),
        (false, _) => U256::from(parity),
    };
    json.name("v").quantity_u256(v);
    json.name("r").quantity_u256(signature.r());
    json.name("s").quantity_u256(signature.s());
    if !transaction.is_legacy() {
        json.name("yParity").quantity(parity);
    }
}

/// A receipt.
pub(super) fn write_receipt(json: &mut Json, cached: &CachedBlock, position: usize) {
    let block = &cached.block;
    let included = &block.transactions[position];
    let outcome = &included.outcome;
    json.raw(r#"{"blockHash":"#).data(block.hash);
    json.name("blockNumber").quantity(block.number());
    json.name("contractAddress").data_or_null(outcome.contract_address);
    json.name("cumulativeGasUsed").quantity(outcome.cumulative_gas_used);
    json.name("effectiveGasPrice").quantity_u128(outcome.effective_gas_price);
    json.name("from").data(included.sender);
    json.name("gasUsed").quantity(outcome.gas_used);
    json.name("logs").list(
        outcome.logs.iter().zip(cached.first_log(position)..),
        |json, (log, index)| {
            write_log(json, block, position, index, log);
        },
    );
    json.name("logsBloom");
    if outcome.logs.is_empty() {
        // Most transactions log nothing.
        json.raw(EMPTY_BLOOM);
    } else {
        json.data(outcome.bloom());
    }
    json.name("status").quantity(u64::from(outcome.success));
    json.name("to").data_or_null(included.transaction.to());
    json.name("transactionHash").data(included.hash);
    json.name("transactionIndex").quantity(position as u64);
    json.name("type").quantity(u64::from(included.transaction.ty()));
    json.raw("}");
}

/// One log, the `index`-th of its block.
pub(super) fn write_log(json: &mut Json, block: &Block, position: usize, index: u64, log: &Log) {
    json.raw(r#"{"address":"#).data(log.address);
    json.name("topics").list(log.topics(), |json, topic| json.data(topic));
    json.name("data").data(&log.data.data);
    json.name("blockNumber").quantity(block.number());
    json.name("transactionHash").data(block.transactions[position].hash);
    json.name("transactionIndex").quantity(position as u64);
    json.name("blockHash").data(block.hash);
    json.name("blockTimestamp").quantity(block.header.timestamp);
    json.name("logIndex").quantity(index);
    json.name("removed").bool(false);
    json.raw("}");
}

/// A receipt without logs, roughly.
pub(super) const RECEIPT_BYTES: usize = 1_280;

const EMPTY_BLOOM: &str = concat!(
    "\"0x",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "\""
);
