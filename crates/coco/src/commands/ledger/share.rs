//! `coco ledger share`: a member takes its own recovery share out of a copy of the ledger, away from any node.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{RecoveryShare, SecretBytes};
use coco_governance::SecretChain;
use coco_ledger::{Chunk, ChunkName};
use coco_types::Seqno;
use serde_json::json;

use super::{at_beginning, certificate, copy, damaged};
use crate::{
    Failure,
    codes::Code,
    commands::keys::decryption_key,
    fault::Fault,
    files::{self, Rights},
    output::Output,
};

#[derive(Debug, clap::Args)]
pub(crate) struct ShareArgs {
    /// The ledger folder
    folder: PathBuf,
    /// The service's certificate (PEM): where the ledger's first files are missing, and a snapshot of its stands for them. The entries
    /// are not verified here: `coco ledger verify` does that
    #[arg(long, value_name = "PEM")]
    service_cert: Option<PathBuf>,
    /// The folder of snapshots, where it is not `snapshots` beside the ledger folder
    #[arg(long, value_name = "DIR", requires = "service_cert")]
    snapshots: Option<PathBuf>,
    /// The private key to which your share is encrypted (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the share is written. It is as secret as the key
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(arguments: &ShareArgs, output: Output) -> Result<(), Failure> {
    let key = decryption_key(&arguments.key)?;
    let chunks = copy::chunks(&arguments.folder)?;
    let (mut dealt, after) = dealt_before(arguments, &chunks)?;
    for (name, path) in chunks {
        let (name, bytes) = copy::read_chunk(name, &path)?;
        let chunk = Chunk::parse(&bytes).map_err(|error| damaged(name, &error))?;
        for (offset, entry) in chunk.entries.iter().filter(|(_, entry)| entry.tx_id().seqno > after)
        {
            let at = || format!("{name} at offset {offset}");
            let writes = entry.public_writes().map_err(|error| damaged(at(), &error))?;
            let taken = dealt.take(entry.tx_id().seqno, &writes);
            taken.map_err(|error| damaged(at(), &error))?;
        }
    }
    let (member, share) = dealt.open_share(&key).map_err(|error| {
        Fault::new(Code::KeyUnusable, arguments.key.display().to_string()).because(&error)
    })?;
    let text = SecretBytes::new(STANDARD.encode(share.encode().as_slice()).into_bytes());
    files::create(&arguments.out, text.expose(), Rights::Private)?;
    let file = arguments.out.display().to_string();
    output.print("ledger.share", json!({ "member_id": member, "file": file }), || {
        format!("the share of the member {member} is in {file}; whoever has enough of them reads the ledger")
    });
    Ok(())
}

/// What was dealt before the first file, and up to which entry: what a snapshot says, if one stands for files that are missing.
fn dealt_before(
    arguments: &ShareArgs,
    chunks: &[(ChunkName, PathBuf)],
) -> Result<(SecretChain, Seqno), Failure> {
    let nothing = (SecretChain::new(), Seqno::ZERO);
    let Some(service) = &arguments.service_cert else { return Ok(nothing) };
    let snapshots = copy::snapshots(&arguments.folder, arguments.snapshots.as_deref())?;
    let Some(snapshot) = copy::beginning(chunks, &snapshots)? else { return Ok(nothing) };
    at_beginning(chunks, &snapshot, &certificate(service)?, |file, image| {
        let dealt = SecretChain::of_image(image.public()).map_err(|error| damaged(file, &error))?;
        Ok((dealt, snapshot.0.seqno))
    })
}

/// Reads a share that was written here, or in another way as one line of base64. One that others can read is refused.
pub(super) fn read(path: &Path) -> Result<RecoveryShare, Fault> {
    if !files::is_private(path)? {
        return Err(Fault::new(Code::KeyOpenToOthers, path.display().to_string()));
    }
    let text = SecretBytes::new(files::read(path)?);
    let wrong = |cause: String| {
        Fault::new(Code::ShareWrong, path.display().to_string())
            .because(&std::io::Error::other(cause))
    };
    let bytes = STANDARD.decode(text.expose().trim_ascii());
    let bytes = SecretBytes::new(bytes.map_err(|_| wrong("it is not base64".to_owned()))?);
    RecoveryShare::decode(bytes.expose()).map_err(|error| wrong(error.to_string()))
}
