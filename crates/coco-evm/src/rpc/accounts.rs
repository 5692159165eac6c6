//! What the state says of an account.

use alloy_primitives::{Address, U256};

use super::{Rpc, error::RpcError, json::Json, params::BlockId, view::Chain};
use crate::state::{self, AccountRecord};

impl Rpc {
    /// `eth_getBalance`.
    pub(super) fn balance(
        &self,
        chain: &Chain<'_>,
        of: Address,
        at: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let account = self.account(chain, of, at)?;
        json.quantity_u256(account.map_or(U256::ZERO, |account| account.balance));
        Ok(())
    }

    /// `eth_getTransactionCount`.
    pub(super) fn nonce(
        &self,
        chain: &Chain<'_>,
        of: Address,
        at: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let account = self.account(chain, of, at)?;
        json.quantity(account.map_or(0, |account| account.nonce));
        Ok(())
    }

    /// `eth_getCode`.
    pub(super) fn code(
        &self,
        chain: &Chain<'_>,
        of: Address,
        at: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let state = chain.state(at)?;
        json.data(state::code(&mut &state.snapshot, self.executor.maps(), of));
        Ok(())
    }

    /// `eth_getStorageAt`.
    pub(super) fn storage(
        &self,
        chain: &Chain<'_>,
        (of, slot): (Address, U256),
        at: BlockId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let state = chain.state(at)?;
        let word = state::storage(&mut &state.snapshot, self.executor.maps(), of, slot);
        json.data(word.to_be_bytes::<32>());
        Ok(())
    }

    fn account(
        &self,
        chain: &Chain<'_>,
        of: Address,
        at: BlockId,
    ) -> Result<Option<AccountRecord>, RpcError> {
        let state = chain.state(at)?;
        Ok(state::account(&mut &state.snapshot, self.executor.maps(), of))
    }
}
