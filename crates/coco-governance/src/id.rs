//! Who acts and on what: ids of 64 hexadecimal digits.

use std::{fmt, str::FromStr};

use coco_crypto::Sha256;
use coco_types::{Digest, ParseIdError};

/// SHA-256 of a member's certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub Digest);

/// What a proposal is called: SHA-256 of the Merkle root when it was made, and of the request's digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub Digest);

impl ProposalId {
    /// The id of a proposal that is made on this root, by a request of this digest.
    #[must_use]
    pub fn new(root: &Digest, request: &Digest) -> Self {
        let mut hash = Sha256::new();
        hash.update(&root.0);
        hash.update(&request.0);
        Self(hash.finish())
    }
}

macro_rules! hexadecimal {
    ($($name:ident),*) => {$(
        impl $name {
            /// The key of its rows: the bytes of the text.
            #[must_use]
            pub fn key(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.parse().map(Self)
            }
        }
    )*};
}
hexadecimal!(MemberId, ProposalId);
