//! Generated transactions: who sends what to whom, and what the chain needs before.

use alloy_primitives::{Address, Bytes, TxKind, U64, U256, hex};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::{
    args::{LoadArgs, Workload},
    client::Connection,
    plan::Plan,
    rpc,
    sign::{self, Draft, Fees, Keys},
};

/// Asks the node for what signing needs, then signs everything.
pub(crate) async fn generate(connection: &mut Connection, args: &LoadArgs) -> anyhow::Result<Plan> {
    ensure!(args.senders > 0, "at least one sender is needed");
    let fees = fees(connection, args).await?;
    let funders = Keys::well_known();
    // One more than the senders: the last creates the token and hands it out.
    let keys = Keys::generated(args.seed, args.senders + 1);
    let funder_nonces = nonces(connection, &funders).await?;
    let mut nonces = nonces(connection, &keys).await?;

    let funding = funding(&funders, funder_nonces, &keys);
    let mut setup = vec![sign::sign(&funders, &funding, fees)];
    let mut token = Address::ZERO;
    if args.workload != Workload::Transfers {
        let creator = args.senders;
        token = keys.address(creator).create(nonces[creator]);
        setup.push(sign::sign(&keys, &[creation(creator, &mut nonces)], fees));
        setup.push(sign::sign(&keys, &distribution(&keys, token, &mut nonces), fees));
    }
    let drafts = load(args, &keys, token, &mut nonces);
    Ok(Plan { setup, load: sign::sign(&keys, &drafts, fees) })
}

async fn fees(connection: &mut Connection, args: &LoadArgs) -> anyhow::Result<Fees> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        #[serde(default)]
        base_fee_per_gas: Option<U256>,
    }
    let chain_id: U64 = rpc::call(connection, "eth_chainId", json!([])).await?;
    let head: Head =
        rpc::call(connection, "eth_getBlockByNumber", json!(["latest", false])).await?;
    let gas_price = match args.gas_price {
        Some(price) => price,
        None if head.base_fee_per_gas.is_none_or(|fee| fee.is_zero()) => 0,
        None => {
            let price: U256 = rpc::call(connection, "eth_gasPrice", json!([])).await?;
            price.saturating_to::<u128>().saturating_mul(2)
        }
    };
    Ok(Fees { chain_id: chain_id.to(), gas_price, envelope: args.envelope })
}

async fn nonces(connection: &mut Connection, keys: &Keys) -> anyhow::Result<Vec<u64>> {
    let mut nonces = Vec::with_capacity(keys.len());
    let addresses: Vec<Address> = (0..keys.len()).map(|index| keys.address(index)).collect();
    for group in addresses.chunks(CALLS_PER_BATCH) {
        let calls = group
            .iter()
            .map(|address| ("eth_getTransactionCount", json!([address, "pending"])))
            .collect();
        let answers: Vec<U64> =
            rpc::call_all(connection, calls).await.context("asking for nonces")?;
        nonces.extend(answers.iter().map(|nonce| nonce.to::<u64>()));
    }
    Ok(nonces)
}

fn funding(funders: &Keys, mut nonces: Vec<u64>, keys: &Keys) -> Vec<Draft> {
    (0..keys.len())
        .map(|index| {
            let key = index % funders.len();
            plain(key, next(&mut nonces, key), keys.address(index), FUNDING_WEI)
        })
        .collect()
}

fn creation(creator: usize, nonces: &mut [u64]) -> Draft {
    let mut input = hex::decode(TOKEN_HEX.trim()).expect("the committed bytecode is hexadecimal");
    input.extend(SUPPLY.to_be_bytes::<32>());
    Draft {
        key: creator,
        nonce: next(nonces, creator),
        to: TxKind::Create,
        value: U256::ZERO,
        gas: CREATION_GAS,
        input: input.into(),
    }
}

fn distribution(keys: &Keys, token: Address, nonces: &mut [u64]) -> Vec<Draft> {
    let creator = keys.len() - 1;
    (0..creator)
        .map(|index| {
            let input = token_call(TRANSFER, keys.address(index), SHARE);
            token_draft(creator, next(nonces, creator), token, input)
        })
        .collect()
}

fn load(args: &LoadArgs, keys: &Keys, token: Address, nonces: &mut [u64]) -> Vec<Draft> {
    (0..args.count.unwrap_or(COUNT_DEFAULT))
        .map(|index| {
            let (round, key) = (index / args.senders, index % args.senders);
            let nonce = next(nonces, key);
            let to = keys.address((key + 1 + round) % args.senders);
            let act = match args.workload {
                Workload::Transfers => Act::Plain,
                Workload::Erc20 => Act::Token,
                // The factor keeps a sender from doing the same thing in every round.
                Workload::Mixed => Act::mixed((round + key * 7) % 20),
            };
            let input = match act {
                Act::Plain => return plain(key, nonce, to, u128::from(args.value)),
                Act::Token => token_call(TRANSFER, to, U256::from(args.value)),
                Act::Approve => token_call(APPROVE, to, U256::from(nonce)),
                Act::Revert => token_call(TRANSFER, to, U256::MAX),
            };
            token_draft(key, nonce, token, input)
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Plain,
    Token,
    Approve,
    Revert,
}

impl Act {
    /// Of every 20: 12 plain, 6 token transfers, 1 approval, 1 that reverts.
    const fn mixed(place: usize) -> Self {
        match place {
            0..12 => Self::Plain,
            12..18 => Self::Token,
            18 => Self::Approve,
            _ => Self::Revert,
        }
    }
}

fn plain(key: usize, nonce: u64, to: Address, wei: u128) -> Draft {
    Draft {
        key,
        nonce,
        to: TxKind::Call(to),
        value: U256::from(wei),
        gas: 21_000,
        input: Bytes::new(),
    }
}

fn token_draft(key: usize, nonce: u64, token: Address, input: Bytes) -> Draft {
    Draft { key, nonce, to: TxKind::Call(token), value: U256::ZERO, gas: TOKEN_GAS, input }
}

fn token_call(selector: [u8; 4], account: Address, value: U256) -> Bytes {
    let mut input = Vec::with_capacity(68);
    input.extend(selector);
    input.extend(account.into_word());
    input.extend(value.to_be_bytes::<32>());
    input.into()
}

fn next(nonces: &mut [u64], key: usize) -> u64 {
    let nonce = nonces[key];
    nonces[key] += 1;
    nonce
}

/// `transfer(address,uint256)`.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// `approve(address,uint256)`.
const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];
/// Creation bytecode of `contracts/Token.sol`.
const TOKEN_HEX: &str = include_str!("../contracts/Token.hex");
const SUPPLY: U256 = U256::from_limbs([0, 0, 0, 1]);
const SHARE: U256 = U256::from_limbs([0, 1, 0, 0]);
/// Enough for the token's creation, with room for forks that charge more for code.
const CREATION_GAS: u64 = 1_500_000;
/// Enough for any of the token's calls on new slots.
const TOKEN_GAS: u64 = 70_000;
/// One ether: the fees of many transactions where fees are charged.
const FUNDING_WEI: u128 = 1_000_000_000_000_000_000;
const COUNT_DEFAULT: usize = 10_000;
/// Well under what servers accept in one batch.
const CALLS_PER_BATCH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, keccak256};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    #[test]
    fn selectors_are_those_of_their_signatures() {
        assert_eq!(TRANSFER, keccak256("transfer(address,uint256)")[..4]);
        assert_eq!(APPROVE, keccak256("approve(address,uint256)")[..4]);
    }

    #[test]
    fn nonces_have_no_gaps_and_the_mix_is_as_documented() {
        let args =
            Line::parse_from(["x", "--count", "2000", "--senders", "20", "--workload", "mixed"])
                .load;
        let keys = Keys::generated(0, 21);
        let token = address!("00000000000000000000000000000000000000aa");
        let mut nonces = vec![5; 21];
        let drafts = load(&args, &keys, token, &mut nonces);
        for key in 0..20 {
            let own: Vec<u64> =
                drafts.iter().filter(|draft| draft.key == key).map(|draft| draft.nonce).collect();
            assert_eq!(own, (5..105).collect::<Vec<u64>>());
        }
        let to_token = drafts.iter().filter(|draft| draft.to == TxKind::Call(token));
        let reverting = to_token.clone().filter(|draft| draft.input.ends_with(&[0xff; 32]));
        assert_eq!((to_token.count(), reverting.count()), (800, 100));
    }

    #[test]
    fn funding_reaches_every_generated_account_in_order() {
        let funders = Keys::well_known();
        let drafts = funding(&funders, vec![3; 10], &Keys::generated(1, 25));
        assert_eq!(drafts.len(), 25);
        assert_eq!((drafts[20].key, drafts[20].nonce), (0, 5));
    }
}
