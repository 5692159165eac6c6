//! Signed transactions in order, and their file: one `0x…` a line, with the sender's address optionally behind it.
//!
//! A line `#setup` opens a group that is sent, and must be included, before the next group; `#load` opens what is
//! measured. A file without either is all load. Other lines beginning with `#` are comments.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use alloy_consensus::{EthereumTxEnvelope, TxEip4844};
use alloy_eips::Decodable2718 as _;
use alloy_primitives::{Address, B256, hex, keccak256};
use anyhow::{Context as _, bail};

use crate::{recover, sign};

/// A signed transaction, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The EIP-2718 bytes as `0x…` text.
    pub raw: Box<str>,
    /// Its transaction hash.
    pub hash: B256,
    /// Who signed; transactions of one sender keep their order.
    pub sender: Address,
}

/// What is sent, group after group.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Groups that prepare the chain; each is included before the next is sent.
    pub(crate) setup: Vec<Vec<Signed>>,
    /// What is measured.
    pub(crate) load: Vec<Signed>,
}

impl Plan {
    /// Writes the plan to `path`.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut out = BufWriter::new(file);
        for group in &self.setup {
            writeln!(out, "{SETUP}")?;
            write_group(&mut out, group)?;
        }
        writeln!(out, "{LOAD}")?;
        write_group(&mut out, &self.load)?;
        out.flush().with_context(|| format!("writing {}", path.display()))
    }

    /// Reads a plan from `path`, taking at most `count` transactions of load. Hashes and missing senders are computed
    /// on every processor.
    ///
    /// The whole file must be right: a line that is not hexadecimal is an error that names it. A transaction whose
    /// sender cannot be recovered is kept, under the zero address: refusing it is the server's business.
    pub(crate) fn read(path: &Path, count: usize) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut groups: Vec<(Kind, Vec<String>)> = vec![(Kind::Load, Vec::new())];
        let mut loaded = 0_usize;
        for (index, line) in BufReader::with_capacity(READ_BYTES, file).lines().enumerate() {
            let line =
                line.with_context(|| format!("reading {} line {}", path.display(), index + 1))?;
            match line.trim() {
                "" => {}
                SETUP => groups.push((Kind::Setup, Vec::new())),
                LOAD => groups.push((Kind::Load, Vec::new())),
                comment if comment.starts_with('#') => {}
                text => {
                    let (kind, lines) = groups.last_mut().expect("there is always a group");
                    if *kind == Kind::Load {
                        loaded += 1;
                        if loaded > count {
                            break;
                        }
                    }
                    lines.push(text.to_owned());
                }
            }
        }
        let mut plan = Self::default();
        for (kind, lines) in groups {
            let signed = sign::in_parallel(&lines, |line| parse_line(line))?;
            match kind {
                Kind::Setup => plan.setup.push(signed),
                Kind::Load => plan.load.extend(signed),
            }
        }
        Ok(plan)
    }
}

fn write_group(out: &mut impl Write, group: &[Signed]) -> anyhow::Result<()> {
    for signed in group {
        writeln!(out, "{} {:#x}", signed.raw, signed.sender)?;
    }
    Ok(())
}

fn parse_line(line: &str) -> anyhow::Result<Signed> {
    let mut words = line.split_ascii_whitespace();
    let raw = words.next().unwrap_or_default().trim_matches('"');
    let bytes = hex::decode(raw).with_context(|| format!("not hexadecimal: {raw:.40}"))?;
    if bytes.is_empty() {
        bail!("an empty transaction");
    }
    let sender = match words.next() {
        Some(text) => text.parse().with_context(|| format!("not an address: {text:.60}"))?,
        None => recovered_sender(&bytes),
    };
    let raw = if raw.starts_with("0x") { raw.to_owned() } else { format!("0x{raw}") };
    Ok(Signed { raw: raw.into_boxed_str(), hash: keccak256(&bytes), sender })
}

fn recovered_sender(bytes: &[u8]) -> Address {
    let mut rest = bytes;
    EthereumTxEnvelope::<TxEip4844>::decode_2718(&mut rest)
        .ok()
        .and_then(|envelope| recover::sender(&envelope))
        .unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Setup,
    Load,
}

const SETUP: &str = "#setup";
const LOAD: &str = "#load";
/// Presigned files reach hundreds of megabytes; larger reads keep the system calls few.
const READ_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{Draft, Fees, Keys};
    use alloy_primitives::{Bytes, TxKind, U256};

    fn some(nonce: u64) -> Signed {
        let keys = Keys::generated(0, 1);
        let fees = Fees { chain_id: 31337, gas_price: 0, envelope: crate::args::Envelope::Eip1559 };
        let draft = Draft {
            key: 0,
            nonce,
            to: TxKind::Call(Address::ZERO),
            value: U256::from(1),
            gas: 21_000,
            input: Bytes::new(),
        };
        sign::sign(&keys, &[draft], fees).remove(0)
    }

    #[test]
    fn saved_plan_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan");
        let plan = Plan { setup: vec![vec![some(0)], vec![some(1)]], load: vec![some(2), some(3)] };
        plan.save(&path).unwrap();
        let read = Plan::read(&path, 1).unwrap();
        assert_eq!(read.setup, plan.setup);
        assert_eq!(read.load, plan.load[..1]);
    }

    #[test]
    fn bare_lines_get_their_sender_by_recovery() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bare");
        let signed = some(7);
        std::fs::write(&path, format!("# a comment\n\n{}\n", signed.raw.trim_start_matches("0x")))
            .unwrap();
        let read = Plan::read(&path, 10).unwrap();
        assert_eq!(read.load, [signed]);
        std::fs::write(&path, "0xzz\n").unwrap();
        assert!(Plan::read(&path, 10).is_err());
    }
}
