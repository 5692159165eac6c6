//! A service that comes back from a snapshot and the entries after it: all files before are gone.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "../../coco-ledger/tests/fixture/ledger.rs"]
mod fixture;
#[path = "tamper/memory.rs"]
mod memory;
#[path = "../../coco-ledger/tests/fixture/snapshot.rs"]
mod snapshot;

use coco_crypto::{
    Certificate, Curve, DecryptionKey, EndorseNode, SigningKey, endorse_node, service_certificate,
};
use coco_kv::{Domain, MapName, StateImage, WriteSet};
use coco_ledger::{
    CONFIGURATION_MAP, EntryFlags, FirstLedger, Folder as _, GenesisNode, LedgerFiles,
    LedgerSecret, LedgerSecrets, PREVIOUS_ENDORSEMENT_MAP, ServiceSigner, ServiceStatus,
    Signer as _, SnapshotFile, SnapshotName, Verifier, put_service, read_whole,
};
use coco_replica::{
    Keyring, LoadLedger, Loader, NODE_SECRETS_MAP, NewService, Reach, RecoverLedgerError,
    SnapshotFiles,
};
use coco_types::{Digest, Seqno, View};
use fixture::{Ledger, VALIDITY};
use memory::MemoryFolder;

/// Entries up to a snapshot.
const ENTRIES: u64 = 16;
/// The last entry of the lost service, a signature.
const SIGNED: u64 = 3 * ENTRIES + 3;

type Files = Vec<(String, Vec<u8>)>;

/// A ledger of four chunks, and the snapshots of where the first two end.
struct World {
    ledger: Ledger,
    snapshots: Vec<(SnapshotName, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let (mut ledger, mut snapshots) = (Ledger::new(), Vec::new());
        ledger.genesis();
        for chunk in 1..=3 {
            while ledger.tree.len() < chunk * ENTRIES {
                ledger.record(ledger.tree.len());
            }
            ledger.sign(EntryFlags::CHUNK_AFTER);
            if chunk < 3 {
                snapshots.push(snapshot::take(&mut ledger, marks()));
            }
        }
        (0..2).for_each(|n| ledger.record(n));
        ledger.sign(EntryFlags::NONE);
        Self { ledger, snapshots }
    }

    fn lost(&self) -> Certificate {
        Certificate::from_pem(&self.ledger.service_pem).unwrap()
    }

    /// The chunk files without the first so many.
    fn tail(&self, without: usize) -> Files {
        self.ledger.files[without..].to_vec()
    }

    /// The snapshots as files, the oldest first.
    fn kept(&self) -> Files {
        self.snapshots.iter().map(|(name, bytes)| (name.to_string(), bytes.clone())).collect()
    }

    fn reach(&self, tail: &Files, kept: &Files) -> Result<Reach<MemoryFolder>, RecoverLedgerError> {
        reach(&folder(tail), &folder(kept), &self.lost())
    }
}

fn folder(files: &Files) -> MemoryFolder {
    files.iter().collect()
}

fn reach(
    ledger: &MemoryFolder,
    snapshots: &MemoryFolder,
    lost: &Certificate,
) -> Result<Reach<MemoryFolder>, RecoverLedgerError> {
    Reach::from_snapshot(ledger.clone(), snapshots.clone(), lost, &[])
}

/// What a replica finds of itself in a snapshot.
fn marks() -> WriteSet {
    let (mut marks, map) = (WriteSet::new(), MapName::from_static("coco.snapshot.replica"));
    for key in ["chunk bytes", "time ms"] {
        marks.insert(&map, key.as_bytes(), 0_u64.to_le_bytes());
    }
    marks
}

/// A service that begins anew, and what it has made of a ledger.
struct Reborn {
    certificate: Certificate,
    signer: ServiceSigner,
    secret: LedgerSecret,
    ledger: MemoryFolder,
    snapshots: MemoryFolder,
    /// All secrets of its ledger, once members have given those of before back.
    secrets: LedgerSecrets,
    /// What it has before.
    own: LedgerSecrets,
}

impl Reborn {
    fn of(reach: &Reach<MemoryFolder>, before: &LedgerSecrets, n: u8) -> Self {
        let [service, node] = [(); 2].map(|()| SigningKey::generate(Curve::P384));
        let certificate = service_certificate(&service, VALIDITY).unwrap();
        let request = EndorseNode { key: node.public(), names: &[], validity: VALIDITY };
        let endorsed = endorse_node(&service, &certificate, &request).unwrap();
        let signer =
            ServiceSigner::new(&node.pkcs8_der(), endorsed.pem(), &service.pkcs8_der()).unwrap();
        let cipher = DecryptionKey::generate();
        let node = GenesisNode {
            node_id: signer.node_id(),
            certificate_pem: endorsed.pem(),
            quote_format: "Insecure_Virtual".to_owned(),
            code_digest: Digest([0xcd; 32]),
            rpc_address: "127.0.0.1:8000".to_owned(),
            peer_address: "127.0.0.1:8001".to_owned(),
            encryption_key_pem: cipher.public().pem(),
            request_pem: None,
        };
        let secret = LedgerSecret::new(&[n; 32]);
        let (ledger, snapshots) = (MemoryFolder::default(), MemoryFolder::default());
        let service = NewService {
            certificate: &certificate,
            node: &node,
            signer: &signer,
            cipher: &cipher,
            secret: &secret,
            now: 1_700_000_001,
        };
        let own = reach.recover((&ledger, &snapshots), Vec::new(), &service).unwrap();
        let all = before.periods().iter().chain(own.periods()).cloned();
        let secrets = LedgerSecrets::new(all).unwrap();
        Self { certificate, signer, secret, ledger, snapshots, secrets, own }
    }

    /// As its node starts, with the secrets that it has.
    fn load(&self, secrets: &LedgerSecrets) -> (Loader, Option<SnapshotName>) {
        let keyring = Keyring::from(secrets.clone());
        let load = LoadLedger {
            keyring: &keyring,
            service: self.certificate.key(),
            schema: &[],
            retained_entries: 0,
        };
        let mut files = LedgerFiles::open(self.ledger.clone()).unwrap();
        let snapshots = SnapshotFiles::open(self.snapshots.clone()).unwrap();
        load.load(&mut files, &snapshots, |name, error| panic!("{name}: {error:?}")).unwrap()
    }

    /// Members open it: the entries of that, without what is not looked at here.
    fn open(&self) {
        let (loader, _) = self.load(&self.secrets);
        let last = loader.last();
        let tree = loader.state().read().tree().clone();
        drop(loader);
        let view = View(last.view.0);
        let mut made = FirstLedger::after(self.secret.clone(), view, tree, last.seqno);
        for status in [ServiceStatus::WaitingForRecoveryShares, ServiceStatus::Open] {
            let mut set = WriteSet::new();
            put_service(&mut set, &self.certificate.pem(), status);
            made.append(&set).unwrap();
        }
        made.sign(&self.signer, 1_700_000_002).unwrap();
        let mut writer = LedgerFiles::open(self.ledger.clone()).unwrap().into_writer().unwrap();
        made.into_entries().iter().for_each(|entry| writer.append(entry, false).unwrap());
        writer.sync().unwrap();
    }
}

fn before(world: &World) -> LedgerSecrets {
    world.ledger.secret.clone().into()
}

/// The values of one half of a state, but for what each service that comes back has of its own.
fn rows(loader: &Loader, domain: Domain) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let bytes = loader.reader().head().encode(domain, &WriteSet::new());
    let image = StateImage::parse(&bytes, domain, loader.last().seqno).unwrap();
    let own = [PREVIOUS_ENDORSEMENT_MAP, NODE_SECRETS_MAP, CONFIGURATION_MAP];
    let is_own =
        |map: &str| own.contains(&map) || map.contains(".nodes.") || map.contains(".service.");
    let maps = image.maps().iter().filter(|map| !is_own(map.name()));
    let rows = maps.flat_map(|map| {
        map.iter().map(|(key, _, value)| (map.name().to_owned(), key.to_vec(), value.to_vec()))
    });
    rows.collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[test]
fn a_snapshot_and_its_tail_give_the_state_that_the_whole_ledger_gives() {
    let world = World::new();
    let whole = Reach::of(folder(&world.tail(0)), &world.lost(), &[]).unwrap();
    let whole = Reborn::of(&whole, &before(&world), 1);
    let (whole, none) = whole.load(&whole.secrets);
    assert_eq!(none, None);
    for (without, newest) in [(1, 0), (2, 1), (1, 1), (0, 1)] {
        let kept = world.kept()[..=newest].to_vec();
        let reach = world.reach(&world.tail(without), &kept).unwrap();
        let name = world.snapshots[newest].0;
        assert_eq!((reach.snapshot, reach.signed.seqno), (Some(name), Seqno(SIGNED)));
        assert!(reach.passed_over.is_empty(), "{:?}", reach.passed_over);
        let reborn = Reborn::of(&reach, &before(&world), 1);
        assert_eq!(reborn.snapshots.names().unwrap(), [name.to_string()]);
        let lowest = LedgerFiles::open(reborn.ledger.clone()).unwrap();
        assert!(lowest.read(Seqno(ENTRIES)).is_err(), "what is before it is left out");
        // What everybody may read, as long as the shares are not sent.
        let (public, from) = reborn.load(&reborn.own);
        assert_eq!(from, Some(name));
        assert!(!public.state().read().secrets().is_whole());
        assert_eq!(rows(&public, Domain::Public), rows(&whole, Domain::Public));
        assert!(!rows(&whole, Domain::Private).is_empty());
        let (all, from) = reborn.load(&reborn.secrets);
        assert_eq!(from, Some(name));
        for domain in [Domain::Public, Domain::Private] {
            assert_eq!(rows(&all, domain), rows(&whole, domain));
        }
        let (ours, theirs) = (all.state(), whole.state());
        let upto = Seqno(SIGNED).next().0;
        let root = |state: &coco_replica::LedgerState| state.tree().root_at(upto);
        assert_eq!(root(&ours.read()), root(&theirs.read()));
    }
}

#[test]
fn a_service_is_lost_again_before_it_made_a_snapshot() {
    let world = World::new();
    let first = world.reach(&world.tail(2), &world.kept()).unwrap();
    let first = Reborn::of(&first, &before(&world), 1);
    let refused = reach(&first.ledger, &first.snapshots, &first.certificate).unwrap_err();
    assert!(matches!(refused, RecoverLedgerError::NotOpen(ServiceStatus::Recovering)));
    first.open();
    // Its snapshot is of the service before, which it endorses.
    let again = reach(&first.ledger, &first.snapshots, &first.certificate).unwrap();
    assert_eq!(again.snapshot, Some(world.snapshots[1].0));
    let again = Reborn::of(&again, &first.secrets, 2);
    let (loader, from) = again.load(&again.secrets);
    assert_eq!(from, Some(world.snapshots[1].0));
    let (before, _) = first.load(&first.secrets);
    assert_eq!(rows(&loader, Domain::Private), rows(&before, Domain::Private));
    // An auditor who trusts the last one follows all three.
    let services = [world.lost(), first.certificate.clone(), again.certificate.clone()];
    let (name, bytes) = &world.snapshots[1];
    let snapshot =
        SnapshotFile::split(bytes).unwrap().verify(*name, &world.ledger.service_pem).unwrap();
    let mut verifier =
        Verifier::of_services_from(services.to_vec(), "snapshot", &snapshot).unwrap();
    let mut chunks = again.ledger.names().unwrap();
    chunks.sort();
    for chunk in chunks {
        let bytes = read_whole(&again.ledger.open_to_read(&chunk).unwrap()).unwrap();
        verifier.chunk(&chunk, &bytes).unwrap();
    }
    verifier.check_snapshot("snapshot", &snapshot).unwrap();
    SnapshotFile::split(bytes).unwrap().verify_by(*name, &verifier.receipts()).unwrap();
    verifier.finish(Some(loader.last())).unwrap();
    // Whoever goes back behind a service that was open loses what it wrote.
    again.open();
    let refused = reach(&again.ledger, &again.snapshots, &first.certificate).unwrap_err();
    assert!(matches!(refused, RecoverLedgerError::LaterOpen(_)), "{refused:?}");
}

/// The attempt before was never opened: what it wrote is left out, and the snapshot stays.
#[test]
fn an_attempt_that_was_never_opened_is_left_out() {
    let world = World::new();
    let attempt = world.reach(&world.tail(2), &world.kept()).unwrap();
    let attempt = Reborn::of(&attempt, &before(&world), 1);
    let again = reach(&attempt.ledger, &attempt.snapshots, &world.lost()).unwrap();
    assert_eq!((again.signed.seqno, again.services_after), (Seqno(SIGNED), 1));
    let again = Reborn::of(&again, &before(&world), 2);
    let (loader, _) = again.load(&again.secrets);
    assert_eq!(loader.last().seqno, Seqno(SIGNED + 2));
}

#[test]
fn what_is_wrong_with_a_snapshot_is_said_and_an_older_one_is_taken() {
    let world = World::new();
    let (older, newer) = (world.snapshots[0].0, world.snapshots[1].0);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut kept = world.kept();
        change(&mut kept[1].1);
        kept
    };
    let foreign = World::new();
    let refusals = [
        (changed(&|bytes| bytes[300] ^= 1), "its evidence is of"),
        (changed(&|bytes| bytes.truncate(9)), "does not verify"),
        (
            changed(&|bytes| *bytes.last_mut().unwrap() ^= 1),
            "receipt of the evidence does not hold",
        ),
        (changed(&|bytes| bytes.clone_from(&foreign.snapshots[1].1)), "receipt of the evidence"),
        (
            changed(&|bytes| bytes.clone_from(&world.snapshots[0].1)),
            "not what the file's name says",
        ),
    ];
    for (kept, reason) in refusals {
        let reach = world.reach(&world.tail(1), &kept).unwrap();
        assert_eq!(reach.snapshot, Some(older));
        let said = reach.passed_over.join("");
        assert!(said.contains(&newer.to_string()) && said.contains(reason), "{said}");
        // The files reach the newer one only.
        let error = world.reach(&world.tail(2), &kept).unwrap_err();
        assert!(matches!(error, RecoverLedgerError::NoSnapshot(_)), "{error:?}");
        let said = chain(&error);
        assert!(said.contains(reason), "{said}");
        let gap = format!("begins at seqno {}, expected {}", 2 * ENTRIES + 1, ENTRIES + 1);
        assert!(said.contains(&older.to_string()) && said.contains(&gap), "{said}");
    }
}

#[test]
fn a_tail_that_does_not_lead_on_from_a_snapshot_is_refused() {
    let world = World::new();
    let refused = |tail: Files, reason: &str| {
        let error = world.reach(&tail, &world.kept()[1..].to_vec()).unwrap_err();
        let said = chain(&error);
        assert!(matches!(error, RecoverLedgerError::NoSnapshot(_)), "{said}");
        assert!(said.contains(&world.snapshots[1].0.to_string()), "{said}");
        assert!(said.contains(reason), "{said}");
    };
    // Its evidence is in the third chunk.
    refused(Vec::new(), "has its evidence");
    refused(world.ledger.files[..2].to_vec(), "has its evidence");
    refused(world.tail(3), "begins at seqno");
    let mut hole = world.tail(2);
    hole.remove(0);
    refused(hole, "begins at seqno");
    let mut damaged = world.tail(2);
    let middle = damaged[0].1.len() / 2;
    damaged[0].1[middle] ^= 1;
    refused(damaged, &world.ledger.files[2].0);
    refused(World::new().tail(2), &world.ledger.files[2].0);
    let none = world.reach(&world.tail(2), &Vec::new()).unwrap_err();
    assert!(matches!(none, RecoverLedgerError::NoLedger), "{none:?}");
    let beheaded = Reach::of(folder(&world.tail(2)), &world.lost(), &[]).unwrap_err();
    assert!(matches!(beheaded, RecoverLedgerError::NoLedger), "{beheaded:?}");
}
