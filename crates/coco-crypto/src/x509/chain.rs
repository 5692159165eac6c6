//! Who issued a certificate, whatever the kind of its key: authorities of the public web have keys of RSA as well.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};

use super::{
    CertificateError, algorithm_der, check_size, parse,
    signed::{check_signed, states},
};
use crate::{PublicKey, SignatureInvalid};

/// Checks that `issuer` may issue, is the issuer named in `certificate`, and signed it: with a key of [`Curve`](crate::Curve)
/// and the hash of its size, or with RSA of 2048 to 8192 bits (PKCS #1 v1.5, SHA-256, SHA-384 or SHA-512). Both are in DER.
///
/// # Errors
/// [`CertificateError`] with the first thing that is wrong.
pub fn verify_issued_by(certificate: &[u8], issuer: &[u8]) -> Result<(), CertificateError> {
    check_size(certificate)?;
    check_size(issuer)?;
    let (this, above) = (parse(certificate)?, parse(issuer)?);
    if !above.is_ca() {
        return Err(CertificateError::NoAuthority);
    }
    if this.issuer().as_raw() != above.subject().as_raw() {
        return Err(CertificateError::Issuer);
    }
    let key = above.public_key().raw;
    if let Ok(key) = PublicKey::from_spki_der(key) {
        let algorithm = algorithm_der(key.curve());
        return check_signed(certificate, &this, algorithm, |signed, signature| {
            key.verify_der(signed, signature)
        });
    }
    let signed: &[u8] = this.tbs_certificate.as_ref();
    let kinds: [(&[u8], &'static RsaParameters); 3] = [
        (RSA_SHA256_DER, &RSA_PKCS1_2048_8192_SHA256),
        (RSA_SHA384_DER, &RSA_PKCS1_2048_8192_SHA384),
        (RSA_SHA512_DER, &RSA_PKCS1_2048_8192_SHA512),
    ];
    let kind = kinds.into_iter().find(|(algorithm, _)| states(certificate, signed, algorithm));
    let (algorithm, parameters) = kind.ok_or(CertificateError::Algorithm)?;
    check_signed(certificate, &this, algorithm, |signed, signature| {
        let key = UnparsedPublicKey::new(parameters, key);
        key.verify(signed, signature).map_err(|_| SignatureInvalid)
    })
}

/// The identifiers of RSA with each hash (PKCS #1 v1.5), whole.
pub(super) const RSA_SHA256_DER: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
pub(super) const RSA_SHA384_DER: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c, 0x05, 0x00];
const RSA_SHA512_DER: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d, 0x05, 0x00];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_bundle;

    fn issued(certificate: &str, issuer: &str) -> Result<(), CertificateError> {
        let [certificate, issuer] = [certificate, issuer].map(|text| read_bundle(text).unwrap());
        verify_issued_by(&certificate[0], &issuer[0])
    }

    /// The second and third of these were issued by the first, and the fourth by the third.
    const RSA_ROOT: &str = include_str!("../../tests/vectors/chain/rsa_root.pem");
    const RSA_LEAF: &str = include_str!("../../tests/vectors/chain/rsa_leaf.pem");
    const P384_AUTHORITY: &str = include_str!("../../tests/vectors/chain/p384_authority.pem");
    const P256_LEAF: &str = include_str!("../../tests/vectors/chain/p256_leaf.pem");
    /// Of the same name as the first.
    const OTHER_ROOT: &str = include_str!("../../tests/vectors/chain/other_root.pem");

    #[test]
    fn a_certificate_is_issued_by_an_authority_of_any_kind() {
        for (certificate, issuer, expected) in [
            (RSA_ROOT, RSA_ROOT, Ok(())),
            (RSA_LEAF, RSA_ROOT, Ok(())),
            (P384_AUTHORITY, RSA_ROOT, Ok(())),
            (P256_LEAF, P384_AUTHORITY, Ok(())),
            (P256_LEAF, RSA_ROOT, Err(CertificateError::Issuer)),
            (RSA_ROOT, RSA_LEAF, Err(CertificateError::NoAuthority)),
            (RSA_LEAF, OTHER_ROOT, Err(CertificateError::Signature(SignatureInvalid))),
            (OTHER_ROOT, RSA_ROOT, Err(CertificateError::Signature(SignatureInvalid))),
        ] {
            assert_eq!(issued(certificate, issuer), expected, "{certificate}{issuer}");
        }
    }

    #[test]
    fn no_byte_of_a_certificate_can_be_another() {
        let [leaf, root] = [RSA_LEAF, RSA_ROOT].map(|text| read_bundle(text).unwrap());
        for at in 0..leaf[0].len() {
            let mut altered = leaf[0].clone();
            altered[at] ^= 1;
            assert!(verify_issued_by(&altered, &root[0]).is_err(), "byte {at}");
        }
    }
}
