//! Why evidence is not believed, or not wanted.

use coco_crypto::{CertificateError, RevocationListError, SignatureInvalid, Validity};
use thiserror::Error;

use crate::{
    EndorsementKind, MaaFlag, PlatformId, TrustClass,
    facts::TcbComponent,
    intel::{IntelShortage, IntelTcbStatus},
    snp::Generation,
};

/// A link of a maker's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// From the key that signs evidence to the authority above it.
    Leaf,
    /// Between authorities; the first is 1.
    Between(usize),
    /// The root, by itself.
    Root,
    /// Of the chain of whoever endorses a utility VM, from this certificate on; the signer's is 0.
    Uvm(usize),
    /// From whoever signs a maker's documents to the root.
    DocumentSigner,
}

/// A piece of evidence or endorsements that has a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The certificate of the key that signs evidence.
    LeafCertificate,
    /// An authority between it and the root; the first is 1.
    Authority(usize),
    /// The root.
    RootCertificate,
    /// A certificate of the chain of whoever endorses a utility VM; the signer's is 0.
    UvmCertificate(usize),
    /// The endorsement of a utility VM.
    UvmEndorsement,
    /// A token.
    Token,
    /// The root's list of revoked certificates.
    RootRevocationList,
    /// The list of the authority that issued the certificate of the key.
    RevocationList,
    /// The certificate of whoever signs a maker's documents.
    DocumentSigner,
    /// Intel's document of the levels of machines.
    TcbInfo,
    /// Intel's document of its quoting enclaves.
    QeIdentity,
}

/// Evidence or endorsements that do not prove what they say.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum VerifyError {
    /// More bytes than are read.
    #[error("evidence has {found} bytes, at most {limit} are read")]
    Long {
        /// Bytes given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// More endorsements, or more bytes of them, than are read.
    #[error("{found} {what} of endorsements came with the evidence, at most {limit} are read")]
    Endorsements {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Endorsements of one kind are missing, or have no meaning here.
    #[error("{found} {kind} came with the evidence, where {expected} are expected")]
    Pieces {
        /// Of which kind.
        kind: EndorsementKind,
        /// How many came.
        found: usize,
        /// How many are expected.
        expected: usize,
    },
    /// An endorsement is not what it claims to be.
    #[error("endorsement {which}")]
    Endorsement {
        /// Which, from 0 on.
        which: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// An endorsement that is no certificate is not what it claims to be.
    #[error("the endorsement of the kind {kind:?}: {what}")]
    EndorsementForm {
        /// Which.
        kind: EndorsementKind,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An endorsement is not signed by whom it names.
    #[error(
        "the endorsement of the kind {kind:?} is not signed by the key that its certificate names"
    )]
    EndorsementSignature {
        /// Which.
        kind: EndorsementKind,
    },
    /// The evidence does not follow its format.
    #[error("{what}, at byte {at} of the evidence")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// A token lacks something, or says it in another way, or something else than can be believed here.
    #[error("the claim {name} of the token is not there, or not what it should be")]
    Claim {
        /// Which.
        name: &'static str,
    },
    /// A token says something that nobody here knows how to take.
    #[error("the claim {name:?} of the token is not known here")]
    UnknownClaim {
        /// Which, not longer than is shown.
        name: String,
    },
    /// A token names another key than the one that came with it.
    #[error("the token names the key {named:?}, and {found:?} came with it")]
    OtherKey {
        /// By the token.
        named: String,
        /// What came.
        found: String,
    },
    /// A version, an algorithm or a processor that is not known here.
    #[error("{what} {found} is not known here")]
    Unsupported {
        /// Of what.
        what: &'static str,
        /// What stands there.
        found: u64,
    },
    /// The chain has too few or too many certificates.
    #[error("the chain has {found} certificates, where {expected} are expected")]
    ChainLength {
        /// How many came.
        found: usize,
        /// How many there are.
        expected: usize,
    },
    /// A certificate of the chain was not issued by the next.
    #[error("certificate chain, {link:?}")]
    Chain {
        /// Which.
        link: Link,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The chain ends at a root that is not pinned.
    #[error("the chain ends at {found}, which is no root of this platform")]
    Root {
        /// SHA-256 of it, or of its key.
        found: coco_types::Digest,
    },
    /// A list of revoked certificates cannot be read, or is not its issuer's.
    #[error("{piece:?}")]
    RevocationList {
        /// Which.
        piece: Piece,
        /// What is wrong with it.
        source: RevocationListError,
    },
    /// A certificate was revoked.
    #[error("{piece:?} was revoked: its serial number is {serial}")]
    Revoked {
        /// Which.
        piece: Piece,
        /// In hexadecimal.
        serial: String,
    },
    /// A document of a maker cannot be read.
    #[error("{piece:?}: {what}")]
    Document {
        /// Which.
        piece: Piece,
        /// What is wrong with it.
        what: String,
    },
    /// A document of a maker is not signed by the key of the chain.
    #[error("{piece:?} is not signed by the key that the certificate of its signer names")]
    DocumentSignature {
        /// Which.
        piece: Piece,
    },
    /// A piece is not of this evidence, or of another kind.
    #[error("{what} of {piece:?} is not what it has to be with this evidence")]
    OtherPiece {
        /// Which.
        piece: Piece,
        /// What of it.
        what: &'static str,
    },
    /// The log of events does not follow its format.
    #[error("{what}, at byte {at} of the log of events")]
    Log {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// The log of events does not lead to what the evidence says.
    #[error("the log of events does not lead to the value of register {register}")]
    LogReplay {
        /// Which.
        register: u8,
    },
    /// The evidence is not signed by the key of the chain.
    #[error("the evidence is not signed by the key that its certificate names")]
    Signature(#[from] SignatureInvalid),
    /// A piece counts later only.
    #[error("{piece:?} counts from {} on, and it is {now}", .validity.not_before)]
    NotYetValid {
        /// Which.
        piece: Piece,
        /// Its period.
        validity: Validity,
        /// In seconds since 1970.
        now: u64,
    },
    /// A piece counts no more.
    #[error("{piece:?} counted until {}, and it is {now}", .validity.not_after)]
    Expired {
        /// Which.
        piece: Piece,
        /// Its period.
        validity: Validity,
        /// In seconds since 1970.
        now: u64,
    },
    /// Two pieces are of different machines, or of different states of one.
    #[error("{what} of one piece of the evidence is not that of another")]
    OtherMachine {
        /// What differs.
        what: &'static str,
    },
    /// What runs there is not what is endorsed.
    #[error("the measurement {endorsed} is endorsed, and that of the evidence is {found}")]
    OtherCode {
        /// In hexadecimal.
        endorsed: String,
        /// In hexadecimal.
        found: String,
    },
}

/// Something about a machine that a policy may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// Its host may look into it.
    Debug,
    /// It may be moved to another machine.
    Migration,
    /// Two threads may share a core.
    Smt,
    /// Its host keeps the firmware from signing with the machine's key.
    MaskedKey,
    /// The processor has not checked that no two addresses name the same memory (AMD-SB-3015, "`BadRAM`").
    AliasUnchecked,
}

/// Facts that a policy does not want.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AppraiseError {
    /// Members have not admitted the platform.
    #[error("the policy admits no evidence of the platform {0}")]
    PlatformNotAllowed(PlatformId),
    /// The platform proves too little.
    #[error("the platform is of the class {have}, and the policy wants {need}")]
    Class {
        /// What it is of.
        have: TrustClass,
        /// What is wanted.
        need: TrustClass,
    },
    /// The evidence is not for whoever asks.
    #[error("the evidence was not made for this question: it binds {have}, and should {need}")]
    Binding {
        /// In hexadecimal.
        have: String,
        /// In hexadecimal.
        need: String,
    },
    /// It was made too long ago.
    #[error("the evidence is of {made}, which is more than {age_max_s} s before or after {now}")]
    Stale {
        /// When it was made.
        made: u64,
        /// When it is appraised.
        now: u64,
        /// How old it may be.
        age_max_s: u64,
    },
    /// What runs there was not admitted.
    #[error("the measurement {have} of the platform {platform} is not admitted")]
    Measurement {
        /// Of which platform.
        platform: PlatformId,
        /// In hexadecimal.
        have: String,
    },
    /// Something else than what the firmware admits may have been started.
    #[error("the machine starts without secure boot")]
    SecureBoot,
    /// What its host gave it was not admitted.
    #[error("the host data {have} are not admitted with this measurement")]
    HostData {
        /// In hexadecimal.
        have: String,
    },
    /// A line of utility VMs that is not admitted.
    #[error("utility VMs of {feed:?} by {did:?} are not admitted")]
    Uvm {
        /// Who endorses them.
        did: String,
        /// Their line.
        feed: String,
    },
    /// The version of a utility VM is too low.
    #[error("the security version of the utility VM is {have}, and at least {need} is wanted")]
    UvmSvn {
        /// What it has.
        have: u64,
        /// What is wanted.
        need: u64,
    },
    /// Somebody else has signed the guest's identity, or nobody.
    #[error(
        "the guest's identity is signed by the key {have}, which is not admitted with this measurement"
    )]
    Owner {
        /// SHA-384 of the key, in hexadecimal.
        have: String,
    },
    /// The guest's own version is too low.
    #[error("the guest's security version is {have}, and at least {need} is wanted")]
    GuestSvn {
        /// What it has.
        have: u32,
        /// What is wanted.
        need: u32,
    },
    /// A processor that is not admitted.
    #[error("processors of the generation {0} are not admitted")]
    Generation(Generation),
    /// A machine that is not on the list.
    #[error("the machine {have} is not on the list")]
    HardwareId {
        /// In hexadecimal.
        have: String,
    },
    /// The report does not say by itself which processor it is of.
    #[error("the report has the version {have}, and at least {need} is wanted")]
    ReportVersion {
        /// What it has.
        have: u32,
        /// What is wanted.
        need: u32,
    },
    /// Firmware that is too old.
    #[error("{which} TCB: {component} is {have}, and at least {need} is wanted")]
    Tcb {
        /// Which of the report's.
        which: &'static str,
        /// Which part.
        component: TcbComponent,
        /// What it has.
        have: u8,
        /// What is wanted.
        need: u8,
    },
    /// A report that was made for somebody with fewer rights inside the machine, or by its host.
    #[error("the report is of the privilege level {have}, and at most {max} is admitted")]
    Vmpl {
        /// Of which.
        have: u32,
        /// The highest that is admitted.
        max: u32,
    },
    /// The key that signed is of a kind that is not admitted.
    #[error("reports under the key {have} are not admitted")]
    Key {
        /// Which.
        have: String,
    },
    /// Something about the machine.
    #[error("the machine has what the policy refuses: {0:?}")]
    Flag(Flag),
    /// Something about what was started, by the word of a service.
    #[error("the token says of the machine, or does not deny, what the policy refuses: {0:?}")]
    MaaFlag(MaaFlag),
    /// A service that is not believed.
    #[error("tokens of {have:?} are not admitted")]
    Issuer {
        /// Whose token it is.
        have: String,
    },
    /// A service that judged by a policy that is not admitted.
    #[error("{issuer} judged by the policy {have}, which is not admitted")]
    IssuerPolicy {
        /// Who.
        issuer: String,
        /// SHA-256 of the policy.
        have: coco_types::Digest,
    },
    /// A service that does not say what is wanted of a machine.
    #[error("the service calls the machine {have:?}, which is not admitted")]
    Compliance {
        /// What it says.
        have: String,
    },
    /// A register that has to be looked at was not.
    #[error("the service has not looked at the register {at}")]
    Unseen {
        /// Which.
        at: u8,
    },
    /// A machine, or where it is, that is not on a list.
    #[error("the {what} {have:?} is not on the list")]
    Instance {
        /// What it is.
        what: &'static str,
        /// Which.
        have: String,
    },
    /// A platform that is not in the state in which it keeps its secrets.
    #[error("the platform is in the state {have:#06x}, and not secured")]
    Lifecycle {
        /// In which.
        have: u16,
    },
    /// Firmware that is not admitted.
    #[error("the firmware {have} is not admitted")]
    Firmware {
        /// What it is.
        have: String,
    },
    /// A version that is too low.
    #[error("the version of the {what} is {have}, and at least {need} is wanted")]
    Svn {
        /// Of what.
        what: &'static str,
        /// What it has.
        have: u32,
        /// What is wanted.
        need: u32,
    },
    /// A machine that no customer gets.
    #[error("the machine is one of the cloud's own tests")]
    NotProduction,
    /// Machines of this kind are not admitted.
    #[error("{} machines are not admitted by tokens", if *.have { "confidential" } else { "other than confidential" })]
    Confidential {
        /// Whether a processor keeps others out.
        have: bool,
    },
    /// Nobody has looked whether a certificate was revoked.
    #[error("no list of revoked certificates came with the evidence, and one is wanted")]
    RevocationList,
    /// A kind of machine of Intel that is not admitted.
    #[error("machines of the kind {have} (FMSPC) are not admitted")]
    Fmspc {
        /// In hexadecimal.
        have: String,
    },
    /// Intel says something of the machine that is not admitted.
    #[error("machines that Intel calls {have} are not admitted{}", listed(.short))]
    IntelTcb {
        /// What it says.
        have: IntelTcbStatus,
        /// What the machine lacks.
        short: Vec<IntelShortage>,
    },
    /// Something is known to be wrong with the machine.
    #[error("the machine is affected by {have}, which is not admitted")]
    Advisory {
        /// As its maker numbers it.
        have: String,
    },
    /// What a maker says of machines is too old.
    #[error("the maker's evaluation has the number {have}, and at least {need} is wanted")]
    Evaluation {
        /// What came.
        have: u32,
        /// What is wanted.
        need: u32,
    },
    /// A TDX module that is not admitted.
    #[error("the TDX module {number} has the version {have}, which is not admitted{}", at_least(.need))]
    TdxModule {
        /// Which module.
        number: u8,
        /// Its version.
        have: u8,
        /// The least that is admitted, where the module is.
        need: Option<u8>,
    },
    /// Some bits are not admitted.
    #[error("the {what} are {have:#018x}, of which {refused:#x} is not admitted")]
    Bits {
        /// Of what.
        what: &'static str,
        /// All of them.
        have: u64,
        /// Those that are not admitted.
        refused: u64,
    },
    /// Its host may interrupt it at any access to its memory.
    #[error("the domain starts without SEPT_VE_DISABLE")]
    SeptVe,
    /// Somebody may serve the domain who is not admitted.
    #[error("the service domain {have} is not admitted")]
    ServiceTd {
        /// SHA-384 over it, in hexadecimal.
        have: String,
    },
    /// A register has a value that is not admitted with what runs there.
    #[error("{which} is {have}, which is not admitted with this measurement")]
    Register {
        /// Which.
        which: &'static str,
        /// In hexadecimal.
        have: String,
    },
}

/// What a machine lacks, at the end of a sentence.
fn listed(short: &[IntelShortage]) -> String {
    let all: Vec<String> = short.iter().map(ToString::to_string).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join(", ")) }
}

fn at_least(need: &Option<u8>) -> String {
    need.map_or_else(String::new, |need| format!(", and at least {need} is wanted"))
}
