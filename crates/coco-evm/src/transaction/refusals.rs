//! Why a transaction is not taken, in the words that Ethereum's tools search error texts for.
//!
//! The words are an interface: ethers, viem and web3.py tell "nonce too low" from "insufficient funds" by their text
//! alone. They are those of go-ethereum's pool; a test pins each of them.

use alloy_primitives::{Address, B256, U256};
use coco_adapter::Refusal;
use revm::context::result::InvalidTransaction;

/// The code of every refusal that has no code of its own.
pub const CODE_REJECTED: i64 = -32000;

/// EIP-7966's code for a nonce gap; its data is the expected nonce. `eth_sendRawTransaction` answers
/// [`CODE_REJECTED`] in its place, with the same data.
pub const CODE_NONCE_GAP: i64 = 6;

/// A refusal without data.
#[must_use]
pub fn refusal(message: impl Into<String>) -> Refusal {
    Refusal { code: CODE_REJECTED, message: message.into(), data: None }
}

/// The account has already used this nonce.
#[must_use]
pub fn nonce_too_low(expected: u64, found: u64) -> Refusal {
    refusal(format!("nonce too low: next nonce {expected}, tx nonce {found}"))
}

/// Transactions before this one are missing; the data is the nonce to go on with, as a quantity.
#[must_use]
pub fn nonce_gap(expected: u64, found: u64) -> Refusal {
    Refusal {
        code: CODE_NONCE_GAP,
        message: format!("nonce too high: next nonce {expected}, tx nonce {found}"),
        data: Some(format!("{expected:#x}")),
    }
}

/// The account cannot pay for the gas it allows and the value it sends.
#[must_use]
pub fn insufficient_funds(balance: U256, cost: U256) -> Refusal {
    let overshot = cost.saturating_sub(balance);
    refusal(format!(
        "insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, overshot {overshot}"
    ))
}

/// The transaction's gas limit does not even cover its own bytes.
#[must_use]
pub fn intrinsic_gas_too_low(have: u64, want: u64) -> Refusal {
    refusal(format!("intrinsic gas too low: gas {have}, minimum needed {want}"))
}

/// The transaction's gas limit is below EIP-7623's floor.
#[must_use]
pub fn floor_gas_too_low(have: u64, want: u64) -> Refusal {
    refusal(format!("insufficient gas for floor data gas cost: gas {have}, minimum needed {want}"))
}

/// The transaction allows more gas than a block has.
#[must_use]
pub fn exceeds_block_gas_limit() -> Refusal {
    refusal("exceeds block gas limit")
}

/// The transaction allows more gas than EIP-7825 does.
#[must_use]
pub fn gas_limit_too_high(cap: u64, found: u64) -> Refusal {
    refusal(format!("transaction gas limit too high (cap: {cap}, tx: {found})"))
}

/// The transaction offers less than the block's base fee.
#[must_use]
pub fn fee_cap_too_low(sender: Address, fee_cap: u128, base_fee: u64) -> Refusal {
    refusal(format!(
        "max fee per gas less than block base fee: address {sender}, maxFeePerGas: {fee_cap}, baseFee: {base_fee}"
    ))
}

/// The tip is above the fee that it is part of.
#[must_use]
pub fn tip_above_fee_cap() -> Refusal {
    refusal("max priority fee per gas higher than max fee per gas")
}

/// The signature does not name a sender, or not one on this chain.
#[must_use]
pub fn invalid_sender(why: &str) -> Refusal {
    refusal(format!("invalid sender: {why}"))
}

/// Signed for another chain.
#[must_use]
pub fn wrong_chain(expected: u64, found: u64) -> Refusal {
    invalid_sender(&format!("invalid chain id for signer: have {found} want {expected}"))
}

/// Signed for every chain, which this chain does not allow.
#[must_use]
pub fn unprotected() -> Refusal {
    refusal("only replay-protected (EIP-155) transactions allowed over RPC")
}

/// A transaction type that is not known, not yet enabled or not wanted.
#[must_use]
pub fn type_not_supported(why: &str) -> Refusal {
    refusal(format!("transaction type not supported: {why}"))
}

/// Larger than a transaction may be.
#[must_use]
pub fn oversized(found: usize, limit: usize) -> Refusal {
    refusal(format!("oversized data: transaction size {found}, limit {limit}"))
}

/// The nonce is the last one, which EIP-2681 forbids.
#[must_use]
pub fn nonce_max() -> Refusal {
    refusal("nonce has max value")
}

/// The initialisation code of a new contract is too long.
#[must_use]
pub fn init_code_too_large(found: usize, limit: usize) -> Refusal {
    refusal(format!("max initcode size exceeded: code size {found} limit {limit}"))
}

/// An EIP-7702 transaction that authorizes nothing.
#[must_use]
pub fn empty_authorization_list() -> Refusal {
    refusal("set code tx must have at least one authorization tuple")
}

/// Too many callers wait for the same transaction.
#[must_use]
pub fn already_known() -> Refusal {
    refusal("already known")
}

/// Another transaction with the same nonce waits and is not outbid.
#[must_use]
pub fn replacement_underpriced() -> Refusal {
    refusal("replacement transaction underpriced")
}

/// Outbid by another transaction with the same nonce.
#[must_use]
pub fn replaced(by: B256) -> Refusal {
    refusal(format!("transaction was replaced by {by} with the same nonce"))
}

/// The account has too many transactions waiting.
#[must_use]
pub fn account_limit(pooled: usize) -> Refusal {
    refusal(format!("account limit exceeded: pooled {pooled} txs"))
}

/// The pool has no room.
#[must_use]
pub fn pool_full() -> Refusal {
    refusal("txpool is full")
}

/// Changes so much that no entry of the ledger holds it.
#[must_use]
pub fn writes_too_much() -> Refusal {
    refusal(
        "transaction writes more than an entry of the ledger holds: divide its work among several",
    )
}

/// Waited too long for its turn.
#[must_use]
pub fn expired(waited_ms: u64) -> Refusal {
    refusal(format!("transaction expired: not executed within {waited_ms} ms"))
}

/// What the executor found wrong with a transaction, as the pool would have said it.
#[must_use]
pub fn invalid(
    sender: Address,
    gas_limit: u64,
    fee_cap: u128,
    base_fee: u64,
    why: &InvalidTransaction,
) -> Refusal {
    match why {
        InvalidTransaction::NonceTooLow { tx, state } => nonce_too_low(*state, *tx),
        InvalidTransaction::NonceTooHigh { tx, state } => nonce_gap(*state, *tx),
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            insufficient_funds(**balance, **fee)
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            intrinsic_gas_too_low(*gas_limit, *initial_gas)
        }
        InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            floor_gas_too_low(*gas_limit, *gas_floor)
        }
        InvalidTransaction::CallerGasLimitMoreThanBlock => exceeds_block_gas_limit(),
        InvalidTransaction::TxGasLimitGreaterThanCap { cap, .. } => {
            gas_limit_too_high(*cap, gas_limit)
        }
        InvalidTransaction::GasPriceLessThanBasefee => fee_cap_too_low(sender, fee_cap, base_fee),
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => tip_above_fee_cap(),
        InvalidTransaction::RejectCallerWithCode => {
            refusal(format!("sender not an eoa: address {sender}"))
        }
        InvalidTransaction::NonceOverflowInTransaction => nonce_max(),
        InvalidTransaction::OverflowPaymentInTransaction => {
            refusal("insufficient funds for gas * price + value: required balance exceeds 256 bits")
        }
        InvalidTransaction::CreateInitCodeSizeLimit => refusal("max initcode size exceeded"),
        InvalidTransaction::EmptyAuthorizationList => empty_authorization_list(),
        InvalidTransaction::Eip2930NotSupported
        | InvalidTransaction::Eip1559NotSupported
        | InvalidTransaction::Eip4844NotSupported
        | InvalidTransaction::Eip7702NotSupported
        | InvalidTransaction::AccessListNotSupported
        | InvalidTransaction::AuthorizationListNotSupported => type_not_supported(&why.to_string()),
        other => refusal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_tools_look_for_are_there() {
        let sender = Address::repeat_byte(7);
        let cases = [
            (nonce_too_low(5, 3), "nonce too low: next nonce 5, tx nonce 3"),
            (nonce_gap(5, 9), "nonce too high: next nonce 5, tx nonce 9"),
            (
                insufficient_funds(U256::from(3), U256::from(10)),
                "insufficient funds for gas * price + value: balance 3, tx cost 10, overshot 7",
            ),
            (
                intrinsic_gas_too_low(20_999, 21_000),
                "intrinsic gas too low: gas 20999, minimum needed 21000",
            ),
            (exceeds_block_gas_limit(), "exceeds block gas limit"),
            (
                fee_cap_too_low(sender, 1, 7),
                "max fee per gas less than block base fee: address 0x0707070707070707070707070707070707070707, \
                 maxFeePerGas: 1, baseFee: 7",
            ),
            (replacement_underpriced(), "replacement transaction underpriced"),
            (already_known(), "already known"),
            (unprotected(), "only replay-protected (EIP-155) transactions allowed over RPC"),
            (wrong_chain(1, 5), "invalid sender: invalid chain id for signer: have 5 want 1"),
            (
                gas_limit_too_high(16_777_216, 20_000_000),
                "transaction gas limit too high (cap: 16777216, tx: 20000000)",
            ),
        ];
        for (refusal, words) in cases {
            assert_eq!(refusal.message, words);
        }
        assert_eq!(nonce_gap(255, 300).data.as_deref(), Some("0xff"));
    }
}
