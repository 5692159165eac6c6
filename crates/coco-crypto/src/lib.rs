//! Hash, sign, seal, derive, share, certify: thin faces over well-kept libraries.
//!
//! Everything here is a value: keys and messages come in, digests, signatures and certificates go out. Three places
//! use the library's own entropy: making a key, the nonce of an ECDSA signature, and the padding of RSA. AEAD nonces
//! are always given by the caller. There is no clock: validity periods are arguments and are compared by whoever knows
//! the time.

mod aead;
pub mod cose;
mod ecdsa;
mod ed25519;
mod hash;
mod key_pem;
mod pem;
mod rsa;
mod rsa_key;
mod secret;
mod sharing;
mod token_key;
mod wrap;
mod x509;

pub use aead::{AEAD_KEY_BYTES, AEAD_NONCE_BYTES, AEAD_TAG_BYTES, AeadKey, SealError};
pub use ecdsa::{Curve, KeyError, PublicKey, SignError, SignatureInvalid, Signer, SigningKey};
pub use ed25519::Ed25519Key;
pub use hash::{HmacKey, Sha256, hkdf_sha256, hmac_sha256, sha256, sha384};
pub use key_pem::KeyPemError;
pub use pem::{PemError, decode_pem, encode_pem};
pub use rsa::{
    DecryptError, DecryptionKey, EncryptError, EncryptionKey, EncryptionKeyError, RSA_BITS_MAX,
    RSA_BITS_MIN,
};
pub use rsa_key::{PssHash, RsaKey, RsaKeyError};
pub use secret::SecretBytes;
pub use sharing::{
    CombineError, DealError, RecoveryShare, SHARE_BYTES, SHARES_MAX, SHARING_SEED_BYTES, Share,
    ShareError, SharedSecret,
};
pub use token_key::{TokenKey, TokenKeyError};
pub use x509::{
    AltName, BUNDLE_CERTIFICATES_MAX, CERTIFICATE_BYTES_MAX, Certificate, CertificateError,
    ClientCertificate, EndorseNode, MEMBER_NAME_CHARACTERS_MAX, MakerCertificate, MemberSigner,
    NODE_REQUEST_BYTES_MAX, NODE_REQUEST_PEM_BYTES_MAX, NodeRequest, NodeRequestError,
    REVOCATION_LIST_BYTES_MAX, REVOKED_MAX, RevocationList, RevocationListError, SignerCertificate,
    UserAuthority, Validity, certificate_key, endorse_node, endorse_service, is_host_name,
    is_root_authority, member_certificate, node_names, peer_dns_name, read_bundle, renew_node,
    service_certificate, verify_issued_by,
};
