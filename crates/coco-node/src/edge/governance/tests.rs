//! What `/gov` says of a store that members have filled.

use coco_governance::tables;
use serde_json::json;

use super::super::fixture::{Fixture, NODE, YES, fits};

const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn a_proposal_is_shown_from_its_making_to_its_end() {
    let mut fixture = Fixture::with(3);
    let made = fixture.propose("set_recovery_threshold", &json!({ "recovery_threshold": 1 }));
    let path = format!("/gov/members/proposals/{}", made.proposal_id);
    assert_eq!(fixture.get(&path).json(), serde_json::to_value(&made).unwrap());
    let ballot = format!("{path}/ballots/{}", fixture.members[1].id);
    assert_eq!(fixture.get(&ballot).error(), (404, "VoteNotFound".to_owned()));
    let voted = fixture.vote(1, &made);
    assert_eq!(fixture.get(&ballot).text(), YES);
    let listed = fixture.get("/gov/members/proposals").json();
    assert_eq!(listed, json!({ "value": [voted] }));
    let decided = fixture.vote(2, &made);
    assert_eq!(fixture.get(&path).json(), serde_json::to_value(&decided).unwrap());
    let actions = fixture.get(&format!("{path}/actions"));
    assert_eq!(
        actions.text(),
        r#"{"actions":[{"args":{"recovery_threshold":1},"name":"set_recovery_threshold"}]}"#
    );
}

#[test]
fn what_is_not_there_has_ccfs_code_and_what_is_no_id_is_refused() {
    let fixture = Fixture::new();
    for (path, code) in [
        ("/gov/members/proposals/ID", "ProposalNotFound"),
        ("/gov/members/proposals/ID/actions", "ProposalNotFound"),
        ("/gov/members/proposals/ID/ballots/ID", "ProposalNotFound"),
        ("/gov/members/state-digests/ID", "ResourceNotFound"),
        ("/gov/recovery/encrypted-shares/ID", "ResourceNotFound"),
        ("/gov/service/members/ID", "ResourceNotFound"),
        ("/gov/service/users/ID", "ResourceNotFound"),
        ("/gov/service/nodes/ID", "ResourceNotFound"),
    ] {
        let asked = path.replace("ID", NOBODY);
        assert_eq!(fixture.get(&asked).error(), (404, code.to_owned()), "{path}");
        for wrong in ["7", &NOBODY[1..], &"AB".repeat(32), "%00"] {
            let asked = path.replacen("ID", wrong, 1).replace("ID", NOBODY);
            let refused = (400, "InvalidResourceName".to_owned());
            assert_eq!(fixture.get(&asked).error(), refused, "{asked}");
        }
    }
    let module = fixture.get("/gov/service/javascript-modules/x");
    assert_eq!(module.error(), (404, "ResourceNotFound".to_owned()));
    let status = fixture.get("/gov/service/transactions/7");
    assert_eq!(status.error(), (400, "InvalidQueryParameterValue".to_owned()));
}

#[test]
fn the_version_is_asked_for() {
    let fixture = Fixture::new();
    let plain = fixture.get_plain("/gov/service/info");
    assert_eq!(plain.error(), (400, "MissingApiVersionParameter".to_owned()));
    let unknown = fixture.get_plain("/gov/service/info?api-version=2024-07-02");
    assert_eq!(unknown.error(), (400, "UnsupportedApiVersionValue".to_owned()));
    let preview = "api-version=2023-06-01-preview";
    assert_eq!(fixture.get_plain(&format!("/gov/service/info?{preview}")).status, 200);
    let modules = fixture.get_plain(&format!("/gov/service/javascript-modules?{preview}"));
    assert_eq!(modules.error(), (400, "UnsupportedApiVersionValue".to_owned()));
}

#[test]
fn the_service_its_members_and_nodes_are_shown() {
    let mut fixture = Fixture::new();
    let info = fixture.get("/gov/service/info").json();
    assert_eq!(
        (&info["status"], &info["certificate"]),
        (&json!("Open"), &json!("PEM of the service"))
    );
    let configured = json!({
        "recoveryThreshold": 1, "maximumNodeCertificateValidityDays": 365,
        "maximumServiceCertificateValidityDays": 365, "recentCoseProposalsWindowSize": 100,
    });
    assert_eq!(info["configuration"], configured);
    let text = fixture.get("/gov/service/constitution");
    assert_eq!(text.text(), coco_governance::DEFAULT_CONSTITUTION);

    let new = fixture.outsider();
    fixture.pass("set_member", &json!({ "cert": new.pem, "member_data": { "n": 4 } }));
    let shown = fixture.get(&format!("/gov/service/members/{}", new.id)).json();
    let expected = json!({
        "memberId": new.id, "status": "Accepted", "memberData": { "n": 4 },
        "certificate": new.pem, "recoveryRole": "NonParticipant",
    });
    assert_eq!(shown, expected);
    let all = fixture.get("/gov/service/members").json();
    let all = all["value"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.contains(&shown));
    let digest = fixture.get(&format!("/gov/members/state-digests/{}", new.id)).json();
    assert_eq!(digest, json!({ "memberId": new.id, "stateDigest": "09".repeat(32) }));

    let node = fixture.get(&format!("/gov/service/nodes/{NODE}")).json();
    let expected = json!({
        "nodeId": NODE.to_string(), "status": "Trusted", "nodeData": null,
        "certificate": "PEM of the node", "retiredCommitted": false,
        "quoteInfo": {
            "format": "Insecure_Virtual", "rawQuote": "", "details": { "measurement": "01".repeat(32) },
        },
        "rpcInterfaces": { "primary_rpc_interface": { "publishedAddress": "127.0.0.1:1" } },
    });
    assert_eq!(node, expected);
    assert_eq!(fixture.get("/gov/service/nodes").json(), json!({ "value": [node] }));
}

#[test]
fn a_long_list_comes_in_pages() {
    let mut fixture = Fixture::new();
    let mut users: Vec<_> = (0..5).map(|_| fixture.outsider()).collect();
    for user in &users {
        fixture.pass("set_user", &json!({ "cert": user.pem, "user_data": { "id": user.id } }));
    }
    users.sort_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<&str> = users.iter().map(|user| user.id.as_str()).collect();
    let shown = fixture.get(&format!("/gov/service/users/{}", ids[0])).json();
    let expected =
        json!({ "userId": ids[0], "certificate": users[0].pem, "userData": { "id": ids[0] } });
    assert_eq!(shown, expected);
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut next = Some("/gov/service/users?limit=2&api-version=2024-07-01".to_owned());
    while let Some(path) = next {
        let page = fixture.get_plain(&path).json();
        for user in page["value"].as_array().unwrap() {
            found.push(user["userId"].as_str().unwrap().to_owned());
        }
        next = page["nextLink"].as_str().map(str::to_owned);
        pages += 1;
    }
    assert_eq!((found, pages), (ids.iter().map(ToString::to_string).collect(), 3));
    for (limit, ok) in [("0", false), ("1", true), ("1000", true), ("1001", false), ("x", false)] {
        let got = fixture.get(&format!("/gov/service/users?limit={limit}"));
        assert_eq!(got.status == 200, ok, "{limit}");
    }
    let past = fixture.get(&format!("/gov/service/users?after={}", ids[4]));
    assert_eq!(past.json(), json!({ "value": [] }));
}

#[test]
fn policies_keys_and_the_application_are_shown() {
    let mut fixture = Fixture::new();
    for path in ["join-policy", "jwk", "javascript-app", "javascript-modules"] {
        assert_eq!(fixture.get(&format!("/gov/service/{path}")).status, 200, "{path}");
    }
    let allowed = br#""AllowedToJoin""#;
    fixture.put(tables::VIRTUAL_MEASUREMENTS, b"abc", allowed);
    fixture.put(tables::SNP_MEASUREMENTS, b"0d", allowed);
    fixture.put(tables::SNP_HOST_DATA, b"0e", br#""policy""#);
    fixture.put(tables::SNP_TCB_VERSIONS, b"00a", br#"{"boot_loader":1}"#);
    let policy = fixture.get("/gov/service/join-policy").json();
    assert_eq!(policy["virtual"], json!({ "measurements": ["abc"], "hostData": [] }));
    let snp = json!({
        "measurements": ["0d"], "hostData": { "0e": "policy" }, "uvmEndorsements": {},
        "tcbVersions": { "00a": { "boot_loader": 1 } },
    });
    assert_eq!(policy["snp"], snp);

    fixture.put(
        tables::JWT_ISSUERS,
        b"https://i",
        br#"{"auto_refresh":true,"ca_cert_bundle_name":"b","audience":"coco"}"#,
    );
    fixture.put(tables::JWT_KEYS, b"k1", br#"[{"public_key":"AAAA","issuer":"https://i"}]"#);
    fixture.put(tables::CA_CERT_BUNDLES, b"b", br#""PEM""#);
    let pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let expected = json!({
        "issuers": {
            "https://i": { "autoRefresh": true, "caCertBundleName": "b", "audience": ["coco"] },
        },
        "keys": { "k1": [{ "publicKey": pem, "issuer": "https://i" }] },
        "caCertBundles": { "b": "PEM" },
    });
    assert_eq!(fixture.get("/gov/service/jwk").json(), expected);

    let row = br#"{"cert":"PEM","user_data":{"n":1}}"#;
    fixture.put(tables::ORGANISATIONS, b"acme", row);
    fixture.put(tables::ORGANISATIONS, b"bank", br#"{"cert":"PEM"}"#);
    fixture.put(tables::ORGANISATIONS_REVOCATIONS, b"acme", br#"["7","abc"]"#);
    let shown = |name: &str, data, serials| json!({ "name": name, "certificate": "PEM", "userData": data, "revokedSerials": serials });
    let expected = [
        shown("acme", json!({ "n": 1 }), json!(["7", "abc"])),
        shown("bank", json!(null), json!([])),
    ];
    let organisations = fixture.get("/gov/service/organisations").json();
    assert_eq!(organisations, json!({ "value": expected }));

    let endpoint = br#"{"js_module":"/a.js","js_function":"f","authn_policies":["user_cert"],"mode":"readonly"}"#;
    fixture.put(tables::ENDPOINTS, b"POST /log", endpoint);
    fixture.put(tables::MODULES, b"/lib/a.js", b"export {}");
    let app = fixture.get("/gov/service/javascript-app").json();
    let shown = json!({
        "jsModule": "/a.js", "jsFunction": "f", "forwardingRequired": "always",
        "redirectionStrategy": "none", "authnPolicies": ["user_cert"], "mode": "readonly",
        "openApi": null,
    });
    assert_eq!(app, json!({ "endpoints": { "/log": { "POST": shown } } }));
    let original = fixture.get("/gov/service/javascript-app?case=original").json();
    assert_eq!(original["endpoints"]["/log"]["POST"]["js_module"], "/a.js");
    assert_eq!(fixture.get("/gov/service/javascript-app?case=other").status, 400);
    let modules = fixture.get("/gov/service/javascript-modules").json();
    assert_eq!(modules, json!({ "value": [{ "moduleName": "/lib/a.js" }] }));
    let module = fixture.get("/gov/service/javascript-modules/%2Flib%2Fa.js");
    assert_eq!(module.text(), "export {}");
}

#[test]
fn a_table_with_a_row_of_another_form_is_our_fault() {
    let mut fixture = Fixture::new();
    fixture.put(tables::MEMBERS_INFO, b"no id", b"{}");
    let got = fixture.get("/gov/service/members");
    assert_eq!(got.error(), (500, "InternalError".to_owned()));
}

#[test]
fn the_schemas_know_what_is_wrong() {
    let commit = json!({ "transaction_id": "2.7" });
    assert!(fits("Commit", &commit).is_ok());
    assert!(fits("Commit", &json!({})).is_err());
    assert!(fits("Commit", &json!({ "transaction_id": 2 })).is_err());
    assert!(fits("Commit", &json!({ "transaction_id": "2.7", "more": 1 })).is_err());
    assert!(fits("Users", &json!({ "value": [{}] })).is_err());
}
