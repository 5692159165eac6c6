//! `coco keys ls`: the certificates in a folder of keys.

use serde_json::json;

use super::{FolderArgs, encryption_key_beside, files_of, show::Shown};
use crate::{
    codes::Code,
    fault::Fault,
    output::{Output, Table, short},
};

pub(crate) fn run(arguments: &FolderArgs, output: Output) -> Result<(), Fault> {
    let folder = arguments.folder()?;
    let mut names = Vec::new();
    // A folder that nobody has made yet has no keys.
    if folder.is_dir() {
        let failed = |error: std::io::Error| Fault::file(Code::FileUnreadable, &folder, &error);
        for file in std::fs::read_dir(&folder).map_err(failed)? {
            let file = file.map_err(failed)?.file_name();
            if let Some(name) = file.to_str().and_then(|name| name.strip_suffix("_cert.pem")) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    let mut table = Table::with_head(["NAME", "MEMBER ID", "CURVE", "UNTIL", "KEY", "ENCRYPTION"]);
    let mut keys = Vec::new();
    for name in names {
        let files = files_of(&folder, &name);
        let shown = match Shown::read(&files.cert) {
            Ok(shown) => shown,
            Err(fault) => {
                eprintln!("{name}: {fault}");
                continue;
            }
        };
        let there = |is: bool| if is { "yes" } else { "no" };
        let (has_key, has_encryption) =
            (files.key.is_file(), encryption_key_beside(&files.cert).is_some());
        let (id, curve, until) = (&shown.id, &shown.curve, &shown.not_after);
        table.row([&name, short(id), curve, until, there(has_key), there(has_encryption)]);
        keys.push(json!({
            "name": name, "member_id": id, "curve": curve, "not_after": until,
            "has_key": has_key, "has_encryption_key": has_encryption,
        }));
    }
    output.print(
        "keys.ls",
        json!({ "folder": folder.display().to_string(), "keys": keys }),
        || table.to_string(),
    );
    Ok(())
}
