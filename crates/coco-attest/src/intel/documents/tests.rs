//! Documents that Intel never signed.

use coco_crypto::{Curve, SigningKey, service_certificate};
use serde_json::{Value, json};

use super::*;

/// Whoever signs here.
struct Signer(SigningKey, MakerCertificate);

impl Signer {
    fn new() -> Self {
        let key = SigningKey::generate(Curve::P256);
        let validity = Validity { not_before: 0, not_after: 1 };
        let certificate = service_certificate(&key, validity).unwrap();
        Self(key, MakerCertificate::from_der(certificate.der()).unwrap())
    }

    fn signed(&self, member: &str, inner: &str) -> Vec<u8> {
        let signature = hex::encode(self.0.sign_fixed(inner.as_bytes()));
        format!(r#"{{"{member}":{inner},"signature":"{signature}"}}"#).into_bytes()
    }

    /// What is wrong with the document of these bytes.
    fn info(&self, inner: &str, tee: Tee) -> Option<String> {
        what(TcbInfo::read(&self.signed("tcbInfo", inner), &self.1, tee))
    }

    fn identity(&self, inner: &str, tee: Tee) -> Option<String> {
        what(QeIdentity::read(&self.signed("enclaveIdentity", inner), &self.1, tee))
    }
}

fn what<T>(read: Result<T, VerifyError>) -> Option<String> {
    match read {
        Ok(_) => None,
        Err(VerifyError::Document { what, .. }) => Some(what),
        Err(other) => panic!("{other:?}"),
    }
}

fn level() -> Value {
    json!({
        "tcb": {
            "sgxtcbcomponents": vec![json!({"svn": 1}); COMPONENTS], "pcesvn": 1,
            "tdxtcbcomponents": vec![json!({"svn": 1, "category": "BIOS", "type": "ACM"}); COMPONENTS],
        },
        "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "SWHardeningNeeded",
        "advisoryIDs": ["INTEL-SA-00001"],
    })
}

fn svn_level() -> Value {
    json!({
        "tcb": {"isvsvn": 1}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "UpToDate",
    })
}

fn info() -> Value {
    let kind = json!({
        "mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "ff".repeat(8),
    });
    let mut module = kind.clone();
    (module["id"], module["tcbLevels"]) = (json!("TDX_01"), json!([svn_level()]));
    json!({
        "id": "TDX", "version": 3,
        "issueDate": "2025-01-01T00:00:00Z", "nextUpdate": "2025-02-01T00:00:00Z",
        "fmspc": "00a067110000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 17,
        "tdxModule": kind, "tdxModuleIdentities": [module], "tcbLevels": [level()],
    })
}

fn identity() -> Value {
    json!({
        "id": "TD_QE", "version": 2,
        "issueDate": "2025-01-01T00:00:00Z", "nextUpdate": "2025-02-01T00:00:00Z",
        "tcbEvaluationDataNumber": 17, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
        "attributes": "11".repeat(16), "attributesMask": "FF".repeat(16), "mrsigner": "22".repeat(32),
        "isvprodid": 1, "tcbLevels": [svn_level()],
    })
}

type Change = fn(&mut Value);

#[test]
fn a_document_says_all_that_it_has_to_and_nothing_else() {
    let signer = Signer::new();
    let info_with = |change: &dyn Fn(&mut Value)| {
        let mut document = info();
        change(&mut document);
        signer.info(&document.to_string(), Tee::Tdx)
    };
    assert_eq!(info_with(&|_| ()), None);
    for name in info().as_object().expect("it is an object").keys() {
        let without = info_with(&|info| drop(info.as_object_mut().map(|all| all.remove(name))));
        // Machines of the first TDX modules have one without a number.
        assert_eq!(without.is_none(), name == "tdxModuleIdentities", "{name}: {without:?}");
    }
    let changes: [(&str, Change); 16] = [
        ("unknown field", |info| info["more"] = json!(1)),
        ("unknown field", |info| info["tcbLevels"][0]["more"] = json!(1)),
        ("unknown field", |info| info["tcbLevels"][0]["tcb"]["more"] = json!(1)),
        ("unknown field", |info| info["tdxModule"]["more"] = json!(1)),
        ("unknown field", |info| info["tdxModuleIdentities"][0]["more"] = json!(1)),
        ("unknown variant", |info| info["tcbLevels"][0]["tcbStatus"] = json!("Fine")),
        ("unknown variant", |info| info["tcbLevels"][0]["tcbStatus"] = json!("NotSupported")),
        ("not of this kind", |info| info["id"] = json!("SGX")),
        ("not of this kind", |info| info["version"] = json!(2)),
        ("not of this kind", |info| info["tcbType"] = json!(1)),
        ("not the dates", |info| info["issueDate"] = json!("2025-01-01")),
        ("no level", |info| info["tcbLevels"] = json!([])),
        ("no level", |info| info["tdxModuleIdentities"][0]["tcbLevels"] = json!([])),
        ("trailing characters", |info| {
            info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"] = json!(vec![json!({"svn": 1}); 17]);
        }),
        ("Invalid string length", |info| info["fmspc"] = json!("00a0671100")),
        ("it says of TDX", |info| {
            info["tcbLevels"][0]["tcb"].as_object_mut().map(|all| all.remove("tdxtcbcomponents"));
        }),
    ];
    for (expected, change) in changes {
        let found = info_with(&change).unwrap_or_else(|| panic!("{expected}"));
        assert!(found.contains(expected), "{expected}: {found}");
    }
    assert!(signer.info(&info().to_string(), Tee::Sgx).is_some());
    let of_sgx = json!({
        "id": "SGX", "version": 3,
        "issueDate": "2025-01-01T00:00:00Z", "nextUpdate": "2025-02-01T00:00:00Z",
        "fmspc": "00a067110000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 17,
        "tcbLevels": [level()],
    });
    let found = signer.info(&of_sgx.to_string(), Tee::Sgx);
    assert!(found.is_some_and(|what| what.contains("it says of TDX")));
}

#[test]
fn a_quoting_enclave_is_described_in_full() {
    let signer = Signer::new();
    assert_eq!(signer.identity(&identity().to_string(), Tee::Tdx), None);
    assert!(signer.identity(&identity().to_string(), Tee::Sgx).is_some());
    for name in identity().as_object().expect("it is an object").keys() {
        let mut without = identity();
        without.as_object_mut().map(|all| all.remove(name));
        assert!(signer.identity(&without.to_string(), Tee::Tdx).is_some(), "{name}");
    }
    for (name, value) in [
        ("more", json!(1)),
        ("version", json!(3)),
        ("id", json!("QVE")),
        ("tcbLevels", json!([])),
        ("isvprodid", json!(65_536)),
        ("nextUpdate", json!("2025-02-01T00:00:00+00:00")),
    ] {
        let mut other = identity();
        other[name] = value;
        assert!(signer.identity(&other.to_string(), Tee::Tdx).is_some(), "{name}");
    }
}

/// A reader that takes the first of two, and a signer that meant the second.
#[test]
fn no_member_stands_twice() {
    let signer = Signer::new();
    let text = info().to_string();
    let twice = text.replacen('{', r#"{"tcbEvaluationDataNumber":99,"#, 1);
    let found = signer.info(&twice, Tee::Tdx);
    assert!(found.is_some_and(|what| what.contains("duplicate field")));
    let twice = text.replacen(r#""pcesvn":1"#, r#""pcesvn":1,"pcesvn":9"#, 1);
    let found = signer.info(&twice, Tee::Tdx);
    assert!(found.is_some_and(|what| what.contains("duplicate field")));
    assert!(signer.info(&format!("{text} {text}"), Tee::Tdx).is_some());
    assert!(signer.info(&format!("[{text}]"), Tee::Tdx).is_some());
}

#[test]
fn a_document_is_framed_and_signed_in_one_way() {
    let signer = Signer::new();
    let good = signer.signed("tcbInfo", &info().to_string());
    let read = |bytes: &[u8]| TcbInfo::read(bytes, &signer.1, Tee::Tdx).map(|_| ());
    assert_eq!(read(&good), Ok(()));
    let text = String::from_utf8(good.clone()).expect("a text");
    for (from, to) in [
        (r#"{"tcbInfo":"#, r#"{ "tcbInfo":"#),
        (r#"{"tcbInfo":"#, r#"{"tcbInfo" :"#),
        (r#","signature":"#, r#", "signature":"#),
        (r#","signature":"#, r#","more":1,"signature":"#),
        ("tcbInfo", "enclaveIdentity"),
    ] {
        let other = text.replacen(from, to, 1);
        assert!(read(other.as_bytes()).is_err(), "{from} {to}");
    }
    for end in 0..good.len() {
        assert!(read(&good[..end]).is_err(), "{end}");
    }
    // By somebody else, and of something else.
    let piece = Piece::TcbInfo;
    let unsigned = Err(VerifyError::DocumentSignature { piece });
    let other = Signer::new().signed("tcbInfo", &info().to_string());
    assert_eq!(read(&other), unsigned);
    let forged = text.replace(r#""version":3"#, r#""version":4"#);
    assert_eq!(read(forged.as_bytes()), unsigned);
}

#[test]
fn a_document_is_as_long_as_its_limits_allow() {
    let signer = Signer::new();
    let lists = |count: usize, text: &str| {
        let mut document = info();
        document["tcbLevels"][0]["advisoryIDs"] = json!(vec![text; count]);
        signer.info(&document.to_string(), Tee::Tdx).is_none()
    };
    assert_eq!(
        [LIST_MAX - 1, LIST_MAX, LIST_MAX + 1].map(|count| lists(count, "a")),
        [true, true, false]
    );
    for (bytes, is_read) in
        [(TEXT_BYTES_MAX - 1, true), (TEXT_BYTES_MAX, true), (TEXT_BYTES_MAX + 1, false)]
    {
        assert_eq!(lists(1, &"a".repeat(bytes)), is_read, "{bytes}");
    }
    // White space within what is signed is allowed, and so makes it as long as one likes.
    let text = info().to_string();
    let frame = signer.signed("tcbInfo", &text).len() - text.len();
    for (bytes, is_read) in [
        (DOCUMENT_BYTES_MAX - 1, true),
        (DOCUMENT_BYTES_MAX, true),
        (DOCUMENT_BYTES_MAX + 1, false),
    ] {
        let spaces = " ".repeat(bytes - frame - text.len());
        let long = text.replacen('{', &format!("{{{spaces}"), 1);
        let found = signer.info(&long, Tee::Tdx);
        assert_eq!(found.is_none(), is_read, "{bytes}: {found:?}");
    }
}
