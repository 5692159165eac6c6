//! Calls that leave nothing behind: `eth_call`, and the building block of `eth_estimateGas`.

use std::collections::BTreeMap;

use alloy_eips::{eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{Address, Bytes, Log, TxKind, U256};
use revm::{
    ExecuteEvm,
    context::TxEnv,
    context_interface::{
        either::Either,
        result::{EVMError, ExecutionResult},
    },
};

use super::{Environment, Executor, HaltReason, InvalidTransaction};
use crate::state::{
    StateRead,
    cache::{BlockCache, bytecode},
};

/// A call to simulate.
#[derive(Clone, Debug, Default)]
pub struct CallRequest {
    /// Who calls; need not have a key, and may have code.
    pub from: Address,
    /// Who is called; `None` creates a contract.
    pub to: Option<Address>,
    /// Wei that goes along.
    pub value: U256,
    /// Calldata, or creation code.
    pub data: Bytes,
    /// Most gas to use; `gas_cap` when not given.
    pub gas: Option<u64>,
    /// Price of a gas, in wei; a call without any price pays nothing.
    pub gas_price: Option<u128>,
    /// The same after EIP-1559.
    pub max_fee_per_gas: Option<u128>,
    /// The part of it beyond the base fee.
    pub max_priority_fee_per_gas: Option<u128>,
    /// Ignored by the interpreter's checks: calls are not bound to a place in their sender's order.
    pub nonce: Option<u64>,
    /// What is warm from the start.
    pub access_list: AccessList,
    /// Delegations of EIP-7702 to apply first.
    pub authorizations: Vec<SignedAuthorization>,
    /// Most gas that any call may use here; zero stands for the block's gas limit.
    pub gas_cap: u64,
    /// What to change in the state first.
    pub overrides: BTreeMap<Address, AccountOverride>,
}

/// What to change in an account before a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountOverride {
    /// Its balance.
    pub balance: Option<U256>,
    /// Its nonce.
    pub nonce: Option<u64>,
    /// Its code.
    pub code: Option<Bytes>,
    /// All of its storage.
    pub state: Option<BTreeMap<U256, U256>>,
    /// Single words of its storage.
    pub state_diff: BTreeMap<U256, U256>,
}

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// How it ended.
    pub result: CallResult,
    /// Gas that it would pay for.
    pub gas_used: u64,
    /// Gas that it could have used.
    pub gas_limit: u64,
    /// What it logged.
    pub logs: Vec<Log>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// It ran to its end.
    Success {
        /// What it returned; the code of a contract that it created.
        output: Bytes,
    },
    /// It took itself back.
    Revert {
        /// Why, in the contract's own terms.
        output: Bytes,
    },
    /// It broke a rule or ran out of gas.
    Halt {
        /// Which.
        reason: HaltReason,
    },
}

impl Executor {
    /// Runs a call on `state` in `environment` and forgets what it changed. As in geth, the nonce is not checked, callers
    /// may have code, the block's gas limit and the gas cap of a transaction (EIP-7825) do not bind, and the base fee
    /// binds only a call that names a price.
    ///
    /// # Errors
    /// Why the call could not begin.
    pub fn simulate(
        &self,
        state: impl StateRead,
        environment: &Environment,
        request: &CallRequest,
    ) -> Result<CallOutcome, InvalidTransaction> {
        let mut cache = BlockCache::new(state, &self.maps, &self.codes);
        apply_overrides(&mut cache, &request.overrides);
        let nonce = cache.info(request.from).map_or(0, |info| info.nonce);
        let mut evm = self.evm(cache, environment);
        // A call belongs to the chain that it is asked of, whatever its type; only signed transactions name one.
        evm.ctx.cfg.tx_chain_id_check = false;
        evm.ctx.cfg.disable_nonce_check = true;
        evm.ctx.cfg.disable_eip3607 = true;
        evm.ctx.cfg.disable_block_gas_limit = true;
        evm.ctx.cfg.tx_gas_limit_cap = Some(u64::MAX);
        evm.ctx.cfg.disable_base_fee = price(request) == 0;
        let transaction = request.transaction_env(environment, nonce);
        let gas_limit = transaction.gas_limit;
        let result = match evm.transact_one(transaction) {
            Ok(result) => result,
            Err(EVMError::Transaction(reason)) => return Err(reason),
            Err(EVMError::Database(never)) => match never {},
            Err(error) => {
                unreachable!("the environment is complete and there are no custom errors: {error}")
            }
        };
        let gas_used = result.tx_gas_used();
        let (result, logs) = match result {
            ExecutionResult::Success { output, logs, .. } => {
                (CallResult::Success { output: output.into_data() }, logs)
            }
            ExecutionResult::Revert { output, .. } => (CallResult::Revert { output }, Vec::new()),
            ExecutionResult::Halt { reason, .. } => (CallResult::Halt { reason }, Vec::new()),
        };
        Ok(CallOutcome { result, gas_used, gas_limit, logs })
    }
}

impl CallRequest {
    fn transaction_env(&self, environment: &Environment, nonce: u64) -> TxEnv {
        let cap = if self.gas_cap == 0 { environment.gas_limit } else { self.gas_cap };
        let tx_type = match self {
            Self { authorizations, .. } if !authorizations.is_empty() => 4,
            Self { max_fee_per_gas: Some(_), .. }
            | Self { max_priority_fee_per_gas: Some(_), .. } => 2,
            Self { access_list, .. } if !access_list.is_empty() => 1,
            _ => 0,
        };
        TxEnv {
            tx_type,
            caller: self.from,
            gas_limit: self.gas.unwrap_or(cap).min(cap),
            gas_price: price(self),
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            data: self.data.clone(),
            nonce,
            chain_id: None,
            access_list: self.access_list.clone(),
            gas_priority_fee: (tx_type == 2 || tx_type == 4)
                .then(|| self.max_priority_fee_per_gas.unwrap_or(0)),
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: self.authorizations.iter().cloned().map(Either::Left).collect(),
        }
    }
}

/// The most that a call pays for one gas.
fn price(request: &CallRequest) -> u128 {
    request.max_fee_per_gas.or(request.gas_price).unwrap_or(0)
}

fn apply_overrides<S: StateRead>(
    cache: &mut BlockCache<'_, S>,
    overrides: &BTreeMap<Address, AccountOverride>,
) {
    for (address, change) in overrides {
        let info = cache.info_mut(*address);
        if let Some(balance) = change.balance {
            info.balance = balance;
        }
        if let Some(nonce) = change.nonce {
            info.nonce = nonce;
        }
        if let Some(code) = &change.code {
            let code = bytecode(code.clone());
            info.code_hash = code.hash_slow();
            info.code = Some(code);
        }
        if change.state.is_some() {
            cache.forget_storage(*address);
        }
        for (slot, word) in change.state.iter().flatten().chain(&change.state_diff) {
            cache.set_word(*address, *slot, *word);
        }
    }
}
