//! What the certificate of a machine says of it (Intel, "SGX PCK Certificate and Certificate Revocation List Profile Specification",
//! section 1.3.5): pairs of an identifier and a value, some of which are such pairs again.

use std::collections::BTreeMap;

use coco_crypto::MakerCertificate;

use super::facts::IntelConfiguration;

/// The extension, 1.2.840.113741.1.13.1, and its bytes, with which each identifier within begins.
const EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];
const EXTENSION_DER: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// Parts of a machine's firmware.
pub(super) const COMPONENTS: usize = 16;
/// Most pairs in one place: those, the version of the certifying enclave, and of the processor as a whole.
const PAIRS_MAX: usize = 18;

/// Tags of DER.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;

/// A machine, by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) svns: [u8; COMPONENTS],
    pub(super) pce_svn: u16,
    pub(super) pce_id: [u8; 2],
    pub(super) fmspc: [u8; 6],
    /// Its instance, or its processor.
    pub(super) id: [u8; 16],
    pub(super) configuration: IntelConfiguration,
}

impl Machine {
    /// Nothing when the certificate does not say all of it, or anything else.
    pub(super) fn of(certificate: &MakerCertificate) -> Option<Self> {
        Self::read(&certificate.extension(&EXTENSION)?)
    }

    fn read(extension: &[u8]) -> Option<Self> {
        let said = pairs(whole(extension, SEQUENCE)?, &[])?;
        let processor: [u8; 16] = octets(&said, 1)?;
        let (svns, pce_svn) = firmware(value(&said, 2, SEQUENCE)?)?;
        let pce_id = octets(&said, 3)?;
        let fmspc = octets(&said, 4)?;
        // How its memory is protected: in one of three ways.
        let [0..=2] = value(&said, 5, ENUMERATED)? else { return None };
        let id = match said.contains_key(&6) {
            true => octets(&said, 6)?,
            false => processor,
        };
        let configuration = match said.contains_key(&7) {
            true => configured(value(&said, 7, SEQUENCE)?)?,
            false => IntelConfiguration::default(),
        };
        let is_known = said.keys().all(|number| (1..=7).contains(number));
        is_known.then_some(Self { svns, pce_svn, pce_id, fmspc, id, configuration })
    }
}

/// The versions of each part, and of the certifying enclave.
fn firmware(bytes: &[u8]) -> Option<([u8; COMPONENTS], u16)> {
    let said = pairs(bytes, &[2])?;
    let mut svns = [0; COMPONENTS];
    for (svn, number) in svns.iter_mut().zip(1..) {
        *svn = u8::try_from(integer(&said, number)?).ok()?;
    }
    // The last one is the processor's as a whole, from which these come.
    octets::<16>(&said, 18)?;
    (said.len() == PAIRS_MAX).then_some((svns, integer(&said, 17)?))
}

fn configured(bytes: &[u8]) -> Option<IntelConfiguration> {
    let said = pairs(bytes, &[7])?;
    let flag = |number| match said.get(&number) {
        None => Some(None),
        Some((BOOLEAN, [0x00])) => Some(Some(false)),
        Some((BOOLEAN, [0xff])) => Some(Some(true)),
        Some(_) => None,
    };
    let configuration =
        IntelConfiguration { dynamic_platform: flag(1)?, cached_keys: flag(2)?, smt: flag(3)? };
    said.keys().all(|number| (1..=3).contains(number)).then_some(configuration)
}

/// Values, each with its tag, by the last number of their identifiers.
type Said<'a> = BTreeMap<u8, (u8, &'a [u8])>;

/// The pairs of which identifiers begin with that of the extension and `within`.
fn pairs<'a>(mut bytes: &'a [u8], within: &[u8]) -> Option<Said<'a>> {
    let prefix = [EXTENSION_DER, within].concat();
    let mut said = Said::new();
    while !bytes.is_empty() {
        let (SEQUENCE, pair, rest) = element(bytes)? else { return None };
        let (ID, id, value) = element(pair)? else { return None };
        let (tag, value, []) = element(value)? else { return None };
        let [number @ 1..=0x7f] = id.strip_prefix(prefix.as_slice())? else { return None };
        if said.insert(*number, (tag, value)).is_some() || said.len() > PAIRS_MAX {
            return None;
        }
        bytes = rest;
    }
    Some(said)
}

fn value<'a>(said: &Said<'a>, number: u8, tag: u8) -> Option<&'a [u8]> {
    said.get(&number).filter(|(found, _)| *found == tag).map(|(_, value)| *value)
}

fn octets<const N: usize>(said: &Said<'_>, number: u8) -> Option<[u8; N]> {
    value(said, number, OCTETS)?.try_into().ok()
}

/// A number up to 65535, in its shortest form.
fn integer(said: &Said<'_>, number: u8) -> Option<u16> {
    match *value(said, number, INTEGER)? {
        [low @ 0..=0x7f] | [0, low @ 0x80..=0xff] => Some(u16::from(low)),
        [high @ 1..=0x7f, low] | [0, high @ 0x80..=0xff, low] => {
            Some(u16::from_be_bytes([high, low]))
        }
        _ => None,
    }
}

/// The content of the one element that these bytes are.
fn whole(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    match element(bytes)? {
        (found, content, []) if found == tag => Some(content),
        _ => None,
    }
}

/// The tag and the content of the first element in DER, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, rest) = match bytes.get(1..)? {
        [length @ 0..=0x7f, rest @ ..] | [0x81, length @ 0x80..=0xff, rest @ ..] => {
            (usize::from(*length), rest)
        }
        [0x82, high @ 1..=0xff, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*bytes.first()?, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap();
        let head = match length.to_be_bytes() {
            [0, short @ ..0x80] => vec![tag, short],
            [0, long] => vec![tag, 0x81, long],
            [high, low] => vec![tag, 0x82, high, low],
        };
        [head, content.to_vec()].concat()
    }

    fn pair(id: &[u8], value: Vec<u8>) -> Vec<u8> {
        let id = tlv(ID, &[EXTENSION_DER, id].concat());
        tlv(SEQUENCE, &[id, value].concat())
    }

    /// The parts of an extension, each by itself.
    fn parts() -> Vec<Vec<u8>> {
        let mut firmware: Vec<Vec<u8>> =
            (1..=16).map(|number| pair(&[2, number], tlv(INTEGER, &[number]))).collect();
        firmware.push(pair(&[2, 17], tlv(INTEGER, &[0x01, 0x02])));
        firmware.push(pair(&[2, 18], tlv(OCTETS, &[9; 16])));
        vec![
            pair(&[1], tlv(OCTETS, &[1; 16])),
            pair(&[2], tlv(SEQUENCE, &firmware.concat())),
            pair(&[3], tlv(OCTETS, &[3; 2])),
            pair(&[4], tlv(OCTETS, &[4; 6])),
            pair(&[5], tlv(ENUMERATED, &[1])),
        ]
    }

    fn read(parts: &[Vec<u8>]) -> Option<Machine> {
        Machine::read(&tlv(SEQUENCE, &parts.concat()))
    }

    #[test]
    fn a_machine_is_what_its_certificate_says() {
        let svns = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let machine = Machine {
            svns,
            pce_svn: 0x102,
            pce_id: [3; 2],
            fmspc: [4; 6],
            id: [1; 16],
            configuration: IntelConfiguration::default(),
        };
        assert_eq!(read(&parts()), Some(machine));
        let flags = [pair(&[7, 3], tlv(BOOLEAN, &[0xff])), pair(&[7, 1], tlv(BOOLEAN, &[0]))];
        let mut more = parts();
        more.push(pair(&[6], tlv(OCTETS, &[6; 16])));
        more.push(pair(&[7], tlv(SEQUENCE, &flags.concat())));
        let configuration = IntelConfiguration {
            dynamic_platform: Some(false),
            cached_keys: None,
            smt: Some(true),
        };
        assert_eq!(read(&more), Some(Machine { id: [6; 16], configuration, ..machine }));
    }

    #[test]
    fn what_says_less_or_more_is_refused() {
        for at in 0..parts().len() {
            let mut fewer = parts();
            fewer.remove(at);
            assert_eq!(read(&fewer), None, "without {at}");
            let mut twice = parts();
            twice.push(twice[at].clone());
            assert_eq!(read(&twice), None, "{at} twice");
        }
        for other in [
            pair(&[8], tlv(OCTETS, &[1])),
            pair(&[7], tlv(SEQUENCE, &pair(&[7, 4], tlv(BOOLEAN, &[0])))),
            pair(&[7], tlv(SEQUENCE, &pair(&[7, 3], tlv(BOOLEAN, &[1])))),
            pair(&[6], tlv(OCTETS, &[1; 15])),
        ] {
            let more = [parts(), vec![other.clone()]].concat();
            assert_eq!(read(&more), None, "{other:02x?}");
        }
        let good = tlv(SEQUENCE, &parts().concat());
        for end in 0..good.len() {
            assert_eq!(Machine::read(&good[..end]), None, "{end}");
        }
        assert_eq!(Machine::read(&[good, vec![0]].concat()), None);
        for (content, expected) in [
            (&[0][..], Some(0)),
            (&[0x7f], Some(0x7f)),
            (&[0x80], None),
            (&[0, 0x80], Some(0x80)),
            (&[0, 0x7f], None),
            (&[0x7f, 0xff], Some(0x7fff)),
            (&[0, 0xff, 0xff], Some(0xffff)),
            (&[1, 0, 0], None),
            (&[], None),
        ] {
            let said = Said::from([(1, (INTEGER, content))]);
            assert_eq!(integer(&said, 1), expected, "{content:02x?}");
        }
    }
}
