//! A service that was recovered, and somebody who trusts only the certificate that it has now.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "fixture/ledger.rs"]
mod fixture;
#[path = "fixture/snapshot.rs"]
mod snapshot;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{
    Certificate, CertificateError, Curve, EndorseNode, SigningKey, endorse_node, endorse_service,
    service_certificate,
};
use coco_kv::{MapName, WriteSet};
use coco_ledger::{
    Chunk, ChunkName, EarlierService, EndorsedService, EndorsementError, EndorsementRow,
    Endorsements, EntryFlags, Epoch, GenesisNode, LedgerFault, PREVIOUS_ENDORSEMENT_MAP, Receipt,
    ReceiptVerifier, Recovery, ServiceSigner, ServiceStatus, Signer, SnapshotFile, Verifier,
    VerifyReceiptError, put_endorsed_certificate, put_service, singleton_key, verify_cose,
    verify_json,
};
use coco_types::{Digest, Seqno, TxId};
use fixture::{Ledger, VALIDITY};
use serde_json::Value;

/// A ledger that was recovered, and what was kept of the time before.
struct Recovered {
    ledger: Ledger,
    /// The ledger as it was when the service was lost, with the keys of then; the newest last.
    lost: Vec<Ledger>,
    /// The services so far, the newest last.
    certificates: Vec<Certificate>,
    keys: Vec<SigningKey>,
    /// Endorsements of the services before, the newest last.
    rows: Vec<EndorsementRow>,
    began: TxId,
}

impl Recovered {
    fn new() -> Self {
        let ledger = Ledger::small(0);
        Self {
            certificates: vec![Certificate::from_pem(&ledger.service_pem).unwrap()],
            keys: vec![ledger.signer.service_key().clone()],
            lost: Vec::new(),
            rows: Vec::new(),
            began: TxId::new(2, 1),
            ledger,
        }
    }

    fn times(count: usize) -> Self {
        let mut recovered = Self::new();
        (0..count).for_each(|_| recovered.recover());
        recovered
    }

    /// What the next service has to say of the one until now.
    fn before(&self) -> EndorsedService {
        let last = self.ledger.signatures.last().unwrap();
        let epoch = Epoch { first: self.began, last: last.tx_id, root: last.root };
        EndorsedService { key: self.keys.last().unwrap().public().clone(), epoch }
    }

    fn previous(&self) -> Option<Seqno> {
        self.rows.last().map(|_| self.began.seqno)
    }

    fn recover(&mut self) {
        let key = SigningKey::generate(Curve::P384);
        let row = EndorsementRow::new(
            &self.before(),
            key.public(),
            |bytes| key.sign_fixed(bytes),
            self.previous(),
            1,
        );
        self.recover_as(&key, row);
    }

    /// Another service with this key and this row goes on, and has two records signed.
    fn recover_as(&mut self, key: &SigningKey, row: EndorsementRow) {
        self.lost.push(self.ledger.clone());
        let ledger = &mut self.ledger;
        let (node, service) =
            (SigningKey::generate(Curve::P384), service_certificate(key, VALIDITY).unwrap());
        let request = EndorseNode { key: node.public(), names: &[], validity: VALIDITY };
        let endorsed = endorse_node(key, &service, &request).unwrap().pem();
        ledger.signer = ServiceSigner::new(&node.pkcs8_der(), endorsed, &key.pkcs8_der()).unwrap();
        ledger.view += 2;
        let id = TxId::new(ledger.view, ledger.tree.len());
        let node = GenesisNode {
            node_id: ledger.signer.node_id(),
            certificate_pem: ledger.signer.node_certificate_pem().to_owned(),
            request_pem: None,
            quote_format: "Insecure_Virtual".to_owned(),
            code_digest: Digest([0xcd; 32]),
            rpc_address: "127.0.0.1:8000".to_owned(),
            peer_address: "127.0.0.1:8001".to_owned(),
            encryption_key_pem: "KEY".to_owned(),
        };
        let recovery = Recovery {
            id,
            certificate_pem: &service.pem(),
            previous_pem: &ledger.service_pem,
            signed_root: ledger.signatures.last().unwrap().root,
            endorsement: &row,
            service_row: b"{}",
            node_rows: &[],
            node: &node,
        };
        let set = recovery.write_set().unwrap();
        ledger.append(EntryFlags::NONE, Digest::ZERO, &set);
        ledger.service_pem = service.pem();
        (100..102).for_each(|n| ledger.record(n));
        ledger.sign(EntryFlags::NONE);
        self.began = id;
        self.certificates.push(service);
        self.keys.push(key.clone());
        self.rows.push(row);
    }

    fn trusted(&self) -> Certificate {
        self.certificates.last().unwrap().clone()
    }

    /// From the service of today to the one that was lost first, or to a later one.
    fn endorsements(&self, back_to: usize) -> Endorsements {
        let rows = self.rows[back_to..].iter().rev();
        Endorsements::new(rows.map(|row| row.message().to_vec()).collect()).unwrap()
    }

    fn verifier(&self) -> ReceiptVerifier {
        let verifier = ReceiptVerifier::new(self.trusted());
        verifier.with_endorsements(&self.endorsements(0)).unwrap()
    }

    /// A receipt of the service at a place, as the service of today hands it out.
    fn handed_out(&self, receipt: Receipt, service: usize) -> Receipt {
        let (key, trusted) = (self.keys.last().unwrap(), self.trusted());
        let certificate = endorse_service(key, &trusted, self.keys[service].public()).unwrap();
        receipt.of_earlier(EarlierService { certificate, endorsements: self.endorsements(service) })
    }

    fn verify(&self) -> Result<(), LedgerFault> {
        self.verified().map(drop)
    }

    /// What verifies receipts once the ledger was verified.
    fn verified(&self) -> Result<ReceiptVerifier, LedgerFault> {
        let mut verifier = Verifier::of_services(self.certificates.clone());
        for (file, bytes) in &self.ledger.files {
            verifier.chunk(file, bytes).map_err(|error| error.fault)?;
        }
        let receipts = verifier.receipts();
        verifier.finish(None).map(|_| receipts).map_err(|error| error.fault)
    }
}

#[test]
fn a_verifier_says_what_the_next_service_says_of_the_one_until_now() {
    for count in 0..3 {
        let recovered = Recovered::times(count);
        let mut verifier = Verifier::of_services(recovered.certificates.clone());
        assert_eq!(verifier.epoch(), None, "nothing is signed yet");
        for (file, bytes) in &recovered.ledger.files {
            verifier.chunk(file, bytes).unwrap();
        }
        let expected = (Some(recovered.before().epoch), recovered.previous());
        assert_eq!((verifier.epoch(), verifier.endorsed_at()), expected, "{count}");
    }
}

#[test]
fn receipts_of_before_are_believed_along_endorsements() {
    let recovered = Recovered::times(2);
    let (verifier, newest) = (recovered.verifier(), recovered.trusted().pem());
    let first = recovered.lost[0].receipt(4);
    let second = recovered.lost[1].receipt(recovered.lost[0].tree.len());
    for receipt in [first, second] {
        let (json, cose) = (receipt.json(), receipt.cose().unwrap());
        let by_json = verifier.json(json.as_bytes()).unwrap();
        assert_eq!(by_json.tx_id, Some(receipt.tx_id()));
        assert_eq!(verifier.cose(&cose).unwrap().tx_id, Some(receipt.tx_id()));
        let missing = verify_json(json.as_bytes(), &newest);
        assert!(matches!(missing, Err(VerifyReceiptError::Endorsement(_))), "{missing:?}");
        let missing = verify_cose(&cose, &newest);
        assert!(matches!(missing, Err(VerifyReceiptError::ServiceKey { .. })), "{missing:?}");
    }
    let new = recovered.ledger.receipt(recovered.began.seqno.0 + 1);
    assert!(verify_json(new.json().as_bytes(), &newest).is_ok());
    assert!(verifier.json(new.json().as_bytes()).is_ok());
    assert!(verifier.cose(&new.cose().unwrap()).is_ok());
}

#[test]
fn a_receipt_that_is_handed_out_later_brings_its_endorsements() {
    let recovered = Recovered::times(2);
    let newest = recovered.trusted().pem();
    for service in 0..2_usize {
        let before = service.checked_sub(1).map_or(0, |at| recovered.lost[at].tree.len());
        let receipt = recovered.handed_out(recovered.ledger.receipt(before + 2), service);
        let json = receipt.json();
        let verified = verify_json(json.as_bytes(), &newest).unwrap();
        assert_eq!(verified.tx_id, Some(receipt.tx_id()));
        for at in 0..json.len() {
            let mut changed = json.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(other) = verify_json(&changed, &newest) {
                assert_eq!(other, verified, "byte {at}");
            }
        }
        // The service between the two vouches for nothing that it does not know.
        let between = recovered.certificates[service].pem();
        assert!(verify_json(json.as_bytes(), &between).is_err());
    }
}

/// The refusal of a receipt whose JSON was changed.
fn refused(
    recovered: &Recovered,
    receipt: &Receipt,
    change: impl Fn(&mut serde_json::Map<String, Value>),
) -> VerifyReceiptError {
    let mut json: Value = serde_json::from_str(&receipt.json()).unwrap();
    change(json.as_object_mut().unwrap());
    let verifier = ReceiptVerifier::new(recovered.trusted());
    verifier.json(json.to_string().as_bytes()).unwrap_err()
}

#[test]
fn a_receipt_whose_links_are_forged_missing_or_out_of_order_is_refused() {
    let (recovered, other) = (Recovered::times(2), Recovered::times(2));
    let receipt = recovered.handed_out(recovered.ledger.receipt(4), 0);
    let (ours, cose) = ("service_endorsements", "service_endorsements_cose");
    let of_other = other.handed_out(other.ledger.receipt(4), 0).json();
    let of_other: Value = serde_json::from_str(&of_other).unwrap();
    let missing = refused(&recovered, &receipt, |json| drop(json.remove(cose)));
    assert!(matches!(missing, VerifyReceiptError::NoEpoch), "{missing:?}");
    let missing = refused(&recovered, &receipt, |json| {
        json.remove(ours);
        json.remove(cose);
    });
    assert!(matches!(missing, VerifyReceiptError::Endorsement(_)), "{missing:?}");
    for change in [ours, cose] {
        let forged = refused(&recovered, &receipt, |json| {
            json.insert(change.to_owned(), of_other[change].clone());
        });
        assert!(
            matches!(
                forged,
                VerifyReceiptError::Endorsement(_)
                    | VerifyReceiptError::Earlier(EndorsementError::Signature { .. })
            ),
            "{forged:?}"
        );
    }
    let reversed =
        refused(&recovered, &receipt, |json| json[cose].as_array_mut().unwrap().reverse());
    assert!(
        matches!(reversed, VerifyReceiptError::Earlier(EndorsementError::Signature { .. })),
        "{reversed:?}"
    );
    let senseless = refused(&recovered, &receipt, |json| json[cose][0] = "?".into());
    assert!(matches!(senseless, VerifyReceiptError::Field(_)), "{senseless:?}");
    let long = refused(&recovered, &receipt, |json| {
        let link = json[cose][0].clone();
        json[cose] = vec![link; 65].into();
    });
    assert!(matches!(long, VerifyReceiptError::Earlier(EndorsementError::Many { .. })), "{long:?}");
}

#[test]
fn a_key_of_before_proves_nothing_that_is_newer() {
    let recovered = Recovered::times(1);
    let verifier = recovered.verifier();
    // Whoever stole the keys goes on with the ledger that was lost.
    let mut fork = recovered.lost[0].clone();
    let last = fork.signatures.last().unwrap().clone();
    let next = fork.tree.len();
    fork.record(77);
    fork.sign(EntryFlags::NONE);
    let forged = fork.receipt(next);
    let by_cose = verifier.cose(&forged.cose().unwrap());
    assert!(
        matches!(by_cose, Err(VerifyReceiptError::Epoch { tx_id: Some(_), .. })),
        "{by_cose:?}"
    );
    for receipt in [forged.clone(), recovered.handed_out(forged, 0)] {
        let by_json = verifier.json(receipt.json().as_bytes());
        assert!(
            matches!(by_json, Err(VerifyReceiptError::Epoch { tx_id: Some(_), .. })),
            "{by_json:?}"
        );
    }
    // An old entry under a signature that the service never made.
    let entry = &fork.entries[3];
    let evidence = fork.secret.commit_evidence(TxId::new(2, 4));
    let newer = fork.signatures.last().unwrap();
    let under = Receipt::assemble(entry, evidence, &fork.tree, newer).unwrap();
    assert!(verifier.cose(&under.cose().unwrap()).is_err());
    // A bare root: only the last one is known to be old.
    for (signature, ok) in [(&last, true), (newer, false), (&fork.signatures[0], false)] {
        let by_json = verifier.json(Receipt::of_signature(signature).json().as_bytes());
        assert_eq!(by_json.is_ok(), ok, "{by_json:?}");
    }
}

/// The certificate by which a service endorses the one before it is no node's, whatever that one's key signs.
#[test]
fn a_key_of_before_is_no_node_of_a_later_service() {
    let mut recovered = Recovered::times(2);
    let stolen = &recovered.keys[0];
    let receipt = recovered.ledger.receipt(recovered.began.seqno.0 + 1);
    let root = Digest([7; 32]);
    for by in 1..3 {
        let (key, service) = (&recovered.keys[by], &recovered.certificates[by]);
        let link = endorse_service(key, service, stolen.public()).unwrap();
        let signature = Value::from(STANDARD.encode(stolen.sign_prehashed(&root)));
        let forged = refused(&recovered, &receipt, |json| {
            json.remove("leaf_components");
            json.insert("leaf".to_owned(), root.to_string().into());
            json.insert("proof".to_owned(), Value::Array(Vec::new()));
            json.insert("cert".to_owned(), link.pem().into());
            json.insert("node_id".to_owned(), stolen.public().node_id().to_string().into());
            json.insert("signature".to_owned(), signature.clone());
            if by == 1 {
                let messages = recovered.endorsements(1);
                let messages = messages.messages().iter().map(|it| STANDARD.encode(it));
                json.insert("service_endorsements_cose".to_owned(), messages.collect());
            }
        });
        let not_for_nodes =
            matches!(forged, VerifyReceiptError::Endorsement(CertificateError::NotForNodes));
        assert!(not_for_nodes, "{by}: {forged:?}");
    }
    // Nor does the ledger take it in as the certificate of a node.
    let (key, service) = (&recovered.keys[2], recovered.trusted());
    let link = endorse_service(key, &service, recovered.keys[0].public()).unwrap();
    let mut set = WriteSet::new();
    put_endorsed_certificate(&mut set, link.key().node_id(), &link.pem());
    recovered.ledger.append(EntryFlags::NONE, Digest::ZERO, &set);
    let refused = recovered.verify();
    let error = CertificateError::NotForNodes;
    assert!(
        matches!(&refused, Err(LedgerFault::Certificate { error: found, .. }) if *found == error),
        "{refused:?}"
    );
}

#[test]
fn a_recovered_ledger_verifies_with_its_endorsements() {
    for times in 0..3 {
        let recovered = Recovered::times(times);
        // Whoever has verified the ledger needs nothing else for receipts of before.
        let receipts = recovered.verified().unwrap();
        for seqno in [4, recovered.began.seqno.0] {
            let receipt = recovered.ledger.receipt(seqno);
            assert!(receipts.json(receipt.json().as_bytes()).is_ok(), "{times}: {seqno}");
            assert!(receipts.cose(&receipt.cose().unwrap()).is_ok(), "{times}: {seqno}");
        }
    }
}

/// Changes what is endorsed, and says in which entry the endorsement before is to stand.
type Change<'a> = &'a dyn Fn(&Recovered, &mut EndorsedService) -> Option<Seqno>;

#[test]
fn an_endorsement_in_the_ledger_that_is_not_true_is_found() {
    let key = || SigningKey::generate(Curve::P384);
    let with = |change: Change<'_>| {
        let mut recovered = Recovered::times(1);
        let (key, mut before) = (key(), recovered.before());
        let previous = change(&recovered, &mut before);
        recovered.recover_as(
            &key,
            EndorsementRow::new(&before, key.public(), |bytes| key.sign_fixed(bytes), previous, 1),
        );
        recovered.verify()
    };
    with(&|it, _| it.previous()).unwrap();
    let stranger = key();
    let wrong: [(&str, Change<'_>); 6] = [
        ("key", &|it, before| {
            before.key = stranger.public().clone();
            it.previous()
        }),
        ("first", &|it, before| {
            before.epoch.first = TxId::new(2, 1);
            it.previous()
        }),
        ("last", &|it, before| {
            before.epoch.last.seqno = before.epoch.last.seqno.next();
            it.previous()
        }),
        ("root", &|it, before| {
            before.epoch.root = Digest([1; 32]);
            it.previous()
        }),
        ("previous", &|_, _| None),
        ("other previous", &|_, _| Some(Seqno(1))),
    ];
    for (name, change) in wrong {
        let refused = with(change);
        assert!(matches!(refused, Err(LedgerFault::Endorsed)), "{name}: {refused:?}");
    }
    // Signed by somebody else than the service that begins.
    let mut recovered = Recovered::new();
    let row = EndorsementRow::new(
        &recovered.before(),
        stranger.public(),
        |bytes| stranger.sign_fixed(bytes),
        None,
        1,
    );
    recovered.recover_as(&key(), row);
    let refused = recovered.verify();
    assert!(matches!(refused, Err(LedgerFault::Endorsement(_))), "{refused:?}");
}

#[test]
fn an_endorsement_stands_in_the_first_entry_of_a_service_only() {
    let mut recovered = Recovered::times(1);
    let row = recovered.rows[0].clone();
    let mut misplaced = WriteSet::new();
    row.put(&mut misplaced);
    let mut removed = WriteSet::new();
    removed.remove(&MapName::from_static(PREVIOUS_ENDORSEMENT_MAP), singleton_key());
    for set in [misplaced, removed] {
        let kept = recovered.ledger.clone();
        recovered.ledger.append(EntryFlags::NONE, Digest::ZERO, &set);
        let refused = recovered.verify();
        assert!(matches!(refused, Err(LedgerFault::EndorsementPlace)), "{refused:?}");
        recovered.ledger = kept;
    }
}

/// Cuts the last file after an entry.
fn cut_after(ledger: &mut Ledger, seqno: Seqno) {
    let (_, bytes) = ledger.files.last_mut().unwrap();
    let chunk = Chunk::parse(bytes).unwrap();
    let mut entries = chunk.entries.iter();
    let (offset, _) = entries.find(|(_, entry)| entry.tx_id().seqno > seqno).unwrap();
    let offset = usize::try_from(*offset).unwrap();
    bytes.truncate(offset);
}

#[test]
fn a_ledger_in_which_the_trusted_service_signed_nothing_is_refused() {
    // Whoever has a ledger of their own names the trusted service in it, in an entry that nobody signs.
    let mut named = Recovered::new();
    let trusted = service_certificate(&SigningKey::generate(Curve::P384), VALIDITY).unwrap();
    let mut set = WriteSet::new();
    put_service(&mut set, &trusted.pem(), ServiceStatus::Recovering);
    named.ledger.append(EntryFlags::NONE, Digest::ZERO, &set);
    named.certificates.push(trusted);
    // A recovery that ends before its first signature.
    let mut cut = Recovered::times(1);
    cut_after(&mut cut.ledger, cut.began.seqno);
    for (name, recovered) in [("named", named), ("cut", cut)] {
        let first = ReceiptVerifier::new(recovered.certificates[0].clone());
        let receipt = first.json(recovered.ledger.receipt(4).json().as_bytes()).unwrap();
        let mut verifier = Verifier::of_services(recovered.certificates.clone());
        for (file, bytes) in &recovered.ledger.files {
            verifier.chunk(file, bytes).unwrap();
        }
        assert_eq!(verifier.epoch(), None, "{name}");
        let refusals = [verifier.check_receipt(&receipt), verifier.finish(None).map(drop)];
        for refused in refusals.map(|refused| refused.map_err(|error| error.fault)) {
            let is_unsigned = matches!(refused, Err(LedgerFault::UnsignedService(_)));
            assert!(is_unsigned, "{name}: {refused:?}");
        }
    }
}

/// The table of endorsed certificates keeps those of the service before.
#[test]
fn a_snapshot_that_was_made_after_a_recovery_stands_for_the_chunks_before_it() {
    let mut recovered = Recovered::times(2);
    let service = recovered.trusted();
    let ledger = &mut recovered.ledger;
    ledger.sign(EntryFlags::CHUNK_AFTER);
    let (name, file) = snapshot::take(ledger, WriteSet::new());
    let snapshot = SnapshotFile::split(&file).unwrap().verify(name, &ledger.service_pem).unwrap();
    let mut verifier = Verifier::from_snapshot(service, "snapshot", &snapshot).unwrap();
    let (chunk, bytes) = ledger.files.last().unwrap();
    verifier.chunk(chunk, bytes).unwrap();
    verifier.check_snapshot("snapshot", &snapshot).unwrap();
    verifier.finish(None).unwrap();
}

/// The first chunks of a ledger that was recovered twice are gone, and so are those of the service between.
#[test]
fn a_snapshot_of_before_a_recovery_stands_for_the_chunks_before_it() {
    let mut recovered = Recovered::new();
    recovered.ledger.sign(EntryFlags::CHUNK_AFTER);
    let (old, old_file) = snapshot::take(&mut recovered.ledger, WriteSet::new());
    recovered.recover();
    recovered.recover();
    recovered.ledger.sign(EntryFlags::CHUNK_AFTER);
    let (new, new_file) = snapshot::take(&mut recovered.ledger, WriteSet::new());
    let first = recovered.certificates[0].pem();
    let snapshot = SnapshotFile::split(&old_file).unwrap().verify(old, &first).unwrap();
    let services = recovered.certificates.clone();
    let mut verifier = Verifier::of_services_from(services, "snapshot", &snapshot).unwrap();
    let is_after = |(name, _): &&(String, Vec<u8>)| {
        name.parse::<ChunkName>().is_ok_and(|name| name.first > old.seqno)
    };
    let mut chunks = 0;
    for (chunk, bytes) in recovered.ledger.files.iter().filter(is_after) {
        verifier.chunk(chunk, bytes).unwrap();
        chunks += 1;
    }
    assert_eq!(chunks, 2);
    // The last service stands by both: by the older one as it endorses the service of then.
    let trusted = ReceiptVerifier::new(recovered.trusted());
    for (name, file, alone) in [(old, &old_file, false), (new, &new_file, true)] {
        let file = SnapshotFile::split(file).unwrap();
        assert_eq!(file.verify_by(name, &trusted).is_ok(), alone, "{name}");
        let snapshot = file.verify_by(name, &verifier.receipts()).unwrap();
        verifier.check_snapshot(&name.to_string(), &snapshot).unwrap();
    }
    let (before, at) = (recovered.before().epoch, verifier.endorsed_at());
    assert_eq!(at, Some(before.first.seqno));
    let epoch = verifier.epoch().unwrap();
    assert_eq!((epoch.first, epoch.last), (before.first, before.last));
    verifier.finish(None).unwrap();
    // Whoever begins with the newest one knows as much of the services.
    let snapshot = SnapshotFile::split(&new_file).unwrap().verify_by(new, &trusted).unwrap();
    let verifier = Verifier::from_snapshot(recovered.trusted(), "snapshot", &snapshot).unwrap();
    assert_eq!((verifier.endorsed_at(), verifier.epoch().unwrap().first), (at, before.first));
}
