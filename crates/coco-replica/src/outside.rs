//! How values from outside are kept in the entry that used them.

use coco_adapter::{Entropy, Outside};
use coco_kv::{MapKind, MapName, MapSpec};
use coco_types::codec::{DecodeError, Reader};

/// The private map under which each batch records what it read from outside. It stands in the ledger only.
pub const OUTSIDE_MAP: &str = "coco.outside";

/// The one key of [`OUTSIDE_MAP`]: eight zero bytes, as for every single-valued map.
pub(crate) const SINGLETON: [u8; 8] = [0; 8];

pub(crate) fn outside_map() -> MapSpec {
    MapSpec { name: MapName::from_static(OUTSIDE_MAP), kind: MapKind::LedgerOnly }
}

/// The bytes recorded: u64 little-endian milliseconds since 1970, then 32 bytes of entropy.
#[must_use]
pub fn encode_outside(outside: &Outside) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(&outside.time_ms.to_le_bytes());
    out.extend_from_slice(&outside.entropy.0);
    out
}

/// Reads back what [`encode_outside`] wrote.
///
/// # Errors
/// [`DecodeError`] when the bytes are not of that form.
pub fn decode_outside(bytes: &[u8]) -> Result<Outside, DecodeError> {
    let mut reader = Reader::new(bytes);
    let outside =
        Outside { time_ms: reader.u64("time")?, entropy: Entropy(reader.array("entropy")?) };
    reader.end()?;
    Ok(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_values_come_back() {
        let outside = Outside { time_ms: 1_700_000_000_123, entropy: Entropy([9; 32]) };
        let bytes = encode_outside(&outside);
        assert_eq!(decode_outside(&bytes), Ok(outside));
        assert!(decode_outside(&bytes[..39]).is_err());
    }
}
