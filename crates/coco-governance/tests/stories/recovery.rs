//! Shares of the ledger secret are dealt, and members bring it back with them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{CombineError, DecryptionKey, RecoveryShare, SecretBytes};
use coco_governance::{
    ChainError, Effect, ErrorCode, FirstGovernance, FirstMember, MemberId, Message, Occasion,
    OpenShareError, OpenSharingError, RecoveryProgress, Reply, Route, SecretChain, SecretFrom,
    encrypt_share, encrypted_share, forget_submitted_shares, seal_secret, share, tables,
};
use coco_kv::{Domain, MapName, WriteSet, WriteSetView};
use coco_types::Seqno;
use serde_json::{Value, json};

use crate::consortium::{Consortium, Sent, code};

const WAITING: &str = "WaitingForRecoveryShares";

fn secret(of: u8) -> SecretBytes {
    SecretBytes::new(vec![of; 32])
}

/// Members with keys of their own, and what the ledger says.
struct Recovery {
    c: Consortium,
    keys: Vec<DecryptionKey>,
    /// A write set of each entry that dealt shares.
    entries: Vec<(Seqno, WriteSet)>,
    seeds: u8,
}

impl Recovery {
    /// Members with these roles; none is a member without a key.
    fn new(threshold: usize, roles: &[Option<&str>]) -> Self {
        let mut c = Consortium::new(roles.len());
        let keys: Vec<DecryptionKey> = roles.iter().map(|_| DecryptionKey::generate()).collect();
        for (at, role) in roles.iter().enumerate() {
            let Some(role) = role else { continue };
            let id = c.members[at].id().key();
            c.set(&[
                (tables::MEMBERS_INFO, &id, json!({ "status": "Active", "recovery_role": role })),
                (tables::MEMBERS_ENCRYPTION_KEYS, &id, json!(keys[at].public().pem())),
            ]);
        }
        let mut made = Self { c, keys, entries: Vec::new(), seeds: 0 };
        made.set_threshold(threshold);
        made
    }

    fn set_threshold(&mut self, threshold: usize) {
        let row = json!({ "recovery_threshold": threshold });
        self.c.set(&[(tables::SERVICE_CONFIG, tables::singleton_key(), row)]);
    }

    fn set_status(&mut self, status: &str) {
        let row = json!({ "cert": "PEM", "status": status });
        self.c.set(&[(tables::SERVICE_INFO, tables::singleton_key(), row)]);
    }

    /// Deals shares in an entry of its own, and says which.
    fn deal(&mut self, occasion: &Occasion<'_>) -> Sent<Seqno> {
        self.seeds += 1;
        let reader = self.c.store.reader();
        let mut transaction = reader.begin();
        share(&mut transaction, occasion, &[self.seeds; 32], &encrypt_share)?;
        let next = reader.version().next();
        let written = self.c.store.commit(next, transaction.finish()).unwrap();
        self.entries.push((next, written));
        Ok(next)
    }

    fn open(&mut self, newest: &SecretBytes) -> Sent<Seqno> {
        let newest = SecretFrom { from: Seqno(1), secret: newest };
        self.deal(&Occasion::Opening { newest, previous: None })
    }

    /// What a member decrypts.
    fn share_of(&self, at: usize) -> Vec<u8> {
        let reader = self.c.store.reader();
        let view = encrypted_share(&mut reader.begin(), self.c.members[at].id()).unwrap();
        assert_eq!(view.member_id, self.c.members[at].id().to_string());
        let encrypted = STANDARD.decode(view.encrypted_share).unwrap();
        self.keys[at].decrypt(&encrypted).unwrap().expose().to_vec()
    }

    /// The service is lost, and another node waits for shares.
    fn lose(&mut self) {
        self.set_status(WAITING);
        self.c.submitted_under = Some(secret(0xee));
    }

    fn submit_text(&mut self, by: usize, text: &Value) -> Sent<RecoveryProgress> {
        let content = json!({ "share": text }).to_string();
        let member = &self.c.members[by];
        let envelope = member.sign(Message::RecoveryShare, self.c.now, content.as_bytes());
        let route = Route::SubmitRecoveryShare(member.id());
        match self.c.send(route, &envelope)? {
            Reply::RecoveryProgress(progress) => Ok(progress),
            other => panic!("{other:?}"),
        }
    }

    fn submit(&mut self, by: usize, share: &[u8]) -> Sent<RecoveryProgress> {
        self.submit_text(by, &json!(STANDARD.encode(share)))
    }

    fn submit_own(&mut self, by: usize) -> Sent<RecoveryProgress> {
        let share = self.share_of(by);
        self.submit(by, &share)
    }

    fn chain(&self) -> SecretChain {
        let mut chain = SecretChain::new();
        for (at, writes) in &self.entries {
            let bytes = writes.encode(Domain::Public);
            chain.take(*at, &WriteSetView::parse(&bytes, &[]).unwrap()).unwrap();
        }
        chain
    }

    /// The secrets that come out with the last effect.
    fn recovered(&self) -> Vec<(u64, u8)> {
        let [Effect::Recovered(key)] = &self.c.effects[..] else { panic!("{:?}", self.c.effects) };
        let secrets = self.chain().unwrap(key).unwrap();
        secrets.iter().map(|(from, secret)| (from.0, secret.expose()[0])).collect()
    }
}

const PARTICIPANT: Option<&str> = Some("Participant");

#[test]
fn enough_members_bring_all_secrets_back() {
    let mut r = Recovery::new(2, &[PARTICIPANT; 3]);
    r.open(&secret(1)).unwrap();
    let at = r.deal(&Occasion::Rekey {
        next: &secret(2),
        previous: SecretFrom { from: Seqno(1), secret: &secret(1) },
    });
    let second = at.unwrap().next();
    let at = r.deal(&Occasion::Rekey {
        next: &secret(3),
        previous: SecretFrom { from: second, secret: &secret(2) },
    });
    let third = at.unwrap().next();
    r.deal(&Occasion::Refresh { newest: &secret(3) }).unwrap();

    r.lose();
    let first = r.submit_own(2).unwrap();
    assert_eq!(
        first,
        RecoveryProgress {
            message: "1/2 recovery shares successfully submitted".to_owned(),
            submitted_count: 1,
            recovery_threshold: 2,
            full_key_submitted: false,
        }
    );
    assert_eq!(r.c.effects, []);
    let enough = r.submit_own(0).unwrap();
    assert_eq!(enough.submitted_count, 2);
    assert!(enough.message.starts_with("2/2 recovery shares"), "{}", enough.message);
    assert_eq!(r.recovered(), [(1, 1), (second.0, 2), (third.0, 3)]);
    assert_eq!(r.submit_own(1).unwrap().submitted_count, 3, "nor does a late one do harm");
    assert_eq!(r.recovered().len(), 3);
}

#[test]
fn a_recovered_service_hands_on_what_was_before_it() {
    let mut r = Recovery::new(1, &[PARTICIPANT]);
    r.open(&secret(1)).unwrap();
    r.deal(&Occasion::Opening {
        newest: SecretFrom { from: Seqno(40), secret: &secret(2) },
        previous: Some(SecretFrom { from: Seqno(1), secret: &secret(1) }),
    })
    .unwrap();
    r.lose();
    r.submit_own(0).unwrap();
    assert_eq!(r.recovered(), [(1, 1), (40, 2)]);
}

#[test]
fn an_owner_suffices_alone_and_is_no_participant() {
    let mut r = Recovery::new(2, &[PARTICIPANT, PARTICIPANT, Some("Owner"), None]);
    r.open(&secret(1)).unwrap();
    assert!(matches!(RecoveryShare::decode(&r.share_of(2)), Ok(RecoveryShare::Whole(_))));
    assert!(matches!(RecoveryShare::decode(&r.share_of(0)), Ok(RecoveryShare::Part(_))));
    let reader = r.c.store.reader();
    let none = encrypted_share(&mut reader.begin(), r.c.members[3].id());
    assert_eq!(code(none), ErrorCode::ResourceNotFound);
    r.lose();
    let done = r.submit_own(2).unwrap();
    assert!(done.full_key_submitted);
    assert_eq!(
        done.message,
        "Full recovery key successfully submitted\nEnd of recovery procedure initiated"
    );
    assert_eq!(r.recovered(), [(1, 1)]);
    r.set_threshold(3);
    assert_eq!(code(r.open(&secret(1))), ErrorCode::InternalError, "two hold shares");
}

#[test]
fn a_wrong_swapped_old_or_foreign_share_is_named() {
    let mut r = Recovery::new(2, &[PARTICIPANT, PARTICIPANT, PARTICIPANT, None]);
    r.open(&secret(1)).unwrap();
    let old = r.share_of(0);
    r.deal(&Occasion::Refresh { newest: &secret(1) }).unwrap();
    let (own, other) = (r.share_of(0), r.share_of(1));
    let names: Vec<String> = r.c.members.iter().map(|member| member.id().to_string()).collect();
    r.lose();
    let mut wrong = own.clone();
    wrong[9] ^= 1;
    let not_given = format!(
        "this is not the share that the member {} was given last: it is wrong, or older than the last rekey or refresh of shares",
        names[0]
    );
    for (by, share, expected) in [
        (0, &wrong, not_given.clone()),
        (0, &old, not_given),
        (0, &other, format!("this is the share of the member {}, not of {}", names[1], names[0])),
        (
            3,
            &wrong,
            format!("the member {} was given no share when they were dealt last", names[3]),
        ),
        (0, &own[1..].to_vec(), "a share has 44 bytes, not 43".to_owned()),
        (0, &vec![0xff; 44], "a value of the share is not below 2^31 - 1".to_owned()),
    ] {
        let refused = r.submit(by, share).unwrap_err();
        assert_eq!((refused.code, refused.message), (ErrorCode::InvalidInput, expected));
    }
    for text in [json!("?"), json!(1), json!("A".repeat(100_000))] {
        let refused = r.submit_text(0, &text).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidInput, "{}", refused.message);
    }
    assert_eq!(r.submit(0, &own).unwrap().submitted_count, 1, "none of them counted");
}

#[test]
fn a_member_counts_once() {
    let mut r = Recovery::new(2, &[PARTICIPANT; 2]);
    r.open(&secret(1)).unwrap();
    r.lose();
    for _ in 0..3 {
        assert_eq!(r.submit_own(0).unwrap().submitted_count, 1);
        assert_eq!(r.c.effects, []);
    }
}

#[test]
fn shares_are_taken_by_a_service_that_waits_for_them() {
    let mut r = Recovery::new(1, &[PARTICIPANT]);
    r.open(&secret(1)).unwrap();
    let own = r.share_of(0);
    r.c.submitted_under = Some(secret(9));
    for status in ["Open", "Opening", "Recovering"] {
        r.set_status(status);
        let refused = ErrorCode::ServiceNotWaitingForRecoveryShares;
        assert_eq!(code(r.submit(0, &own)), refused, "{status}");
    }
    r.set_status(WAITING);
    r.c.submitted_under = None;
    assert_eq!(code(r.submit(0, &own)), ErrorCode::InternalError);
    let id = r.c.members[0].id().key();
    r.c.submitted_under = Some(secret(9));
    r.c.set(&[(tables::MEMBERS_INFO, &id, json!({ "status": "Accepted" }))]);
    assert_eq!(code(r.submit(0, &own)), ErrorCode::InvalidAuthenticationInfo);
}

#[test]
fn what_is_sent_is_in_no_table_as_it_was_sent() {
    let mut r = Recovery::new(2, &[PARTICIPANT; 2]);
    r.open(&secret(1)).unwrap();
    r.lose();
    let own = r.share_of(0);
    let sent = STANDARD.encode(&own).into_bytes();
    r.submit(0, &own).unwrap();
    let written = r.c.written.encode(Domain::Public);
    for needle in [&own[4..], &sent] {
        assert!(!written.windows(needle.len()).any(|window| window == needle));
    }
    // The request is one long base64 text in the history, in which neither would be seen.
    assert!(r.c.row(tables::COSE_HISTORY, &r.c.members[0].id().key()).is_none());
    assert!(r.c.row(tables::ENCRYPTED_SUBMITTED_SHARES, &r.c.members[0].id().key()).is_some());
}

#[test]
fn shares_of_an_earlier_recovery_do_not_count() {
    let mut r = Recovery::new(2, &[PARTICIPANT; 2]);
    r.open(&secret(1)).unwrap();
    r.lose();
    r.submit_own(0).unwrap();
    r.c.submitted_under = Some(secret(0xdd));
    assert_eq!(r.submit_own(1).unwrap().submitted_count, 1, "kept under another secret");
    r.c.submitted_under = Some(secret(0xee));
    r.deal(&Occasion::Refresh { newest: &secret(1) }).unwrap();
    assert_eq!(r.submit_own(1).unwrap().submitted_count, 1, "of another sharing");

    let reader = r.c.store.reader();
    let mut transaction = reader.begin();
    forget_submitted_shares(&mut transaction).unwrap();
    r.c.store.commit(reader.version().next(), transaction.finish()).unwrap();
    for member in &r.c.members {
        assert!(r.c.row(tables::ENCRYPTED_SUBMITTED_SHARES, &member.id().key()).is_none());
    }
}

#[test]
fn the_threshold_is_that_of_the_sharing() {
    let mut r = Recovery::new(2, &[PARTICIPANT; 3]);
    r.open(&secret(1)).unwrap();
    // Voted, and no share was dealt since.
    r.set_threshold(1);
    r.lose();
    assert_eq!(r.submit_own(0).unwrap().recovery_threshold, 2);
    assert_eq!(r.c.effects, []);
}

#[test]
fn what_cannot_be_dealt_is_refused_and_named() {
    let key = DecryptionKey::generate().public().pem();
    for (threshold, roles, expected) in [
        (0, &[PARTICIPANT][..], "the recovery threshold is not set, or zero"),
        (2, &[PARTICIPANT], "the recovery threshold is 2, and 1 active members hold shares"),
        (
            2,
            &[Some("Owner"), Some("Owner")],
            "the recovery threshold is 2, and 0 active members hold shares",
        ),
        (1, &[None], "no active member has a key to encrypt a share to"),
        (1, &[Some("NonParticipant")], "no active member has a key to encrypt a share to"),
    ] {
        let mut r = Recovery::new(threshold, roles);
        assert_eq!(r.open(&secret(1)).unwrap_err().message, expected);
    }
    let mut r = Recovery::new(1, &[Some("Owner")]);
    assert!(r.open(&secret(1)).is_ok(), "an owner needs nobody");

    let mut r = Recovery::new(2, &[PARTICIPANT; 2]);
    let id = r.c.members[1].id();
    r.c.set(&[(
        tables::MEMBERS_INFO,
        &id.key(),
        json!({ "status": "Accepted", "recovery_role": "Participant" }),
    )]);
    assert!(r.open(&secret(1)).is_err(), "one of the two is not active");
    r.c.set(&[
        (tables::MEMBERS_INFO, &id.key(), json!({ "status": "Active" })),
        (tables::MEMBERS_ENCRYPTION_KEYS, &id.key(), json!("PEM")),
    ]);
    let refused = r.open(&secret(1)).unwrap_err();
    assert!(refused.message.contains(&format!("the member {id} is unusable")), "{refused}");
    r.c.set(&[(tables::MEMBERS_ENCRYPTION_KEYS, &id.key(), json!(key))]);
    assert!(r.open(&secret(1)).is_ok(), "a key without a role holds a share");
}

#[test]
fn shares_are_dealt_to_255_members_and_no_more() {
    let mut r = Recovery::new(255, &[PARTICIPANT]);
    let pem = r.keys[0].public().pem();
    let add = |r: &mut Recovery, of: u8| {
        let id = MemberId(coco_crypto::sha256(&[of])).key();
        r.c.set(&[
            (tables::MEMBERS_INFO, &id, json!({ "status": "Active" })),
            (tables::MEMBERS_ENCRYPTION_KEYS, &id, json!(pem)),
        ]);
    };
    (1..=253).for_each(|of| add(&mut r, of));
    assert!(r.open(&secret(1)).is_err(), "254, and all of 255 are needed");
    add(&mut r, 254);
    assert!(r.open(&secret(1)).is_ok());
    add(&mut r, 255);
    let refused = r.open(&secret(1)).unwrap_err();
    assert_eq!(refused.message, "256 recovery members, of at most 255");
}

#[test]
fn rows_have_ccfs_fields() {
    let mut r = Recovery::new(1, &[PARTICIPANT]);
    r.open(&secret(1)).unwrap();
    let names = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let row = r.c.json(tables::RECOVERY_SHARES, tables::singleton_key()).unwrap();
    assert_eq!(
        names(&row),
        ["encrypted_shares", "share_digests", "threshold", "wrapped_latest_ledger_secret"]
    );
    let wrapped = STANDARD.decode(row["wrapped_latest_ledger_secret"].as_str().unwrap()).unwrap();
    assert_eq!(
        (wrapped.len(), &wrapped[16..28]),
        (60, &[0; 12][..]),
        "tag, nonce of zeros, secret"
    );
    let row = r.c.json(tables::PAST_LEDGER_SECRET, tables::singleton_key()).unwrap();
    assert_eq!(row, json!({ "next_version": 1 }));
    let previous = SecretFrom { from: Seqno(1), secret: &secret(1) };
    r.deal(&Occasion::Rekey { next: &secret(2), previous }).unwrap();
    let row = r.c.json(tables::PAST_LEDGER_SECRET, tables::singleton_key()).unwrap();
    assert_eq!(names(&row), ["previous_ledger_secret"]);
    let row = &row["previous_ledger_secret"];
    assert_eq!(
        (names(row), &row["version"]),
        (vec!["encrypted_data".into(), "version".into()], &json!(1))
    );
    let wrapped = STANDARD.decode(row["encrypted_data"].as_str().unwrap()).unwrap();
    assert_eq!(wrapped.len(), 60);
    assert!(wrapped[27] & 0x80 != 0, "no nonce of an entry");
}

/// A ledger of three periods, read without a node.
fn three_periods() -> Recovery {
    let mut r = Recovery::new(2, &[PARTICIPANT; 3]);
    r.open(&secret(1)).unwrap();
    let first = SecretFrom { from: Seqno(1), secret: &secret(1) };
    let at = r.deal(&Occasion::Rekey { next: &secret(2), previous: first }).unwrap();
    let second = SecretFrom { from: at.next(), secret: &secret(2) };
    r.deal(&Occasion::Rekey { next: &secret(3), previous: second }).unwrap();
    r
}

#[test]
fn members_read_a_ledger_without_a_node() {
    let r = three_periods();
    let shares: Vec<RecoveryShare> =
        (0..3).map(|at| RecoveryShare::decode(&r.share_of(at)).unwrap()).collect();
    let chain = r.chain();
    assert_eq!(chain.threshold(), Some(2));
    for two in [[0, 1], [1, 2], [2, 0]] {
        let key = chain.combine(&two.map(|at| shares[at].clone())).unwrap();
        let secrets: Vec<u8> =
            chain.unwrap(&key).unwrap().iter().map(|(_, secret)| secret.expose()[0]).collect();
        assert_eq!(secrets, [1, 2, 3]);
    }
    let at = r.entries[2].0;
    let refused = |shares: &[RecoveryShare]| match chain.combine(shares).unwrap_err() {
        ChainError::Sharing { at: found, source } => {
            assert_eq!(found, at);
            source
        }
        other => panic!("{other:?}"),
    };
    let few = CombineError::Few { found: 1, threshold: 2 };
    assert_eq!(refused(&shares[..1]), OpenSharingError::Combine(few));
    let twice = [shares[1].clone(), shares[1].clone()];
    assert!(matches!(refused(&twice), OpenSharingError::Combine(CombineError::Twice(_))));
    let mut wrong = shares[1].encode();
    wrong[4] ^= 1;
    let wrong = [shares[0].clone(), RecoveryShare::decode(&*wrong).unwrap()];
    assert_eq!(refused(&wrong), OpenSharingError::Unknown { number: 2 });
}

/// What nodes go by of a new secret, in an entry that deals no shares.
fn rekey_without_members(next: &SecretBytes, previous: SecretFrom<'_>) -> WriteSet {
    let mut writes = WriteSet::new();
    let name = MapName::from_static("public:coco.internal.node_ledger_secrets");
    writes.insert(&name, tables::singleton_key(), br#"{"secrets":{}}"#.to_vec());
    let name = MapName::from_static("public:coco.internal.past_ledger_secrets");
    let sealed = seal_secret(next, previous.secret);
    writes.insert(&name, &previous.from.0.to_be_bytes(), sealed);
    writes
}

/// Nobody could hold a share when the service opened, nor when the ledger got its second secret: shares are dealt later on.
#[test]
fn a_ledger_whose_first_secrets_were_nobodys_to_share_gives_them_all() {
    let secrets = |r: &Recovery| -> Vec<(u64, u8)> {
        let shares = [0, 1].map(|at| RecoveryShare::decode(&r.share_of(at)).unwrap());
        let key = r.chain().combine(&shares).unwrap();
        let secrets = r.chain().unwrap(&key).unwrap();
        secrets.iter().map(|(from, secret)| (from.0, secret.expose()[0])).collect()
    };
    let mut r = Recovery::new(2, &[PARTICIPANT; 2]);
    r.deal(&Occasion::Refresh { newest: &secret(1) }).unwrap();
    assert_eq!(secrets(&r), [(1, 1)]);
    r.entries.clear();
    let first = SecretFrom { from: Seqno(1), secret: &secret(1) };
    let rekey = rekey_without_members(&secret(2), first);
    r.entries.push((Seqno(2), rekey.clone()));
    r.deal(&Occasion::Refresh { newest: &secret(2) }).unwrap();
    assert_eq!(secrets(&r), [(1, 1), (3, 2)]);
    let second = SecretFrom { from: Seqno(3), secret: &secret(2) };
    let at = r.deal(&Occasion::Rekey { next: &secret(3), previous: second }).unwrap();
    assert_eq!(secrets(&r), [(1, 1), (3, 2), (at.0 + 1, 3)]);
    // Ledgers of before there was a rule may have got another secret before their service opened.
    r.entries = vec![(Seqno(2), rekey)];
    r.deal(&Occasion::Opening { newest: second, previous: None }).unwrap();
    assert_eq!(secrets(&r), [(1, 1), (3, 2)]);
    // What began when nobody held a share any more does not come out.
    let third = rekey_without_members(&secret(3), second);
    r.entries.push((r.entries[1].0.next(), third));
    let shares = [0, 1].map(|at| RecoveryShare::decode(&r.share_of(at)).unwrap());
    let key = r.chain().combine(&shares).unwrap();
    assert_eq!(r.chain().unwrap(&key).unwrap_err(), ChainError::NoShares);
}

#[test]
fn a_chain_with_a_missing_or_altered_link_is_named() {
    let mut r = three_periods();
    let shares: Vec<RecoveryShare> =
        (0..2).map(|at| RecoveryShare::decode(&r.share_of(at)).unwrap()).collect();
    let key = r.chain().combine(&shares).unwrap();
    let [first, second, third] = &r.entries.clone()[..] else { panic!() };
    let mut unwrap = |entries: Vec<(Seqno, WriteSet)>| {
        r.entries = entries;
        r.chain().unwrap(&key).unwrap_err()
    };
    let gap = ChainError::Gap { at: third.0, named: second.0.next(), found: Some(Seqno(1)) };
    assert_eq!(unwrap(vec![first.clone(), third.clone()]), gap);
    let gap = ChainError::Gap { at: third.0, named: second.0.next(), found: None };
    assert_eq!(unwrap(vec![third.clone()]), gap);
    assert_eq!(unwrap(Vec::new()), ChainError::NoShares);
    let older = unwrap(vec![first.clone(), second.clone()]);
    let source = OpenSharingError::Record;
    assert_eq!(older, ChainError::Sharing { at: second.0, source }, "another sharing's key");

    // The secret before is sealed under a stranger's.
    let mut forged = third.1.clone();
    let sealed = STANDARD.encode([7; 60]);
    let row = json!({ "previous_ledger_secret": { "encrypted_data": sealed, "version": second.0.0 + 1 } });
    let name = MapName::from_static(tables::PAST_LEDGER_SECRET);
    forged.insert(&name, tables::singleton_key(), row.to_string().into_bytes());
    let refused = unwrap(vec![first.clone(), second.clone(), (third.0, forged)]);
    assert_eq!(refused, ChainError::Past { at: third.0, from: second.0.next() });

    let mut broken = WriteSet::new();
    broken.insert(&name, tables::singleton_key(), b"{".to_vec());
    let bytes = broken.encode(Domain::Public);
    let refused =
        SecretChain::new().take(Seqno(9), &WriteSetView::parse(&bytes, &[]).unwrap()).unwrap_err();
    assert!(
        refused.to_string().starts_with("what the entry 9 says of ledger secrets"),
        "{refused}"
    );
}

#[test]
fn a_service_is_not_made_with_a_key_that_nothing_can_be_encrypted_to() {
    let c = Consortium::new(2);
    let good = DecryptionKey::generate().public().pem();
    let member = |at: usize, key: &str| FirstMember {
        certificate_pem: c.members[at].certificate.pem(),
        encryption_key_pem: Some(key.to_owned()),
        data: None,
    };
    let put = |second: &str| {
        let first = FirstGovernance {
            constitution: String::new(),
            members: vec![member(0, &good), member(1, second)],
            recovery_threshold: Some(2),
            restart_from_disk: false,
            voting_policy: None,
        };
        first.put(&mut WriteSet::new())
    };
    assert!(put(&good).is_ok());
    let refused = put("PEM").unwrap_err();
    assert_eq!(refused.to_string(), "the encryption key of member 2 cannot be used");
}

#[test]
fn a_key_takes_its_own_share_out_of_the_ledger() {
    let mut r = Recovery::new(2, &[PARTICIPANT, PARTICIPANT, Some("Owner")]);
    assert_eq!(r.chain().open_share(&r.keys[0]).unwrap_err(), OpenShareError::NoShares);
    r.open(&secret(1)).unwrap();
    let at = r.deal(&Occasion::Refresh { newest: &secret(1) }).unwrap();
    for member in 0..3 {
        let (holder, share) = r.chain().open_share(&r.keys[member]).unwrap();
        assert_eq!(holder, r.c.members[member].id().to_string());
        assert_eq!(share.encode().to_vec(), r.share_of(member));
    }
    let stranger = r.chain().open_share(&DecryptionKey::generate());
    assert_eq!(stranger.unwrap_err(), OpenShareError::NotHeld { at, shares: 3 });
    // What opens and is not what its digest says is no share.
    let (_, writes) = r.entries.last_mut().unwrap();
    let map = MapName::from_static(tables::RECOVERY_SHARES);
    let row = writes.get(&map, tables::singleton_key()).unwrap();
    let mut row: Value = serde_json::from_slice(row).unwrap();
    row["share_digests"][r.c.members[1].id().to_string()] = json!("ab".repeat(32));
    writes.insert(&map, tables::singleton_key(), row.to_string().into_bytes());
    assert!(r.chain().open_share(&r.keys[0]).is_ok());
    let other = r.chain().open_share(&r.keys[1]);
    assert_eq!(other.unwrap_err(), OpenShareError::NotHeld { at, shares: 3 });
}
