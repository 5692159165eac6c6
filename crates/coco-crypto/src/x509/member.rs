//! Certificates of members, whose keys may be in devices.

use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PublicKeyData,
    SignatureAlgorithm,
};

use super::{
    Certificate, CertificateError, SignerCertificate, Validity, algorithm, common_name, serial,
    set_validity,
};
use crate::{Ed25519Key, SignError, Signer};

/// What a member signs with.
#[derive(Clone, Debug)]
pub enum MemberSigner {
    /// A key of ECDSA, which may be in a device.
    Ecdsa(Arc<dyn Signer>),
    /// A key of Ed25519.
    Ed25519(Ed25519Key),
}

impl MemberSigner {
    /// Signs a message. The signature is as COSE carries it.
    ///
    /// # Errors
    /// [`SignError`] when a device does not do it.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Ecdsa(key) => key.sign(message),
            Self::Ed25519(key) => Ok(key.sign(message)),
        }
    }

    /// Whether a certificate is that of this key.
    #[must_use]
    pub fn is_of(&self, certificate: &SignerCertificate) -> bool {
        match self {
            Self::Ecdsa(key) => certificate.ecdsa_key() == Some(key.public()),
            Self::Ed25519(key) => certificate.is_of(&key.public()),
        }
    }

    /// Makes the self-signed certificate of a member, as [`member_certificate`] does.
    ///
    /// # Errors
    /// [`CertificateError`], as there.
    ///
    /// # Panics
    /// Never with a name and a period that were accepted.
    pub fn certify(
        &self,
        name: &str,
        validity: Validity,
    ) -> Result<SignerCertificate, CertificateError> {
        match self {
            Self::Ecdsa(key) => {
                member_certificate(&**key, name, validity).map(|made| (&made).into())
            }
            Self::Ed25519(key) => {
                let made =
                    params(&key.public(), name, validity)?.self_signed(&OwnKey(key.public(), key));
                SignerCertificate::from_der(made.expect("every field was checked").der())
            }
        }
    }
}

/// Makes the self-signed certificate of a member, which says its name and is good for signing.
///
/// # Errors
/// [`CertificateError`] when the name is empty, longer than [`MEMBER_NAME_CHARACTERS_MAX`] or has control characters, the
/// period is none, or the key's device does not sign.
///
/// # Panics
/// Never with a name and a period that were accepted.
pub fn member_certificate(
    key: &dyn Signer,
    name: &str,
    validity: Validity,
) -> Result<Certificate, CertificateError> {
    let params = params(key.public().spki_der(), name, validity)?;
    let holder = Holder { key, failed: Mutex::default() };
    let made = params.self_signed(&holder);
    if let Some(error) = holder.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(CertificateError::Sign(error));
    }
    Certificate::from_der(made.expect("every field was checked").der())
}

/// What stands in the certificate of a member with that key.
fn params(
    key: &[u8],
    name: &str,
    validity: Validity,
) -> Result<CertificateParams, CertificateError> {
    let characters = name.chars().count();
    if !(1..=MEMBER_NAME_CHARACTERS_MAX).contains(&characters) || name.contains(char::is_control) {
        return Err(CertificateError::Name(name.chars().take(80).collect()));
    }
    let mut params = CertificateParams::default();
    set_validity(&mut params, validity)?;
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(serial(key, validity, &[]));
    Ok(params)
}

/// Most characters of a member's name: what X.509 allows for a common name.
pub const MEMBER_NAME_CHARACTERS_MAX: usize = 64;

/// A member's key in that form. The library's errors do not tell why a device did not sign.
struct Holder<'a> {
    key: &'a dyn Signer,
    failed: Mutex<Option<SignError>>,
}

/// A key of Ed25519 in that form, with its public half.
struct OwnKey<'a>([u8; 32], &'a Ed25519Key);

impl PublicKeyData for OwnKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for OwnKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.1.sign(message))
    }
}

impl PublicKeyData for Holder<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.public().point()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        algorithm(self.key.public().curve())
    }
}

impl rcgen::SigningKey for Holder<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map(|signature| in_der(&signature)).map_err(|error| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            rcgen::Error::RemoteKeyError
        })
    }
}

/// A signature `r || s` in DER: a sequence of two integers (SEC 1, C.5).
fn in_der(signature: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = &bytes[zeros.min(bytes.len().saturating_sub(1))..];
        // The first bit of an integer is its sign.
        let positive: &[u8] =
            if digits.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
        let length = u8::try_from(positive.len() + digits.len()).expect("no curve has so many");
        [&[0x02, length], positive, digits].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let integers = [integer(r), integer(s)].concat();
    let length = u8::try_from(integers.len()).expect("no curve has so many");
    let head: &[u8] = if length < 0x80 { &[0x30, length] } else { &[0x30, 0x81, length] };
    [head, &integers].concat()
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};
    use crate::{Curve, PublicKey, SigningKey};

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    #[test]
    fn a_member_certifies_itself_under_its_name() {
        for curve in Curve::ALL {
            let key = SigningKey::generate(curve);
            let made = member_certificate(&key, "Société Générale", VALIDITY).unwrap();
            assert_eq!(made.key(), key.public());
            assert_eq!(made.validity(), VALIDITY);
            let parsed = parse(made.der()).unwrap();
            let signature = &parsed.signature_value.data;
            let signed = made.key().verify_der(parsed.tbs_certificate.as_ref(), signature);
            assert_eq!(signed, Ok(()));
            assert!(!parsed.is_ca());
            let name = parsed.subject().iter_common_name().next().unwrap();
            assert_eq!(name.as_str(), Ok("Société Générale"));
        }
    }

    #[test]
    fn a_member_with_a_key_of_ed25519_certifies_itself() {
        let signer = MemberSigner::Ed25519(Ed25519Key::generate());
        let made = signer.certify("Ørsted", VALIDITY).unwrap();
        assert_eq!((made.kind(), made.validity()), ("Ed25519", VALIDITY));
        assert!(signer.is_of(&made));
        let other = MemberSigner::Ed25519(Ed25519Key::generate());
        assert!(!other.is_of(&made));
        let on_a_curve = MemberSigner::Ecdsa(Arc::new(SigningKey::generate(Curve::P384)));
        assert!(!on_a_curve.is_of(&made));
        assert!(!signer.is_of(&on_a_curve.certify("m", VALIDITY).unwrap()));
        assert_eq!(SignerCertificate::from_pem(&made.pem()).unwrap(), made);
        made.verify_cose(b"m", &signer.sign(b"m").unwrap()).unwrap();
        // It stands under its own signature.
        let parsed = parse(made.der()).unwrap();
        let signature = &parsed.signature_value.data;
        assert!(made.verify_cose(parsed.tbs_certificate.as_ref(), signature).is_ok());
        assert!(signer.certify("", VALIDITY).is_err());
    }

    #[test]
    fn a_members_name_has_1_to_64_characters() {
        let key = SigningKey::generate(Curve::P256);
        for (name, ok) in [
            (String::new(), false),
            ("é".to_owned(), true),
            ("é".repeat(MEMBER_NAME_CHARACTERS_MAX), true),
            ("é".repeat(MEMBER_NAME_CHARACTERS_MAX + 1), false),
            ("a\nb".to_owned(), false),
        ] {
            assert_eq!(member_certificate(&key, &name, VALIDITY).is_ok(), ok, "{name:?}");
        }
    }

    #[derive(Debug)]
    struct Broken(SigningKey);

    impl Signer for Broken {
        fn public(&self) -> &PublicKey {
            self.0.public()
        }

        fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignError> {
            Err(SignError { reason: "the card is gone".into() })
        }
    }

    #[test]
    fn what_a_device_says_is_not_lost() {
        let key = Broken(SigningKey::generate(Curve::P384));
        let refused = member_certificate(&key, "acme", VALIDITY).unwrap_err();
        assert_eq!(
            refused,
            CertificateError::Sign(SignError { reason: "the card is gone".into() })
        );
    }

    #[test]
    fn integers_in_der_are_short_and_positive() {
        for (fixed, der) in [
            (&[1, 2][..], &[0x30, 6, 2, 1, 1, 2, 1, 2][..]),
            (&[0, 1, 0x80, 0], &[0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 0]),
            (&[0, 0, 0, 0x7f], &[0x30, 6, 2, 1, 0, 2, 1, 0x7f]),
        ] {
            assert_eq!(in_der(fixed), der);
        }
        let long = in_der(&[0xff; 132]);
        assert_eq!((&long[..3], long.len()), (&[0x30, 0x81, 138][..], 141));
    }
}
