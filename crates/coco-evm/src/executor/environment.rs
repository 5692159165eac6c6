//! What a block is executed in, and a transaction in the interpreter's form.

use alloy_consensus::{Header, Transaction as _, Typed2718};
use alloy_eips::eip7702::{RecoveredAuthority, RecoveredAuthorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::{
    context::{BlockEnv, TxEnv},
    context_interface::{block::BlobExcessGasAndPrice, either::Either},
    primitives::hardfork::SpecId,
};

use crate::{block::PooledTx, genesis::ChainConfig};

/// What the code of a block can see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The rules.
    pub spec: SpecId,
    /// The block's number.
    pub number: u64,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Hash of the block before.
    pub parent_hash: B256,
    /// Who receives what senders pay on top of the base fee.
    pub beneficiary: Address,
    /// Most gas that the block can use.
    pub gas_limit: u64,
    /// The base fee, in wei; absent before London.
    pub base_fee: Option<u64>,
    /// DIFFICULTY, before the merge.
    pub difficulty: U256,
    /// PREVRANDAO, from the merge on.
    pub mix_hash: B256,
    /// What the header carries.
    pub extra_data: Bytes,
    /// Sets the price of blob gas, from Cancun on.
    pub excess_blob_gas: u64,
    /// What EIP-4788 keeps, from Cancun on.
    pub parent_beacon_block_root: B256,
}

impl Environment {
    /// The environment of an existing block, for calls on the state that it left.
    #[must_use]
    pub fn of_header(header: &Header, config: &ChainConfig) -> Self {
        Self {
            spec: config.spec(header.number, header.timestamp),
            number: header.number,
            timestamp: header.timestamp,
            parent_hash: header.parent_hash,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas,
            difficulty: header.difficulty,
            mix_hash: header.mix_hash,
            extra_data: header.extra_data.clone(),
            excess_blob_gas: header.excess_blob_gas.unwrap_or(0),
            parent_beacon_block_root: header.parent_beacon_block_root.unwrap_or_default(),
        }
    }

    pub(super) fn block_env(&self) -> BlockEnv {
        let blobs = || BlobExcessGasAndPrice::new_with_spec(self.excess_blob_gas, self.spec);
        BlockEnv {
            number: U256::from(self.number),
            beneficiary: self.beneficiary,
            timestamp: U256::from(self.timestamp),
            gas_limit: self.gas_limit,
            basefee: self.base_fee.unwrap_or(0),
            difficulty: self.difficulty,
            prevrandao: (self.spec >= SpecId::MERGE).then_some(self.mix_hash),
            blob_excess_gas_and_price: (self.spec >= SpecId::CANCUN).then(blobs),
            slot_num: 0,
        }
    }
}

/// Most blobs in a transaction, from Cancun on (EIP-4844, EIP-7691, EIP-7594).
pub(super) fn blobs_per_transaction_max(spec: SpecId) -> u64 {
    if spec == SpecId::PRAGUE { 9 } else { 6 }
}

/// A checked transaction in the interpreter's form.
pub(super) fn transaction_env(transaction: &PooledTx) -> TxEnv {
    let envelope = &transaction.envelope;
    let authorizations = envelope.authorization_list().unwrap_or_default();
    TxEnv {
        tx_type: envelope.ty(),
        caller: transaction.sender,
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        blob_hashes: envelope.blob_versioned_hashes().map(<[B256]>::to_vec).unwrap_or_default(),
        max_fee_per_blob_gas: envelope.max_fee_per_blob_gas().unwrap_or(0),
        authorization_list: authorizations
            .iter()
            .enumerate()
            .map(|(index, signed)| {
                let authority = transaction.authorities.get(index).copied().flatten();
                Either::Right(recovered(signed, authority))
            })
            .collect(),
    }
}

fn recovered(signed: &SignedAuthorization, authority: Option<Address>) -> RecoveredAuthorization {
    let authority = authority.map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid);
    RecoveredAuthorization::new_unchecked(signed.inner().clone(), authority)
}
