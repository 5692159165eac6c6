use coco_crypto::Validity;

use super::{
    accepted::{HANDSHAKES_MAX, PER_NODE_MAX},
    *,
};
use crate::{
    clock::seconds_now,
    identity::Identity,
    provision::a_year_from,
    shown::{Shown, tests::identity},
};

/// A node of a service that was just made.
fn node() -> Identity {
    let now = seconds_now();
    identity(Validity { not_before: now - 60, not_after: now + 3600 })
}

fn tls(identity: &Identity) -> PeerTls {
    let shown = Shown::new(identity, seconds_now(), None).expect("it has a certificate");
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
        tls: tls(&me),
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

/// Accepts connections of nodes of a service, and holds them; where, and whose they were.
async fn accepting(identity: &Identity) -> (String, mpsc::Receiver<NodeId>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (sender, accepted) = mpsc::channel(1024);
    tokio::spawn(accept_nodes(listener, tls(identity), move |mut stream, certificate| {
        let sender = sender.clone();
        async move {
            sender.send(certificate.key().node_id()).await.map_err(std::io::Error::other)?;
            stream.read_u8().await.map(drop)
        }
    }));
    (address, accepted)
}

/// Whoever can connect once took the places of nodes, for as long as a handshake may last.
#[tokio::test]
async fn strangers_who_say_nothing_keep_no_node_out() {
    let me = node();
    let (address, mut accepted) = accepting(&me).await;
    let mut strangers = Vec::new();
    for _ in 0..3 * HANDSHAKES_MAX {
        strangers.push(TcpStream::connect(&address).await.expect("anybody can"));
    }
    let asked = Asked::connect(&tls(&me), &address).await.expect("a node gets in");
    assert_eq!((asked.by, accepted.recv().await), (me.node_id, Some(me.node_id)));
    let oldest = timeout(Duration::from_secs(1), strangers[0].read_u8()).await;
    assert!(oldest.expect("at once").is_err(), "it made room");
}

#[tokio::test]
async fn a_node_that_connects_again_and_again_takes_places_from_itself_only() {
    let me = node();
    let other = me.new_node(&[], a_year_from(seconds_now())).expect("the service endorses it");
    let (address, mut accepted) = accepting(&me).await;
    let mut connect = async |identity: &Identity| {
        let asked = Asked::connect(&tls(identity), &address).await.expect("it is a node");
        assert_eq!(accepted.recv().await, Some(identity.node_id));
        asked
    };
    let mut others = connect(&other).await;
    let mut mine = Vec::new();
    for _ in 0..PER_NODE_MAX + 2 {
        mine.push(connect(&me).await);
    }
    let wait = Duration::from_millis(200);
    for (at, asked) in mine.iter_mut().enumerate() {
        let has_ended = timeout(wait, asked.stream.read_u8()).await.is_ok();
        assert_eq!(has_ended, at < 2, "connection {at}");
    }
    assert!(timeout(wait, others.stream.read_u8()).await.is_err(), "it is another node's");
}

/// What a node may forward and not be answered for, one below, at and above the maximum.
#[test]
fn forwarded_requests_have_a_limit_by_bytes_and_by_number() {
    for bytes in [0, FORWARDED_BYTES_MIN, FORWARDED_BYTES_MAX / 8] {
        let places = Arc::new(Semaphore::new(FORWARDED_BYTES_MAX));
        let mut held = Vec::new();
        while let Some(place) = forwarded_place(&places, bytes) {
            held.push(place);
        }
        assert_eq!(held.len(), FORWARDED_BYTES_MAX / bytes.max(FORWARDED_BYTES_MIN), "{bytes}");
        held.pop();
        assert!(forwarded_place(&places, bytes).is_some(), "one was answered");
    }
}

#[tokio::test]
async fn an_answer_counts_only_when_the_node_that_was_asked_gives_it() {
    let forwards = Forwards::new();
    let [asked, other] = [1, 2].map(|byte| NodeId([byte; 32]));
    let place = forwards.place(asked).expect("there is room");
    forwards.answered(other, place.number, "another's");
    forwards.answered(asked, place.number + 1, "to another question");
    forwards.answered(asked, place.number, "the answer");
    assert_eq!(place.wait(CONNECT_TIMEOUT).await, Some("the answer"));
    assert!(forwards.0.lock().senders.is_empty());
}

#[test]
fn all_connections_of_a_node_share_its_places_and_no_other_node_does() {
    let places = ForwardedPlaces::default();
    let [one, other] = [1, 2].map(|byte| NodeId([byte; 32]));
    let (first, second) = (places.of(one), places.of(one));
    let held = forwarded_place(&first, FORWARDED_BYTES_MAX).expect("all of it");
    drop(first);
    assert!(forwarded_place(&second, 0).is_none(), "by whichever connection");
    assert!(forwarded_place(&places.of(other), 0).is_some(), "by another node");
    drop((held, second));
    assert!(forwarded_place(&places.of(one), FORWARDED_BYTES_MAX).is_some());
    assert_eq!(places.0.lock().len(), 1, "those without connections are forgotten");
}
