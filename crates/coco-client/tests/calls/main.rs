//! Calls over real TLS to servers that answer as a test wants: what a client believes, whom it asks, and what it says of
//! what went wrong.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod server;

use std::time::{Duration, Instant};

use coco_client::{
    CallError, Client, Draft, Endpoint, Envelope, MemberKey, Message, ServiceIdentity, Settings,
};
use coco_crypto::{Certificate, Curve, SigningKey, Validity, member_certificate};
use coco_governance::tables::{MemberStatus, ProposalState};
use coco_types::Digest;
use server::{Reply, Server, Service};

/// Long enough for every answer, and short enough to wait for.
const TIME: Duration = Duration::from_millis(1_500);

fn client(service: &Certificate, endpoints: &[&Endpoint]) -> Client {
    let endpoints = endpoints.iter().map(|endpoint| (*endpoint).clone()).collect();
    Client::new(service.clone(), endpoints, Settings { time: TIME }).unwrap()
}

fn refusal(status: u16, code: &str) -> Reply {
    Reply::json(status, &format!(r#"{{"error":{{"code":"{code}","message":"words"}}}}"#))
}

fn envelope() -> Envelope {
    let key = SigningKey::generate(Curve::P384);
    let validity = Validity { not_before: 0, not_after: 9 };
    let certificate = member_certificate(&key, "m", validity).unwrap();
    let member = MemberKey::new(key, certificate).unwrap();
    Draft::new(Message::Proposal, member.certificate(), 1, br#"{"actions":[]}"#)
        .unwrap()
        .sign(&member)
        .unwrap()
}

const COMMIT: &str = r#"{"transaction_id":"2.7"}"#;

/// An address where nobody listens.
fn nobody() -> Endpoint {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    format!("https://{address}").parse().unwrap()
}

#[tokio::test]
async fn a_node_of_the_service_is_believed() {
    let service = Service::new();
    let server = Server::start(&service, |_| Reply::json(200, COMMIT).of_transaction("2.9")).await;
    let client = client(service.certificate(), &[server.endpoint()]);
    assert_eq!(client.commit().await.unwrap().transaction_id, "2.7");
    let answer = client.get("/node/commit").await.unwrap();
    assert_eq!(answer.transaction, Some("2.9".parse().unwrap()));
    assert_eq!(server.asked()[0].line, "GET /node/commit");
}

#[tokio::test]
async fn a_node_of_another_service_is_not() {
    let (ours, theirs) = (Service::new(), Service::new());
    let server = Server::start(&theirs, |_| Reply::json(200, COMMIT)).await;
    let error = client(ours.certificate(), &[server.endpoint()]).commit().await.unwrap_err();
    assert!(matches!(error, CallError::NotTheService { .. }), "{error:?}");
    // Nor does a signed request reach it.
    let asked = client(ours.certificate(), &[server.endpoint()]).submit(&envelope()).await;
    assert!(matches!(asked, Err(CallError::NotTheService { .. })), "{asked:?}");
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn a_certificate_is_fetched_to_be_compared() {
    let service = Service::new();
    let network = service.network_json();
    let server = Server::start(&service, move |_| Reply::json(200, &network)).await;
    let settings = Settings { time: TIME };
    let found =
        Client::danger_fetch_service_certificate(server.endpoint(), settings).await.unwrap();
    assert_eq!(ServiceIdentity::of(&found), ServiceIdentity::of(service.certificate()));
}

#[tokio::test]
async fn a_certificate_that_the_services_key_did_not_sign_is_none() {
    let service = Service::new();
    // The public key is for all to see; so anybody can write a certificate with it, and nobody else can sign one.
    let mut der = service.certificate().der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let forged = Certificate::from_der(&der).unwrap();
    assert_eq!(ServiceIdentity::of(&forged), ServiceIdentity::of(service.certificate()));
    let network = service.network_json().replace(
        &serde_json::Value::from(service.certificate().pem()).to_string(),
        &serde_json::Value::from(forged.pem()).to_string(),
    );
    let server = Server::start(&service, move |_| Reply::json(200, &network)).await;
    let fetched =
        Client::danger_fetch_service_certificate(server.endpoint(), Settings { time: TIME }).await;
    assert!(matches!(fetched, Err(CallError::NotUnderstood { .. })), "{fetched:?}");
}

#[tokio::test]
async fn the_next_node_is_asked_when_one_is_down() {
    let service = Service::new();
    let server = Server::start(&service, |_| Reply::json(200, COMMIT)).await;
    let down = nobody();
    let both = client(service.certificate(), &[&down, server.endpoint()]);
    assert_eq!(both.commit().await.unwrap().transaction_id, "2.7");
    let error = client(service.certificate(), &[&down]).commit().await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
    let error = client(service.certificate(), &[]).commit().await.unwrap_err();
    assert!(matches!(error, CallError::NoEndpoint), "{error:?}");
}

#[tokio::test]
async fn a_silent_node_uses_up_its_share_of_the_time_alone() {
    let service = Service::new();
    let silent = Server::start(&service, |_| Reply::Never).await;
    let server = Server::start(&service, |_| Reply::json(200, COMMIT)).await;
    let started = Instant::now();
    let both = client(service.certificate(), &[silent.endpoint(), server.endpoint()]);
    assert_eq!(both.commit().await.unwrap().transaction_id, "2.7");
    assert!(started.elapsed() < TIME, "{:?}", started.elapsed());
    let error = client(service.certificate(), &[silent.endpoint()]).commit().await.unwrap_err();
    assert!(matches!(error, CallError::Late { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_is_final_and_says_why() {
    let service = Service::new();
    let one = Server::start(&service, |_| refusal(403, "AuthorizationFailed")).await;
    let other = Server::start(&service, |_| Reply::json(200, COMMIT)).await;
    let both = client(service.certificate(), &[one.endpoint(), other.endpoint()]);
    let error = both.commit().await.unwrap_err();
    assert!(error.is("AuthorizationFailed"), "{error:?}");
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.status, &*refusal.message), (403, "words"));
    assert_eq!(other.asked().len(), 0);
}

#[tokio::test]
async fn what_one_node_does_not_know_another_may() {
    let service = Service::new();
    let lags = Server::start(&service, |_| refusal(404, "ProposalNotFound")).await;
    let knows = Server::start(&service, |_| Reply::json(200, COMMIT)).await;
    let both = client(service.certificate(), &[lags.endpoint(), knows.endpoint()]);
    assert_eq!(both.commit().await.unwrap().transaction_id, "2.7");

    let early = Server::start(&service, |_| refusal(503, "PrimaryNotFound")).await;
    let both = client(service.certificate(), &[early.endpoint(), lags.endpoint()]);
    let error = both.commit().await.unwrap_err();
    assert!(error.is("ProposalNotFound"), "{error:?}");
    assert_eq!((early.asked().len(), lags.asked().len()), (1, 2));

    // What changes something is not tried elsewhere once it was refused.
    let both = client(service.certificate(), &[lags.endpoint(), knows.endpoint()]);
    let before = knows.asked().len();
    assert!(both.submit(&envelope()).await.unwrap_err().is("ProposalNotFound"));
    assert_eq!(knows.asked().len(), before);
}

#[tokio::test]
async fn a_node_without_a_primary_is_asked_again() {
    let service = Service::new();
    let server = Server::start(&service, |n| {
        if n < 3 { refusal(503, "PrimaryNotFound") } else { Reply::json(200, COMMIT) }
    })
    .await;
    let one = client(service.certificate(), &[server.endpoint()]);
    assert_eq!(one.commit().await.unwrap().transaction_id, "2.7");
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn it_is_not_asked_for_ever() {
    let service = Service::new();
    let server = Server::start(&service, |_| refusal(503, "PrimaryNotFound")).await;
    let started = Instant::now();
    let error = client(service.certificate(), &[server.endpoint()]).commit().await.unwrap_err();
    assert!(error.is("PrimaryNotFound"), "{error:?}");
    assert!(started.elapsed() < 2 * TIME, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_signed_request_that_got_lost_goes_to_the_next_node_as_it_is() {
    let service = Service::new();
    let lost = Server::start(&service, |_| Reply::Close).await;
    let server = Server::start(&service, |_| Reply::json(200, "{}").of_transaction("2.8")).await;
    let envelope = envelope();
    let both = client(service.certificate(), &[lost.endpoint(), server.endpoint()]);
    let answer = both.submit(&envelope).await.unwrap();
    assert_eq!(answer.transaction, Some("2.8".parse().unwrap()));
    for asked in [&lost.asked()[0], &server.asked()[0]] {
        assert_eq!(asked.line, "POST /gov/members/proposals:create?api-version=2024-07-01");
        assert_eq!(asked.content_type, "application/cose");
        assert_eq!(asked.body, envelope.bytes());
    }
}

#[tokio::test]
async fn a_signed_request_that_nobody_answered_may_be_carried_out() {
    let service = Service::new();
    for reply in [Reply::Close, Reply::Never] {
        let server = Server::start(&service, move |_| reply.clone()).await;
        let endpoints = [server.endpoint(), &nobody()];
        let error =
            client(service.certificate(), &endpoints).submit(&envelope()).await.unwrap_err();
        assert!(matches!(error, CallError::OutcomeUnknown { .. }), "{error:?}");
        // A question has no outcome to worry about.
        let error = client(service.certificate(), &[server.endpoint()]).commit().await.unwrap_err();
        assert!(matches!(error, CallError::Broken { .. } | CallError::Late { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_request_that_got_lost_stays_lost_when_the_next_node_has_no_primary() {
    let service = Service::new();
    let lost = Server::start(&service, |_| Reply::Close).await;
    let early = Server::start(&service, |_| refusal(503, "PrimaryNotFound")).await;
    let both = client(service.certificate(), &[lost.endpoint(), early.endpoint()]);
    let error = both.submit(&envelope()).await.unwrap_err();
    assert!(matches!(error, CallError::OutcomeUnknown { .. }), "{error:?}");
    // A refusal by all is an answer: nothing was done.
    let one = client(service.certificate(), &[early.endpoint()]);
    assert!(one.submit(&envelope()).await.unwrap_err().is("PrimaryNotFound"));
}

#[tokio::test]
async fn an_answer_of_another_form_is_an_error() {
    let service = Service::new();
    let server = Server::start(&service, |_| Reply::json(200, r#"{"other":1}"#)).await;
    let error = client(service.certificate(), &[server.endpoint()]).commit().await.unwrap_err();
    assert!(matches!(error, CallError::NotUnderstood { .. }), "{error:?}");
}

#[tokio::test]
async fn governance_is_read_under_its_version() {
    let service = Service::new();
    let id = "ab".repeat(32);
    let member = format!(r#"{{"memberId":"{id}","status":"Active"}}"#);
    let proposal = format!(r#"{{"proposalId":"{id}","proposerId":"{id}","proposalState":"Open"}}"#);
    let bodies = [
        format!(r#"{{"value":[{member}]}}"#),
        member,
        format!(r#"{{"value":[{proposal}]}}"#),
        proposal,
        r#"{"actions":[{"name":"a","args":{"x":1}}]}"#.to_owned(),
        r#"{"writes":[{"table":"t","key":"k","value":null}],"effects":["e"]}"#.to_owned(),
    ];
    let server = Server::start(&service, move |n| Reply::json(200, &bodies[n])).await;
    let client = client(service.certificate(), &[server.endpoint()]);
    let digest = Digest([0xab; 32]);
    assert_eq!(client.members().await.unwrap().value[0].status, MemberStatus::Active);
    assert_eq!(client.member(coco_client::MemberId(digest)).await.unwrap().member_id, id);
    assert_eq!(client.proposals().await.unwrap().value.len(), 1);
    let proposal = coco_client::ProposalId(digest);
    let read = client.proposal(proposal).await.unwrap();
    assert_eq!(read.proposal_state, ProposalState::Open);
    assert_eq!(client.actions(proposal).await.unwrap().actions[0].name, "a");
    assert_eq!(client.simulate(b"{}").await.unwrap().effects, ["e"]);
    let lines: Vec<String> = server.asked().into_iter().map(|asked| asked.line).collect();
    let expected = [
        "GET /gov/service/members".to_owned(),
        format!("GET /gov/service/members/{id}"),
        "GET /gov/members/proposals".to_owned(),
        format!("GET /gov/members/proposals/{id}"),
        format!("GET /gov/members/proposals/{id}/actions"),
        "POST /gov/members/proposals:simulate".to_owned(),
    ]
    .map(|line| format!("{line}?api-version=2024-07-01"));
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_transaction_is_waited_for() {
    let service = Service::new();
    let server = Server::start(&service, |n| {
        let status = if n < 2 { "Pending" } else { "Committed" };
        Reply::json(200, &format!(r#"{{"transaction_id":"2.7","status":"{status}"}}"#))
    })
    .await;
    let client = client(service.certificate(), &[server.endpoint()]);
    let status = client.wait("2.7".parse().unwrap()).await.unwrap();
    assert_eq!(status.status, "Committed");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn nothing_older_is_read_than_what_was_seen() {
    let service = Service::new();
    let members = |at: &'static str| Reply::json(200, r#"{"value":[]}"#).of_transaction(at);
    let lags = Server::start(&service, move |n| members(if n < 2 { "2.6" } else { "3.9" })).await;
    let knows = Server::start(&service, move |_| members("3.8")).await;
    let both = client(service.certificate(), &[lags.endpoint(), knows.endpoint()]);
    both.see("3.7".parse().unwrap());
    both.see("2.5".parse().unwrap());
    both.members().await.unwrap();
    assert_eq!((lags.asked().len(), knows.asked().len()), (1, 1));
    assert_eq!(both.seen(), Some("3.8".parse().unwrap()));
    // It is asked again until it knows, when there is nobody else.
    let one = client(service.certificate(), &[lags.endpoint()]);
    one.see("3.8".parse().unwrap());
    one.members().await.unwrap();
    assert_eq!((lags.asked().len(), one.seen()), (3, Some("3.9".parse().unwrap())));
}

#[tokio::test]
async fn what_was_seen_over_plain_http_or_is_out_of_reach_does_not_count() {
    let service = Service::new();
    let members = |at: &str| Reply::json(200, r#"{"value":[]}"#).of_transaction(at);
    let plain = Server::plain(move |_| members("2.9")).await;
    let one = client(service.certificate(), &[plain.endpoint()]);
    one.members().await.unwrap();
    assert_eq!((plain.asked().len(), one.seen()), (1, None));
    let far = Server::start(&service, move |_| members("2.18446744073709551615")).await;
    let one = client(service.certificate(), &[far.endpoint()]);
    one.members().await.unwrap();
    assert_eq!(one.seen(), None);
    for (at, expected) in [
        (i64::MAX.unsigned_abs() - 1, Some(i64::MAX.unsigned_abs() - 1)),
        (i64::MAX.unsigned_abs(), Some(i64::MAX.unsigned_abs())),
        (i64::MAX.unsigned_abs() + 1, None),
    ] {
        let one = client(service.certificate(), &[far.endpoint()]);
        one.see(format!("2.{at}").parse().unwrap());
        assert_eq!(one.seen().map(|seen| seen.seqno.0), expected);
    }
}
