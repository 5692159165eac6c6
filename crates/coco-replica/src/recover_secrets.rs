//! All ledger secrets of a ledger, from its files and members' shares: for a node that brings a service back, and for
//! members who read a part of the ledger without a node.
//!
//! Only public writes are read, so nothing has to be open before. Entries come in order, from the first one on or after a
//! snapshot, chunk by chunk or one by one; whoever feeds them decides where the ledger ends. The files are believed as far as they go: verify
//! them before, or open the entries with what comes out. Each entry says whether its secret is the right one.

use coco_crypto::{RecoveryShare, SecretBytes, SharedSecret};
use coco_governance::{ChainError, SecretChain};
use coco_ledger::{
    Chunk, ChunkError, EntryView, LEDGER_SECRET_BYTES, LedgerSecret, LedgerSecrets, Period,
    PeriodError, VerifiedSnapshot,
};
use coco_types::{Seqno, codec::DecodeError};
use thiserror::Error;

/// What the entries so far say of the ledger's secrets.
#[derive(Clone, Debug)]
pub struct RecoverSecrets {
    chain: SecretChain,
    next: Seqno,
}

/// Entries that say nothing of use.
#[derive(Debug, Error)]
pub enum ReadSecretsError {
    /// The file is no chunk.
    #[error("the chunk that begins with {first} cannot be read")]
    Chunk {
        /// The entry that should come first.
        first: Seqno,
        /// The cause.
        source: ChunkError,
    },
    /// Entries are missing, or come again.
    #[error("entry {found} comes where {expected} should")]
    Order {
        /// Which should come.
        expected: Seqno,
        /// Which does.
        found: Seqno,
    },
    /// The public writes are malformed.
    #[error("the public writes of entry {seqno} cannot be read")]
    Writes {
        /// The entry.
        seqno: Seqno,
        /// The cause.
        source: DecodeError,
    },
    /// What is written of secrets is malformed.
    #[error("what the ledger says of its secrets cannot be used")]
    Chain(#[from] ChainError),
}

/// Secrets that do not come out.
#[derive(Debug, Error)]
pub enum RecoverSecretsError {
    /// The shares, or what was recorded.
    #[error("the ledger secrets do not come out")]
    Chain(#[from] ChainError),
    /// There are more than a ledger can have.
    #[error("the ledger secrets do not follow each other")]
    Periods(#[from] PeriodError),
}

impl RecoverSecrets {
    /// Begins with the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self { chain: SecretChain::new(), next: Seqno(1) }
    }

    /// Begins after the entry of a snapshot. Shares give the secrets of what is before it as well.
    ///
    /// # Errors
    /// [`ReadSecretsError::Chain`].
    pub fn after(snapshot: &VerifiedSnapshot<'_>) -> Result<Self, ReadSecretsError> {
        let chain = SecretChain::of_image(snapshot.public())?;
        Ok(Self { chain, next: snapshot.tx_id().seqno.next() })
    }

    /// Takes the next chunk file. What is left of a torn entry at its end is passed over.
    ///
    /// # Errors
    /// [`ReadSecretsError`].
    pub fn chunk(&mut self, file: &[u8]) -> Result<(), ReadSecretsError> {
        let chunk = Chunk::parse(file)
            .map_err(|source| ReadSecretsError::Chunk { first: self.next, source })?;
        chunk.entries.iter().try_for_each(|(_, entry)| self.entry(entry))
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// [`ReadSecretsError`].
    pub fn entry(&mut self, entry: &EntryView<'_>) -> Result<(), ReadSecretsError> {
        let (expected, found) = (self.next, entry.tx_id().seqno);
        if found != expected {
            return Err(ReadSecretsError::Order { expected, found });
        }
        let writes = entry
            .public_writes()
            .map_err(|source| ReadSecretsError::Writes { seqno: found, source })?;
        self.chain.take(found, &writes)?;
        self.next = found.next();
        Ok(())
    }

    /// How many shares are needed, if any were dealt.
    #[must_use]
    pub fn threshold(&self) -> Option<usize> {
        self.chain.threshold()
    }

    /// All secrets, from as many shares of the last sharing as are needed, or an owner's key.
    ///
    /// # Errors
    /// [`RecoverSecretsError`]; it names a share that is not of the last sharing, and says how many are missing.
    pub fn of_shares(
        &self,
        shares: &[RecoveryShare],
    ) -> Result<LedgerSecrets, RecoverSecretsError> {
        self.of_key(&self.chain.combine(shares)?)
    }

    /// All secrets, from the key that the shares give; see [`Effect::Recovered`](coco_governance::Effect::Recovered).
    ///
    /// # Errors
    /// [`RecoverSecretsError`].
    pub fn of_key(&self, key: &SharedSecret) -> Result<LedgerSecrets, RecoverSecretsError> {
        let secrets = self.chain.unwrap(key)?;
        let period = |(from, secret): (Seqno, SecretBytes)| Period { from, secret: keys(&secret) };
        Ok(LedgerSecrets::new(secrets.into_iter().map(period))?)
    }
}

impl Default for RecoverSecrets {
    fn default() -> Self {
        Self::new()
    }
}

fn keys(secret: &SecretBytes) -> LedgerSecret {
    let secret: &[u8; LEDGER_SECRET_BYTES] =
        secret.expose().try_into().expect("the chain gives secrets of this length only");
    LedgerSecret::new(secret)
}
