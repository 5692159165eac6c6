//! Keys, recovery shares and ledger secrets, as they are kept and brought.

use coco_crypto::{Curve, DecryptionKey, EncryptionKey, RecoveryShare, SigningKey};
use coco_ledger::{LedgerSecrets, Period};
use coco_types::Seqno;

pub(crate) fn recovery_share(data: &[u8]) {
    if let Ok(share) = RecoveryShare::decode(data) {
        assert_eq!(share.encode().as_slice(), data, "a share has one encoding");
        let again = RecoveryShare::decode(data).expect("it was just read");
        assert_eq!(share.digest(b"holder"), again.digest(b"holder"));
        assert_ne!(share.digest(b"holder"), share.digest(b"another"));
    }
}

/// What the sealed identity of a node holds.
pub(crate) fn ledger_secrets(data: &[u8]) {
    let Ok(secrets) = LedgerSecrets::decode(data) else { return };
    assert_eq!(secrets.encode().expose(), data, "secrets have one encoding");
    assert!(secrets.periods().is_sorted_by(|one, next| one.from < next.from));
    let first = secrets.periods().first().expect("there is one").from;
    assert_eq!(secrets.is_whole(), first <= Seqno(1));
    for Period { from, .. } in secrets.periods() {
        assert!(secrets.knows(*from));
        let _sealed_under = secrets.at(*from);
    }
}

pub(crate) fn key_pem(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(key) = SigningKey::from_pem(text) {
        let again = SigningKey::from_pem(utf8(key.to_pem().expose()));
        assert_eq!(again.expect("it was just written").public(), key.public());
        let signature = key.sign_fixed(b"message");
        assert_eq!(key.public().verify_fixed(b"message", &signature), Ok(()));
        assert!(Curve::ALL.contains(&key.public().curve()));
    }
    if let Ok(key) = EncryptionKey::from_pem(text) {
        let again = EncryptionKey::from_pem(&key.pem()).expect("it was just written");
        assert_eq!(again.pem(), key.pem(), "a key comes back from its PEM");
        let _encrypted = key.encrypt(b"message");
    }
    if let Ok(key) = DecryptionKey::from_pem(text) {
        let again = DecryptionKey::from_pem(utf8(key.pem().expose())).expect("just written");
        assert_eq!(again.public().pem(), key.public().pem());
        let encrypted = key.public().encrypt(b"message").expect("it is short");
        let plain = key.decrypt(&encrypted).expect("it was encrypted to it");
        assert_eq!(plain.expose(), b"message");
    }
}

fn utf8(pem: &[u8]) -> &str {
    str::from_utf8(pem).expect("PEM is text")
}
