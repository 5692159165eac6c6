//! A copy of a ledger with recovery shares, as `coco ledger decrypt` and `coco shares drill` take it: verified, and then the ledger
//! secrets.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use coco_crypto::{Certificate, CombineError, RecoveryShare};
use coco_governance::{ChainError, OpenSharingError};
use coco_ledger::{Chunk, LedgerSecrets, ReceiptVerifier, SnapshotName};
use coco_replica::{RecoverSecrets, RecoverSecretsError};
use coco_types::{Seqno, TxId};

use super::{
    certificate, check_snapshot, copy, damaged, services_of, share, verifier, with_snapshot,
};
use crate::{
    Failure,
    codes::Code,
    fault::{Fault, chain},
};

/// The copy, and the shares.
#[derive(Debug, clap::Args)]
pub(crate) struct SharedArgs {
    /// The ledger folder
    pub(super) folder: PathBuf,
    /// The service's certificate (PEM), which you trust
    #[arg(long, value_name = "PEM")]
    service_cert: PathBuf,
    /// A recovery share, from `coco ledger share`. Give as many as are needed
    #[arg(long, value_name = "FILE", required = true)]
    share: Vec<PathBuf>,
    /// The folder of snapshots, where it is not `snapshots` beside the ledger folder: one stands for the ledger's first files where they
    /// are missing
    #[arg(long, value_name = "DIR")]
    snapshots: Option<PathBuf>,
}

/// A row of a public table, as an entry or a snapshot has it.
pub(crate) struct Row<'a> {
    /// The entry that wrote it.
    pub(crate) at: TxId,
    pub(crate) map: &'a str,
    pub(crate) key: &'a [u8],
    /// None where it is removed.
    pub(crate) value: Option<&'a [u8]>,
}

/// What a copy of the ledger says, as far as it is signed.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) signed: TxId,
    secrets: RecoverSecrets,
    /// The snapshot that it begins with, and the service that stands by that.
    snapshot: Option<(SnapshotName, Vec<u8>)>,
    service: Certificate,
}

impl SharedArgs {
    /// Reads the shares. Those that others can read are refused.
    pub(crate) fn shares(&self) -> Result<Vec<RecoveryShare>, Fault> {
        self.share.iter().map(|path| share::read(path)).collect()
    }

    /// Verifies the copy, and takes in what it says of secrets; each public row that is signed is shown to `each`. Of what came
    /// before a snapshot that are those that were left.
    pub(crate) fn read(
        &self,
        mut each: impl FnMut(&Row<'_>) -> anyhow::Result<()>,
    ) -> Result<Copy, Failure> {
        let (chunks, service) = (copy::chunks(&self.folder)?, certificate(&self.service_cert)?);
        let snapshots = copy::snapshots(&self.folder, self.snapshots.as_deref())?;
        let snapshot = copy::beginning(&chunks, &snapshots)?;
        let services = services_of(&chunks, &service, snapshot.as_ref())?;
        let mut verifier = verifier(&services, snapshot.as_ref())?;
        let mut secrets = begin(&services[0], snapshot.as_ref(), &mut each)?;
        let after = snapshot.as_ref().map_or(Seqno::ZERO, |(name, _)| name.seqno);
        for (name, path) in chunks {
            let (name, bytes) = copy::read_chunk(name, &path)?;
            verifier
                .chunk(&name.to_string(), &bytes)
                .map_err(|error| Failure::DoesNotVerify(anyhow!(error)))?;
            let signed = verifier.signed().map_or(Seqno::ZERO, |signed| signed.seqno);
            let chunk = Chunk::parse(&bytes).map_err(|error| damaged(name, &error))?;
            let is_new = |at: TxId| after < at.seqno && at.seqno <= signed;
            for (offset, entry) in chunk.entries.iter().filter(|(_, entry)| is_new(entry.tx_id())) {
                let place = || format!("{name} at offset {offset}");
                secrets.entry(entry).map_err(|error| damaged(place(), &error))?;
                let writes = entry.public_writes().map_err(|error| damaged(place(), &error))?;
                for (map, key, value) in writes.iter() {
                    each(&Row { at: entry.tx_id(), map, key, value }).with_context(place)?;
                }
            }
        }
        if let Some((name, bytes)) = &snapshot {
            check_snapshot(&verifier, &verifier.receipts(), *name, bytes)?;
        }
        let report =
            verifier.finish(None).map_err(|error| Failure::DoesNotVerify(anyhow!(error)))?;
        Ok(Copy { signed: report.signed, secrets, service: services[0].clone(), snapshot })
    }

    /// The ledger secrets that the shares give.
    pub(crate) fn secrets(
        &self,
        copy: &Copy,
        shares: &[RecoveryShare],
    ) -> Result<LedgerSecrets, Fault> {
        copy.secrets.of_shares(shares).map_err(|error| self.of_shares(&error))
    }

    /// Opens the signed entries of the copy, one after the other, and the snapshot before them. Each shows whether its secret is the
    /// right one.
    pub(crate) fn open_all(&self, copy: &Copy, secrets: &LedgerSecrets) -> Result<u64, Failure> {
        let mut opened = 0;
        if let Some((name, bytes)) = &copy.snapshot {
            let receipts = ReceiptVerifier::new(copy.service.clone());
            with_snapshot(*name, bytes, &receipts, |file, snapshot| {
                let opened = snapshot.open(secrets.at(name.seqno)).map(drop);
                let at = || format!("the private part of {file}");
                opened.map_err(|error| Failure::DoesNotVerify(anyhow!(error).context(at())))
            })?;
        }
        for (name, path) in copy::chunks(&self.folder)? {
            let (name, bytes) = copy::read_chunk(name, &path)?;
            let chunk = Chunk::parse(&bytes).map_err(|error| damaged(name, &error))?;
            let signed =
                chunk.entries.iter().filter(|(_, entry)| entry.tx_id().seqno <= copy.signed.seqno);
            for (offset, entry) in signed {
                drop(secrets.open(entry).map_err(|error| {
                    let at = format!("{name} at offset {offset}");
                    Failure::DoesNotVerify(anyhow!(error).context(at))
                })?);
                opened += 1;
            }
        }
        Ok(opened)
    }

    /// What is wrong with the shares, by the files that they came in.
    fn of_shares(&self, error: &RecoverSecretsError) -> Fault {
        match error {
            RecoverSecretsError::Chain(ChainError::Sharing {
                source: OpenSharingError::Unknown { number },
                at,
            }) => {
                let path = self.share.get(number - 1).map(|path| path.display().to_string());
                Fault::new(Code::ShareWrong, path.unwrap_or_default())
                    .with("dealt", format!("in the entry {at}"))
            }
            RecoverSecretsError::Chain(ChainError::Sharing {
                source: OpenSharingError::Combine(few @ CombineError::Few { .. }),
                ..
            }) => Fault::new(Code::SharesMissing, few.to_string()),
            RecoverSecretsError::Chain(_) | RecoverSecretsError::Periods(_) => {
                Fault::new(Code::Failed, chain(error))
            }
        }
    }
}

/// What is known of secrets before the first file: nothing, or what a snapshot says, whose rows are shown to `each`.
fn begin(
    service: &Certificate,
    snapshot: Option<&(SnapshotName, Vec<u8>)>,
    each: &mut impl FnMut(&Row<'_>) -> anyhow::Result<()>,
) -> Result<RecoverSecrets, Failure> {
    let Some((name, bytes)) = snapshot else { return Ok(RecoverSecrets::new()) };
    with_snapshot(*name, bytes, &ReceiptVerifier::new(service.clone()), |file, snapshot| {
        let views = snapshot.views();
        let view = |at: Seqno| views[views.partition_point(|(first, _)| *first <= at) - 1].1;
        for map in snapshot.public().maps() {
            for (key, seqno, value) in map.iter() {
                let at = TxId { view: view(seqno), seqno };
                let row = Row { at, map: map.name(), key, value: Some(value) };
                each(&row).with_context(|| file.to_owned())?;
            }
        }
        Ok(RecoverSecrets::after(snapshot).map_err(|error| damaged(file, &error))?)
    })
}
