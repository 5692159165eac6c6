//! Members and what they ask for, and the model that judges what became of it.
//!
//! Three members propose, vote and withdraw, each one request after the other, as clients do. Their signatures are real,
//! and by RFC 6979 the same in every run of a seed.

mod leases;
mod nodes;

use std::{
    array,
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use coco_crypto::{
    Certificate, SHARING_SEED_BYTES, SecretBytes,
    cose::{ALGORITHM_ES256, AttachedSign1, EMPTY_MAP, to_be_signed},
    sha256,
};
use coco_governance::{
    DEFAULT_CONSTITUTION, FirstGovernance, FirstMember, MemberId, Message, Occasion, ProposalId,
    Route, SecretFrom, protected_headers, share, tables,
};
use coco_kv::{MapName, MapView, Reader, Store, WriteSet};
use coco_ledger::{EntryView, LedgerSecret, LedgerSecrets};
use coco_replica::{GovernRequest, NODE_SECRETS_MAP, NodeCipher as _};
use coco_types::{Digest, NodeId, Seqno, TxId};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use serde_json::{Value, json};

use self::nodes::Decided;
use crate::{genesis::DoubleCipher, roster::Roster};

/// How many members there are.
pub const MEMBERS: usize = 3;
/// How many have to agree.
const MAJORITY: usize = MEMBERS / 2 + 1;

const CERTIFICATES: [&str; MEMBERS] =
    [include_str!("members/0.pem"), include_str!("members/1.pem"), include_str!("members/2.pem")];

/// What shares are encrypted to, for each of them. No private key belongs to it here: a double decrypts.
pub(crate) const ENCRYPTION_KEYS: [&str; MEMBERS] = [
    include_str!("members/0.encryption.pem"),
    include_str!("members/1.encryption.pem"),
    include_str!("members/2.encryption.pem"),
];
/// How many shares bring a service back.
pub const SHARES: u8 = 2;

/// Something that a member asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Sets the data of a member to a number.
    SetData {
        /// Whose.
        of: usize,
        /// To what.
        to: u64,
    },
    /// Asks for the end of a chunk.
    EndChunk,
    /// Asks for a snapshot.
    Snapshot,
    /// Gives the ledger another secret.
    Rekey,
    /// Has the shares of the ledger secret dealt anew.
    Reshare,
    /// Trusts a node of a new operator.
    Trust(NodeId),
    /// Trusts one to listen only.
    Listen(NodeId),
    /// Lets one vote that listens.
    Promote(NodeId),
    /// Replaces one node or two by as many others.
    Replace(Pair, Pair),
    /// Removes a node.
    Remove(NodeId),
    /// Votes.
    Vote(ProposalId, bool),
    /// Takes a proposal back.
    Withdraw(ProposalId),
}

/// A node, or two.
pub type Pair = (NodeId, Option<NodeId>);

fn both(pair: Pair) -> impl Iterator<Item = NodeId> {
    [pair.0].into_iter().chain(pair.1)
}

/// What a member is known by and signs with.
struct Who {
    id: MemberId,
    key: SigningKey,
}

/// Made once: to find the public half of a key costs as much as a signature.
static WHO: LazyLock<[Who; MEMBERS]> = LazyLock::new(|| {
    array::from_fn(|member| {
        let certificate = Certificate::from_pem(CERTIFICATES[member]).expect("it is a certificate");
        let secret = sha256(format!("coco-sim member {member}").as_bytes());
        let key = SigningKey::from_slice(&secret.0).expect("it is a key");
        Who { id: MemberId(certificate.digest()), key }
    })
});

/// The id of a member.
///
/// # Panics
/// Never: the certificates are part of this program.
#[must_use]
pub fn id(member: usize) -> MemberId {
    WHO[member].id
}

/// Writes the members, active from the start, and the default constitution; and shares of the ledger's first secret, if they are
/// to have some.
///
/// # Panics
/// Never: it is what a service may begin with.
pub fn opening(writes: &mut WriteSet, shared: Option<&LedgerSecret>) {
    let member = |(pem, key): (&&str, &&str)| FirstMember {
        certificate_pem: (*pem).to_owned(),
        encryption_key_pem: shared.map(|_| (*key).to_owned()),
        data: None,
    };
    let first = FirstGovernance {
        constitution: DEFAULT_CONSTITUTION.to_owned(),
        members: CERTIFICATES.iter().zip(&ENCRYPTION_KEYS).map(member).collect(),
        recovery_threshold: shared.map(|_| SHARES),
        restart_from_disk: false,
        voting_policy: None,
    };
    first.put(writes).expect("they can govern");
    let infos = MapName::from_static(tables::MEMBERS_INFO);
    for member in 0..MEMBERS {
        writes.insert(&infos, &id(member).key(), br#"{"status":"Active"}"#.as_slice());
    }
    let code = Digest::ZERO.to_string();
    let admitted = MapName::from_static(tables::VIRTUAL_MEASUREMENTS);
    writes.insert(&admitted, code.as_bytes(), br#""AllowedToJoin""#.as_slice());
    if let Some(secret) = shared {
        deal(writes, secret);
    }
}

/// Writes that nodes are believed for so many seconds. The constitution would let members say no less than an hour.
pub fn give_leases(writes: &mut WriteSet, lease_s: u64) {
    let configuration = json!({ "node_lease_s": lease_s }).to_string();
    let map = MapName::from_static(tables::SERVICE_CONFIG);
    writes.insert(&map, tables::singleton_key(), configuration.into_bytes());
}

/// Deals the shares of a ledger's first secret, as its opening does.
fn deal(writes: &mut WriteSet, secret: &LedgerSecret) {
    let mut store = Store::new(tables::maps(), [0, 0]);
    let known: BTreeSet<String> =
        tables::maps().into_iter().map(|map| map.name.as_str().to_owned()).collect();
    let mut begun = WriteSet::new();
    for (map, key, value) in writes.iter().filter(|(map, ..)| known.contains(map.as_str())) {
        begun.insert(map, key, value.expect("nothing is removed in the beginning").to_vec());
    }
    store.apply(Seqno(1), &begun).expect("it is the first version");
    let mut transaction = store.begin();
    let newest = SecretFrom { from: Seqno(1), secret: secret.secret() };
    let occasion = Occasion::Opening { newest, previous: None };
    let encrypt = |key_pem: &str, share: &SecretBytes| {
        DoubleCipher::of(key_pem).encrypt(key_pem, share).map_err(|error| error.0)
    };
    share(&mut transaction, &occasion, &[0x5e; SHARING_SEED_BYTES], &encrypt)
        .expect("there are members with keys");
    let changes = transaction.finish();
    for (map, key, value) in changes.write_set().iter() {
        writes.insert(map, key, value.expect("shares are written").to_vec());
    }
}

/// What was encrypted to a member: its share, to be sent in.
#[must_use]
pub fn decrypted(member: usize, encrypted: &[u8]) -> Option<SecretBytes> {
    DoubleCipher::of(ENCRYPTION_KEYS[member]).decrypt(encrypted)
}

/// The request of a member, signed at a time in seconds since 1970.
///
/// # Panics
/// Never: keys and certificates are part of this program.
#[must_use]
pub fn request(member: usize, ask: Ask, created_at: u64) -> GovernRequest {
    let signer = id(member);
    let propose = |name: &str, args: Value| {
        let content = json!({ "actions": [{ "name": name, "args": args }] }).to_string();
        (Route::CreateProposal, Message::Proposal, content)
    };
    let about = |node: NodeId| json!({ "node_id": node.to_string() });
    let (route, message, content) = match ask {
        Ask::SetData { of, to } => {
            let args = json!({ "member_id": id(of).to_string(), "member_data": { "to": to } });
            propose("set_member_data", args)
        }
        Ask::EndChunk => propose("trigger_ledger_chunk", json!({})),
        Ask::Snapshot => propose("trigger_snapshot", json!({})),
        Ask::Rekey => propose("trigger_ledger_rekey", json!({})),
        Ask::Reshare => propose("trigger_recovery_shares_refresh", json!({})),
        Ask::Trust(node) => propose("transition_node_to_trusted", about(node)),
        Ask::Listen(node) => {
            let args = json!({ "node_id": node.to_string(), "learner": true });
            propose("transition_node_to_trusted", args)
        }
        Ask::Promote(node) => propose("promote_learner", about(node)),
        Ask::Replace(remove, add) => {
            let ids = |pair| both(pair).map(|node| node.to_string()).collect::<Vec<_>>();
            propose("replace_nodes", json!({ "remove": ids(remove), "add": ids(add) }))
        }
        Ask::Remove(node) => propose("remove_node", about(node)),
        Ask::Vote(proposal, yes) => {
            let ballot = format!("export function vote (proposal, proposerId) {{ return {yes}; }}");
            let route = Route::SubmitBallot { proposal, member: signer };
            (route, Message::Ballot(proposal), json!({ "ballot": ballot }).to_string())
        }
        Ask::Withdraw(proposal) => {
            (Route::WithdrawProposal(proposal), Message::Withdrawal(proposal), String::new())
        }
    };
    signed(member, route, message, &content, created_at)
}

/// What a member has signed, with the call that it goes to.
///
/// # Panics
/// As [`request`].
#[must_use]
pub fn signed(
    member: usize,
    route: Route,
    message: Message,
    content: &str,
    created_at: u64,
) -> GovernRequest {
    let protected = protected_headers(ALGORITHM_ES256, id(member), message, created_at);
    let signature: Signature = WHO[member].key.sign(&to_be_signed(&protected, content.as_bytes()));
    let envelope = AttachedSign1 {
        protected: &protected,
        unprotected: EMPTY_MAP,
        payload: content.as_bytes(),
        signature: &signature.to_bytes(),
    };
    GovernRequest { route, envelope: envelope.encode().into() }
}

/// What a member was told to be done, once that was final.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// By whom.
    pub member: usize,
    /// What.
    pub ask: Ask,
    /// The proposal that it was about.
    pub proposal: ProposalId,
    /// The entry.
    pub id: TxId,
}

/// A proposal, as the rules say it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proposal {
    by: String,
    state: String,
    /// Who voted, and how.
    ballots: BTreeMap<String, bool>,
    does: Does,
}

/// What a proposal would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Does {
    /// Sets somebody's data.
    sets: Option<(String, u64)>,
    /// Gives the ledger another secret.
    rekeys: bool,
    /// Trusts these nodes.
    trusts: Vec<NodeId>,
    /// Of those, this one to listen only.
    listens: Option<NodeId>,
    /// Lets this node vote that listened.
    promotes: Option<NodeId>,
    /// Removes this node.
    removes: Option<NodeId>,
    /// These make room for those that it trusts.
    replaces: Vec<NodeId>,
}

/// The politics of a ledger, from its public entries. Runs no script.
#[derive(Debug, Default)]
pub struct Politics {
    proposals: BTreeMap<String, Proposal>,
    /// Those that are no longer in the table, too.
    ever: BTreeMap<String, Proposal>,
    data: BTreeMap<String, u64>,
    /// The nodes.
    pub roster: Roster,
    /// How many proposals were accepted.
    pub accepted: u64,
    /// How many of them gave the ledger another secret.
    pub rekeyed: u64,
    /// How often the service did so by itself, once a node had left.
    pub replaced: u64,
}

impl Politics {
    /// Takes an entry.
    ///
    /// # Panics
    /// When it breaks a rule: a decided proposal that changes, a vote lost or counted twice, a decision without the votes
    /// for it or votes without the decision, a change that no accepted proposal asked for.
    pub fn take(&mut self, entry: &[u8], secrets: &LedgerSecrets) {
        let view = EntryView::parse(entry).expect("ledgers hold entries");
        let seqno = view.tx_id().seqno;
        let open = view.open(secrets.at(seqno)).expect("it is sealed under its secret");
        let writes = open.writes().expect("it holds writes");
        let rows = |name: &str| {
            let maps = writes.maps().iter().filter(|map| map.name() == name);
            let rows = maps.flat_map(MapView::iter).map(|(key, value)| {
                (String::from_utf8_lossy(key).into_owned(), value.map(<[u8]>::to_vec))
            });
            rows.collect::<Vec<_>>()
        };
        let texts: BTreeMap<_, _> = rows(tables::PROPOSALS).into_iter().collect();
        let (mut set, mut rekeys) = (None, false);
        let mut decided = Decided::default();
        for (id, row) in rows(tables::PROPOSALS_INFO) {
            let Some(row) = row else {
                let gone = self.proposals.remove(&id).expect("what is removed was there");
                assert_ne!(gone.state, "Open", "an open proposal is not forgotten, at {seqno}");
                continue;
            };
            let row: Value = serde_json::from_slice(&row).expect("a row");
            let text = texts.get(&id).and_then(Option::as_deref);
            let after = self.follow(&id, &row, text, seqno);
            if after.state == "Accepted" {
                self.accepted += 1;
                set = after.does.sets.clone().or(set);
                rekeys |= after.does.rekeys;
                decided.take(&after.does);
            }
            self.ever.insert(id.clone(), after.clone());
            self.proposals.insert(id, after);
        }
        let has_new_secret = !rows(NODE_SECRETS_MAP).is_empty();
        assert!(has_new_secret || !rekeys, "members wanted another secret, at {seqno}");
        assert!(
            !has_new_secret || rekeys || self.roster.is_secret_outside(),
            "nobody wanted another secret, and no node has left, at {seqno}"
        );
        self.rekeyed += u64::from(rekeys);
        self.replaced += u64::from(has_new_secret && !rekeys);
        let nodes = self.roster.take(entry);
        if seqno.0 <= crate::genesis::FIRST_ENTRIES {
            return;
        }
        decided.judge(&self.roster, &nodes, seqno);
        leases::judge(&self.roster, &nodes, seqno);
        let changed: BTreeMap<String, u64> = rows(tables::MEMBERS_INFO)
            .into_iter()
            .map(|(id, row)| {
                let row: Value =
                    serde_json::from_slice(&row.expect("members stay")).expect("a row");
                assert_eq!(row["status"], "Active", "at {seqno}");
                (id, row["member_data"]["to"].as_u64().expect("a number"))
            })
            .collect();
        let expected: BTreeMap<String, u64> = set.into_iter().collect();
        assert_eq!(changed, expected, "what was accepted is done, and nothing else, at {seqno}");
        self.data.extend(changed);
    }

    /// What a row says of a proposal, which must follow from what it was.
    fn follow(&self, id: &str, row: &Value, text: Option<&[u8]>, seqno: Seqno) -> Proposal {
        let state = row["state"].as_str().expect("a state").to_owned();
        let ballots: BTreeMap<String, bool> = row["ballots"]
            .as_object()
            .expect("ballots")
            .iter()
            .map(|(member, ballot)| {
                (member.clone(), ballot.as_str().expect("a text").contains("return true"))
            })
            .collect();
        let by = row["proposer_id"].as_str().expect("an id").to_owned();
        let before = self.proposals.get(id);
        let does = match before {
            Some(before) => before.does.clone(),
            None => what_it_does(text.expect("a new proposal has its text")),
        };
        if let Some(before) = before {
            assert_eq!(before.state, "Open", "{id} was decided and changes at {seqno}");
            assert_eq!(before.by, by, "{id} changes hands at {seqno}");
            let kept =
                before.ballots.iter().all(|(member, vote)| ballots.get(member) == Some(vote));
            assert!(kept, "a vote on {id} is lost or changed at {seqno}");
            let new = ballots.len() - before.ballots.len();
            assert!(new <= 1, "{new} votes on {id} at once at {seqno}");
        } else {
            assert!(!self.ever.contains_key(id), "{id} is made twice, again at {seqno}");
            assert!(ballots.is_empty(), "{id} begins with votes at {seqno}");
        }
        let (yes, no) = ballots
            .values()
            .fold((0, 0), |(yes, no), vote| if *vote { (yes + 1, no) } else { (yes, no + 1) });
        let expected = match state.as_str() {
            "Withdrawn" => "Withdrawn",
            _ if yes >= MAJORITY => "Accepted",
            _ if no > MEMBERS - MAJORITY => "Rejected",
            _ => "Open",
        };
        assert_eq!(state, expected, "{id} with {yes} for it and {no} against, at {seqno}");
        Proposal { by, state, ballots, does }
    }

    /// Judges what a member was told.
    ///
    /// # Panics
    /// When the ledger does not say so.
    pub fn judge(&self, told: &Told) {
        let Told { member, ask, proposal, id } = told;
        let found = self.ever.get(&proposal.to_string());
        let found = found.unwrap_or_else(|| panic!("{proposal} of {id} is not in the ledger"));
        let name = self::id(*member).to_string();
        match ask {
            Ask::Vote(_, yes) => {
                assert_eq!(found.ballots.get(&name), Some(yes), "a vote of {name} is final");
            }
            Ask::Withdraw(_) => assert_eq!(found.state, "Withdrawn", "{proposal} is taken back"),
            Ask::SetData { .. }
            | Ask::EndChunk
            | Ask::Snapshot
            | Ask::Rekey
            | Ask::Reshare
            | Ask::Trust(_)
            | Ask::Listen(_)
            | Ask::Promote(_)
            | Ask::Replace(..)
            | Ask::Remove(_) => {
                assert_eq!(found.by, name, "{proposal} is its proposer's");
            }
        }
    }

    /// Whether a node's tables say the same.
    ///
    /// # Panics
    /// When they do not.
    pub fn compare(&self, reader: &Reader) {
        let head = reader.head();
        let rows = |name: &'static str| {
            let map = head.map(&MapName::from_static(name)).expect("a table");
            head.range(map, &[], None, usize::MAX).into_iter().map(|(key, row)| {
                let row: Value = serde_json::from_slice(&row).expect("a row");
                (String::from_utf8_lossy(&key).into_owned(), row)
            })
        };
        let states: BTreeMap<String, String> = rows(tables::PROPOSALS_INFO)
            .map(|(id, row)| (id, row["state"].as_str().expect("a state").to_owned()))
            .collect();
        let expected = self.proposals.iter().map(|(id, known)| (id.clone(), known.state.clone()));
        assert_eq!(states, expected.collect(), "proposals in the table");
        let data: BTreeMap<String, u64> = rows(tables::MEMBERS_INFO)
            .filter_map(|(id, row)| Some((id, row["member_data"]["to"].as_u64()?)))
            .collect();
        assert_eq!(data, self.data, "data of members");
    }

    /// Whether those vote in the end whom members trust, but for nodes in seats that `may_stay_away`.
    ///
    /// # Panics
    /// When it is otherwise.
    pub fn check_voters(&self, may_stay_away: impl Fn(NodeId) -> bool) {
        nodes::check_end(&self.roster, may_stay_away);
    }
}

fn what_it_does(text: &[u8]) -> Does {
    let text: Value = serde_json::from_slice(text).expect("a proposal");
    let action = &text["actions"][0];
    let (member, to) = (&action["args"]["member_id"], &action["args"]["member_data"]["to"]);
    let id = |id: &Value| id.as_str()?.parse::<NodeId>().ok();
    let ids = |ids: &Value| ids.as_array().into_iter().flatten().filter_map(id).collect::<Vec<_>>();
    let (args, name) = (&action["args"], action["name"].as_str().unwrap_or_default());
    let node = |of: &str| id(&args["node_id"]).filter(|_| name == of);
    let trusted = node("transition_node_to_trusted");
    Does {
        sets: member.as_str().map(str::to_owned).zip(to.as_u64()),
        rekeys: name == "trigger_ledger_rekey",
        trusts: trusted.into_iter().chain(ids(&args["add"])).collect(),
        listens: trusted.filter(|_| args["learner"] == true),
        promotes: node("promote_learner"),
        removes: node("remove_node"),
        replaces: ids(&args["remove"]),
    }
}

#[cfg(test)]
mod tests {
    use coco_governance::Request;

    use super::*;

    #[test]
    fn a_member_signs_the_same_request_twice_in_the_same_way() {
        for (member, pem) in CERTIFICATES.into_iter().enumerate() {
            let make = || request(member, Ask::SetData { of: 0, to: 7 }, 1_700_000_000).envelope;
            let envelope = make();
            assert_eq!(envelope, make());
            let certificate = Certificate::from_pem(pem).unwrap();
            let read = Request::read(&envelope).unwrap();
            assert_eq!(read.signer(), id(member));
            assert!(read.verify(&certificate).is_ok());
        }
    }
}
