//! Between our messages and those of the `raft` crate.
//!
//! Every kind that the `raft` crate knows is named here. Those that we do not use cannot be written on the wire.

use ::raft::{
    CAMPAIGN_TRANSFER,
    eraftpb::{
        ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry,
        Message as RaftMessage, MessageType,
    },
};
use bytes::Bytes;
use coco_types::{NodeId, Seqno, TxId, View};

use super::codec::{Body, Message, VoteAnswer, VoteRequest, WireEntry};
use crate::{Configuration, configuration::raft_id};

/// What the `raft` crate wants to send, with the data of its entries.
pub(super) fn outgoing(message: &RaftMessage, data: impl Fn(u64) -> Bytes) -> Message {
    let commit = Seqno(message.commit);
    let end = TxId::new(message.log_term, message.index);
    let committed =
        TxId::new(message.commit_term, if message.commit_term == 0 { 0 } else { message.commit });
    let request = || {
        let by_transfer = message.context == CAMPAIGN_TRANSFER;
        VoteRequest { last: end, commit: committed, by_transfer }
    };
    let answer = || VoteAnswer { granted: !message.reject, commit: committed };
    let body = match message.get_msg_type() {
        MessageType::MsgAppend => {
            let entry =
                |entry: &Entry| WireEntry { view: View(entry.term), data: data(entry.index) };
            Body::Append {
                previous: end,
                commit,
                entries: message.entries.iter().map(entry).collect(),
            }
        }
        MessageType::MsgAppendResponse if message.reject => {
            let hint = TxId::new(message.log_term, message.reject_hint);
            Body::Refused { previous: Seqno(message.index), hint, commit }
        }
        MessageType::MsgAppendResponse => Body::Appended { last: Seqno(message.index), commit },
        MessageType::MsgRequestVote => Body::Vote(request()),
        MessageType::MsgRequestPreVote => Body::PreVote(request()),
        MessageType::MsgRequestVoteResponse => Body::Voted(answer()),
        MessageType::MsgRequestPreVoteResponse => Body::PreVoted(answer()),
        MessageType::MsgHeartbeat => Body::Heartbeat { commit },
        MessageType::MsgHeartbeatResponse => Body::HeartbeatSeen { commit },
        MessageType::MsgTimeoutNow => Body::TakeOver,
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgSnapshot
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp => {
            unreachable!("this engine causes no {:?}", message.get_msg_type())
        }
    };
    Message { view: View(message.term), body }
}

/// What the `raft` crate shall see of a message, and the data that its entries left behind.
pub(super) fn incoming(from: u64, to: u64, message: Message) -> (RaftMessage, Vec<Bytes>) {
    let mut out = RaftMessage { from, to, term: message.view.0, ..RaftMessage::default() };
    let mut data = Vec::new();
    match message.body {
        Body::Append { previous, commit, entries } => {
            out.set_msg_type(MessageType::MsgAppend);
            (out.log_term, out.index, out.commit) = (previous.view.0, previous.seqno.0, commit.0);
            for (entry, index) in entries.into_iter().zip(previous.seqno.0 + 1..) {
                out.entries.push(Entry { term: entry.view.0, index, ..Entry::default() });
                data.push(entry.data);
            }
        }
        Body::Appended { last, commit } => {
            out.set_msg_type(MessageType::MsgAppendResponse);
            (out.index, out.commit) = (last.0, commit.0);
        }
        Body::Refused { previous, hint, commit } => {
            out.set_msg_type(MessageType::MsgAppendResponse);
            out.reject = true;
            (out.index, out.commit) = (previous.0, commit.0);
            (out.log_term, out.reject_hint) = (hint.view.0, hint.seqno.0);
        }
        Body::Vote(request) => ask(&mut out, MessageType::MsgRequestVote, request),
        Body::PreVote(request) => ask(&mut out, MessageType::MsgRequestPreVote, request),
        Body::Voted(answer) => reply(&mut out, MessageType::MsgRequestVoteResponse, answer),
        Body::PreVoted(answer) => reply(&mut out, MessageType::MsgRequestPreVoteResponse, answer),
        Body::Heartbeat { commit } => {
            out.set_msg_type(MessageType::MsgHeartbeat);
            out.commit = commit.0;
        }
        Body::HeartbeatSeen { commit } => {
            out.set_msg_type(MessageType::MsgHeartbeatResponse);
            out.commit = commit.0;
        }
        Body::TakeOver => out.set_msg_type(MessageType::MsgTimeoutNow),
    }
    (out, data)
}

/// What the `raft` crate has to be told, one after the other.
pub(super) fn conf_changes(now: &Configuration, next: &Configuration) -> Vec<ConfChangeV2> {
    let single = |node: NodeId, kind: ConfChangeType| {
        let mut change = ConfChangeSingle { node_id: raft_id(node), ..ConfChangeSingle::default() };
        change.set_change_type(kind);
        change
    };
    if now.is_joint() {
        // No change at all is its word for leaving a joint configuration.
        return vec![ConfChangeV2::default()];
    }
    let gone = |node: &NodeId| !next.voters.contains(node) && !next.learners.contains(node);
    let removed = now.nodes().filter(gone).map(|node| single(node, ConfChangeType::RemoveNode));
    let learners = next.learners.iter().filter(|node| !now.learners.contains(node));
    let learners = learners.map(|node| single(*node, ConfChangeType::AddLearnerNode));
    let voters = next.voters.iter().filter(|node| !now.voters.contains(node));
    let voters = voters.map(|node| single(*node, ConfChangeType::AddNode));
    let changes: Vec<ConfChangeSingle> = voters.chain(learners).chain(removed).collect();
    if next.is_joint() {
        let mut change = ConfChangeV2 { changes, ..ConfChangeV2::default() };
        change.set_transition(ConfChangeTransition::Explicit);
        return vec![change];
    }
    let alone = |change| ConfChangeV2 { changes: vec![change], ..ConfChangeV2::default() };
    changes.into_iter().map(alone).collect()
}

fn ask(out: &mut RaftMessage, kind: MessageType, request: VoteRequest) {
    out.set_msg_type(kind);
    (out.log_term, out.index) = (request.last.view.0, request.last.seqno.0);
    (out.commit_term, out.commit) = (request.commit.view.0, request.commit.seqno.0);
    if request.by_transfer {
        out.context = CAMPAIGN_TRANSFER.into();
    }
}

fn reply(out: &mut RaftMessage, kind: MessageType, answer: VoteAnswer) {
    out.set_msg_type(kind);
    out.reject = !answer.granted;
    (out.commit_term, out.commit) = (answer.commit.view.0, answer.commit.seqno.0);
}
