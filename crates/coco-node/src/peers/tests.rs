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

/// A connection to a peer, and the peer's end of it.
struct Dialled {
    queue: mpsc::Sender<Frame>,
    peer: tokio::io::DuplexStream,
    sends: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn dialled(keep_alive_every: Duration) -> Dialled {
    let me = node();
    let link = Link {
        id: NodeId([1; 32]),
        address: "127.0.0.1:1".to_owned(),
        connector: tls(&me).connector(),
        inbox: Inbox::new(1).0,
        metrics: Arc::new(Metrics::new()),
    };
    let (mut stream, peer) = tokio::io::duplex(1 << 14);
    let (queue, mut frames) = mpsc::channel(1);
    let sends =
        tokio::spawn(async move { link.send(&mut stream, &mut frames, keep_alive_every).await });
    Dialled { queue, peer, sends }
}

/// Backups say nothing to each other while there is a primary, and it is when they lose it that they need each other.
#[tokio::test]
async fn a_quiet_connection_is_kept_alive_and_a_broken_one_is_noticed() {
    let Dialled { queue, mut peer, sends } = dialled(Duration::from_millis(10));
    let mut buffer = bytes::BytesMut::new();
    for _ in 0..2 {
        let frame = read_frame(&mut peer, &mut buffer).await.expect("it is one");
        assert_eq!(frame, Some(Frame::KEEP_ALIVE));
    }
    drop(queue);
    let ended = timeout(CONNECT_TIMEOUT, sends).await.expect("at once").expect("it runs");
    assert!(ended.is_ok(), "nobody sends any more");

    let Dialled { queue, peer, sends } = dialled(READ_TIMEOUT);
    drop(peer);
    let ended = timeout(CONNECT_TIMEOUT, sends).await.expect("at once").expect("it runs");
    let error = ended.expect_err("nobody is there");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    drop(queue);
}
