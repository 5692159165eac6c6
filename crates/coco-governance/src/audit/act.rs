//! A recorded request, carried out again.

use std::collections::{BTreeMap, BTreeSet};

use coco_crypto::Certificate;
use coco_kv::{MapName, Transaction, WriteSet, WriteSetView};
use coco_types::{Digest, Seqno, TxId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::secrets::{NODE_SECRETS, PAST_SECRETS, SECRET_SINCE, check_begun, check_next};
use super::{Audit, AuditError, AuditFault, AuditedEntry, ROOT_LAG_MAX, SNAPSHOT_ASKED};
use crate::{
    Certificates, Effect, Handled, MemberId, Message, ProposalId, Reply, Request, Route, Situation,
    acks,
    certify::service_of,
    history,
    members::FromMember,
    recovery::{Dealt, check_dealt, forget_submitted_shares, has_recovery_members},
    rows::ServiceRow,
    tables::{
        self, AckRow, COSE_HISTORY, MEMBERS_ACKS, NODES_ENDORSED_CERTIFICATES, PAST_LEDGER_SECRET,
        PREVIOUS_SERVICE_IDENTITY, PROPOSALS, PROPOSALS_INFO, ProposalRow, ProposalState,
        RECOVERY_SHARES, SERVICE_INFO, singleton_key,
    },
};

/// What a member did: a request that was carried out again and wrote what the entry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The entry.
    pub tx_id: TxId,
    /// Who signed it.
    pub member: MemberId,
    /// What was asked for.
    pub message: Message,
    /// When it was signed, as the member said, in seconds since 1970.
    pub created_at: u64,
    /// Which proposal it made or concerns.
    pub proposal: Option<ProposalId>,
    /// What that proposal came to with it.
    pub state: Option<ProposalState>,
    /// Of a proposal, its actions.
    pub actions: Vec<String>,
}

impl Audit {
    /// Carries the request of an entry out again.
    pub(super) fn act(&mut self, entry: &AuditedEntry<'_>) -> Result<Act, AuditError> {
        let seqno = entry.tx_id.seqno;
        let envelope = recorded(entry.writes).map_err(|fault| self.failed(fault))?;
        let request = Request::read(&envelope);
        let request = request.map_err(|error| self.failed(AuditFault::Request(error)))?;
        let (member, message) = (request.signer(), request.message());
        let proposal = match message {
            Message::Ballot(id) | Message::Withdrawal(id) => Some(id),
            Message::Proposal => made(entry.writes).next(),
            Message::Ack
            | Message::StateDigest
            | Message::RecoveryShare
            | Message::EncryptedRecoveryShare => None,
        };
        let failed =
            |fault| AuditError { seqno, member: Some(member), proposal, fault: Box::new(fault) };
        let route = route(member, message).ok_or_else(|| failed(AuditFault::Message))?;
        let situation = Situation {
            root: self.root(entry, &request).map_err(failed)?,
            now: self.time(message, entry.writes).map_err(failed)?,
            ledger_secret: self.periods.newest,
            submitted_under: None,
            certificates: recorded_certificates(entry.writes),
        };
        let handled = self
            .governance
            .handle(self.store.reader().begin(), route, &envelope, &situation)
            .map_err(|error| failed(AuditFault::Refused(error)))?;
        let Handled { mut transaction, reply, effects } = handled;
        if message == Message::Ack {
            // It is recorded, so it was written, also if by now it would not be.
            FromMember::check(&mut transaction, &envelope)
                .and_then(|from| acks::record_again(&mut transaction, &from.request))
                .map_err(|error| failed(AuditFault::Tables(error)))?;
        }
        let checked = self.follow(&effects, &mut transaction, entry.writes).map_err(failed)?;
        compare(transaction.finish().write_set(), entry.writes, &checked).map_err(failed)?;
        Ok(Act {
            tx_id: entry.tx_id,
            member,
            message,
            created_at: request.created_at(),
            proposal,
            state: match reply {
                Reply::Proposal(view) => Some(view.proposal_state),
                Reply::StateDigest { .. } | Reply::RecoveryProgress(_) | Reply::Done => None,
            },
            actions: actions(&request),
        })
    }

    /// The root that the request was carried out with.
    fn root(&self, entry: &AuditedEntry<'_>, request: &Request<'_>) -> Result<Digest, AuditFault> {
        let before = Seqno(entry.tx_id.seqno.0.saturating_sub(1));
        let oldest = self.last_act.0.max(before.0.saturating_sub(ROOT_LAG_MAX));
        let mut roots = (oldest..=before.0).rev().filter_map(|upto| (entry.root)(Seqno(upto)));
        let found = if request.message() == Message::Proposal {
            let (digest, ids) = (request.digest(), made(entry.writes).collect::<BTreeSet<_>>());
            roots.find(|root| ids.contains(&ProposalId::new(root, &digest)))
        } else {
            let named = self.state_digests(entry.writes)?;
            roots.find(|root| named.is_empty() || named.contains(&root.to_string()))
        };
        found.ok_or(AuditFault::Root)
    }

    /// The time at which the request was carried out, or the earliest that gives the same.
    fn time(&self, message: Message, writes: &WriteSetView<'_>) -> Result<u64, AuditFault> {
        let (from, to) = self.times().into_inner();
        let in_order = |said: u64, is_in_order: bool| {
            if is_in_order { Ok(said) } else { Err(AuditFault::Time { said, from, to }) }
        };
        if message == Message::Proposal {
            let info = MapName::from_static(PROPOSALS_INFO);
            let row = made(writes).next().and_then(|id| writes.get(&info, &id.key()));
            let row = row.and_then(|row| serde_json::from_slice::<ProposalRow>(row).ok());
            let said = row.and_then(|row| row.admitted_at).unwrap_or(from);
            return in_order(said, (from..=to).contains(&said));
        }
        // What is dropped at its deadline says that the deadline had passed.
        let dropped = rows(writes, PROPOSALS_INFO).filter_map(|(_, row)| {
            let row = serde_json::from_slice::<ProposalRow>(row?).ok()?;
            let is_over = row.state == ProposalState::Dropped && row.failure.is_some();
            row.expires_at.filter(|_| is_over)
        });
        let said = dropped.max().unwrap_or_default();
        in_order(said.max(from), said <= to)
    }

    /// The state digests that an entry gives to members.
    fn state_digests(&self, writes: &WriteSetView<'_>) -> Result<BTreeSet<String>, AuditFault> {
        let mut digests = BTreeSet::new();
        let mut tx = self.begin();
        for (key, row) in rows(writes, MEMBERS_ACKS) {
            let Some(row) = row.and_then(|row| serde_json::from_slice::<AckRow>(row).ok()) else {
                continue;
            };
            let before: Option<AckRow> =
                tables::read(&mut tx, MEMBERS_ACKS, key).map_err(AuditFault::Tables)?;
            if before.is_none_or(|before| before.state_digest != row.state_digest) {
                digests.insert(row.state_digest);
            }
        }
        Ok(digests)
    }

    /// Does what a constitution asked the service for, as far as it is writes. What stands on secrets is checked, and the
    /// tables of it are handed back: nobody can make them again.
    fn follow(
        &self,
        effects: &[Effect],
        tx: &mut Transaction<'_>,
        writes: &WriteSetView<'_>,
    ) -> Result<Vec<&'static str>, AuditFault> {
        let wrong = |reason: &str| Err(AuditFault::Effect(reason.to_owned()));
        let (mut opens, mut rekeys, mut refreshes) = (false, false, false);
        for effect in effects {
            match effect {
                Effect::ChunkLedger => {}
                Effect::Snapshot => {
                    let map = tx.map(&MapName::from_static(SNAPSHOT_ASKED));
                    let map = map.expect("the audit made its store with this map");
                    tx.put(map, singleton_key(), Vec::new());
                }
                Effect::OpenService { previous, next } => {
                    opens |= open_service(tx, previous.as_deref(), next, writes)?;
                }
                Effect::RefreshRecoveryShares => refreshes = true,
                Effect::RekeyLedger => rekeys = true,
                Effect::Recovered(_) => {
                    return wrong("shares gave a key, and no request to send one is recorded");
                }
            }
        }
        if opens && rekeys {
            return wrong("the service opened and got another ledger secret with one act");
        }
        let mut checked = Vec::new();
        if rekeys {
            check_next(tx, writes, self.periods.newest)?;
            checked.extend([NODE_SECRETS, PAST_SECRETS]);
        }
        if opens || rekeys {
            check_begun(writes, &self.times())?;
            checked.push(SECRET_SINCE);
        }
        let has_members = has_recovery_members(tx).map_err(AuditFault::Tables)?;
        let dealt = if rekeys {
            has_members.then_some(Dealt::Rekey { previous: self.periods.newest })
        } else if opens {
            let opening = Dealt::Opening { from: self.periods.newest, previous: None };
            has_members.then_some(opening)
        } else {
            refreshes.then_some(Dealt::Refresh)
        };
        if let Some(dealt) = dealt {
            let row = |name| writes.get(&MapName::from_static(name), singleton_key());
            check_dealt(tx, dealt, row(RECOVERY_SHARES), row(PAST_LEDGER_SECRET))
                .map_err(AuditFault::Effect)?;
            checked.push(RECOVERY_SHARES);
            if dealt != Dealt::Refresh {
                checked.push(PAST_LEDGER_SECRET);
            }
        }
        Ok(checked)
    }
}

/// The one request that an entry records, as it was signed.
fn recorded(writes: &WriteSetView<'_>) -> Result<Vec<u8>, AuditFault> {
    let recorded: Vec<_> = rows(writes, COSE_HISTORY).collect();
    let [(_, Some(row))] = recorded[..] else {
        return Err(AuditFault::Requests { rows: recorded.len() });
    };
    let text: String = serde_json::from_slice(row).map_err(|_| AuditFault::Encoding)?;
    history::envelope(&text).ok_or(AuditFault::Encoding)
}

/// The names of a proposal's actions.
fn actions(request: &Request<'_>) -> Vec<String> {
    #[derive(Deserialize)]
    struct Proposal {
        actions: Vec<Action>,
    }
    #[derive(Deserialize)]
    struct Action {
        name: String,
    }
    if request.message() != Message::Proposal {
        return Vec::new();
    }
    let proposal = serde_json::from_slice::<Proposal>(request.content());
    proposal.map_or_else(|_| Vec::new(), |it| it.actions.into_iter().map(|it| it.name).collect())
}

/// The call that a request must have come with.
const fn route(member: MemberId, message: Message) -> Option<Route> {
    match message {
        Message::Proposal => Some(Route::CreateProposal),
        Message::Ballot(proposal) => Some(Route::SubmitBallot { proposal, member }),
        Message::Withdrawal(proposal) => Some(Route::WithdrawProposal(proposal)),
        Message::Ack => Some(Route::Acknowledge(member)),
        Message::StateDigest => Some(Route::UpdateStateDigest(member)),
        Message::RecoveryShare | Message::EncryptedRecoveryShare => None,
    }
}

/// The certificates of the service and of nodes that an entry writes down.
fn recorded_certificates(writes: &WriteSetView<'_>) -> Certificates {
    let row = writes.get(&MapName::from_static(SERVICE_INFO), singleton_key());
    let row = row.and_then(|row| serde_json::from_slice::<ServiceRow>(row).ok());
    let of_nodes = rows(writes, NODES_ENDORSED_CERTIFICATES)
        .filter_map(|(_, pem)| Certificate::from_pem(str::from_utf8(pem?).ok()?).ok());
    let made: Vec<Certificate> =
        row.and_then(|row| row.certificate()).into_iter().chain(of_nodes).collect();
    if made.is_empty() { Certificates::None } else { Certificates::Recorded(made) }
}

/// The proposals that an entry makes: one, if it is in order.
fn made(writes: &WriteSetView<'_>) -> impl Iterator<Item = ProposalId> {
    let written = rows(writes, PROPOSALS).filter(|(_, row)| row.is_some());
    written.filter_map(|(key, _)| str::from_utf8(key).ok()?.parse().ok())
}

/// What an entry writes to a table.
pub(super) fn rows<'a, 'w>(
    writes: &'w WriteSetView<'a>,
    name: &'w str,
) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + 'w {
    let maps = writes.maps().iter().filter(move |map| map.name() == name);
    maps.flat_map(|map| map.iter())
}

/// Opens the service in the transaction if the entry does and may; whether it was not open before. One that is being
/// recovered waits for shares from then on.
fn open_service(
    tx: &mut Transaction<'_>,
    previous: Option<&[u8]>,
    next: &[u8],
    writes: &WriteSetView<'_>,
) -> Result<bool, AuditFault> {
    let wrong = |reason: &str| Err(AuditFault::Effect(reason.to_owned()));
    let before: Option<Map<String, Value>> =
        tables::read(tx, SERVICE_INFO, singleton_key()).map_err(AuditFault::Tables)?;
    let Some(mut row) = before else { return wrong("there was no service to open") };
    let ours = row.get("cert").and_then(Value::as_str).and_then(service_of);
    if ours.is_none() || str::from_utf8(next).ok().and_then(service_of) != ours {
        return wrong("the service that was to be opened is another one");
    }
    let status = match (row.get("status").and_then(Value::as_str), previous) {
        (Some("Open"), _) => return Ok(false),
        (Some("Opening"), None) => "Open",
        (Some("Recovering"), Some(previous)) => {
            let recorded: Option<String> =
                tables::read(tx, PREVIOUS_SERVICE_IDENTITY, singleton_key())
                    .map_err(AuditFault::Tables)?;
            let recorded = recorded.as_deref().and_then(service_of);
            if recorded.is_none() || str::from_utf8(previous).ok().and_then(service_of) != recorded
            {
                return wrong("the service before the one that was to be opened is another one");
            }
            forget_submitted_shares(tx).map_err(AuditFault::Tables)?;
            "WaitingForRecoveryShares"
        }
        _ => return wrong("the service could not be opened from the state that it was in"),
    };
    row.insert("status".to_owned(), json!(status));
    let found = writes.get(&MapName::from_static(SERVICE_INFO), singleton_key());
    let found = found.filter(|found| {
        serde_json::from_slice::<Map<String, Value>>(found).is_ok_and(|found| found == row)
    });
    let Some(found) = found else { return wrong("the service was not opened, or not as it was") };
    tables::put(tx, SERVICE_INFO, singleton_key(), found).map_err(AuditFault::Tables)?;
    Ok(status == "Open")
}

type Rows<'a> = BTreeMap<(&'a str, &'a [u8]), Option<&'a [u8]>>;

/// Holds what the entry writes against what the request makes. What stands on secrets was checked by itself.
fn compare(
    expected: &WriteSet,
    found: &WriteSetView<'_>,
    checked: &[&str],
) -> Result<(), AuditFault> {
    let row = |(map, key, value)| ((map, key), value);
    let found: Rows<'_> =
        found.iter().filter(|(map, ..)| !checked.contains(map)).map(row).collect();
    let expected: Rows<'_> = expected
        .iter()
        .map(|(map, key, value)| ((map.as_str(), key), value.map(|value| &**value)))
        .collect();
    let places: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let is_other =
        |(table, key): (&str, &[u8])| match (expected.get(&(table, key)), found.get(&(table, key)))
        {
            (Some(Some(expected)), Some(Some(found))) => !is_same(table, expected, found),
            (expected, found) => expected != found,
        };
    let mut differing = places.into_iter().filter(|place| is_other(**place));
    // What became of a proposal says more than what followed from it.
    let Some(first) = differing.next() else { return Ok(()) };
    let (table, key) = differing
        .find(|(table, _)| *table == PROPOSALS_INFO)
        .filter(|_| first.0 != PROPOSALS_INFO)
        .unwrap_or(first);
    let reason = match (expected.get(&(*table, *key)), found.get(&(*table, *key))) {
        (None, _) => "the request does not touch it".to_owned(),
        (_, None) => "it is not written".to_owned(),
        (Some(Some(expected)), Some(Some(found))) if *table == PROPOSALS_INFO => {
            proposals_differ(expected, found)
        }
        (Some(None), _) => "it is not removed".to_owned(),
        (_, Some(None)) => "it is removed".to_owned(),
        (Some(Some(_)), Some(Some(_))) => "it has another value".to_owned(),
    };
    let key = String::from_utf8_lossy(key).into_owned();
    Err(AuditFault::Row { table: (*table).to_owned(), key, reason })
}

/// Whether a row is the one that was expected, or the one that earlier versions wrote in its place: requests with their unprotected
/// headers, and digests without the time of the request for them.
fn is_same(table: &str, expected: &[u8], found: &[u8]) -> bool {
    if expected == found {
        return true;
    }
    match table {
        COSE_HISTORY => {
            let read = |row: &[u8]| serde_json::from_slice::<String>(row).ok();
            let bare = read(found).as_deref().and_then(without_unprotected_headers);
            bare.is_some() && bare == read(expected)
        }
        MEMBERS_ACKS => {
            let read = |row: &[u8]| serde_json::from_slice::<AckRow>(row).ok();
            let (Some(expected), Some(kept)) = (read(expected), read(found)) else { return false };
            let bare = kept.cose_sign1_req.as_deref().and_then(without_unprotected_headers);
            let is_bare = bare.is_some() && bare == expected.cose_sign1_req;
            let as_it_was = AckRow {
                created_at: expected.created_at.filter(|_| kept.created_at.is_some()),
                cose_sign1_req: if is_bare { kept.cose_sign1_req } else { expected.cose_sign1_req },
                ..expected
            };
            serde_json::to_vec(&as_it_was).is_ok_and(|row| row == found)
        }
        _ => false,
    }
}

fn without_unprotected_headers(row: &str) -> Option<String> {
    let envelope = history::envelope(row)?;
    Some(history::base64(&Request::read(&envelope).ok()?.recorded()))
}

/// How what a ledger says of a proposal differs from what the ballots amount to.
fn proposals_differ(expected: &[u8], found: &[u8]) -> String {
    let read = |row| serde_json::from_slice::<ProposalRow>(row).ok();
    let (Some(expected), Some(found)) = (read(expected), read(found)) else {
        return "it is no row of a proposal".to_owned();
    };
    if expected.state != found.state {
        let (expected, found) = (expected.state, found.state);
        return format!("it says {found:?}, and by the rules of its time it is {expected:?}");
    }
    let voters: BTreeSet<_> = expected.ballots.keys().chain(found.ballots.keys()).collect();
    let altered = |voter: &&&String| expected.ballots.get(**voter) != found.ballots.get(**voter);
    if let Some(voter) = voters.iter().find(altered) {
        return match (expected.ballots.get(*voter), found.ballots.get(*voter)) {
            (None, _) => format!("the member {voter} signed no ballot on it"),
            (_, None) => format!("the ballot of the member {voter} is missing"),
            (Some(_), Some(_)) => {
                format!("the ballot of the member {voter} is not the one that was signed")
            }
        };
    }
    if expected.final_votes != found.final_votes {
        return "it counts other votes than those that counted".to_owned();
    }
    "it has another value".to_owned()
}
