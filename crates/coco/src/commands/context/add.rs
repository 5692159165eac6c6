//! `coco context add`: a network, with the one thing about it that is trusted.

use std::path::{Path, PathBuf};

use coco_client::{Client, Endpoint, ServiceIdentity, Settings};
use coco_crypto::Certificate;

use crate::{
    codes::Code,
    contexts::{Context, Contexts},
    fault::{Fault, chain},
    files,
    key_place::KeyPlace,
    output::Output,
    session::{certificate, endpoint, runtime},
};

#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// What to call it here
    name: String,
    /// A node, `https://host:port`. May be given more than once
    #[arg(long, required = true, value_delimiter = ',')]
    url: Vec<String>,
    /// The certificate of the service that you trust
    #[arg(long, value_name = "PEM", conflicts_with = "service_id")]
    service_cert: Option<PathBuf>,
    /// The identity of the service, as another member told it: `sha256:` and 64 digits
    #[arg(long, value_name = "SHA256")]
    service_id: Option<ServiceIdentity>,
    /// Your private key: a file (PEM), or the URI of one in a device (pkcs11:...)
    #[arg(long, value_name = "PEM", requires = "cert")]
    key: Option<KeyPlace>,
    /// Your certificate (PEM)
    #[arg(long, value_name = "PEM")]
    cert: Option<PathBuf>,
}

pub(crate) fn run(arguments: &AddArgs, output: Output) -> Result<(), Fault> {
    let endpoints = arguments.url.iter().map(|url| endpoint(url)).collect::<Result<Vec<_>, _>>()?;
    let service = match &arguments.service_cert {
        Some(path) => certificate(&files::read_text(path)?)
            .map_err(|fault| fault.with("file", path.display().to_string()))?,
        None => fetch(&endpoints, arguments.service_id)?,
    };
    if let (Some(key), Some(cert)) = (&arguments.key, &arguments.cert) {
        drop(key.read(cert)?);
    }
    let context = Context {
        urls: arguments.url.clone(),
        service_cert: service.pem(),
        key: arguments.key.as_ref().map(KeyPlace::absolute).transpose()?,
        cert: arguments.cert.as_deref().map(absolute).transpose()?,
    };
    let mut contexts = Contexts::load()?;
    contexts.contexts.insert(arguments.name.clone(), context.clone());
    // The first one is the one that is meant.
    contexts.current.get_or_insert_with(|| arguments.name.clone());
    contexts.save()?;
    super::print("context.add", &arguments.name, &context, output);
    Ok(())
}

/// Fetches the certificate that belongs to an identity.
fn fetch(endpoints: &[Endpoint], expected: Option<ServiceIdentity>) -> Result<Certificate, Fault> {
    let Some(first) = endpoints.first() else {
        return Err(Fault::new(Code::NoNetwork, "there is no --url"));
    };
    let fetched = runtime()?
        .block_on(Client::danger_fetch_service_certificate(first, Settings::default()))?;
    let found = ServiceIdentity::of(&fetched);
    match expected {
        Some(expected) if expected == found => Ok(fetched),
        Some(expected) => Err(Fault::new(Code::ServiceIdentityOther, first.to_string())
            .with("found", found.to_string())
            .with("expect", expected.to_string())),
        None => Err(Fault::new(Code::NoServiceCertificate, first.to_string())
            .with("found", found.to_string())
            .next(format!(
                "ask another member whether this is the identity of the service, and then: --service-id {found}"
            ))),
    }
}

/// A context is used from any folder.
fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(path).map_err(|error| Fault::new(Code::FileUnreadable, chain(&error)))
}
