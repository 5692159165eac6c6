//! Makes `fixture/` and `fuzz/seeds` anew: a small ledger of a real service with its entries and receipts, and signed
//! transactions. Needed only when a format has changed; the corpora must be fuzzed again after it,
//! since what they hold of the old service then fails its signatures.
//!
//! `cargo run --package coco-fuzz --example seeds`, or with `snapshots` behind it for those of snapshots alone, which are of a
//! service of their own

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a tool stops at what it did not expect"
)]

#[path = "../../coco-ledger/tests/fixture/ledger.rs"]
mod fixture;
#[path = "../../coco-ledger/tests/fixture/snapshot.rs"]
mod snapshot;

use std::{fs, path::Path};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718 as _,
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use coco_crypto::cose::Sign1;
use coco_kv::{Domain, MapName, WriteSet};
use coco_ledger::{EntryFlags, EntryView, SnapshotFile};
use coco_types::codec::Reader;
use fixture::Ledger;
use secp256k1::{Message, Secp256k1, SecretKey};

fn main() {
    if std::env::args().nth(1).as_deref() != Some("snapshots") {
        ledger_and_transactions();
    }
    snapshots();
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    let folder = here().join("../../fuzz/seeds").join(target);
    fs::create_dir_all(&folder).expect("the folder can be made");
    fs::write(folder.join(name), bytes).expect("the file can be written");
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn ledger_and_transactions() {
    let here = here();
    let ledger = Ledger::small(2);
    let node_pem = coco_ledger::Signer::node_certificate_pem(&ledger.signer).to_owned();
    fs::write(here.join("fixture/service_cert.pem"), &ledger.service_pem).expect("written");
    fs::write(here.join("fixture/node_cert.pem"), &node_pem).expect("written");
    for (n, (name, bytes)) in ledger.files.iter().enumerate() {
        put("ledger", &format!("chunk-{n}"), &[name.as_bytes(), b"\n", bytes].concat());
        put("ledger", &format!("bare-{n}"), bytes);
    }
    for (n, bytes) in ledger.entries.iter().enumerate() {
        put("entry", &format!("entry-{n}"), bytes);
        let open = EntryView::parse(bytes).unwrap().open(&ledger.secret).unwrap();
        let set: WriteSet = open.writes().unwrap().to_write_set();
        let (public, private) = (set.encode(Domain::Public), set.encode(Domain::Private));
        let length = u16::try_from(public.len()).unwrap().to_le_bytes();
        put("write_set", &format!("set-{n}"), &[&length[..], &public, &private].concat());
    }
    for seqno in [1, 4, 11] {
        let receipt = ledger.receipt(seqno);
        put("receipt_json", &format!("receipt-{seqno}"), receipt.json().as_bytes());
        let cose = receipt.cose().unwrap();
        assert_eq!(Sign1::decode(&cose).unwrap().encode(), cose);
        put("receipt_cose", &format!("receipt-{seqno}"), &cose);
        put("cose_sign1", &format!("receipt-{seqno}"), &cose);
    }
    let signed = coco_ledger::Receipt::of_signature(&ledger.signatures[0]);
    put("receipt_json", "signature", signed.json().as_bytes());
    for pem in [&ledger.service_pem, &node_pem] {
        let certificate = coco_crypto::Certificate::from_pem(pem).unwrap();
        put("certificate", &certificate.key().digest().to_string()[..8], certificate.der());
    }
    transactions()
        .iter()
        .enumerate()
        .for_each(|(n, raw)| put("raw_transaction", &format!("tx-{n}"), raw));
}

fn snapshots() {
    let mut ledger = Ledger::new();
    ledger.genesis();
    (0..12).for_each(|n| ledger.record(n));
    ledger.sign(EntryFlags::CHUNK_AFTER);
    // What a replica wants to find of itself.
    let (mut marks, map) = (WriteSet::new(), MapName::from_static("coco.snapshot.replica"));
    for key in ["chunk bytes", "time ms"] {
        marks.insert(&map, key.as_bytes(), 0_u64.to_le_bytes());
    }
    let (name, file) = snapshot::take(&mut ledger, marks);
    let verified = SnapshotFile::split(&file).unwrap().verify(name, &ledger.service_pem).unwrap();
    let fixture = here().join("fixture");
    fs::write(fixture.join("snapshot_service_cert.pem"), &ledger.service_pem).expect("written");
    let digest = format!("{}\n", verified.digest());
    fs::write(fixture.join("snapshot_digest.txt"), digest).expect("written");
    put("snapshot", "named", &[name.to_string().as_bytes(), b"\n", &file].concat());
    put("snapshot", "bare", &file);

    let mut reader = Reader::new(&file[2..8]);
    let mut size = [0; 8];
    size[..6].copy_from_slice(reader.take(6, "size").unwrap());
    let end = 8 + usize::try_from(u64::from_le_bytes(size)).unwrap();
    put("snapshot_entry", "entry", &file[8..end]);
    let version = u8::try_from(name.seqno.0).unwrap();
    put(
        "state_image",
        "private",
        &[&[1, version], &verified.open(&ledger.secret).unwrap()[..]].concat(),
    );
    // After the entry's header, tag and nonce, and the public part's length, header and views.
    let mut reader = Reader::new(&file[36..end]);
    let mut public = Reader::new(reader.bytes("public part").unwrap());
    public.take(57, "header").unwrap();
    public.bytes("views").unwrap();
    put("state_image", "public", &[&[0, version], public.rest()].concat());
}

fn transactions() -> Vec<Vec<u8>> {
    let (to, input) = (TxKind::Call(Address::repeat_byte(7)), Bytes::from_static(&[1, 2, 3]));
    let access_list = AccessList(vec![AccessListItem {
        address: Address::repeat_byte(8),
        storage_keys: vec![B256::repeat_byte(9)],
    }]);
    let legacy = |chain_id, to, input: &Bytes| TxLegacy {
        chain_id,
        nonce: 1,
        gas_price: 7,
        gas_limit: 21_000,
        to,
        value: U256::from(5),
        input: input.clone(),
    };
    let authorization =
        Authorization { chain_id: U256::from(CHAIN), address: Address::repeat_byte(3), nonce: 0 };
    let by = sign(authorization.signature_hash());
    vec![
        raw(legacy(Some(CHAIN), to, &input)),
        raw(legacy(None, to, &input)),
        raw(legacy(Some(CHAIN), TxKind::Create, &input)),
        raw(legacy(Some(1), to, &Bytes::new())),
        raw(TxEip2930 {
            chain_id: CHAIN,
            nonce: 1,
            gas_price: 7,
            gas_limit: 30_000,
            to,
            value: U256::ZERO,
            access_list: access_list.clone(),
            input: input.clone(),
        }),
        raw(TxEip1559 {
            chain_id: CHAIN,
            nonce: 1,
            gas_limit: 30_000,
            max_fee_per_gas: 9,
            max_priority_fee_per_gas: 2,
            to,
            value: U256::ZERO,
            access_list: access_list.clone(),
            input: input.clone(),
        }),
        raw(TxEip7702 {
            chain_id: CHAIN,
            nonce: 1,
            gas_limit: 60_000,
            max_fee_per_gas: 9,
            max_priority_fee_per_gas: 2,
            to: Address::repeat_byte(7),
            value: U256::ZERO,
            access_list,
            authorization_list: vec![SignedAuthorization::new_unchecked(
                authorization,
                u8::from(by.v()),
                by.r(),
                by.s(),
            )],
            input,
        }),
    ]
}

const CHAIN: u64 = 31_337;

fn raw<T: SignableTransaction<Signature>>(transaction: T) -> Vec<u8>
where
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = sign(transaction.signature_hash());
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
}

fn sign(hash: B256) -> Signature {
    let key = SecretKey::from_byte_array([0x11; 32]).expect("it is a key");
    let (id, bytes) = Secp256k1::new()
        .sign_ecdsa_recoverable(Message::from_digest(hash.0), &key)
        .serialize_compact();
    let [r, s] = [0, 32].map(|at| U256::from_be_slice(&bytes[at..at + 32]));
    Signature::new(r, s, i32::from(id) == 1)
}
