//! `coco node init`: the keys of a node that is to be, so that members can hear of it before it asks.

use std::path::PathBuf;

use coco_node::newcomer::{NEWCOMER_FILE, Newcomer};
use serde_json::json;

use crate::{
    codes::Code,
    commands::network::place::{check_free, code_digest, make_newcomer},
    fault::{Fault, chain},
    output::Output,
};

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The node's folder. It is made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(arguments: &InitArgs, output: Output) -> Result<(), Fault> {
    let dir = &arguments.dir;
    check_free(dir)?;
    let known = Newcomer::open(dir);
    if known.map_err(|error| Fault::new(Code::FileUnreadable, chain(&error)))?.is_some() {
        return Err(Fault::new(Code::FileExists, dir.join(NEWCOMER_FILE).display().to_string()));
    }
    let node = make_newcomer(dir)?.key.public().node_id().to_string();
    let code = code_digest()?.to_string();
    output.print("node.init", json!({ "node_id": node, "measurement": code, "dir": dir }), || {
        format!(
            "node   {node}\ncode   {code}\nnext   coco network join URL --service-id sha256:DIGEST --dir {} --client HOST:PORT --peer HOST:PORT\n       \
             members who admit it, or its code, compare these: coco proposal create trust-code, trust-node",
            dir.display()
        )
    });
    Ok(())
}
