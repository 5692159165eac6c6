//! `coco keys pkcs11`: what a device shows of itself.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    device::{Seen, look},
    fault::Fault,
    output::{Output, Table},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Pkcs11Args {
    /// The module of the device's maker
    #[arg(long, value_name = "FILE", env = "COCO_PKCS11_MODULE")]
    module: PathBuf,
}

pub(crate) fn run(arguments: &Pkcs11Args, output: Output) -> Result<(), Fault> {
    let seen = look(&arguments.module)?;
    let keys: Vec<_> = seen.iter().map(shown).collect();
    output.print("keys.pkcs11", json!({ "module": arguments.module, "keys": keys }), || {
        let mut table = Table::with_head(["TOKEN", "SERIAL", "OBJECT", "CURVE"]);
        for Seen { token, serial, key } in &seen {
            let (object, public) =
                key.as_ref().map_or(("-", None), |(label, key)| (label, key.as_ref()));
            let curve = public.map_or_else(|| "-".to_owned(), |key| format!("{:?}", key.curve()));
            table.row([token, serial, object, &curve]);
        }
        table.to_string()
    });
    Ok(())
}

fn shown(Seen { token, serial, key }: &Seen) -> serde_json::Value {
    let (object, public) =
        key.as_ref().map_or((None, None), |(label, key)| (Some(label), key.as_ref()));
    json!({
        "token": token, "serial": serial, "object": object,
        "curve": public.map(|key| format!("{:?}", key.curve())),
        "public_key": public.map(|key| key.to_pem()),
    })
}
