//! Makes the seeds of keys anew: keys that nobody uses for anything.
//!
//! `cargo run --package coco-fuzz --example key_seeds`

#![expect(clippy::expect_used, reason = "a tool stops at what it did not expect")]

use std::{fs, path::Path};

use coco_crypto::{Curve, DecryptionKey, SigningKey};

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here.join("../../fuzz/seeds/key_pem");
    fs::create_dir_all(&folder).expect("the folder can be made");
    let put = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).expect("the file can be written");
    };
    for curve in Curve::ALL {
        put(&format!("{curve:?}").to_lowercase(), SigningKey::generate(curve).to_pem().expose());
    }
    let key = DecryptionKey::generate();
    put("rsa-private", key.pem().expose());
    put("rsa-public", key.public().pem().as_bytes());
    let public = key.public().pem();
    fs::write(here.join("fixture/encryption_pubk.pem"), public).expect("written");
}
