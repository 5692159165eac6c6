//! Who calls a real node: everybody of the authorization matrix shows what they have, and hears as whom they are taken.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coco_client::Message;
use coco_crypto::{Curve, SigningKey};
use serde_json::{Value, json};

use super::{
    authorization::Identity,
    cluster::Network,
    http::{Connection, Response},
    identities::{Authority, Card, ED25519, ISSUER, P256, TokenIssuer, admit, now},
    members::{Desk, Member, decide},
    opening,
};

/// What is shown.
enum Shown<'a> {
    Nothing,
    Card(&'a Card),
    Member(&'a Member),
    Token(String),
}

struct Door<'n> {
    network: &'n Network,
    service_cert_pem: String,
}

impl Door<'_> {
    fn ask(&self, shown: &Shown<'_>) -> anyhow::Result<Response> {
        let node = self.network.addresses(0)?.client;
        let pem = &self.service_cert_pem;
        let mut connection = match shown {
            Shown::Card(card) => Connection::tls_as(node, pem, &card.der, &card.key_pem)?,
            Shown::Member(member) => member.connect(node, pem)?,
            Shown::Nothing | Shown::Token(_) => Connection::tls(node, pem)?,
        };
        let bearer = match shown {
            Shown::Token(token) => Some(format!("Bearer {token}")),
            Shown::Nothing | Shown::Card(_) | Shown::Member(_) => None,
        };
        let headers: Vec<_> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        connection.request("GET", "/app/caller", &headers, b"")
    }

    fn is_taken_for(&self, shown: &Shown<'_>, expected: &Value) -> anyhow::Result<()> {
        let response = self.ask(shown)?;
        let found = response.json()?;
        ensure!(response.status == 200 && &found == expected, "{found}, where {expected}");
        Ok(())
    }

    fn is_refused(&self, shown: &Shown<'_>, reason: &str) -> anyhow::Result<()> {
        let response = self.ask(shown)?;
        let found = response.json()?;
        ensure!(response.status == 401, "{}: {found}", response.status);
        ensure!(response.error_code()? == "InvalidAuthenticationInfo", "{found}");
        let said = found["error"]["details"][0]["message"].as_str().context("a reason")?;
        ensure!(said.contains(reason), "{said:?}, where {reason:?}");
        let challenge = response.header("www-authenticate").context("a challenge")?;
        let realm = r#"Bearer realm="JWT bearer token access""#;
        let expected = match shown {
            Shown::Token(_) => format!(r#"{realm}, error="invalid_token""#),
            Shown::Nothing | Shown::Card(_) | Shown::Member(_) => realm.to_owned(),
        };
        ensure!(challenge == expected, "{challenge}");
        Ok(())
    }
}

/// What a member is told.
fn member(member: &Member, status: &str, name: &str) -> Value {
    json!({ "kind": "member", "id": member.id(), "status": status, "data": { "name": name } })
}

/// What a participant is told.
fn user(card: &Card) -> Value {
    json!({ "kind": "user", "id": card.id(), "data": { "role": "trader" } })
}

/// What a user of the organisation is told.
fn user_of_the_bank(card: &Card) -> anyhow::Result<Value> {
    let id = card.signed_id()?;
    Ok(json!({
        "kind": "organisation_user", "id": id, "organisation": "bank", "data": { "desk": 7 },
    }))
}

/// What the bearer of a token is told.
fn bearer(token: &str) -> anyhow::Result<Value> {
    let payload = token.split('.').nth(1).context("a payload")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    Ok(json!({ "kind": "jwt", "id": "carol", "issuer": ISSUER, "claims": claims }))
}

#[test]
fn everybody_is_taken_for_who_they_are() -> anyhow::Result<()> {
    let [acme, dock, removed] = ["acme", "dock", "removed"].map(Member::new);
    let (acme, dock, removed) = (acme?, dock?, removed?);
    let network = opening::start(&[&acme, &dock, &removed])?;
    let service_cert_pem = network.service_cert_pem()?;
    let mut connection = Connection::tls(network.addresses(0)?.client, &service_cert_pem)?;
    acme.activate(&mut connection)?;
    removed.activate(&mut connection)?;
    let door = Door { network: &network, service_cert_pem };

    let [alice, ed25519, stranger] = [P256, ED25519, P256].map(Card::self_signed);
    let (alice, ed25519, stranger) = (alice?, ed25519?, stranger?);
    let (bank, forger) = (Authority::new("bank users")?, Authority::new("bank users")?);
    let (bob, late, revoked) = (bank.issue(1, 600)?, bank.issue(2, -60)?, bank.issue(0xab, 600)?);
    let [issuer, other] = [(); 2].map(|()| TokenIssuer(SigningKey::generate(Curve::P256)));
    let refused_yet = "no participant's, no member's, and no organisation's";
    for card in [&alice, &ed25519, &bob] {
        door.is_refused(&Shown::Card(card), refused_yet)?;
    }

    let voters = [&acme, &removed];
    admit(&mut connection, &voters, &[&alice, &ed25519], &bank, &issuer)?;
    decide(&mut connection, &voters, "remove_member", &json!({ "member_id": removed.id() }))?;

    let now = now()?;
    let good = issuer.token(ISSUER, "coco", now + 600)?;
    // A node that wants to join shows what it made itself, and is no participant.
    let node = Member::new("node")?;
    for (identity, shown, expected) in [
        (Identity::Nobody, Shown::Nothing, Ok(json!({ "kind": "anyone" }))),
        (Identity::SelfSigned, Shown::Card(&stranger), Err(refused_yet)),
        (Identity::PendingMember, Shown::Member(&dock), Ok(member(&dock, "Accepted", "m1"))),
        (Identity::ActiveMember, Shown::Member(&acme), Ok(member(&acme, "Active", "m0"))),
        (Identity::RemovedMember, Shown::Member(&removed), Err(refused_yet)),
        (Identity::Participant, Shown::Card(&alice), Ok(user(&alice))),
        (Identity::Participant, Shown::Card(&ed25519), Ok(user(&ed25519))),
        (Identity::OrganisationUser, Shown::Card(&bob), Ok(user_of_the_bank(&bob)?)),
        (Identity::OrganisationUser, Shown::Card(&late), Err("the certificate is valid from")),
        (Identity::OrganisationUser, Shown::Card(&revoked), Err("serial number ab of \"bank\"")),
        (Identity::SelfSigned, Shown::Card(&forger.issue(1, 600)?), Err("not issued by it")),
        (Identity::ValidToken, Shown::Token(good.clone()), Ok(bearer(&good)?)),
        (
            Identity::ExpiredToken,
            Shown::Token(issuer.token(ISSUER, "coco", now - 1)?),
            Err("the token counted until"),
        ),
        (
            Identity::TokenOfAnotherIssuer,
            Shown::Token(issuer.token("https://other.example", "coco", now + 600)?),
            Err("is from \"https://other.example\""),
        ),
        (
            Identity::TokenOfAnotherIssuer,
            Shown::Token(other.token(ISSUER, "coco", now + 600)?),
            Err("does not verify"),
        ),
        (
            Identity::TokenForAnotherAudience,
            Shown::Token(issuer.token(ISSUER, "else", now + 600)?),
            Err("not for the audience"),
        ),
        (Identity::Node, Shown::Member(&node), Err(refused_yet)),
        (Identity::MemberOfAnotherNetwork, Shown::Member(&Member::new("x")?), Err(refused_yet)),
    ] {
        match &expected {
            Ok(caller) => door.is_taken_for(&shown, caller),
            Err(reason) => door.is_refused(&shown, reason),
        }
        .with_context(|| format!("{identity:?}"))?;
    }
    as_seen_by_commands(&network, &acme, &alice, &bank)?;
    network.finish()
}

/// The same as commands show and change it.
fn as_seen_by_commands(
    network: &Network,
    acme: &Member,
    alice: &Card,
    bank: &Authority,
) -> anyhow::Result<()> {
    let desk = Desk::in_folder(network.scratch());
    let url = format!("https://{}", network.addresses(0)?.client);
    let service = network.service_cert();
    let here = ["--url", &url, "--service-cert", service.to_str().context("UTF-8")?];
    let run = |arguments: &[&str]| desk.run(&[arguments, &here].concat());
    let listed = run(&["user", "ls", "--output", "json"])?.json();
    assert_eq!(listed["users"].as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(listed["organisations"][0]["revokedSerials"], json!(["ab"]));
    let shown = run(&["user", "show", &alice.id()[..6]])?.ok();
    ensure!(shown.contains(&alice.id()) && shown.contains(r#"{"role":"trader"}"#), "{shown}");
    let text = run(&["user", "ls"])?.ok();
    ensure!(text.contains(&alice.id()[..8]) && text.contains("bank"), "{text}");
    let first = listed["users"][0]["userId"].as_str().context("an id")?;
    let rest = run(&["user", "ls", "--after", first, "--output", "json"])?.json();
    assert_eq!(rest["users"].as_array().map(Vec::len), Some(1), "{rest}");
    run(&["user", "show", &"0".repeat(64)])?.failed(4, "COCO-2017");

    // What the commands propose, the constitution takes.
    let file = |name: &str, content: &str| -> anyhow::Result<String> {
        let path = network.scratch().join(name);
        fs::write(&path, content)?;
        Ok(path.to_str().context("UTF-8")?.to_owned())
    };
    let keys = TokenIssuer(SigningKey::generate(Curve::P256)).key_set();
    let (keys, authority) = (file("keys.json", &keys.to_string())?, file("ca.pem", &bank.pem)?);
    let mut connection =
        Connection::tls(network.addresses(0)?.client, &network.service_cert_pem()?)?;
    for kind in [
        &["set-organisation", "bank", &authority, "--data", r#"{"desk":8}"#][..],
        &["set-organisation-revocations", "bank", "0A:BC", "7"],
        &["set-organisation-revocations", "bank"],
        &["set-ca-bundle", "roots", &authority],
        &["set-jwt-issuer", ISSUER, "--keys", &keys, "--audience", "a", "--audience", "b"],
        &["set-jwt-issuer", "https://more.example", "--ca-bundle", "roots"],
        &["set-jwt-keys", ISSUER, &keys],
        &["remove-jwt-issuer", ISSUER],
        &["remove-ca-bundle", "roots"],
        &["remove-organisation", "bank"],
    ] {
        let create = [&["proposal", "create", "--dry-run"], kind].concat();
        let document: Value = serde_json::from_str(&run(&create)?.ok())?;
        let id = acme.ask(&mut connection, Message::Proposal, &document)?["proposalId"].clone();
        let id = id.as_str().context("an id")?.parse()?;
        let ballot = json!({ "ballot": super::members::YES });
        let voted = acme.ask(&mut connection, Message::Ballot(id), &ballot)?;
        ensure!(voted["proposalState"] == "Accepted", "{kind:?}: {voted}");
    }
    Ok(())
}

/// Makes what an organisation has that keeps its root away: by OpenSSL, under P-384 for the root, P-256 for the authority under it, and
/// two kinds of keys for its users.
const CHAIN: &str = r#"
set -e
req() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:$2 -nodes -subj "/O=Harbour/CN=$1" -keyout $1.key -out $1.csr; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -sha384 -days 30 -subj '/O=Harbour/CN=root' \
    -keyout root.key -out root.pem
req between P-256
printf 'basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n' > ca.ext
openssl x509 -req -in between.csr -CA root.pem -CAkey root.key -CAcreateserial -sha384 -days 20 -extfile ca.ext -out between.pem
printf 'basicConstraints=CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n' > user.ext
printf 'basicConstraints=CA:false\nextendedKeyUsage=serverAuth\n' > server.ext
req dana P-256
openssl genpkey -algorithm ed25519 -out erik.key
openssl req -new -key erik.key -subj '/O=Harbour/CN=erik' -out erik.csr
req server P-256
for user in dana erik; do
    openssl x509 -req -in $user.csr -CA between.pem -CAkey between.key -CAcreateserial -sha256 -days 10 -extfile user.ext -out $user.pem
    cat $user.pem between.pem > $user.chain.pem
done
openssl x509 -req -in server.csr -CA between.pem -CAkey between.key -CAcreateserial -sha256 -days 10 -extfile server.ext -out server.pem
req rooted P-256
openssl x509 -req -in rooted.csr -CA root.pem -CAkey root.key -CAcreateserial -sha384 -days 10 -extfile user.ext -out rooted.pem
openssl verify -CAfile root.pem -untrusted between.pem dana.pem erik.pem server.pem rooted.pem
"#;

/// Nothing of ours makes these certificates, or calls with them. Of the chain that users show, theirs counts, by the authority that
/// members admitted; what the root issued itself does not.
#[test]
fn users_of_an_authority_under_another_call_with_certificates_of_openssl() -> anyhow::Result<()> {
    let acme = Member::new("acme")?;
    let network = opening::start(&[&acme])?;
    let folder = network.scratch().join("harbour");
    fs::create_dir(&folder)?;
    let made = Command::new("sh").args(["-c", CHAIN]).current_dir(&folder).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut connection =
        Connection::tls(network.addresses(0)?.client, &network.service_cert_pem()?)?;
    acme.activate(&mut connection)?;
    let ask = |card: &str, key: &str| as_curl(&network, &folder, card, key);
    let refused = |card: &str, key: &str, reason: &str| -> anyhow::Result<()> {
        let found = ask(card, key)?;
        let said = found["error"]["details"][0]["message"].as_str().unwrap_or_default();
        ensure!(said.contains(reason), "{card}: {found}, where {reason:?}");
        Ok(())
    };
    refused("dana.chain.pem", "dana.key", "no organisation's")?;

    let cert = fs::read_to_string(folder.join("between.pem"))?;
    let args = json!({ "name": "harbour", "cert": cert, "user_data": { "desk": "cranes" } });
    decide(&mut connection, &[&acme], "set_organisation", &args)?;
    for (card, key) in [
        ("dana.pem", "dana.key"),
        ("dana.chain.pem", "dana.key"),
        ("erik.pem", "erik.key"),
        ("erik.chain.pem", "erik.key"),
    ] {
        let found = ask(card, key)?;
        ensure!(found["kind"] == "organisation_user", "{card}: {found}");
        ensure!(found["organisation"] == "harbour", "{card}: {found}");
        ensure!(found["data"] == json!({ "desk": "cranes" }), "{card}: {found}");
    }
    ensure!(ask("dana.pem", "dana.key")?["id"] != ask("erik.pem", "erik.key")?["id"]);
    refused("server.pem", "server.key", "for something else")?;
    refused("rooted.pem", "rooted.key", "no organisation's")?;
    refused("between.pem", "between.key", "no organisation's")?;

    // The root may be admitted as well, and is an authority of its own: those under it are not its users.
    let root = fs::read_to_string(folder.join("root.pem"))?;
    let args = json!({ "name": "port", "cert": root, "user_data": null });
    decide(&mut connection, &[&acme], "set_organisation", &args)?;
    ensure!(ask("rooted.pem", "rooted.key")?["organisation"] == "port");
    ensure!(ask("dana.chain.pem", "dana.key")?["organisation"] == "harbour");
    let serial = Command::new("openssl")
        .args(["x509", "-in", "dana.pem", "-noout", "-serial"])
        .current_dir(&folder)
        .output()?;
    let serial = String::from_utf8(serial.stdout)?;
    let serial = serial.trim().strip_prefix("serial=").context("a serial number")?;
    let args = json!({ "name": "harbour", "serials": [serial] });
    decide(&mut connection, &[&acme], "set_organisation_revocations", &args)?;
    refused("dana.chain.pem", "dana.key", "is revoked")?;
    ensure!(ask("erik.pem", "erik.key")?["organisation"] == "harbour");
    network.finish()
}

/// What a node says to curl that shows these files.
fn as_curl(network: &Network, folder: &Path, card: &str, key: &str) -> anyhow::Result<Value> {
    let url = format!("https://{}/app/caller", network.addresses(0)?.client);
    let asked = Command::new("curl")
        .args(["--silent", "--show-error", "--cert", card, "--key", key, "--cacert"])
        .arg(network.service_cert())
        .arg(&url)
        .current_dir(folder)
        .stderr(Stdio::piped())
        .output()?;
    ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    Ok(serde_json::from_slice(&asked.stdout)?)
}
