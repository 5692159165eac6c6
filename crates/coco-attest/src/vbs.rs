//! Enclaves of Windows (VBS): what the secure kernel says of one, signed by its own key (IDKS) under RSA-PSS.
//!
//! ```text
//! report ── PSS, SHA-256 ── IDKS ┬─ health certificate ── … ── root of a Host Guardian Service, which members name
//!                                └─ or members name the key itself
//! ```
//!
//! A Host Guardian Service (HGS) vouches for the keys of machines whose start it has looked at, each time for eight hours. Every service
//! has a root of its own, so none is pinned: facts say which it is. Where the key comes without certificates, facts say which it is, and
//! that nothing vouches for it; a single certificate, whose signature nobody can check, is refused. The other way to the key, from the
//! log of a measured boot under a quote of the machine's TPM, is not gone here yet. A report says nothing of when it was made.
//!
//! What keeps others out is a hypervisor, on a machine whose TPM keeps neither its owner's root account nor a probe at its memory out.

mod report;

use std::collections::BTreeSet;

use coco_crypto::{MakerCertificate, PssHash, RsaKey, SignatureInvalid, Validity};
use coco_types::Digest;

use crate::{
    chain::{check_chain, pieces},
    error::{AppraiseError, Flag, VerifyError},
    evidence::{EndorsementKind, Endorsements, PlatformId},
    facts::{Facts, PlatformFacts},
    valid,
};
use report::Package;

pub use report::VBS_REPORT_BYTES_MAX;

/// What a report says (`VBS_ENCLAVE_REPORT` of the Windows SDK).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VbsEnclaveFacts {
    /// The key that signed it.
    pub idks: VbsKey,
    /// Whoever started the enclave said that it is this one's.
    pub owner: [u8; 32],
    /// The file that it was started from.
    pub image: VbsImage,
    /// Version of the secure kernel.
    pub kernel_svn: u32,
    /// Version of what is below it.
    pub platform_svn: u32,
    /// 0, unless a debugger may look into it, or could.
    pub flags: u32,
    /// How what runs there had to be signed.
    pub signing_level: u32,
    /// Of which kind it is.
    pub kind: u32,
    /// What was loaded into it, with itself.
    pub modules: Vec<VbsModule>,
}

/// The key of a machine's secure kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VbsKey {
    /// SHA-256 of it (SPKI).
    pub key: Digest,
    /// SHA-256 of the key (SPKI) of the root that vouches for it; none where none does.
    pub root: Option<Digest>,
}

/// A file that enclaves are started from, or that is loaded into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VbsImage {
    /// The hash of it.
    pub unique: [u8; 32],
    /// The hash of the key of whoever signed it; zeros in what Windows brings.
    pub author: [u8; 32],
    /// The family of programs, by its author.
    pub family: [u8; 16],
    /// The program, by its author.
    pub image: [u8; 16],
    /// Its version.
    pub svn: u32,
}

/// Something that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VbsModule {
    /// What it is.
    pub image: VbsImage,
    /// The name of the file.
    pub name: String,
}

/// What enclaves of Windows have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VbsEnclavePolicy {
    /// SHA-256 of the keys (SPKI) of the roots that may vouch for a machine.
    pub roots: BTreeSet<Digest>,
    /// SHA-256 of the keys (SPKI) of secure kernels that nothing needs to vouch for.
    pub keys: BTreeSet<Digest>,
    /// The least version of the secure kernel.
    pub kernel_svn_min: u32,
    /// The least version of what is below it.
    pub platform_svn_min: u32,
    /// What may run there.
    pub code: Vec<VbsCode>,
}

/// A program of enclaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VbsCode {
    /// Which.
    pub program: VbsProgram,
    /// Whose enclave it may be; anybody's, if nothing is said. It is for whoever starts it to say.
    pub owners: Option<BTreeSet<[u8; 32]>>,
    /// What may be loaded into it beside itself, by the hashes; anything that Windows lets, if nothing is said.
    pub modules: Option<BTreeSet<[u8; 32]>>,
}

/// How a program is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VbsProgram {
    /// By the hash of its file.
    Unique([u8; 32]),
    /// By whoever signs it, which then has to be believed not to sign anything else so.
    Signed {
        /// See [`VbsImage::author`].
        author: [u8; 32],
        /// See [`VbsImage::family`].
        family: [u8; 16],
        /// See [`VbsImage::image`].
        image: [u8; 16],
        /// The least version.
        svn_min: u32,
    },
}

pub(crate) fn verify(
    body: &[u8],
    endorsements: &Endorsements,
    certificates: &[MakerCertificate],
    now: u64,
) -> Result<Facts, VerifyError> {
    let package = Package::read(body)?;
    let Idks { key, root, valid } = if certificates.is_empty() {
        bare(endorsements)?
    } else {
        vouched(endorsements, certificates, now)?
    };
    key.verify_pss(PssHash::Sha256, package.signed, package.signature)?;
    let idks = VbsKey { key: key.digest(), root };
    let (facts, bound) = package.facts(idks)?;
    let platform = PlatformFacts::VbsEnclave(Box::new(facts));
    Ok(Facts { bound: bound.to_vec(), made: None, valid, platform })
}

/// The key of a secure kernel, what vouches for it, and until when.
struct Idks {
    key: RsaKey,
    root: Option<Digest>,
    valid: Validity,
}

/// A key that came without certificates.
fn bare(endorsements: &Endorsements) -> Result<Idks, VerifyError> {
    let kind = EndorsementKind::AttestationKey;
    endorsements.check_kinds(&[kind])?;
    let what = "it is no key of RSA in SPKI";
    let key = RsaKey::from_spki_der(endorsements.one(kind)?);
    let key = key.map_err(|_| VerifyError::EndorsementForm { kind, what })?;
    Ok(Idks { key, root: None, valid: Validity { not_before: 0, not_after: u64::MAX } })
}

/// A key in a health certificate, which a chain of authorities up to a root has issued.
fn vouched(
    endorsements: &Endorsements,
    certificates: &[MakerCertificate],
    now: u64,
) -> Result<Idks, VerifyError> {
    endorsements.check_kinds(&[EndorsementKind::Certificate])?;
    let found = certificates.len();
    let [leaf, .., root] = certificates else {
        return Err(VerifyError::ChainLength { found, expected: CERTIFICATES_MIN });
    };
    if found > CERTIFICATES_MAX {
        return Err(VerifyError::ChainLength { found, expected: CERTIFICATES_MAX });
    }
    check_chain(certificates)?;
    let key = leaf.rsa_key().ok().filter(|_| leaf.may_sign()).ok_or(SignatureInvalid)?;
    Ok(Idks { key, root: Some(root.key_digest()), valid: valid(pieces(certificates), now, now)? })
}

/// Fewest certificates of a chain: one alone vouches for nothing.
const CERTIFICATES_MIN: usize = 2;
/// Most: services have one or two authorities.
const CERTIFICATES_MAX: usize = 5;

pub(crate) fn judge(
    facts: &VbsEnclaveFacts,
    policy: &VbsEnclavePolicy,
) -> Result<(), AppraiseError> {
    let is_believed = match &facts.idks.root {
        Some(root) => policy.roots.contains(root) || policy.keys.contains(&facts.idks.key),
        None => policy.keys.contains(&facts.idks.key),
    };
    if !is_believed {
        let have = match &facts.idks.root {
            Some(root) => format!("{} under the root {root}", facts.idks.key),
            None => facts.idks.key.to_string(),
        };
        return Err(AppraiseError::Key { have });
    }
    // Each of them is about debuggers.
    if facts.flags != 0 {
        return Err(AppraiseError::Flag(Flag::Debug));
    }
    for (what, have, need) in [
        ("secure kernel", facts.kernel_svn, policy.kernel_svn_min),
        ("platform", facts.platform_svn, policy.platform_svn_min),
    ] {
        if have < need {
            return Err(AppraiseError::Svn { what, have, need });
        }
    }
    if policy.code.iter().any(|code| code.is(facts)) {
        return Ok(());
    }
    let have = measurement(facts);
    Err(AppraiseError::Measurement { platform: PlatformId::VbsEnclave, have })
}

impl VbsCode {
    fn is(&self, facts: &VbsEnclaveFacts) -> bool {
        let image = &facts.image;
        let runs = match &self.program {
            VbsProgram::Unique(unique) => *unique == image.unique,
            VbsProgram::Signed { author, family, image: program, svn_min } => {
                *author == image.author
                    && *family == image.family
                    && *program == image.image
                    && image.svn >= *svn_min
            }
        };
        let is_loaded = |module: &VbsModule| {
            module.image == *image
                || self
                    .modules
                    .as_ref()
                    .is_none_or(|admitted| admitted.contains(&module.image.unique))
        };
        runs && self.owners.as_ref().is_none_or(|owners| owners.contains(&facts.owner))
            && facts.modules.iter().all(is_loaded)
    }
}

/// What runs, in one text: the file, and who signed it as which program of which version.
pub(crate) fn measurement(facts: &VbsEnclaveFacts) -> String {
    let VbsImage { unique, author, family, image, svn } = &facts.image;
    let [unique, author] = [unique, author].map(hex::encode);
    let [family, image] = [family, image].map(hex::encode);
    format!("{unique} author:{author} family:{family} image:{image} svn:{svn}")
}

#[cfg(test)]
mod tests;
