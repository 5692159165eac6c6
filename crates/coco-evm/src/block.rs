//! Blocks: what was executed, in the form in which the ledger keeps it.
//!
//! A stored block holds only what cannot be computed: the header, and per transaction its raw bytes, its sender, whether
//! it succeeded, its gas and its logs. Hashes, cumulative gas, contract addresses and prices follow from these.

use alloy_consensus::{
    EthereumTxEnvelope, Header, Transaction, TxEip4844, Typed2718,
    constants::EMPTY_OMMER_ROOT_HASH, proofs::ordered_trie_root_with_encoder,
};
use alloy_eips::eip2718::{Decodable2718, Eip2718Error};
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, LogData, keccak256};
use alloy_rlp::{Decodable, Encodable};
use coco_types::codec::{DecodeError, Reader, put_u32, put_u64};
use thiserror::Error;

/// A signed transaction of any type; blob transactions without their sidecar.
pub type TxEnvelope = EthereumTxEnvelope<TxEip4844>;

/// A transaction whose form and signatures were verified on the edge.
#[derive(Clone, Debug)]
pub struct PooledTx {
    /// The decoded transaction.
    pub envelope: TxEnvelope,
    /// Its hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// Its bytes as they came, in the form of EIP-2718.
    pub raw: Bytes,
    /// Who signed each authorization of an EIP-7702 transaction; `None` where the signature is not valid, which skips
    /// that authorization alone. Empty for all other types.
    pub authorities: Vec<Option<Address>>,
}

/// An executed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its header.
    pub header: Header,
    /// Keccak-256 of the header.
    pub hash: B256,
    /// Its transactions, in order of execution.
    pub transactions: Vec<Included>,
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The decoded transaction.
    pub transaction: TxEnvelope,
    /// Its bytes in the form of EIP-2718.
    pub raw: Bytes,
    /// Its hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// What its execution left behind.
    pub outcome: TxOutcome,
}

/// What the execution of a transaction left behind, besides state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxOutcome {
    /// Whether it ran to its end; otherwise it reverted or ran out of gas, and only its fee was taken.
    pub success: bool,
    /// Gas that it paid for.
    pub gas_used: u64,
    /// Gas used in the block up to and including this transaction.
    pub cumulative_gas_used: u64,
    /// The address of the contract that it was to create; set also when that failed, as in geth.
    pub contract_address: Option<Address>,
    /// What it logged.
    pub logs: Vec<Log>,
    /// What it paid for one gas, in wei.
    pub effective_gas_price: u128,
}

/// Bytes that are no stored block.
#[derive(Debug, Error)]
pub enum DecodeBlockError {
    /// A field is short, over its limit or without meaning.
    #[error("block is malformed")]
    Format(#[from] DecodeError),
    /// The header is no RLP header.
    #[error("block header is malformed")]
    Header(#[source] alloy_rlp::Error),
    /// A transaction cannot be decoded.
    #[error("transaction {index} is malformed")]
    Transaction {
        /// Its index in the block.
        index: usize,
        /// The cause.
        source: Eip2718Error,
    },
}

impl TxOutcome {
    /// The filter of its logs.
    #[must_use]
    pub fn bloom(&self) -> Bloom {
        self.logs.iter().fold(Bloom::ZERO, |mut bloom, log| {
            bloom.accrue_log(log);
            bloom
        })
    }

    /// Appends the receipt in the form that the receipts root is made of (EIP-2718 around status, gas, filter, logs).
    pub(crate) fn encode_receipt(&self, tx_type: u8, bloom: &Bloom, out: &mut Vec<u8>) {
        if tx_type != 0 {
            out.push(tx_type);
        }
        let logs_payload = self.logs.iter().map(Encodable::length).sum();
        let logs = alloy_rlp::Header { list: true, payload_length: logs_payload };
        let payload_length = self.success.length()
            + self.cumulative_gas_used.length()
            + bloom.length()
            + logs.length()
            + logs.payload_length;
        alloy_rlp::Header { list: true, payload_length }.encode(out);
        self.success.encode(out);
        self.cumulative_gas_used.encode(out);
        bloom.encode(out);
        logs.encode(out);
        for log in &self.logs {
            log.encode(out);
        }
    }
}

impl Included {
    /// The derived half of an outcome: what the stored half and the block it stands in determine.
    fn derive(&mut self, base_fee: Option<u64>, gas_before: u64) {
        self.outcome.cumulative_gas_used = gas_before.saturating_add(self.outcome.gas_used);
        self.outcome.contract_address = contract_address(&self.transaction, self.sender);
        self.outcome.effective_gas_price = self.transaction.effective_gas_price(base_fee);
    }
}

/// The address that a creating transaction of `sender` creates at; `None` when it creates nothing.
#[must_use]
pub fn contract_address(transaction: &TxEnvelope, sender: Address) -> Option<Address> {
    transaction.is_create().then(|| sender.create(transaction.nonce()))
}

impl Block {
    /// Closes a block: computes both roots, the filter and the hash. `header` comes with everything else filled in.
    #[must_use]
    pub fn seal(mut header: Header, transactions: Vec<Included>) -> Self {
        let blooms: Vec<Bloom> =
            transactions.iter().map(|included| included.outcome.bloom()).collect();
        header.ommers_hash = EMPTY_OMMER_ROOT_HASH;
        header.transactions_root =
            ordered_trie_root_with_encoder(&transactions, |included, out| {
                out.extend_from_slice(&included.raw);
            });
        let receipts: Vec<(&Included, &Bloom)> = transactions.iter().zip(&blooms).collect();
        header.receipts_root =
            ordered_trie_root_with_encoder(&receipts, |(included, bloom), out| {
                included.outcome.encode_receipt(included.transaction.ty(), bloom, out);
            });
        header.logs_bloom = blooms.iter().fold(Bloom::ZERO, |all, bloom| all | *bloom);
        header.gas_used = transactions.last().map_or(0, |last| last.outcome.cumulative_gas_used);
        let hash = header.hash_slow();
        Self { header, hash, transactions }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.header.number
    }

    /// The index within the block of the first log of the transaction at `transaction_index`.
    #[must_use]
    pub fn first_log_index(&self, transaction_index: usize) -> u64 {
        self.transactions
            .iter()
            .take(transaction_index)
            .map(|included| included.outcome.logs.len() as u64)
            .sum()
    }

    /// The length of the block as other Ethereum nodes would encode it, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let string = |raw: &Bytes| {
            if raw.first().is_some_and(|byte| *byte < 0x80) { raw.length() } else { raw.len() }
        };
        let transactions: usize =
            self.transactions.iter().map(|included| string(&included.raw)).sum();
        let list = |payload_length| {
            alloy_rlp::Header { list: true, payload_length }.length() + payload_length
        };
        let withdrawals = usize::from(self.header.withdrawals_root.is_some());
        list(self.header.length() + list(transactions) + list(0) + withdrawals) as u64
    }

    /// The stored form; [`Block::decode`] reads it back.
    ///
    /// # Panics
    /// When a length does not fit 32 bits, which the limits on blocks exclude.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let raw_bytes: usize = self.transactions.iter().map(|included| included.raw.len()).sum();
        let mut out = Vec::with_capacity(
            HEADER_BYTES_USUAL + raw_bytes + self.transactions.len() * INCLUDED_BYTES_MIN,
        );
        out.push(FORMAT);
        let mut header = Vec::with_capacity(HEADER_BYTES_USUAL);
        self.header.encode(&mut header);
        put_short(&mut out, &header);
        put_length(&mut out, self.transactions.len());
        for included in &self.transactions {
            put_short(&mut out, &included.raw);
            out.extend_from_slice(included.sender.as_slice());
            out.push(u8::from(included.outcome.success));
            put_u64(&mut out, included.outcome.gas_used);
            put_length(&mut out, included.outcome.logs.len());
            for log in &included.outcome.logs {
                encode_log(log, &mut out);
            }
        }
        out
    }

    /// Reads what [`Block::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeBlockError`] names what was wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeBlockError> {
        let mut reader = Reader::new(bytes);
        let header_bytes = stored_header(&mut reader)?;
        let header = Header::decode(&mut &*header_bytes).map_err(DecodeBlockError::Header)?;
        let count = length(&mut reader, INCLUDED_BYTES_MIN, "transactions")?;
        let mut transactions = Vec::with_capacity(count);
        let mut gas = 0;
        for index in 0..count {
            let mut included = decode_included(&mut reader, index)?;
            included.derive(header.base_fee_per_gas, gas);
            gas = included.outcome.cumulative_gas_used;
            transactions.push(included);
        }
        reader.end()?;
        Ok(Self { hash: keccak256(header_bytes), header, transactions })
    }

    /// The hash of the block that [`Block::encode`] wrote, without a look at its transactions.
    ///
    /// # Errors
    /// [`DecodeBlockError`] when the bytes do not begin as a block does.
    pub fn decode_hash(bytes: &[u8]) -> Result<B256, DecodeBlockError> {
        Ok(keccak256(stored_header(&mut Reader::new(bytes))?))
    }

    /// The entry of this block in the log index; `None` when it logged nothing.
    ///
    /// Either four bytes per distinct address and topic, or, when that would be longer, the block's filter.
    #[must_use]
    pub fn log_index(&self) -> Option<Vec<u8>> {
        let mut marks: Vec<[u8; 4]> = Vec::new();
        for log in self.transactions.iter().flat_map(|included| &included.outcome.logs) {
            marks.push(mark(log.address.as_slice()));
            marks.extend(log.topics().iter().map(|topic| mark(topic.as_slice())));
            if marks.len() > MARKS_MAX {
                marks.sort_unstable();
                marks.dedup();
                if marks.len() > MARKS_MAX {
                    return Some(self.header.logs_bloom.as_slice().to_vec());
                }
            }
        }
        marks.sort_unstable();
        marks.dedup();
        (!marks.is_empty()).then(|| marks.concat())
    }
}

/// Whether a block whose entry in the log index is `entry` may hold a log with this address or topic (its bytes). May
/// say yes falsely, never no.
#[must_use]
pub fn log_index_may_hold(entry: &[u8], item: &[u8]) -> bool {
    if entry.len() == Bloom::len_bytes() {
        return Bloom::from_slice(entry).contains_input(alloy_primitives::BloomInput::Raw(item));
    }
    let wanted = mark(item);
    entry.chunks_exact(wanted.len()).any(|found| found == wanted)
}

/// FNV-1a of 32 bits: four bytes that tell most addresses and topics apart. A collision costs one block read in vain.
fn mark(item: &[u8]) -> [u8; 4] {
    let hash = item
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_be_bytes()
}

/// The header in RLP, with which a stored block begins.
fn stored_header<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let format = reader.u8("format")?;
    if format != FORMAT {
        return Err(DecodeError::Value { field: "format", found: u64::from(format) });
    }
    short(reader, "header")
}

fn decode_included(reader: &mut Reader<'_>, index: usize) -> Result<Included, DecodeBlockError> {
    let raw = short(reader, "transaction")?;
    let transaction = TxEnvelope::decode_2718(&mut &*raw)
        .map_err(|source| DecodeBlockError::Transaction { index, source })?;
    let hash = *transaction.tx_hash();
    let sender = Address::from(reader.array("sender")?);
    let success = match reader.u8("success")? {
        0 => false,
        1 => true,
        found => {
            return Err(DecodeError::Value { field: "success", found: u64::from(found) }.into());
        }
    };
    let gas_used = reader.u64("gas used")?;
    let log_count = length(reader, LOG_BYTES_MIN, "logs")?;
    let logs = (0..log_count).map(|_| decode_log(reader)).collect::<Result<Vec<Log>, _>>()?;
    let outcome = TxOutcome { success, gas_used, logs, ..TxOutcome::default() };
    Ok(Included { transaction, raw: Bytes::copy_from_slice(raw), hash, sender, outcome })
}

fn encode_log(log: &Log, out: &mut Vec<u8>) {
    out.extend_from_slice(log.address.as_slice());
    out.push(u8::try_from(log.topics().len()).expect("a log has at most four topics"));
    for topic in log.topics() {
        out.extend_from_slice(topic.as_slice());
    }
    put_short(out, &log.data.data);
}

fn decode_log(reader: &mut Reader<'_>) -> Result<Log, DecodeError> {
    let address = Address::from(reader.array("log address")?);
    let topic_count = reader.u8("log topics")?;
    let topics = (0..topic_count)
        .map(|_| reader.array("log topic").map(B256::from))
        .collect::<Result<Vec<B256>, _>>()?;
    let data = Bytes::copy_from_slice(short(reader, "log data")?);
    let wrong =
        DecodeError::Over { field: "log topics", found: u64::from(topic_count), limit: TOPICS_MAX };
    let data = LogData::new(topics, data).ok_or(wrong)?;
    Ok(Log { address, data })
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_u32(out, u32::try_from(length).expect("a block is far below 4 GiB"));
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// A 32-bit count of items that take at least `item_bytes_min` bytes each.
fn length(
    reader: &mut Reader<'_>,
    item_bytes_min: usize,
    field: &'static str,
) -> Result<usize, DecodeError> {
    let found = reader.u32(field)?;
    let limit = reader.left() / item_bytes_min;
    match usize::try_from(found) {
        Ok(count) if count <= limit => Ok(count),
        _ => Err(DecodeError::Over { field, found: u64::from(found), limit: limit as u64 }),
    }
}

fn short<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let bytes = length(reader, 1, field)?;
    reader.take(bytes, field)
}

/// The version of the stored form.
const FORMAT: u8 = 1;
/// Room for a header with all fields of the latest fork.
const HEADER_BYTES_USUAL: usize = 700;
/// Raw length, sender, success, gas, log count.
const INCLUDED_BYTES_MIN: usize = 4 + 20 + 1 + 8 + 4;
/// Address, topic count, data length.
const LOG_BYTES_MIN: usize = 20 + 1 + 4;
const TOPICS_MAX: u64 = 4;
/// Above this many marks the filter of 256 bytes is shorter; exactly as many would have its length, hence one less.
const MARKS_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use alloy_consensus::{SignableTransaction, TxLegacy};
    use alloy_eips::eip2718::Encodable2718;
    use alloy_primitives::{Signature, TxKind, U256, address, b256};

    use super::*;

    fn log(address: u64, topics: usize) -> Log {
        let topics = (0..topics).map(|n| B256::from(U256::from(address * 10 + n as u64))).collect();
        let address = Address::left_padding_from(&address.to_be_bytes());
        Log { address, data: LogData::new_unchecked(topics, Bytes::from_static(b"data")) }
    }

    fn included(nonce: u64, to: TxKind, logs: Vec<Log>) -> Included {
        let legacy = TxLegacy { nonce, gas_price: 7, gas_limit: 21000, to, ..TxLegacy::default() };
        let transaction = TxEnvelope::from(legacy.into_signed(Signature::test_signature()));
        let sender = address!("00000000000000000000000000000000000000aa");
        let mut included = Included {
            raw: transaction.encoded_2718().into(),
            hash: *transaction.tx_hash(),
            transaction,
            sender,
            outcome: TxOutcome { success: true, gas_used: 21000, logs, ..TxOutcome::default() },
        };
        included.derive(Some(0), nonce * 21000);
        included
    }

    fn block(logs: Vec<Log>) -> Block {
        let transactions = vec![
            included(0, TxKind::Create, vec![]),
            included(1, TxKind::Call(Address::ZERO), logs),
        ];
        Block::seal(
            Header { number: 7, base_fee_per_gas: Some(0), ..Header::default() },
            transactions,
        )
    }

    #[test]
    fn a_block_reads_what_it_wrote() {
        let block = block(vec![log(1, 0), log(2, 4)]);
        assert_eq!(block.header.gas_used, 42000);
        assert_eq!(block.first_log_index(1), 0);
        assert!(block.transactions[0].outcome.contract_address.is_some());
        let bytes = block.encode();
        assert_eq!(Block::decode(&bytes).expect("it was just encoded"), block);
        for end in 0..bytes.len() {
            assert!(Block::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_log_index_finds_what_was_logged() {
        assert_eq!(block(vec![]).log_index(), None);
        for addresses in [1, 12, 13, 40] {
            let logs: Vec<Log> = (1..=addresses).map(|n| log(n, 4)).collect();
            let entry = block(logs.clone()).log_index().expect("there are logs");
            assert!(entry.len() <= 256);
            for log in &logs {
                assert!(log_index_may_hold(&entry, log.address.as_slice()));
                assert!(
                    log.topics().iter().all(|topic| log_index_may_hold(&entry, topic.as_slice()))
                );
            }
            let other = Address::left_padding_from(&[0xde, 0xad]);
            assert!(!log_index_may_hold(&entry, other.as_slice()), "{addresses}");
        }
    }

    #[test]
    fn an_empty_block_has_the_well_known_roots() {
        let block = Block::seal(Header::default(), vec![]);
        let empty = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
        assert_eq!([block.header.transactions_root, block.header.receipts_root], [empty; 2]);
    }
}
