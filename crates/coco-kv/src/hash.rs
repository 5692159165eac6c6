//! The two keyed hashes of a store. Clients choose keys, so both are keyed with values that they do not know.

use std::hash::Hasher;

use foldhash::{SharedSeed, fast::FoldHasher};
use siphasher::sip::SipHasher13;

/// Hashes keys for placement in memory, and for the index of history maps. Placement is each process's own affair;
/// fingerprints stand in the state's image, so their hash is one whose outputs are fixed.
pub(crate) struct Keyed {
    key: [u64; 2],
    per_hasher: u64,
    shared: SharedSeed,
}

impl Keyed {
    pub(crate) fn new(key: [u64; 2]) -> Self {
        Self { key, per_hasher: key[0], shared: SharedSeed::from_u64(key[1]) }
    }

    /// Where `key` lies in a hash table: fast, and collisions only cost time.
    pub(crate) fn place(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.per_hasher, &self.shared);
        hasher.write(key);
        hasher.finish()
    }

    /// The fingerprint that stands for `key` in a history index: `SipHash` under the secret key, because a collision
    /// here costs a read from disk.
    pub(crate) fn fingerprint(&self, key: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.key[0], self.key[1]).hash(key)
    }

    /// The key of both hashes.
    pub(crate) const fn key(&self) -> [u64; 2] {
        self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation. Images of older programs hold fingerprints: a change of this value makes their history unfindable.
    #[test]
    fn fingerprints_are_siphash_1_3() {
        let keyed = Keyed::new([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        let prints = [&b""[..], &[0]].map(|key| keyed.fingerprint(key));
        assert_eq!(prints, [0xabac_0158_050f_c4dc, 0xc9f4_9bf3_7d57_ca93]);
    }
}
