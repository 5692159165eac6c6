//! Bytes as Intel's processors and firmware write them: fields one after the other, the least significant byte of a number first.

use crate::error::VerifyError;

/// Bytes that do not follow their format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) what: &'static str,
    /// Where, from the start of all bytes.
    pub(crate) at: usize,
}

impl From<Malformed> for VerifyError {
    fn from(Malformed { what, at }: Malformed) -> Self {
        Self::Malformed { what, at }
    }
}

/// Reads fields from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LittleEndian<'a> {
    left: &'a [u8],
    /// Where what is left ends, counted from the start of all bytes.
    end: usize,
}

impl<'a> LittleEndian<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes, end: bytes.len() }
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.left
    }

    /// Where the next field begins.
    pub(crate) const fn at(&self) -> usize {
        self.end.saturating_sub(self.left.len())
    }

    pub(crate) const fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at() }
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let (taken, left) = self.left.split_first_chunk().ok_or_else(|| self.malformed(what))?;
        self.left = left;
        Ok(*taken)
    }

    /// The next bytes, so many of them.
    pub(crate) fn bytes(
        &mut self,
        length: usize,
        what: &'static str,
    ) -> Result<&'a [u8], Malformed> {
        let split = self.left.split_at_checked(length);
        let (taken, left) = split.ok_or_else(|| self.malformed(what))?;
        self.left = left;
        Ok(taken)
    }

    /// The next bytes, so many of them, to be read by themselves.
    pub(crate) fn part(&mut self, length: usize, what: &'static str) -> Result<Self, Malformed> {
        let left = self.bytes(length, what)?;
        Ok(Self { left, end: self.at() })
    }

    /// Passes over bytes that have no meaning, and of which each is zero.
    pub(crate) fn zeros<const N: usize>(&mut self, what: &'static str) -> Result<(), Malformed> {
        let place = *self;
        if self.array::<N>(what)? == [0; N] { Ok(()) } else { Err(place.malformed(what)) }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A length that stands in four bytes.
    pub(crate) fn length(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let place = *self;
        usize::try_from(self.u32(what)?).map_err(|_| place.malformed(what))
    }

    /// Nothing is left.
    pub(crate) const fn end(&self, what: &'static str) -> Result<(), Malformed> {
        if self.left.is_empty() { Ok(()) } else { Err(self.malformed(what)) }
    }
}
