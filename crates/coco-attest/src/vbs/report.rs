//! The bytes of a report (`VBS_ENCLAVE_REPORT_PKG_HEADER` and `VBS_ENCLAVE_REPORT` of the Windows SDK, `ntenclv.h`).

use coco_types::codec::Reader;

use super::{VbsEnclaveFacts, VbsImage, VbsKey, VbsModule};
use crate::error::VerifyError;

/// Longest report that is read, in bytes. That of an enclave with six modules has 1,368.
pub const VBS_REPORT_BYTES_MAX: usize = 32 << 10;

/// Most modules.
const MODULES_MAX: usize = 128;
/// Bytes of the header of a package, and of the part of a report that is always there.
const HEADER_BYTES: usize = 24;
const REPORT_BYTES: usize = 224;
/// Bytes of the part of a module that is always there: after it comes the name.
const MODULE_BYTES: usize = 108;
/// The one version of packages, of reports, and the one scheme: RSA-PSS with SHA-256.
const PACKAGE_VERSION: u32 = 1;
const SCHEME_SHA256_PSS: u32 = 1;
const REPORT_VERSION: u32 = 1;
/// What may come behind a report: a module.
const MODULE: u32 = 1;

/// A report and its signature, not believed.
pub(super) struct Package<'a> {
    /// What is signed.
    pub(super) signed: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl<'a> Package<'a> {
    /// The header is not signed, so it may only be what it is.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, VerifyError> {
        if body.len() > VBS_REPORT_BYTES_MAX {
            return Err(VerifyError::Long { found: body.len(), limit: VBS_REPORT_BYTES_MAX });
        }
        let malformed = |at| VerifyError::Malformed { what: "not a package of a report", at };
        let mut header = Reader::new(body);
        let mut number = |at| header.u32("header").map_err(|_| malformed(at));
        let (package, version, scheme) = (number(0)?, number(4)?, number(8)?);
        let (statement, signature, reserved) = (number(12)?, number(16)?, number(20)?);
        for (what, found, known) in [
            ("the version of the package", version, PACKAGE_VERSION),
            ("the signature scheme of the package", scheme, SCHEME_SHA256_PSS),
        ] {
            if found != known {
                return Err(VerifyError::Unsupported { what, found: u64::from(found) });
            }
        }
        let rest = body.get(HEADER_BYTES..).unwrap_or_default();
        let (signed, behind) =
            rest.split_at_checked(length(statement)).ok_or(malformed(HEADER_BYTES))?;
        let is_whole = length(package) == body.len() && length(signature) == behind.len();
        if !is_whole || reserved != 0 {
            return Err(malformed(0));
        }
        Ok(Self { signed, signature: behind })
    }

    /// What it says, and what it binds.
    pub(super) fn facts(&self, idks: VbsKey) -> Result<(VbsEnclaveFacts, [u8; 64]), VerifyError> {
        let at = HEADER_BYTES;
        let malformed = |what| VerifyError::Malformed { what, at };
        let what = "the report ends too early";
        let mut fields = Fields { reader: Reader::new(self.signed), what };
        let (bytes, version) = (fields.u32()?, fields.u32()?);
        if version != REPORT_VERSION {
            let found = u64::from(version);
            return Err(VerifyError::Unsupported { what: "the version of the report", found });
        }
        if length(bytes) != self.signed.len() || length(bytes) < REPORT_BYTES {
            return Err(malformed("the report is not as long as it says"));
        }
        let bound = fields.array()?;
        let owner = fields.array()?;
        let image = fields.image()?;
        let (kernel_svn, platform_svn) = (fields.u32()?, fields.u32()?);
        let (flags, signing_level, kind) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let mut modules = Vec::new();
        while !fields.reader.rest().is_empty() {
            if modules.len() == MODULES_MAX {
                return Err(malformed("too many modules"));
            }
            modules.push(fields.module()?);
        }
        let facts = VbsEnclaveFacts {
            idks,
            owner,
            image,
            kernel_svn,
            platform_svn,
            flags,
            signing_level,
            kind,
            modules,
        };
        Ok((facts, bound))
    }
}

/// Reads what the secure kernel wrote.
struct Fields<'a> {
    reader: Reader<'a>,
    what: &'static str,
}

impl Fields<'_> {
    const fn malformed(&self) -> VerifyError {
        VerifyError::Malformed { what: self.what, at: HEADER_BYTES }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], VerifyError> {
        self.reader.array("field").map_err(|_| self.malformed())
    }

    fn u32(&mut self) -> Result<u32, VerifyError> {
        self.array().map(u32::from_le_bytes)
    }

    fn image(&mut self) -> Result<VbsImage, VerifyError> {
        Ok(VbsImage {
            unique: self.array()?,
            author: self.array()?,
            family: self.array()?,
            image: self.array()?,
            svn: self.u32()?,
        })
    }

    fn module(&mut self) -> Result<VbsModule, VerifyError> {
        let kind = self.u32()?;
        if kind != MODULE {
            let found = u64::from(kind);
            return Err(VerifyError::Unsupported { what: "what is behind the report", found });
        }
        let bytes = length(self.u32()?);
        let image = self.image()?;
        let name = bytes.checked_sub(MODULE_BYTES).ok_or_else(|| self.malformed())?;
        let name = self.reader.take(name, "name").map_err(|_| self.malformed())?;
        let what = "the name of a module is not text in UTF-16 that ends";
        let name = text(name).ok_or(VerifyError::Malformed { what, at: HEADER_BYTES })?;
        Ok(VbsModule { image, name })
    }
}

/// A text in UTF-16 up to a zero, behind which are only zeros.
fn text(bytes: &[u8]) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    let (name, rest) = units.split_at_checked(end)?;
    let is_end = rest.iter().all(|unit| *unit == 0);
    String::from_utf16(name).ok().filter(|_| is_end)
}

/// A length in bytes; one that memory cannot have is longer than anything here.
fn length(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use coco_types::Digest;

    use super::*;

    /// A module with this name, behind its type and its length.
    fn module(kind: u32, name: &[u8]) -> Vec<u8> {
        let bytes = u32::try_from(MODULE_BYTES + name.len()).unwrap();
        [&kind.to_le_bytes()[..], &bytes.to_le_bytes(), &[3; 100], name].concat()
    }

    fn report(version: u32, behind: &[u8]) -> Vec<u8> {
        let bytes = u32::try_from(REPORT_BYTES + behind.len()).unwrap();
        [&bytes.to_le_bytes()[..], &version.to_le_bytes(), &[4; REPORT_BYTES - 8], behind].concat()
    }

    fn package(report: &[u8]) -> Vec<u8> {
        let statement = u32::try_from(report.len()).unwrap();
        let header = [24 + statement + 2, 1, 1, statement, 2, 0].map(u32::to_le_bytes);
        [header.as_flattened(), report, &[9; 2]].concat()
    }

    fn read(body: &[u8]) -> Result<Vec<String>, VerifyError> {
        let idks = VbsKey { key: Digest([0; 32]), root: None };
        let (facts, bound) = Package::read(body)?.facts(idks)?;
        assert_eq!((bound, facts.owner, facts.kind), ([4; 64], [4; 32], 0x0404_0404));
        Ok(facts.modules.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn a_report_and_its_modules_are_as_long_as_they_say() {
        let named = |name: &[u8]| read(&package(&report(1, &module(1, name))));
        assert_eq!(read(&package(&report(1, &[]))), Ok(Vec::new()));
        assert_eq!(named(b"a\0b\0\0\0\0\0"), Ok(vec!["ab".to_owned()]));
        for name in [&b""[..], b"a\0", b"a\0\0", b"a\0\0\0b\0", b"\0\xd8\0\0"] {
            assert!(named(name).is_err(), "{name:?}");
        }
        let two = [module(1, b"a\0\0\0"), module(1, b"\0\0")].concat();
        assert_eq!(read(&package(&report(1, &two))), Ok(vec!["a".to_owned(), String::new()]));
        let short = &two[..two.len() - 1];
        assert!(read(&package(&report(1, short))).is_err());
        let mut less = module(1, b"\0\0");
        less[4] = 107;
        assert!(read(&package(&report(1, &less))).is_err());
        let mut longer = report(1, &[]);
        longer[0] += 1;
        assert!(read(&package(&longer)).is_err());
        assert!(read(&package(&report(1, &[])[..REPORT_BYTES - 1])).is_err());
        for (count, is_read) in
            [(MODULES_MAX - 1, true), (MODULES_MAX, true), (MODULES_MAX + 1, false)]
        {
            let many = module(1, b"\0\0").repeat(count);
            assert_eq!(read(&package(&report(1, &many))).is_ok(), is_read, "{count}");
        }
    }

    /// Whatever the report is: whoever has a key of their own can sign it.
    #[test]
    fn no_report_makes_it_panic() {
        let whole = report(1, &[module(1, b"a\0\0\0"), module(1, b"\0\0")].concat());
        for at in 0..whole.len() {
            let idks = || VbsKey { key: Digest([0; 32]), root: None };
            let cut = package(&whole[..at]);
            let cut = Package::read(&cut).and_then(|package| package.facts(idks()));
            assert!(cut.is_err(), "cut at {at}");
            for change in 1..=u8::MAX {
                let mut other = whole.clone();
                other[at] ^= change;
                let other = package(&other);
                drop(Package::read(&other).and_then(|package| package.facts(idks())));
            }
        }
    }

    #[test]
    fn other_versions_and_headers_are_refused() {
        let unsupported = |found: Result<_, VerifyError>| {
            matches!(found, Err(VerifyError::Unsupported { found: 2, .. }))
        };
        assert!(unsupported(read(&package(&report(2, &[])))));
        assert!(unsupported(read(&package(&report(1, &module(2, b"\0\0"))))));
        let good = package(&report(1, &[]));
        for at in [4, 8] {
            let mut other = good.clone();
            other[at] = 2;
            assert!(unsupported(read(&other)), "{at}");
        }
        for at in [0, 12, 16, 20] {
            for change in [1, 0x80] {
                let mut other = good.clone();
                other[at + 3] ^= change;
                assert!(read(&other).is_err(), "{at}");
                other[at] ^= change;
                assert!(read(&other).is_err(), "{at}");
            }
        }
        let long = vec![0; VBS_REPORT_BYTES_MAX + 1];
        assert!(matches!(read(&long), Err(VerifyError::Long { .. })));
    }
}
