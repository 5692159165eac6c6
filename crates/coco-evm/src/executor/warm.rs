//! What is slow on first use, used once before it matters.

use alloy_primitives::hex;
use revm::precompile::kzg_point_evaluation;

/// Runs the precompiles that set up tables on first use. To be called before the node takes part: a primary that stops
/// for them in the middle of a block would lose its view.
///
/// # Panics
/// When a proof that is known to be right does not verify: the build is broken.
pub fn warm_up() {
    let versioned_hash = kzg_point_evaluation::kzg_to_versioned_hash(&KZG_COMMITMENT);
    let input = [versioned_hash.as_slice(), &KZG_Z, &KZG_Y, &KZG_COMMITMENT, &KZG_PROOF].concat();
    let output = kzg_point_evaluation::run(&input, kzg_point_evaluation::GAS_COST);
    assert!(output.is_ok(), "a right KZG proof does not verify");
}

/// The case `correct_proof_4_4` of the KZG tests of the consensus specification.
const KZG_COMMITMENT: [u8; 48] = hex!(
    "8f59a8d2a1a625a17f3fea0fe5eb8c896db3764f3185481bc22f91b4aaffcca25f26936857bc3a7c2539ea8ec3a952b7"
);
const KZG_Z: [u8; 32] = hex!("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000");
const KZG_Y: [u8; 32] = hex!("1522a4a7f34e1ea350ae07c29c96c7e79655aa926122e95fe69fcbd932ca49e9");
const KZG_PROOF: [u8; 48] = hex!(
    "a62ad71d14c5719385c0686f1871430475bf3a00f0aa3f7b8dd99a9abc2160744faf0070725e00b60ad9a026a15b1a8c"
);

#[cfg(test)]
mod tests {
    #[test]
    fn warming_up_works() {
        super::warm_up();
    }
}
