//! Who calls: what a client shows in TLS or brings as a token, and `GET /app/caller`, which says as whom it is taken.
//!
//! A token counts before a certificate: it is brought with this one request, while the connection may be somebody's who
//! passes requests on. Whoever shows nothing is anyone. What is shown must count: a token or certificate that says nothing
//! here is refused and not passed over, so that nobody is taken for anyone by mistake.

use coco_api::Caller as Shown;
use coco_governance::{
    caller::{ByCertificateError, ByTokenError, Caller, by_certificate, by_token},
    rows::Rows,
    tables::MemberStatus,
};
use hyper::{
    Request,
    header::{AUTHORIZATION, HeaderMap},
};
use serde_json::Value;

use super::{
    newcomers::ShownCertificate,
    respond::{self, Refused, Reply},
    service::Service,
};

/// Says as whom the service takes whoever asks, as of what is committed.
pub(super) fn answer<B>(service: &Service, request: &Request<B>) -> Result<Reply, Refused> {
    let (at, mut rows) = service.committed_rows();
    let caller = recognise(&mut rows, request, service.now_s())?;
    Ok(respond::at(respond::json(&caller.map_or(Shown::Anyone, show)), at))
}

/// Who makes a request; nobody, when it brings nothing.
fn recognise<B>(
    rows: &mut Rows,
    request: &Request<B>,
    now: u64,
) -> Result<Option<Caller>, Refused> {
    if let Some(token) = token(request.headers())? {
        return by_token(rows, token, now).map(Some).map_err(|error| match error {
            ByTokenError::Tables(error) => error.into(),
            error => respond::token_refused(error.to_string()).into(),
        });
    }
    let Some(ShownCertificate { der, .. }) = request.extensions().get() else { return Ok(None) };
    by_certificate(rows, der, now).map(Some).map_err(|error| match error {
        ByCertificateError::Tables(error) => error.into(),
        error => respond::certificate_refused(error.to_string()).into(),
    })
}

/// The token in the headers, if there is one.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = all.next() else { return Ok(None) };
    let bearer = header.to_str().ok().and_then(|header| header.split_once(' '));
    match (bearer, all.next()) {
        (Some((scheme, token)), None) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(token.trim()))
        }
        _ => {
            let message = "there is one authorization header: Bearer, a space, and the token";
            Err(respond::token_refused(message).into())
        }
    }
}

fn show(caller: Caller) -> Shown {
    match caller {
        Caller::User { id, data } => Shown::User { id: id.to_string(), data },
        Caller::OrganisationUser { id, organisation, data } => {
            Shown::OrganisationUser { id: id.to_string(), organisation, data }
        }
        Caller::Member { id, status, data } => {
            let status = match status {
                MemberStatus::Accepted => "Accepted",
                MemberStatus::Active => "Active",
            };
            Shown::Member { id: id.to_string(), status: status.to_owned(), data }
        }
        Caller::Bearer { issuer, claims } => {
            let id = claims.get("sub").and_then(Value::as_str).map(str::to_owned);
            Shown::Jwt { id, issuer, claims }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use coco_crypto::{Certificate, Curve, SigningKey, Validity};
    use coco_kv::WriteSet;
    use coco_ledger::{FirstLedger, LedgerSecret, ServiceSigner};
    use coco_replica::{Loader, SharedLedgerState};
    use hyper::body::Bytes;
    use serde_json::json;

    use super::{
        super::{
            fixture::{Fixture, fits, read_response},
            service::floored,
        },
        *,
    };
    use crate::shown::tests::identity;

    const NOW: u64 = 1_700_000_500;

    /// What somebody is told who shows this certificate and these headers, with what stands in `www-authenticate`.
    fn ask(fixture: &Fixture, pem: Option<&str>, headers: &[&str]) -> (u16, Value, String) {
        ask_at(fixture, pem, headers, NOW)
    }

    fn ask_at(
        fixture: &Fixture,
        pem: Option<&str>,
        headers: &[&str],
        now: u64,
    ) -> (u16, Value, String) {
        let mut request = Request::new(());
        for header in headers {
            request.headers_mut().append(AUTHORIZATION, header.parse().unwrap());
        }
        if let Some(pem) = pem {
            let der = Certificate::from_pem(pem).unwrap().der().to_vec();
            let der = Bytes::from(der);
            request.extensions_mut().insert(ShownCertificate { der, exporter: None });
        }
        let mut rows = Rows::as_of(&fixture.store.reader().head());
        let reply = match recognise(&mut rows, &request, now) {
            Ok(caller) => respond::json(&caller.map_or(Shown::Anyone, show)),
            Err(refused) => refused.reply(),
        };
        let challenge = reply.headers().get("www-authenticate");
        let challenge = challenge.map_or("", |value| value.to_str().unwrap()).to_owned();
        let got = read_response(reply);
        let schema = if got.status == 200 { "Caller" } else { "Error" };
        fits(schema, &got.json()).unwrap_or_else(|error| panic!("{error}"));
        (got.status, got.json(), challenge)
    }

    #[test]
    fn whoever_shows_nothing_is_anyone_and_who_shows_something_must_be_known() {
        let mut fixture = Fixture::new();
        let alice = fixture.outsider();
        assert_eq!(ask(&fixture, None, &[]).1, json!({ "kind": "anyone" }));
        let (status, error, challenge) = ask(&fixture, Some(&alice.pem), &[]);
        assert_eq!((status, &*challenge), (401, r#"Bearer realm="JWT bearer token access""#));
        assert_eq!(error["error"]["code"], "InvalidAuthenticationInfo");
        assert_eq!(error["error"]["details"][0]["auth_policy"], "user_cert");

        fixture.pass("set_user", &json!({ "cert": alice.pem, "user_data": { "n": 1 } }));
        let user = json!({ "kind": "user", "id": alice.id, "data": { "n": 1 } });
        assert_eq!(ask(&fixture, Some(&alice.pem), &[]).1, user);
        let member = json!({
            "kind": "member", "id": fixture.members[0].id, "status": "Active", "data": null,
        });
        assert_eq!(ask(&fixture, Some(&fixture.members[0].pem), &[]).1, member);
    }

    #[test]
    fn a_token_counts_before_a_certificate_and_is_never_passed_over() {
        let fixture = Fixture::new();
        let member = Some(fixture.members[0].pem.as_str());
        for headers in [
            &["Bearer a.b.c"][..],
            &["bearer  x"],
            &["Bearer"],
            &["Basic YTpi"],
            &["Bearer a", "Bearer a"],
            &[""],
            &["Bearer \u{e9}"],
        ] {
            for certificate in [None, member] {
                let (status, error, challenge) = ask(&fixture, certificate, headers);
                assert_eq!(status, 401, "{headers:?}");
                assert_eq!(error["error"]["details"][0]["auth_policy"], "jwt", "{headers:?}");
                let expected = r#"Bearer realm="JWT bearer token access", error="invalid_token""#;
                assert_eq!(challenge, expected);
            }
        }
    }

    /// The ledger of a service with a committed signature of that second.
    fn signed_at(seconds: u64) -> SharedLedgerState {
        let ours = identity(Validity { not_before: NOW, not_after: NOW + 3600 });
        let (node, service) = (ours.node_key_secret(), ours.service_key_secret());
        let signer = ServiceSigner::new(node, ours.node_cert.pem(), service).unwrap();
        let secret = LedgerSecret::new(&[7; 32]);
        let mut ledger = FirstLedger::new(secret.clone());
        ledger.append(&WriteSet::new()).unwrap();
        ledger.sign(&signer, seconds).unwrap();
        let mut loader = Loader::new(secret, Vec::new(), [1, 2], 1);
        for entry in ledger.into_entries() {
            loader.push(entry, true).unwrap();
        }
        loader.state()
    }

    /// A key for tokens, and what members admit of it.
    fn issuer() -> (SigningKey, Value) {
        let key = SigningKey::generate(Curve::P256);
        let spki = key.public().spki_der();
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        (key, json!({ "keys": [{ "kty": "EC", "kid": "k", "crv": "P-256", "x": x, "y": y }] }))
    }

    #[test]
    fn a_clock_that_is_set_back_revives_no_token() {
        let mut fixture = Fixture::new();
        let (key, keys) = issuer();
        let iss = "https://login.acme.example";
        fixture.pass("set_jwt_issuer", &json!({ "issuer": iss, "audience": "a", "jwks": keys }));
        let header = json!({ "alg": "ES256", "kid": "k" });
        let claims = json!({ "iss": iss, "aud": "a", "nbf": NOW - 300, "exp": NOW });
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(key.sign_fixed(signed.as_bytes()));
        let token = format!("Bearer {signed}.{signature}");

        let host = NOW - 200;
        for (ledger, expected) in [(NOW - 300, 200), (NOW - 100, 200), (NOW + 100, 401)] {
            let now = floored(&signed_at(ledger), host);
            assert_eq!(now, host.max(ledger));
            assert_eq!(ask_at(&fixture, None, &[&token], now).0, expected, "{ledger}");
        }
    }
}
