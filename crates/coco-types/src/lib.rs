//! The words everything else is said in: identifiers, positions, digests, limits and the bounded codec.
//!
//! Floor 0: knows nothing but itself. Terms follow the glossary of the field: *view* and *seqno* name a position in
//! the ledger, together a *transaction id* printed `2.15`.

pub mod codec;
mod id;
pub mod limits;

pub use id::{Digest, NodeId, ParseIdError, Role, Seqno, TxId, TxStatus, View};
