//! Which machine a certificate of Google is for (extension 1.3.6.1.4.1.11129.2.1.21; `gceInstanceInfo` in google/go-tpm-tools).

use coco_crypto::MakerCertificate;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcpInstance {
    /// Where it is.
    pub zone: String,
    /// The number of the project that it is of.
    pub project_number: u64,
    /// The id of that.
    pub project: String,
    /// Its number.
    pub instance: u64,
    /// Its name, which another one may have had before it.
    pub name: String,
    /// The version of what Google promises of it.
    pub security_version: u64,
    /// Whether it is one that customers get, and not of Google's own tests.
    pub is_production: bool,
}

/// The extension.
const INSTANCE: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 1, 21];

/// Tags of DER: numbers, texts, lists, yes or no, and values with a tag of their own, from 0 on.
const INTEGER: u8 = 0x02;
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
const BOOLEAN: u8 = 0x01;
const TAGGED: u8 = 0xa0;
/// What else Google promises, which no policy asks: that the TPM's data are encrypted, and such.
const PROMISES: [u8; 4] = [2, 3, 4, 5];

impl GcpInstance {
    /// The machine that a certificate is for, if it says so.
    pub(super) fn of(certificate: &MakerCertificate) -> Option<Self> {
        Self::read(&certificate.extension(&INSTANCE)?)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Der(Der(bytes).only(SEQUENCE)?);
        let (zone, project_number) = (fields.text()?, fields.number()?);
        let (project, instance) = (fields.text()?, fields.number()?);
        let name = fields.text()?;
        let mut promised = Der(Der(fields.only(TAGGED)?).only(SEQUENCE)?);
        let security_version = Der(promised.next(TAGGED)?).only_number()?;
        let is_production = Der(promised.next(TAGGED | 1)?).only_boolean()?;
        for promise in PROMISES {
            Der(promised.next(TAGGED | promise)?).only_boolean()?;
        }
        let instance =
            Self { zone, project_number, project, instance, name, security_version, is_production };
        promised.0.is_empty().then_some(instance)
    }
}

/// Reads values of DER, each of less than 256 bytes.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (length, rest) = match *self.0 {
            [found, length @ 0x00..=0x7f, ref rest @ ..] if found == tag => (length, rest),
            [found, 0x81, length @ 0x80..=0xff, ref rest @ ..] if found == tag => (length, rest),
            _ => return None,
        };
        let (content, left) = rest.split_at_checked(usize::from(length))?;
        self.0 = left;
        Some(content)
    }

    /// The content of the only value.
    fn only(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag).filter(|_| self.0.is_empty())
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.next(UTF8_STRING)?.to_vec()).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let digits = match self.next(INTEGER)? {
            // The one zero that may stand before others, where they would be less than zero without it.
            [0, digits @ ..] if matches!(digits, [0x80..=0xff, ..]) => digits,
            digits if matches!(digits, [0] | [0x01..=0x7f, ..]) => digits,
            _ => return None,
        };
        let mut number = [0; 8];
        let (_, place) = number.split_at_mut_checked(8_usize.checked_sub(digits.len())?)?;
        place.copy_from_slice(digits);
        Some(u64::from_be_bytes(number))
    }

    fn only_number(&mut self) -> Option<u64> {
        self.number().filter(|_| self.0.is_empty())
    }

    fn only_boolean(&mut self) -> Option<bool> {
        match self.only(BOOLEAN)? {
            [0x00] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a recorded certificate.
    const RECORDED: &str = "30660c0d75732d63656e7472616c312d610205363b54378c0c086c6f636b626f6f7402081db71a9fb72ce19f0c18696e7374616e63652d\
         32303236303230332d303233343437a020301ea003020100a1030101ffa203010100a303010100a403010100a503010100";

    fn recorded() -> Vec<u8> {
        hex::decode(RECORDED.replace(char::is_whitespace, "")).expect("digits")
    }

    #[test]
    fn a_machine_is_read_with_all_that_is_promised_of_it() {
        let found = GcpInstance::read(&recorded()).expect("it is one");
        assert_eq!((&*found.zone, &*found.project), ("us-central1-a", "lockboot"));
        assert_eq!(
            (found.project_number, found.instance),
            (232_923_608_972, 2_141_209_421_113_254_303)
        );
        assert_eq!(&*found.name, "instance-20260203-023447");
        assert_eq!((found.security_version, found.is_production), (0, true));
        for cut in 0..recorded().len() {
            assert_eq!(GcpInstance::read(&recorded()[..cut]), None, "{cut}");
        }
        let mut other = recorded();
        other.push(0);
        assert_eq!(GcpInstance::read(&other), None);
        for (from, to) in [
            ("a1030101ff", "a103010101"),
            ("a003020100", "a003020180"),
            ("a503010100", "a603010100"),
            ("a503010100", "a403010100"),
            ("0c086c6f", "16086c6f"),
            ("0c086c6f", "0c08ff6f"),
        ] {
            let changed = hex::encode(recorded()).replace(from, to);
            assert_ne!(changed, hex::encode(recorded()), "{from}");
            let changed = hex::decode(changed).expect("digits");
            assert_eq!(GcpInstance::read(&changed), None, "{to}");
        }
    }

    #[test]
    fn numbers_are_in_their_shortest_form() {
        let number = |bytes: &[u8]| Der(bytes).only_number();
        for (bytes, expected) in [
            (&[2, 1, 0][..], Some(0)),
            (&[2, 1, 0x7f], Some(0x7f)),
            (&[2, 2, 0, 0x80], Some(0x80)),
            (&[2, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(u64::MAX)),
            (&[2, 1, 0x80], None),
            (&[2, 2, 0, 0x7f], None),
            (&[2, 0], None),
            (&[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[2, 1, 0, 0], None),
            (&[2, 0x81, 1, 0], None),
        ] {
            assert_eq!(number(bytes), expected, "{bytes:02x?}");
        }
    }
}
