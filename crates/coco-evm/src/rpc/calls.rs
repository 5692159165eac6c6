//! `eth_call` and `eth_estimateGas`.

use alloy_primitives::{Address, B256, U256};
use coco_kv::{MapId, Value};

use super::{
    Rpc,
    error::RpcError,
    json::Json,
    params::BlockId,
    view::{Chain, StateAt},
};
use crate::{
    executor::{CallOutcome, CallRequest, CallResult, Environment, HaltReason, InvalidTransaction},
    state::{self, EvmMaps, StateRead},
};

impl Rpc {
    /// `eth_call`.
    pub(super) fn call(
        &self,
        chain: &Chain<'_>,
        request: &CallRequest,
        at: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let state = chain.state(at)?;
        let environment = self.environment(chain, &state)?;
        let mut seen = SeenByCall::new(chain, self.executor.maps(), &state);
        let outcome = self.executor.simulate(&mut seen, &environment, request);
        seen.whole()?;
        let outcome = outcome.map_err(|why| {
            invalid(request, request.gas.unwrap_or(request.gas_cap).min(request.gas_cap), &why)
        })?;
        match outcome.result {
            CallResult::Success { output } => json.data(output),
            CallResult::Revert { output } => return Err(RpcError::reverted(&output)),
            CallResult::Halt { reason } => return Err(RpcError::plain(halted(&reason))),
        }
        Ok(())
    }

    /// `eth_estimateGas`: the least gas with which the call succeeds, by go-ethereum's search.
    pub(super) fn estimate_gas(
        &self,
        chain: &Chain<'_>,
        request: &CallRequest,
        at: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let state = chain.state(at)?;
        let environment = self.environment(chain, &state)?;
        let environment = &environment;
        let estimate = Estimate { rpc: self, chain, state: &state, environment, request };
        json.quantity(estimate.search()?);
        Ok(())
    }

    /// The block whose state is `state`, as the code of a call sees it.
    fn environment(&self, chain: &Chain<'_>, state: &StateAt) -> Result<Environment, RpcError> {
        Ok(Environment::of_header(&chain.header(state)?, self.executor.config()))
    }
}

/// The state that a block left, as the code of that block sees it. In the ring of block hashes the block has taken the
/// place of the oldest one whose hash its code may ask for; that is read from the ledger.
struct SeenByCall<'a> {
    chain: &'a Chain<'a>,
    maps: &'a EvmMaps,
    state: &'a StateAt,
    /// Why something could not be read.
    failed: Option<RpcError>,
}

impl<'a> SeenByCall<'a> {
    const fn new(chain: &'a Chain<'a>, maps: &'a EvmMaps, state: &'a StateAt) -> Self {
        Self { chain, maps, state, failed: None }
    }

    /// Refuses when something could not be read: what the code did then means nothing.
    fn whole(self) -> Result<(), RpcError> {
        self.failed.map_or(Ok(()), Err)
    }
}

impl StateRead for SeenByCall<'_> {
    fn read(&mut self, map: MapId, key: &[u8]) -> Option<Value> {
        let number = self.state.head.number;
        if map != self.maps.block_hashes || key != state::ring_key(number) {
            return self.state.snapshot.get(map, key);
        }
        let oldest = number.checked_sub(state::RING_BLOCKS)?;
        let hash = self.chain.committed_hash(oldest);
        let hash = hash.unwrap_or_else(|error| {
            self.failed = Some(error);
            None
        });
        Some(state::ring_value(oldest, hash?).into())
    }
}

struct Estimate<'a> {
    rpc: &'a Rpc,
    chain: &'a Chain<'a>,
    state: &'a StateAt,
    environment: &'a Environment,
    request: &'a CallRequest,
}

/// How a trial went.
enum Trial {
    Success { gas_used: u64 },
    Failure(Option<CallResult>),
}

impl Estimate<'_> {
    fn search(&self) -> Result<u64, RpcError> {
        let mut high = self.most()?;
        if self.is_plain_transfer() && matches!(self.trial(TRANSFER_GAS)?, Trial::Success { .. }) {
            return Ok(TRANSFER_GAS);
        }
        let gas_used = match self.trial(high)? {
            Trial::Success { gas_used } => gas_used,
            Trial::Failure(Some(CallResult::Revert { output })) => {
                return Err(RpcError::reverted(&output));
            }
            Trial::Failure(Some(CallResult::Halt { reason }))
                if !matches!(reason, HaltReason::OutOfGas(_)) =>
            {
                return Err(RpcError::plain(halted(&reason)));
            }
            Trial::Failure(_) => {
                return Err(RpcError::plain(format!("gas required exceeds allowance ({high})")));
            }
        };
        let mut low = gas_used.saturating_sub(1);
        // Calls pass on 63/64 of their gas, and a call with value keeps a stipend: most succeed with this much.
        let likely = (gas_used + CALL_STIPEND) / 63 * 64 + 64;
        if likely < high {
            match self.trial(likely)? {
                Trial::Success { .. } => high = likely,
                Trial::Failure(_) => low = likely,
            }
        }
        while low + 1 < high && (high - low) * ERROR_RATIO_DIVISOR >= high {
            let middle = (low + (high - low) / 2).min(low.saturating_mul(2).max(low + 1));
            match self.trial(middle)? {
                Trial::Success { .. } => high = middle,
                Trial::Failure(_) => low = middle,
            }
        }
        Ok(high)
    }

    /// The most gas to try: what was asked for, the protocol's and the node's limits, and what the sender can pay.
    fn most(&self) -> Result<u64, RpcError> {
        let config = self.rpc.executor.config();
        let cap = config.tx_gas_limit_cap(self.environment.number, self.environment.timestamp);
        let asked = self
            .request
            .gas
            .filter(|gas| *gas >= TRANSFER_GAS)
            .unwrap_or(self.environment.gas_limit);
        let most = asked.min(cap).min(self.request.gas_cap);
        let price = self.request.max_fee_per_gas.or(self.request.gas_price).unwrap_or_default();
        if price == 0 {
            return Ok(most);
        }
        let overridden =
            self.request.overrides.get(&self.request.from).and_then(|account| account.balance);
        let balance = overridden.unwrap_or_else(|| self.balance(self.request.from));
        let available = balance.checked_sub(self.request.value).filter(|left| !left.is_zero());
        let available =
            available.ok_or_else(|| RpcError::plain("insufficient funds for transfer"))?;
        Ok(u64::try_from(available / U256::from(price))
            .map_or(most, |allowance| allowance.min(most)))
    }

    fn balance(&self, of: Address) -> U256 {
        let account = state::account(&mut &self.state.snapshot, self.rpc.executor.maps(), of);
        account.map_or(U256::ZERO, |account| account.balance)
    }

    fn is_plain_transfer(&self) -> bool {
        let request = self.request;
        let overridden = request
            .to
            .and_then(|to| request.overrides.get(&to))
            .is_some_and(|to| to.code.is_some());
        request.data.is_empty()
            && !overridden
            && request.to.is_some_and(|to| {
                state::account(&mut &self.state.snapshot, self.rpc.executor.maps(), to).is_none_or(
                    |account| {
                        account.code_hash == alloy_primitives::KECCAK256_EMPTY
                            || account.code_hash == B256::ZERO
                    },
                )
            })
    }

    fn trial(&self, gas: u64) -> Result<Trial, RpcError> {
        self.chain.in_time()?;
        let request = CallRequest { gas: Some(gas), ..self.request.clone() };
        let executor = &self.rpc.executor;
        let mut seen = SeenByCall::new(self.chain, executor.maps(), self.state);
        let outcome = executor.simulate(&mut seen, self.environment, &request);
        seen.whole()?;
        match outcome {
            Ok(CallOutcome { result: CallResult::Success { .. }, gas_used, .. }) => {
                Ok(Trial::Success { gas_used })
            }
            Ok(CallOutcome { result, .. }) => Ok(Trial::Failure(Some(result))),
            Err(
                InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
                | InvalidTransaction::GasFloorMoreThanGasLimit { .. }
                | InvalidTransaction::TxGasLimitGreaterThanCap { .. },
            ) => Ok(Trial::Failure(None)),
            Err(why) => {
                let error = invalid(&request, gas, &why);
                let text = error.message.trim_start_matches("err: ").to_owned();
                let text = text
                    .rsplit_once(" (supplied")
                    .map_or(text.as_str(), |(text, _)| text)
                    .to_owned();
                Err(RpcError { message: format!("failed with {gas} gas: {text}"), ..error })
            }
        }
    }
}

/// Why a call could not begin, as go-ethereum's `eth_call` says it.
fn invalid(request: &CallRequest, gas: u64, why: &InvalidTransaction) -> RpcError {
    let from = request.from;
    let text = match why {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            format!(
                "insufficient funds for gas * price + value: address {from} have {balance} want {fee}"
            )
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        InvalidTransaction::GasPriceLessThanBasefee => {
            let fee = request.max_fee_per_gas.or(request.gas_price).unwrap_or_default();
            format!("max fee per gas less than block base fee: address {from}, maxFeePerGas: {fee}")
        }
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            let tip = request.max_priority_fee_per_gas.unwrap_or_default();
            let fee = request.max_fee_per_gas.unwrap_or_default();
            format!(
                "max priority fee per gas higher than max fee per gas: address {from}, \
                 maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee}"
            )
        }
        InvalidTransaction::OverflowPaymentInTransaction => {
            format!(
                "insufficient funds for gas * price + value: address {from} required balance exceeds 256 bits"
            )
        }
        InvalidTransaction::CreateInitCodeSizeLimit => "max initcode size exceeded".to_owned(),
        InvalidTransaction::RejectCallerWithCode => format!("sender not an eoa: address {from}"),
        other => other.to_string(),
    };
    RpcError::plain(format!("err: {text} (supplied gas {gas})"))
}

/// Why a call stopped, in go-ethereum's words.
fn halted(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".to_owned(),
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID".to_owned(),
        HaltReason::OpcodeNotFound | HaltReason::NotActivated => "invalid opcode".to_owned(),
        HaltReason::InvalidJump => "invalid jump destination".to_owned(),
        HaltReason::StackUnderflow => "stack underflow".to_owned(),
        HaltReason::StackOverflow => "stack limit reached 1024 (1023)".to_owned(),
        HaltReason::OutOfOffset => "return data out of bounds".to_owned(),
        HaltReason::CreateCollision => "contract address collision".to_owned(),
        HaltReason::NonceOverflow => "nonce uint64 overflow".to_owned(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".to_owned(),
        HaltReason::CreateContractStartingWithEF => {
            "invalid code: must not begin with 0xef".to_owned()
        }
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded".to_owned(),
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => {
            "write protection".to_owned()
        }
        HaltReason::OutOfFunds => "insufficient balance for transfer".to_owned(),
        HaltReason::CallTooDeep => "max call depth exceeded".to_owned(),
        other => other.to_string(),
    }
}

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;
/// Gas that a call with value adds for the callee.
const CALL_STIPEND: u64 = 2_300;
/// The search ends when what is left is this part of the estimate (1.5 %), as go-ethereum's does.
const ERROR_RATIO_DIVISOR: u64 = 66;
