//! Somebody on the way, or an old client, speaks an older TLS: no port of a node takes it.

use std::{net::TcpStream, sync::Arc};

use anyhow::{Context, bail, ensure};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore,
    SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::{cluster::Network, http::PATIENCE};

/// Shakes hands in one version of TLS; what the server said against it, if it did.
fn refusal(
    address: std::net::SocketAddr,
    service_cert_pem: &str,
    version: &'static SupportedProtocolVersion,
) -> anyhow::Result<Option<AlertDescription>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(service_cert_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::from(address.ip()))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let Err(error) = client.complete_io(&mut stream) else { return Ok(None) };
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(Error::AlertReceived(alert)) => Ok(Some(*alert)),
        _ => bail!("{address}: {error}"),
    }
}

#[test]
fn an_older_tls_is_refused_on_every_port() -> anyhow::Result<()> {
    let mut network = Network::provision(1, |_| {})?;
    network.start_all()?;
    let service = network.service_cert_pem()?;
    let client = network.addresses(0)?.client;
    let peer = network.config(0)?.peer.listen;
    for (port, address) in [("client", client), ("peer", peer)] {
        let alert = refusal(address, &service, &TLS12).context(port)?;
        ensure!(alert == Some(AlertDescription::ProtocolVersion), "{port}: {alert:?}");
    }
    // The same client with today's.
    ensure!(refusal(client, &service, &TLS13)?.is_none(), "TLS 1.3 is spoken");
    network.stop_all()?;
    network.finish()
}
