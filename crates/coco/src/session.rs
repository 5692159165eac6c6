//! Which network a command works with, and as whom: flag, before `COCO_` variable, before `./coco.toml`, before context.

use std::{cell::OnceCell, future::Future, path::PathBuf, time::Duration};

use coco_client::{
    CallError, Client, Endpoint, MemberId, MemberKey, ProposalId, ServiceIdentity, Settings,
    reply::Member,
};
use coco_crypto::{Certificate, SignerCertificate};
use coco_types::{Digest, NodeId};
use tokio::runtime::Runtime;

use crate::{
    codes::Code,
    contexts::{Context, Contexts},
    fault::{Fault, chain},
    files,
    here::Here,
    key_place::KeyPlace,
    output::short,
    seen,
};

/// Which network.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct NetworkArgs {
    /// The context to use, in place of the current one
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "COCO_CONTEXT",
        help_heading = "Network"
    )]
    context: Option<String>,
    /// A node, `https://host:port`. May be given more than once, or several with commas between
    #[arg(long, global = true, value_delimiter = ',', env = "COCO_URL", help_heading = "Network")]
    url: Vec<String>,
    /// The certificate of the service that you trust
    #[arg(
        long,
        global = true,
        value_name = "PEM",
        env = "COCO_SERVICE_CERT",
        help_heading = "Network"
    )]
    service_cert: Option<PathBuf>,
    /// How long to wait for an answer; 10 seconds if it is not said
    #[arg(long, global = true, value_name = "SECONDS", env = "COCO_TIMEOUT",
          value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX), help_heading = "Network")]
    timeout: Option<u64>,
}

/// Longest time for an answer that can be asked for.
pub(crate) const SECONDS_MAX: u64 = 3_600;

/// As whom.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct KeyArgs {
    /// Your private key: a file (PEM), or the URI of one in a device (pkcs11:...)
    #[arg(long, global = true, value_name = "PEM", env = "COCO_KEY", help_heading = "Signing")]
    pub(crate) key: Option<KeyPlace>,
    /// Your certificate (PEM)
    #[arg(long, global = true, value_name = "PEM", env = "COCO_CERT", help_heading = "Signing")]
    pub(crate) cert: Option<PathBuf>,
}

/// A network to work with.
#[derive(Debug)]
pub(crate) struct Session {
    runtime: Runtime,
    client: Client,
    settings: Settings,
    /// What the network is called here.
    pub(crate) name: String,
    context: Option<Context>,
    /// The key of whoever signs, once it was asked for: a device asks for its PIN once.
    key: OnceCell<MemberKey>,
}

impl Session {
    pub(crate) fn open(arguments: &NetworkArgs) -> Result<Self, Fault> {
        let (contexts, here) = (Contexts::load()?, Here::load()?);
        let picked = match (&arguments.context, arguments.url.is_empty()) {
            // Whoever names a node and no context means that node, not the context of the folder or the current one.
            (None, false) => None,
            (told, _) => contexts.pick(told.as_deref().or(here.context.as_deref()))?,
        };
        let (name, context) =
            picked.map_or((None, None), |(name, context)| (Some(name), Some(context)));
        let urls = match (&context, arguments.url.as_slice()) {
            (Some(context), []) => &context.urls,
            (_, urls) => urls,
        };
        let Some(first) = urls.first() else {
            return Err(Fault::new(Code::NoNetwork, "there is no current context and no --url"));
        };
        let endpoints = urls.iter().map(|url| endpoint(url)).collect::<Result<Vec<_>, _>>()?;
        let runtime = runtime()?;
        let settings = settings(arguments, &here);
        let service = match (&arguments.service_cert, &context) {
            (Some(path), _) => certificate(&files::read_text(path)?)
                .map_err(|fault| fault.with("file", path.display().to_string()))?,
            (None, Some(context)) => certificate(&context.service_cert)?,
            // Within this machine nothing is proved and nothing needs to be.
            (None, None) if endpoints.iter().all(Endpoint::is_plain) => runtime
                .block_on(Client::danger_fetch_service_certificate(&endpoints[0], settings))?,
            (None, None) => {
                return Err(Fault::new(Code::NoServiceCertificate, first));
            }
        };
        let name = name.unwrap_or_else(|| first.clone());
        let client = Client::new(service, endpoints, settings)
            .map_err(|error| Fault::new(Code::KeyUnusable, chain(&error)))?;
        if let Some(seen) = seen::load(client.identity()) {
            client.see(seen);
        }
        Ok(Self { runtime, client, settings, name, context, key: OnceCell::new() })
    }

    /// The service's certificate that a node shows, if it is of the service that is pinned. A node that proves itself by the
    /// pinned one and shows another service's is odd; plain HTTP proves nothing before.
    pub(crate) fn service_in(&self, pem: &str) -> Result<Certificate, Fault> {
        let shown = certificate(pem)?;
        let (found, expected) = (ServiceIdentity::of(&shown), self.client.identity());
        if found == expected {
            return Ok(shown);
        }
        Err(Fault::new(Code::ServiceIdentityOther, self.name.clone())
            .with("found", found.to_string())
            .with("expect", expected.to_string()))
    }

    /// Waits for a call to this network.
    pub(crate) fn ask<'a, T, F: Future<Output = Result<T, CallError>>>(
        &'a self,
        call: impl FnOnce(&'a Client) -> F,
    ) -> Result<T, Fault> {
        self.try_ask(call).map_err(|error| {
            let is_behind = matches!(error, CallError::Behind { .. });
            let kept = seen::path(self.client.identity()).filter(|_| is_behind);
            let fault = Fault::from(error);
            match kept {
                Some(kept) => fault.next(format!(
                    "ask a node that is further; if what was seen cannot be true, remove {}",
                    kept.display()
                )),
                None => fault,
            }
        })
    }

    /// The same, for whoever does something about an error.
    pub(crate) fn try_ask<'a, T, F: Future<Output = Result<T, CallError>>>(
        &'a self,
        call: impl FnOnce(&'a Client) -> F,
    ) -> Result<T, CallError> {
        let before = self.client.seen();
        let answer = self.runtime.block_on(call(&self.client));
        if let Some(now) = self.client.seen().filter(|now| before != Some(*now)) {
            seen::keep(self.client.identity(), now);
        }
        answer
    }

    /// A client of one node of the network, at host and port.
    pub(crate) fn client_at(&self, address: &str) -> Result<Client, Fault> {
        let endpoint = endpoint(&format!("https://{address}"))?;
        Client::new(self.client.service().clone(), vec![endpoint], self.settings)
            .map_err(|error| Fault::new(Code::KeyUnusable, chain(&error)))
    }

    /// Refuses to hand a recovery share to a node that does not prove itself, and over a way that others can listen on.
    pub(crate) fn check_takes_shares(&self) -> Result<(), Fault> {
        match self.client.endpoints().iter().find(|endpoint| endpoint.is_plain()) {
            None => Ok(()),
            Some(plain) => {
                Err(Fault::new(Code::PlainHttp, format!("a recovery share, to {plain}")))
            }
        }
    }

    /// Waits for something else than a call.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// The network's name with its identity, as it stands in questions.
    pub(crate) fn title(&self) -> String {
        let identity = self.client.identity().to_string();
        format!("{} ({})", self.name, identity.get(..7 + SHOWN_DIGITS).unwrap_or(&identity))
    }

    /// The certificate of whoever signs.
    pub(crate) fn signer(&self, keys: &KeyArgs) -> Result<Option<SignerCertificate>, Fault> {
        let of_context = self.context.as_ref().and_then(|context| context.cert.as_ref());
        let Some(path) = keys.cert.as_ref().or(of_context) else { return Ok(None) };
        let read = signer_certificate(&files::read_text(path)?);
        read.map(Some).map_err(|fault| fault.with("file", path.display().to_string()))
    }

    /// Where the certificate of whoever signs is.
    pub(crate) fn cert_path(&self, keys: &KeyArgs) -> Option<PathBuf> {
        let of_context = self.context.as_ref().and_then(|context| context.cert.as_ref());
        keys.cert.as_ref().or(of_context).cloned()
    }

    /// The key of whoever signs.
    pub(crate) fn key(&self, keys: &KeyArgs) -> Result<Option<MemberKey>, Fault> {
        let of_context = self.context.as_ref();
        let key = keys.key.as_ref().or(of_context.and_then(|context| context.key.as_ref()));
        let cert = keys.cert.as_ref().or(of_context.and_then(|context| context.cert.as_ref()));
        match (key, cert) {
            (Some(key), Some(cert)) => {
                let key = match self.key.get() {
                    Some(key) => key.clone(),
                    None => key.read(cert)?,
                };
                Ok(Some(self.key.get_or_init(|| key).clone()))
            }
            _ => Ok(None),
        }
    }

    /// The proposal that somebody means by an id or its first digits.
    pub(crate) fn find_proposal(&self, text: &str) -> Result<ProposalId, Fault> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let known = self.ask(Client::proposals)?.value;
        let ids = known.iter().map(|proposal| proposal.proposal_id.as_str());
        find(text, ids).map(ProposalId).map_err(|missed| missed.fault(Code::ProposalNotFound, text))
    }

    /// The node that somebody means by an id or its first digits.
    pub(crate) fn find_node(&self, text: &str) -> Result<NodeId, Fault> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let known = self.ask(Client::nodes)?.nodes;
        let found = find(text, known.iter().map(|node| node.node_id.as_str()));
        found.map(|id| NodeId(id.0)).map_err(|missed| missed.fault(Code::NodeNotFound, text))
    }

    /// The participant that somebody means by an id or its first digits.
    pub(crate) fn find_user(&self, text: &str) -> Result<Digest, Fault> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        // There may be many: ids come in their order, and so those that begin like this first of all after it.
        let known = self.ask(|client| client.users(Some(text)))?.value;
        let found = find(text, known.iter().map(|user| user.user_id.as_str()));
        found.map_err(|missed| missed.fault(Code::UserNotFound, text))
    }

    /// The member that somebody means by an id, its first digits, or a name that the members gave it.
    pub(crate) fn find_member(&self, text: &str) -> Result<MemberId, Fault> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let known = self.ask(Client::members)?.value;
        let named: Vec<&str> = known
            .iter()
            .filter(|member| member.name() == Some(text))
            .map(|member| member.member_id.as_str())
            .collect();
        let found = match *named {
            [] => find(text, known.iter().map(|member| member.member_id.as_str())),
            [id] => id.parse().map_err(|_| Missed::Unknown),
            _ => Err(Missed::Several),
        };
        found.map(MemberId).map_err(|missed| missed.fault(Code::MemberNotFound, text))
    }
}

/// Digits of the service's identity in questions.
const SHOWN_DIGITS: usize = 16;

/// Fewest digits by which something is found.
const DIGITS_MIN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missed {
    Unknown,
    Several,
    Short,
}

impl Missed {
    fn fault(self, unknown: Code, text: &str) -> Fault {
        match self {
            Self::Unknown => Fault::new(unknown, text),
            Self::Several => Fault::new(Code::Ambiguous, text),
            Self::Short => {
                Fault::new(Code::Ambiguous, format!("{text:?} has fewer than {DIGITS_MIN} digits"))
            }
        }
    }
}

/// The one id that begins so.
fn find<'a>(text: &str, ids: impl Iterator<Item = &'a str>) -> Result<Digest, Missed> {
    if text.len() < DIGITS_MIN {
        return Err(Missed::Short);
    }
    let mut found = ids.filter(|id| id.starts_with(text));
    match (found.next(), found.next()) {
        (Some(id), None) => id.parse().map_err(|_| Missed::Unknown),
        (Some(_), Some(_)) => Err(Missed::Several),
        (None, _) => Err(Missed::Unknown),
    }
}

pub(crate) fn runtime() -> Result<Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Code::Failed, error.to_string()))
}

/// How patient a client is, as it is told, or as the folder says.
fn settings(arguments: &NetworkArgs, here: &Here) -> Settings {
    let seconds = arguments.timeout.or(here.timeout).map(Duration::from_secs);
    seconds.map_or_else(Settings::default, |time| Settings { time })
}

pub(crate) fn endpoint(url: &str) -> Result<Endpoint, Fault> {
    url.parse().map_err(|error| Fault::new(Code::UrlInvalid, chain(&error)))
}

pub(crate) fn certificate(pem: &str) -> Result<Certificate, Fault> {
    Certificate::from_pem(pem).map_err(|error| Fault::new(Code::KeyUnusable, chain(&error)))
}

/// The certificate of a member, whose key may be of Ed25519.
pub(crate) fn signer_certificate(pem: &str) -> Result<SignerCertificate, Fault> {
    SignerCertificate::from_pem(pem).map_err(|error| Fault::new(Code::KeyUnusable, chain(&error)))
}

/// What a member is called: the name that the members gave it, or the beginning of its id.
pub(crate) fn call_member(members: &[Member], id: &str) -> String {
    let known = members.iter().find(|member| member.member_id == id);
    known.and_then(Member::name).map_or_else(|| short(id).to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_enough_when_it_is_the_only_one() {
        let (one, other) = ("abcd".repeat(16), format!("abcd{}", "0".repeat(60)));
        let ids = || [one.as_str(), other.as_str()].into_iter();
        for (text, expected) in [
            ("abcda", Ok(one.as_str())),
            ("abcd0", Ok(other.as_str())),
            ("abcd", Err(Missed::Several)),
            ("abc", Err(Missed::Short)),
            ("0000", Err(Missed::Unknown)),
        ] {
            let found = find(text, ids()).map(|id| id.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
    }
}
