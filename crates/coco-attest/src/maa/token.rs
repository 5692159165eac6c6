//! Tokens of Azure Attestation: JSON web tokens (RFC 7519) in the compact form of RFC 7515, under RS256.

use std::collections::BTreeSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coco_types::Digest;

use super::{MaaFacts, MaaFlag, MaaGuest, json::Members};
use crate::{
    error::{Flag, VerifyError},
    facts::SnpTcb,
};

/// Longest token that is read, in bytes. Those of confidential machines have some seven thousand.
pub const MAA_TOKEN_BYTES_MAX: usize = 16 << 10;

/// Longest name of an issuer, a key or a machine, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Most bytes that whoever asked gave.
const NONCE_BYTES_MAX: usize = 512;

/// A token taken apart, not believed.
pub(super) struct Token<'a> {
    /// What the signature covers.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
    pub(super) key_id: String,
    payload: Vec<u8>,
    /// Where the payload begins.
    at: usize,
}

/// What a token says.
#[derive(Debug)]
pub(super) struct Said {
    /// Without the key, which is no claim.
    pub(super) facts: MaaFacts,
    pub(super) bound: Vec<u8>,
    pub(super) made: u64,
    pub(super) not_before: u64,
    /// The last second.
    pub(super) not_after: u64,
}

impl<'a> Token<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, VerifyError> {
        if body.len() > MAA_TOKEN_BYTES_MAX {
            return Err(VerifyError::Long { found: body.len(), limit: MAA_TOKEN_BYTES_MAX });
        }
        let mut dots = body.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        let (Some((first, _)), Some((second, _)), None) = (dots.next(), dots.next(), dots.next())
        else {
            return Err(VerifyError::Malformed { what: "the token has not three parts", at: 0 });
        };
        let at = first.saturating_add(1);
        let part = |from: usize, to: usize| {
            let what = "a part of the token is not base64url without padding";
            let part = body.get(from..to).unwrap_or_default();
            let read = URL_SAFE_NO_PAD.decode(part);
            read.map_err(|_| VerifyError::Malformed { what, at: from })
        };
        let header = part(0, first)?;
        let payload = part(at, second)?;
        let signature = part(second.saturating_add(1), body.len())?;
        let key_id = read_header(&header)?;
        let signed = body.get(..second).unwrap_or_default();
        Ok(Self { signed, signature, key_id, payload, at })
    }

    pub(super) fn said(&self) -> Result<Said, VerifyError> {
        read_claims(&self.payload, self.at)
    }
}

/// The id of the key. Where keys are to be had (`jku`) is not asked here, and nothing is fetched.
fn read_header(header: &[u8]) -> Result<String, VerifyError> {
    let mut members = Members::read(header, 0)?;
    let is_known = members.text("alg")? == "RS256" && members.text("typ")? == "JWT";
    if !is_known {
        return Err(VerifyError::Malformed { what: "not a JWT under RS256", at: 0 });
    }
    let key_id = name(&mut members, "kid")?;
    members.pass(&["jku"]);
    members.end()?;
    Ok(key_id)
}

fn name(members: &mut Members, name: &'static str) -> Result<String, VerifyError> {
    let text = members.text(name)?;
    if text.len() > NAME_BYTES_MAX { Err(VerifyError::Claim { name }) } else { Ok(text) }
}

/// What is said of a machine, and nothing that is not known here.
fn read_claims(payload: &[u8], at: usize) -> Result<Said, VerifyError> {
    let mut claims = Members::read(payload, at)?;
    for (name, expected) in [("x-ms-ver", "1.0"), ("x-ms-attestation-type", "azurevm")] {
        if claims.text(name)? != expected {
            return Err(VerifyError::Claim { name });
        }
    }
    let issuer = name(&mut claims, "iss")?;
    let policy = URL_SAFE_NO_PAD.decode(claims.text("x-ms-policy-hash")?).ok();
    let policy = policy.and_then(|policy| policy.try_into().ok()).map(Digest);
    let policy = policy.ok_or(VerifyError::Claim { name: "x-ms-policy-hash" })?;
    let machine = name(&mut claims, "x-ms-azurevm-vmid")?;
    let mut flags = read_flags(&mut claims)?;
    let guest = match claims.object("x-ms-isolation-tee")? {
        None => None,
        Some(isolation) => Some(read_guest(isolation, &machine, &mut flags)?),
    };
    let facts = MaaFacts {
        issuer,
        key: Digest([0; 32]),
        policy,
        machine,
        is_windows: claims.is("x-ms-azurevm-is-windows", true)?,
        pcrs: claims.bytes("x-ms-azurevm-attested-pcrs")?.into_iter().collect(),
        flags,
        guest,
    };
    let (made, not_before, end) =
        (claims.number("iat")?, claims.number("nbf")?, claims.number("exp")?);
    // The second in which it ends is the first in which it does not count.
    let not_after = end.checked_sub(1).filter(|last| *last >= not_before);
    let not_after = not_after.ok_or(VerifyError::Claim { name: "exp" })?;
    let bound = match claims.object("x-ms-runtime")? {
        None => Vec::new(),
        Some(runtime) => read_nonce(runtime)?,
    };
    claims.pass(&PASSED_CLAIMS);
    claims.end()?;
    Ok(Said { facts, bound, made, not_before, not_after })
}

/// What the machine is not said to have done as it should.
fn read_flags(claims: &mut Members) -> Result<BTreeSet<MaaFlag>, VerifyError> {
    let mut flags = BTreeSet::new();
    for (name, good, flag) in [
        ("secureboot", true, MaaFlag::InsecureBoot),
        ("x-ms-azurevm-default-securebootkeysvalidated", true, MaaFlag::OtherBootKeys),
        ("x-ms-azurevm-dbvalidated", true, MaaFlag::OtherBootKeys),
        ("x-ms-azurevm-dbxvalidated", true, MaaFlag::OtherBootKeys),
        ("x-ms-azurevm-debuggersdisabled", true, MaaFlag::Debuggers),
        ("x-ms-azurevm-bootdebug-enabled", false, MaaFlag::Debuggers),
        ("x-ms-azurevm-kerneldebug-enabled", false, MaaFlag::Debuggers),
        ("x-ms-azurevm-hypervisordebug-enabled", false, MaaFlag::Debuggers),
        ("x-ms-azurevm-signingdisabled", true, MaaFlag::TestSigning),
        ("x-ms-azurevm-testsigning-enabled", false, MaaFlag::TestSigning),
        ("x-ms-azurevm-flightsigning-enabled", false, MaaFlag::TestSigning),
    ] {
        if !claims.is(name, good)? {
            flags.insert(flag);
        }
    }
    Ok(flags)
}

/// The report of SEV-SNP, as Azure Attestation understood it.
fn read_guest(
    mut claims: Members,
    machine: &str,
    flags: &mut BTreeSet<MaaFlag>,
) -> Result<MaaGuest, VerifyError> {
    let kind = "x-ms-attestation-type";
    if claims.text(kind)? != "sevsnpvm" {
        return Err(VerifyError::Claim { name: kind });
    }
    if !is_started_so(&mut claims, machine)? {
        flags.insert(MaaFlag::InsecureBoot);
    }
    let mut of_report = BTreeSet::new();
    for (name, flag) in [
        ("x-ms-sevsnpvm-is-debuggable", Flag::Debug),
        ("x-ms-sevsnpvm-migration-allowed", Flag::Migration),
        ("x-ms-sevsnpvm-smt-allowed", Flag::Smt),
    ] {
        if !claims.is(name, false)? {
            of_report.insert(flag);
        }
    }
    let tcb = SnpTcb {
        bootloader: claims.byte("x-ms-sevsnpvm-bootloader-svn")?,
        tee: claims.byte("x-ms-sevsnpvm-tee-svn")?,
        snp: claims.byte("x-ms-sevsnpvm-snpfw-svn")?,
        microcode: claims.byte("x-ms-sevsnpvm-microcode-svn")?,
        fmc: 0,
    };
    let mut number = |name| {
        let number = u32::try_from(claims.number(name)?);
        number.map_err(|_| VerifyError::Claim { name })
    };
    let (guest_svn, vmpl) = (number("x-ms-sevsnpvm-guestsvn")?, number("x-ms-sevsnpvm-vmpl")?);
    let guest = MaaGuest {
        measurement: claims.hex("x-ms-sevsnpvm-launchmeasurement")?,
        host_data: claims.hex("x-ms-sevsnpvm-hostdata")?,
        guest_svn,
        id_key: claims.hex("x-ms-sevsnpvm-idkeydigest")?,
        author_key: claims.hex("x-ms-sevsnpvm-authorkeydigest")?,
        report_data: claims.hex("x-ms-sevsnpvm-reportdata")?,
        vmpl,
        tcb,
        compliance: name(&mut claims, "x-ms-compliance-status")?,
        flags: of_report,
    };
    claims.pass(&PASSED_OF_GUESTS);
    claims.end()?;
    Ok(guest)
}

/// Whether the paravisor was told to start the machine securely. It has to be the machine that the token is of.
fn is_started_so(claims: &mut Members, machine: &str) -> Result<bool, VerifyError> {
    let name = "x-ms-runtime";
    let mut runtime = claims.object(name)?.ok_or(VerifyError::Claim { name })?;
    let name = "vm-configuration";
    let mut configuration = runtime.object(name)?.ok_or(VerifyError::Claim { name })?;
    let name = "vmUniqueId";
    if configuration.text(name)? != machine {
        return Err(VerifyError::Claim { name });
    }
    let is_secure = configuration.is("secure-boot", true)?;
    configuration.pass(&["console-enabled", "current-time", "tpm-enabled"]);
    configuration.end()?;
    runtime.pass(&["keys", "user-data"]);
    runtime.end()?;
    Ok(is_secure)
}

/// What whoever asked gave; empty where it gave nothing. What else the machine put in is its own matter.
fn read_nonce(mut runtime: Members) -> Result<Vec<u8>, VerifyError> {
    let name = "nonce";
    let nonce = match runtime.object("client-payload")? {
        None => None,
        Some(mut payload) => payload.find(name)?,
    };
    runtime.pass(&["keys"]);
    runtime.end()?;
    let nonce = STANDARD.decode(nonce.unwrap_or_default()).ok();
    let nonce = nonce.filter(|nonce| nonce.len() <= NONCE_BYTES_MAX);
    nonce.ok_or(VerifyError::Claim { name })
}

/// Claims that say what no policy asks.
const PASSED_CLAIMS: [&str; 9] = [
    "jti",
    "x-ms-azurevm-attestation-protocol-ver",
    "x-ms-azurevm-elam-enabled",
    "x-ms-azurevm-hvci-policy",
    "x-ms-azurevm-osbuild",
    "x-ms-azurevm-osdistro",
    "x-ms-azurevm-ostype",
    "x-ms-azurevm-osversion-major",
    "x-ms-azurevm-osversion-minor",
];
const PASSED_OF_GUESTS: [&str; 9] = [
    "x-ms-sevsnpvm-ciphertext-hiding-dram-enabled",
    "x-ms-sevsnpvm-cxl-allowed",
    "x-ms-sevsnpvm-familyId",
    "x-ms-sevsnpvm-imageId",
    "x-ms-sevsnpvm-mem-aes256-xts-required",
    "x-ms-sevsnpvm-page-swap-disabled",
    "x-ms-sevsnpvm-rapl-disabled",
    "x-ms-sevsnpvm-reportid",
    "x-ms-sevsnpvm-singlesocket",
];

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = r#""x-ms-isolation-tee":{"x-ms-attestation-type":"sevsnpvm","x-ms-compliance-status":"azure-compliant-cvm","x-ms-runtime":{"keys":[],"vm-configuration":{"secure-boot":true,"vmUniqueId":"VM"}},"x-ms-sevsnpvm-authorkeydigest":"A48","x-ms-sevsnpvm-bootloader-svn":4,"x-ms-sevsnpvm-guestsvn":10,"x-ms-sevsnpvm-hostdata":"A32","x-ms-sevsnpvm-idkeydigest":"A48","x-ms-sevsnpvm-is-debuggable":false,"x-ms-sevsnpvm-launchmeasurement":"A48","x-ms-sevsnpvm-microcode-svn":219,"x-ms-sevsnpvm-migration-allowed":false,"x-ms-sevsnpvm-reportdata":"A64","x-ms-sevsnpvm-smt-allowed":false,"x-ms-sevsnpvm-snpfw-svn":24,"x-ms-sevsnpvm-tee-svn":1,"x-ms-sevsnpvm-vmpl":0},"#;

    const CLAIMS: &str = r#""exp":20,"iat":10,"iss":"https://instance","nbf":10,"secureboot":true,"x-ms-attestation-type":"azurevm","x-ms-azurevm-attested-pcrs":[0,7],"x-ms-azurevm-bootdebug-enabled":false,"x-ms-azurevm-dbvalidated":true,"x-ms-azurevm-dbxvalidated":true,"x-ms-azurevm-debuggersdisabled":true,"x-ms-azurevm-default-securebootkeysvalidated":true,"x-ms-azurevm-flightsigning-enabled":false,"x-ms-azurevm-hypervisordebug-enabled":false,"x-ms-azurevm-is-windows":true,"x-ms-azurevm-kerneldebug-enabled":false,"x-ms-azurevm-signingdisabled":true,"x-ms-azurevm-testsigning-enabled":false,"x-ms-azurevm-vmid":"VM","x-ms-policy-hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","x-ms-runtime":{"client-payload":{"nonce":"AQID","other":1},"keys":[]},"x-ms-ver":"1.0""#;

    fn claims() -> String {
        let [short, middle, long] = [32, 48, 64].map(|bytes| "ab".repeat(bytes));
        let guest = GUEST.replace("A32", &short).replace("A48", &middle).replace("A64", &long);
        format!("{{{guest}{CLAIMS}}}")
    }

    /// What is said with one text replaced by another.
    fn with(from: &str, to: &str) -> Result<Said, VerifyError> {
        let claims = claims();
        assert!(claims.contains(from), "{from}");
        read_claims(claims.replacen(from, to, 1).as_bytes(), 0)
    }

    #[test]
    fn a_token_says_what_it_says() {
        let said = with("VM", "VM").expect("it is read");
        assert_eq!(said.bound, [1, 2, 3]);
        assert_eq!((said.made, said.not_before, said.not_after), (10, 10, 19));
        assert_eq!((&*said.facts.machine, said.facts.is_windows), ("VM", true));
        assert_eq!((said.facts.flags, said.facts.pcrs), (BTreeSet::new(), BTreeSet::from([0, 7])));
        let guest = said.facts.guest.expect("it is confidential");
        let tcb = SnpTcb { bootloader: 4, tee: 1, snp: 24, microcode: 219, fmc: 0 };
        assert_eq!((guest.measurement, guest.tcb, guest.flags), ([0xab; 48], tcb, BTreeSet::new()));
        let plain = read_claims(format!("{{{CLAIMS}}}").as_bytes(), 0).expect("it is read");
        assert_eq!(plain.facts.guest, None);
        let unasked = with(r#""nonce":"AQID","#, "").expect("it is read");
        assert!(unasked.bound.is_empty());
    }

    /// Whether it says so, or does not say anything.
    #[test]
    fn what_is_not_said_to_be_good_is_flagged() {
        for (name, good, flag) in [
            ("secureboot", true, MaaFlag::InsecureBoot),
            ("secure-boot", true, MaaFlag::InsecureBoot),
            ("x-ms-azurevm-dbxvalidated", true, MaaFlag::OtherBootKeys),
            ("x-ms-azurevm-debuggersdisabled", true, MaaFlag::Debuggers),
            ("x-ms-azurevm-kerneldebug-enabled", false, MaaFlag::Debuggers),
            ("x-ms-azurevm-testsigning-enabled", false, MaaFlag::TestSigning),
        ] {
            let claim = format!(r#""{name}":{good},"#);
            let other = format!(r#""{name}":{},"#, !good);
            for to in [&*other, ""] {
                let said = with(&claim, to).expect("it is read");
                assert_eq!(said.facts.flags, BTreeSet::from([flag]), "{name} {to}");
            }
            assert!(with(&claim, &format!(r#""{name}":"{good}","#)).is_err(), "{name}");
        }
        for (name, flag) in [
            ("x-ms-sevsnpvm-is-debuggable", Flag::Debug),
            ("x-ms-sevsnpvm-migration-allowed", Flag::Migration),
            ("x-ms-sevsnpvm-smt-allowed", Flag::Smt),
        ] {
            let claim = format!(r#""{name}":false,"#);
            for to in [&*format!(r#""{name}":true,"#), ""] {
                let said = with(&claim, to).expect("it is read");
                let guest = said.facts.guest.expect("it is confidential");
                assert_eq!(guest.flags, BTreeSet::from([flag]), "{name} {to}");
            }
        }
    }

    #[test]
    fn other_claims_are_refused() {
        let unknown = |name: &str| Err(VerifyError::UnknownClaim { name: name.to_owned() });
        let claim = |name| Err(VerifyError::Claim { name });
        let found = |from, to| with(from, to).map(drop);
        assert_eq!(found(r#""exp""#, r#""x-new":1,"exp""#), unknown("x-new"));
        let new = r#""x-ms-sevsnpvm-new":1,"x-ms-sevsnpvm-vmpl""#;
        assert_eq!(found(r#""x-ms-sevsnpvm-vmpl""#, new), unknown("x-ms-sevsnpvm-new"));
        assert_eq!(found(r#""secure-boot""#, r#""x":1,"secure-boot""#), unknown("x"));
        assert_eq!(found("azurevm\",", "sgx\","), claim("x-ms-attestation-type"));
        assert_eq!(found("sevsnpvm\",", "tdxvm\","), claim("x-ms-attestation-type"));
        assert_eq!(found("\"1.0\"", "\"2.0\""), claim("x-ms-ver"));
        assert_eq!(found("\"exp\":20", "\"exp\":10"), claim("exp"));
        assert_eq!(found("\"exp\":20", "\"exp\":0"), claim("exp"));
        assert_eq!(found("\"exp\":20", "\"exp\":20.5"), claim("exp"));
        assert_eq!(found("\"nbf\":10,", ""), claim("nbf"));
        assert_eq!(found("AQID", "AQI"), claim("nonce"));
        assert_eq!(found("\"VM\"", "\"VM2\""), claim("vmUniqueId"));
        assert_eq!(found("[0,7]", "[0,256]"), claim("x-ms-azurevm-attested-pcrs"));
        assert_eq!(found("AAAA", ""), claim("x-ms-policy-hash"));
        assert_eq!(found("\"abab", "\"ab"), claim("x-ms-sevsnpvm-authorkeydigest"));
        let svn = "x-ms-sevsnpvm-microcode-svn";
        assert_eq!(found(":219", ":256"), claim(svn));
        let twice = found("\"iat\":10", "\"iat\":10,\"iat\":10");
        assert!(matches!(twice, Err(VerifyError::Malformed { .. })), "{twice:?}");
    }

    /// Whatever the claims are: whoever has a key of their own can sign them.
    #[test]
    fn no_claims_make_it_panic() {
        let claims = claims();
        for at in 0..claims.len() {
            assert!(read_claims(&claims.as_bytes()[..at], 0).is_err(), "cut at {at}");
            for change in [1, 2, 16, 128] {
                let mut other = claims.clone().into_bytes();
                other[at] ^= change;
                drop(read_claims(&other, 0));
            }
        }
    }

    #[test]
    fn a_token_has_three_parts_and_one_header() {
        let token = |header: &str, rest: &str| {
            let header = URL_SAFE_NO_PAD.encode(header);
            Token::read(format!("{header}{rest}").as_bytes()).map(|token| token.key_id)
        };
        let good = r#"{"alg":"RS256","jku":"https://elsewhere","kid":"key","typ":"JWT"}"#;
        assert_eq!(token(good, ".e30.AA").as_deref(), Ok("key"));
        for rest in
            ["", ".e30", ".e30.AA.", ".e30.AA.AA", ".e30=.AA", ".e30.A", ".e30.AB", ".e30.A+"]
        {
            assert!(token(good, rest).is_err(), "{rest}");
        }
        for (from, to) in [
            ("RS256", "none"),
            ("RS256", "HS256"),
            ("RS256", "rs256"),
            ("JWT", "JWE"),
            ("\"typ\"", "\"crit\":[],\"typ\""),
            ("\"typ\"", "\"x5c\":[],\"typ\""),
            ("\"typ\"", "\"kid\":\"key\",\"typ\""),
            ("\"kid\":\"key\",", ""),
        ] {
            assert!(token(&good.replacen(from, to, 1), ".e30.AA").is_err(), "{to}");
        }
        for (length, is_read) in [(255, true), (256, true), (257, false)] {
            let long = good.replacen("key", &"k".repeat(length), 1);
            assert_eq!(token(&long, ".e30.AA").is_ok(), is_read, "{length}");
        }
        let long = ".".repeat(MAA_TOKEN_BYTES_MAX + 1);
        assert!(matches!(Token::read(long.as_bytes()), Err(VerifyError::Long { .. })));
    }
}
