//! Recovering who signed, and how fast this machine can do it: the bound that no Ethereum node on it can beat.

use std::{
    num::NonZeroUsize,
    thread,
    time::{Duration, Instant},
};

use alloy_consensus::{EthereumTxEnvelope, TxEip4844};
use alloy_primitives::Address;
use secp256k1::{
    Message, SECP256K1, SecretKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use serde::Serialize;

/// Signature recoveries a second, by libsecp256k1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Recoveries {
    /// On one thread.
    pub one_thread_per_second: f64,
    /// On `threads` threads together.
    pub all_threads_per_second: f64,
    /// How many processors there are.
    pub threads: usize,
}

/// Measures for `each` twice: on one thread, then on as many as there are processors. Blocks that long.
#[must_use]
pub fn measure(each: Duration) -> Recoveries {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Recoveries {
        one_thread_per_second: rate(1, each),
        all_threads_per_second: rate(threads, each),
        threads,
    }
}

/// Who signed `envelope`; `None` when the signature has no signer. High `s` values are accepted.
pub(crate) fn sender(envelope: &EthereumTxEnvelope<TxEip4844>) -> Option<Address> {
    let signature = envelope.signature();
    let mut compact = [0_u8; 64];
    compact[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    compact[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    let parity = RecoveryId::from_u8_masked(u8::from(signature.v()));
    let signature = RecoverableSignature::from_compact(&compact, parity).ok()?;
    let public = signature.recover(Message::from_digest(envelope.signature_hash().0)).ok()?;
    Some(Address::from_raw_public_key(&public.serialize_uncompressed()[1..]))
}

fn rate(threads: usize, each: Duration) -> f64 {
    let secret = SecretKey::from_byte_array([7; 32]).expect("a small number is a valid scalar");
    let signatures: Vec<_> = (0..DISTINCT)
        .map(|index| {
            let message = Message::from_digest([index; 32]);
            (message, SECP256K1.sign_ecdsa_recoverable(message, &secret))
        })
        .collect();
    let start = Instant::now();
    let done: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = 0;
                    while start.elapsed() < each {
                        for (message, signature) in &signatures {
                            std::hint::black_box(signature.recover(*message))
                                .expect("these signatures are good");
                        }
                        done += signatures.len();
                    }
                    done
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("recovery does not panic")).sum()
    });
    f64::from(u32::try_from(done).unwrap_or(u32::MAX)) / start.elapsed().as_secs_f64()
}

/// Signatures recovered in turn, so that no branch predictor learns one.
const DISTINCT: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_something() {
        let recoveries = measure(Duration::from_millis(5));
        assert!(recoveries.one_thread_per_second > 0.0);
        assert!(recoveries.threads >= 1);
    }
}
