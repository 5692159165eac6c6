//! Where a node answers: `https://host:port`, or `http://` for development on this machine.

use std::{fmt, net::IpAddr, str::FromStr};

use rustls::pki_types::ServerName;
use thiserror::Error;

/// A text that names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Not `https://` or `http://` with a host and, if it is to be another than 443, a port.
    #[error("{0:?} is no URL of a node: https://host:port")]
    Form(String),
    /// Nothing protects plain HTTP on its way.
    #[error("{0:?}: plain HTTP is spoken within this machine alone")]
    Plain(String),
}

/// The address of a node, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    name: Option<ServerName<'static>>,
}

impl Endpoint {
    /// The host with its port, as a request names it and as it is dialled.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether plain HTTP is spoken, within this machine.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.name.is_none()
    }

    /// What the node's certificate must say; nothing, where plain HTTP is spoken.
    pub(crate) const fn name(&self) -> Option<&ServerName<'static>> {
        self.name.as_ref()
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let form = || EndpointError::Form(text.chars().take(80).collect());
        let (is_tls, rest, standard_port) =
            match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
                (Some(rest), _) => (true, rest, 443),
                (None, Some(rest)) => (false, rest, 80),
                (None, None) => return Err(form()),
            };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // The last colon is a port's, unless it stands within the brackets of an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| form())?),
            _ => (authority, standard_port),
        };
        let bare = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(form)?,
            None if host.contains(':') => return Err(form()),
            None => host,
        };
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| form())?;
        let is_here =
            bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match (is_tls, is_here) {
            (true, _) => Ok(Self { host: host.to_owned(), port, name: Some(name) }),
            (false, true) => Ok(Self { host: host.to_owned(), port, name: None }),
            (false, false) => Err(EndpointError::Plain(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.name.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_without_a_path() {
        for (text, expected) in [
            ("https://n1.example:8000", Ok("https://n1.example:8000")),
            ("https://n1.example/", Ok("https://n1.example:443")),
            ("https://10.0.0.1:1", Ok("https://10.0.0.1:1")),
            ("https://[::1]:8000", Ok("https://[::1]:8000")),
            ("https://[::1]", Ok("https://[::1]:443")),
            ("http://127.0.0.1:8545", Ok("http://127.0.0.1:8545")),
            ("http://localhost:8545", Ok("http://localhost:8545")),
            ("http://[::1]:8545", Ok("http://[::1]:8545")),
            ("http://10.0.0.1:8545", Err(())),
            ("http://localhost.example:8545", Err(())),
            ("https://", Err(())),
            ("https://:8000", Err(())),
            ("https://a b:1", Err(())),
            ("https://n1:70000", Err(())),
            ("https://n1:x", Err(())),
            ("https://::1:8000", Err(())),
            ("https://[::1:8000", Err(())),
            ("https://n1/app", Err(())),
            ("https://user@n1", Err(())),
            ("n1:8000", Err(())),
            ("", Err(())),
        ] {
            let read = text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
            assert_eq!(read.as_deref().map_err(|_| ()), expected, "{text}");
        }
    }
}
