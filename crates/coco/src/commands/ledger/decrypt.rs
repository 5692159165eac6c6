//! `coco ledger decrypt`: members read private entries with their shares, away from any node, once enough have agreed to it.
//!
//! That they agreed stands in the ledger: an accepted proposal names the entries and the reason. Whoever has enough shares has
//! the secrets, and could do without this program; the record is by whom the rules are kept.

use anyhow::{Context, anyhow};
use coco_governance::{rows::DisclosureRow, tables::DISCLOSURES};
use coco_ledger::{Chunk, LedgerSecrets};
use coco_types::TxId;
use serde_json::json;

use super::{
    copy, damaged,
    shared::{Row, SharedArgs},
};
use crate::{
    Failure,
    codes::Code,
    fault::Fault,
    output::{Output, outln, plain},
};

#[derive(Debug, clap::Args)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    copy: SharedArgs,
    /// The first entry, by its seqno
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// The last entry
    #[arg(long)]
    to: u64,
}

/// That members agreed.
struct Disclosure {
    proposal: String,
    at: TxId,
    row: DisclosureRow,
}

pub(super) fn run(arguments: &DecryptArgs, output: Output) -> Result<(), Failure> {
    let DecryptArgs { from, to, .. } = *arguments;
    if to < from {
        let message = format!("there are no entries from {from} to {to}");
        return Err(Fault::new(Code::Usage, message).into());
    }
    let shares = arguments.copy.shares()?;
    let mut disclosures = Vec::new();
    let copy = arguments.copy.read(|row| {
        disclosures.extend(disclosed(row)?);
        Ok(())
    })?;
    if to > copy.signed.seqno.0 {
        let message = format!("the ledger is signed up to {}, not to {to}", copy.signed);
        return Err(Fault::new(Code::NotDisclosed, message)
            .next("take a newer copy of the ledger, or ask for fewer entries: --to SEQNO")
            .into());
    }
    let agreed = disclosures.iter().rev();
    let mut agreed = agreed.filter(|Disclosure { row, .. }| row.from <= from && to <= row.to);
    let Some(Disclosure { proposal, at, row }) = agreed.next() else {
        let others: Vec<String> = disclosures
            .iter()
            .map(|other| format!("{} to {}", other.row.from, other.row.to))
            .collect();
        let fault = Fault::new(Code::NotDisclosed, format!("{from} to {to}"));
        return Err(if others.is_empty() {
            fault
        } else {
            fault.with("agreed", others.join(", "))
        }
        .into());
    };
    let secrets = arguments.copy.secrets(&copy, &shares)?;
    eprintln!(
        "entries {} to {} may be read by the proposal {proposal}, accepted in {at}",
        row.from, row.to
    );
    eprintln!("reason: {}", plain(&row.reason));
    print(arguments, &secrets, output)
}

/// What a row says of disclosures.
fn disclosed(row: &Row<'_>) -> anyhow::Result<Option<Disclosure>> {
    let Some(value) = row.value.filter(|_| row.map == DISCLOSURES) else { return Ok(None) };
    let disclosure = serde_json::from_slice(value).context(DISCLOSURES)?;
    let proposal = String::from_utf8_lossy(row.key).into_owned();
    Ok(Some(Disclosure { proposal, at: row.at, row: disclosure }))
}

/// Prints the private writes. Each entry shows whether its secret is the right one.
fn print(arguments: &DecryptArgs, secrets: &LedgerSecrets, output: Output) -> Result<(), Failure> {
    let DecryptArgs { from, to, .. } = *arguments;
    for (name, path) in copy::chunks(&arguments.copy.folder)? {
        if name.first.0 > to || name.last.is_some_and(|last| last.0 < from) {
            continue;
        }
        let (name, bytes) = copy::read_chunk(name, &path)?;
        let chunk = Chunk::parse(&bytes).map_err(|error| damaged(name, &error))?;
        for (offset, entry) in &chunk.entries {
            let tx_id = entry.tx_id();
            if !(from..=to).contains(&tx_id.seqno.0) {
                continue;
            }
            let at = || format!("{name} at offset {offset}");
            let opened = secrets
                .open(entry)
                .map_err(|error| Failure::DoesNotVerify(anyhow!(error).context(at())))?;
            let writes = opened.writes().map_err(|error| damaged(at(), &error))?;
            for (map, key, value) in writes.iter() {
                if !map.starts_with("public:") {
                    show(tx_id, map, key, value, output);
                }
            }
        }
    }
    Ok(())
}

/// One write, on a line of its own.
fn show(tx_id: TxId, map: &str, key: &[u8], value: Option<&[u8]>, output: Output) {
    match output {
        Output::Table => {
            let value = value
                .map_or_else(|| "removed".to_owned(), |value| format!("= {}", readable(value)));
            outln!("{tx_id}  {map} {} {value}", readable(key));
        }
        Output::Json => {
            let line = json!({
                "schema": "coco.ledger.write/1",
                "transaction_id": tx_id.to_string(),
                "map": map,
                "key": hex(key),
                "value": value.map(hex),
                "key_text": text(key),
                "value_text": value.and_then(text),
            });
            outln!("{line}");
        }
    }
}

/// What terminals can show, or hexadecimal digits.
fn readable(bytes: &[u8]) -> String {
    text(bytes).map_or_else(|| format!("0x{}", hex(bytes)), |text| format!("{text:?}"))
}

fn text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let is_shown = |c: char| !c.is_control() || c.is_ascii_whitespace();
    (!text.is_empty() && text.chars().all(is_shown)).then_some(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut all, byte| {
        all.push_str(&format!("{byte:02x}"));
        all
    })
}
