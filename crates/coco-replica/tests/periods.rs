//! A ledger of three periods: its members read all of it without a node, and a node loads it with all its secrets only.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "../../coco-ledger/tests/fixture/ledger.rs"]
mod fixture;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{Certificate, DecryptionKey, RecoveryShare, SecretBytes};
use coco_governance::{
    Occasion, SecretChain, SecretFrom, encrypt_share, seal_secret, share, tables,
};
use coco_kv::{Domain, MapName, StateImage, Store, WriteSet};
use coco_ledger::{
    ChunkName, EntryFlags, EntryView, LedgerSecret, LedgerSecrets, Period, Verifier,
};
use coco_replica::{
    LoadError, Loader, NODE_SECRETS_MAP, PAST_SECRETS_MAP, ReadSecretsError, RecoverSecrets,
    RecoverSecretsError,
};
use coco_types::{Digest, Seqno};
use fixture::Ledger;
use serde_json::{Value, json};

const MEMBERS: [&str; 3] = ["a", "b", "c"];

struct Made {
    ledger: Ledger,
    /// The last entries of the first two periods.
    rekeys: [Seqno; 2],
    /// What each member has decrypted of the last sharing.
    shares: Vec<RecoveryShare>,
    /// And of the first.
    old_shares: Vec<RecoveryShare>,
}

/// The tables of governance beside the ledger, for whoever deals shares.
struct Dealer {
    store: Store,
    keys: Vec<DecryptionKey>,
    seed: u8,
}

impl Dealer {
    fn new() -> Self {
        let keys: Vec<DecryptionKey> = MEMBERS.iter().map(|_| DecryptionKey::generate()).collect();
        let mut set = WriteSet::new();
        let mut put = |name: &'static str, key: &[u8], value: String| {
            set.insert(&MapName::from_static(name), key, value.into_bytes());
        };
        for (member, key) in MEMBERS.iter().zip(&keys) {
            put(tables::MEMBERS_INFO, member.as_bytes(), json!({ "status": "Active" }).to_string());
            put(tables::MEMBERS_ENCRYPTION_KEYS, member.as_bytes(), key.public().pem());
        }
        let threshold = json!({ "recovery_threshold": 2 }).to_string();
        put(tables::SERVICE_CONFIG, tables::singleton_key(), threshold);
        let mut store = Store::new(tables::maps(), [1, 2]);
        store.apply(Seqno(1), &set).unwrap();
        Self { store, keys, seed: 0 }
    }

    fn deal(&mut self, occasion: &Occasion<'_>) -> WriteSet {
        self.seed += 1;
        let reader = self.store.reader();
        let mut transaction = reader.begin();
        share(&mut transaction, occasion, &[self.seed; 32], &encrypt_share).unwrap();
        self.store.commit(reader.version().next(), transaction.finish()).unwrap()
    }

    fn shares(&self) -> Vec<RecoveryShare> {
        (0..MEMBERS.len()).map(|member| self.share_of(member)).collect()
    }

    fn share_of(&self, member: usize) -> RecoveryShare {
        let snapshot = self.store.reader().head();
        let map = snapshot.map(&MapName::from_static(tables::RECOVERY_SHARES)).unwrap();
        let row = snapshot.get(map, tables::singleton_key()).unwrap();
        let row: Value = serde_json::from_slice(&row).unwrap();
        let encrypted = row["encrypted_shares"][MEMBERS[member]].as_str().unwrap().to_owned();
        let share = self.keys[member].decrypt(&STANDARD.decode(encrypted).unwrap()).unwrap();
        RecoveryShare::decode(share.expose()).unwrap()
    }
}

fn secret(of: u8) -> SecretBytes {
    SecretBytes::new(vec![of; 32])
}

fn last(ledger: &Ledger) -> Seqno {
    Seqno(ledger.tree.len() - 1)
}

/// The fixture's ledger, which begins under its own secret, and goes on under two others.
fn made() -> Made {
    let (mut ledger, mut dealer) = (Ledger::new(), Dealer::new());
    let write = |ledger: &mut Ledger, set: &WriteSet| {
        ledger.append(EntryFlags::NONE, Digest::ZERO, set);
    };
    ledger.genesis();
    let first = secret(0x42);
    let from = Seqno(1);
    let newest = SecretFrom { from, secret: &first };
    let opening = dealer.deal(&Occasion::Opening { newest, previous: None });
    write(&mut ledger, &opening);
    let old_shares = dealer.shares();
    let (mut from, mut before, mut rekeys) = (from, first, [Seqno::ZERO; 2]);
    for (at, rekey) in rekeys.iter_mut().enumerate() {
        (0..4).for_each(|n| ledger.record(n));
        ledger.sign(if at == 0 { EntryFlags::CHUNK_AFTER } else { EntryFlags::NONE });
        let next = secret(0x50 + u8::try_from(at).unwrap());
        let previous = SecretFrom { from, secret: &before };
        let set = dealer.deal(&Occasion::Rekey { next: &next, previous });
        write(&mut ledger, &set);
        *rekey = last(&ledger);
        ledger.secret = LedgerSecret::new(next.expose().try_into().unwrap());
        (from, before) = (rekey.next(), next);
    }
    (4..8).for_each(|n| ledger.record(n));
    ledger.sign(EntryFlags::NONE);
    Made { ledger, rekeys, shares: dealer.shares(), old_shares }
}

fn read(ledger: &Ledger) -> RecoverSecrets {
    let mut secrets = RecoverSecrets::new();
    ledger.files.iter().for_each(|(_, bytes)| secrets.chunk(bytes).unwrap());
    secrets
}

fn load(ledger: &Ledger, secrets: LedgerSecrets) -> Result<Loader, LoadError> {
    let mut loader = Loader::new(secrets, Vec::new(), [1, 2], 16);
    ledger.entries.iter().try_for_each(|entry| loader.push(entry.clone(), false))?;
    Ok(loader)
}

#[test]
fn members_open_every_entry_of_every_period() {
    let Made { ledger, rekeys, shares, .. } = made();
    let read = read(&ledger);
    assert_eq!(read.threshold(), Some(2));
    let secrets = read.of_shares(&shares[1..]).unwrap();
    let begins: Vec<Seqno> = secrets.periods().iter().map(|period| period.from).collect();
    assert_eq!(begins, [Seqno(1), rekeys[0].next(), rekeys[1].next()]);
    let mut private = 0;
    for entry in &ledger.entries {
        let entry = EntryView::parse(entry).unwrap();
        let open = entry.open(secrets.at(entry.tx_id().seqno)).unwrap();
        private += usize::from(!open.private.is_empty());
    }
    assert_eq!(private, 12);
    let service = Certificate::from_pem(&ledger.service_pem).unwrap();
    let mut verifier = Verifier::new(service).with_secret(secrets.clone());
    ledger.files.iter().for_each(|(name, bytes)| verifier.chunk(name, bytes).unwrap());
    assert_eq!(verifier.finish(None).unwrap().last.seqno, last(&ledger));
    assert_eq!(load(&ledger, secrets).unwrap().last().seqno, last(&ledger));
}

#[test]
fn a_node_with_fewer_secrets_stops_at_the_first_entry_of_the_next_period() {
    let Made { ledger, rekeys, .. } = made();
    let first = Period { from: Seqno(1), secret: LedgerSecret::new(&[0x42; 32]) };
    let second = Period { from: rekeys[0].next(), secret: LedgerSecret::new(&[0x50; 32]) };
    let newest = Period { from: rekeys[1].next(), secret: LedgerSecret::new(&[0x51; 32]) };
    let early = Period { from: rekeys[0], ..second.clone() };
    for (periods, refused) in [
        (vec![first.clone()], rekeys[0].next()),
        (vec![first.clone(), second], rekeys[1].next()),
        (vec![first, early], rekeys[0]),
    ] {
        match load(&ledger, LedgerSecrets::new(periods).unwrap()).unwrap_err() {
            LoadError::Open { id, .. } => assert_eq!(id.seqno, refused),
            other => panic!("{other:?}"),
        }
    }
    // Without the first it has what everybody may read, as in a recovery, and says so.
    let loader = load(&ledger, LedgerSecrets::new([newest]).unwrap()).unwrap();
    let secrets = loader.state().read().secrets().clone();
    assert!(!secrets.is_whole() && secrets.knows(last(&ledger)));
}

#[test]
fn shares_of_before_the_rekey_and_too_few_are_refused() {
    let Made { ledger, shares, old_shares, .. } = made();
    let read = read(&ledger);
    let say = |shares: &[RecoveryShare]| {
        let error = read.of_shares(shares).unwrap_err();
        let mut causes = vec![error.to_string()];
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            causes.push(error.to_string());
            source = error.source();
        }
        assert!(matches!(error, RecoverSecretsError::Chain(_)));
        causes.join(": ")
    };
    let few = say(&shares[..1]);
    assert!(few.ends_with("1 shares, and 2 are needed: 1 are missing"), "{few}");
    let old = say(&[shares[1].clone(), old_shares[0].clone()]);
    assert!(old.contains("the share number 2 belongs to no member of this sharing"), "{old}");
}

#[test]
fn a_ledger_up_to_its_first_rekey_takes_the_shares_of_then() {
    let Made { ledger, old_shares, rekeys, .. } = made();
    let mut read = RecoverSecrets::new();
    for entry in &ledger.entries {
        let entry = EntryView::parse(entry).unwrap();
        if entry.tx_id().seqno < rekeys[0] {
            read.entry(&entry).unwrap();
        }
    }
    let secrets = read.of_shares(&old_shares[..2]).unwrap();
    let [period] = secrets.periods() else { panic!("{secrets:?}") };
    assert_eq!((period.from, period.secret.secret()), (Seqno(1), &secret(0x42)));
}

#[test]
fn missing_entries_and_other_files_are_named() {
    let Made { ledger, .. } = made();
    let second: ChunkName = ledger.files[1].0.parse().unwrap();
    match RecoverSecrets::new().chunk(&ledger.files[1].1).unwrap_err() {
        ReadSecretsError::Order { expected, found } => {
            assert_eq!((expected, found), (Seqno(1), second.first));
        }
        other => panic!("{other:?}"),
    }
    let refused = RecoverSecrets::new().chunk(b"no chunk").unwrap_err();
    assert!(matches!(refused, ReadSecretsError::Chunk { first: Seqno(1), .. }), "{refused:?}");
}

/// A snapshot has the rows of all entries before it, and each past secret has one of its own.
#[test]
fn a_snapshots_tables_say_of_secrets_what_the_entries_before_it_said() {
    let Made { ledger, rekeys, shares, .. } = made();
    let taken = |mut chain: SecretChain, after: Seqno| {
        for entry in &ledger.entries {
            let entry = EntryView::parse(entry).unwrap();
            if entry.tx_id().seqno > after {
                chain.take(entry.tx_id().seqno, &entry.public_writes().unwrap()).unwrap();
            }
        }
        chain
    };
    let whole = taken(SecretChain::new(), Seqno::ZERO);
    let key = whole.combine(&shares[1..]).unwrap();
    let expected = whole.unwrap(&key);
    assert_eq!(expected.as_ref().map(Vec::len), Ok(3));
    // What nodes are told beside the members, and the secret that is kept for them.
    let periods = [Seqno(1), rekeys[0].next()].into_iter().zip([0x42, 0x50]);
    let mut told: Vec<(Seqno, WriteSet)> = rekeys
        .iter()
        .zip(periods)
        .zip([0x50, 0x51])
        .map(|((at, (from, before)), next)| {
            let mut set = newest_row("{\"secrets\":{}}".to_owned());
            let sealed = seal_secret(&secret(next), &secret(before));
            set.insert(&MapName::from_static(PAST_SECRETS_MAP), &from.0.to_be_bytes(), sealed);
            (*at, set)
        })
        .collect();
    // A recovery began after all that, and has not ended.
    let (end, mut store) = (last(&ledger).next(), Store::new(Vec::new(), [1, 2]));
    told.push((end, newest_row(format!("{{\"from\":{end},\"secrets\":{{}}}}"))));
    for at in (1..=end.0).map(Seqno) {
        let entry = usize::try_from(at.0 - 1).unwrap();
        let entry = ledger.entries.get(entry).map(|entry| EntryView::parse(entry).unwrap());
        let mut set = entry.map(|entry| entry.public_writes().unwrap().to_write_set());
        let told = told.iter().filter(|(seqno, _)| *seqno == at);
        for (map, key, value) in told.flat_map(|(_, more)| more.iter()) {
            set.get_or_insert_default().insert(map, key, value.unwrap().to_vec());
        }
        store.apply(at, &set.unwrap()).unwrap();
        let bytes = store.reader().head().encode(Domain::Public, &WriteSet::new());
        let image = StateImage::parse(&bytes, Domain::Public, at).unwrap();
        let chain = taken(SecretChain::of_image(&image).unwrap(), at);
        assert_eq!(chain.unwrap(&key), expected, "from a snapshot of {at}");
    }
}

fn newest_row(row: String) -> WriteSet {
    let mut set = WriteSet::new();
    set.insert(&MapName::from_static(NODE_SECRETS_MAP), tables::singleton_key(), row.into_bytes());
    set
}
