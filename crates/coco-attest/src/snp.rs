//! AMD SEV-SNP: a report of 1,184 bytes, signed by a key of the chip (VCEK) or by one that AMD gave a provider of clouds (VLEK).
//!
//! ```text
//! report ── P-384 ── VCEK or VLEK ── RSA-PSS ── ASK or ASVK ── RSA-PSS ── ARK, pinned by its key for each generation
//! ```
//!
//! The certificate of a key says for which firmware and, of a VCEK, for which chip it was made: both must be those of the report.
//!
//! AMD publishes a list of revoked certificates for each generation, signed by the root: the authorities below it may not sign lists, by their
//! key usage. Where one came, neither the authority nor the key of the report may be on it. But AMD gives the certificates of *all* keys that
//! sign reports the serial number 0, so a list can revoke an authority, or all those keys at once, and never one chip: one of which the key
//! is known to have leaked is refused by a policy that lists machines.

mod report;

use std::fmt;

use coco_crypto::{MakerCertificate, SignatureInvalid, Validity};
use coco_types::Digest;

use crate::{
    chain::{check_chain, pieces},
    error::{Piece, VerifyError},
    evidence::EndorsementKind,
    facts::{Facts, PlatformFacts, SnpFacts, SnpKey, SnpTcb},
    revocation::{check_revoked, read_list},
    valid_within,
};
use report::{Report, SIGNED_BYTES, SigningKey};

/// Bytes of a report.
pub const SNP_REPORT_BYTES: usize = 1184;

/// A generation of AMD's processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004, with Bergamo and Siena.
    Genoa,
    /// EPYC 9005.
    Turin,
}

/// SHA-256 of the root's key (SPKI) of each generation: those of AMD's certificates `ARK-Milan`, `ARK-Genoa` and `ARK-Turin`.
pub const SNP_ROOTS: [(Generation, Digest); 3] = [
    (
        Generation::Milan,
        Digest([
            0x9f, 0x05, 0x6b, 0xee, 0x44, 0x37, 0x7e, 0x29, 0x30, 0x8c, 0xb5, 0xff, 0xa8, 0x95,
            0xbd, 0xfb, 0x62, 0xd1, 0x88, 0x81, 0xfa, 0x6b, 0xed, 0x8d, 0x6f, 0x07, 0x5b, 0x02,
            0x04, 0x08, 0x9c, 0xb9,
        ]),
    ),
    (
        Generation::Genoa,
        Digest([
            0x42, 0x9a, 0x69, 0xc9, 0x42, 0x2a, 0xa2, 0x58, 0xee, 0x4d, 0x8d, 0xb5, 0xfc, 0xda,
            0x9c, 0x64, 0x70, 0xef, 0x15, 0xf8, 0xcd, 0x5a, 0x9c, 0xeb, 0xd6, 0xcb, 0xc7, 0xd9,
            0x0b, 0x86, 0x38, 0x31,
        ]),
    ),
    (
        Generation::Turin,
        Digest([
            0x4f, 0x12, 0x54, 0x10, 0x56, 0x3a, 0x2a, 0xb9, 0xa5, 0x03, 0x56, 0xf9, 0x24, 0x3f,
            0x6f, 0xe0, 0xb6, 0xf7, 0x3d, 0xe9, 0x86, 0x03, 0xf5, 0x3f, 0x90, 0x33, 0x9c, 0x70,
            0xe9, 0xd7, 0xad, 0x08,
        ]),
    ),
];

impl Generation {
    /// Its name, as AMD's certificates begin to write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The generation of a family and a model, both with their extensions (AMD 57230).
    const fn of(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where AMD's certificates say of what they are: 1.3.6.1.4.1.3704.1.
const AMD: [u64; 8] = [1, 3, 6, 1, 4, 1, 3704, 1];

/// A report that is signed.
pub(crate) struct Verified {
    pub(crate) facts: SnpFacts,
    /// What whoever asked for it gave.
    pub(crate) report_data: [u8; 64],
    pub(crate) valid: Validity,
}

pub(crate) fn verify(
    body: &[u8],
    certificates: &[MakerCertificate],
    lists: &[&[u8]],
    now: u64,
) -> Result<Facts, VerifyError> {
    let Verified { facts, report_data, valid } = verify_report(body, certificates, lists, now)?;
    let platform = PlatformFacts::Snp(Box::new(facts));
    Ok(Facts { bound: report_data.to_vec(), made: None, valid, platform })
}

/// Checks a report, whoever it is evidence for. Of the lists of revoked certificates there may be one.
pub(crate) fn verify_report(
    body: &[u8],
    certificates: &[MakerCertificate],
    lists: &[&[u8]],
    now: u64,
) -> Result<Verified, VerifyError> {
    let report = Report::read(body)?;
    let [leaf, _, root] = certificates else {
        return Err(VerifyError::ChainLength { found: certificates.len(), expected: 3 });
    };
    let found = root.key_digest();
    let pinned = SNP_ROOTS.into_iter().find(|(_, key)| *key == found);
    let (generation, _) = pinned.ok_or(VerifyError::Root { found })?;
    check_chain(certificates)?;
    let key = leaf.key().map_err(|_| SignatureInvalid)?;
    let signed = body.get(..SIGNED_BYTES).ok_or(SignatureInvalid)?;
    key.verify_fixed(signed, &report.signature)?;

    let listed = check_list(lists, certificates, root)?;
    let periods = pieces(certificates).map(|(piece, certificate)| (piece, certificate.validity()));
    let listed = listed.map(|validity| (Piece::RootRevocationList, validity));
    let valid = valid_within(periods.chain(listed), now, now)?;
    let key = same_machine(&report, leaf, generation)?;
    let facts = facts(&report, generation, key, listed.is_some());
    Ok(Verified { facts, report_data: report.report_data, valid })
}

/// Checks that no certificate of the chain is on the root's list, if one came, and says when that counts.
fn check_list(
    lists: &[&[u8]],
    chain: &[MakerCertificate],
    root: &MakerCertificate,
) -> Result<Option<Validity>, VerifyError> {
    let list = match lists {
        [] => return Ok(None),
        [one] => read_list(one, root, Piece::RootRevocationList)?,
        all => {
            let (kind, found) = (EndorsementKind::RevocationList, all.len());
            return Err(VerifyError::Pieces { kind, found, expected: 1 });
        }
    };
    for (piece, certificate) in pieces(chain) {
        check_revoked(&list, piece, certificate)?;
    }
    Ok(Some(list.validity()))
}

/// Whether a certificate is of the machine that a report is of, in the state in which it was reported; and of which kind its key is.
fn same_machine(
    report: &Report,
    leaf: &MakerCertificate,
    generation: Generation,
) -> Result<SnpKey, VerifyError> {
    let other = |what| VerifyError::OtherMachine { what };
    let extension = |rest: &[u64]| leaf.extension(&[&AMD[..], rest].concat());
    if report.cpuid.is_some_and(|(family, model)| Generation::of(family, model) != Some(generation))
    {
        return Err(other("the processor"));
    }
    // An IA5String: the name of the product, and of its stepping.
    let product = extension(&[2]).unwrap_or_default();
    if !matches!(product.as_slice(), [0x16, _, name @ ..] if name.starts_with(generation.name().as_bytes()))
    {
        return Err(other("the product"));
    }
    let reported = SnpTcb::of(report.reported_tcb, generation);
    let version = |last: u64| match extension(&[3, last]).as_deref() {
        Some([0x02, 0x01, version @ 0..=0x7f]) => Some(*version),
        // A number from 128 on has a zero before it.
        Some([0x02, 0x02, 0x00, version @ 0x80..=0xff]) => Some(*version),
        _ => None,
    };
    let fmc = if generation == Generation::Turin { version(9) } else { Some(0) };
    let parts = [
        (version(1), reported.bootloader),
        (version(2), reported.tee),
        (version(3), reported.snp),
        (version(8), reported.microcode),
        (fmc, reported.fmc),
    ];
    if parts.into_iter().any(|(certified, reported)| certified != Some(reported)) {
        return Err(other("the firmware (TCB)"));
    }
    match report.key {
        SigningKey::Vcek => {
            let chip = extension(&[4]).ok_or(other("the chip"))?;
            let (id, rest) =
                report.chip_id.split_at_checked(chip.len()).ok_or(other("the chip"))?;
            // Turin's have eight bytes.
            let is_length = matches!((generation, chip.len()), (Generation::Turin, 8) | (_, 64));
            let is_same = is_length && id == chip && rest.iter().all(|byte| *byte == 0);
            if !is_same {
                return Err(other("the chip"));
            }
            Ok(SnpKey::Vcek)
        }
        SigningKey::Vlek => {
            let named = extension(&[5]).unwrap_or_default();
            match named.as_slice() {
                [0x16, length, provider @ ..] if usize::from(*length) == provider.len() => {
                    let provider = String::from_utf8(provider.to_vec());
                    Ok(SnpKey::Vlek { provider: provider.map_err(|_| other("the provider"))? })
                }
                _ => Err(other("the provider")),
            }
        }
    }
}

fn facts(report: &Report, generation: Generation, key: SnpKey, revocation_list: bool) -> SnpFacts {
    SnpFacts {
        version: report.version,
        generation,
        key,
        measurement: report.measurement,
        host_data: report.host_data,
        guest_svn: report.guest_svn,
        id_key: report.id_key,
        author_key: report.author_key,
        chip_id: report.chip_id,
        vmpl: report.vmpl,
        reported_tcb: SnpTcb::of(report.reported_tcb, generation),
        committed_tcb: SnpTcb::of(report.committed_tcb, generation),
        revocation_list,
        flags: report.flags.clone(),
    }
}

impl SnpTcb {
    /// The parts of a version, which stand in other places from Turin on (AMD 56860, table 3).
    const fn of(bytes: [u8; 8], generation: Generation) -> Self {
        let [a, b, c, d, _, _, e, f] = bytes;
        match generation {
            Generation::Milan | Generation::Genoa => {
                Self { bootloader: a, tee: b, snp: e, microcode: f, fmc: 0 }
            }
            Generation::Turin => Self { fmc: a, bootloader: b, tee: c, snp: d, microcode: f },
        }
    }
}

#[cfg(test)]
mod tests {
    use coco_crypto::RevocationList;

    use super::*;

    /// By OpenSSL, as AMD signs: a root, a certificate of it, and a list that names that one, and 0.
    const ROOT: &str = include_str!("../../coco-crypto/tests/vectors/chain/pss_root.pem");
    const LEAF: &str = include_str!("../../coco-crypto/tests/vectors/chain/pss_leaf.pem");
    const LIST: &[u8] = include_bytes!("../../coco-crypto/tests/vectors/chain/pss_list.der");

    /// No list of AMD's was recorded.
    #[test]
    fn nothing_of_a_chain_is_on_the_roots_list() {
        let [root, leaf] = [ROOT, LEAF].map(|text| MakerCertificate::from_pem(text).unwrap());
        let whole = [Piece::LeafCertificate, Piece::Authority(1), Piece::RootCertificate];
        assert_eq!(check_list(&[], &[(); 3].map(|()| leaf.clone()), &root), Ok(None));
        let good = [(); 3].map(|()| root.clone());
        let valid = RevocationList::from_der(LIST).unwrap().validity();
        assert_eq!(check_list(&[LIST], &good, &root), Ok(Some(valid)));
        for at in 0..whole.len() {
            let mut bad = good.clone();
            bad[at] = leaf.clone();
            let (piece, serial) = (whole[at], "0a01".to_owned());
            let revoked = Err(VerifyError::Revoked { piece, serial });
            assert_eq!(check_list(&[LIST], &bad, &root), revoked);
        }
        let (kind, found) = (EndorsementKind::RevocationList, 2);
        let many = Err(VerifyError::Pieces { kind, found, expected: 1 });
        assert_eq!(check_list(&[LIST; 2], &good, &root), many);
    }
}
