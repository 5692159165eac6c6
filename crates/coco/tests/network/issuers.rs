//! An issuer of tokens whose keys the service fetches itself.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, ensure};
use coco_crypto::{Curve, SigningKey};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

use super::{
    http::{Connection, Response as Answer},
    identities::{TokenIssuer, now},
    ledger::verify,
    members::{Member, decide},
    opening,
    program::until,
};

/// Time for keys to be fetched, and for the entry to be committed.
const TIME: Duration = Duration::from_secs(20);

/// What the server publishes now; nothing while it is broken.
type Published = Arc<Mutex<Option<Value>>>;

/// The server of an issuer. It ends with this value.
struct Server {
    url: String,
    /// The certificate by which it is recognised.
    root: String,
    published: Published,
    _runtime: Runtime,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&key)?.pem();
        let authority = Issuer::new(root, key);
        let key = KeyPair::generate()?;
        let made = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &authority)?;
        let chain = vec![CertificateDer::from(made.der().to_vec())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let published = Published::default();
        let (seen, own) = (Arc::clone(&published), url.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let (seen, own) = (Arc::clone(&seen), own.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(request.uri().path(), &own, &seen);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ended = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            }
        });
        Ok(Self { url, root: root_pem, published, _runtime: runtime })
    }

    fn publish(&self, keys: Option<Value>) {
        *self.published.lock().expect("nothing panics while it is held") = keys;
    }
}

fn answer(path: &str, own: &str, published: &Published) -> Response<Full<Bytes>> {
    let keys = published.lock().expect("nothing panics while it is held").clone();
    let document = match (path, keys) {
        ("/.well-known/openid-configuration", Some(_)) => {
            Some(json!({ "issuer": own, "jwks_uri": format!("{own}/keys") }))
        }
        ("/keys", keys) => keys,
        _ => None,
    };
    let status = if document.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let body = document.map(|document| document.to_string()).unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

/// As whom the bearer of a token is taken.
fn caller(connection: &mut Connection, token: &str) -> anyhow::Result<Answer> {
    let bearer = format!("Bearer {token}");
    connection.request("GET", "/app/caller", &[("authorization", &bearer)], b"")
}

#[test]
fn the_keys_of_an_issuer_are_fetched_where_members_want_it() -> anyhow::Result<()> {
    let acme = Member::new("acme")?;
    let mut network = opening::start(&[&acme])?;
    let mut connection =
        Connection::tls(network.addresses(0)?.client, &network.service_cert_pem()?)?;
    acme.activate(&mut connection)?;
    let service = json!({ "next_service_identity": network.service_cert_pem()? });
    decide(&mut connection, &[&acme], "transition_service_to_open", &service)?;

    // One whose server is another's is never believed; one whose server is broken is asked again.
    let (server, other) = (Server::start()?, Server::start()?);
    let [first, second] = [(); 2].map(|()| TokenIssuer(SigningKey::generate(Curve::P256)));
    other.publish(Some(first.key_set()));
    let mut set = |action: &str, args: &Value| decide(&mut connection, &[&acme], action, args);
    set("set_ca_cert_bundle", &json!({ "name": "roots", "cert_bundle": server.root }))?;
    for url in [&other.url, &server.url] {
        let args = json!({ "issuer": url, "auto_refresh": true, "ca_cert_bundle_name": "roots" });
        set("set_jwt_issuer", &args)?;
    }
    let refreshes = |connection: &mut Connection| -> anyhow::Result<(u64, u64)> {
        let shown = connection.get("/node/jwt_keys/refresh/metrics")?.json()?;
        let count = |name: &str| shown[name].as_u64().context("a number");
        Ok((count("successes")?, count("failures")?))
    };
    until("both fail", TIME, || Ok(refreshes(&mut connection)?.1 >= 4))?;
    ensure!(refreshes(&mut connection)?.0 == 0, "nobody's keys were taken");

    server.publish(Some(first.key_set()));
    let counts_until = now()? + 600;
    let [old, new] = [&first, &second].map(|issuer| issuer.token(&server.url, "any", counts_until));
    let (old, new) = (old?, new?);
    until("its keys count", TIME, || Ok(caller(&mut connection, &old)?.status == 200))?;
    ensure!(caller(&mut connection, &new)?.status == 401, "a key that it does not publish");

    // What stays the same is in no entry; what does not, in one.
    let commit = |connection: &mut Connection| -> anyhow::Result<Value> {
        Ok(connection.get("/node/commit")?.json()?["transaction_id"].clone())
    };
    let (before, fetched) = (commit(&mut connection)?, refreshes(&mut connection)?.0);
    until("it was fetched again", TIME, || Ok(refreshes(&mut connection)?.0 >= fetched + 2))?;
    assert_eq!(commit(&mut connection)?, before);
    server.publish(Some(second.key_set()));
    until("its next keys count", TIME, || Ok(caller(&mut connection, &new)?.status == 200))?;
    ensure!(caller(&mut connection, &old)?.status == 401, "it publishes the key no more");

    // A server that is gone takes nobody's keys away.
    let failed = refreshes(&mut connection)?.1;
    server.publish(None);
    until("it fails", TIME, || Ok(refreshes(&mut connection)?.1 >= failed + 4))?;
    ensure!(caller(&mut connection, &new)?.status == 200, "the key counts on");
    let shown = connection.get("/gov/service/jwk?api-version=2024-07-01")?.json()?;
    assert_eq!(shown["keys"]["k1"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(shown["keys"]["k1"][0]["issuer"], json!(server.url));

    let last: String = commit(&mut connection)?.as_str().context("an id")?.to_owned();
    drop(connection);
    network.stop_all()?;
    // An auditor finds that these keys needed no vote.
    verify(&network, 0, last.parse()?)?;
    network.finish()
}
