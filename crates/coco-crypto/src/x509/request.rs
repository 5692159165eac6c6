//! What a node signs to get certificates: a request in PKCS #10 (RFC 2986). It has the node's key and names, and its signature
//! proves that whoever made it holds the key. Whatever else it asks for is not given.

use std::fmt;

use rcgen::CertificateParams;
use thiserror::Error;
use x509_parser::{
    certification_request::X509CertificationRequest, extensions::ParsedExtension,
    prelude::FromDer as _,
};

use super::{
    AltName, CertificateError, Issuing, NODE_COMMON_NAME, algorithm_der, alt_name, alt_names,
    common_name, peer_dns_name,
    signed::{encoded, states},
    with_local_names,
};
use crate::{
    KeyError, PemError, PublicKey, SignatureInvalid, SigningKey,
    pem::{self, Label},
};

/// Largest request that is read, in bytes: room for some dozens of long names.
pub const NODE_REQUEST_BYTES_MAX: usize = 8 << 10;
/// Longest text of one in PEM, in bytes.
pub const NODE_REQUEST_PEM_BYTES_MAX: usize = 12 << 10;

/// A request that cannot be read or believed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NodeRequestError {
    /// The text is no PEM of this kind.
    #[error("the node's request for a certificate is not PEM with a CERTIFICATE REQUEST")]
    Pem(#[from] PemError),
    /// The bytes are no request.
    #[error("the node's request for a certificate is not PKCS #10 in DER")]
    Der,
    /// More bytes than are read.
    #[error("the node's request for a certificate has {found} bytes, at most {limit} are read")]
    Long {
        /// Bytes given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The key inside is of another kind.
    #[error("the node's request for a certificate carries an unusable key")]
    Key(#[from] KeyError),
    /// Signed with an algorithm that is not the key's own.
    #[error(
        "the node's request for a certificate is signed with an algorithm that is not accepted"
    )]
    Algorithm,
    /// Whoever made it does not hold the key.
    #[error("the node's request for a certificate is not signed with its own key")]
    Signature(#[from] SignatureInvalid),
    /// A name that no node's certificate has.
    #[error("the node's request for a certificate has a name that it cannot have")]
    Name(#[from] CertificateError),
}

/// A node's request, signed with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeRequest {
    der: Vec<u8>,
    key: PublicKey,
    names: Vec<AltName>,
}

impl NodeRequest {
    /// Makes the request of the node with this key, for these names and those that every node has.
    ///
    /// # Errors
    /// [`NodeRequestError`] when a name cannot stand in a certificate, or the names are too many.
    ///
    /// # Panics
    /// Never with names that were accepted.
    pub fn new(key: &SigningKey, names: &[AltName]) -> Result<Self, NodeRequestError> {
        let names = node_names(key.public(), names);
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(NODE_COMMON_NAME);
        params.subject_alt_names = alt_names(&names)?;
        let made = params.serialize_request(&Issuing(key)).expect("every field was checked");
        Self::from_der(made.der())
    }

    /// Reads a request in DER, and checks that it is signed with its own key.
    ///
    /// # Errors
    /// [`NodeRequestError`] with the first thing that is wrong.
    pub fn from_der(der: &[u8]) -> Result<Self, NodeRequestError> {
        check_length(der.len(), NODE_REQUEST_BYTES_MAX)?;
        let Ok(([], request)) = X509CertificationRequest::from_der(der) else {
            return Err(NodeRequestError::Der);
        };
        let key = PublicKey::from_spki_der(request.certification_request_info.subject_pki.raw)?;
        check_signed(der, &request, &key)?;
        let names = node_names(&key, &requested_names(&request)?);
        alt_names(&names)?;
        Ok(Self { der: der.to_vec(), key, names })
    }

    /// Reads the first request in a PEM text, as [`Self::from_der`] does.
    ///
    /// # Errors
    /// [`NodeRequestError`] with the first thing that is wrong.
    pub fn from_pem(text: &str) -> Result<Self, NodeRequestError> {
        check_length(text.len(), NODE_REQUEST_PEM_BYTES_MAX)?;
        Self::from_der(&pem::decode(Label::CertificateRequest, text)?)
    }

    /// Whether a text begins a block of this kind somewhere.
    #[must_use]
    pub fn is_in(text: &str) -> bool {
        text.contains("-----BEGIN CERTIFICATE REQUEST-----")
    }

    /// The request in PEM, always the same text for the same request.
    #[must_use]
    pub fn pem(&self) -> String {
        pem::encode(Label::CertificateRequest, &self.der)
    }

    /// The node's key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The names of the certificate that answers it: those that every node has, the one by which its peers know it, and the
    /// others that it asks for.
    #[must_use]
    pub fn names(&self) -> &[AltName] {
        &self.names
    }

    /// Whether these are its [`Self::names`], each once and in any order.
    #[must_use]
    pub fn has_names(&self, names: &[AltName]) -> bool {
        self.names.len() == names.len() && self.names.iter().all(|name| names.contains(name))
    }
}

impl fmt::Debug for NodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeRequest({:?})", self.key)
    }
}

fn check_length(found: usize, limit: usize) -> Result<(), NodeRequestError> {
    if found > limit { Err(NodeRequestError::Long { found, limit }) } else { Ok(()) }
}

fn check_signed(
    der: &[u8],
    request: &X509CertificationRequest<'_>,
    key: &PublicKey,
) -> Result<(), NodeRequestError> {
    let signed = request.certification_request_info.raw;
    let algorithm = algorithm_der(key.curve());
    if !states(der, signed, algorithm) {
        return Err(NodeRequestError::Algorithm);
    }
    // No signature covers tags and lengths outside of the signed part, which the parser reads loosely.
    let signature = &request.signature_value.data;
    if encoded(signed, algorithm, signature) != der {
        return Err(NodeRequestError::Der);
    }
    Ok(key.verify_der(signed, signature)?)
}

fn requested_names(
    request: &X509CertificationRequest<'_>,
) -> Result<Vec<AltName>, NodeRequestError> {
    let mut names = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(found) = extension {
            for name in &found.general_names {
                names.push(alt_name(name)?);
            }
        } else if matches!(extension, ParsedExtension::ParseError { .. }) {
            return Err(NodeRequestError::Der);
        }
    }
    Ok(names)
}

/// The names of the certificate of the node with this key: those that every node has, these, and the one by which its peers know
/// it, each once.
#[must_use]
pub fn node_names(key: &PublicKey, names: &[AltName]) -> Vec<AltName> {
    let peers = AltName::Dns(peer_dns_name(key.node_id()));
    with_local_names(&[names, &[peers]].concat())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, IsCa, SanType};

    use super::*;
    use crate::{Curve, EndorseNode, Validity, endorse_node, service_certificate};

    fn key() -> SigningKey {
        SigningKey::generate(Curve::P384)
    }

    fn host(name: &str) -> AltName {
        AltName::Dns(name.to_owned())
    }

    /// Two of the longest host names take a bit more than 500 bytes.
    fn long_names(count: usize) -> Vec<AltName> {
        let label = "a".repeat(62);
        (0..count).map(|n| host(&format!("{label}.{label}.{label}.{n:05}"))).collect()
    }

    #[test]
    fn the_certificate_that_answers_a_request_has_its_key_and_names() {
        let (service, node) = (key(), key());
        let validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };
        let issuer = service_certificate(&service, validity).unwrap();
        let asked = [host("n.example"), AltName::Ip("10.1.2.3".parse().unwrap())];
        let made = NodeRequest::new(&node, &asked).unwrap();
        let request = NodeRequest::from_pem(&made.pem()).unwrap();
        assert_eq!((&request, request.key()), (&made, node.public()));
        let peers = host(&peer_dns_name(node.public().node_id()));
        for name in asked.iter().chain([&peers, &host("localhost")]) {
            assert_eq!(request.names().iter().filter(|other| *other == name).count(), 1);
        }
        let endorsement = EndorseNode { key: request.key(), names: request.names(), validity };
        let certificate = endorse_node(&service, &issuer, &endorsement).unwrap();
        assert_eq!(certificate.node_names().as_deref(), Ok(request.names()));
        // A request for the names of a certificate is for the same names.
        let mut names = certificate.node_names().unwrap();
        assert_eq!(NodeRequest::new(&node, &names).unwrap().names(), request.names());
        names.reverse();
        assert!(request.has_names(&names));
        assert!(!request.has_names(&names[1..]));
        names[0] = host("other.example");
        assert!(!request.has_names(&names));
    }

    #[test]
    fn every_curve_asks_and_only_the_key_itself_signs() {
        for curve in Curve::ALL {
            let key = SigningKey::generate(curve);
            assert_eq!(NodeRequest::new(&key, &[]).unwrap().key(), key.public());
        }
        let (one, other) = (key(), key());
        let der = NodeRequest::new(&one, &[]).unwrap().der;
        let at = der.windows(97).position(|bytes| bytes == one.public().point()).unwrap();
        let mut forged = der;
        forged[at..at + 97].copy_from_slice(other.public().point());
        let refused = NodeRequest::from_der(&forged);
        assert_eq!(refused, Err(NodeRequestError::Signature(SignatureInvalid)));
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let der = NodeRequest::new(&key(), &[host("n.example")]).unwrap().der;
        for bit in 0..8 * der.len() {
            let mut changed = der.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(NodeRequest::from_der(&changed).is_err(), "bit {bit} of {}", der.len());
        }
        for end in 0..der.len() {
            assert!(NodeRequest::from_der(&der[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(NodeRequest::from_der(&[&der[..], &[0]].concat()), Err(NodeRequestError::Der));
    }

    #[test]
    fn the_longest_request_is_read_and_no_longer_one() {
        let longest = (1..).find(|count| NodeRequest::new(&key(), &long_names(*count)).is_err());
        let longest = longest.unwrap() - 1;
        let made = NodeRequest::new(&key(), &long_names(longest)).unwrap();
        assert!(made.pem().len() <= NODE_REQUEST_PEM_BYTES_MAX, "{}", made.pem().len());
        assert!(made.der.len() + 250 > NODE_REQUEST_BYTES_MAX, "{}", made.der.len());
        let refused = NodeRequest::new(&key(), &long_names(longest + 1));
        assert!(matches!(refused, Err(NodeRequestError::Long { .. })), "{refused:?}");
        for (bytes, expected) in
            [(NODE_REQUEST_BYTES_MAX, true), (NODE_REQUEST_BYTES_MAX + 1, false)]
        {
            let refused = NodeRequest::from_der(&vec![0; bytes]);
            assert_eq!(refused == Err(NodeRequestError::Der), expected, "{refused:?}");
        }
        let text = " ".repeat(NODE_REQUEST_PEM_BYTES_MAX + 1);
        assert!(matches!(NodeRequest::from_pem(&text), Err(NodeRequestError::Long { .. })));
        assert!(matches!(NodeRequest::from_pem(&text[1..]), Err(NodeRequestError::Pem(_))));
    }

    #[test]
    fn names_that_no_node_has_are_refused_and_what_else_is_asked_for_is_passed_over() {
        let refused = NodeRequest::new(&key(), &[host("a b")]);
        assert!(matches!(refused, Err(NodeRequestError::Name(_))), "{refused:?}");
        let asks = |names: Vec<SanType>| {
            let mut params = CertificateParams::default();
            params.subject_alt_names = names;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let node = key();
            let made = params.serialize_request(&Issuing(&node)).unwrap();
            (NodeRequest::from_der(made.der()), node)
        };
        let mail = SanType::Rfc822Name("a@n.example".try_into().unwrap());
        assert!(matches!(asks(vec![mail]).0, Err(NodeRequestError::Name(_))));
        let star = SanType::DnsName("*.example".try_into().unwrap());
        assert!(matches!(asks(vec![star]).0, Err(NodeRequestError::Name(_))));
        let (request, node) = asks(Vec::new());
        let request = request.unwrap();
        let peers = host(&peer_dns_name(node.public().node_id()));
        assert_eq!(request.names().last(), Some(&peers), "{:?}", request.names());
        assert_eq!(request.names().len(), 4);
    }
}
