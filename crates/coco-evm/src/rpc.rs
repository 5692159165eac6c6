//! Ethereum's JSON-RPC, as pure functions: bytes in, bytes out, no sockets and no waiting.
//!
//! ```text
//!   body ─▶ parse ─▶ Call::Done ─────────────────────────────────▶ response
//!                    Call::Query ─▶ Rpc::query(view) ────────────▶ response
//!                    Call::Submit ─▶ the replica ─▶ Rpc::submitted, receipt, refused, timed_out ─▶ response
//! ```
//!
//! A query sees the committed state as `latest`, `safe` and `finalized`, which are one here, and the newest executed
//! state as `pending`. Numbers and hashes reach back as far as versions are kept in memory for state, and as far as the
//! ledger for blocks. Codes and texts of errors are go-ethereum's, since tools depend on them.
//!
//! Absent on purpose: accounts of the node, mining, peers, tracing, subscriptions (which need a connection).

mod accounts;
mod blocks;
mod cache;
mod calls;
pub mod error;
mod fees;
mod filters;
mod json;
mod logs;
mod method;
mod params;
mod request;
mod respond;
mod view;

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, hex, keccak256};
use coco_adapter::Refusal;

pub use cache::{BlockCache, CACHE_BYTES_MAX, CachedBlock};
pub use error::RpcError;
pub use fees::{FEE_HISTORY_BLOCKS_MAX, FEE_HISTORY_TRANSACTIONS_MAX};
pub use filters::{FILTER_BLOCKS_MAX, FILTER_BYTES_MAX, FILTER_IDLE_MS};
pub use logs::{
    LOG_BLOCKS_READ_MAX, LOG_BLOCKS_SPAN_MAX, LOG_BYTES_MAX, LOG_ITEMS_MAX, LOG_RESULTS_MAX,
    LogLimits,
};
pub use params::BlockId;
pub use request::{Id, parse as parse_body};
pub use respond::{RESPONSE_BYTES_MAX, Responses};
pub use view::{QUERY_MS_MAX, ReadView};

use crate::{
    executor::Executor,
    transaction::refusals::{CODE_NONCE_GAP, CODE_REJECTED},
};
use error::{CODE_INTERNAL, CODE_LIMIT, CODE_RESPONSE_TOO_LARGE, CODE_TIMEOUT, CODE_UNREADY};
use filters::{Filters, Watch};
use json::Json;
use method::Method;
use view::Chain;

/// Most calls of one batch, by default. As go-ethereum.
pub const BATCH_CALLS_MAX: usize = 1_000;

/// Most gas of an `eth_call`, by default. As go-ethereum.
pub const CALL_GAS_MAX: u64 = 50_000_000;

/// How long `eth_sendRawTransactionSync` waits for a receipt when the client does not say, in milliseconds (EIP-7966).
pub const SYNC_TIMEOUT_MS: u64 = 2_000;

/// How long `eth_sendRawTransactionSync` waits at most, in milliseconds.
pub const SYNC_TIMEOUT_MS_MAX: u64 = 60_000;

/// What the RPC is told of its node.
#[derive(Clone, Debug)]
pub struct RpcConfig {
    /// The chain's id.
    pub chain_id: u64,
    /// What `web3_clientVersion` answers.
    pub client_version: String,
    /// What `net_peerCount` answers.
    pub peers: u64,
    /// Most calls of one batch.
    pub batch_calls_max: usize,
    /// Most gas of a call.
    pub call_gas_max: u64,
    /// How far searches for logs go.
    pub logs: LogLimits,
    /// How long a synchronous submission waits when the client does not say, in milliseconds.
    pub sync_timeout_ms: u64,
    /// How long it waits at most, in milliseconds.
    pub sync_timeout_ms_max: u64,
}

impl RpcConfig {
    /// The defaults for the chain with this id.
    #[must_use]
    pub fn new(chain_id: u64) -> Self {
        Self {
            chain_id,
            client_version: concat!("Coco/v", env!("CARGO_PKG_VERSION")).to_owned(),
            peers: 0,
            batch_calls_max: BATCH_CALLS_MAX,
            call_gas_max: CALL_GAS_MAX,
            logs: LogLimits::default(),
            sync_timeout_ms: SYNC_TIMEOUT_MS,
            sync_timeout_ms_max: SYNC_TIMEOUT_MS_MAX,
        }
    }
}

/// The calls of one body.
#[derive(Debug)]
pub struct Parsed {
    /// In their order, which the responses keep.
    pub calls: Vec<Call>,
    /// Whether the responses form a list.
    pub is_batch: bool,
}

/// One call.
#[derive(Debug)]
pub enum Call {
    /// Answered already: malformed, or of a method that does not exist.
    Done(Vec<u8>),
    /// Wants no answer. Nothing that can be asked here makes sense without one, so nothing is done.
    Notification,
    /// Answered by [`Rpc::query`].
    Query(Query),
    /// Goes to the replica.
    Submit(Submit),
}

impl Call {
    /// The answer when the responses before it have outgrown the limit.
    #[must_use]
    pub fn too_large(&self) -> Vec<u8> {
        self.failed(&RpcError::new(CODE_RESPONSE_TOO_LARGE, "response too large"))
    }

    /// The answer when nothing is answered now, for a reason that is not the call's.
    #[must_use]
    pub fn refused(&self, why: &str) -> Vec<u8> {
        self.failed(&RpcError::plain(why))
    }

    fn failed(&self, error: &RpcError) -> Vec<u8> {
        let id = match self {
            Self::Done(_) | Self::Notification => &Id::null(),
            Self::Query(query) => &query.id,
            Self::Submit(submit) => &submit.id,
        };
        respond::error(id, error)
    }
}

/// A question about the ledger.
#[derive(Clone, Debug)]
pub struct Query {
    id: Id,
    name: &'static str,
    method: Method,
}

/// Whether a query may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// A few look-ups. What they find may have to be read from the ledger, unless it is in memory.
    Light,
    /// Executes code or reads many blocks.
    Heavy,
}

impl Query {
    /// The method's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it may take long.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        match self.method {
            Method::Call(..)
            | Method::EstimateGas(..)
            | Method::Logs(_)
            | Method::FilterLogs(_)
            | Method::FilterChanges(_)
            | Method::FeeHistory { .. }
            | Method::GasPrice
            | Method::MaxPriorityFee
            | Method::BlockReceipts(_)
            | Method::Block(_, method::Bodies::Full) => Weight::Heavy,
            _ => Weight::Light,
        }
    }

    /// Whether its answer may depend on what is not committed, and may be rolled back while it is looked at.
    #[must_use]
    pub const fn sees_pending(&self) -> bool {
        match &self.method {
            Method::Transaction(_) | Method::RawTransaction(_) => true,
            Method::Balance(_, id)
            | Method::Block(id, _)
            | Method::BlockReceipts(id)
            | Method::Call(_, id)
            | Method::Code(_, id)
            | Method::EstimateGas(_, id)
            | Method::RawTransactionAt(id, _)
            | Method::Storage(_, _, id)
            | Method::TransactionAt(id, _)
            | Method::TransactionCount(_, id)
            | Method::TransactionCountOf(id)
            | Method::UncleCountOf(id) => matches!(id, BlockId::Pending),
            Method::Accounts
            | Method::BlobBaseFee
            | Method::BlockNumber
            | Method::ChainId
            | Method::ClientVersion
            | Method::Constant(_)
            | Method::FeeHistory { .. }
            | Method::FilterChanges(_)
            | Method::FilterLogs(_)
            | Method::GasPrice
            | Method::Logs(_)
            | Method::MaxPriorityFee
            | Method::NetVersion
            | Method::NewBlockFilter
            | Method::NewFilter(_)
            | Method::NewPendingFilter
            | Method::PeerCount
            | Method::Receipt(_)
            | Method::Sha3(_)
            | Method::UninstallFilter(_) => false,
        }
    }

    /// The answer when a limit of this node is reached before it is looked at.
    #[must_use]
    pub fn over_limit(&self, why: &str) -> Vec<u8> {
        respond::error(&self.id, &RpcError::new(CODE_LIMIT, why))
    }

    /// The answer when this node broke over it.
    #[must_use]
    pub fn broke(&self) -> Vec<u8> {
        respond::error(&self.id, &RpcError::new(CODE_INTERNAL, "internal error"))
    }
}

/// A transaction to execute.
#[derive(Clone, Debug)]
pub struct Submit {
    id: Id,
    /// Its bytes, for [`crate::transaction::EvmCheck`].
    pub raw: Bytes,
    /// What the caller waits for.
    pub wait: Wait,
}

/// What the caller of a submission waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// That it was executed: `eth_sendRawTransaction`. The answer is its hash.
    Executed,
    /// That it is committed: `eth_sendRawTransactionSync` (EIP-7966). The answer is its receipt.
    Receipt {
        /// For at most so many milliseconds.
        timeout_ms: u64,
    },
}

impl Submit {
    /// The transaction's hash.
    #[must_use]
    pub fn hash(&self) -> B256 {
        keccak256(&self.raw)
    }

    /// An error of EIP-7966, whose data is the transaction's hash.
    fn error(&self, code: i64, message: String) -> RpcError {
        RpcError { code, message, data: Some(hex::encode_prefixed(self.hash())) }
    }

    /// The method's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.wait {
            Wait::Executed => "eth_sendRawTransaction",
            Wait::Receipt { .. } => "eth_sendRawTransactionSync",
        }
    }
}

/// Answers queries. Shared by all threads.
#[derive(Debug)]
pub struct Rpc {
    config: RpcConfig,
    executor: Executor,
    cache: Arc<BlockCache>,
    filters: Filters,
}

impl Rpc {
    /// For the chain of `executor`. `cache` is shared with the adapter; `seed` is entropy that makes identifiers of
    /// filters unguessable.
    #[must_use]
    pub fn new(
        config: RpcConfig,
        executor: Executor,
        cache: Arc<BlockCache>,
        seed: [u8; 32],
    ) -> Self {
        Self { config, executor, cache, filters: Filters::new(seed) }
    }

    /// How many bytes the decoded blocks take that are kept in memory, about.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Reads a request body. Never fails: what is wrong becomes a response.
    #[must_use]
    pub fn parse(&self, body: &[u8]) -> Parsed {
        request::parse(body, &self.config)
    }

    /// Answers a query.
    #[must_use]
    pub fn query(&self, query: &Query, view: &ReadView<'_>) -> Vec<u8> {
        let capacity = match query.method {
            Method::Receipt(_) | Method::Transaction(_) => blocks::RECEIPT_BYTES,
            _ => 0,
        };
        respond::result(&query.id, capacity, |json| self.answer(&query.method, view, json))
    }

    /// The answer to a transaction that was executed, and whose caller waits for no more than that.
    #[must_use]
    pub fn submitted(&self, submit: &Submit) -> Vec<u8> {
        respond::hash(&submit.id, &submit.hash())
    }

    /// The answer to a transaction whose caller waits for the receipt; `None` when it is not committed in this view.
    #[must_use]
    pub fn receipt(&self, submit: &Submit, view: &ReadView<'_>) -> Option<Vec<u8>> {
        let found = Chain::new(*view, self.executor.maps(), &self.cache)
            .and_then(|chain| chain.transaction(&submit.hash()));
        match found {
            Ok(None) => None,
            Ok(Some((block, position))) => {
                Some(respond::result(&submit.id, blocks::RECEIPT_BYTES, |json| {
                    blocks::write_receipt(json, &block, position);
                    Ok(())
                }))
            }
            Err(error) => Some(self.unread(submit, &error.message)),
        }
    }

    /// The answer to a transaction that is committed, and whose receipt this node cannot read now. Who takes it for a refusal
    /// would send another one, so it is that of a receipt that did not come in time.
    #[must_use]
    pub fn unread(&self, submit: &Submit, why: &str) -> Vec<u8> {
        let message = format!(
            "the transaction is executed, and its receipt cannot be read here now ({why}); ask for it by its hash"
        );
        respond::error(&submit.id, &submit.error(CODE_TIMEOUT, message))
    }

    /// The answer to a transaction that will not be executed.
    #[must_use]
    pub fn refused(&self, submit: &Submit, refusal: &Refusal) -> Vec<u8> {
        let code = match submit.wait {
            Wait::Executed if refusal.code == CODE_NONCE_GAP => CODE_REJECTED,
            Wait::Executed | Wait::Receipt { .. } => refusal.code,
        };
        let error = RpcError { code, message: refusal.message.clone(), data: refusal.data.clone() };
        respond::error(&submit.id, &error)
    }

    /// The answer to a transaction that was taken, and whose receipt did not come in time.
    #[must_use]
    pub fn timed_out(&self, submit: &Submit) -> Vec<u8> {
        let waited_ms = match submit.wait {
            Wait::Receipt { timeout_ms } => timeout_ms,
            Wait::Executed => self.config.sync_timeout_ms,
        };
        let message = format!(
            "The transaction was added to the transaction pool but wasn't processed in {waited_ms}ms"
        );
        respond::error(&submit.id, &submit.error(CODE_TIMEOUT, message))
    }

    /// The answer when this node cannot take the transaction now, for a reason that is not the transaction's.
    #[must_use]
    pub fn unavailable(&self, submit: &Submit, why: &str) -> Vec<u8> {
        let error = match submit.wait {
            Wait::Executed => RpcError::plain(why),
            Wait::Receipt { .. } => submit.error(CODE_UNREADY, why.to_owned()),
        };
        respond::error(&submit.id, &error)
    }

    fn answer(
        &self,
        method: &Method,
        view: &ReadView<'_>,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        if self.answer_at_once(method, json) {
            return Ok(());
        }
        let chain = &Chain::new(*view, self.executor.maps(), &self.cache)?;
        match method {
            Method::Balance(of, at) => self.balance(chain, *of, *at, json)?,
            Method::Block(id, bodies) => Self::block(chain, *id, *bodies, json)?,
            Method::BlockNumber => json.quantity(chain.latest.number),
            Method::BlockReceipts(id) => Self::block_receipts(chain, *id, json)?,
            Method::Call(request, at) => self.call(chain, request, *at, json)?,
            Method::Code(of, at) => self.code(chain, *of, *at, json)?,
            Method::EstimateGas(request, at) => self.estimate_gas(chain, request, *at, json)?,
            Method::FeeHistory { blocks, newest, percentiles } => {
                self.fee_history(chain, *blocks, *newest, percentiles.as_deref(), json)?;
            }
            Method::FilterChanges(id) => self.filter_changes(chain, *id, json)?,
            Method::FilterLogs(id) => self.filter_logs(chain, *id, json)?,
            Method::GasPrice => self.gas_price(chain, json)?,
            Method::Logs(criteria) => self.logs(chain, criteria, json)?,
            Method::MaxPriorityFee => self.max_priority_fee(chain, json)?,
            Method::NewBlockFilter => self.new_filter(chain, Watch::Blocks, json)?,
            Method::NewFilter(criteria) => {
                self.new_filter(chain, Watch::Logs(criteria.clone()), json)?;
            }
            Method::NewPendingFilter => self.new_filter(chain, Watch::Pending, json)?,
            Method::RawTransaction(hash) => Self::raw_transaction(chain, hash, json)?,
            Method::RawTransactionAt(id, index) => {
                Self::transaction_at(chain, (*id, *index), json, blocks::write_raw)?;
            }
            Method::Receipt(hash) => Self::receipt_of(chain, hash, json)?,
            Method::Storage(of, slot, at) => self.storage(chain, (*of, *slot), *at, json)?,
            Method::Transaction(hash) => Self::transaction(chain, hash, json)?,
            Method::TransactionAt(id, index) => {
                Self::transaction_at(chain, (*id, *index), json, blocks::write_transaction)?;
            }
            Method::TransactionCount(of, at) => self.nonce(chain, *of, *at, json)?,
            Method::TransactionCountOf(id) => Self::transaction_count_of(chain, *id, json)?,
            Method::UncleCountOf(id) => Self::uncle_count_of(chain, *id, json)?,
            Method::Accounts
            | Method::BlobBaseFee
            | Method::ChainId
            | Method::ClientVersion
            | Method::Constant(_)
            | Method::NetVersion
            | Method::PeerCount
            | Method::Sha3(_)
            | Method::UninstallFilter(_) => unreachable!("it was answered at once"),
        }
        Ok(())
    }

    /// Answers what does not depend on the ledger; says whether it did.
    fn answer_at_once(&self, method: &Method, json: &mut Json) -> bool {
        match method {
            Method::Accounts => json.constant("[]"),
            Method::BlobBaseFee => Self::blob_base_fee(json),
            Method::ChainId => json.quantity(self.config.chain_id),
            Method::ClientVersion => json.string(&self.config.client_version),
            Method::Constant(answer) => json.constant(answer),
            Method::NetVersion => json.string(&self.config.chain_id.to_string()),
            Method::PeerCount => json.quantity(self.config.peers),
            Method::Sha3(bytes) => json.data(keccak256(bytes)),
            Method::UninstallFilter(id) => self.uninstall_filter(*id, json),
            _ => return false,
        }
        true
    }
}
