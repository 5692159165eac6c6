//! What a client sends: decoded, checked and its sender recovered, on any thread and without any state.
//!
//! Everything here depends on the bytes and the chain's constants alone, so that the edge can do it before the replica
//! hears of the transaction. What depends on the state (nonce, funds, the block's gas limit, the fork in force) is for
//! [`crate::pool`] and the executor.

pub mod refusals;

use std::sync::{Arc, LazyLock};

use alloy_consensus::{SignableTransaction, Transaction};
use alloy_eips::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use coco_adapter::{Check, Checked, Refusal};
use revm::{context_interface::cfg::gas, primitives::hardfork::SpecId};
use secp256k1::{
    Message, Secp256k1, VerifyOnly,
    ecdsa::{RecoverableSignature, RecoveryId},
};

pub use crate::block::PooledTx;
use crate::{block::TxEnvelope, genesis::ChainConfig};

/// Largest transaction, in bytes of its EIP-2718 encoding. As large as go-ethereum's pool takes.
pub const TRANSACTION_BYTES_MAX: usize = 128 << 10;

/// The type of blob transactions, which a ledger without a blob market does not take.
const BLOB_TYPE: u8 = 3;

/// The types that have a number: EIP-2930, EIP-1559, EIP-7702.
const TYPES: [u8; 3] = [1, 2, 4];

/// Above it, the first byte of a transaction is that of the list that a legacy one is (EIP-2718).
const TYPE_MAX: u8 = 0x7f;

/// Half the order of the curve. EIP-2 forbids an `s` above it, so that no signature has a second form.
const HALF_ORDER: U256 = U256::from_limbs([
    0xdfe9_2f46_681b_20a0,
    0x5d57_6e73_57a4_501d,
    0xffff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
]);

/// Whether transactions without a chain id (before EIP-155) are taken: whoever sees one can send it to every chain
/// that takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unprotected {
    /// They are refused.
    #[default]
    Refused,
    /// They are taken, for replaying the transactions of old chains.
    Taken,
}

/// The edge's half of the adapter.
#[derive(Clone, Debug)]
pub struct EvmCheck {
    config: Arc<ChainConfig>,
    unprotected: Unprotected,
}

impl EvmCheck {
    /// Checks for the chain of `config`.
    #[must_use]
    pub const fn new(config: Arc<ChainConfig>, unprotected: Unprotected) -> Self {
        Self { config, unprotected }
    }

    /// Decodes one transaction and recovers who signed it.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn decode(&self, raw: &[u8]) -> Result<PooledTx, Refusal> {
        decode_and_check(raw, &self.config, self.unprotected)
    }
}

impl Check for EvmCheck {
    fn check(&self, bytes: &[u8]) -> Result<Checked, Refusal> {
        self.decode(bytes).map(Checked::new)
    }
}

/// Decodes an EIP-2718 transaction for the chain of `config` and recovers its sender and the accounts whose
/// authorizations it carries.
///
/// # Errors
/// The refusal to answer with: not a transaction, a type that is not taken, too large, signed for another chain, or
/// signed badly.
pub fn decode_and_check(
    raw: &[u8],
    config: &ChainConfig,
    unprotected: Unprotected,
) -> Result<PooledTx, Refusal> {
    if raw.first() == Some(&BLOB_TYPE) {
        return Err(refusals::type_not_supported(
            "this ledger takes no blob transactions (type 3, EIP-4844)",
        ));
    }
    if raw.len() > TRANSACTION_BYTES_MAX {
        return Err(refusals::oversized(raw.len(), TRANSACTION_BYTES_MAX));
    }
    let envelope = decode(raw)?;
    match envelope.chain_id() {
        Some(found) if found != config.chain_id => {
            return Err(refusals::wrong_chain(config.chain_id, found));
        }
        None if unprotected == Unprotected::Refused => return Err(refusals::unprotected()),
        Some(_) | None => {}
    }
    check_shape(&envelope)?;
    let sender = recover(envelope.signature(), &signing_hash(&envelope))
        .ok_or_else(|| refusals::invalid_sender("invalid transaction v, r, s values"))?;
    let authorities = envelope
        .authorization_list()
        .unwrap_or_default()
        .iter()
        .map(|signed| recover(&signed.signature().ok()?, &signed.signature_hash()))
        .collect();
    Ok(PooledTx {
        hash: keccak256(raw),
        sender,
        raw: Bytes::copy_from_slice(raw),
        envelope,
        authorities,
    })
}

/// What a transaction must fulfil under the rules of `spec`, apart from the state: its type is enabled and it allows
/// enough gas for its own bytes, and not too much.
///
/// # Errors
/// The refusal to answer with.
pub fn check_rules(transaction: &TxEnvelope, spec: SpecId, gas_cap: u64) -> Result<(), Refusal> {
    let (needs, since) = match transaction.tx_type() as u8 {
        0 => (SpecId::FRONTIER, "Frontier"),
        1 => (SpecId::BERLIN, "Berlin"),
        2 => (SpecId::LONDON, "London"),
        _ => (SpecId::PRAGUE, "Prague"),
    };
    if !spec.is_enabled_in(needs) {
        let number = transaction.tx_type() as u8;
        return Err(refusals::type_not_supported(&format!(
            "type {number} rejected, pool not yet in {since}"
        )));
    }
    let gas_limit = transaction.gas_limit();
    if gas_limit > gas_cap {
        return Err(refusals::gas_limit_too_high(gas_cap, gas_limit));
    }
    let (accounts, slots) = transaction.access_list().map_or((0, 0), |list| {
        (list.len() as u64, list.iter().map(|item| item.storage_keys.len() as u64).sum())
    });
    let authorizations = transaction.authorization_list().map_or(0, |list| list.len() as u64);
    let needed = gas::calculate_initial_tx_gas(
        spec,
        transaction.input(),
        transaction.is_create(),
        accounts,
        slots,
        authorizations,
        None,
    );
    let intrinsic = needed.initial_total_gas();
    if gas_limit < intrinsic {
        return Err(refusals::intrinsic_gas_too_low(gas_limit, intrinsic));
    }
    if spec.is_enabled_in(SpecId::PRAGUE) && gas_limit < needed.floor_gas() {
        return Err(refusals::floor_gas_too_low(gas_limit, needed.floor_gas()));
    }
    Ok(())
}

fn decode(raw: &[u8]) -> Result<TxEnvelope, Refusal> {
    if raw.len() <= 1 {
        return Err(refusals::refusal("typed transaction too short"));
    }
    let number = raw[0];
    if number <= TYPE_MAX && !TYPES.contains(&number) {
        return Err(refusals::type_not_supported(&format!(
            "type {number} is not a transaction type"
        )));
    }
    TxEnvelope::decode_2718_exact(raw).map_err(|error| refusals::refusal(format!("rlp: {error}")))
}

fn check_shape(envelope: &TxEnvelope) -> Result<(), Refusal> {
    if envelope.nonce() == u64::MAX {
        return Err(refusals::nonce_max());
    }
    if envelope.max_priority_fee_per_gas().is_some_and(|tip| tip > envelope.max_fee_per_gas()) {
        return Err(refusals::tip_above_fee_cap());
    }
    if envelope.authorization_list().is_some_and(<[_]>::is_empty) {
        return Err(refusals::empty_authorization_list());
    }
    Ok(())
}

fn signing_hash(envelope: &TxEnvelope) -> B256 {
    match envelope {
        TxEnvelope::Legacy(signed) => signed.tx().signature_hash(),
        TxEnvelope::Eip2930(signed) => signed.tx().signature_hash(),
        TxEnvelope::Eip1559(signed) => signed.tx().signature_hash(),
        TxEnvelope::Eip4844(signed) => signed.tx().signature_hash(),
        TxEnvelope::Eip7702(signed) => signed.tx().signature_hash(),
    }
}

/// The account whose key made this signature; `None` when there is none or the signature has a second form.
fn recover(signature: &Signature, hash: &B256) -> Option<Address> {
    static CURVE: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);
    if signature.s() > HALF_ORDER {
        return None;
    }
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    compact[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    let id = if signature.v() { RecoveryId::One } else { RecoveryId::Zero };
    let signature = RecoverableSignature::from_compact(&compact, id).ok()?;
    let key = CURVE.recover_ecdsa(Message::from_digest(hash.0), &signature).ok()?;
    Some(Address::from_raw_public_key(&key.serialize_uncompressed()[1..]))
}
