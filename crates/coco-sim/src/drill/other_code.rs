//! Code that members have not admitted: of the node with which somebody begins their service anew, and of one that asks to come
//! into it once it is back.
//!
//! Nobody can keep an operator from beginning a service with whatever code there is. The ledger says which it is, and members
//! leave such a service closed. A node that comes later is refused by the service itself.

use coco_crypto::Certificate;
use coco_governance::tables;
use coco_ledger::{GenesisNode, NodeStatus, singleton_key};
use coco_replica::{IntroductionReply, JoinReply, NODE_SECRETS_MAP};
use coco_types::Digest;
use serde_json::json;

use super::{Drill, copies::Best, reborn::Reborn};
use crate::{
    genesis::{DoubleSigner, node_record},
    plan::NODES_MAX,
};

/// The code that members have admitted.
pub(super) const ADMITTED: Digest = Digest::ZERO;
/// Another one.
const OTHER: Digest = Digest([0xc0; 32]);
/// What the dice begin with, beside the seed, and of how many recoveries in a thousand somebody begins one with other code.
const BEGINS: (u64, u64) = (0x434f_4445_5f5f_5f5f, 350);
/// And to how many services that came back nodes of other operators come.
const COMES: (u64, u64) = (0x434f_4d45_535f_5f5f, 350);

impl Drill {
    /// Somebody begins the service anew with a node of other code, in some drills: members leave it closed.
    ///
    /// # Panics
    /// When it opens.
    pub(super) fn begin_with_other_code(
        &mut self,
        best: &Best,
        previous: &Certificate,
    ) -> Option<Reborn> {
        self.aside(BEGINS, |drill| {
            let generation = drill.services.len();
            let name = format!(" of other code after {generation}");
            let mut node = drill.begin_aside(best, &name, OTHER);
            drill.members(&mut node, &mut []).leave_closed(previous);
            drill.audit_beside(&mut node);
            // It goes on to hear what members say to the right one.
            node.fragile = drill.dice.one_of(&[0, 5, 30]);
            node
        })
    }

    /// A node of other code asks to come into a service that came back, in some drills, and one whose code members admitted.
    ///
    /// # Panics
    /// When the first gets anything, or the second more than its turn to wait for members.
    pub(super) fn meet_other_code(&mut self, node: &mut Reborn) {
        let _met: Option<()> = self.aside(COMES, |drill| {
            let life = drill.services.len() as u64;
            let newcomer = |machine: usize, code_digest| {
                let signer = DoubleSigner::again(machine, life);
                GenesisNode { code_digest, ..node_record(&signer, machine) }
            };
            let stranger = newcomer(NODES_MAX, OTHER);
            let waiting = newcomer(NODES_MAX + 1, ADMITTED);
            drill.refuse(node, &stranger);
            let known = node.introduce(&waiting);
            let is_pending =
                matches!(known, IntroductionReply::Known { status: NodeStatus::Pending, .. });
            assert!(is_pending, "members admitted its code: {known:?}");
            // Whoever has a part in the service is named in what gives the ledger another secret.
            let mut members = drill.members(node, &mut []);
            members.decide("trigger_ledger_rekey", &json!({})).expect("the service is open");
            let secrets = node.row(NODE_SECRETS_MAP, singleton_key()).expect("there are secrets");
            let readers = secrets["secrets"].as_object().expect("secrets").keys();
            assert!(readers.eq([&node.machine.id.to_string()]), "it alone reads on: {secrets}");
            let is_known = |node: &Reborn, id: String| node.row(tables::NODES_INFO, id.as_bytes());
            assert_eq!(is_known(node, stranger.node_id.to_string()), None, "nobody knows it");
            drill.marks.reach(
                "a node of other code got neither a place nor a secret in a service that came back",
            );
            drill
                .marks
                .reach("a node of admitted code waited for members in a service that came back");
        });
    }

    /// A node of other code tries each way in: to be known, a seat of its own, that of the only node, and members who do not look.
    fn refuse(&mut self, node: &mut Reborn, stranger: &GenesisNode) {
        let before = node.replica().configuration().clone();
        let known = node.introduce(stranger);
        assert!(matches!(known, IntroductionReply::NotBelieved(_)), "it gets in: {known:?}");
        assert_eq!(node.join(stranger, stranger.node_id), JoinReply::NoSuchSeat);
        assert_eq!(node.join(stranger, node.machine.id), JoinReply::OtherCode);
        let args = json!({ "node_id": stranger.node_id.to_string() });
        let trusted = self.members(node, &mut []).decide("transition_node_to_trusted", &args);
        assert!(trusted.is_err(), "members trust a node that nobody knows");
        assert_eq!(node.join(stranger, stranger.node_id), JoinReply::NoSuchSeat);
        assert_eq!(*node.replica().configuration(), before, "nobody else takes part");
    }
}
