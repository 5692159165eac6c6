//! What members open when they open a service that was recovered: how much of the ledger of the service before it is kept, whether
//! somebody has seen more of it, and whether the node runs code that members had admitted there.
//!
//! The node is not believed. The service that is pinned endorses the one before it and says up to where that one signed; and
//! a node of that one signed the same root, which its receipt shows. When, stands in the ledger alone: it is said where the
//! node offers the files of its ledger and the kept part ends with one of them. What no node can prove is that there was
//! nothing after it. That is shown by what members have seen, and by receipts that they hold.

use std::path::PathBuf;

use coco_client::{
    Client, ServiceIdentity,
    reply::{Action, Commit, Node, TxStatus},
};
use coco_crypto::Certificate;
use coco_ledger::{
    Chunk, ChunkName, EndorsedService, Endorsements, Epoch, ReceiptVerifier, SignatureRecord,
};
use coco_types::{Seqno, TxId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::changes::INDENT;
use crate::{
    codes::Code,
    commands::receipt,
    fault::{Fault, chain},
    output::{plain, utc},
    seen,
    session::Session,
};

/// A service that was recovered and is to be opened.
pub(crate) struct Recovered {
    /// The service before it, as the proposal names it.
    previous: Certificate,
    kept: Result<Kept, Fault>,
    /// The newest transaction of that service that was seen from here.
    seen: Option<TxId>,
    /// When, in seconds since 1970.
    seen_at: Option<u64>,
    /// What the node says has become of it, `Committed` where it is in its ledger.
    status: String,
    code: Result<Vec<NodeCode>, Fault>,
}

/// What is kept of the ledger of the service before.
struct Kept {
    epoch: Epoch,
    endorsements: Endorsements,
    /// When its end was signed, in seconds since 1970; where the node does not offer its ledger, nobody can say.
    signed_at: Option<u64>,
}

/// What a node runs.
#[derive(Debug, PartialEq, Eq)]
struct NodeCode {
    measurement: String,
    admitted: Admitted,
}

/// Whether members have admitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    InTheLedger,
    ByThisProposal,
    Not,
}

/// Before a line that nobody should miss, as wide as [`INDENT`].
const WARNING: &str = "WARNING          ";

/// The action that opens a service.
const OPEN: &str = "transition_service_to_open";

impl Recovered {
    /// Asks what is to be known, if these actions open a service that was recovered.
    pub(crate) fn fetch(session: &Session, actions: &[Action]) -> Option<Self> {
        let mut opens = actions.iter().filter(|action| action.name == OPEN);
        let previous =
            opens.find_map(|action| action.args.get("previous_service_identity")?.as_str())?;
        let previous = Certificate::from_pem(previous).ok()?;
        let kept = Kept::fetch(session, &previous);
        let before = ServiceIdentity::of(&previous);
        let (seen, seen_at) = (seen::load(before), seen::when(before));
        let status = seen.and_then(|seen| status_of(session, seen).ok()).unwrap_or_default();
        Some(Self { kept, seen, seen_at, status, code: code(session, actions), previous })
    }

    /// The newest transaction that was seen and is not kept.
    fn lost(&self) -> Option<TxId> {
        let kept = self.kept.as_ref().ok()?;
        self.seen.filter(|seen| !kept.epoch.reaches(*seen) || self.status == "Invalid")
    }

    /// The same in lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.kept {
            Ok(Kept { epoch, signed_at, .. }) => {
                let at = match signed_at {
                    Some(at) => format!("signed at {}", utc(*at)),
                    None => "signed at a time that the node does not show".to_owned(),
                };
                let last = epoch.last;
                let when = self.seen_at.map(|at| format!(" at {}", utc(at))).unwrap_or_default();
                lines.push(format!(
                    "{INDENT}the ledger of the service before is kept up to {last}, {at}"
                ));
                lines.push(match (self.lost(), self.seen) {
                    (Some(seen), _) => format!(
                        "{WARNING}THIS LEDGER IS OLDER than what you have seen: {seen} of the service before{when}. What it \
                         wrote after {last} IS LOST if this is opened"
                    ),
                    (None, Some(seen)) => format!(
                        "{INDENT}it holds all that you have seen from here, which is up to {seen}{when}"
                    ),
                    (None, None) => format!(
                        "{INDENT}you have seen nothing of that service from here: hold receipts against it \
                         (coco proposal vote ID --approve --receipt FILE)"
                    ),
                });
            }
            Err(fault) => lines.push(format!(
                "{WARNING}IT IS NOT PROVEN how much of the ledger of the service before is kept: {fault}"
            )),
        }
        match &self.code {
            Ok(code) => lines.extend(code.iter().map(NodeCode::line)),
            Err(fault) => {
                lines.push(format!("{WARNING}it is not known which code the node runs: {fault}"));
            }
        }
        lines.iter().map(|line| plain(line)).collect()
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let kept = self.kept.as_ref().ok();
        let code: Vec<Value> = self.code.iter().flatten().map(NodeCode::json).collect();
        json!({
            "previous_service_id": ServiceIdentity::of(&self.previous).to_string(),
            "kept_up_to": kept.map(|kept| kept.epoch.last.to_string()),
            "signed_at": kept.and_then(|kept| kept.signed_at).map(utc),
            "not_proven": self.kept.as_ref().err().map(ToString::to_string),
            "seen": self.seen.map(|seen| seen.to_string()),
            "seen_at": self.seen_at.map(utc),
            "is_older_than_seen": self.lost().is_some(),
            "code": code,
        })
    }

    /// Refuses unless what each receipt proves is in the part that is kept.
    pub(crate) fn check_holds(&self, session: &Session, receipts: &[PathBuf]) -> Result<(), Fault> {
        if receipts.is_empty() {
            return Ok(());
        }
        let kept = match &self.kept {
            Ok(kept) => kept,
            Err(fault) => return Err(Fault::new(Code::DoesNotVerify, fault.to_string())),
        };
        let verifier = ReceiptVerifier::new(session.client().service().clone());
        let verifier = verifier
            .with_endorsements(&kept.endorsements)
            .map_err(|error| Fault::new(Code::DoesNotVerify, chain(&error)))?;
        for path in receipts {
            let gap = |what: String| {
                Fault::new(Code::LedgerOlder, what)
                    .with("kept", format!("up to {}", kept.epoch.last))
                    .with("file", path.display().to_string())
            };
            let verified = receipt::read_verified(path, &verifier).map_err(|failure| {
                let fault = Fault::from(failure);
                if fault.code() == Code::DoesNotVerify {
                    gap(fault.message().to_owned())
                } else {
                    fault
                }
            })?;
            // A receipt of a signature entry names its root alone, which is that of the end by now.
            let Some(id) = verified.tx_id else { continue };
            let status = status_of(session, id)?;
            if status != "Committed" {
                return Err(gap(format!("the node says that {id} is {status}")));
            }
        }
        Ok(())
    }
}

/// What the node says of a transaction.
fn status_of(session: &Session, id: TxId) -> Result<String, Fault> {
    let path = format!("/node/tx?transaction_id={id}");
    let status: TxStatus = session.ask(|client| client.get(&path))?.json()?;
    Ok(status.status)
}

/// Of a receipt in JSON, the certificate of the node that signed.
#[derive(Deserialize)]
struct NodeCertificate {
    cert: String,
}

impl Kept {
    fn fetch(session: &Session, previous: &Certificate) -> Result<Self, Fault> {
        let wrong = |what: String| Fault::new(Code::DoesNotVerify, what);
        let last = last_of_before(session)?;
        let path = format!("/app/receipt/cose/endorsements?transaction_id={last}");
        let answer = session.ask(|client| client.get(&path))?;
        let endorsements = Endorsements::decode(&answer.body);
        let endorsements = endorsements.map_err(|error| wrong(chain(&error)))?;
        let before = endorsements.verify(session.client().service().key());
        let before = before.map_err(|error| wrong(chain(&error)))?;
        let epoch = match before.first() {
            Some(EndorsedService { key, epoch }) if key == previous.key() => *epoch,
            Some(_) => {
                let what = "this service endorses another one before it than the proposal names";
                return Err(wrong(what.to_owned()));
            }
            None => return Err(wrong("this service endorses none before it".to_owned())),
        };
        let path = format!("/app/receipt?transaction_id={}", epoch.last);
        let receipt = session.ask(|client| client.get(&path))?.body;
        let verifier = ReceiptVerifier::new(session.client().service().clone())
            .with_endorsements(&endorsements)
            .map_err(|error| wrong(chain(&error)))?;
        let verified = verifier.json(&receipt).map_err(|error| wrong(chain(&error)))?;
        let signer = serde_json::from_slice::<NodeCertificate>(&receipt).ok();
        let signer = signer.and_then(|it| Certificate::from_pem(&it.cert).ok());
        let is_of_before = signer.is_some_and(|node| node.verify_signed_by(previous.key()).is_ok());
        if verified.root != epoch.root || !is_of_before {
            let what = format!("no node of the service before signed the end at {}", epoch.last);
            return Err(wrong(what));
        }
        let signed_at = signature(session, previous, &epoch).map(|record| record.issued_at_s);
        Ok(Self { epoch, endorsements, signed_at })
    }
}

/// The last transaction before the service that is asked, as the node says. Nothing is believed by this.
fn last_of_before(session: &Session) -> Result<TxId, Fault> {
    let unclear = |what: &str| Fault::new(Code::NotUnderstood, what);
    let began = session.ask(Client::service_info)?.creation_transaction_id;
    let began = began.and_then(|id| id.parse::<TxId>().ok());
    let began = began.ok_or_else(|| unclear("the node does not say where the service began"))?;
    let seqno = Seqno(began.seqno.0.saturating_sub(1));
    let commit: Commit =
        session.ask(|client| client.get("/node/commit?view_history=true"))?.json()?;
    let views = commit.view_history.unwrap_or_default();
    let views = views.iter().filter_map(|id| id.parse::<TxId>().ok());
    let view = views.filter(|first| first.seqno <= seqno).map(|first| first.view).max();
    let view = view.ok_or_else(|| unclear("the node does not say in which view it was"))?;
    Ok(TxId { view, seqno })
}

/// The signature at the end of the service before, if the node offers the file with it.
fn signature(session: &Session, service: &Certificate, epoch: &Epoch) -> Option<SignatureRecord> {
    let name = session.try_ask(|client| client.ledger_chunk_at(epoch.last.seqno)).ok()?;
    let name: ChunkName = name.parse().ok()?;
    let path = format!("/node/ledger_chunk/{name}");
    let bytes = session.try_ask(|client| client.get(&path)).ok()?.body;
    let chunk = Chunk::parse(&bytes).ok()?;
    let (_, entry) = chunk.entries.iter().find(|(_, entry)| entry.tx_id() == epoch.last)?;
    let record = SignatureRecord::read(entry).ok()??;
    let node = Certificate::from_pem(&record.node_certificate_pem).ok()?;
    record.verify(&epoch.root, node.key(), service.key()).ok()?;
    (record.tx_id == epoch.last).then_some(record)
}

/// What the nodes run that members are to open the service on.
fn code(session: &Session, actions: &[Action]) -> Result<Vec<NodeCode>, Fault> {
    let policy = session.ask(Client::join_policy)?;
    let admitted: Vec<&str> = policy.code().map(|(_, code)| code).collect();
    let nodes = session.ask(Client::service_nodes)?.value;
    let trusted = nodes.iter().filter(|node| node.status == "Trusted");
    Ok(trusted.map(|node| NodeCode::of(node, &admitted, actions)).collect())
}

impl NodeCode {
    fn of(node: &Node, admitted: &[&str], actions: &[Action]) -> Self {
        let measurement = node.code().unwrap_or("that it does not show").to_owned();
        let is_admitted_by = |action: &Action| {
            action.name.starts_with("add_")
                && action.args.get("measurement").and_then(Value::as_str) == Some(&measurement)
        };
        let admitted = if admitted.contains(&measurement.as_str()) {
            Admitted::InTheLedger
        } else if actions.iter().any(is_admitted_by) {
            Admitted::ByThisProposal
        } else {
            Admitted::Not
        };
        Self { measurement, admitted }
    }

    fn line(&self) -> String {
        let Self { measurement, admitted } = self;
        match admitted {
            Admitted::InTheLedger => format!(
                "{INDENT}its node runs code {measurement}: admitted by the members of the ledger"
            ),
            Admitted::ByThisProposal => format!(
                "{WARNING}its node runs code {measurement}: NOT admitted by the members of the ledger; this proposal \
                 admits it"
            ),
            Admitted::Not => format!(
                "{WARNING}its node runs code {measurement}: NOT admitted by the members of the ledger"
            ),
        }
    }

    fn json(&self) -> Value {
        json!({
            "measurement": self.measurement,
            "is_admitted": self.admitted == Admitted::InTheLedger,
            "is_admitted_by_this": self.admitted == Admitted::ByThisProposal,
        })
    }
}

#[cfg(test)]
mod tests {
    use coco_crypto::{Curve, SigningKey, Validity, service_certificate};
    use coco_types::Digest;

    use super::*;

    fn recovered(seen: Option<(u64, u64)>, signed_at: Option<u64>) -> Recovered {
        let validity = Validity { not_before: 1_000_000, not_after: 2_000_000 };
        let key = SigningKey::generate(Curve::P384);
        let (first, last) = (TxId::new(2, 1), TxId::new(4, 45));
        let epoch = Epoch { first, last, root: Digest::ZERO };
        let endorsements = Endorsements::default();
        Recovered {
            previous: service_certificate(&key, validity).unwrap(),
            kept: Ok(Kept { epoch, endorsements, signed_at }),
            seen: seen.map(|(view, seqno)| TxId::new(view, seqno)),
            seen_at: None,
            status: String::new(),
            code: Ok(Vec::new()),
        }
    }

    #[test]
    fn what_was_seen_and_is_not_kept_is_warned_of() {
        for (seen, is_lost) in [
            (None, false),
            (Some((4, 45)), false),
            (Some((2, 7)), false),
            (Some((4, 46)), true),
            // Further in its view, though not by its position.
            (Some((5, 45)), true),
        ] {
            let recovered = recovered(seen, Some(1_700_000_000));
            let lines = recovered.lines();
            let kept = "the ledger of the service before is kept up to 4.45, signed at 2023-11-14T22:13:20Z";
            assert!(lines[0].ends_with(kept), "{lines:?}");
            assert_eq!(lines.join("\n").contains("THIS LEDGER IS OLDER"), is_lost, "{seen:?}");
            assert_eq!(recovered.json()["is_older_than_seen"], is_lost);
        }
        // As far, and of another ledger.
        let status = "Invalid".to_owned();
        let forked = Recovered { status, ..recovered(Some((3, 40)), None) };
        assert_eq!(forked.json()["is_older_than_seen"], true);
        assert!(recovered(None, None).lines()[0].contains("that the node does not show"));
        let fault = Fault::new(Code::NotUnderstood, "\u{1b}");
        let unproven = Recovered { kept: Err(fault), ..recovered(Some((9, 9)), None) };
        let lines = unproven.lines();
        assert!(lines[0].contains("NOT PROVEN") && lines[0].ends_with("\\u{1b}"), "{lines:?}");
    }

    #[test]
    fn code_that_nobody_admitted_is_warned_of() {
        let node = |code: &str| -> Node {
            let quote = json!({ "details": { "measurement": code } });
            let node = json!({ "nodeId": "n", "status": "Trusted", "quoteInfo": quote });
            serde_json::from_value(node).unwrap()
        };
        let admits = |name: &str| {
            vec![super::super::document::action(name, json!({ "measurement": "new" }))]
        };
        for (code, actions, expected) in [
            ("known", vec![], Admitted::InTheLedger),
            ("new", vec![], Admitted::Not),
            ("new", admits("add_virtual_measurement"), Admitted::ByThisProposal),
            ("new", admits("remove_virtual_measurement"), Admitted::Not),
            ("other", admits("add_virtual_measurement"), Admitted::Not),
        ] {
            let found = NodeCode::of(&node(code), &["known"], &actions);
            assert_eq!(found.admitted, expected, "{code}");
            let line = found.line();
            assert_eq!(line.contains("NOT admitted"), expected != Admitted::InTheLedger, "{line}");
        }
    }
}
