//! A service of which every entry is kept, as the replica makes them.

use coco_crypto::{Curve, DecryptionKey, SecretBytes, sha256};
use coco_governance::{
    Audit, AuditError, AuditReport, AuditedEntry, Certificates, DEFAULT_CONSTITUTION, Effect,
    FirstGovernance, FirstMember, Governance, Handled, Message, Occasion, ProposalId, Reply, Route,
    SecretFrom, Situation, encrypt_share, forget_submitted_shares, has_recovery_members,
    put_virtual_measurement, seal_secret, share, tables,
};
use coco_kv::{Domain, MapName, Store, Transaction, WriteSet, WriteSetView};
use coco_types::{Digest, Seqno, TxId, View};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, START, Sent, YES, engine, state};

/// What the ledger's own crate and the replica's call these.
pub(super) const CONFIGURATION: &str = "public:coco.internal.configuration";
pub(super) const NODE_SECRETS: &str = "public:coco.internal.node_ledger_secrets";
pub(super) const PAST_SECRETS: &str = "public:coco.internal.past_ledger_secrets";
pub(super) const SECRET_SINCE: &str = "public:coco.internal.ledger_secret_since";
const WAITING: &str = "WaitingForRecoveryShares";
pub(super) const SNAPSHOT_ASKED: &str = "public:coco.internal.snapshot_asked";

pub(super) const NEXT_CONSTITUTION: &str = "// Another one.\n";

/// A service whose entries are kept.
pub(super) struct Books {
    pub(super) c: Consortium,
    pub(super) entries: Vec<WriteSet>,
    /// Since when, and what seals the ledger.
    pub(super) secret: (Seqno, u8),
    /// From which entry on it is so many seconds later than the number of entries says.
    pub(super) later: (Seqno, u64),
}

/// The root over the ledger up to an entry, in these stories.
pub(super) fn root(upto: Seqno) -> Digest {
    sha256(&upto.0.to_le_bytes())
}

pub(super) fn put(set: &mut WriteSet, table: &'static str, key: &[u8], row: &Value) {
    // Texts are bytes as they are; everything else is JSON.
    let row = row.as_str().map_or_else(|| row.to_string(), str::to_owned);
    set.insert(&MapName::from_static(table), key, row.into_bytes());
}

pub(super) fn node(status: &str, code: u8, more: &Value) -> Value {
    let address = json!({ "published_address": "127.0.0.1:1" });
    let mut row = json!({
        "status": status, "code_digest": hex(code), "node_to_node_interface": address,
        "rpc_interfaces": { "primary_rpc_interface": address },
    });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

/// An id, or a digest.
pub(super) fn hex(of: u8) -> String {
    Digest([of; 32]).to_string()
}

pub(super) fn configuration(voters: &[u8], learners: &[u8]) -> Value {
    let ids = |ids: &[u8]| ids.iter().map(|id| hex(*id)).collect::<Vec<_>>();
    json!({ "voters": ids(voters), "outgoing": [], "learners": ids(learners) })
}

impl Books {
    /// So many members, the first two with keys for shares, and a node; the members have acknowledged, and the service is
    /// open.
    pub(super) fn new(members: usize) -> Self {
        let mut books = Self::founded(members);
        for by in 0..members {
            books.become_active(by).unwrap();
        }
        let cert = books.c.members[0].certificate.pem();
        let opened =
            books.pass("transition_service_to_open", &json!({ "next_service_identity": cert }));
        assert_eq!(opened.unwrap(), "Accepted");
        books
    }

    pub(super) fn founded(members: usize) -> Self {
        let members: Vec<Member> = (0..members).map(|_| Member::new(Curve::P256)).collect();
        let mut first = WriteSet::new();
        // A member's certificate does for the service's here.
        let service = json!({ "cert": members[0].certificate.pem(), "status": "Opening" });
        put(&mut first, tables::SERVICE_INFO, tables::singleton_key(), &service);
        put(&mut first, tables::NODES_INFO, hex(1).as_bytes(), &node("Trusted", 9, &json!({})));
        put(&mut first, CONFIGURATION, tables::singleton_key(), &configuration(&[1], &[]));
        let first_member = |(at, member): (usize, &Member)| FirstMember {
            certificate_pem: member.certificate.pem(),
            encryption_key_pem: (at < 2).then(|| DecryptionKey::generate().public().pem()),
            data: None,
        };
        let governance = FirstGovernance {
            constitution: DEFAULT_CONSTITUTION.to_owned(),
            members: members.iter().enumerate().map(first_member).collect(),
            recovery_threshold: Some(2),
            restart_from_disk: false,
            voting_policy: None,
        };
        let mut second = WriteSet::new();
        governance.put(&mut second).unwrap();
        put_virtual_measurement(&mut second, &Digest([9; 32]));
        let mut schema = tables::maps();
        schema.extend([CONFIGURATION, NODE_SECRETS, PAST_SECRETS, SECRET_SINCE].map(|name| {
            coco_kv::MapSpec::new(MapName::from_static(name), coco_kv::MapKind::Ordered)
        }));
        let asked = MapName::from_static(SNAPSHOT_ASKED);
        schema.push(coco_kv::MapSpec::new(asked, coco_kv::MapKind::LedgerOnly));
        let c = Consortium {
            members,
            store: Store::new(schema, [1, 2]),
            governance: Governance::new(engine()),
            submitted_under: None,
            certificates: Certificates::None,
            now: START,
            effects: Vec::new(),
            written: WriteSet::new(),
        };
        let mut books =
            Self { c, entries: Vec::new(), secret: (Seqno(1), 1), later: (Seqno(1), 0) };
        books.write(first);
        books.write(second);
        books
    }

    /// The nodes that get a new ledger secret.
    fn readers(&self) -> Vec<String> {
        let rows = self.c.store.reader().head();
        let nodes = rows.map(&MapName::from_static(tables::NODES_INFO)).unwrap();
        let trusted = |row: &[u8]| {
            serde_json::from_slice::<Value>(row).unwrap()["status"] == json!("Trusted")
        };
        let nodes = rows.range(nodes, &[], None, usize::MAX);
        let nodes = nodes.into_iter().filter(|(_, row)| trusted(row));
        nodes.map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
    }

    /// The entry with which the service ends its recovery, after one from disaster at `begun`.
    pub(super) fn end_of_recovery(&self, begun: Seqno) -> WriteSet {
        let mut tx = self.c.store.reader().begin();
        let (previous_from, number) = self.secret;
        let secret = |of: u8| SecretBytes::new(vec![of; 32]);
        let (next, past) = (secret(number + 1), secret(number));
        let occasion = Occasion::Opening {
            newest: SecretFrom { from: begun, secret: &next },
            previous: Some(SecretFrom { from: previous_from, secret: &past }),
        };
        share(&mut tx, &occasion, &sha256(b"end").0, &encrypt_share).unwrap();
        forget_submitted_shares(&mut tx).unwrap();
        let kept = tx.map(&MapName::from_static(PAST_SECRETS)).unwrap();
        tx.put(kept, &previous_from.0.to_be_bytes(), seal_secret(&next, &past));
        let mut row = self.c.json(tables::SERVICE_INFO, tables::singleton_key()).unwrap();
        row["status"] = json!("Open");
        let map = tx.map(&MapName::from_static(tables::SERVICE_INFO)).unwrap();
        tx.put(map, tables::singleton_key(), row.to_string().into_bytes());
        put_since(&mut tx, self.c.now);
        tx.finish().write_set().clone()
    }

    /// Writes another ledger secret.
    fn rekey(&self, tx: &mut Transaction<'_>, seed: &[u8; 32]) -> Sent<()> {
        let (from, number) = self.secret;
        let secret = |of: u8| SecretBytes::new(vec![of; 32]);
        let (next, past) = (secret(number + 1), secret(number));
        let previous = SecretFrom { from, secret: &past };
        share(tx, &Occasion::Rekey { next: &next, previous }, seed, &encrypt_share)?;
        let map = |name| MapName::from_static(name);
        let (nodes, kept) = (tx.map(&map(NODE_SECRETS)), tx.map(&map(PAST_SECRETS)));
        let secrets: serde_json::Map<_, _> =
            self.readers().into_iter().map(|node| (node, json!("AA=="))).collect();
        let row = json!({ "secrets": secrets }).to_string().into_bytes();
        tx.put(nodes.unwrap(), tables::singleton_key(), row);
        tx.put(kept.unwrap(), &from.0.to_be_bytes(), seal_secret(&next, &past));
        put_since(tx, self.c.now);
        Ok(())
    }

    /// The entry with which the service replaces a ledger secret that is too old.
    pub(super) fn replacement(&self) -> WriteSet {
        let mut tx = self.c.store.reader().begin();
        self.rekey(&mut tx, &sha256(b"too old").0).unwrap();
        tx.finish().write_set().clone()
    }

    pub(super) fn last(&self) -> Seqno {
        Seqno(self.entries.len() as u64)
    }

    /// A node introduces itself.
    pub(super) fn introduce(&mut self, id: &str) {
        let mut set = WriteSet::new();
        let row = node("Pending", 9, &json!({ "public_key": "PEM" }));
        put(&mut set, tables::NODES_INFO, id.as_bytes(), &row);
        self.write(set);
    }

    /// The service writes something by itself.
    pub(super) fn write(&mut self, set: WriteSet) {
        let next = self.last().next();
        self.c.store.apply(next, &set).unwrap();
        self.entries.push(set);
    }

    /// A member's request is carried out as the replica does it.
    pub(super) fn send(&mut self, route: Route, envelope: &[u8]) -> Sent<Reply> {
        self.c.now += 1;
        let situation = Situation {
            root: root(self.last()),
            now: self.c.now,
            ledger_secret: self.secret.0,
            submitted_under: None,
            certificates: self.c.certificates.clone(),
        };
        let begun = self.c.store.reader().begin();
        let handled = self.c.governance.handle(begun, route, envelope, &situation)?;
        let Handled { transaction: mut tx, reply, effects } = handled;
        let (from, number) = self.secret;
        let secret = |of: u8| SecretBytes::new(vec![of; 32]);
        let seed = sha256(&root(self.last()).0).0;
        for effect in effects {
            match effect {
                Effect::OpenService { previous, .. } => {
                    let mut row =
                        self.c.json(tables::SERVICE_INFO, tables::singleton_key()).unwrap();
                    let is_first = previous.is_none();
                    row["status"] = json!(if is_first { "Open" } else { WAITING });
                    let map = tx.map(&MapName::from_static(tables::SERVICE_INFO)).unwrap();
                    tx.put(map, tables::singleton_key(), row.to_string().into_bytes());
                    if !is_first {
                        continue;
                    }
                    assert!(has_recovery_members(&mut tx)?);
                    let secret = secret(number);
                    let newest = SecretFrom { from, secret: &secret };
                    share(
                        &mut tx,
                        &Occasion::Opening { newest, previous: None },
                        &seed,
                        &encrypt_share,
                    )?;
                    put_since(&mut tx, self.c.now);
                }
                Effect::RefreshRecoveryShares => {
                    share(
                        &mut tx,
                        &Occasion::Refresh { newest: &secret(number) },
                        &seed,
                        &encrypt_share,
                    )?;
                }
                Effect::RekeyLedger => {
                    self.rekey(&mut tx, &seed)?;
                    self.secret = (self.last().next().next(), number + 1);
                }
                Effect::Snapshot => {
                    let map = tx.map(&MapName::from_static(SNAPSHOT_ASKED)).unwrap();
                    tx.put(map, tables::singleton_key(), Vec::new());
                }
                Effect::ChunkLedger => {}
                Effect::Recovered(_) => panic!("nobody sends shares in"),
            }
        }
        let next = self.last().next();
        self.entries.push(self.c.store.commit(next, tx.finish()).unwrap());
        Ok(reply)
    }

    pub(super) fn proposal(&mut self, route: Route, envelope: &[u8]) -> Sent<(ProposalId, String)> {
        let Reply::Proposal(view) = self.send(route, envelope)? else { panic!("{route:?}") };
        Ok((view.proposal_id.parse().unwrap(), state(&view)))
    }

    pub(super) fn propose(
        &mut self,
        by: usize,
        name: &str,
        args: &Value,
    ) -> Sent<(ProposalId, String)> {
        let envelope = self.proposing(by, name, args);
        self.proposal(Route::CreateProposal, &envelope)
    }

    pub(super) fn proposing(&self, by: usize, name: &str, args: &Value) -> Vec<u8> {
        let content = json!({ "actions": [{ "name": name, "args": args }] }).to_string();
        self.c.members[by].sign(Message::Proposal, self.c.now, content.as_bytes())
    }

    pub(super) fn vote(&mut self, by: usize, on: ProposalId, ballot: &str) -> Sent<String> {
        let member = self.c.members[by].id();
        let envelope = self.ballot(by, on, ballot);
        let route = Route::SubmitBallot { proposal: on, member };
        self.proposal(route, &envelope).map(|(_, state)| state)
    }

    pub(super) fn ballot(&self, by: usize, on: ProposalId, ballot: &str) -> Vec<u8> {
        let content = json!({ "ballot": ballot }).to_string();
        self.c.members[by].sign(Message::Ballot(on), self.c.now, content.as_bytes())
    }

    pub(super) fn pass(&mut self, name: &str, args: &Value) -> Sent<String> {
        let (id, mut state) = self.propose(0, name, args)?;
        for by in 0..self.c.members.len() {
            if state == "Open" {
                state = self.vote(by, id, YES)?;
            }
        }
        Ok(state)
    }

    pub(super) fn become_active(&mut self, by: usize) -> Sent<()> {
        let id = self.c.members[by].id();
        let envelope = self.c.members[by].sign(Message::StateDigest, self.c.now, b"");
        let Reply::StateDigest { state_digest, .. } =
            self.send(Route::UpdateStateDigest(id), &envelope)?
        else {
            panic!("another reply")
        };
        let content = json!({ "stateDigest": state_digest }).to_string();
        let envelope = self.c.members[by].sign(Message::Ack, self.c.now, content.as_bytes());
        self.send(Route::Acknowledge(id), &envelope).map(drop)
    }

    /// Somebody is admitted, and has not acknowledged yet.
    pub(super) fn admit(&mut self, key: Option<&str>) -> usize {
        let member = Member::new(Curve::P384);
        let args = json!({ "cert": member.certificate.pem(), "encryption_pub_key": key });
        assert_eq!(self.pass("set_member", &args).unwrap(), "Accepted");
        self.c.members.push(member);
        self.c.members.len() - 1
    }

    pub(super) fn audit(&self) -> Result<AuditReport, AuditError> {
        self.go_on(Audit::new(engine()), Seqno::ZERO)
    }

    /// Goes through the entries after one.
    pub(super) fn go_on(&self, audit: Audit, after: Seqno) -> Result<AuditReport, AuditError> {
        let (from, later) = self.later;
        let time = |seqno: Seqno| START + seqno.0 + if seqno >= from { later } else { 0 };
        go_on(audit, after, &self.entries, &root, &time)
    }

    /// Time goes by before the next entry.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.c.now += seconds;
        self.later = (self.last().next(), seconds);
    }
}

fn put_since(tx: &mut Transaction<'_>, now: u64) {
    let map = tx.map(&MapName::from_static(SECRET_SINCE)).unwrap();
    tx.put(map, tables::singleton_key(), now.to_string().into_bytes());
}

/// Goes through entries, the first two of which found the service.
pub(super) fn audit(
    entries: &[WriteSet],
    root: &dyn Fn(Seqno) -> Digest,
) -> Result<AuditReport, AuditError> {
    go_on(Audit::new(engine()), Seqno::ZERO, entries, root, &|seqno| START + seqno.0)
}

fn go_on(
    mut audit: Audit,
    after: Seqno,
    entries: &[WriteSet],
    root: &dyn Fn(Seqno) -> Digest,
    time: &dyn Fn(Seqno) -> u64,
) -> Result<AuditReport, AuditError> {
    for (entry, seqno) in entries.iter().zip(1..).filter(|(_, seqno)| *seqno > after.0) {
        let view = if seqno <= 2 { View::GENESIS } else { View(3) };
        let bytes = entry.encode(Domain::Public);
        audit.entry(&AuditedEntry {
            tx_id: TxId { view, seqno: Seqno(seqno) },
            writes: &WriteSetView::parse(&bytes, &[]).unwrap(),
            signed_at_s: time(Seqno(seqno)),
            root: &|upto| Some(root(upto)),
        })?;
    }
    audit.report()
}
