//! The bounded little-endian codec of every byte format that is ours.
//!
//! A [`Reader`] never reads past its input, never allocates from a length that it has not checked against what is
//! left, and names the field that was wrong.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use thiserror::Error;

/// Bytes that do not follow their format.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ends inside a field.
    #[error("{field}: needs {needed} bytes, {left} are left")]
    Short {
        /// What was being read.
        field: &'static str,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are left.
        left: usize,
    },
    /// A length or a count is over its limit.
    #[error("{field}: {found} is over the limit of {limit}")]
    Over {
        /// What was being read.
        field: &'static str,
        /// What stood there.
        found: u64,
        /// What may stand there at most.
        limit: u64,
    },
    /// A value has no meaning in this format.
    #[error("{field}: {found} has no meaning here")]
    Value {
        /// What was being read.
        field: &'static str,
        /// What stood there.
        found: u64,
    },
    /// Bytes are left after the last field.
    #[error("{left} bytes are left after the last field")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// Reads fields from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left.len()
    }

    /// What is left, without reading it.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.left
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((taken, left)) = self.left.split_at_checked(n) else {
            return Err(DecodeError::Short { field, needed: n as u64, left: self.left.len() });
        };
        self.left = left;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Short`] at the end.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// A little-endian u32.
    ///
    /// # Errors
    /// [`DecodeError::Short`] near the end.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// A little-endian u64.
    ///
    /// # Errors
    /// [`DecodeError::Short`] near the end.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A count whose items take at least `item_bytes_min` bytes each, so that it can be trusted for an allocation.
    ///
    /// # Errors
    /// [`DecodeError::Over`] when the bytes that are left could not hold that many.
    pub fn count(
        &mut self,
        item_bytes_min: usize,
        field: &'static str,
    ) -> Result<usize, DecodeError> {
        let found = self.u64(field)?;
        let limit = self.left.len().checked_div(item_bytes_min).unwrap_or(self.left.len());
        match usize::try_from(found) {
            Ok(count) if count <= limit => Ok(count),
            _ => Err(DecodeError::Over { field, found, limit: limit as u64 }),
        }
    }

    /// A u64 length and that many bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when the length reaches past the end.
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let needed = self.u64(field)?;
        match usize::try_from(needed) {
            Ok(n) if n <= self.left.len() => self.take(n, field),
            _ => Err(DecodeError::Short { field, needed, left: self.left.len() }),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] when bytes are left.
    pub const fn end(self) -> Result<(), DecodeError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing { left: self.left.len() })
        }
    }
}

/// Appends a u64 length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a little-endian u64.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a little-endian u32.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_put() {
        let mut out = Vec::new();
        put_u64(&mut out, 7);
        put_u32(&mut out, 9);
        put_bytes(&mut out, b"abc");
        let mut reader = Reader::new(&out);
        assert_eq!(reader.u64("a"), Ok(7));
        assert_eq!(reader.u32("b"), Ok(9));
        assert_eq!(reader.bytes("c"), Ok(&b"abc"[..]));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn a_length_past_the_end_is_refused_and_named() {
        let mut out = Vec::new();
        put_u64(&mut out, u64::MAX);
        assert_eq!(
            Reader::new(&out).bytes("name"),
            Err(DecodeError::Short { field: "name", needed: u64::MAX, left: 0 })
        );
        assert!(matches!(
            Reader::new(&out).count(8, "writes"),
            Err(DecodeError::Over { limit: 0, .. })
        ));
    }

    #[test]
    fn a_count_may_be_as_large_as_what_is_left_allows() {
        for (n, ok) in [(1, true), (2, true), (3, false)] {
            let mut out = Vec::new();
            put_u64(&mut out, n);
            out.extend_from_slice(&[0; 16]);
            assert_eq!(Reader::new(&out).count(8, "n").is_ok(), ok, "{n}");
        }
    }
}
