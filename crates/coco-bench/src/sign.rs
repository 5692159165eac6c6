//! Keys and signatures, made on every processor before any clock starts.

use std::{num::NonZeroUsize, thread};

use alloy_consensus::{EthereumTxEnvelope, SignableTransaction, TxEip1559, TxEip4844, TxLegacy};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, b256, hex, keccak256};
use secp256k1::{Message, SECP256K1, SecretKey};

use crate::{args::Envelope, plan::Signed};

/// Secret keys with their addresses. Anybody can compute them: they are for tests only.
#[derive(Debug)]
pub struct Keys(Vec<(SecretKey, Address)>);

impl Keys {
    /// The ten accounts that development chains fund: the phrase "test test test test test test test test test test
    /// test junk", path `m/44'/60'/0'/0/0` to `/9`.
    #[must_use]
    pub fn well_known() -> Self {
        Self(WELL_KNOWN.iter().map(|secret| key(*secret)).collect())
    }

    /// `count` keys anyone can compute from `seed`; never use them for anything of worth.
    #[must_use]
    pub fn generated(seed: u64, count: usize) -> Self {
        let secret = |index: usize| keccak256(format!("coco bench sender {seed} {index}"));
        Self((0..count).map(|index| key(secret(index))).collect())
    }

    /// The address of a key.
    ///
    /// # Panics
    /// When there are not so many keys.
    #[must_use]
    pub fn address(&self, index: usize) -> Address {
        self.0[index].1
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A transaction before its signature.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Which of the [`Keys`] signs.
    pub key: usize,
    /// The sender's number of it.
    pub nonce: u64,
    /// The receiver, or a creation.
    pub to: TxKind,
    /// Wei.
    pub value: U256,
    /// Most gas it may use.
    pub gas: u64,
    /// Data of the call.
    pub input: Bytes,
}

/// What all transactions of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct Fees {
    /// Which chain takes it.
    pub chain_id: u64,
    /// Wei per gas.
    pub gas_price: u128,
    /// The form of the transactions.
    pub envelope: Envelope,
}

/// Signs every draft, in order, on every processor.
pub(crate) fn sign(keys: &Keys, drafts: &[Draft], fees: Fees) -> Vec<Signed> {
    let signed: Result<_, std::convert::Infallible> =
        in_parallel(drafts, |draft| Ok(sign_one(keys, draft, fees)));
    let Ok(signed) = signed;
    signed
}

/// Maps `items` on every processor; the first error, in order, wins.
pub(crate) fn in_parallel<T: Sync, U: Send, E: Send>(
    items: &[T],
    each: impl Fn(&T) -> Result<U, E> + Sync,
) -> Result<Vec<U>, E> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = items.len().div_ceil(threads).max(1);
    let each = &each;
    let parts: Vec<Result<Vec<U>, E>> = thread::scope(|scope| {
        let workers: Vec<_> = items
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().map(each).collect()))
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("workers only map")).collect()
    });
    let mut all = Vec::with_capacity(items.len());
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

/// Signs one draft with its key.
///
/// # Panics
/// When the draft names a key that is not there.
#[must_use]
pub fn sign_one(keys: &Keys, draft: &Draft, fees: Fees) -> Signed {
    let (secret, sender) = &keys.0[draft.key];
    let Draft { nonce, to, value, gas, input, .. } = draft.clone();
    let Fees { chain_id, gas_price, envelope } = fees;
    let (raw, hash) = match envelope {
        Envelope::Legacy => finish(
            secret,
            TxLegacy {
                chain_id: Some(chain_id),
                nonce,
                gas_price,
                gas_limit: gas,
                to,
                value,
                input,
            },
        ),
        Envelope::Eip1559 => finish(
            secret,
            TxEip1559 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: gas_price,
                max_priority_fee_per_gas: 0,
                to,
                value,
                access_list: alloy_eips::eip2930::AccessList::default(),
                input,
            },
        ),
    };
    Signed { raw: hex::encode_prefixed(&raw).into_boxed_str(), hash, sender: *sender }
}

fn finish<T>(secret: &SecretKey, transaction: T) -> (Vec<u8>, B256)
where
    T: SignableTransaction<Signature>,
    EthereumTxEnvelope<TxEip4844>: From<alloy_consensus::Signed<T>>,
{
    let message = Message::from_digest(transaction.signature_hash().0);
    let (parity, compact) = SECP256K1.sign_ecdsa_recoverable(message, secret).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&compact, i32::from(parity) == 1);
    let envelope = EthereumTxEnvelope::<TxEip4844>::from(transaction.into_signed(signature));
    (envelope.encoded_2718(), *envelope.tx_hash())
}

fn key(secret: B256) -> (SecretKey, Address) {
    let secret = SecretKey::from_byte_array(secret.0)
        .expect("a hash is a valid scalar but for one in 2^127");
    let public = secret.public_key(SECP256K1).serialize_uncompressed();
    (secret, Address::from_raw_public_key(&public[1..]))
}

const WELL_KNOWN: [B256; 10] = [
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recover;
    use alloy_eips::Decodable2718 as _;
    use alloy_primitives::address;

    #[test]
    fn well_known_accounts_are_those_every_tool_prints() {
        let keys = Keys::well_known();
        assert_eq!(keys.address(0), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        assert_eq!(keys.address(1), address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"));
        assert_eq!(keys.address(9), address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720"));
    }

    #[test]
    fn signatures_recover_to_their_sender() {
        let keys = Keys::generated(3, 2);
        for envelope in [Envelope::Legacy, Envelope::Eip1559] {
            let fees = Fees { chain_id: 31337, gas_price: 7, envelope };
            let draft = |key| Draft {
                key,
                nonce: 5,
                to: TxKind::Create,
                value: U256::from(9),
                gas: 100_000,
                input: Bytes::from_static(&[1, 2, 3]),
            };
            for (index, signed) in sign(&keys, &[draft(0), draft(1)], fees).iter().enumerate() {
                let raw = hex::decode(&*signed.raw).unwrap();
                assert_eq!(keccak256(&raw), signed.hash);
                let decoded =
                    EthereumTxEnvelope::<TxEip4844>::decode_2718(&mut raw.as_slice()).unwrap();
                assert_eq!(recover::sender(&decoded), Some(keys.address(index)));
                assert_eq!(signed.sender, keys.address(index));
            }
        }
    }

    #[test]
    fn parallel_map_keeps_order_and_the_first_error() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled: Result<Vec<u32>, ()> = in_parallel(&items, |item| Ok(item * 2));
        assert_eq!(doubled, Ok(items.iter().map(|item| item * 2).collect()));
        let failed: Result<Vec<()>, u32> =
            in_parallel(&items, |item| if *item > 10 { Err(*item) } else { Ok(()) });
        assert_eq!(failed, Err(11));
    }
}
