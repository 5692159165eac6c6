//! Quotes of a TPM 2.0: which values its registers have, signed for one question (TCG, TPM 2.0 Library, part 2, `TPMS_ATTEST`).
//!
//! What is read is what was signed. Whether the key that signed is a TPM's is the business of whoever knows the platform.

use coco_crypto::sha256;
use coco_types::codec::Reader;

use crate::error::VerifyError;

/// Registers of a bank.
pub const TPM_PCRS: usize = 24;

/// Bytes of a register of the SHA-256 bank.
pub const TPM_PCR_BYTES: usize = 32;

/// The values of all registers of the SHA-256 bank, in their order.
pub type TpmPcrs = [[u8; TPM_PCR_BYTES]; TPM_PCRS];

/// Registers out of their bytes, behind which the part that they are ends at `at`.
pub(crate) fn pcrs_of(registers: &[u8], at: usize) -> Result<TpmPcrs, VerifyError> {
    let (values, rest) = registers.as_chunks::<TPM_PCR_BYTES>();
    let pcrs = TpmPcrs::try_from(values).ok().filter(|_| rest.is_empty());
    pcrs.ok_or(VerifyError::Malformed { what: "not 24 registers of 32 bytes", at })
}

/// All registers in one text.
pub(crate) fn pcrs_text(pcrs: &TpmPcrs) -> String {
    let registers = pcrs.iter().enumerate();
    let registers = registers.map(|(at, value)| format!("{at}:{}", hex::encode(value)));
    registers.collect::<Vec<_>>().join(" ")
}

/// A part of what was read from a TPM, behind its length: whoever read it put the parts one after the other into a body so long.
pub(crate) fn read_part<'a>(
    reader: &mut Reader<'a>,
    length: usize,
    what: &'static str,
) -> Result<&'a [u8], VerifyError> {
    let at = length.saturating_sub(reader.left());
    reader.bytes(what).map_err(|_| VerifyError::Malformed { what, at })
}

/// Checks that these were all parts.
pub(crate) fn check_end(
    reader: &Reader<'_>,
    length: usize,
    what: &'static str,
) -> Result<(), VerifyError> {
    match reader.left() {
        0 => Ok(()),
        left => Err(VerifyError::Malformed { what, at: length.saturating_sub(left) }),
    }
}

/// Longest quote that is read, in bytes.
pub(crate) const QUOTE_BYTES_MAX: usize = 1024;

/// `TPM_GENERATED_VALUE`: no TPM signs anything with a restricted key that begins so and that it has not made.
const MAGIC: [u8; 4] = [0xff, b'T', b'C', b'G'];
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: [u8; 2] = [0x80, 0x18];
/// `TPM_ALG_SHA256`.
const SHA256: [u8; 2] = [0x00, 0x0b];
/// All registers, in three bytes of bits.
const ALL: [u8; 4] = [3, 0xff, 0xff, 0xff];
/// Longest name and longest data, in bytes: a hash with its algorithm, and what a TPM takes as data.
const NAME_BYTES_MAX: usize = 66;
const DATA_BYTES_MAX: usize = 64;

/// A quote, read and not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quote<'a> {
    /// What whoever asked gave.
    pub(crate) data: &'a [u8],
    /// How often the TPM was reset, and how often it went on after a pause.
    pub(crate) resets: u32,
    pub(crate) restarts: u32,
    /// SHA-256 over the registers.
    digest: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads a quote of all registers of the SHA-256 bank.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, VerifyError> {
        let found = bytes.len();
        if found > QUOTE_BYTES_MAX {
            return Err(VerifyError::Long { found, limit: QUOTE_BYTES_MAX });
        }
        let mut reader = BigEndian { left: bytes, length: found };
        reader.expect(&MAGIC, "not what a TPM made")?;
        reader.expect(&QUOTE, "not a quote")?;
        reader.sized(NAME_BYTES_MAX, "the signer's name")?;
        let data = reader.sized(DATA_BYTES_MAX, "the data of the question")?;
        reader.take::<8>("the clock")?;
        let resets = u32::from_be_bytes(reader.take("the count of resets")?);
        let restarts = u32::from_be_bytes(reader.take("the count of restarts")?);
        reader.take::<1>("whether the clock is safe")?;
        reader.take::<8>("the version of the firmware")?;
        reader.expect(&[0, 0, 0, 1], "not registers of one bank")?;
        reader.expect(&SHA256, "not the bank of SHA-256")?;
        reader.expect(&ALL, "not all registers")?;
        let digest = reader.sized(TPM_PCR_BYTES, "the digest of the registers")?;
        if !reader.left.is_empty() {
            return Err(reader.malformed("bytes after the quote"));
        }
        Ok(Self { data, resets, restarts, digest })
    }

    /// Whether it is of registers with these values.
    pub(crate) fn is_of(&self, pcrs: &TpmPcrs) -> bool {
        sha256(pcrs.as_flattened()).0 == self.digest
    }
}

/// Reads what TPMs write.
struct BigEndian<'a> {
    left: &'a [u8],
    length: usize,
}

impl<'a> BigEndian<'a> {
    const fn malformed(&self, what: &'static str) -> VerifyError {
        VerifyError::Malformed { what, at: self.length.saturating_sub(self.left.len()) }
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], VerifyError> {
        let (taken, left) = self.left.split_first_chunk().ok_or_else(|| self.malformed(what))?;
        self.left = left;
        Ok(*taken)
    }

    fn expect<const N: usize>(
        &mut self,
        expected: &[u8; N],
        what: &'static str,
    ) -> Result<(), VerifyError> {
        match self.left.strip_prefix(expected) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.malformed(what)),
        }
    }

    fn sized(&mut self, limit: usize, what: &'static str) -> Result<&'a [u8], VerifyError> {
        let length = usize::from(u16::from_be_bytes(self.take(what)?));
        let (taken, left) = self
            .left
            .split_at_checked(length)
            .filter(|_| length <= limit)
            .ok_or_else(|| self.malformed(what))?;
        self.left = left;
        Ok(taken)
    }
}
