//! What the scheme promises: enough shares give the secret, fewer say nothing, and nothing is guessed from how values
//! lie.

use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::*;

fn seed(of: u8) -> [u8; SHARING_SEED_BYTES] {
    [of; SHARING_SEED_BYTES]
}

fn held(shares: &[Share]) -> Vec<RecoveryShare> {
    shares.iter().cloned().map(RecoveryShare::from).collect()
}

fn from_hex(text: &str) -> RecoveryShare {
    let bytes: Vec<u8> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    RecoveryShare::decode(&bytes).unwrap()
}

/// Computed by twenty lines of Python with whole numbers of any size, from CCF's definition. One limb of the secret is
/// zero and one the largest value.
const SHARES: [&str; 3] = [
    "02000000393d93799fbf3a01da9d4a298ebd7a2bf6f8be447ffc641236e4ea47f78ad07a4977311bbafd8049",
    "0700000029afed26ecfcc40ea9fc61746a38e4205391836adab52230a22175064fe59150e4a6b6337cf5c86c",
    "ff00000092b25620a8eaf626fbad5d3eac963a78756b8f7f38f5710373d2ec36830d4c56ddcce7615858a115",
];
const SECRET: &str =
    "00000000bff0ee09417e8c00222bf5571c7fa9334b864311c578cc285837ee6dbbf20b6c00000000feffff7f";
const KEY: [u8; 32] = [
    0x13, 0x5c, 0x8b, 0x4d, 0xf8, 0x7e, 0x6c, 0x78, 0xb0, 0xc1, 0xe4, 0xb5, 0x78, 0xd3, 0xd5, 0x9a,
    0xb6, 0x18, 0x69, 0x49, 0x69, 0xc1, 0x3c, 0x72, 0xe4, 0x60, 0xb1, 0xe4, 0x7f, 0x17, 0x8b, 0x4e,
];

#[test]
fn shares_in_ccfs_form_give_the_secret_and_the_key() {
    let secret = SharedSecret::combine(&SHARES.map(from_hex), 3).unwrap();
    assert_eq!(RecoveryShare::from(secret.clone()), from_hex(SECRET));
    let (mut ours, mut expected) = ([0; 16], [0; 16]);
    let tag = secret.wrapping_key().seal([0; 12], b"", &mut ours);
    assert_eq!(tag, AeadKey::new(&KEY).seal([0; 12], b"", &mut expected));
    assert_eq!(ours, expected);
}

#[test]
fn reduction_is_the_remainder() {
    for near in (0..64).map(|i| 1_u64 << i).chain((0..1000).map(|i| i * PRIME)).chain([u64::MAX]) {
        for x in [near.wrapping_sub(2), near.wrapping_sub(1), near, near.wrapping_add(1)] {
            assert_eq!(reduce(x), x % PRIME, "{x}");
        }
    }
}

#[test]
fn numbers_at_the_limits_are_dealt_and_beyond_are_not() {
    for (shares, threshold, ok) in [
        (0, 0, false),
        (1, 0, false),
        (1, 1, true),
        (1, 2, false),
        (254, 254, true),
        (255, 255, true),
        (255, 256, false),
        (256, 1, false),
        (usize::MAX, usize::MAX, false),
    ] {
        let dealt = SharedSecret::deal(&seed(1), shares, threshold);
        assert_eq!(dealt.is_ok(), ok, "{threshold} of {shares}");
        if let Ok((secret, dealt)) = dealt {
            assert_eq!(dealt.len(), shares);
            assert_eq!(SharedSecret::combine(&held(&dealt), threshold), Ok(secret));
        }
    }
}

#[test]
fn what_is_missing_or_there_twice_is_named() {
    let (secret, dealt) = SharedSecret::deal(&seed(2), 5, 3).unwrap();
    let held = held(&dealt);
    let few = SharedSecret::combine(&held[..2], 3).unwrap_err();
    assert_eq!(few.to_string(), "2 shares, and 3 are needed: 1 are missing");
    let twice = [held[0].clone(), held[1].clone(), held[0].clone()];
    let position = NonZeroU8::new(1).unwrap();
    assert_eq!(SharedSecret::combine(&twice, 3), Err(CombineError::Twice(position)));
    assert_eq!(SharedSecret::combine(&held, 0), Err(CombineError::NoThreshold));
    assert_eq!(SharedSecret::combine(&[], 1), Err(CombineError::Few { found: 0, threshold: 1 }));
    let owner = [held[0].clone(), RecoveryShare::from(secret.clone())];
    assert_eq!(SharedSecret::combine(&owner, 3), Ok(secret));
}

#[test]
fn bytes_that_are_no_share_are_refused() {
    let good = SHARES.map(from_hex)[0].encode();
    for end in 0..SHARE_BYTES {
        let found = ShareError::Length { found: end };
        assert_eq!(RecoveryShare::decode(&good[..end]), Err(found));
    }
    assert!(RecoveryShare::decode(&[&good[..], &[0]].concat()).is_err());
    assert!(RecoveryShare::decode(&[&good[..], &[0; 4]].concat()).is_err());
    let with = |at: usize, word: u32| {
        let mut bytes = good.clone();
        bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        RecoveryShare::decode(&*bytes)
    };
    assert!(with(0, 255).is_ok());
    assert_eq!(with(0, 256), Err(ShareError::Position { found: 256 }));
    for limb in 1..=LIMBS {
        assert!(with(limb, (1 << 31) - 2).is_ok());
        assert_eq!(with(limb, (1 << 31) - 1), Err(ShareError::Value));
        assert_eq!(with(limb, u32::MAX), Err(ShareError::Value));
    }
}

#[test]
fn a_digest_is_of_one_share_and_one_holder() {
    let share = from_hex(SHARES[0]);
    assert_eq!(share.digest(b"a"), share.digest(b"a"));
    assert_ne!(share.digest(b"a"), share.digest(b"b"));
    assert_ne!(share.digest(b"a"), from_hex(SHARES[1]).digest(b"a"));
}

#[test]
fn secrets_do_not_print() {
    let (secret, dealt) = SharedSecret::deal(&seed(3), 2, 2).unwrap();
    let both = format!("{secret:?} {:?}", held(&dealt));
    assert_eq!(both, "SharedSecret [Share(1), Share(2)]");
}

/// The classic fault of such schemes is a value that is never drawn, or drawn too often, so that shares tell a little.
#[test]
fn the_values_of_shares_are_uniform() {
    const SHARINGS: u32 = 50_000;
    const BUCKETS: usize = 256;
    // A hundred thousand shares of two people: a million values.
    let mut counts = [[0_u32; BUCKETS]; 2];
    for round in 0..SHARINGS {
        let mut seed = seed(4);
        seed[..4].copy_from_slice(&round.to_le_bytes());
        let (_, dealt) = SharedSecret::deal(&seed, 2, 2).unwrap();
        for (counts, share) in counts.iter_mut().zip(&dealt) {
            for limb in share.limbs.iter() {
                counts[usize::try_from(limb >> 23).unwrap()] += 1;
            }
        }
    }
    let expected = f64::from(SHARINGS) * 10.0 / 256.0;
    for counts in counts {
        assert_eq!(counts.iter().sum::<u32>(), SHARINGS * 10);
        let chi: f64 = counts.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        // 255 degrees of freedom: one sharing in a million is outside. The seeds are fixed, so this one is inside.
        assert!((154.0..382.0).contains(&chi), "{chi}");
    }
}

proptest! {
    #[test]
    fn any_k_of_n_give_the_secret_in_any_order(
        (n, chosen) in (1..=40_usize).prop_flat_map(|n| {
            let chosen = (1..=n).prop_flat_map(move |k| subsequence((0..n).collect::<Vec<_>>(), k));
            (Just(n), chosen.prop_shuffle())
        }),
        seed: [u8; SHARING_SEED_BYTES],
    ) {
        let k = chosen.len();
        let (secret, dealt) = SharedSecret::deal(&seed, n, k).unwrap();
        let brought: Vec<RecoveryShare> = chosen.iter().map(|at| dealt[*at].clone().into()).collect();
        prop_assert_eq!(SharedSecret::combine(&brought, k).unwrap(), secret);
        let fewer = SharedSecret::combine(&brought[1..], k);
        prop_assert_eq!(fewer, Err(CombineError::Few { found: k - 1, threshold: k }));
    }

    #[test]
    fn fewer_than_k_shares_fit_every_secret(
        k in 2..=8_usize,
        seed: [u8; SHARING_SEED_BYTES],
        other in vec(0..PRIME, LIMBS),
    ) {
        let (_, dealt) = SharedSecret::deal(&seed, k, k).unwrap();
        // To the k - 1 first shares there is a last one for which the secret is the other: the weights are not zero, so
        // each limb has exactly one solution.
        let positions: Vec<u64> = dealt.iter().map(|share| share.position.get().into()).collect();
        let weights = weights_at_zero(&positions);
        let mut forged = dealt[k - 1].clone();
        for (limb, wanted) in other.iter().enumerate() {
            let known = dealt[..k - 1].iter().zip(&weights)
                .fold(0, |sum, (share, weight)| reduce(sum + reduce(share.limbs[limb] * weight)));
            let rest = reduce(PRIME + wanted - known);
            forged.limbs[limb] = reduce(rest * power(weights[k - 1], PRIME - 2));
        }
        let mut brought = held(&dealt[..k - 1]);
        brought.push(forged.into());
        let secret = SharedSecret::combine(&brought, k).unwrap();
        prop_assert_eq!(&secret.0[..], &other[..]);
    }

    #[test]
    fn a_share_reads_as_it_was_written(position: u8, values in vec(0..PRIME, LIMBS)) {
        let mut limbs = Limbs::default();
        limbs.copy_from_slice(&values);
        let share = match NonZeroU8::new(position) {
            Some(position) => RecoveryShare::Part(Share { position, limbs }),
            None => RecoveryShare::Whole(SharedSecret(limbs)),
        };
        prop_assert_eq!(RecoveryShare::decode(&*share.encode()), Ok(share));
    }

    #[test]
    fn a_wrong_share_gives_another_secret(
        seed: [u8; SHARING_SEED_BYTES],
        limb in 0..LIMBS,
        value in 0..PRIME,
    ) {
        let (secret, mut dealt) = SharedSecret::deal(&seed, 3, 3).unwrap();
        prop_assume!(dealt[1].limbs[limb] != value);
        dealt[1].limbs[limb] = value;
        prop_assert_ne!(SharedSecret::combine(&held(&dealt), 3).unwrap(), secret);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..60)) {
        drop(RecoveryShare::decode(&bytes));
    }
}
