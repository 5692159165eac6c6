//! EXTCODEHASH on a chain where accounts can have storage without code.
//!
//! The interpreter refuses to create a contract where there is code or a nonce, but knows nothing of storage
//! (EIP-7610). Accounts of block 0 that have storage alone are therefore shown to it with a code hash of zero, which it
//! takes for an account in use and, as it must, for one without code. What remains is that EXTCODEHASH would show the
//! zero: an account with a balance is never empty, so there it has to be the hash of nothing.

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::interpreter::{
    Host, InstructionContext, InstructionExecResult, instructions::host,
    interpreter::EthInterpreter,
};

/// EXTCODEHASH, right for accounts that have storage alone.
pub(super) fn extcodehash<H: Host>(
    context: InstructionContext<'_, H, EthInterpreter>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let address = interpreter.stack.peek(0);
    host::extcodehash(InstructionContext { interpreter: &mut *interpreter, host: &mut *host })?;
    let (Ok(address), Ok(U256::ZERO)) = (address, interpreter.stack.peek(0)) else { return Ok(()) };
    let address = Address::from_word(B256::from(address));
    if host.balance(address).is_some_and(|balance| !balance.data.is_zero()) {
        let hash = U256::from_be_bytes(KECCAK256_EMPTY.0);
        interpreter.stack.set(0, hash).expect("the place was just read");
    }
    Ok(())
}
