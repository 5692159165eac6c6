//! The test accounts that every Ethereum development tool knows: BIP-39 seed of the well-known mnemonic, BIP-32 keys
//! at `m/44'/60'/0'/0/i`.

use std::sync::OnceLock;

use alloy_primitives::{Address, hex};
use bip32::{DerivationPath, XPrv};

/// The mnemonic. Everyone knows it: accounts of it are worth nothing outside development.
pub(super) const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// The BIP-39 seed of [`MNEMONIC`] with an empty passphrase: PBKDF2-HMAC-SHA512, 2048 rounds.
fn parent() -> &'static XPrv {
    static PARENT: OnceLock<XPrv> = OnceLock::new();
    PARENT.get_or_init(|| {
        let mut seed = [0; 64];
        aws_lc_rs::pbkdf2::derive(
            aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA512,
            std::num::NonZeroU32::new(2048).expect("2048 is not zero"),
            b"mnemonic",
            MNEMONIC.as_bytes(),
            &mut seed,
        );
        let path: DerivationPath = "m/44'/60'/0'/0".parse().expect("a constant path");
        XPrv::derive_from_path(seed, &path).expect("the seed of the test mnemonic has this key")
    })
}

fn key(i: u32) -> XPrv {
    let number = bip32::ChildNumber::new(i, false).expect("fewer than 2^31 accounts");
    parent().derive_child(number).expect("all keys of the test mnemonic that are used exist")
}

/// The address of account `i`.
pub(super) fn address(i: u32) -> Address {
    let public = key(i).public_key();
    let point = k256_uncompressed(public.public_key());
    Address::from_raw_public_key(&point)
}

/// The private key of account `i`, for people to import.
pub(super) fn key_hex(i: u32) -> String {
    hex::encode_prefixed(key(i).private_key().to_bytes())
}

/// The two coordinates of a public key.
fn k256_uncompressed(key: &bip32::secp256k1::ecdsa::VerifyingKey) -> [u8; 64] {
    let encoded = key.to_encoded_point(false);
    encoded.as_bytes()[1..]
        .try_into()
        .expect("an uncompressed point has two coordinates of 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_are_those_that_every_tool_knows() {
        // As printed by anvil and Hardhat.
        assert_eq!(address(0).to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(address(9).to_string(), "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720");
        assert_eq!(
            key_hex(0),
            "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
        );
    }
}
