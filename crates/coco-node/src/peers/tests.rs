use coco_crypto::Validity;

use super::*;
use crate::{
    clock::seconds_now,
    identity::Identity,
    shown::{Shown, tests::identity},
};

/// A node of a service that was just made.
fn node() -> Identity {
    let now = seconds_now();
    identity(Validity { not_before: now - 60, not_after: now + 3600 })
}

fn tls(identity: &Identity) -> PeerTls {
    let shown = Shown::new(identity, seconds_now()).expect("it has a certificate");
    PeerTls::new(identity, &Arc::new(shown)).expect("it has a certificate")
}

/// Where nobody listens.
fn nowhere(id: NodeId) -> (NodeId, NodeAddress) {
    let [peer, client] = [(); 2].map(|()| "127.0.0.1:1".to_owned());
    (id, NodeAddress { id: id.to_string(), peer, client })
}

fn dial(identity: &Identity, nodes: &[(NodeId, NodeAddress)]) -> Arc<Peers> {
    let (inbox, _jobs) = Inbox::new(1);
    Peers::dial(identity.node_id, nodes, &tls(identity), &inbox, &Arc::new(Metrics::new()))
}

/// A node that was away while the others went over to other nodes hears of a primary that its own configuration does not
/// name. It once dropped its answers to it, and was content to hear it.
#[tokio::test]
async fn a_followed_node_is_reached_also_when_the_configuration_does_not_name_it() {
    let me = node();
    let [named, followed, gone] = [1, 2, 3].map(|number| NodeId([number; 32]));
    let peers = dial(&me, &[nowhere(named), nowhere(gone)]);
    assert!(peers.reaches(me.node_id) && peers.reaches(named));
    assert!(!peers.reaches(followed), "nobody said where it is");
    peers.add(&[nowhere(followed)]);
    peers.keep(&[nowhere(named)], Some(followed));
    assert!(peers.reaches(followed) && peers.reaches(named) && !peers.reaches(gone));
    peers.keep(&[nowhere(named)], None);
    assert!(!peers.reaches(followed), "it is followed no more");
}
