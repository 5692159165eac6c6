//! The bytes of a report (AMD 56860, revision 1.58, table 22).

use std::collections::BTreeSet;

use super::SNP_REPORT_BYTES;
use crate::error::{Flag, VerifyError};

/// So many bytes from the start are signed.
pub(super) const SIGNED_BYTES: usize = 0x2a0;

/// ECDSA on P-384 with SHA-384.
const ALGORITHM: u32 = 1;
/// Bytes of each half of a signature, the least significant first; those of the curve are 48.
const SIGNATURE_HALF: usize = 72;
const CURVE_BYTES: usize = 48;

const POLICY_SMT: u64 = 1 << 16;
const POLICY_MIGRATION: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;
const INFO_ALIAS_CHECKED: u64 = 1 << 5;
const FLAG_MASK_CHIP_KEY: u32 = 1 << 1;

/// Which key signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SigningKey {
    Vcek,
    Vlek,
}

/// A report, read and not believed.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) guest_svn: u32,
    pub(super) vmpl: u32,
    pub(super) flags: BTreeSet<Flag>,
    pub(super) key: SigningKey,
    pub(super) report_data: [u8; 64],
    pub(super) measurement: [u8; 48],
    pub(super) host_data: [u8; 32],
    pub(super) id_key: [u8; 48],
    pub(super) author_key: [u8; 48],
    pub(super) reported_tcb: [u8; 8],
    pub(super) committed_tcb: [u8; 8],
    /// Family and model, with their extensions; from version 3 on.
    pub(super) cpuid: Option<(u8, u8)>,
    pub(super) chip_id: [u8; 64],
    /// `r` and `s`, the most significant byte first.
    pub(super) signature: [u8; 2 * CURVE_BYTES],
}

impl Report {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, VerifyError> {
        let Ok(bytes) = <&[u8; SNP_REPORT_BYTES]>::try_from(bytes) else {
            let at = bytes.len().min(SNP_REPORT_BYTES);
            return Err(VerifyError::Malformed { what: "a report has 1,184 bytes", at });
        };
        let version = u32::from_le_bytes(field(bytes, 0));
        if !(2..=5).contains(&version) {
            let found = u64::from(version);
            return Err(VerifyError::Unsupported { what: "the version of the report", found });
        }
        let algorithm = u32::from_le_bytes(field(bytes, 0x34));
        if algorithm != ALGORITHM {
            let found = u64::from(algorithm);
            return Err(VerifyError::Unsupported { what: "the algorithm of the report", found });
        }
        let flags = u32::from_le_bytes(field(bytes, 0x48));
        let key = match (flags >> 2) & 0x7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            found => {
                let found = u64::from(found);
                return Err(VerifyError::Unsupported { what: "the key of the report", found });
            }
        };
        let policy = u64::from_le_bytes(field(bytes, 0x08));
        let info = u64::from_le_bytes(field(bytes, 0x40));
        let has_migration_agent = field::<32>(bytes, 0x160) != [0xff; 32];
        let named = [
            (policy & POLICY_DEBUG != 0, Flag::Debug),
            (policy & POLICY_MIGRATION != 0 || has_migration_agent, Flag::Migration),
            (policy & POLICY_SMT != 0, Flag::Smt),
            (flags & FLAG_MASK_CHIP_KEY != 0, Flag::MaskedKey),
            (info & INFO_ALIAS_CHECKED == 0, Flag::AliasUnchecked),
        ];
        let [family, model] = field(bytes, 0x188);
        Ok(Self {
            version,
            guest_svn: u32::from_le_bytes(field(bytes, 0x04)),
            vmpl: u32::from_le_bytes(field(bytes, 0x30)),
            flags: named.into_iter().filter(|(is, _)| *is).map(|(_, flag)| flag).collect(),
            key,
            report_data: field(bytes, 0x50),
            measurement: field(bytes, 0x90),
            host_data: field(bytes, 0xc0),
            id_key: field(bytes, 0xe0),
            author_key: field(bytes, 0x110),
            reported_tcb: field(bytes, 0x180),
            committed_tcb: field(bytes, 0x1e0),
            cpuid: (version >= 3).then_some((family, model)),
            chip_id: field(bytes, 0x1a0),
            signature: signature(bytes)?,
        })
    }
}

/// The bytes of a field that lies within a report.
fn field<const N: usize>(bytes: &[u8; SNP_REPORT_BYTES], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    *found.expect("every field lies within a report")
}

/// Where the second half of a signature begins, and where it ends.
const SECOND_HALF: usize = SIGNED_BYTES + SIGNATURE_HALF;
const SIGNATURE_END: usize = SECOND_HALF + SIGNATURE_HALF;

/// Nothing is signed behind the signed part, so all of it that has no meaning must be zero.
fn signature(bytes: &[u8; SNP_REPORT_BYTES]) -> Result<[u8; 2 * CURVE_BYTES], VerifyError> {
    let mut signature = [0; 2 * CURVE_BYTES];
    let halves = signature.chunks_exact_mut(CURVE_BYTES);
    for (half, at) in halves.zip([SIGNED_BYTES, SECOND_HALF]) {
        let place: [u8; SIGNATURE_HALF] = field(bytes, at);
        let (number, above) = place.split_at(CURVE_BYTES);
        if above.iter().any(|byte| *byte != 0) {
            return Err(VerifyError::Malformed { what: "the signature is too large", at });
        }
        half.copy_from_slice(number);
        half.reverse();
    }
    let behind: [u8; SNP_REPORT_BYTES - SIGNATURE_END] = field(bytes, SIGNATURE_END);
    if behind.iter().any(|byte| *byte != 0) {
        return Err(VerifyError::Malformed {
            what: "bytes behind the signature",
            at: SIGNATURE_END,
        });
    }
    Ok(signature)
}
