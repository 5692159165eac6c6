//! Snapshot files: as the host's disk gives them, and what is inside of one that the service stands by.
//!
//! The second cannot be reached by changing bytes, since the service's signature is over all of them. So each input is
//! also read as the entry of a snapshot of a service that signs everything.

use std::sync::LazyLock;

use coco_crypto::sha256;
use coco_kv::{Domain, StateImage};
use coco_ledger::{
    EntryFlags, EntryView, LedgerSecret, MerkleTree, Receipt, ServiceKey, SignatureRecord, Signer,
    SnapshotEvidence, SnapshotFile, SnapshotName, VerifiedSnapshot, seal, signature_write_set,
};
use coco_replica::{CopiedLedger, Keyring, LoadLedger};
use coco_types::{
    Digest, NodeId, Seqno, TxId,
    codec::{put_bytes, put_u64},
};

use crate::ledger::SECRET;

/// The service that made the one snapshot in `fuzz/seeds`; nobody has its key any more.
const SERVICE_PEM: &str = include_str!("../fixture/snapshot_service_cert.pem");

/// The digest of the entry of that snapshot.
const MADE: &str = include_str!("../fixture/snapshot_digest.txt");

pub(crate) fn snapshot(data: &[u8]) {
    // The name comes first, as in a chunk's input.
    let (name, file) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) if data.starts_with(b"snapshot_") => (&data[..at], &data[at + 1..]),
        _ => (&b"snapshot_16_17.committed"[..], data),
    };
    let text = String::from_utf8_lossy(name);
    let Ok(name) = text.parse::<SnapshotName>() else { return };
    assert_eq!(name.to_string(), text, "a snapshot has one name");
    assert!(Seqno::ZERO < name.seqno && name.seqno < name.evidence);
    let Ok(split) = SnapshotFile::split(file) else { return };
    match split.verify(name, SERVICE_PEM) {
        Ok(snapshot) => {
            assert_eq!(snapshot.digest().to_string(), MADE.trim(), "a forged snapshot is believed");
            contents(name, &snapshot);
        }
        Err(error) => assert!(error.offset <= file.len() as u64, "{error:?}"),
    }
}

/// The entry of a snapshot without its length, which is right, under a receipt that holds.
pub(crate) fn snapshot_entry(data: &[u8]) {
    let mut file = vec![1, 0];
    file.extend_from_slice(&(data.len() as u64).to_le_bytes()[..6]);
    file.extend_from_slice(data);
    let entry_bytes = file.len();
    file.extend_from_slice(&receipt(sha256(&file)));
    let seqno = data.get(16..24).and_then(|bytes| bytes.first_chunk());
    let name = SnapshotName {
        seqno: Seqno(seqno.map_or(0, |seqno| u64::from_le_bytes(*seqno))),
        evidence: EVIDENCE.seqno,
    };
    let split = SnapshotFile::split(&file).expect("the length is right");
    match split.verify_under(name, &Anything) {
        Ok(snapshot) => contents(name, &snapshot),
        Err(error) => assert!(error.offset < entry_bytes as u64, "the receipt holds: {error:?}"),
    }
    // As a node that joins.
    let keyring = Keyring::from(SECRET.clone());
    let load =
        LoadLedger { keyring: &keyring, service: &Anything, schema: &[], retained_entries: 16 };
    if let Ok(copied) = CopiedLedger::begin(&load, Some((name, &file))) {
        assert_eq!(copied.next(), name.seqno.next());
        assert!(!copied.is_enough(Seqno::ZERO), "its evidence has not come yet");
    }
}

/// What a snapshot that is believed holds.
fn contents(name: SnapshotName, snapshot: &VerifiedSnapshot<'_>) {
    assert_eq!(snapshot.tx_id().seqno, name.seqno);
    assert_eq!(snapshot.tree().len(), name.seqno.0 + 1);
    assert_eq!(snapshot.signatures().last(), Some(&name.seqno));
    assert!(snapshot.signatures().is_sorted_by(|one, next| one < next));
    assert!(snapshot.views().is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1));
    if let Ok(private) = snapshot.open(&SECRET) {
        image(&private, Domain::Private, name.seqno);
    }
}

/// A domain, a version, and an image of it.
pub(crate) fn state_image(data: &[u8]) {
    let Some(([domain, version], bytes)) = data.split_first_chunk() else { return };
    let domain = if domain & 1 == 0 { Domain::Public } else { Domain::Private };
    image(bytes, domain, Seqno((*version).into()));
}

fn image(bytes: &[u8], domain: Domain, version: Seqno) {
    let Ok(image) = StateImage::parse(bytes, domain, version) else { return };
    let mut again = Vec::new();
    for map in image.maps() {
        assert_eq!(image.map(map.name()).map(|found| found.len()), Some(map.len()));
        let mut items = Vec::new();
        for (key, seqno, value) in map.iter() {
            assert!(Seqno::ZERO < seqno && seqno <= version);
            assert_eq!(map.get(key), Some(value));
            put_padded(&mut items, key);
            put_padded(&mut items, &[&seqno.0.to_le_bytes(), value].concat());
        }
        assert_eq!(map.iter().count(), map.len());
        put_bytes(&mut again, map.name().as_bytes());
        put_u64(&mut again, version.0);
        put_bytes(&mut again, &items);
    }
    assert_eq!(again, bytes, "an image has one encoding");
}

fn put_padded(out: &mut Vec<u8>, bytes: &[u8]) {
    put_bytes(out, bytes);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// Where the receipt of an input says that its evidence is.
const EVIDENCE: TxId = TxId { view: coco_types::View(2), seqno: Seqno(40) };

/// The receipt of an entry that claims this digest.
fn receipt(digest: Digest) -> Vec<u8> {
    let secret: &LedgerSecret = &SECRET;
    let evidence = SnapshotEvidence { seqno: Seqno(16), digest };
    let evidence = seal(secret, EVIDENCE, EntryFlags::NONE, &digest, &evidence.write_set());
    let evidence = evidence.expect("it is small");
    // The first leaf stands for none.
    let mut tree = LEAVES.clone();
    tree.append(evidence.leaf);
    let at = TxId { seqno: EVIDENCE.seqno.next(), ..EVIDENCE };
    let writes = signature_write_set(&Anything, &tree, at, Seqno(1), 1_700_000_000);
    let signature =
        seal(secret, at, EntryFlags::NONE, &Digest::ZERO, &writes).expect("it is small");
    let signature = EntryView::parse(&signature.bytes).expect("it was just sealed");
    let record = SignatureRecord::read(&signature).expect("it was just made");
    let record = record.expect("it is a signature entry");
    let text = secret.commit_evidence(EVIDENCE);
    let receipt = Receipt::assemble(&evidence.bytes, text, &tree, &record);
    receipt.expect("the parts fit").cose().expect("evidence is no signature entry")
}

/// The ledger up to the evidence.
static LEAVES: LazyLock<MerkleTree> = LazyLock::new(|| {
    let mut tree = MerkleTree::new();
    while tree.len() < EVIDENCE.seqno.0 {
        tree.append(Digest([1; 32]));
    }
    tree
});

/// Signs anything, and takes anything for signed.
struct Anything;

impl Signer for Anything {
    fn node_id(&self) -> NodeId {
        NodeId([1; 32])
    }

    fn node_certificate_pem(&self) -> &'static str {
        "no certificate"
    }

    fn service_key_digest(&self) -> Digest {
        Digest([2; 32])
    }

    fn sign_root(&self, _: &Digest) -> Vec<u8> {
        vec![3; 32]
    }

    fn sign_cose(&self, _: &[u8]) -> Vec<u8> {
        vec![4; 96]
    }
}

impl ServiceKey for Anything {
    fn digest(&self) -> Digest {
        Digest([2; 32])
    }

    fn has_signed(&self, _: &[u8], _: &[u8]) -> bool {
        true
    }
}
