//! The bytes of quotes (Intel, "SGX ECDSA Quote Library Reference", appendix A; "TDX DCAP Quoting Library API", appendix A.3 and A.4).
//!
//! ```text
//! header (48) ── body ── length (4) ── signature (64) ── key (64) ── certification ── zeros
//! certification of version 3:        report of the quoting enclave (384) ── signature (64) ── length (2), data ── 5, length, chain
//! certification of versions 4 and 5: 6, length, the same
//! ```
//!
//! Header and body are signed by the key, and the report of the quoting enclave vouches for the key and the data behind it. What nobody
//! signs may only be what it is: lengths fit exactly, the chain is written in one way, and behind all of it are zeros, of which Azure and
//! Google leave some.

use coco_crypto::{MakerCertificate, encode_pem, read_bundle};

use super::facts::{SgxAttributes, TdAttributes, TdxHistory, TdxUpdate};
use crate::{
    error::{Link, VerifyError},
    little_endian::LittleEndian,
};

/// Bytes of a report of SGX.
pub(super) const REPORT_BYTES: usize = 384;
/// Bytes of the body of version 4.
const TD_BODY_BYTES: usize = 584;
/// Kinds of bodies of version 5, and their bytes: of TDX 1.0, of 1.5, and of 1.5 with where a domain comes from.
const BODIES: [(u16, usize); 3] = [(2, TD_BODY_BYTES), (3, 648), (4, 885)];
/// ECDSA on P-256.
const KEY_P256: u16 = 2;
/// The vendor of the quoting enclave: Intel.
const VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// Kinds of certification data: a chain of certificates in PEM, and a report of the quoting enclave with more of them.
const PEM_CHAIN: u16 = 5;
const QE_REPORT: u16 = 6;
/// Most bytes that the quoting enclave adds to its key. Intel's adds 32.
const QE_DATA_BYTES_MAX: usize = 1024;
/// Certificates of a chain: of the machine, of the authority, and the root.
const CHAIN_CERTIFICATES: usize = 3;

/// What the machine protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tee {
    Sgx,
    Tdx,
}

impl Tee {
    const fn number(self) -> u32 {
        match self {
            Self::Sgx => 0,
            Self::Tdx => 0x81,
        }
    }

    const fn versions(self) -> &'static [u16] {
        match self {
            Self::Sgx => &[3],
            Self::Tdx => &[4, 5],
        }
    }
}

/// A quote, read and not believed.
pub(super) struct Quote<'a> {
    /// Header and body.
    pub(super) signed: &'a [u8],
    pub(super) body: LittleEndian<'a>,
    pub(super) signature: [u8; 64],
    /// Both coordinates.
    pub(super) key: [u8; 64],
    pub(super) qe_report: [u8; REPORT_BYTES],
    pub(super) qe_signature: [u8; 64],
    pub(super) qe_data: &'a [u8],
    pub(super) chain: Chain,
}

/// The certificates of a quote.
pub(super) struct Chain {
    /// Of the key that certifies the machine's keys ("PCK").
    pub(super) leaf: MakerCertificate,
    pub(super) authority: MakerCertificate,
    pub(super) root: MakerCertificate,
}

impl<'a> Quote<'a> {
    pub(super) fn read(bytes: &'a [u8], tee: Tee) -> Result<Self, VerifyError> {
        let mut reader = LittleEndian::new(bytes);
        let version = read_header(&mut reader, tee)?;
        let length = body_bytes(&mut reader, tee, version)?;
        let body = reader.part(length, "the body of the quote")?;
        let signed = bytes.get(..reader.at()).unwrap_or_default();
        let length = reader.length("the length of the signature")?;
        let mut reader = {
            let data = reader.part(length, "the signature")?;
            if reader.rest().iter().any(|byte| *byte != 0) {
                return Err(reader.malformed("bytes behind the quote").into());
            }
            data
        };
        let signature = reader.array("the signature")?;
        let key = reader.array("the key of the quote")?;
        if version > 3 {
            reader = certification(&mut reader, QE_REPORT, "no report of the quoting enclave")?;
        }
        let qe_report = reader.array("the report of the quoting enclave")?;
        let qe_signature = reader.array("the signature of the quoting enclave's report")?;
        let place = reader;
        let length = usize::from(reader.u16("the length of the quoting enclave's data")?);
        if length > QE_DATA_BYTES_MAX {
            return Err(place.malformed("too much data of the quoting enclave").into());
        }
        let qe_data = reader.bytes(length, "the data of the quoting enclave")?;
        let pem = certification(&mut reader, PEM_CHAIN, "no chain of certificates in PEM")?;
        let chain = Chain::read(pem)?;
        Ok(Self { signed, body, signature, key, qe_report, qe_signature, qe_data, chain })
    }
}

/// Its version, where all else is what it has to be.
fn read_header(reader: &mut LittleEndian<'_>, tee: Tee) -> Result<u16, VerifyError> {
    let unsupported = |what, found: u64| VerifyError::Unsupported { what, found };
    let version = reader.u16("the version of the quote")?;
    if !tee.versions().contains(&version) {
        return Err(unsupported("the version of the quote", version.into()));
    }
    let key_type = reader.u16("the kind of the key")?;
    if key_type != KEY_P256 {
        return Err(unsupported("the kind of the key of the quote", key_type.into()));
    }
    let number = reader.u32("what made the quote")?;
    if number != tee.number() {
        return Err(unsupported("the kind of machine of the quote", number.into()));
    }
    match tee {
        // The versions of two enclaves: the machine's certificate and the quoting enclave's report say them as well.
        Tee::Sgx => reader.array::<4>("the versions of enclaves").map(drop)?,
        Tee::Tdx => reader.zeros::<4>("something in the header that is not known here")?,
    }
    let place = *reader;
    if reader.array::<16>("the vendor of the quoting enclave")? != VENDOR {
        return Err(place.malformed("the quoting enclave is not Intel's").into());
    }
    // Which quoting enclave made it.
    reader.array::<20>("the user data of the header")?;
    Ok(version)
}

/// How many bytes the body has, which in version 5 stands before it.
fn body_bytes(reader: &mut LittleEndian<'_>, tee: Tee, version: u16) -> Result<usize, VerifyError> {
    match (tee, version) {
        (Tee::Sgx, _) => Ok(REPORT_BYTES),
        (Tee::Tdx, ..5) => Ok(TD_BODY_BYTES),
        (Tee::Tdx, _) => {
            let found = reader.u16("the kind of the body")?;
            let Some((_, bytes)) = BODIES.into_iter().find(|(kind, _)| *kind == found) else {
                let found = u64::from(found);
                return Err(VerifyError::Unsupported { what: "the kind of body", found });
            };
            let place = *reader;
            if reader.length("the length of the body")? != bytes {
                return Err(place.malformed("a body of this kind has another length").into());
            }
            Ok(bytes)
        }
    }
}

/// Certification data of this kind, which are all that is left.
fn certification<'a>(
    reader: &mut LittleEndian<'a>,
    kind: u16,
    what: &'static str,
) -> Result<LittleEndian<'a>, VerifyError> {
    let place = *reader;
    let found = reader.u16(what)?;
    if found != kind {
        return Err(place.malformed(what).into());
    }
    let length = reader.length(what)?;
    let data = reader.part(length, what)?;
    reader.end("bytes behind the certification data")?;
    Ok(data)
}

impl Chain {
    /// Reads certificates in PEM, one after the other. Nobody signs that text, so there is one way to write it, but for a zero at its end,
    /// which some of Intel's libraries leave.
    fn read(pem: LittleEndian<'_>) -> Result<Self, VerifyError> {
        let malformed = |what| VerifyError::from(pem.malformed(what));
        let text = pem.rest().strip_suffix(b"\0").unwrap_or(pem.rest());
        let text = std::str::from_utf8(text).map_err(|_| malformed("the chain is no text"))?;
        let bundle = read_bundle(text).map_err(|_| malformed("the chain is not in PEM"))?;
        let written = bundle.iter().map(|der| encode_pem("CERTIFICATE", der));
        if written.map(|one| one.expose().to_vec()).collect::<Vec<_>>().concat() != text.as_bytes()
        {
            return Err(malformed("the chain is not written as Intel writes it"));
        }
        let Ok([leaf, authority, root]) = <[Vec<u8>; CHAIN_CERTIFICATES]>::try_from(bundle) else {
            return Err(malformed("not three certificates in the chain"));
        };
        let read = |link, der: &[u8]| {
            MakerCertificate::from_der(der).map_err(|source| VerifyError::Chain { link, source })
        };
        Ok(Self {
            leaf: read(Link::Leaf, &leaf)?,
            authority: read(Link::Between(1), &authority)?,
            root: read(Link::Root, &root)?,
        })
    }
}

/// A report of SGX (Intel SDM, volume 3D, table 36-21). Of the enclave that asked, or of the quoting enclave.
pub(super) struct SgxReport {
    pub(super) misc: u32,
    pub(super) attributes: SgxAttributes,
    pub(super) mr_enclave: [u8; 32],
    pub(super) mr_signer: [u8; 32],
    pub(super) config_id: [u8; 64],
    pub(super) isv_prod_id: u16,
    pub(super) isv_svn: u16,
    pub(super) config_svn: u16,
    pub(super) report_data: [u8; 64],
}

impl SgxReport {
    pub(super) fn read(mut reader: LittleEndian<'_>) -> Result<Self, VerifyError> {
        const RESERVED: &str = "something in a report of SGX that is not known here";
        // Of the processor: the certificate says that part by part.
        reader.array::<16>("the version of the processor")?;
        let misc = reader.u32("what is saved")?;
        reader.zeros::<12>(RESERVED)?;
        // Which product of its maker, in more bytes.
        reader.array::<16>("the extended product")?;
        let attributes = SgxAttributes {
            flags: reader.u64("the attributes")?,
            xfrm: reader.u64("the state that may be used")?,
        };
        let mr_enclave = reader.array("the measurement")?;
        reader.zeros::<32>(RESERVED)?;
        let mr_signer = reader.array("the signer")?;
        reader.zeros::<32>(RESERVED)?;
        let config_id = reader.array("the configuration")?;
        let isv_prod_id = reader.u16("the product")?;
        let isv_svn = reader.u16("the security version")?;
        let config_svn = reader.u16("the version of the configuration")?;
        reader.zeros::<42>(RESERVED)?;
        // Which products may share what they sealed.
        reader.array::<16>("the family")?;
        let report_data = reader.array("the report data")?;
        reader.end("bytes behind a report of SGX")?;
        Ok(Self {
            misc,
            attributes,
            mr_enclave,
            mr_signer,
            config_id,
            isv_prod_id,
            isv_svn,
            config_svn,
            report_data,
        })
    }
}

/// The body of a quote of TDX.
pub(super) struct TdReport {
    pub(super) tee_tcb_svn: [u8; 16],
    pub(super) mr_seam: [u8; 48],
    pub(super) mr_signer_seam: [u8; 48],
    pub(super) seam_attributes: [u8; 8],
    pub(super) attributes: TdAttributes,
    pub(super) xfam: u64,
    pub(super) mr_td: [u8; 48],
    pub(super) mr_config_id: [u8; 48],
    pub(super) mr_owner: [u8; 48],
    pub(super) mr_owner_config: [u8; 48],
    pub(super) rtmrs: [[u8; 48]; 4],
    pub(super) report_data: [u8; 64],
    pub(super) update: Option<TdxUpdate>,
    pub(super) history: Option<Box<TdxHistory>>,
}

impl TdReport {
    pub(super) fn read(mut reader: LittleEndian<'_>) -> Result<Self, VerifyError> {
        let mut report = Self {
            tee_tcb_svn: reader.array("the versions")?,
            mr_seam: reader.array("the module")?,
            mr_signer_seam: reader.array("the signer of the module")?,
            seam_attributes: reader.array("the attributes of the module")?,
            attributes: TdAttributes(reader.u64("the attributes")?),
            xfam: reader.u64("the state that may be used")?,
            mr_td: reader.array("the measurement")?,
            mr_config_id: reader.array("the configuration")?,
            mr_owner: reader.array("the owner")?,
            mr_owner_config: reader.array("the owner's configuration")?,
            rtmrs: [
                reader.array("a register")?,
                reader.array("a register")?,
                reader.array("a register")?,
                reader.array("a register")?,
            ],
            report_data: reader.array("the report data")?,
            update: None,
            history: None,
        };
        if !reader.rest().is_empty() {
            report.update = Some(TdxUpdate {
                tee_tcb_svn: reader.array("the versions now")?,
                mr_service_td: reader.array("the service domains")?,
            });
        }
        if !reader.rest().is_empty() {
            report.history = Some(Box::new(read_history(&mut reader)?));
        }
        reader.end("bytes behind the body")?;
        Ok(report)
    }
}

fn read_history(reader: &mut LittleEndian<'_>) -> Result<TdxHistory, VerifyError> {
    Ok(TdxHistory {
        partition: reader.u8("the partition")?,
        id: reader.array("the domain")?,
        devices: reader.array("the devices")?,
        service_at_start: (
            reader.array("the service domains at the start")?,
            reader.u64("the attributes of the service domains at the start")?,
        ),
        started_on: (
            reader.array("the processor at the start")?,
            reader.array("the versions at the start")?,
            reader.array("the kind of machine at the start")?,
        ),
        service: (
            reader.array("the service domains now")?,
            reader.u64("the attributes of the service domains now")?,
        ),
    })
}
