//! Reading geth's JSON.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    BLOCK_GAS_LIMIT_DEFAULT, BLOCK_GAS_LIMIT_MAX, BLOCK_GAS_LIMIT_MPT_MAX, ChainConfig,
    EXTRA_DATA_BYTES_MAX, Fees, Genesis, GenesisAccount, ParseGenesisError, StateRoot,
};
use crate::executor::BASE_FEE_INITIAL;
use crate::fork::{Activation, ForkSchedule, LATEST};

pub(super) fn parse(text: &str) -> Result<Genesis, ParseGenesisError> {
    let file: GenesisFile = serde_json::from_str(text).map_err(ParseGenesisError::Json)?;
    let named = file.base_fee_per_gas.map(|fee| fee.0);
    let (fees, base_fee) = match (file.config.coco.fees, named) {
        (Some(false), Some(base_fee @ 1..)) => return Err(ParseGenesisError::BaseFee { base_fee }),
        (Some(true), base_fee) => (Fees::On, base_fee.unwrap_or(BASE_FEE_INITIAL)),
        (None, Some(base_fee @ 1..)) => (Fees::On, base_fee),
        (Some(false) | None, Some(0) | None) => (Fees::Off, 0),
    };
    let state_root = match file.config.coco.state_root {
        StateRootOption::Off => StateRoot::Off,
        StateRootOption::Mpt => StateRoot::Mpt,
    };
    let gas_limit = file.gas_limit.map_or(BLOCK_GAS_LIMIT_DEFAULT, |limit| limit.0);
    let limit = match state_root {
        StateRoot::Off => BLOCK_GAS_LIMIT_MAX,
        StateRoot::Mpt => BLOCK_GAS_LIMIT_MPT_MAX,
    };
    if gas_limit == 0 || gas_limit > limit {
        return Err(ParseGenesisError::GasLimit { found: gas_limit, limit });
    }
    let extra_data = file.extra_data.unwrap_or_default();
    if extra_data.len() > EXTRA_DATA_BYTES_MAX {
        return Err(ParseGenesisError::ExtraData { found: extra_data.len() });
    }
    let config = ChainConfig {
        chain_id: file.config.chain_id.0,
        forks: schedule(&file.config)?,
        state_root,
        fees,
        gas_limit,
        beneficiary: file.coinbase.unwrap_or_default(),
        extra_data,
    };
    Ok(Genesis {
        config,
        timestamp: file.timestamp.map_or(0, |timestamp| timestamp.0),
        base_fee,
        difficulty: file.difficulty.map_or(U256::ZERO, |difficulty| difficulty.0),
        mix_hash: file.mix_hash.unwrap_or_default(),
        nonce: file.nonce.map_or(0, |nonce| nonce.0),
        alloc: file
            .alloc
            .into_iter()
            .map(|(address, account)| (address.0, account.into()))
            .collect(),
    })
}

fn schedule(config: &ConfigFile) -> Result<ForkSchedule, ParseGenesisError> {
    let constantinople_alone = match (config.constantinople_block, config.petersburg_block) {
        (Some(from), Some(to)) => from.0 < to.0,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if constantinople_alone {
        return Err(ParseGenesisError::Fork { field: "constantinopleBlock" });
    }
    if config.amsterdam_time.is_some() {
        return Err(ParseGenesisError::Fork { field: "amsterdamTime" });
    }
    let times = [
        (SpecId::SHANGHAI, config.shanghai_time),
        (SpecId::CANCUN, config.cancun_time),
        (SpecId::PRAGUE, config.prague_time),
        (SpecId::OSAKA, config.osaka_time),
    ];
    let merged = config.terminal_total_difficulty.is_some()
        || config.terminal_total_difficulty_passed == Some(true)
        || times.iter().any(|(_, time)| time.is_some());
    let merge = config
        .merge_netsplit_block
        .or_else(|| merged.then_some(config.london_block.unwrap_or(Quantity(0))));
    let blocks = [
        (SpecId::HOMESTEAD, config.homestead_block),
        (SpecId::TANGERINE, config.eip150_block),
        (SpecId::SPURIOUS_DRAGON, config.eip158_block.or(config.eip155_block)),
        (SpecId::BYZANTIUM, config.byzantium_block),
        (SpecId::PETERSBURG, config.petersburg_block),
        (SpecId::ISTANBUL, config.istanbul_block),
        (SpecId::BERLIN, config.berlin_block),
        (SpecId::LONDON, config.london_block),
        (SpecId::MERGE, merge),
    ];
    let by_block =
        blocks.into_iter().filter_map(|(spec, at)| Some((spec, Activation::Block(at?.0))));
    let by_time = times.into_iter().filter_map(|(spec, at)| Some((spec, Activation::Time(at?.0))));
    let forks: Vec<_> = by_block.chain(by_time).collect();
    if forks.is_empty() {
        return Ok(ForkSchedule::always(LATEST));
    }
    ForkSchedule::new(forks).ok_or(ParseGenesisError::ForkOrder)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenesisFile {
    config: ConfigFile,
    #[serde(default)]
    alloc: BTreeMap<AddressText, AccountFile>,
    gas_limit: Option<Quantity>,
    base_fee_per_gas: Option<Quantity>,
    coinbase: Option<Address>,
    extra_data: Option<Bytes>,
    timestamp: Option<Quantity>,
    difficulty: Option<Word>,
    mix_hash: Option<B256>,
    nonce: Option<Quantity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigFile {
    chain_id: Quantity,
    homestead_block: Option<Quantity>,
    eip150_block: Option<Quantity>,
    eip155_block: Option<Quantity>,
    eip158_block: Option<Quantity>,
    byzantium_block: Option<Quantity>,
    constantinople_block: Option<Quantity>,
    petersburg_block: Option<Quantity>,
    istanbul_block: Option<Quantity>,
    berlin_block: Option<Quantity>,
    london_block: Option<Quantity>,
    merge_netsplit_block: Option<Quantity>,
    terminal_total_difficulty: Option<serde::de::IgnoredAny>,
    terminal_total_difficulty_passed: Option<bool>,
    shanghai_time: Option<Quantity>,
    cancun_time: Option<Quantity>,
    prague_time: Option<Quantity>,
    osaka_time: Option<Quantity>,
    amsterdam_time: Option<Quantity>,
    #[serde(default)]
    coco: Options,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    #[serde(default)]
    state_root: StateRootOption,
    fees: Option<bool>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateRootOption {
    #[default]
    Off,
    Mpt,
}

#[derive(Deserialize)]
struct AccountFile {
    #[serde(default)]
    balance: Word,
    #[serde(default)]
    nonce: Quantity,
    #[serde(default)]
    code: Bytes,
    #[serde(default)]
    storage: BTreeMap<Word, Word>,
}

impl From<AccountFile> for GenesisAccount {
    fn from(file: AccountFile) -> Self {
        let storage = file.storage.into_iter().map(|(slot, word)| (slot.0, word.0)).collect();
        Self { balance: file.balance.0, nonce: file.nonce.0, code: file.code, storage }
    }
}

/// An address, with or without `0x`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct AddressText(Address);

impl<'de> Deserialize<'de> for AddressText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| D::Error::custom(format_args!("{text:?} is no address")))
    }
}

/// A number of 256 bits: hexadecimal with `0x`, or decimal, as text; or a JSON number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Word(U256);

/// The same below 2^64.
#[derive(Clone, Copy, Default)]
struct Quantity(u64);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(U256::from(number))),
            Form::Text(text) => {
                let parsed = match text.strip_prefix("0x") {
                    Some("") => Ok(U256::ZERO),
                    Some(digits) => U256::from_str_radix(digits, 16),
                    None => U256::from_str_radix(&text, 10),
                };
                parsed.map(Self).map_err(|_| {
                    D::Error::custom(format_args!("{text:?} is no number of 256 bits"))
                })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Word(word) = Word::deserialize(deserializer)?;
        let over = |_| D::Error::custom(format_args!("{word} does not fit 64 bits"));
        u64::try_from(word).map(Self).map_err(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_of(config: &str) -> Result<SpecId, ParseGenesisError> {
        parse(&format!(r#"{{"config": {config}}}"#)).map(|genesis| genesis.config.spec(0, 0))
    }

    #[test]
    fn forks_follow_the_file() {
        for (config, expected) in [
            (r#"{"chainId": 1}"#, SpecId::OSAKA),
            (r#"{"chainId": 1, "londonBlock": 0}"#, SpecId::LONDON),
            (r#"{"chainId": 1, "londonBlock": 0, "terminalTotalDifficulty": 0}"#, SpecId::MERGE),
            (
                r#"{"chainId": 1, "londonBlock": 0, "shanghaiTime": 0, "cancunTime": 5}"#,
                SpecId::SHANGHAI,
            ),
            (r#"{"chainId": 1, "pragueTime": "0x0"}"#, SpecId::PRAGUE),
            (r#"{"chainId": 1, "byzantiumBlock": 0, "londonBlock": 5}"#, SpecId::BYZANTIUM),
            (r#"{"chainId": 1, "constantinopleBlock": 3, "petersburgBlock": 3}"#, SpecId::FRONTIER),
        ] {
            assert_eq!(spec_of(config).expect(config), expected, "{config}");
        }
        for wrong in [
            r#"{"chainId": 1, "constantinopleBlock": 0}"#,
            r#"{"chainId": 1, "constantinopleBlock": 0, "petersburgBlock": 1}"#,
            r#"{"chainId": 1, "amsterdamTime": 0}"#,
            r#"{"chainId": 1, "cancunTime": 5, "pragueTime": 4}"#,
            r#"{"chainId": 1, "coco": {"stateroot": "mpt"}}"#,
            r#"{"chainId": 1, "coco": {"stateRoot": "none"}}"#,
            "{}",
        ] {
            assert!(spec_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_full_file_is_read() {
        let genesis = parse(
            r#"{
                "config": {"chainId": 1337, "clique": {"period": 5}, "coco": {"stateRoot": "mpt"}},
                "gasLimit": "0x1c9c380", "baseFeePerGas": "1000000000", "timestamp": "0x5", "nonce": "0x42",
                "coinbase": "0x00000000000000000000000000000000000000cc", "extraData": "0x0102",
                "alloc": {
                    "00000000000000000000000000000000000000aa": {"balance": "1000"},
                    "0x00000000000000000000000000000000000000bb": {
                        "balance": "0x10", "nonce": "0x1", "code": "0x6000", "storage": {"0x1": "0x02"}
                    }
                }
            }"#,
        )
        .expect("it is well formed");
        assert_eq!((genesis.config.chain_id, genesis.config.gas_limit), (1337, 30_000_000));
        assert_eq!((genesis.config.state_root, genesis.config.fees), (StateRoot::Mpt, Fees::On));
        assert_eq!((genesis.base_fee, genesis.timestamp, genesis.nonce), (1_000_000_000, 5, 0x42));
        let balances: Vec<U256> = genesis.alloc.values().map(|account| account.balance).collect();
        assert_eq!(balances, [U256::from(1000), U256::from(16)]);
        let contract = genesis.alloc.values().last().expect("there are two");
        assert_eq!((contract.nonce, contract.code.len()), (1, 2));
        assert_eq!(contract.storage, BTreeMap::from([(U256::from(1), U256::from(2))]));
        let bytes = genesis.config.encode();
        assert_eq!(ChainConfig::decode(&bytes), Ok(genesis.config));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let with = |fields: &str| {
            parse(&format!(r#"{{"config": {{"chainId": 1}}, {fields}}}"#)).map(|_| ())
        };
        for (gas, ok) in
            [(0, false), (1, true), (BLOCK_GAS_LIMIT_MAX, true), (BLOCK_GAS_LIMIT_MAX + 1, false)]
        {
            assert_eq!(with(&format!(r#""gasLimit": {gas}"#)).is_ok(), ok, "{gas}");
        }
        let mpt = |gas| {
            let options = r#"{"chainId": 1, "coco": {"stateRoot": "mpt"}}"#;
            parse(&format!(r#"{{"config": {options}, "gasLimit": {gas}}}"#)).is_ok()
        };
        assert!(mpt(BLOCK_GAS_LIMIT_MPT_MAX) && !mpt(BLOCK_GAS_LIMIT_MPT_MAX + 1));
        for (bytes, ok) in [(EXTRA_DATA_BYTES_MAX, true), (EXTRA_DATA_BYTES_MAX + 1, false)] {
            assert_eq!(
                with(&format!(r#""extraData": "0x{}""#, "00".repeat(bytes))).is_ok(),
                ok,
                "{bytes}"
            );
        }
        let fees_off = r#"{"config": {"chainId": 1, "coco": {"fees": false}}, "baseFeePerGas": 7}"#;
        assert!(matches!(parse(fees_off), Err(ParseGenesisError::BaseFee { base_fee: 7 })));
    }
}
