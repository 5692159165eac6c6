//! Who is listened to, and when a seat or a place is given.

use coco_consensus::{Said, What};
use coco_ledger::{IN_EFFECT_MAP, NODES_MAP};
use coco_replica::{Input, JoinRefusal, JoinReply};
use serde_json::json;

use crate::{
    genesis::Keys,
    governing::{CODE, Story, newcomer},
    network::EAGER,
};

/// Its certificate is endorsed still, and it says that more is committed than a node has.
#[test]
fn a_node_that_was_removed_is_not_listened_to() {
    let mut story = Story::new(Keys::real(4), EAGER);
    let ids = story.cluster.keys.ids();
    story.accepted("remove_node", &json!({ "node_id": ids[3].to_string() }));
    story.cluster.run(20);
    story.cluster.isolate(1);
    let id = story.cluster.execute(0);
    story.cluster.run(100);
    assert!(story.cluster.last(1).seqno < id.seqno);
    // By now the backup follows nobody, and hears what the primary says from the one that left.
    assert_eq!(story.cluster.replica(1).state().read().primary(), None);
    let (view, mut said) = (story.cluster.replica(0).state().read().view(), None);
    for _ in 0..10 {
        story.cluster.tick();
        let link = story.cluster.links.get(&(0, 2)).into_iter().flatten();
        let is_heartbeat = |bytes: &&bytes::Bytes| {
            let read = Said::read(bytes).expect("a message");
            matches!(read, Said { view: of, what: What::Heartbeat { commit } }
                if of == view && commit >= id.seqno)
        };
        said = said.or(link.clone().find(is_heartbeat).cloned());
        story.cluster.settle();
    }
    let said = said.expect("a primary says that it is there");
    story.cluster.step(1, Input::Message(ids[3], said));
    assert!(story.cluster.nodes[1].broken.is_none(), "{:?}", story.cluster.nodes[1].broken);
    assert_eq!(story.cluster.replica(1).state().read().primary(), None);
}

/// Also right after the primary checked that it has a quorum: the other may be a copy.
#[test]
fn the_seat_of_a_node_that_answers_is_never_given_away() {
    let mut story = Story::new(Keys::real(3), EAGER);
    let ids = story.cluster.keys.ids();
    let (seat, other) = (ids[2], newcomer(9, CODE));
    story.accepted("add_virtual_measurement", &json!({ "measurement": CODE.to_string() }));
    for (from, to) in [(0, 1), (1, 0)] {
        story.cluster.step(from, Input::TransferTo(ids[to]));
        story.cluster.settle();
    }
    assert_eq!(story.cluster.primary(), Some(0));
    for _ in 0..60 {
        let reply = story.ask_for(seat, &other);
        assert!(matches!(reply, JoinReply::Later(_)), "{reply:?}");
        story.cluster.run(1);
    }
    let occupied = JoinReply::Later(JoinRefusal::Occupied(seat));
    assert_eq!(story.ask_for(seat, &other), occupied);
    story.cluster.isolate(2);
    story.cluster.run(20);
    assert_eq!(story.ask_for(seat, &other), JoinReply::Admitted);
    // It was away, and comes back before the other has everything.
    story.cluster.run(5);
    assert_eq!(story.cluster.replica(0).configuration().learners.len(), 1);
    story.cluster.heal();
    story.cluster.run(50);
    let primary = story.cluster.primary().expect("there is one");
    assert!(story.cluster.replica(primary).configuration().learners.is_empty());
    assert!(story.cluster.replica(primary).configuration().voters.contains(&seat));
    let row = story.cluster.row(primary, NODES_MAP, other.node.node_id.to_string().as_bytes());
    assert_eq!(row.expect("a row")["retired_committed"], true, "it is not listened to either");
}

/// Only the newest few configurations are remembered: were others added, no entry would say that the change before is in effect.
#[test]
fn nobody_is_admitted_before_the_ledger_says_that_the_last_change_is_in_effect() {
    let mut story = Story::new(Keys::real(4), EAGER);
    let ids = story.cluster.keys.ids();
    story.accepted("add_virtual_measurement", &json!({ "measurement": CODE.to_string() }));
    let trusted = newcomer(9, CODE);
    let id = trusted.node.node_id;
    let _pending = story.introduce(&trusted);
    story.accepted("transition_node_to_trusted", &json!({ "node_id": id.to_string() }));
    story.accepted("remove_node", &json!({ "node_id": ids[3].to_string() }));
    let mut ticks = 0..50;
    while story.cluster.replica(0).configuration().contains(ids[3]) {
        ticks.next().expect("it leaves");
        story.cluster.run(1);
    }
    assert_eq!(story.ask_for(id, &trusted), JoinReply::Later(JoinRefusal::Changing));
    while story.ask_for(id, &trusted) != JoinReply::Admitted {
        ticks.next().expect("it is admitted at last");
        story.cluster.run(1);
    }
    story.cluster.run(5);
    let said = story.cluster.row(0, IN_EFFECT_MAP, &[0; 8]);
    assert!(said.is_some_and(|row| row["seqno"].as_u64() > Some(0)), "the ledger says so");
    let left = story.cluster.row(0, NODES_MAP, ids[3].to_string().as_bytes());
    assert_eq!(left.expect("a row")["retired_committed"], true);
}

/// What one crate keeps of a row, the other lets pass.
#[test]
fn auditors_know_what_a_seat_keeps() {
    assert_eq!(coco_ledger::KEPT_FIELDS, coco_governance::tables::NODE_FIELDS_KEPT);
}
