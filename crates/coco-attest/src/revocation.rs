//! Whether makers have revoked a certificate.

use coco_crypto::{MakerCertificate, RevocationList};

use crate::error::{Piece, VerifyError};

/// Reads a list of revoked certificates that this authority issued.
pub(crate) fn read_list(
    bytes: &[u8],
    issuer: &MakerCertificate,
    piece: Piece,
) -> Result<RevocationList, VerifyError> {
    let wrong = |source| VerifyError::RevocationList { piece, source };
    let list = RevocationList::from_der(bytes).map_err(wrong)?;
    list.verify_issued_by(issuer).map_err(wrong)?;
    Ok(list)
}

/// Checks that a certificate, which the issuer of the list issued, is not on it.
pub(crate) fn check_revoked(
    list: &RevocationList,
    piece: Piece,
    certificate: &MakerCertificate,
) -> Result<(), VerifyError> {
    let serial = certificate.serial();
    if list.revokes(&serial) {
        return Err(VerifyError::Revoked { piece, serial: hex::encode(serial) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By OpenSSL: a root, a certificate of it, and a list that names that one.
    const ROOT: &str = include_str!("../../coco-crypto/tests/vectors/chain/pss_root.pem");
    const LEAF: &str = include_str!("../../coco-crypto/tests/vectors/chain/pss_leaf.pem");
    const LIST: &[u8] = include_bytes!("../../coco-crypto/tests/vectors/chain/pss_list.der");

    #[test]
    fn whatever_is_on_a_list_is_refused() {
        let [root, leaf] = [ROOT, LEAF].map(|text| MakerCertificate::from_pem(text).unwrap());
        let piece = Piece::RootRevocationList;
        let list = read_list(LIST, &root, piece).unwrap();
        assert_eq!(check_revoked(&list, Piece::RootCertificate, &root), Ok(()));
        let (piece, serial) = (Piece::LeafCertificate, "0a01".to_owned());
        let revoked = Err(VerifyError::Revoked { piece, serial });
        assert_eq!(check_revoked(&list, piece, &leaf), revoked);
        let found = read_list(LIST, &leaf, piece);
        assert!(matches!(found, Err(VerifyError::RevocationList { .. })), "{found:?}");
    }
}
