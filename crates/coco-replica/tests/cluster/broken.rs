//! Bytes that no correct node sends: a clear error or nothing, never a panic, and never in the ledger.

use bytes::Bytes;
use coco_ledger::{EntryFlags, EntryView, MerkleTree, seal, signature_write_set};
use coco_replica::{Input, LoadError, StepError};
use coco_types::{Digest, Seqno, TxId};

use crate::{
    genesis::{START_S, secret},
    network::{Cluster, Plan, index},
};

/// A transfer and its signature are on their way to the backups. Returns their places in the ledger.
fn on_its_way() -> (Cluster, TxId, TxId) {
    let mut cluster = Cluster::led(Plan::default());
    let transfer = cluster.execute(0);
    let signature = cluster.last(0);
    assert_ne!(transfer, signature);
    (cluster, transfer, signature)
}

fn entry(cluster: &Cluster, id: TxId) -> Bytes {
    cluster.nodes[0].ledger[index(id.seqno) - 1].clone()
}

/// Puts other bytes in the place of an entry on its way from the first node to the second, and delivers.
fn receive_instead(cluster: &mut Cluster, id: TxId, forged: &[u8]) {
    let original = entry(cluster, id);
    assert_eq!(original.len(), forged.len(), "the frame of the message stays");
    let mut is_replaced = false;
    for message in cluster.links.get_mut(&(0, 1)).expect("messages are on their way") {
        if let Some(at) = message.windows(original.len()).position(|part| part == original) {
            let mut bytes = message.to_vec();
            bytes[at..at + forged.len()].copy_from_slice(forged);
            *message = bytes.into();
            is_replaced = true;
        }
    }
    assert!(is_replaced, "entry {id} is on its way");
    cluster.watch.has_forgery = true;
    while cluster.deliver(0, 1) {}
}

fn load_error(cluster: &Cluster) -> &LoadError {
    match &cluster.nodes[1].broken {
        Some(StepError::Load(error)) => error,
        other => panic!("instead of a refused entry: {other:?}"),
    }
}

/// The smallest and the largest bit of a byte.
const BITS: [u8; 2] = [1, 0x80];

/// The backup stops on the flip of one bit: at once, or at the latest when the next root is signed.
fn check_flip(id: TxId, at: usize, bit: u8) {
    let (mut cluster, ..) = on_its_way();
    let mut forged = entry(&cluster, id).to_vec();
    forged[at] ^= bit;
    receive_instead(&mut cluster, id, &forged);
    if cluster.nodes[1].broken.is_none() {
        cluster.settle();
        cluster.execute(0);
        cluster.settle();
    }
    assert!(cluster.nodes[1].broken.is_some(), "bit {bit} of byte {at} of {id}");
    load_error(&cluster);
}

#[test]
fn any_flipped_byte_of_an_entry_is_noticed() {
    let (cluster, transfer, signature) = on_its_way();
    for id in [transfer, signature] {
        for at in 0..entry(&cluster, id).len() {
            BITS.iter().for_each(|bit| check_flip(id, at, *bit));
        }
    }
}

#[test]
fn a_signature_over_another_tree_is_refused() {
    let (mut cluster, _, id) = on_its_way();
    let state = cluster.replica(0).state();
    let mut other = MerkleTree::new();
    for leaf in 1..id.seqno.0 {
        let leaf = state.read().tree().leaf(leaf).expect("it is in the tree");
        other.append(if other.len() == 3 { Digest([9; 32]) } else { leaf });
    }
    let previous = state.read().last_signature(id.seqno.previous()).expect("genesis is signed");
    let signer = cluster.keys.signer(0);
    let writes = signature_write_set(signer.as_ref(), &other, id, previous, START_S);
    let forged =
        seal(&secret(), id, EntryFlags::NONE, &Digest::ZERO, &writes).expect("it is small");
    receive_instead(&mut cluster, id, &forged.bytes);
    assert!(matches!(load_error(&cluster), LoadError::Root { id: found, .. } if *found == id));
}

#[test]
fn an_entry_of_another_position_is_refused() {
    let (mut cluster, id, _) = on_its_way();
    let secret = secret();
    let bytes = entry(&cluster, id);
    let view = EntryView::parse(&bytes).expect("an entry");
    let open = view.open(&secret).expect("it is sealed under our secret");
    let writes = open.writes().expect("it holds writes").to_write_set();
    let elsewhere = TxId { seqno: Seqno(id.seqno.0 + 1), ..id };
    let forged =
        seal(&secret, elsewhere, EntryFlags::NONE, view.claims(), &writes).expect("it is small");
    receive_instead(&mut cluster, id, &forged.bytes);
    assert!(
        matches!(load_error(&cluster), LoadError::Position { found, .. } if *found == elsewhere)
    );
}

#[test]
fn an_entry_under_another_secret_is_refused() {
    let (mut cluster, id, _) = on_its_way();
    let bytes = entry(&cluster, id);
    let view = EntryView::parse(&bytes).expect("an entry");
    let open = view.open(&secret()).expect("it is sealed under our secret");
    let writes = open.writes().expect("it holds writes").to_write_set();
    let other = coco_ledger::LedgerSecret::new(&[1; 32]);
    let forged = seal(&other, id, EntryFlags::NONE, view.claims(), &writes).expect("it is small");
    receive_instead(&mut cluster, id, &forged.bytes);
    assert!(matches!(load_error(&cluster), LoadError::Open { id: found, .. } if *found == id));
}

#[test]
fn messages_that_make_no_sense_are_dropped() {
    let (mut cluster, id, _) = on_its_way();
    let (peer, stranger) = (cluster.nodes[0].id, coco_types::NodeId([0xee; 32]));
    let real = cluster.links[&(0, 1)].front().expect("it is on its way").clone();
    for end in 0..real.len() {
        cluster.step(1, Input::Message(peer, real.slice(..end)));
    }
    for byte in 0..=u8::MAX {
        cluster.step(1, Input::Message(peer, Bytes::from(vec![byte; usize::from(byte)])));
    }
    cluster.step(1, Input::Message(stranger, real));
    assert!(cluster.nodes[1].broken.is_none());
    cluster.settle();
    cluster.run(2);
    assert_eq!(cluster.status(1, id), coco_types::TxStatus::Committed);
    cluster.assert_equal();
}

/// A heartbeat of a view after all, which counts on entries that nobody has.
fn heartbeat_of_too_much() -> Bytes {
    const FORMAT_AND_KIND: [u8; 2] = [1, 8];
    let (view, committed) = (1000_u64.to_le_bytes(), 1_000_000_u64.to_le_bytes());
    [&FORMAT_AND_KIND[..], &view, &committed].concat().into()
}

/// A node that was let in once and has no seat stops nobody; one that has a seat knows what this node acknowledged.
#[test]
fn a_stranger_cannot_say_that_a_node_lost_its_ledger() {
    let (mut cluster, ..) = on_its_way();
    let (peer, stranger) = (cluster.nodes[0].id, coco_types::NodeId([0xee; 32]));
    cluster.step(1, Input::Message(stranger, heartbeat_of_too_much()));
    assert!(cluster.nodes[1].broken.is_none());
    cluster.settle();
    cluster.step(1, Input::Message(peer, heartbeat_of_too_much()));
    let broken = &cluster.nodes[1].broken;
    assert!(matches!(broken, Some(StepError::AcknowledgedLost { .. })), "{broken:?}");
}
