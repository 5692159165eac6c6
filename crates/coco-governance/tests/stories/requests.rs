//! Envelopes: those of CCF's own tool are taken, and all that is a little different is refused by name.

use aws_lc_rs::signature::Ed25519KeyPair;
use coco_crypto::{
    Certificate, Curve, SignerCertificate,
    cose::{AttachedSign1, EMPTY_MAP, to_be_signed},
};
use coco_governance::{
    CREATED_AT_MAX, DEFAULT_CONSTITUTION, ErrorCode, MemberId, Message, ProposalId, Reply, Request,
    RequestError, Route,
};
use minicbor::Encoder;
use serde_json::json;

use crate::consortium::{Consortium, Member, START, YES, code, id, state};

macro_rules! vector {
    ($name:literal) => {
        (
            include_str!(concat!("../vectors/", $name, ".pem")),
            &include_bytes!(concat!("../vectors/", $name, ".proposal.cose"))[..],
            &include_bytes!(concat!("../vectors/", $name, ".ballot.cose"))[..],
        )
    };
}

#[test]
fn requests_of_ccfs_tool_are_read_and_verified() {
    for (curve, (pem, proposal, ballot)) in [
        (Curve::P256, vector!("p256")),
        (Curve::P384, vector!("p384")),
        (Curve::P521, vector!("p521")),
    ] {
        let certificate = Certificate::from_pem(pem).unwrap();
        assert_eq!(certificate.key().curve(), curve);
        let read = Request::read(proposal).unwrap();
        assert_eq!(read.signer().0, certificate.digest());
        let signed = read.verify(&certificate).unwrap();
        assert_eq!((signed.message(), signed.created_at()), (Message::Proposal, START));
        let content = br#"{"actions":[{"name":"set_note","args":{"text":"hello"}}]}"#;
        assert_eq!((signed.content(), signed.envelope()), (&content[..], proposal));
        let signed = Request::read(ballot).unwrap().verify(&certificate).unwrap();
        let id: ProposalId = format!("{:064}", 7).parse().unwrap();
        assert_eq!((signed.message(), signed.created_at()), (Message::Ballot(id), START + 1));
        // Another's certificate.
        let other = Member::new(curve).certificate;
        assert_eq!(
            Request::read(ballot).unwrap().verify(&other).unwrap_err(),
            RequestError::Signature
        );
        // No bit may change, but in the headers that nobody signs.
        for at in 0..proposal.len() {
            let mut changed = proposal.to_vec();
            changed[at] ^= 1;
            let still = Request::read(&changed).is_ok_and(|read| read.verify(&certificate).is_ok());
            assert!(!still, "byte {at}");
        }
    }
}

/// Headers by hand: `count` entries.
fn headers(count: u64, fill: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut protected = Vec::new();
    let mut encoder = Encoder::new(&mut protected);
    encoder.map(count).unwrap();
    fill(&mut encoder);
    protected
}

struct Parts<'a> {
    algorithm: i64,
    kid: &'a str,
    kind: &'a str,
    created_at: u64,
    proposal: Option<&'a str>,
}

impl Parts<'_> {
    fn encode(&self) -> Vec<u8> {
        headers(4 + u64::from(self.proposal.is_some()), |encoder| {
            encoder.i64(1).unwrap().i64(self.algorithm).unwrap();
            encoder.i64(4).unwrap().bytes(self.kid.as_bytes()).unwrap();
            encoder.str("ccf.gov.msg.type").unwrap().str(self.kind).unwrap();
            encoder.str("ccf.gov.msg.created_at").unwrap().u64(self.created_at).unwrap();
            if let Some(id) = self.proposal {
                encoder.str("ccf.gov.msg.proposal_id").unwrap().str(id).unwrap();
            }
        })
    }
}

#[test]
fn every_malformed_header_is_named() {
    let member = Member::new(Curve::P384);
    let kid = member.id().to_string();
    let good =
        || Parts { algorithm: -35, kid: &kid, kind: "proposal", created_at: 0, proposal: None };
    let upper = kid.to_uppercase();
    let id = "ab".repeat(32);
    let id_upper = id.to_uppercase();
    for (parts, expected) in [
        (good(), None),
        (Parts { created_at: CREATED_AT_MAX, ..good() }, None),
        (
            Parts { created_at: CREATED_AT_MAX + 1, ..good() },
            Some(RequestError::CreatedAt(CREATED_AT_MAX + 1)),
        ),
        (Parts { algorithm: -37, ..good() }, Some(RequestError::Algorithm(-37))),
        (Parts { kid: "", ..good() }, Some(RequestError::KeyId)),
        (Parts { kid: &upper, ..good() }, Some(RequestError::KeyId)),
        (Parts { kind: "vote", ..good() }, Some(RequestError::MessageType("vote".to_owned()))),
        (
            Parts { kind: "ballot", ..good() },
            Some(RequestError::Missing("ccf.gov.msg.proposal_id")),
        ),
        (
            Parts { kind: "ballot", proposal: Some("2.15"), ..good() },
            Some(RequestError::ProposalId),
        ),
        (
            Parts { kind: "ballot", proposal: Some(&id_upper), ..good() },
            Some(RequestError::ProposalId),
        ),
        (Parts { kind: "ballot", proposal: Some(&id), ..good() }, None),
    ] {
        let envelope = member.seal(&parts.encode(), b"{}");
        assert_eq!(Request::read(&envelope).err(), expected);
    }
}

#[test]
fn headers_of_another_form_are_refused() {
    let member = Member::new(Curve::P384);
    let full = Parts {
        algorithm: -35,
        kid: &member.id().to_string(),
        kind: "ack",
        created_at: 1,
        proposal: None,
    }
    .encode();
    for (protected, expected) in [
        (Vec::new(), RequestError::Headers),
        (vec![0x80], RequestError::Headers),
        (vec![0xa0], RequestError::Missing("alg")),
        (full[..full.len() - 1].to_vec(), RequestError::Headers),
        ([&full[..], &[0]].concat(), RequestError::Headers),
        (headers(1, |e| drop(e.i64(1).unwrap().str("ES384"))), RequestError::Headers),
        (headers(1, |e| drop(e.i64(2).unwrap().array(0))), RequestError::Critical),
        (headers(1, |e| drop(e.bool(true).unwrap().bool(true))), RequestError::Headers),
        (
            headers(2, |e| drop(e.i64(1).unwrap().i64(-35).unwrap().i64(1).unwrap().i64(-7))),
            RequestError::Twice("alg".to_owned()),
        ),
        (
            headers(1, |e| drop(e.str("ccf.gov.msg.created_at").unwrap().i64(-1))),
            RequestError::Headers,
        ),
    ] {
        let envelope = member.seal(&protected, b"{}");
        assert_eq!(Request::read(&envelope).unwrap_err(), expected, "{protected:02x?}");
    }
}

#[test]
fn unknown_headers_are_passed_over() {
    let member = Member::new(Curve::P384);
    let parts = Parts {
        algorithm: -35,
        kid: &member.id().to_string(),
        kind: "ack",
        created_at: 1,
        proposal: None,
    };
    let mut protected = parts.encode();
    protected[0] += 2;
    Encoder::new(&mut protected)
        .i64(3)
        .unwrap()
        .str("json")
        .unwrap()
        .str("x")
        .unwrap()
        .array(1)
        .unwrap()
        .null()
        .unwrap();
    let envelope = member.seal(&protected, b"{}");
    let signed = Request::read(&envelope).unwrap().verify(&member.certificate).unwrap();
    assert_eq!(signed.message(), Message::Ack);
}

#[test]
fn the_algorithm_belongs_to_the_key() {
    let member = Member::new(Curve::P384);
    let parts = Parts {
        algorithm: -7,
        kid: &member.id().to_string(),
        kind: "ack",
        created_at: 1,
        proposal: None,
    };
    let envelope = member.seal(&parts.encode(), b"{}");
    let refused = Request::read(&envelope).unwrap().verify(&member.certificate).unwrap_err();
    assert_eq!(refused, RequestError::OtherAlgorithm { expected: -35, found: -7 });
}

/// A member whose key is Ed25519 is admitted, becomes active and votes.
#[test]
fn a_member_signs_with_ed25519() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 2);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let pem = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let key = Ed25519KeyPair::from_pkcs8(&key.serialize_der()).unwrap();
    let certificate = SignerCertificate::from_pem(&pem).unwrap();
    let (member, kid) = (MemberId(certificate.digest()), certificate.digest().to_string());
    let sign = |c: &Consortium, algorithm, kind, proposal, content: &[u8]| {
        let protected = Parts { algorithm, kid: &kid, kind, created_at: c.now, proposal }.encode();
        let signature = key.sign(&to_be_signed(&protected, content));
        let (protected, signature) = (&*protected, signature.as_ref());
        AttachedSign1 { protected, unprotected: EMPTY_MAP, payload: content, signature }.encode()
    };
    c.pass("set_member", &json!({ "cert": pem })).unwrap();
    let asks = sign(&c, -8, "state_digest", None, b"");
    let Reply::StateDigest { state_digest, .. } =
        c.send(Route::UpdateStateDigest(member), &asks).unwrap()
    else {
        panic!("no digest")
    };
    let content = json!({ "stateDigest": state_digest }).to_string();
    // Under the number of another algorithm it is no signature.
    let other = sign(&c, -7, "ack", None, content.as_bytes());
    let refused = c.send(Route::Acknowledge(member), &other).unwrap_err();
    assert!(refused.message.contains("the algorithm is -7"), "{refused}");
    let acknowledges = sign(&c, -8, "ack", None, content.as_bytes());
    c.send(Route::Acknowledge(member), &acknowledges).unwrap();

    let made = c.propose(0, "trigger_snapshot", &json!({})).unwrap();
    assert_eq!(state(&c.vote(0, &made, YES).unwrap()), "Open");
    let proposal = id(&made);
    let content = json!({ "ballot": YES }).to_string();
    let ballot = sign(&c, -8, "ballot", Some(&made.proposal_id), content.as_bytes());
    let Reply::Proposal(view) = c.send(Route::SubmitBallot { proposal, member }, &ballot).unwrap()
    else {
        panic!("no proposal")
    };
    assert_eq!(state(&view), "Accepted");
}

/// Wherever its certificate has the key, Ed25519 is known.
#[test]
fn nobody_is_a_member_whose_key_signs_no_requests() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 1);
    let mut admit = |kind, name: &str| {
        let key = rcgen::KeyPair::generate_for(kind).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        assert_eq!(SignerCertificate::from_pem(&pem).is_ok(), kind != &rcgen::PKCS_RSA_SHA256);
        c.propose(0, "set_member", &json!({ "cert": pem })).map(drop)
    };
    for name in ["a", "bb", "ccc"] {
        admit(&rcgen::PKCS_ED25519, name).unwrap();
    }
    admit(&rcgen::PKCS_ECDSA_P256_SHA256, "a").unwrap();
    let refused = admit(&rcgen::PKCS_RSA_SHA256, "a").unwrap_err();
    assert!(refused.message.contains("a key that signs no requests"), "{refused}");
    // On a curve that no request is signed with.
    let other = include_str!("../vectors/secp256k1.pem");
    let refused = c.propose(0, "set_member", &json!({ "cert": other })).unwrap_err();
    assert!(refused.message.contains("a key that signs no requests"), "{refused}");
}

#[test]
fn strangers_and_forgers_are_refused() {
    let mut c = Consortium::new(1);
    let stranger = Member::new(Curve::P384);
    let envelope = stranger.sign(Message::Proposal, c.now, br#"{"actions":[]}"#);
    assert_eq!(
        code(c.send(Route::CreateProposal, &envelope)),
        ErrorCode::InvalidAuthenticationInfo
    );
    // Signed by a stranger in the name of a member.
    let kid = c.members[0].id().to_string();
    let parts =
        Parts { algorithm: -35, kid: &kid, kind: "proposal", created_at: c.now, proposal: None };
    let envelope = stranger.seal(&parts.encode(), br#"{"actions":[]}"#);
    assert_eq!(
        code(c.send(Route::CreateProposal, &envelope)),
        ErrorCode::InvalidAuthenticationInfo
    );
    for nonsense in [&b""[..], b"{}", &[0xd2, 0x84]] {
        let refused = code(c.send(Route::CreateProposal, nonsense));
        assert_eq!(refused, ErrorCode::InvalidAuthenticationInfo);
    }
}
