//! How a node that has no vote asks for its seat: what is said over the channel between nodes, and the asking itself.
//!
//! The channel proves the key of the node that asks, and that the service endorsed it. A signature under the seat's key
//! over the node's id proves the seat. Whoever is asked passes the question to its replica and answers on the same
//! connection, with the nodes of the network, since the newcomer's ledger may be old.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use coco_attest::{DecodeEvidenceError, Endorsements, Evidence, ReportData};
use coco_crypto::{Certificate, NODE_REQUEST_PEM_BYTES_MAX, NodeRequest, PublicKey, SigningKey};
use coco_kv::Reader;
use coco_ledger::GenesisNode;
use coco_replica::{JoinRefusal, JoinReply, JoinRequest, Leads, SharedLedgerState, ShownEvidence};
use coco_types::{
    Digest, NodeId, Seqno, TxId,
    codec::{self, DecodeError, put_bytes, put_u64},
    limits::NODES_MAX,
};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::{
    config::{NodeAddress, Restart},
    directory::Directory,
    driver::Inbox,
    peers::Peers,
    platform::Platform,
    seat::service_configuration,
};

/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// A node that listens asks so much less often: it may have been let go, or its admission rolled back.
const ADMITTED_ASKS: u32 = 5;
/// A node with a vote that has heard of no primary that it can answer for so many questions asks whether it still has its
/// seat.
const SILENT_ASKS: u32 = 10;
/// How often a node shows the primary what it runs, where members give leases. A primary that sees a lease as over waits for several
/// times this, since its clock may have jumped.
const SHOW_EVERY: Duration = Duration::from_secs(3);
/// Longest address on the wire, in bytes.
const ADDRESS_BYTES_MAX: usize = 300;
/// Longest encryption key in PEM, in bytes: one of 4096 bits has 800.
pub(crate) const KEY_BYTES_MAX: usize = 1024;
/// What the seat's signature begins with, so that it can mean nothing else.
const CONTEXT: &[u8] = b"coco: this node takes my seat\0";

/// What a node says of itself when it asks for a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The seat's key, in DER.
    pub seat_key: Vec<u8>,
    /// Its signature over the node's id.
    pub proof: Vec<u8>,
    /// Where clients reach it.
    pub rpc_address: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// What later ledger secrets are encrypted to for it, in PEM.
    pub encryption_key_pem: String,
    /// The last entry of the disk from which it goes on as the node that it was.
    pub resumed: Option<TxId>,
    /// Its signed request for certificates, in PEM; programs of before sent none.
    pub request_pem: Option<String>,
}

/// What it is told.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What becomes of its question.
    pub reply: JoinReply,
    /// The nodes of the network.
    pub nodes: Vec<(NodeId, NodeAddress)>,
}

impl Question {
    /// The question of the node that makes this request, for the seat of `seat_key`.
    #[must_use]
    pub fn new(
        request: &NodeRequest,
        seat_key: &SigningKey,
        place: &NodeAddress,
        encryption_key_pem: String,
    ) -> Self {
        Self {
            seat_key: seat_key.public().spki_der().to_vec(),
            proof: seat_key.sign_der(&signed(request.key().node_id())),
            rpc_address: place.client.clone(),
            peer_address: place.peer.clone(),
            encryption_key_pem,
            resumed: None,
            request_pem: Some(request.pem()),
        }
    }

    /// The bytes of the question, with what the node shows.
    #[must_use]
    pub fn encode(&self, shown: &ShownEvidence) -> Bytes {
        let mut out = Vec::new();
        for part in [
            self.seat_key.as_slice(),
            &self.proof,
            &shown.evidence.encode(),
            &shown.endorsements.encode(),
            self.rpc_address.as_bytes(),
            self.peer_address.as_bytes(),
            self.encryption_key_pem.as_bytes(),
        ] {
            put_bytes(&mut out, part);
        }
        let TxId { view, seqno } = self.resumed.unwrap_or_default();
        put_u64(&mut out, view.0);
        put_u64(&mut out, seqno.0);
        if let Some(request) = &self.request_pem {
            put_bytes(&mut out, request.as_bytes());
        }
        out.into()
    }

    /// Reads what [`Question::encode`] wrote, of a channel with this transcript.
    ///
    /// # Errors
    /// [`DecodeEvidenceError`] when the bytes are none.
    pub fn decode(
        bytes: &[u8],
        transcript: Digest,
    ) -> Result<(Self, ShownEvidence), DecodeEvidenceError> {
        let mut reader = codec::Reader::new(bytes);
        let seat_key = reader.bytes("seat's key")?.to_vec();
        let proof = reader.bytes("proof of the seat")?.to_vec();
        let evidence = Evidence::decode(reader.bytes("evidence")?)?;
        let endorsements = Endorsements::decode(reader.bytes("endorsements")?)?;
        let rpc_address = address(&mut reader)?;
        let peer_address = address(&mut reader)?;
        let encryption_key_pem = text(&mut reader, "encryption key", KEY_BYTES_MAX)?;
        let resumed = TxId::new(reader.u64("view")?, reader.u64("seqno")?);
        let request_pem = if reader.rest().is_empty() {
            None
        } else {
            Some(text(&mut reader, "request for certificates", NODE_REQUEST_PEM_BYTES_MAX)?)
        };
        reader.end()?;
        let resumed = Some(resumed).filter(|id| *id != TxId::default());
        let question = Self {
            seat_key,
            proof,
            rpc_address,
            peer_address,
            encryption_key_pem,
            resumed,
            request_pem,
        };
        Ok((question, ShownEvidence { evidence, endorsements, transcript }))
    }

    /// The request for the replica, when the proof holds, and the request for certificates is for the key and names of
    /// `certificate`, which the channel has verified.
    #[must_use]
    pub fn verified(self, certificate: &Certificate, shown: ShownEvidence) -> Option<JoinRequest> {
        let seat_key = PublicKey::from_spki_der(&self.seat_key).ok()?;
        let node_id = certificate.key().node_id();
        seat_key.verify_der(&signed(node_id), &self.proof).ok()?;
        if let Some(pem) = &self.request_pem {
            let request = NodeRequest::from_pem(pem).ok()?;
            let is_alike = request.key() == certificate.key()
                && certificate.node_names().is_ok_and(|names| request.has_names(&names));
            is_alike.then_some(())?;
        }
        let node = GenesisNode {
            node_id,
            certificate_pem: certificate.pem(),
            request_pem: self.request_pem,
            quote_format: shown.evidence.platform.quote_format().to_owned(),
            code_digest: Digest::ZERO,
            rpc_address: self.rpc_address,
            peer_address: self.peer_address,
            encryption_key_pem: self.encryption_key_pem,
        };
        Some(JoinRequest { node, shown, seat: seat_key.node_id(), resumed: self.resumed })
    }
}

impl Answer {
    /// The bytes of the answer.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        let (kind, node) = match self.reply {
            JoinReply::Admitted => (0, None),
            JoinReply::Later(JoinRefusal::Changing) => (1, None),
            JoinReply::Later(JoinRefusal::Occupied(node)) => (2, Some(node)),
            JoinReply::NotPrimary(None) => (3, None),
            JoinReply::NotPrimary(Some(Leads { node, committed: Seqno::ZERO })) => (4, Some(node)),
            JoinReply::NotPrimary(Some(leads)) => (9, Some(leads.node)),
            JoinReply::NoSuchSeat => (5, None),
            JoinReply::OtherCode => (6, None),
            JoinReply::Retired => (7, None),
            JoinReply::Quarantined => (8, None),
        };
        out.push(kind);
        out.extend_from_slice(&node.unwrap_or_default().0);
        put_u64(&mut out, self.nodes.len() as u64);
        for (id, node) in &self.nodes {
            out.extend_from_slice(&id.0);
            put_bytes(&mut out, node.peer.as_bytes());
            put_bytes(&mut out, node.client.as_bytes());
        }
        if let JoinReply::NotPrimary(Some(Leads { committed, .. })) = self.reply
            && committed > Seqno::ZERO
        {
            put_u64(&mut out, committed.0);
        }
        out.into()
    }

    /// Reads what [`Answer::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = codec::Reader::new(bytes);
        let kind = reader.u8("answer to a join")?;
        let node = NodeId(reader.array("node")?);
        let reply = match kind {
            0 => JoinReply::Admitted,
            1 => JoinReply::Later(JoinRefusal::Changing),
            2 => JoinReply::Later(JoinRefusal::Occupied(node)),
            3 => JoinReply::NotPrimary(None),
            // Programs of before did not say how much is committed, and do not read 9.
            4 | 9 => JoinReply::NotPrimary(Some(Leads { node, committed: Seqno::ZERO })),
            5 => JoinReply::NoSuchSeat,
            6 => JoinReply::OtherCode,
            7 => JoinReply::Retired,
            8 => JoinReply::Quarantined,
            found => {
                let found = u64::from(found);
                return Err(DecodeError::Value { field: "answer to a join", found });
            }
        };
        let names_one = matches!(
            reply,
            JoinReply::Later(JoinRefusal::Occupied(_)) | JoinReply::NotPrimary(Some(_))
        );
        if !names_one && node != NodeId::default() {
            return Err(DecodeError::Value { field: "node", found: u64::from(kind) });
        }
        let count = reader.count(NODE_BYTES_MIN, "nodes")?;
        if count > NODES_TOLD_MAX {
            let (found, limit) = (count as u64, NODES_TOLD_MAX as u64);
            return Err(DecodeError::Over { field: "nodes", found, limit });
        }
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            let id = NodeId(reader.array("node")?);
            let (peer, client) = (address(&mut reader)?, address(&mut reader)?);
            nodes.push((id, NodeAddress { id: id.to_string(), peer, client }));
        }
        let reply = if kind == 9 {
            let committed = Seqno(reader.u64("committed")?);
            if committed == Seqno::ZERO {
                return Err(DecodeError::Value { field: "committed", found: 0 });
            }
            JoinReply::NotPrimary(Some(Leads { node, committed }))
        } else {
            reply
        };
        reader.end()?;
        Ok(Self { reply, nodes })
    }
}

fn signed(node: NodeId) -> Vec<u8> {
    [CONTEXT, &node.0].concat()
}

fn address(reader: &mut codec::Reader<'_>) -> Result<String, DecodeError> {
    text(reader, "address", ADDRESS_BYTES_MAX)
}

fn text(
    reader: &mut codec::Reader<'_>,
    field: &'static str,
    bytes_max: usize,
) -> Result<String, DecodeError> {
    let bytes = reader.bytes(field)?;
    let over = DecodeError::Over { field, found: bytes.len() as u64, limit: bytes_max as u64 };
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Value { field, found: 0 })?;
    if bytes.len() > bytes_max { Err(over) } else { Ok(text.to_owned()) }
}

/// Voters, those that leave, and learners.
const NODES_TOLD_MAX: usize = 3 * NODES_MAX;
/// An id and two lengths.
const NODE_BYTES_MIN: usize = 32 + 2;

/// A node that may have to ask, or has something to say of itself.
#[derive(Debug)]
pub(crate) struct Seeker {
    pub(crate) question: Question,
    /// What shows what this node runs.
    pub(crate) platform: Platform,
    /// This node's certificate.
    pub(crate) certificate: Certificate,
    pub(crate) directory: Directory,
    /// Where the seats of the network are, this node's not among them.
    pub(crate) others: Vec<String>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) inbox: Inbox,
    pub(crate) state: SharedLedgerState,
    pub(crate) reader: Reader,
    /// Whether this node votes, in a configuration that is in effect.
    pub(crate) votes: Arc<AtomicBool>,
}

impl Seeker {
    /// Does what this node has to, under its configuration.
    pub(crate) async fn look_after(self, restart: Restart) {
        // Whoever asks for its seat does not say again how it came here.
        let question = Question { resumed: None, ..self.question.clone() };
        if restart == Restart::FromDisk && self.votes.load(Ordering::Relaxed) {
            tokio::join!(self.announce(), self.run(question.clone()), self.show(question));
        } else {
            tokio::join!(self.run(question.clone()), self.show(question));
        }
    }

    /// Shows the primary again and again what this node runs, where members give leases.
    async fn show(&self, question: Question) {
        loop {
            sleep(SHOW_EVERY).await;
            let lease = service_configuration(&self.reader).and_then(|row| row.lease_s());
            if lease.is_none() {
                continue;
            }
            if let Some(Err(error)) = self.say(&question).await {
                debug!(%error, "cannot show the primary what this node runs");
            }
        }
    }

    /// Says something to the primary; nothing when none is known.
    async fn say(&self, question: &Question) -> Option<io::Result<JoinReply>> {
        let primary = self.state.read().primary()?;
        if primary == self.certificate.key().node_id() {
            return Some(self.say_here(question).await);
        }
        let address = self.directory.get(primary)?;
        let asked = self.peers.ask(&address.peer, question, &self.platform).await;
        Some(asked.map(|(_, answer)| answer.reply))
    }

    /// Says something to this node, on no channel.
    async fn say_here(&self, question: &Question) -> io::Result<JoinReply> {
        let data = ReportData::on_no_channel(self.certificate.key().node_id());
        let shown = self.platform.show_aside(data).await?;
        let request = question.clone().verified(&self.certificate, shown);
        let request = request.ok_or_else(|| io::Error::other("this node's seat is not proved"))?;
        self.inbox.join(request).await
    }

    /// Says to the primary that this node went on from its own disk, until it was heard once.
    async fn announce(&self) {
        if self.question.resumed.is_none() {
            return;
        }
        loop {
            sleep(ASK_EVERY).await;
            let Some(reply) = self.say(&self.question).await else { continue };
            match reply {
                Ok(JoinReply::Later(_) | JoinReply::NotPrimary(_)) => {}
                Ok(reply) => {
                    info!(?reply, "the network knows that this node went on from its own disk");
                    return;
                }
                Err(error) => debug!(%error, "cannot say that this node went on from its own disk"),
            }
        }
    }

    /// Asks as long as this node has no vote, or hears of no primary: members may have removed it, and nobody sends anything
    /// to a node that has left. A primary that it cannot answer is none for it: it came to the network after this node's
    /// ledger ends, and whoever is asked says where it is. Ends with the node.
    async fn run(&self, question: Question) {
        let mut silent: u32 = 0;
        let mut listens: u32 = 0;
        let mut next: usize = 0;
        let mut hint = None;
        let mut farewells = BTreeSet::new();
        loop {
            sleep(ASK_EVERY).await;
            let votes = self.votes.load(Ordering::Relaxed);
            let primary = self.state.read().primary();
            let hears = primary.is_some_and(|primary| self.peers.reaches(primary));
            silent = if hears { 0 } else { silent.saturating_add(1) };
            listens = listens.saturating_sub(1);
            if (votes && silent < SILENT_ASKS) || (hears && listens > 0) {
                continue;
            }
            next = next.wrapping_add(1);
            let Some(address) = hint.take().or_else(|| self.whom_to_ask(next)) else { continue };
            let (by, answer) = match self.peers.ask(&address, &question, &self.platform).await {
                Ok(answered) => answered,
                Err(error) => {
                    debug!(address, %error, "cannot ask for this node's seat");
                    continue;
                }
            };
            if matches!(answer.reply, JoinReply::Retired | JoinReply::Quarantined) {
                if farewells.len() < NODES_TOLD_MAX {
                    farewells.insert(by);
                }
                let known = answer.nodes.iter().filter(|(id, _)| farewells.contains(id)).count();
                // Those that do not know it yet may need this node's vote to learn it.
                if known.saturating_mul(2) <= answer.nodes.len() {
                    continue;
                }
            }
            if votes && answer.reply == JoinReply::NoSuchSeat {
                // That one was primary before this node was trusted, and is none any more.
                continue;
            }
            if answer.reply == JoinReply::Admitted {
                listens = ADMITTED_ASKS;
            }
            hint = self.take(by, &address, &answer);
        }
    }

    /// Where the seats are, and where the ledger of this node says that nodes are, one after the other.
    fn whom_to_ask(&self, turn: usize) -> Option<String> {
        let mut all = self.others.clone();
        for (_, node) in self.directory.all() {
            if node.peer != self.question.peer_address && !all.contains(&node.peer) {
                all.push(node.peer);
            }
        }
        all.get(turn.checked_rem(all.len())?).cloned()
    }

    /// Takes an answer; where to ask next.
    fn take(&self, by: NodeId, address: &str, answer: &Answer) -> Option<String> {
        match answer.reply {
            JoinReply::Admitted => {
                self.peers.add(&answer.nodes);
                None
            }
            JoinReply::NotPrimary(leads) => {
                let leads = leads?;
                self.inbox.told(by, leads);
                let (_, node) = answer.nodes.iter().find(|(id, _)| *id == leads.node)?;
                Some(node.peer.clone())
            }
            JoinReply::Later(reason) => {
                info!(address, ?reason, "this node's seat is not given now");
                None
            }
            JoinReply::NoSuchSeat
            | JoinReply::OtherCode
            | JoinReply::Retired
            | JoinReply::Quarantined => {
                warn!(address, reply = ?answer.reply, "this node has no place in the network");
                self.inbox.refused(answer.reply);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use coco_crypto::{AltName, Curve, EndorseNode, Validity, endorse_node, service_certificate};

    use super::*;

    fn place() -> NodeAddress {
        NodeAddress { id: String::new(), peer: "127.0.0.1:2".into(), client: "127.0.0.1:1".into() }
    }

    #[test]
    fn only_the_seats_key_proves_the_seat_and_only_for_one_node() {
        let validity = Validity { not_before: 0, not_after: 1 << 32 };
        let service = SigningKey::generate(Curve::P384);
        let service_cert = service_certificate(&service, validity).expect("it can be made");
        let asks = |key: &SigningKey| NodeRequest::new(key, &[]).expect("it can be made");
        let certificate = |key: &SigningKey| {
            let request = asks(key);
            let endorse = EndorseNode { key: key.public(), names: request.names(), validity };
            endorse_node(&service, &service_cert, &endorse).expect("it can be made")
        };
        let [seat, node, other] = [(); 3].map(|()| SigningKey::generate(Curve::P384));
        let encryption_key = "KEY".to_owned();
        let question_of =
            |request: &NodeRequest| Question::new(request, &seat, &place(), encryption_key.clone());
        let data = ReportData { transcript: Digest([4; 32]), node: node.public().node_id() };
        let shown = ShownEvidence::insecure(&Digest([3; 32]), &data);
        let verified = |question: Question, key: &SigningKey| {
            question.verified(&certificate(key), shown.clone())
        };
        let question = question_of(&asks(&node));
        let back = Question::decode(&question.encode(&shown), data.transcript);
        assert_eq!(back, Ok((question.clone(), shown.clone())));
        let request = verified(question.clone(), &node).expect("it is proved");
        assert_eq!(request.shown, shown);
        assert_eq!(request.seat, seat.public().node_id());
        assert_eq!(request.node.node_id, node.public().node_id());
        assert_eq!(request.node.peer_address, "127.0.0.1:2");
        assert_eq!(request.node.encryption_key_pem, "KEY");
        assert_eq!(request.node.request_pem, question.request_pem);
        // As programs of before asked.
        let bare = Question { request_pem: None, ..question.clone() };
        let (bare, _) = Question::decode(&bare.encode(&shown), data.transcript)
            .expect("it reads what they wrote");
        assert!(verified(bare, &node).is_some_and(|one| one.node.request_pem.is_none()));
        let named = NodeRequest::new(&node, &[AltName::Dns("other.example".to_owned())]);
        let named = question_of(&named.expect("it can be made"));
        assert!(verified(named, &node).is_none(), "for names that it has not");
        for pem in [asks(&other).pem(), "PEM".to_owned()] {
            let forged = Question { request_pem: Some(pem), ..question.clone() };
            assert!(verified(forged, &node).is_none(), "with another's request");
        }
        let long = "A".repeat(NODE_REQUEST_PEM_BYTES_MAX + 1);
        let long = Question { request_pem: Some(long), ..question.clone() };
        assert!(Question::decode(&long.encode(&shown), data.transcript).is_err(), "too long");
        assert!(verified(question.clone(), &other).is_none(), "for another node");
        let stolen = Question { seat_key: other.public().spki_der().to_vec(), ..question };
        assert!(verified(stolen, &node).is_none(), "for another seat");
    }

    #[test]
    fn every_answer_comes_back_and_no_cut_one_does() {
        let node = NodeId([7; 32]);
        for reply in [
            JoinReply::Admitted,
            JoinReply::Later(JoinRefusal::Changing),
            JoinReply::Later(JoinRefusal::Occupied(node)),
            JoinReply::NotPrimary(None),
            JoinReply::NotPrimary(Some(Leads { node, committed: Seqno::ZERO })),
            JoinReply::NotPrimary(Some(Leads { node, committed: Seqno(7) })),
            JoinReply::NoSuchSeat,
            JoinReply::OtherCode,
            JoinReply::Retired,
            JoinReply::Quarantined,
        ] {
            let answer = Answer { reply, nodes: vec![(node, place())] };
            let bytes = answer.encode();
            let back = Answer::decode(&bytes).expect("it reads what it wrote");
            assert_eq!((back.reply, back.encode()), (reply, bytes.clone()));
            for end in 0..bytes.len() {
                assert!(Answer::decode(&bytes[..end]).is_err(), "cut at {end}");
            }
        }
        assert!(Answer::decode(&[9; 64]).is_err());
        let many =
            Answer { reply: JoinReply::Admitted, nodes: vec![(node, place()); NODES_TOLD_MAX + 1] };
        assert!(Answer::decode(&many.encode()).is_err());
    }
}
