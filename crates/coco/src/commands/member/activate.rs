//! `coco member activate`: ask for the digest of the service's state, and acknowledge it.

use coco_client::{Draft, MemberId, Message};
use serde::Deserialize;
use serde_json::json;

use crate::{
    codes::Code,
    commands::keys::{fingerprint, fingerprint_beside},
    fault::Fault,
    output::{Output, short},
    session::{KeyArgs, Session},
    signing::{Fate, SigningArgs, Statement, carry_out, now},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ActivateArgs {
    #[command(flatten)]
    signing: SigningArgs,
}

pub(crate) fn run(
    session: &Session,
    arguments: &ActivateArgs,
    output: Output,
) -> Result<(), Fault> {
    let keys = &arguments.signing.keys;
    let Some(signer) = session.signer(keys)? else {
        return Err(Fault::new(Code::NoKey, "there is no certificate of whoever signs"));
    };
    let id = MemberId(signer.digest());
    check_encryption_key(session, keys, id)?;
    let digest = match session.key(keys)? {
        Some(key) => {
            // Who asks is proved by a signature, too. It promises nothing, and so there is no question before it.
            let draft = Draft::new(Message::StateDigest, &signer, now()?, b"")?;
            let envelope = draft.sign(&key)?;
            let answer = session.ask(|client| client.submit(&envelope));
            answer.map_err(|fault| explain(fault, id))?.json::<StateDigest>()?.state_digest
        }
        // The last one that was asked for waits.
        None => {
            let path =
                format!("/gov/members/state-digests/{id}?api-version={}", coco_client::API_VERSION);
            let answer = session.ask(|client| client.get(&path));
            answer.map_err(|fault| explain(fault, id))?.json::<StateDigest>()?.state_digest
        }
    };
    let statement = Statement {
        message: Message::Ack,
        content: json!({ "stateDigest": digest }).to_string().into_bytes(),
        act: "acknowledge the state of the service, by which you become an active member"
            .to_owned(),
        lines: vec![format!("state  sha256:{digest}")],
        word: Some(short(&digest).to_owned()),
    };
    let answer = match carry_out(session, &arguments.signing, &statement)? {
        Fate::Sent(answer) => answer,
        Fate::Refused(error) => return Err(explain(error.into(), id)),
        Fate::Kept => return Ok(()),
    };
    let transaction = answer.transaction.map(|transaction| transaction.to_string());
    output.print(
        "member.activate",
        json!({ "member_id": id.to_string(), "transaction_id": transaction }),
        || {
            let committed = transaction.as_deref().unwrap_or("-");
            format!("active: member {id}\n  committed {committed}")
        },
    );
    Ok(())
}

/// Whoever holds the key that others gave for a member gets that member's recovery share.
fn check_encryption_key(session: &Session, keys: &KeyArgs, id: MemberId) -> Result<(), Fault> {
    let own = session.cert_path(keys).map(|cert| fingerprint_beside(&cert)).transpose()?.flatten();
    let Some(own) = own else { return Ok(()) };
    let member = match session.ask(|client| client.member(id)) {
        // That it is no member the service says better.
        Err(fault) if fault.code() == Code::NotFound => return Ok(()),
        member => member.map_err(|fault| explain(fault, id))?,
    };
    match member.public_encryption_key.as_deref().map(fingerprint) {
        Some(given) if own != given => {
            let message = "members gave another encryption key for this member: its recovery share would be \
                           somebody else's";
            Err(explain(Fault::new(Code::KeyUnusable, message), id)
                .with("own", own)
                .with("given", given)
                .next("ask who proposed it; have the member removed and admitted again with its own key"))
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateDigest {
    state_digest: String,
}

fn explain(fault: Fault, id: MemberId) -> Fault {
    fault.with("member", format!("sha256:{id}"))
}
