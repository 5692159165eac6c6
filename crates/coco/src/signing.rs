//! A member signs: what is signed is shown, a word of it is asked for, and then it is sent, printed or kept in a file.

use std::{
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_client::{Answer, CallError, Client, Draft, Envelope, Message};
use coco_crypto::Certificate;

use crate::{
    codes::Code,
    contexts,
    fault::Fault,
    files::{self, Rights},
    output::{out, short},
    session::{KeyArgs, Session},
};

/// How it is signed, and what becomes of it.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SigningArgs {
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    /// Sign without a question
    #[arg(long, global = true, help_heading = "Signing")]
    yes: bool,
    /// Sign, and print the request as a call of curl in place of sending it
    #[arg(long, global = true, help_heading = "Signing")]
    print_request: bool,
    /// Write the request to a file in place of sending it; without a key it is written unsigned
    #[arg(long, global = true, value_name = "FILE", help_heading = "Signing")]
    offline: Option<PathBuf>,
}

/// What a member is about to sign.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) message: Message,
    pub(crate) content: Vec<u8>,
    /// What the signature does, as the end of a sentence that begins with `You`.
    pub(crate) act: String,
    /// More about it, a line each.
    pub(crate) lines: Vec<String>,
    /// What is to be typed; the beginning of the digest, where there is nothing better.
    pub(crate) word: Option<String>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It was sent and is committed.
    Sent(Answer),
    /// It was sent, and refused for a reason that may mean it is done.
    Refused(CallError),
    /// It was printed or written, and whoever asked for that knows where.
    Kept,
}

/// Signs and sends, or does what was asked for in place of sending.
pub(crate) fn carry_out(
    session: &Session,
    arguments: &SigningArgs,
    statement: &Statement,
) -> Result<Fate, Fault> {
    let Some(signer) = session.signer(&arguments.keys)? else {
        return Err(Fault::new(Code::NoKey, "there is no certificate of whoever signs"));
    };
    arguments.check_may_show(statement.message)?;
    let draft = Draft::new(statement.message, &signer, now()?, &statement.content)?;
    let key = match (session.key(&arguments.keys)?, &arguments.offline) {
        (Some(key), _) => key,
        (None, Some(path)) => {
            files::replace(path, draft.bytes(), Rights::Private)?;
            eprintln!("written, not signed: {0}     next: coco keys sign {0}", path.display());
            return Ok(Fate::Kept);
        }
        (None, None) => return Err(Fault::new(Code::NoKey, "there is no private key")),
    };
    let asked = format!("You {} on network {}.", statement.act, session.title());
    confirm(&draft, &asked, statement, arguments.asks())?;
    let envelope = draft.sign(&key)?;
    if let Some(path) = &arguments.offline {
        files::replace(path, envelope.bytes(), Rights::Private)?;
        eprintln!("written: {0}     next: coco proposal submit {0}", path.display());
        return Ok(Fate::Kept);
    }
    if arguments.print_request {
        out!("{}", as_curl(session, &envelope));
        return Ok(Fate::Kept);
    }
    send(session, &envelope)
}

/// Whether a question is asked before a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Yes,
    No,
}

impl SigningArgs {
    /// The service's certificate as it stands, which may be another than the pinned one for the same key. Without a network it
    /// is the pinned one.
    pub(crate) fn service(&self, session: &Session) -> Result<Certificate, Fault> {
        if self.offline.is_some() {
            return Ok(session.client().service().clone());
        }
        session.service_in(&session.ask(Client::network)?.service_certificate)
    }

    /// Refuses to print a secret: terminals and logs keep what they show.
    pub(crate) fn check_may_show(&self, message: Message) -> Result<(), Fault> {
        if self.print_request && is_secret(message) {
            return Err(Fault::new(Code::Failed, "a recovery share is not printed")
                .next("--offline FILE writes it to a file that you alone can read"));
        }
        Ok(())
    }

    /// Whether the request is written in place of being sent, for which no network is needed.
    pub(crate) const fn is_offline(&self) -> bool {
        self.offline.is_some()
    }

    const fn asks(&self) -> Asks {
        if self.yes { Asks::No } else { Asks::Yes }
    }
}

/// Sends what is signed. What may have got lost is kept in a file, to be sent again.
pub(crate) fn send(session: &Session, envelope: &Envelope) -> Result<Fate, Fault> {
    let submitted = session.try_ask(|client| client.submit(envelope));
    let path = || -> Result<PathBuf, Fault> {
        let name = format!("{}.cose", short(&envelope.digest().to_string()));
        Ok(contexts::state_folder()?.join("sent").join(name))
    };
    let is_done = match &submitted {
        Ok(_) => true,
        Err(error) => error.is("ProposalReplay") || error.is("VoteAlreadyExists"),
    };
    if is_done {
        // Kept from an attempt before this one, or not at all.
        let _removed = path().is_ok_and(|path| std::fs::remove_file(path).is_ok());
    }
    match submitted {
        Ok(answer) => Ok(Fate::Sent(answer)),
        Err(error @ CallError::OutcomeUnknown { .. }) => {
            let path = path()?;
            files::replace(&path, envelope.bytes(), Rights::Private)?;
            Err(Fault::from(error)
                .with("digest", format!("sha256:{}", envelope.digest()))
                .next(format!("coco proposal submit {}", path.display())))
        }
        Err(error) if error.refusal().is_some() => Ok(Fate::Refused(error)),
        Err(error) => Err(error.into()),
    }
}

/// Whether what is signed is nobody else's to read.
pub(crate) const fn is_secret(message: Message) -> bool {
    match message {
        Message::RecoveryShare => true,
        Message::Proposal
        | Message::Ballot(_)
        | Message::Withdrawal(_)
        | Message::StateDigest
        | Message::Ack
        | Message::EncryptedRecoveryShare => false,
    }
}

/// Shows what is signed, and asks for a word of it.
pub(crate) fn confirm(
    draft: &Draft,
    asked: &str,
    statement: &Statement,
    asks: Asks,
) -> Result<(), Fault> {
    let digest = draft.digest().to_string();
    let word = statement.word.as_deref().unwrap_or_else(|| short(&digest));
    let mut text = format!("{asked}\n");
    for line in &statement.lines {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&format!("  signer sha256:{}\n  digest sha256:{digest}\n", draft.signer()));
    if asks == Asks::No {
        eprint!("{text}");
        return Ok(());
    }
    eprint!("{text}  Type {word} to sign: ");
    let failed = |error: io::Error| Fault::new(Code::NotSigned, error.to_string());
    io::stderr().flush().map_err(failed)?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).map_err(failed)?;
    if typed.trim() == word {
        Ok(())
    } else {
        Err(Fault::new(Code::NotSigned, format!("{word} was not typed")))
    }
}

/// The request as a shell would send it.
fn as_curl(session: &Session, envelope: &Envelope) -> String {
    let url = session.client().endpoints().first().map(ToString::to_string).unwrap_or_default();
    let base64 = STANDARD.encode(envelope.bytes());
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(LINE_CHARACTERS)
        .map(|line| str::from_utf8(line).unwrap_or_default())
        .collect();
    format!(
        "cat > service_cert.pem <<'END'\n{}END\nbase64 -d > request.cose <<'END'\n{}\nEND\n\
         curl --cacert service_cert.pem -H 'content-type: application/cose' --data-binary @request.cose \\\n  \
         '{url}{}?api-version={}'\n",
        session.client().service().pem(),
        lines.join("\n"),
        envelope.path(),
        coco_client::API_VERSION,
    )
}

const LINE_CHARACTERS: usize = 76;

/// The time, in seconds since 1970.
pub(crate) fn now() -> Result<u64, Fault> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.map_err(|error| Fault::new(Code::Failed, format!("the clock: {error}")))?;
    Ok(since.as_secs())
}

/// Where a signed request is written that came from this file: `a.cose` becomes `a.signed.cose`.
pub(crate) fn signed_path(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(|| "cose".into(), |e| e.to_string_lossy());
    path.with_file_name(format!("{stem}.signed.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_request_lies_beside_the_one_that_was_not() {
        for (from, to) in [("d/a.cose", "d/a.signed.cose"), ("a", "a.signed.cose")] {
            assert_eq!(signed_path(Path::new(from)), Path::new(to));
        }
    }
}
