//! Certificates: the service's own, and those by which it endorses its nodes.

mod chain;
mod client;
mod maker;
mod member;
mod request;
mod revocation;
mod signed;
mod signer;
mod validity;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use coco_types::{Digest, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};
use thiserror::Error;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, time::ASN1Time,
    x509::X509Version,
};

use crate::{
    Curve, KeyError, PemError, PublicKey, Sha256, SignError, SignatureInvalid, SigningKey,
    pem::{self, Label},
    sha256,
};

pub use chain::verify_issued_by;
pub use client::{ClientCertificate, UserAuthority, certificate_key};
pub use maker::MakerCertificate;
pub use member::{MEMBER_NAME_CHARACTERS_MAX, MemberSigner, member_certificate};
pub use request::{
    NODE_REQUEST_BYTES_MAX, NODE_REQUEST_PEM_BYTES_MAX, NodeRequest, NodeRequestError, node_names,
};
pub use revocation::{REVOCATION_LIST_BYTES_MAX, REVOKED_MAX, RevocationList, RevocationListError};
pub use signer::SignerCertificate;
pub use validity::Validity;

use signed::check_signed;

/// Largest certificate that is read, in bytes. Room for an attestation report in an extension.
pub const CERTIFICATE_BYTES_MAX: usize = 32 << 10;

/// A name under which a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AltName {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// What an endorsement says of a node.
#[derive(Clone, Debug)]
pub struct EndorseNode<'a> {
    /// The node's key.
    pub key: &'a PublicKey,
    /// Further names; `localhost`, `127.0.0.1` and `::1` are always there.
    pub names: &'a [AltName],
    /// For how long.
    pub validity: Validity,
}

/// A certificate that cannot be made, read or believed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CertificateError {
    /// The text is no PEM.
    #[error("certificate is not PEM")]
    Pem(#[from] PemError),
    /// The bytes are no certificate.
    #[error("certificate is not X.509 in DER")]
    Der,
    /// More bytes than are read.
    #[error("certificate has {found} bytes, at most {limit} are read")]
    Long {
        /// Bytes given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The key inside is of another kind.
    #[error("certificate carries an unusable key")]
    Key(#[from] KeyError),
    /// Not signed by the issuer it was checked against.
    #[error("certificate is not signed by the issuer")]
    Signature(#[from] SignatureInvalid),
    /// Signed with an algorithm that is not the issuer key's own.
    #[error("certificate is signed with an algorithm that is not accepted")]
    Algorithm,
    /// The issuer's name is not the subject of the certificate it was checked against.
    #[error("certificate names another issuer")]
    Issuer,
    /// The issuer may not issue.
    #[error("the issuer is no certificate authority")]
    NoAuthority,
    /// The certificate is an authority's, such as the one by which a service endorses the key of one before it.
    #[error("certificate is an authority's, and no node's")]
    NotForNodes,
    /// The certificate is not one by which a client is recognised.
    #[error("certificate is not for clients: {0}")]
    NotForClients(&'static str),
    /// It says that nobody may believe it without an extension that is not known here.
    #[error("certificate has a critical extension that is not known here")]
    CriticalExtension,
    /// The key did not sign it.
    #[error("the certificate is not made")]
    Sign(#[from] SignError),
    /// Not exactly one certificate.
    #[error("{found} certificates, where one is expected")]
    NotOne {
        /// How many there are.
        found: usize,
    },
    /// A name that no certificate can carry.
    #[error("{0:?} cannot stand in a certificate")]
    Name(String),
    /// A period that ends before it begins, or past the year 9999.
    #[error("validity from {not_before} to {not_after} is not a period before the year 10000")]
    Validity {
        /// First second.
        not_before: u64,
        /// Last second.
        not_after: u64,
    },
}

/// A parsed certificate. Parsing believes nothing: see [`Certificate::verify_issued_by`].
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    key: PublicKey,
    validity: Validity,
    is_authority: bool,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`] when the bytes are too many, no certificate, or carry a key of another kind.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        check_size(der)?;
        let parsed = parse(der)?;
        let key = PublicKey::from_spki_der(parsed.public_key().raw)?;
        let validity = validity_of(&parsed);
        let is_authority = parsed.is_ca();
        Ok(Self { der: der.to_vec(), key, validity, is_authority })
    }

    /// Reads the first certificate in a PEM text.
    ///
    /// # Errors
    /// [`CertificateError`] when there is none, or it is unreadable.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&pem::decode(Label::Certificate, text)?)
    }

    /// The certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER: the id of a member or participant whose certificate it is.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.der)
    }

    /// The certificate in PEM, always the same text for the same certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        pem::encode(Label::Certificate, &self.der)
    }

    /// The subject's key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The period it claims. Whether it is now is for the caller, who has a clock.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The names in it, of those that a node's certificate may have.
    ///
    /// # Errors
    /// [`CertificateError::Name`] when there is one of another kind.
    pub fn node_names(&self) -> Result<Vec<AltName>, CertificateError> {
        names(&parse(&self.der)?)
    }

    /// Checks that `issuer` may issue, is the issuer named here, and signed this certificate.
    ///
    /// # Errors
    /// [`CertificateError`] with the first thing that is wrong.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), CertificateError> {
        if !issuer.is_authority {
            return Err(CertificateError::NoAuthority);
        }
        let (this, above) = (parse(&self.der)?, parse(&issuer.der)?);
        if this.issuer().as_raw() != above.subject().as_raw() {
            return Err(CertificateError::Issuer);
        }
        self.verify_signed_by(&issuer.key)
    }

    /// Checks that it may be a node's: it is no authority's. A service issues certificates to nodes and to the keys of services
    /// before it, and those sign nothing for it.
    ///
    /// # Errors
    /// [`CertificateError::NotForNodes`].
    pub const fn check_node(&self) -> Result<(), CertificateError> {
        if self.is_authority { Err(CertificateError::NotForNodes) } else { Ok(()) }
    }

    /// Checks that this certificate is signed with a key. It says nothing of who has the key, nor whether it may issue.
    ///
    /// # Errors
    /// [`CertificateError`] with the first thing that is wrong.
    pub fn verify_signed_by(&self, issuer: &PublicKey) -> Result<(), CertificateError> {
        let algorithm = algorithm_der(issuer.curve());
        check_signed(&self.der, &parse(&self.der)?, algorithm, |signed, signature| {
            issuer.verify_der(signed, signature)
        })
    }
}

const fn check_size(der: &[u8]) -> Result<(), CertificateError> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::Long { found: der.len(), limit: CERTIFICATE_BYTES_MAX });
    }
    Ok(())
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?})", self.key)
    }
}

/// Most certificates that one text may hold. Bundles of authorities have some dozens.
pub const BUNDLE_CERTIFICATES_MAX: usize = 128;

/// The certificates of a PEM text in DER, at least one. Each is X.509; its key may be of any kind.
///
/// # Errors
/// [`CertificateError`] when there is none, or one is unreadable, or there are more than [`BUNDLE_CERTIFICATES_MAX`].
pub fn read_bundle(text: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    let certificates = pem::decode_all(text, BUNDLE_CERTIFICATES_MAX)?;
    for der in &certificates {
        check_size(der)?;
        drop(parse(der)?);
    }
    Ok(certificates)
}

/// Whether a text is one certificate of an authority that names itself as its issuer. One of the first version of X.509, which
/// says of nobody whether it is an authority, counts as one. Its key may be of any kind, and so its signature is not looked at:
/// whoever trusts a root does so by its bytes.
#[must_use]
pub fn is_root_authority(text: &str) -> bool {
    match read_bundle(text).as_deref() {
        Ok([der]) => parse(der).is_ok_and(|certificate| {
            let may_issue = certificate.is_ca() || certificate.version() == X509Version::V1;
            may_issue && certificate.issuer().as_raw() == certificate.subject().as_raw()
        }),
        _ => false,
    }
}

/// Makes the self-signed certificate of a service.
///
/// # Errors
/// [`CertificateError::Validity`].
///
/// # Panics
/// Never with a period that was accepted.
pub fn service_certificate(
    key: &SigningKey,
    validity: Validity,
) -> Result<Certificate, CertificateError> {
    let mut params = service_params();
    set_validity(&mut params, validity)?;
    params.serial_number = Some(serial(key.public().spki_der(), validity, &[]));
    params.use_authority_key_identifier_extension = true;
    let made = params.self_signed(&Issuing(key)).expect("every field was checked");
    Certificate::from_der(made.der())
}

/// Makes the certificate by which the service endorses a node: good for both ends of TLS.
///
/// # Errors
/// [`CertificateError`] when a name or the period cannot stand in a certificate, or `service` is not the certificate
/// of `service_key` as [`service_certificate`] makes it.
///
/// # Panics
/// Never with names and a period that were accepted.
pub fn endorse_node(
    service_key: &SigningKey,
    service: &Certificate,
    node: &EndorseNode<'_>,
) -> Result<Certificate, CertificateError> {
    let mut params = CertificateParams::default();
    set_validity(&mut params, node.validity)?;
    params.distinguished_name = common_name(NODE_COMMON_NAME);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = alt_names(node.names)?;
    params.serial_number =
        Some(serial(node.key.spki_der(), node.validity, &params.subject_alt_names));
    let issuer = Issuer::new(service_params(), Issuing(service_key));
    let made = params.signed_by(&Endorsed(node.key), &issuer).expect("every field was checked");
    let made = Certificate::from_der(made.der())?;
    made.verify_issued_by(service)?;
    Ok(made)
}

/// Makes a node's certificate anew: for the same key and names, and another period.
///
/// # Errors
/// [`CertificateError`] when `node` has names that [`endorse_node`] would not give it, or as there.
///
/// # Panics
/// Never, as there.
pub fn renew_node(
    service_key: &SigningKey,
    service: &Certificate,
    node: &Certificate,
    validity: Validity,
) -> Result<Certificate, CertificateError> {
    let names = node.node_names()?;
    endorse_node(service_key, service, &EndorseNode { key: node.key(), names: &names, validity })
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<AltName>, CertificateError> {
    let extension = certificate.subject_alternative_name().map_err(|_| CertificateError::Der)?;
    let names = extension.map(|extension| &extension.value.general_names).into_iter().flatten();
    names.map(alt_name).collect()
}

fn alt_name(name: &GeneralName<'_>) -> Result<AltName, CertificateError> {
    let read = match name {
        GeneralName::DNSName(text) => Some(AltName::Dns((*text).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| Ipv4Addr::from(bytes).into());
            let v6 = <[u8; 16]>::try_from(*bytes).map(|bytes| Ipv6Addr::from(bytes).into());
            v4.or(v6).ok().map(AltName::Ip)
        }
        _ => None,
    };
    read.ok_or_else(|| CertificateError::Name(name.to_string()))
}

/// Makes the certificate by which a service endorses the key of one before it, so that whom that one endorsed is believed
/// by whoever trusts this one.
///
/// # Errors
/// [`CertificateError`] when `service` is not the certificate of `service_key` as [`service_certificate`] makes it.
///
/// # Panics
/// Never: a certificate that was read has a period.
pub fn endorse_service(
    service_key: &SigningKey,
    service: &Certificate,
    previous: &PublicKey,
) -> Result<Certificate, CertificateError> {
    let mut params = service_params();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    set_validity(&mut params, service.validity)?;
    params.serial_number = Some(serial(previous.spki_der(), service.validity, &[]));
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(service_params(), Issuing(service_key));
    let made = params.signed_by(&Endorsed(previous), &issuer).expect("every field was checked");
    let made = Certificate::from_der(made.der())?;
    made.verify_issued_by(service)?;
    Ok(made)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Der),
    }
}

fn seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}

fn validity_of(certificate: &X509Certificate<'_>) -> Validity {
    Validity {
        not_before: seconds(certificate.validity().not_before),
        not_after: seconds(certificate.validity().not_after),
    }
}

/// The identifier of ECDSA with the curve's own hash, whole.
const fn algorithm_der(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
        Curve::P384 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
        Curve::P521 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04],
    }
}

fn service_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(SERVICE_COMMON_NAME);
    // Between the service and a node may stand the certificate of a service before it, see `endorse_service`.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The names of a node's certificate: those that every node has, and these, each once.
fn with_local_names(names: &[AltName]) -> Vec<AltName> {
    let mut all = vec![AltName::Dns(LOCAL_NAME.to_owned())];
    for name in LOCAL_ADDRESSES.map(AltName::Ip).iter().chain(names) {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}

fn alt_names(names: &[AltName]) -> Result<Vec<SanType>, CertificateError> {
    let names = with_local_names(names).into_iter();
    let name = |name| match name {
        AltName::Dns(text) if is_host_name(&text) => {
            let name =
                text.as_str().try_into().map_err(|_| CertificateError::Name(text.clone()))?;
            Ok(SanType::DnsName(name))
        }
        AltName::Dns(text) => Err(CertificateError::Name(text.chars().take(80).collect())),
        AltName::Ip(address) => Ok(SanType::IpAddress(address)),
    };
    names.map(name).collect()
}

/// The DNS name by which a node's certificate answers to its peers. A label holds at most 63 characters, so the first
/// 40 digits of the id stand for it; whoever relies on it compares the whole id with the certificate's key.
#[must_use]
pub fn peer_dns_name(id: NodeId) -> String {
    format!("{}.node.coco", &id.to_string()[..40])
}

/// Whether certificates can name such a host: letters, digits and hyphens in labels of 1 to 63, at most 253 in all.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn set_validity(
    params: &mut CertificateParams,
    validity: Validity,
) -> Result<(), CertificateError> {
    let Validity { not_before, not_after } = validity;
    if not_before > not_after || not_after > LAST_SECOND {
        return Err(CertificateError::Validity { not_before, not_after });
    }
    let time = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = time(not_before);
    params.not_after = time(not_after);
    Ok(())
}

/// A serial number that differs whenever the certificate does: issuer and serial together name one certificate.
fn serial(key: &[u8], validity: Validity, names: &[SanType]) -> SerialNumber {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(&validity.not_before.to_be_bytes());
    hash.update(&validity.not_after.to_be_bytes());
    hash.update(format!("{names:?}").as_bytes());
    let mut serial = hash.finish().0[..SERIAL_BYTES].to_vec();
    // Positive, and of one length.
    serial[0] = serial[0] & 0x7f | 0x40;
    serial.into()
}

const SERVICE_COMMON_NAME: &str = "Coco service";
const NODE_COMMON_NAME: &str = "Coco node";
const LOCAL_NAME: &str = "localhost";
const LOCAL_ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Longest serial number that RFC 5280 allows.
const SERIAL_BYTES: usize = 20;

/// The last second of the year 9999, past which certificates cannot speak.
const LAST_SECOND: u64 = 253_402_300_799;

/// Our key in the form that the certificate library signs with.
struct Issuing<'a>(&'a SigningKey);

/// A public key in the form that the certificate library writes.
struct Endorsed<'a>(&'a PublicKey);

const fn algorithm(curve: Curve) -> &'static SignatureAlgorithm {
    match curve {
        Curve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Curve::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        Curve::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
    }
}

impl PublicKeyData for Endorsed<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        algorithm(self.0.curve())
    }
}

impl PublicKeyData for Issuing<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public().point()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        algorithm(self.0.public().curve())
    }
}

impl rcgen::SigningKey for Issuing<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign_der(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    #[test]
    fn a_bundle_holds_one_to_128_certificates() {
        let (_, one) = service();
        for (count, ok) in [(0, false), (1, true), (127, true), (128, true), (129, false)] {
            let bundle = read_bundle(&one.pem().repeat(count));
            assert_eq!(bundle.is_ok(), ok, "{count}");
            assert!(bundle.is_err() || bundle == Ok(vec![one.der().to_vec(); count]));
        }
        let other = one.pem().replace("MII", "AAA");
        assert!(read_bundle(&(one.pem() + &other)).is_err(), "one is unreadable");
        let cut = one.pem().replace("-----END", "");
        assert!(read_bundle(&(one.pem() + &cut)).is_err(), "one has no end");
    }

    #[test]
    fn a_service_endorses_the_one_before_it_and_so_its_nodes() {
        let (old, new, other) = (service(), service(), service());
        let node = node(&old, &[]).unwrap();
        let link = endorse_service(&new.0, &new.1, old.0.public()).unwrap();
        assert_eq!((link.key(), link.validity()), (old.0.public(), new.1.validity()));
        assert_eq!(node.verify_issued_by(&link), Ok(()));
        assert_eq!(link.verify_issued_by(&new.1), Ok(()));
        assert_eq!(node.check_node(), Ok(()));
        assert_eq!(link.check_node(), Err(CertificateError::NotForNodes));
        assert!(link.verify_issued_by(&other.1).is_err());
        assert!(node.verify_issued_by(&new.1).is_err());
        assert_eq!(node.verify_signed_by(old.0.public()), Ok(()));
        assert!(node.verify_signed_by(new.0.public()).is_err());
        assert!(endorse_service(&other.0, &new.1, old.0.public()).is_err());
    }

    #[test]
    fn a_service_is_a_root_and_a_node_is_none() {
        let service = service();
        let node = node(&service, &[]).unwrap();
        for (text, expected) in [
            (service.1.pem(), true),
            (node.pem(), false),
            (service.1.pem().repeat(2), false),
            (String::new(), false),
        ] {
            assert_eq!(is_root_authority(&text), expected, "{text}");
        }
    }

    #[test]
    fn every_curve_certifies_itself() {
        for curve in Curve::ALL {
            let key = SigningKey::generate(curve);
            let certificate = service_certificate(&key, VALIDITY).unwrap();
            assert_eq!(certificate.key().curve(), curve);
            assert_eq!(certificate.verify_issued_by(&certificate), Ok(()));
        }
    }

    fn service() -> (SigningKey, Certificate) {
        let key = SigningKey::generate(Curve::P384);
        let certificate = service_certificate(&key, VALIDITY).unwrap();
        (key, certificate)
    }

    fn node(
        service: &(SigningKey, Certificate),
        names: &[AltName],
    ) -> Result<Certificate, CertificateError> {
        let key = SigningKey::generate(Curve::P384);
        endorse_node(
            &service.0,
            &service.1,
            &EndorseNode { key: key.public(), names, validity: VALIDITY },
        )
    }

    #[test]
    fn a_service_certifies_itself_and_its_nodes() {
        let service = service();
        assert_eq!(service.1.verify_issued_by(&service.1), Ok(()));
        assert_eq!(service.1.validity(), VALIDITY);
        let node = node(&service, &[AltName::Dns("node0.example".to_owned())]).unwrap();
        assert_eq!(node.verify_issued_by(&service.1), Ok(()));
        assert_eq!(Certificate::from_pem(&node.pem()), Ok(node.clone()));
        assert_eq!(service.1.verify_issued_by(&node), Err(CertificateError::NoAuthority));
    }

    #[test]
    fn another_service_did_not_issue_it() {
        let (one, other) = (service(), service());
        let node = node(&one, &[]).unwrap();
        assert_eq!(
            node.verify_issued_by(&other.1),
            Err(CertificateError::Signature(SignatureInvalid))
        );
        let key = SigningKey::generate(Curve::P384);
        let request = EndorseNode { key: key.public(), names: &[], validity: VALIDITY };
        assert!(endorse_node(&one.0, &other.1, &request).is_err());
    }

    #[test]
    fn a_renewed_certificate_has_the_same_key_and_names() {
        let service = service();
        let names = [
            AltName::Dns("n.example".to_owned()),
            AltName::Ip("10.1.2.3".parse().unwrap()),
            AltName::Ip("fd00::7".parse().unwrap()),
        ];
        let node = node(&service, &names).unwrap();
        let later = Validity { not_before: VALIDITY.not_after, not_after: VALIDITY.not_after + 9 };
        let renewed = renew_node(&service.0, &service.1, &node, later).unwrap();
        assert_eq!((renewed.key(), renewed.validity()), (node.key(), later));
        let of = |node: &Certificate| super::names(&parse(node.der()).unwrap()).unwrap();
        assert_eq!(of(&renewed), of(&node));
        assert!(names.iter().all(|name| of(&node).contains(name)));
        assert_eq!(renewed.verify_issued_by(&service.1), Ok(()));
    }

    #[test]
    fn a_node_certificate_carries_its_names() {
        let names =
            [AltName::Dns("n.example".to_owned()), AltName::Ip("10.1.2.3".parse().unwrap())];
        let node = node(&service(), &names).unwrap();
        let parsed = parse(node.der()).unwrap();
        let found = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len();
        assert_eq!(found, 5);
        let usage = parsed.extended_key_usage().unwrap().unwrap();
        assert!(usage.value.server_auth && usage.value.client_auth);
    }

    #[test]
    fn impossible_names_and_periods_are_refused() {
        let service = service();
        for name in ["", "a b", "é.example", ".", "a..b"] {
            let refused = node(&service, &[AltName::Dns(name.to_owned())]);
            assert!(matches!(refused, Err(CertificateError::Name(_))), "{name:?}");
        }
        for (not_before, not_after, ok) in
            [(0, 0, true), (2, 1, false), (0, LAST_SECOND, true), (0, LAST_SECOND + 1, false)]
        {
            let made = service_certificate(&service.0, Validity { not_before, not_after });
            assert_eq!(made.is_ok(), ok, "{not_before} {not_after}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let service = service();
        let node = node(&service, &[]).unwrap();
        for bit in 0..8 * node.der().len() {
            let (at, mut der) = (bit / 8, node.der().to_vec());
            der[at] ^= 1 << (bit % 8);
            let verdict = Certificate::from_der(&der)
                .and_then(|changed| changed.verify_issued_by(&service.1));
            assert!(
                verdict.is_err(),
                "bit {bit}, byte {at} of {}: {:02x?}",
                der.len(),
                &der[at.saturating_sub(8)..(at + 4).min(der.len())]
            );
        }
    }

    #[test]
    fn the_longest_certificate_is_read_and_no_longer_one() {
        assert_eq!(
            Certificate::from_der(&vec![0; CERTIFICATE_BYTES_MAX]),
            Err(CertificateError::Der)
        );
        let long = Certificate::from_der(&vec![0; CERTIFICATE_BYTES_MAX + 1]);
        assert!(matches!(long, Err(CertificateError::Long { .. })));
    }
}
