//! The methods and their parameters: everything that can be refused without looking at the state.

use std::collections::BTreeMap;

use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Call, Query, RpcConfig, Submit, Wait,
    error::RpcError,
    filters::FilterId,
    logs::Criteria,
    params::{self, BlockId, Params, Wrong},
    request::Id,
};
use crate::executor::{AccountOverride, CallRequest};

/// How much of a block's transactions is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bodies {
    Hashes,
    Full,
}

/// A query with its parameters.
#[derive(Clone, Debug)]
pub(super) enum Method {
    Accounts,
    Balance(Address, BlockId),
    BlobBaseFee,
    Block(BlockId, Bodies),
    BlockNumber,
    BlockReceipts(BlockId),
    Call(Box<CallRequest>, BlockId),
    ChainId,
    ClientVersion,
    Code(Address, BlockId),
    EstimateGas(Box<CallRequest>, BlockId),
    FeeHistory {
        blocks: u64,
        newest: BlockId,
        percentiles: Option<Vec<f64>>,
    },
    FilterChanges(FilterId),
    FilterLogs(FilterId),
    GasPrice,
    Logs(Criteria),
    MaxPriorityFee,
    NetVersion,
    NewBlockFilter,
    NewFilter(Criteria),
    NewPendingFilter,
    PeerCount,
    /// A constant answer, as JSON.
    Constant(&'static str),
    RawTransaction(B256),
    RawTransactionAt(BlockId, u64),
    Receipt(B256),
    Sha3(Bytes),
    Storage(Address, U256, BlockId),
    Transaction(B256),
    TransactionAt(BlockId, u64),
    TransactionCount(Address, BlockId),
    TransactionCountOf(BlockId),
    UncleCountOf(BlockId),
    UninstallFilter(FilterId),
}

/// What a request asks for.
pub(super) enum Request {
    Query(&'static str, Method),
    Submit { raw: Bytes, wait: Wait },
}

impl Request {
    pub(super) fn call(self, id: Id) -> Call {
        match self {
            Self::Query(name, method) => Call::Query(Query { id, name, method }),
            Self::Submit { raw, wait } => Call::Submit(Submit { id, raw, wait }),
        }
    }
}

/// Reads the parameters of the method called `name`.
pub(super) fn parse(
    name: &str,
    raw: Option<&RawValue>,
    config: &RpcConfig,
) -> Result<Request, RpcError> {
    let parsers = [constant, account, block, transaction, execution, filter, submission];
    for parser in parsers {
        if let Some(request) = parser(name, raw, config) {
            return request;
        }
    }
    Err(RpcError::method_not_found(name))
}

type Outcome = Option<Result<Request, RpcError>>;

fn query(name: &'static str, method: Result<Method, RpcError>) -> Outcome {
    Some(method.map(|method| Request::Query(name, method)))
}

fn constant(name: &str, raw: Option<&RawValue>, _: &RpcConfig) -> Outcome {
    let (name, method) = match name {
        "web3_clientVersion" => ("web3_clientVersion", Method::ClientVersion),
        "net_version" => ("net_version", Method::NetVersion),
        "net_listening" => ("net_listening", Method::Constant("true")),
        "net_peerCount" => ("net_peerCount", Method::PeerCount),
        "eth_chainId" => ("eth_chainId", Method::ChainId),
        "eth_blockNumber" => ("eth_blockNumber", Method::BlockNumber),
        "eth_syncing" => ("eth_syncing", Method::Constant("false")),
        "eth_accounts" => ("eth_accounts", Method::Accounts),
        "eth_gasPrice" => ("eth_gasPrice", Method::GasPrice),
        "eth_maxPriorityFeePerGas" => ("eth_maxPriorityFeePerGas", Method::MaxPriorityFee),
        "eth_blobBaseFee" => ("eth_blobBaseFee", Method::BlobBaseFee),
        "txpool_status" => {
            ("txpool_status", Method::Constant(r#"{"pending":"0x0","queued":"0x0"}"#))
        }
        "txpool_content" => ("txpool_content", Method::Constant(r#"{"pending":{},"queued":{}}"#)),
        "txpool_inspect" => ("txpool_inspect", Method::Constant(r#"{"pending":{},"queued":{}}"#)),
        "web3_sha3" => {
            let sha3 = |params: Params<'_>| params.required(0, params::bytes).map(Method::Sha3);
            return query("web3_sha3", Params::read(raw, 1).and_then(sha3));
        }
        "txpool_contentFrom" => {
            let empty = |params: Params<'_>| {
                params.required(0, params::address)?;
                Ok(Method::Constant(r#"{"pending":{},"queued":{}}"#))
            };
            return query("txpool_contentFrom", Params::read(raw, 1).and_then(empty));
        }
        "eth_subscribe" | "eth_unsubscribe" => {
            return Some(Err(RpcError::new(
                super::error::CODE_METHOD_NOT_FOUND,
                "notifications not supported",
            )));
        }
        _ => return None,
    };
    query(name, Params::read(raw, 0).map(|_| method))
}

fn account(name: &str, raw: Option<&RawValue>, _: &RpcConfig) -> Outcome {
    let of = |make: fn(Address, BlockId) -> Method| {
        let params = Params::read(raw, 2)?;
        Ok(make(params.required(0, params::address)?, params.block(1)?))
    };
    match name {
        "eth_getBalance" => query("eth_getBalance", of(Method::Balance)),
        "eth_getCode" => query("eth_getCode", of(Method::Code)),
        "eth_getTransactionCount" => query("eth_getTransactionCount", of(Method::TransactionCount)),
        "eth_getStorageAt" => {
            let storage = |params: Params<'_>| {
                let address = params.required(0, params::address)?;
                let slot = params.required(1, Ok)?;
                Ok(Method::Storage(address, params::slot(slot)?, params.block(2)?))
            };
            query("eth_getStorageAt", Params::read(raw, 3).and_then(storage))
        }
        _ => None,
    }
}

fn block(name: &str, raw: Option<&RawValue>, _: &RpcConfig) -> Outcome {
    type ReadBlock = fn(&RawValue) -> Result<BlockId, Wrong>;
    let by_number: ReadBlock = params::block_number;
    let by_hash: ReadBlock = |value| params::hash(value).map(BlockId::Hash);
    let whole = |read: ReadBlock| {
        let params = Params::read(raw, 2)?;
        let full = params.optional(1, params::boolean)?.unwrap_or(false);
        Ok(Method::Block(
            params.required(0, read)?,
            if full { Bodies::Full } else { Bodies::Hashes },
        ))
    };
    let of = |read: ReadBlock, make: fn(BlockId) -> Method| {
        Ok(make(Params::read(raw, 1)?.required(0, read)?))
    };
    let at = |read: ReadBlock, make: fn(BlockId, u64) -> Method| {
        let params = Params::read(raw, 2)?;
        Ok(make(params.required(0, read)?, params.required(1, params::quantity)?))
    };
    // There are no uncles, but the parameters are read all the same.
    let uncle: fn(BlockId, u64) -> Method = |_, _| Method::Constant("null");
    match name {
        "eth_getBlockByNumber" => query("eth_getBlockByNumber", whole(by_number)),
        "eth_getBlockByHash" => query("eth_getBlockByHash", whole(by_hash)),
        "eth_getBlockReceipts" => {
            query("eth_getBlockReceipts", of(params::block_id, Method::BlockReceipts))
        }
        "eth_getBlockTransactionCountByNumber" => {
            query("eth_getBlockTransactionCountByNumber", of(by_number, Method::TransactionCountOf))
        }
        "eth_getBlockTransactionCountByHash" => {
            query("eth_getBlockTransactionCountByHash", of(by_hash, Method::TransactionCountOf))
        }
        "eth_getUncleCountByBlockNumber" => {
            query("eth_getUncleCountByBlockNumber", of(by_number, Method::UncleCountOf))
        }
        "eth_getUncleCountByBlockHash" => {
            query("eth_getUncleCountByBlockHash", of(by_hash, Method::UncleCountOf))
        }
        "eth_getUncleByBlockNumberAndIndex" => {
            query("eth_getUncleByBlockNumberAndIndex", at(by_number, uncle))
        }
        "eth_getUncleByBlockHashAndIndex" => {
            query("eth_getUncleByBlockHashAndIndex", at(by_hash, uncle))
        }
        "eth_getTransactionByBlockNumberAndIndex" => {
            query("eth_getTransactionByBlockNumberAndIndex", at(by_number, Method::TransactionAt))
        }
        "eth_getTransactionByBlockHashAndIndex" => {
            query("eth_getTransactionByBlockHashAndIndex", at(by_hash, Method::TransactionAt))
        }
        "eth_getRawTransactionByBlockNumberAndIndex" => query(
            "eth_getRawTransactionByBlockNumberAndIndex",
            at(by_number, Method::RawTransactionAt),
        ),
        "eth_getRawTransactionByBlockHashAndIndex" => {
            query("eth_getRawTransactionByBlockHashAndIndex", at(by_hash, Method::RawTransactionAt))
        }
        _ => None,
    }
}

fn transaction(name: &str, raw: Option<&RawValue>, _: &RpcConfig) -> Outcome {
    let by_hash =
        |make: fn(B256) -> Method| Ok(make(Params::read(raw, 1)?.required(0, params::hash)?));
    match name {
        "eth_getTransactionByHash" => {
            query("eth_getTransactionByHash", by_hash(Method::Transaction))
        }
        "eth_getTransactionReceipt" => query("eth_getTransactionReceipt", by_hash(Method::Receipt)),
        "eth_getRawTransactionByHash" => {
            query("eth_getRawTransactionByHash", by_hash(Method::RawTransaction))
        }
        _ => None,
    }
}

fn execution(name: &str, raw: Option<&RawValue>, config: &RpcConfig) -> Outcome {
    let request = || {
        let params = Params::read(raw, 4)?;
        let mut request = params.required(0, |value| Ok(call_request(value, config)))??;
        let block = params.block(1)?;
        if let Some(overrides) = params.optional(2, overrides)? {
            request.overrides = overrides;
        }
        if params.optional(3, Ok)?.is_some_and(|value| value.get() != "{}") {
            return Err(RpcError::params("block overrides are not supported"));
        }
        Ok((Box::new(request), block))
    };
    match name {
        "eth_call" => {
            query("eth_call", request().map(|(request, block)| Method::Call(request, block)))
        }
        "eth_estimateGas" => query(
            "eth_estimateGas",
            request().map(|(request, block)| Method::EstimateGas(request, block)),
        ),
        "eth_feeHistory" => query("eth_feeHistory", fee_history(raw)),
        _ => None,
    }
}

fn filter(name: &str, raw: Option<&RawValue>, _: &RpcConfig) -> Outcome {
    let criteria =
        |make: fn(Criteria) -> Method| Ok(make(Params::read(raw, 1)?.required(0, Criteria::read)?));
    let by_id =
        |make: fn(FilterId) -> Method| Ok(make(Params::read(raw, 1)?.required(0, FilterId::read)?));
    let new = |method: Method| Params::read(raw, 1).map(|_| method);
    match name {
        "eth_getLogs" => query("eth_getLogs", criteria(Method::Logs)),
        "eth_newFilter" => query("eth_newFilter", criteria(Method::NewFilter)),
        "eth_newBlockFilter" => query("eth_newBlockFilter", new(Method::NewBlockFilter)),
        "eth_newPendingTransactionFilter" => {
            query("eth_newPendingTransactionFilter", new(Method::NewPendingFilter))
        }
        "eth_getFilterChanges" => query("eth_getFilterChanges", by_id(Method::FilterChanges)),
        "eth_getFilterLogs" => query("eth_getFilterLogs", by_id(Method::FilterLogs)),
        "eth_uninstallFilter" => query("eth_uninstallFilter", by_id(Method::UninstallFilter)),
        _ => None,
    }
}

fn submission(name: &str, raw: Option<&RawValue>, config: &RpcConfig) -> Outcome {
    let submit = |params: Params<'_>, wait| {
        Ok(Request::Submit { raw: params.required(0, params::bytes)?, wait })
    };
    match name {
        "eth_sendRawTransaction" => {
            Some(Params::read(raw, 1).and_then(|params| submit(params, Wait::Executed)))
        }
        "eth_sendRawTransactionSync" => Some(Params::read(raw, 2).and_then(|params| {
            let asked = params.optional(1, params::count)?;
            let timeout_ms = match asked {
                None | Some(0) => config.sync_timeout_ms,
                Some(asked) => asked.min(config.sync_timeout_ms_max),
            };
            submit(params, Wait::Receipt { timeout_ms })
        })),
        _ => None,
    }
}

fn fee_history(raw: Option<&RawValue>) -> Result<Method, RpcError> {
    let params = Params::read(raw, 3)?;
    let blocks = params.required(0, params::count)?;
    let newest = params.required(1, params::block_number)?;
    let percentiles = params.optional(2, |value| {
        params::list(value, PERCENTILES_MAX, |item| {
            serde_json::from_str::<f64>(item.get())
                .map_err(|_| "json: cannot unmarshal into Go value of type float64".to_owned())
        })
    })?;
    for pair in percentiles.iter().flat_map(|list| list.windows(2)) {
        if pair[0] > pair[1] {
            return Err(RpcError::plain(format!(
                "invalid reward percentile: {:.6} > {:.6}",
                pair[0], pair[1]
            )));
        }
    }
    if let Some(wrong) =
        percentiles.iter().flatten().find(|percentile| !(0.0..=100.0).contains(*percentile))
    {
        return Err(RpcError::plain(format!("invalid reward percentile: {wrong:.6}")));
    }
    Ok(Method::FeeHistory { blocks, newest, percentiles })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallFields<'a> {
    #[serde(borrow, default)]
    from: Option<&'a RawValue>,
    #[serde(borrow, default)]
    to: Option<&'a RawValue>,
    #[serde(borrow, default)]
    gas: Option<&'a RawValue>,
    #[serde(borrow, default)]
    gas_price: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_fee_per_gas: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_priority_fee_per_gas: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    nonce: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    access_list: Option<&'a RawValue>,
    #[serde(borrow, default)]
    chain_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    authorization_list: Option<&'a RawValue>,
    #[serde(borrow, default)]
    blob_versioned_hashes: Option<&'a RawValue>,
}

/// One field of an object; `null` and absence are the same.
fn field<'a, T>(
    value: Option<&'a RawValue>,
    name: &str,
    read: impl FnOnce(&'a RawValue) -> Result<T, Wrong>,
) -> Result<Option<T>, RpcError> {
    value
        .filter(|value| value.get() != "null")
        .map(read)
        .transpose()
        .map_err(|wrong| RpcError::params(format!("invalid argument 0: {name}: {wrong}")))
}

fn call_request(value: &RawValue, config: &RpcConfig) -> Result<CallRequest, RpcError> {
    let wrong = || {
        RpcError::params(
            "invalid argument 0: json: cannot unmarshal into Go value of type ethapi.TransactionArgs",
        )
    };
    if !value.get().starts_with('{') {
        return Err(wrong());
    }
    let fields: CallFields<'_> = serde_json::from_str(value.get()).map_err(|_| wrong())?;
    let gas_price = field(fields.gas_price, "gasPrice", params::price)?;
    let max_fee_per_gas = field(fields.max_fee_per_gas, "maxFeePerGas", params::price)?;
    let max_priority_fee_per_gas =
        field(fields.max_priority_fee_per_gas, "maxPriorityFeePerGas", params::price)?;
    if gas_price.is_some() && (max_fee_per_gas.is_some() || max_priority_fee_per_gas.is_some()) {
        return Err(RpcError::plain(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ));
    }
    if let (Some(fee), Some(tip)) = (max_fee_per_gas, max_priority_fee_per_gas)
        && fee < tip
    {
        return Err(RpcError::plain(format!(
            "maxFeePerGas ({fee}) < maxPriorityFeePerGas ({tip})"
        )));
    }
    if field(fields.blob_versioned_hashes, "blobVersionedHashes", Ok)?.is_some() {
        return Err(RpcError::plain(
            "transaction type not supported: this ledger takes no blob transactions",
        ));
    }
    if let Some(found) = field(fields.chain_id, "chainId", params::large_quantity)?
        && found != U256::from(config.chain_id)
    {
        return Err(RpcError::plain(format!(
            "chainId does not match node's (have={found}, want={})",
            config.chain_id
        )));
    }
    let data = field(fields.data, "data", params::bytes)?;
    let input = field(fields.input, "input", params::bytes)?;
    if let (Some(data), Some(input)) = (&data, &input)
        && data != input
    {
        let message = "both \"data\" and \"input\" are set and not equal. \
                       Please use \"input\" to pass transaction call data";
        return Err(RpcError::plain(message));
    }
    Ok(CallRequest {
        from: field(fields.from, "from", params::address)?.unwrap_or_default(),
        to: field(fields.to, "to", params::address)?,
        value: field(fields.value, "value", params::large_quantity)?.unwrap_or_default(),
        data: input.or(data).unwrap_or_default(),
        gas: field(fields.gas, "gas", params::quantity)?,
        gas_price,
        max_fee_per_gas,
        max_priority_fee_per_gas,
        nonce: field(fields.nonce, "nonce", params::quantity)?,
        access_list: field(fields.access_list, "accessList", access_list)?.unwrap_or_default(),
        authorizations: field(fields.authorization_list, "authorizationList", authorizations)?
            .unwrap_or_default(),
        gas_cap: config.call_gas_max,
        overrides: BTreeMap::new(),
    })
}

fn object<'a, T: Deserialize<'a>>(value: &'a RawValue, name: &str) -> Result<T, Wrong> {
    let wrong = || format!("json: cannot unmarshal into Go value of type {name}");
    if !value.get().starts_with('{') {
        return Err(wrong());
    }
    serde_json::from_str(value.get()).map_err(|_| wrong())
}

fn needed<T>(
    value: Option<&RawValue>,
    read: impl FnOnce(&RawValue) -> Result<T, Wrong>,
    name: &str,
) -> Result<T, Wrong> {
    read(value.ok_or_else(|| format!("missing required field '{name}'"))?)
}

fn access_list(value: &RawValue) -> Result<AccessList, Wrong> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        #[serde(borrow, default)]
        address: Option<&'a RawValue>,
        #[serde(borrow, default)]
        storage_keys: Option<&'a RawValue>,
    }
    let item = |value| {
        let item: Item<'_> = object(value, "types.AccessTuple")?;
        let storage_keys = match item.storage_keys.filter(|keys| keys.get() != "null") {
            Some(keys) => params::list(keys, ACCESS_LIST_MAX, params::hash)?,
            None => Vec::new(),
        };
        Ok(AccessListItem {
            address: needed(item.address, params::address, "address")?,
            storage_keys,
        })
    };
    params::list(value, ACCESS_LIST_MAX, item).map(AccessList)
}

fn authorizations(value: &RawValue) -> Result<Vec<SignedAuthorization>, Wrong> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        #[serde(borrow, default)]
        chain_id: Option<&'a RawValue>,
        #[serde(borrow, default)]
        address: Option<&'a RawValue>,
        #[serde(borrow, default)]
        nonce: Option<&'a RawValue>,
        #[serde(borrow, default)]
        y_parity: Option<&'a RawValue>,
        #[serde(borrow, default)]
        r: Option<&'a RawValue>,
        #[serde(borrow, default)]
        s: Option<&'a RawValue>,
    }
    params::list(value, AUTHORIZATIONS_MAX, |value| {
        let item: Item<'_> = object(value, "types.SetCodeAuthorization")?;
        let inner = Authorization {
            chain_id: needed(item.chain_id, params::large_quantity, "chainId")?,
            address: needed(item.address, params::address, "address")?,
            nonce: needed(item.nonce, params::quantity, "nonce")?,
        };
        let parity = needed(item.y_parity, params::quantity, "yParity")?;
        let parity = u8::try_from(parity).map_err(|_| "yParity is over 255".to_owned())?;
        let r = needed(item.r, params::large_quantity, "r")?;
        let s = needed(item.s, params::large_quantity, "s")?;
        Ok(SignedAuthorization::new_unchecked(inner, parity, r, s))
    })
}

/// The state to assume in place of the real one, for one call.
fn overrides(value: &RawValue) -> Result<BTreeMap<Address, AccountOverride>, Wrong> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        #[serde(borrow, default)]
        balance: Option<&'a RawValue>,
        #[serde(borrow, default)]
        nonce: Option<&'a RawValue>,
        #[serde(borrow, default)]
        code: Option<&'a RawValue>,
        #[serde(borrow, default)]
        state: Option<&'a RawValue>,
        #[serde(borrow, default)]
        state_diff: Option<&'a RawValue>,
        #[serde(borrow, default)]
        move_precompile_to_address: Option<&'a RawValue>,
    }
    let accounts: BTreeMap<Address, &RawValue> = object(value, "override.StateOverride")?;
    if accounts.len() > OVERRIDES_MAX {
        return Err(format!(
            "exceed max overridden accounts: {} given, {OVERRIDES_MAX} allowed",
            accounts.len()
        ));
    }
    let mut read = BTreeMap::new();
    for (address, value) in accounts {
        let item: Item<'_> = object(value, "override.OverrideAccount")?;
        if item.move_precompile_to_address.is_some() {
            return Err("movePrecompileToAddress is not supported".to_owned());
        }
        if item.state.is_some() && item.state_diff.is_some() {
            return Err(format!("account {address} has both 'state' and 'stateDiff'"));
        }
        let account = AccountOverride {
            balance: item.balance.map(params::large_quantity).transpose()?,
            nonce: item.nonce.map(params::quantity).transpose()?,
            code: item.code.map(params::bytes).transpose()?,
            state: item.state.map(slots).transpose()?,
            state_diff: item.state_diff.map(slots).transpose()?.unwrap_or_default(),
        };
        read.insert(address, account);
    }
    Ok(read)
}

fn slots(value: &RawValue) -> Result<BTreeMap<U256, U256>, Wrong> {
    let words: BTreeMap<B256, B256> = object(value, "map[common.Hash]common.Hash")?;
    Ok(words.into_iter().map(|(slot, word)| (slot.into(), word.into())).collect())
}

/// Most percentiles of a fee history, as in go-ethereum.
const PERCENTILES_MAX: usize = 100;
/// Most accounts, and most slots of one account, in the access list of a call: more gas than any call has.
const ACCESS_LIST_MAX: usize = 32_768;
/// Most authorizations of a call: more gas than a transaction may have.
const AUTHORIZATIONS_MAX: usize = 1_024;
/// Most accounts whose state a call may assume otherwise.
const OVERRIDES_MAX: usize = 1_024;
