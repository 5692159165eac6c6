//! Funded accounts and their signed transfers.

use alloy_consensus::{EthereumTxEnvelope, SignableTransaction as _, TxEip1559, TxEip4844};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex};
use anyhow::Context;
use secp256k1::{Message, SECP256K1, SecretKey};

/// Gas of a plain transfer.
pub(crate) const TRANSFER_GAS: u64 = 21_000;
/// Chain id of a development network.
pub(crate) const CHAIN_ID: u64 = 31337;

/// An account that the development network funded.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) address: Address,
    key: SecretKey,
}

/// A signed transaction.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// Its bytes as `0x…` text.
    pub(crate) raw: String,
    pub(crate) hash: B256,
}

impl Account {
    /// Reads a line `<address> key <key>` of what `coco dev` prints.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (address, key) = line.trim().split_once(" key ")?;
        let key: [u8; 32] = hex::decode(key.trim()).ok()?.try_into().ok()?;
        Some(Self { address: address.parse().ok()?, key: SecretKey::from_byte_array(key).ok()? })
    }

    /// A transfer without fees.
    pub(crate) fn transfer(&self, nonce: u64, to: Address, value: U256) -> Signed {
        self.sign(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: TRANSFER_GAS,
            max_fee_per_gas: 0,
            max_priority_fee_per_gas: 0,
            to: TxKind::Call(to),
            value,
            access_list: alloy_eips::eip2930::AccessList::default(),
            input: Bytes::new(),
        })
    }

    pub(crate) fn sign(&self, transaction: TxEip1559) -> Signed {
        let message = Message::from_digest(transaction.signature_hash().0);
        let (parity, compact) =
            SECP256K1.sign_ecdsa_recoverable(message, &self.key).serialize_compact();
        let signature = Signature::from_bytes_and_parity(&compact, i32::from(parity) == 1);
        let envelope = EthereumTxEnvelope::<TxEip4844>::from(transaction.into_signed(signature));
        Signed { raw: hex::encode_prefixed(envelope.encoded_2718()), hash: *envelope.tx_hash() }
    }
}

/// The accounts in what `coco dev` printed.
pub(crate) fn accounts_in(text: &str) -> anyhow::Result<Vec<Account>> {
    let accounts: Vec<Account> = text.lines().filter_map(Account::parse).collect();
    (!accounts.is_empty()).then_some(accounts).with_context(|| format!("no accounts in:\n{text}"))
}
