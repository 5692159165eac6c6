//! What comes with a quote: which certificates Intel has revoked, and what it says of machines and quoting enclaves.

use coco_crypto::{MakerCertificate, RevocationList, Validity};

use super::{
    documents::{QeIdentity, TcbInfo},
    quote::{Chain, Tee},
};
use crate::{
    error::{Link, Piece, VerifyError},
    evidence::{EndorsementKind, Endorsements},
    revocation::{check_revoked, read_list},
    valid_within,
};

/// Whom the certificate of the key that signs documents names.
const SIGNER: &str = "Intel SGX TCB Signing";

/// Documents that Intel signed.
pub(super) struct Collateral {
    pub(super) info: TcbInfo,
    pub(super) identity: QeIdentity,
    /// When all of it counts, and the chain of the quote.
    pub(super) valid: Validity,
}

/// Checks all endorsements of a quote with this chain, which was checked up to the root.
pub(super) fn verify(
    chain: &Chain,
    endorsements: &Endorsements,
    tee: Tee,
    now: u64,
) -> Result<Collateral, VerifyError> {
    let [of_root, of_authority] = endorsements.pieces(EndorsementKind::RevocationList)?;
    let [info] = endorsements.pieces(EndorsementKind::TcbInfo)?;
    let [identity] = endorsements.pieces(EndorsementKind::QeIdentity)?;
    let (for_info, for_identity) = signers(endorsements)?;
    let of_root = read_list(of_root, &chain.root, Piece::RootRevocationList)?;
    let of_authority = read_list(of_authority, &chain.authority, Piece::RevocationList)?;
    check_none_revoked(chain, [&for_info, &for_identity], &of_root, &of_authority)?;
    for signer in [&for_info, &for_identity] {
        let issued = signer.verify_issued_by(&chain.root);
        issued.map_err(|source| VerifyError::Chain { link: Link::DocumentSigner, source })?;
        // The root issues certificates of authorities as well.
        if signer.is_authority() || signer.common_name().as_deref() != Some(SIGNER) {
            let piece = Piece::DocumentSigner;
            return Err(VerifyError::OtherPiece { piece, what: "the name" });
        }
    }
    let (info, of_info) = TcbInfo::read(info, &for_info, tee)?;
    let (identity, of_identity) = QeIdentity::read(identity, &for_identity, tee)?;
    let periods = [
        (Piece::LeafCertificate, chain.leaf.validity()),
        (Piece::Authority(1), chain.authority.validity()),
        (Piece::RootCertificate, chain.root.validity()),
        (Piece::DocumentSigner, for_info.validity()),
        (Piece::DocumentSigner, for_identity.validity()),
        (Piece::RootRevocationList, of_root.validity()),
        (Piece::RevocationList, of_authority.validity()),
        (Piece::TcbInfo, of_info),
        (Piece::QeIdentity, of_identity),
    ];
    let valid = valid_within(periods, now, now)?;
    Ok(Collateral { info, identity, valid })
}

/// Checks that no certificate is on the list of whoever issued it.
fn check_none_revoked(
    chain: &Chain,
    signers: [&MakerCertificate; 2],
    of_root: &RevocationList,
    of_authority: &RevocationList,
) -> Result<(), VerifyError> {
    check_revoked(of_root, Piece::RootCertificate, &chain.root)?;
    check_revoked(of_root, Piece::Authority(1), &chain.authority)?;
    check_revoked(of_authority, Piece::LeafCertificate, &chain.leaf)?;
    for signer in signers {
        check_revoked(of_root, Piece::DocumentSigner, signer)?;
    }
    Ok(())
}

/// The certificates of the keys that signed the document of machines and that of the quoting enclave: one, while Intel does not change it.
fn signers(
    endorsements: &Endorsements,
) -> Result<(MakerCertificate, MakerCertificate), VerifyError> {
    let certificates = endorsements.certificates()?;
    match certificates.as_slice() {
        [one] => Ok((one.clone(), one.clone())),
        [for_info, for_identity] => Ok((for_info.clone(), for_identity.clone())),
        all => {
            let (kind, found) = (EndorsementKind::Certificate, all.len());
            Err(VerifyError::Pieces { kind, found, expected: 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By OpenSSL: a root, a certificate of it, a list that names that one, and whoever revokes nothing that is here.
    const ROOT: &str = include_str!("../../../coco-crypto/tests/vectors/chain/pss_root.pem");
    const LEAF: &str = include_str!("../../../coco-crypto/tests/vectors/chain/pss_leaf.pem");
    const LIST: &[u8] = include_bytes!("../../../coco-crypto/tests/vectors/chain/pss_list.der");

    /// No revoked machine of Intel's was recorded.
    #[test]
    fn each_certificate_is_looked_for_on_the_list_of_its_issuer() {
        let [good, bad] = [ROOT, LEAF].map(|text| MakerCertificate::from_pem(text).unwrap());
        let list = RevocationList::from_der(LIST).unwrap();
        let with = |change: &dyn Fn(&mut Chain), signers: [&MakerCertificate; 2]| {
            let mut chain =
                Chain { leaf: good.clone(), authority: good.clone(), root: good.clone() };
            change(&mut chain);
            check_none_revoked(&chain, signers, &list, &list)
        };
        let revoked = |piece| Err(VerifyError::Revoked { piece, serial: "0a01".to_owned() });
        let signers = [&good, &good];
        assert_eq!(with(&|_| (), signers), Ok(()));
        let found = with(&|chain| chain.leaf = bad.clone(), signers);
        assert_eq!(found, revoked(Piece::LeafCertificate));
        let found = with(&|chain| chain.authority = bad.clone(), signers);
        assert_eq!(found, revoked(Piece::Authority(1)));
        let found = with(&|chain| chain.root = bad.clone(), signers);
        assert_eq!(found, revoked(Piece::RootCertificate));
        for signers in [[&bad, &good], [&good, &bad]] {
            assert_eq!(with(&|_| (), signers), revoked(Piece::DocumentSigner));
        }
    }
}
