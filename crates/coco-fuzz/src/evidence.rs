//! Evidence of trusted execution environments.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coco_attest::{
    AzureEvidence, AzureTdxEvidence, Endorsements, Evidence, NITRO_PCR_BYTES, PlatformId,
    SNP_REPORT_BYTES, verify,
};
use coco_crypto::sha256;

/// 1 June 2025.
const NOW: u64 = 1_748_736_000;

/// The roots are pinned, and no maker has signed anything of this: whatever verifies is a forgery.
pub(crate) fn evidence(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    let platform = PlatformId::ALL[usize::from(*which) % PlatformId::ALL.len()];
    let evidence = Evidence::new(platform, body.to_vec());
    let found = verify(&evidence, &Endorsements::default(), NOW);
    assert!(found.is_err(), "it is believed: {found:?}");
}

/// A report of each version, machines of Azure, documents of AWS, and quotes of Intel of each kind: well-formed, and signed by nobody.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let reports = (1..=6).map(|version| input(0, &report(version)));
    let mut inputs: Vec<Vec<u8>> = reports.collect();
    inputs.push(input(1, &azure().encode()));
    inputs.extend([false, true].map(|is_open| input(2, &document(is_open))));
    let quotes = [(3, 0, 384), (4, 0, 584), (5, 2, 584), (5, 3, 648), (5, 4, 885)];
    inputs.extend(quotes.map(|(version, kind, length)| {
        let platform = if version == 3 { PlatformId::SgxDcap } else { PlatformId::Tdx };
        input_of(platform, &quote(version, kind, length))
    }));
    let machine = AzureEvidence { hcl_report: hcl_report(4, &[0; SNP_REPORT_BYTES]), ..azure() };
    let azure_tdx = AzureTdxEvidence { machine, td_quote: quote(4, 0, 584) };
    inputs.push(input_of(PlatformId::AzureTdx, &azure_tdx.encode()));
    inputs
}

fn input(which: u8, body: &[u8]) -> Vec<u8> {
    [&[which], body].concat()
}

fn input_of(platform: PlatformId, body: &[u8]) -> Vec<u8> {
    let at = PlatformId::ALL.iter().position(|one| *one == platform).expect("it is one of all");
    input(u8::try_from(at).expect("they are few"), body)
}

/// A quote of Intel of this version, with a body of this kind and length. Three certificates come with it, of somebody else.
fn quote(version: u8, kind: u8, length: u16) -> Vec<u8> {
    const CERTIFICATE: &str = include_str!("../../coco-crypto/tests/vectors/chain/rsa_root.pem");
    const VENDOR: [u8; 16] = [
        0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06,
        0x07,
    ];
    let sized = |kind: u8, data: &[u8]| {
        let length = u32::try_from(data.len()).expect("it is short").to_le_bytes();
        [&[kind, 0], &length[..], data].concat()
    };
    let tee = if version == 3 { 0 } else { 0x81 };
    let mut quote = vec![version, 0, 2, 0, tee, 0, 0, 0, 0, 0, 0, 0];
    quote.extend(VENDOR);
    quote.extend([7; 20]);
    let body = vec![0; usize::from(length)];
    quote.extend(if version == 5 { sized(kind, &body) } else { body });
    let mut certification = vec![0; 384];
    certification.extend([8; 64]);
    certification.extend([2, 0, 1, 2]);
    certification.extend(sized(5, CERTIFICATE.repeat(3).as_bytes()));
    if version > 3 {
        certification = sized(6, &certification);
    }
    let signature = [&[9; 128][..], &certification].concat();
    let length = u32::try_from(signature.len()).expect("it is short").to_le_bytes();
    [&quote[..], &length, &signature, &[0; 3]].concat()
}

fn report(version: u8) -> Vec<u8> {
    let mut report = vec![0; SNP_REPORT_BYTES];
    (report[0], report[0x34]) = (version, 1);
    report[0x188..0x18a].copy_from_slice(&[0x19, 0x01]);
    report
}

fn azure() -> AzureEvidence {
    let hcl_report = hcl_report(2, &report(3));
    let pcrs = [[7; 32]; 24];
    let mut quote = b"\xffTCG\x80\x18\0\x02\0\x0b\0\x03any".to_vec();
    quote.extend_from_slice(&[0; 25]);
    quote.extend_from_slice(b"\0\0\0\x01\0\x0b\x03\xff\xff\xff\0\x20");
    quote.extend_from_slice(&sha256(pcrs.as_flattened()).0);
    AzureEvidence { hcl_report, quote, signature: vec![1; 256], pcrs }
}

/// The report of a paravisor with one of this kind.
fn hcl_report(kind: u32, hardware: &[u8]) -> Vec<u8> {
    let modulus = URL_SAFE_NO_PAD.encode([0x99; 256]);
    let text = format!(
        r#"{{"keys":[{{"kid":"HCLAkPub","kty":"RSA","e":"AQAB","n":"{modulus}"}}],"vm-configuration":{{"secure-boot":true}},"user-data":"00"}}"#
    );
    let mut hcl_report = b"HCLA".to_vec();
    let length = u32::try_from(text.len()).expect("it is short");
    for number in [1, 1216 + 20 + length, 2, 0, 0, 0, 0] {
        hcl_report.extend_from_slice(&number.to_le_bytes());
    }
    hcl_report.extend_from_slice(hardware);
    for number in [20 + length, 1, kind, 1, length] {
        hcl_report.extend_from_slice(&number.to_le_bytes());
    }
    hcl_report.extend_from_slice(text.as_bytes());
    hcl_report
}

/// In CBOR, with the length of the map before it or its end marked.
fn document(is_open: bool) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).expect("it is short");
        let head = if length < 24 { vec![0x60 | length] } else { vec![0x78, length] };
        [head, text.as_bytes().to_vec()].concat()
    };
    let bytes = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("it is short").to_be_bytes();
        let head = match length {
            [0, short @ ..24] => vec![0x40 | short],
            [0, byte] => vec![0x58, byte],
            [high, low] => vec![0x59, high, low],
        };
        [head, bytes.to_vec()].concat()
    };
    let register = [vec![0xa1, 0x00], bytes(&[5; NITRO_PCR_BYTES])].concat();
    let fields = [
        [text("module_id"), text("i-0")].concat(),
        [text("digest"), text("SHA384")].concat(),
        [text("timestamp"), vec![0x1a, 1, 2, 3, 4]].concat(),
        [text("pcrs"), register].concat(),
        [text("certificate"), bytes(b"0")].concat(),
        [text("cabundle"), vec![0x81], bytes(b"0")].concat(),
        [text("nonce"), vec![0xf6]].concat(),
    ];
    let count = u8::try_from(fields.len()).expect("they are few");
    let (head, end) = if is_open { (0xbf, &[0xff][..]) } else { (0xa0 | count, &[][..]) };
    let payload = [&[head], fields.concat().as_slice(), end].concat();
    let signature = bytes(&[9; 96]);
    [vec![0x84], bytes(&[0xa1, 0x01, 0x38, 0x22]), vec![0xa0], bytes(&payload), signature].concat()
}
