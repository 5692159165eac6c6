//! Entries, chunks, receipts and endorsements, read as an auditor and as a node that starts reads them.
//!
//! The corpora were made by a service whose keys are gone; its certificate lies in `fixture/`.

use std::sync::LazyLock;

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_ledger::{
    CHUNK_HEADER_BYTES, Chunk, ENTRY_HEADER_BYTES, EndorsementRow, Endorsements, EntryView,
    LedgerSecret, SignatureRecord, VerifiedReceipt, Verifier, entry_bytes, seal, verify_cose,
    verify_json,
};
use coco_replica::Loader;

const SERVICE_PEM: &str = include_str!("../fixture/service_cert.pem");

/// The secret under which the corpora are sealed: the one of the tests of `coco-ledger`.
pub(crate) static SECRET: LazyLock<LedgerSecret> = LazyLock::new(|| LedgerSecret::new(&[0x42; 32]));

/// The service that made the corpora.
pub(crate) fn service() -> &'static Certificate {
    static SERVICE: LazyLock<Certificate> =
        LazyLock::new(|| Certificate::from_pem(SERVICE_PEM).expect("the fixture is a certificate"));
    &SERVICE
}

/// Its one node.
pub(crate) fn node() -> &'static Certificate {
    static NODE: LazyLock<Certificate> = LazyLock::new(|| {
        Certificate::from_pem(include_str!("../fixture/node_cert.pem"))
            .expect("the fixture is a certificate")
    });
    &NODE
}

pub(crate) fn entry(data: &[u8]) {
    if let Some((header, _)) = data.split_first_chunk::<ENTRY_HEADER_BYTES>() {
        let claimed = entry_bytes(header);
        let whole = EntryView::parse(data);
        assert!(whole.is_err() || claimed == Ok(data.len()), "two readings of one length");
    }
    let Ok(entry) = EntryView::parse(data) else { return };
    assert_eq!(entry.bytes(), data);
    let _leaf = entry.leaf();
    let writes = entry.public_writes();
    if let Ok(Some(record)) = SignatureRecord::read(&entry) {
        assert!(entry.is_signature() && writes.is_ok());
        let _holds = record.verify(&record.root, node().key(), service().key()).is_ok();
    }
    if let Ok(open) = entry.open(&SECRET)
        && let Ok(writes) = open.writes()
    {
        let set = writes.to_write_set();
        let again = seal(&SECRET, entry.tx_id(), entry.flags(), entry.claims(), &set);
        assert_eq!(again.map(|sealed| sealed.bytes), Ok(Bytes::copy_from_slice(data)));
    }
}

pub(crate) fn ledger(data: &[u8]) {
    // The fuzzer likes to put lines of its own before a file: the name comes first, and the chunk after it.
    let (name, file) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) if data.starts_with(b"ledger_") => (&data[..at], &data[at + 1..]),
        _ => (&b"ledger_1"[..], data),
    };
    let name = String::from_utf8_lossy(name);
    let chunk = Chunk::parse(file);
    if let Ok(chunk) = &chunk {
        let entries: Vec<u8> =
            chunk.entries.iter().flat_map(|(_, entry)| entry.bytes()).copied().collect();
        let end = usize::try_from(chunk.end).expect("it lies in the file");
        assert_eq!(file.get(CHUNK_HEADER_BYTES..end), Some(entries.as_slice()));
        let table = if chunk.is_closed { 4 * chunk.entries.len() as u64 } else { 0 };
        assert_eq!(chunk.end + table + chunk.torn_bytes, file.len() as u64);
        load(chunk);
    }
    for verifier in [
        Verifier::new(service().clone()),
        Verifier::new(service().clone()).with_secret(SECRET.clone()),
    ] {
        let mut verifier = verifier;
        if verifier.chunk(&name, file).is_ok() {
            assert!(chunk.is_ok(), "what verifies is a chunk");
            let _report = verifier.finish(None).is_ok();
        }
    }
}

/// As a node that starts.
fn load(chunk: &Chunk<'_>) {
    let mut loader = Loader::new(SECRET.clone(), Vec::new(), [1, 2], 16);
    for (n, (_, entry)) in chunk.entries.iter().enumerate() {
        if loader.push(Bytes::copy_from_slice(entry.bytes()), true).is_err() {
            break;
        }
        assert_eq!(loader.last().seqno.0, n as u64 + 1);
    }
}

pub(crate) fn receipt_json(data: &[u8]) {
    if let Ok(verified) = verify_json(data, SERVICE_PEM) {
        believed(&verified);
    }
}

pub(crate) fn receipt_cose(data: &[u8]) {
    if let Ok(verified) = verify_cose(data, SERVICE_PEM) {
        believed(&verified);
        assert!(verified.leaf_components.is_some());
    }
}

pub(crate) fn endorsements(data: &[u8]) {
    // Nobody has the service's key any more, so only a list of none holds.
    if let Ok(list) = Endorsements::decode(data) {
        assert_eq!(list.encode(), data, "a list has one encoding");
        assert_eq!(list.verify(service().key()).is_ok(), list.messages().is_empty());
    }
    if let Ok(row) = EndorsementRow::read(data) {
        assert!(row.verify(service().key()).is_err());
    }
}

fn believed(verified: &VerifiedReceipt) {
    let named = verified.leaf_components.as_ref().map(|leaf| leaf.tx_id());
    assert_eq!(named, verified.tx_id.map(Ok), "the transaction is the one that the leaf names");
}
