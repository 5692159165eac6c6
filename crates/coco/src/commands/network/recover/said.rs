//! What the kept part of a ledger says of the code that nodes may run, and when its end was signed.

use std::{collections::BTreeSet, path::Path};

use coco_crypto::Certificate;
use coco_governance::tables::{SNP_MEASUREMENTS, VIRTUAL_MEASUREMENTS};
use coco_ledger::{Chunk, SignatureRecord};
use coco_types::{Seqno, TxId};

use crate::{
    Failure,
    commands::ledger::{at_beginning, copy, damaged},
};

/// As of the last signature of the service that was lost.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The measurements that members have admitted.
    pub(super) code: BTreeSet<String>,
    /// In seconds since 1970.
    pub(super) signed_at: Option<u64>,
}

impl Said {
    /// Reads a ledger that was verified when it was made. `service` is the one that goes on with it.
    pub(super) fn read(
        ledger: &Path,
        service: &Certificate,
        signed: TxId,
    ) -> Result<Self, Failure> {
        let (chunks, snapshots) = (copy::chunks(ledger)?, copy::snapshots(ledger, None)?);
        let mut said = Self::default();
        let mut after = Seqno::ZERO;
        if let Some(snapshot) = copy::beginning(&chunks, &snapshots)? {
            after = snapshot.0.seqno;
            at_beginning(&chunks, &snapshot, service, |_, image| {
                for map in image.public().maps() {
                    map.iter().for_each(|(key, _, value)| said.take(map.name(), key, Some(value)));
                }
                Ok(())
            })?;
        }
        for (name, path) in chunks {
            let (name, bytes) = copy::read_chunk(name, &path)?;
            let chunk = Chunk::parse(&bytes).map_err(|error| damaged(name, &error))?;
            for (_, entry) in &chunk.entries {
                let at = entry.tx_id();
                if at.seqno <= after || at.seqno > signed.seqno {
                    continue;
                }
                let writes = entry.public_writes().map_err(|error| damaged(name, &error))?;
                writes.iter().for_each(|(map, key, value)| said.take(map, key, value));
                if at == signed {
                    let record = SignatureRecord::read(entry);
                    let record = record.map_err(|error| damaged(name, &error))?;
                    said.signed_at = record.map(|record| record.issued_at_s);
                }
            }
        }
        Ok(said)
    }

    fn take(&mut self, map: &str, key: &[u8], value: Option<&[u8]>) {
        if ![SNP_MEASUREMENTS, VIRTUAL_MEASUREMENTS].contains(&map) {
            return;
        }
        let code = String::from_utf8_lossy(key).into_owned();
        if value.is_some() {
            self.code.insert(code);
        } else {
            self.code.remove(&code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_admitted_until_it_is_taken_back() {
        let mut said = Said::default();
        let some = Some(&b"AllowedToJoin"[..]);
        said.take(VIRTUAL_MEASUREMENTS, b"old", some);
        said.take(SNP_MEASUREMENTS, b"snp", some);
        said.take("public:ccf.gov.members.info", b"member", some);
        said.take(VIRTUAL_MEASUREMENTS, b"new", some);
        said.take(VIRTUAL_MEASUREMENTS, b"old", None);
        assert_eq!(said.code, ["new", "snp"].map(str::to_owned).into());
    }
}
