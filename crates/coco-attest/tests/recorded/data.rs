//! Where recorded evidence lies, and how it is read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use coco_attest::{Endorsement, EndorsementKind, Endorsements, Evidence, PlatformId, ReportData};
use coco_crypto::{MakerCertificate, read_bundle};
use coco_types::{Digest, NodeId};
use serde_json::Value;

/// A folder of recorded evidence; says that the test is skipped when it is not there.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let standard = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("COCO_TEST_DATA").map_or_else(standard, PathBuf::from);
    let path = root.join("evidence").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// A report of SEV-SNP, and the certificates in these files, from its key to the root.
pub(crate) fn snp(name: &str, chain: [&str; 3]) -> Option<(Evidence, Endorsements)> {
    let folder = folder(&format!("snp/{name}"))?;
    let body = fs::read(folder.join("report.bin")).expect("a report");
    let certificates = chain.map(|file| certificate(&folder.join(file)));
    Some((Evidence::new(PlatformId::Snp, body), endorsed(&certificates)))
}

/// A document of AWS.
pub(crate) fn nitro(file: &str) -> Option<(Evidence, Endorsements)> {
    let body = fs::read(folder(file)?).expect("a document");
    Some((Evidence::new(PlatformId::Nitro, body), Endorsements::default()))
}

/// A quote of Intel's, and what Intel said of its machine.
pub(crate) fn intel(name: &str, platform: PlatformId) -> Option<(Evidence, Endorsements)> {
    let folder = folder(name)?;
    let body = fs::read(folder.join("quote.bin")).expect("a quote");
    let text = fs::read(folder.join("collateral.json")).expect("a collateral");
    Some((Evidence::new(platform, body), collateral(&text)))
}

/// A collateral as dcap-qvl writes it, piece by piece.
fn collateral(text: &[u8]) -> Endorsements {
    let collateral: Value = serde_json::from_slice(text).expect("JSON");
    let text = |name: &str| collateral[name].as_str().expect("a text");
    // Both documents are signed by the same.
    assert_eq!(text("tcb_info_issuer_chain"), text("qe_identity_issuer_chain"));
    let signer = read_bundle(text("tcb_info_issuer_chain")).expect("a chain").swap_remove(0);
    let list = |name| hex::decode(text(name)).expect("a list");
    let document = |member: &str, name: &str| {
        let signature = text(&format!("{name}_signature"));
        format!(r#"{{"{member}":{},"signature":"{signature}"}}"#, text(name)).into_bytes()
    };
    let items = [
        (EndorsementKind::Certificate, signer),
        (EndorsementKind::RevocationList, list("root_ca_crl")),
        (EndorsementKind::RevocationList, list("pck_crl")),
        (EndorsementKind::TcbInfo, document("tcbInfo", "tcb_info")),
        (EndorsementKind::QeIdentity, document("enclaveIdentity", "qe_identity")),
    ];
    Endorsements { items: items.map(|(kind, bytes)| Endorsement { kind, bytes }).to_vec() }
}

/// These certificates as endorsements.
pub(crate) fn endorsed(certificates: &[MakerCertificate]) -> Endorsements {
    Endorsements::of_certificates(certificates.iter().map(MakerCertificate::der))
}

pub(crate) fn certificate(path: &Path) -> MakerCertificate {
    let bytes = fs::read(path).expect("a certificate");
    let read = match std::str::from_utf8(&bytes) {
        Ok(text) if text.starts_with("-----") => MakerCertificate::from_pem(text),
        _ => MakerCertificate::from_der(&bytes),
    };
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a report with room for 64 bytes binds, whatever it was.
pub(crate) fn report_data(bound: &[u8]) -> ReportData {
    let (node, transcript) = bound.split_at(32);
    let half = |bytes: &[u8]| bytes.try_into().expect("32 bytes");
    ReportData { node: NodeId(half(node)), transcript: Digest(half(transcript)) }
}

/// Bytes from hexadecimal digits.
pub(crate) fn bytes<const N: usize>(digits: &str) -> [u8; N] {
    let bytes = hex::decode(digits).expect("digits");
    bytes.try_into().unwrap_or_else(|bytes: Vec<u8>| panic!("{} bytes", bytes.len()))
}
