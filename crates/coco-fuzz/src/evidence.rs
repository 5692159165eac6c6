//! Evidence of trusted execution environments.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coco_attest::{
    AzureEvidence, AzureTdxEvidence, Endorsement, EndorsementKind, Endorsements, Evidence,
    GcpEvidence, NITRO_PCR_BYTES, PlatformId, SNP_REPORT_BYTES, verify,
};
use coco_crypto::{
    cose::{AttachedSign1, EMPTY_MAP},
    sha256,
};
use coco_types::codec::{Reader, put_bytes};

/// 1 June 2025.
const NOW: u64 = 1_748_736_000;

/// From this number on the body of the evidence stands behind its endorsements.
const ENDORSED: u8 = 0x80;

/// The roots are pinned, and no maker has signed anything of this: whatever verifies is a forgery.
pub(crate) fn evidence(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    let platform = PlatformId::ALL[usize::from(which & !ENDORSED) % PlatformId::ALL.len()];
    let mut reader = Reader::new(rest);
    let endorsements = if which & ENDORSED == 0 {
        Endorsements::default()
    } else {
        let Ok(bytes) = reader.bytes("endorsements") else { return };
        let Ok(endorsements) = Endorsements::decode(bytes) else { return };
        endorsements
    };
    let evidence = Evidence::new(platform, reader.rest().to_vec());
    let found = verify(&evidence, &endorsements, NOW);
    assert!(found.is_err(), "it is believed: {found:?}");
}

/// Evidence of each platform, and what comes with it: well-formed, and signed by nobody.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let reports = (1..=6).map(|version| input(PlatformId::Snp, &report(version)));
    let mut inputs: Vec<Vec<u8>> = reports.collect();
    inputs.push(input(PlatformId::AzureSnp, &azure().encode()));
    inputs.extend([false, true].map(|is_open| input(PlatformId::Nitro, &document(is_open))));
    let uvm = (EndorsementKind::UvmEndorsement, utility_vm());
    inputs.push(endorsed(PlatformId::SnpCaci, &[uvm], &report(3)));
    let keys = (EndorsementKind::KeySet, key_set());
    inputs.push(endorsed(PlatformId::Maa, &[keys], token().as_bytes()));
    let key = (EndorsementKind::AttestationKey, SPKI_P384.to_vec());
    inputs.push(endorsed(PlatformId::Cca, &[key], &realm()));
    let key = (EndorsementKind::AttestationKey, spki_rsa());
    inputs.push(endorsed(PlatformId::VbsEnclave, &[key], &enclave()));
    inputs.push(input(PlatformId::GcpVtpm, &gcp().encode()));
    let quotes = [(3, 0, 384), (4, 0, 584), (5, 2, 584), (5, 3, 648), (5, 4, 885)];
    inputs.extend(quotes.map(|(version, kind, length)| {
        let platform = if version == 3 { PlatformId::SgxDcap } else { PlatformId::Tdx };
        input(platform, &intel_quote(version, kind, length))
    }));
    let machine = AzureEvidence { hcl_report: hcl_report(4, &[0; SNP_REPORT_BYTES]), ..azure() };
    let azure_tdx = AzureTdxEvidence { machine, td_quote: intel_quote(4, 0, 584) };
    inputs.push(input(PlatformId::AzureTdx, &azure_tdx.encode()));
    inputs
}

/// The number of a platform.
fn number(platform: PlatformId) -> u8 {
    let at = PlatformId::ALL.iter().position(|one| *one == platform).expect("it is one of them");
    u8::try_from(at).expect("they are few")
}

fn input(platform: PlatformId, body: &[u8]) -> Vec<u8> {
    [&[number(platform)], body].concat()
}

fn endorsed(platform: PlatformId, items: &[(EndorsementKind, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let items = items.iter().map(|(kind, bytes)| Endorsement { kind: *kind, bytes: bytes.clone() });
    let mut input = vec![ENDORSED | number(platform)];
    put_bytes(&mut input, &Endorsements { items: items.collect() }.encode());
    [input, body.to_vec()].concat()
}

/// What is said of a utility VM, in the older form.
fn utility_vm() -> Vec<u8> {
    let mut protected = vec![0xa6];
    for part in [
        &b"\x01\x38\x25\x03\x70application/json\x18\x21\x83\x41\x30\x41\x30\x41\x30"[..],
        b"\x63iss\x78\x20did:x509:0:sha256:A::eku:1.2.3.4\x64feed\x61f",
        b"\x6bsigningtime\xc1\x07",
    ] {
        protected.extend_from_slice(part);
    }
    let measurement = "ab".repeat(48);
    let payload = format!(
        r#"{{"x-ms-sevsnpvm-guestsvn":"22","x-ms-sevsnpvm-launchmeasurement":"{measurement}"}}"#
    );
    let (payload, signature) = (payload.as_bytes(), &[9; 384][..]);
    AttachedSign1 { protected: &protected, unprotected: EMPTY_MAP, payload, signature }.encode()
}

/// Of one key.
fn key_set() -> Vec<u8> {
    let modulus = URL_SAFE_NO_PAD.encode([0x99; 256]);
    format!(r#"{{"keys":[{{"e":"AQAB","kid":"k","kty":"RSA","n":"{modulus}"}}]}}"#).into_bytes()
}

/// Of Azure Attestation.
fn token() -> String {
    let payload = r#"{"exp":20,"iat":10,"iss":"i","nbf":10,"x-ms-attestation-type":"azurevm","x-ms-azurevm-attested-pcrs":[0],"x-ms-azurevm-vmid":"v","x-ms-policy-hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","x-ms-runtime":{"client-payload":{"nonce":"AQID"}},"x-ms-ver":"1.0"}"#;
    let parts = [&br#"{"alg":"RS256","kid":"k","typ":"JWT"}"#[..], payload.as_bytes(), &[9; 256]];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// A quote of Intel of this version, with a body of this kind and length. Three certificates come with it, of somebody else.
fn intel_quote(version: u8, kind: u8, length: u16) -> Vec<u8> {
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
    AzureEvidence { hcl_report, quote: quote(), signature: vec![1; 256], pcrs: PCRS }
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

/// The registers of a TPM.
const PCRS: [[u8; 32]; 24] = [[7; 32]; 24];

/// A quote of them.
fn quote() -> Vec<u8> {
    let mut quote = b"\xffTCG\x80\x18\0\x02\0\x0b\0\x03any".to_vec();
    quote.extend_from_slice(&[0; 25]);
    quote.extend_from_slice(b"\0\0\0\x01\0\x0b\x03\xff\xff\xff\0\x20");
    quote.extend_from_slice(&sha256(PCRS.as_flattened()).0);
    quote
}

fn gcp() -> GcpEvidence {
    GcpEvidence {
        quote: quote(),
        signature: b"\x30\x06\x02\x01\x01\x02\x01\x01".to_vec(),
        pcrs: PCRS,
    }
}

/// A key on P-384: the generator of the curve.
const SPKI_P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04\
    \xaa\x87\xca\x22\xbe\x8b\x05\x37\x8e\xb1\xc7\x1e\xf3\x20\xad\x74\x6e\x1d\x3b\x62\x8b\xa7\x9b\x98\x59\xf7\x41\xe0\x82\x54\x2a\x38\
    \x55\x02\xf2\x5d\xbf\x55\x29\x6c\x3a\x54\x5e\x38\x72\x76\x0a\xb7\x36\x17\xde\x4a\x96\x26\x2c\x6f\x5d\x9e\x98\xbf\x92\x92\xdc\x29\
    \xf8\xf4\x1d\xbd\x28\x9a\x14\x7c\xe9\xda\x31\x13\xb5\xf0\xb8\xc0\x0a\x60\xb1\xce\x1d\x7e\x81\x9d\x7a\x43\x1d\x7c\x90\xea\x0e\x5f";

/// A key of RSA of 2048 bits.
fn spki_rsa() -> Vec<u8> {
    let mut spki = b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00".to_vec();
    spki.extend_from_slice(b"\x30\x82\x01\x0a\x02\x82\x01\x01\x00");
    spki.extend_from_slice(&[0x99; 256]);
    spki.extend_from_slice(b"\x02\x03\x01\x00\x01");
    spki
}

/// A report of an enclave of Windows, with one module.
fn enclave() -> Vec<u8> {
    let name: Vec<u8> = "a.dll\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let module = [&1_u32.to_le_bytes()[..], &120_u32.to_le_bytes(), &[3; 100], &name].concat();
    let report = [&344_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), &[4; 216], &module].concat();
    let header = [624, 1, 1, 344, 256, 0_u32].map(u32::to_le_bytes).concat();
    [header, report, vec![9; 256]].concat()
}

/// A token of Arm CCA, whose parts have one claim each.
fn realm() -> Vec<u8> {
    let part = |payload: &[u8]| {
        let (protected, signature) = (&[0xa1, 0x01, 0x38, 0x22][..], &[9; 96][..]);
        AttachedSign1 { protected, unprotected: EMPTY_MAP, payload, signature }.encode()
    };
    let (platform, realm) =
        (part(&[0xa1, 0x19, 0x09, 0x5b, 0x19, 0x30, 0x03]), part(&[0xa1, 0x0a, 0x40]));
    let sized = |bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("it is short");
        [&[0x58, length], bytes].concat()
    };
    let head = [0xd9, 0x01, 0x8f, 0xa2, 0x19, 0xac, 0xca];
    [&head[..], &sized(&platform), &[0x19, 0xac, 0xd1], &sized(&realm)].concat()
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
