//! A copy of a ledger with recovery shares, as `coco ledger decrypt` and `coco shares drill` take it: verified, and then the ledger
//! secrets.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use coco_crypto::{CombineError, RecoveryShare};
use coco_governance::{ChainError, OpenSharingError};
use coco_ledger::{Chunk, EntryView, LedgerSecrets};
use coco_replica::{RecoverSecrets, RecoverSecretsError};
use coco_types::{Seqno, TxId};

use super::{certificate, copy, share, verifier};
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
}

/// What a copy of the ledger says, as far as it is signed.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) signed: TxId,
    secrets: RecoverSecrets,
}

impl SharedArgs {
    /// Reads the shares. Those that others can read are refused.
    pub(crate) fn shares(&self) -> Result<Vec<RecoveryShare>, Fault> {
        self.share.iter().map(|path| share::read(path)).collect()
    }

    /// Verifies the copy, and takes in what it says of secrets; each entry that is signed is shown to `each`.
    pub(crate) fn read(
        &self,
        mut each: impl FnMut(&EntryView<'_>) -> anyhow::Result<()>,
    ) -> Result<Copy, Failure> {
        let (chunks, service) = (copy::chunks(&self.folder)?, certificate(&self.service_cert)?);
        let mut verifier = verifier(&chunks, &service, None)?;
        let mut secrets = RecoverSecrets::new();
        for (name, path) in chunks {
            let (name, bytes) = copy::read_chunk(name, &path)?;
            verifier
                .chunk(&name.to_string(), &bytes)
                .map_err(|error| Failure::DoesNotVerify(anyhow!(error)))?;
            let signed = verifier.signed().map_or(Seqno::ZERO, |signed| signed.seqno);
            let chunk = Chunk::parse(&bytes).with_context(|| name.to_string())?;
            for (offset, entry) in &chunk.entries {
                if entry.tx_id().seqno <= signed {
                    let at = || format!("{name} at offset {offset}");
                    secrets.entry(entry).with_context(at)?;
                    each(entry).with_context(at)?;
                }
            }
        }
        let report =
            verifier.finish(None).map_err(|error| Failure::DoesNotVerify(anyhow!(error)))?;
        Ok(Copy { signed: report.signed, secrets })
    }

    /// The ledger secrets that the shares give.
    pub(crate) fn secrets(
        &self,
        copy: &Copy,
        shares: &[RecoveryShare],
    ) -> Result<LedgerSecrets, Fault> {
        copy.secrets.of_shares(shares).map_err(|error| self.of_shares(&error))
    }

    /// Opens the signed entries of the copy, one after the other. Each shows whether its secret is the right one.
    pub(crate) fn open_all(&self, copy: &Copy, secrets: &LedgerSecrets) -> Result<u64, Failure> {
        let mut opened = 0;
        for (name, path) in copy::chunks(&self.folder)? {
            let (name, bytes) = copy::read_chunk(name, &path)?;
            let chunk = Chunk::parse(&bytes).with_context(|| name.to_string())?;
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
