//! `coco keys sign`: sign a request where the key is. No network is needed.

use std::path::PathBuf;

use coco_client::Draft;
use serde_json::json;

use crate::{
    codes::Code,
    commands::proposal,
    contexts::Contexts,
    fault::Fault,
    files::{self, Rights},
    here::Here,
    output::{Output, utc},
    session::KeyArgs,
    signing::{Asks, confirm, signed_path},
};

#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The request
    file: PathBuf,
    /// Where to write it signed; beside it, with `.signed` in its name, without this
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// The context whose key signs, in place of the current one
    #[arg(long, value_name = "NAME", env = "COCO_CONTEXT")]
    context: Option<String>,
    /// Sign without a question
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(arguments: &SignArgs, output: Output) -> Result<(), Fault> {
    let draft = Draft::read(files::read(&arguments.file)?)?;
    let here = Here::load()?;
    let name = arguments.context.as_deref().or(here.context.as_deref());
    let context = Contexts::load()?.pick(name)?.map(|(_, context)| context);
    let context = context.as_ref();
    let key = arguments.keys.key.as_ref().or(context.and_then(|context| context.key.as_ref()));
    let cert = arguments.keys.cert.as_ref().or(context.and_then(|context| context.cert.as_ref()));
    let (Some(key), Some(cert)) = (key, cert) else {
        return Err(Fault::new(Code::NoKey, "there is no private key with its certificate"));
    };
    let key = key.read(cert)?;
    let statement = proposal::statement_of(&draft);
    let asks = if arguments.yes { Asks::No } else { Asks::Yes };
    let made = utc(draft.created_at());
    confirm(&draft, &format!("You {}. It was made at {made}.", statement.act), &statement, asks)?;
    let envelope = draft.sign(&key)?;
    let out = arguments.out.clone().unwrap_or_else(|| signed_path(&arguments.file));
    files::replace(&out, envelope.bytes(), Rights::Private)?;
    let (file, digest) = (out.display().to_string(), format!("sha256:{}", envelope.digest()));
    output.print("keys.sign", json!({ "file": file, "digest": digest }), || {
        format!("signed: {file}\nNext: coco proposal submit {file}")
    });
    Ok(())
}
