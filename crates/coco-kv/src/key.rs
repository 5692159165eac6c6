//! Keys in memory.

use std::{borrow::Borrow, cmp::Ordering, ops::Deref, sync::Arc};

/// A key. Short ones lie where they are used, so that comparing them costs no walk through memory; long ones are
/// shared.
#[derive(Clone)]
pub(crate) enum Key {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Arc<[u8]>),
}

/// Longest short key, in bytes: an account with a storage slot (60) fits, and an id in hexadecimal (64), of which there are as many
/// as participants.
const SHORT_BYTES_MAX: usize = 70;

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        match u8::try_from(key.len()) {
            Ok(len) if key.len() <= SHORT_BYTES_MAX => {
                let mut bytes = [0; SHORT_BYTES_MAX];
                bytes[..key.len()].copy_from_slice(key);
                Self::Short { len, bytes }
            }
            _ => Self::Long(Arc::from(key)),
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_read_back_and_compare_as_bytes() {
        let lens =
            [0, 1, SHORT_BYTES_MAX - 1, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 255, 256, 4096];
        let all: Vec<Vec<u8>> =
            lens.iter().flat_map(|len| [vec![0; *len], vec![7; *len]]).collect();
        for left in &all {
            assert_eq!(*Key::from(&left[..]), **left);
            for right in &all {
                assert_eq!(Key::from(&left[..]).cmp(&Key::from(&right[..])), left.cmp(right));
                assert_eq!(Key::from(&left[..]) == Key::from(&right[..]), left == right);
            }
        }
    }
}
