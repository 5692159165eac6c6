//! What everybody of the authorization matrix holds, and how members let in those who are let in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coco_crypto::{ClientCertificate, SigningKey, sha256};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber,
    SignatureAlgorithm, date_time_ymd,
};
use serde_json::{Value, json};

use super::{
    http::Connection,
    members::{Member, decide},
};

/// Who issues the tokens that count.
pub(crate) const ISSUER: &str = "https://login.acme.example";
pub(crate) const P256: &SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
pub(crate) const ED25519: &SignatureAlgorithm = &rcgen::PKCS_ED25519;

/// What somebody holds to show in TLS.
pub(crate) struct Card {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    pub(crate) key_pem: String,
}

impl Card {
    fn new(made: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self { der: made.der().to_vec(), pem: made.pem(), key_pem: key.serialize_pem() }
    }

    pub(crate) fn self_signed(kind: &'static SignatureAlgorithm) -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(kind)?;
        Ok(Self::new(&params("alice", 3600)?.self_signed(&key)?, &key))
    }

    pub(crate) fn id(&self) -> String {
        sha256(&self.der).to_string()
    }

    /// Its holder, who signs requests with it as a member would.
    pub(crate) fn signer(&self) -> anyhow::Result<Member> {
        Member::from_pem(self.key_pem.clone(), &self.pem)
    }

    /// As an organisation's user is called.
    pub(crate) fn signed_id(&self) -> anyhow::Result<String> {
        Ok(ClientCertificate::read(&self.der)?.signed_digest().to_string())
    }
}

/// An organisation, which issues certificates to its users.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(P256)?;
        let mut params = params(name, 3600)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// A certificate that ends so many seconds from now.
    pub(crate) fn issue(&self, serial: u8, ends_in_s: i64) -> anyhow::Result<Card> {
        let key = KeyPair::generate_for(P256)?;
        let mut params = params("bob", ends_in_s)?;
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        Ok(Card::new(&params.signed_by(&key, &self.issuer)?, &key))
    }
}

fn params(name: &str, ends_in_s: i64) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let at = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = at(now()? - 3600);
    params.not_after = at(now()?.saturating_add_signed(ends_in_s));
    Ok(params)
}

pub(crate) fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// An issuer of tokens under ES256.
pub(crate) struct TokenIssuer(pub(crate) SigningKey);

impl TokenIssuer {
    pub(crate) fn key_set(&self) -> Value {
        let spki = self.0.public().spki_der();
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "keys": [{ "kty": "EC", "kid": "k1", "crv": "P-256", "x": x, "y": y }] })
    }

    pub(crate) fn token(&self, iss: &str, aud: &str, exp: u64) -> anyhow::Result<String> {
        let header = json!({ "alg": "ES256", "kid": "k1" });
        let claims =
            json!({ "iss": iss, "aud": aud, "sub": "carol", "nbf": now()? - 60, "exp": exp });
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign_fixed(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }
}

/// Has members vote for participants, an organisation with one revoked user, and an issuer of tokens.
pub(crate) fn admit(
    connection: &mut Connection,
    voters: &[&Member],
    participants: &[&Card],
    bank: &Authority,
    issuer: &TokenIssuer,
) -> anyhow::Result<()> {
    for card in participants {
        let args = json!({ "cert": card.pem, "user_data": { "role": "trader" } });
        decide(connection, voters, "set_user", &args)?;
    }
    let args = json!({ "name": "bank", "cert": bank.pem, "user_data": { "desk": 7 } });
    decide(connection, voters, "set_organisation", &args)?;
    let args = json!({ "name": "bank", "serials": ["AB"] });
    decide(connection, voters, "set_organisation_revocations", &args)?;
    let args = json!({ "issuer": ISSUER, "audience": "coco", "jwks": issuer.key_set() });
    decide(connection, voters, "set_jwt_issuer", &args)
}
