//! Chains of makers' certificates, from that of the key that signs evidence to the root.

use coco_crypto::MakerCertificate;

use crate::error::{Link, Piece, VerifyError};

/// Checks that each certificate was issued by the next, and the root by itself, which somebody else has to know.
pub(crate) fn check_chain<'a, I>(chain: I) -> Result<(), VerifyError>
where
    I: IntoIterator<Item = &'a MakerCertificate>,
    I::IntoIter: DoubleEndedIterator + ExactSizeIterator,
{
    let mut above = None;
    for (at, below) in chain.into_iter().enumerate().rev() {
        let link = match (above, at) {
            (None, _) => Link::Root,
            (Some(_), 0) => Link::Leaf,
            (Some(_), at) => Link::Between(at),
        };
        let issued = below.verify_issued_by(above.unwrap_or(below));
        issued.map_err(|source| VerifyError::Chain { link, source })?;
        above = Some(below);
    }
    Ok(())
}

/// What each of them is called that has a period.
pub(crate) fn pieces(
    chain: &[MakerCertificate],
) -> impl Iterator<Item = (Piece, &MakerCertificate)> {
    let last = chain.len().saturating_sub(1);
    chain.iter().enumerate().map(move |(at, certificate)| {
        let piece = match at {
            0 => Piece::LeafCertificate,
            at if at == last => Piece::RootCertificate,
            at => Piece::Authority(at),
        };
        (piece, certificate)
    })
}
