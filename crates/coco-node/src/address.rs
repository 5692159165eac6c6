//! Where a node is reached: a host, by its name or its address, and a port.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use coco_crypto::{AltName, is_host_name};
use thiserror::Error;

/// A host with a port, as others name it: `n1.acme.example:8000`, `10.0.0.7:8000` or `[::1]:8000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    Ip(IpAddr),
}

/// A text that names no host with a port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no host with a port: n1.acme.example:8000, 10.0.0.7:8000 or [::1]:8000")]
pub struct HostPortError(String);

/// How much of a text an error repeats, in characters.
const REPEATED_MAX: usize = 80;

impl HostPort {
    /// What a certificate for it says.
    #[must_use]
    pub fn alt_name(&self) -> AltName {
        match &self.host {
            Host::Name(name) => AltName::Dns(name.clone()),
            Host::Ip(address) => AltName::Ip(*address),
        }
    }

    /// Where to listen for those who come to it: at the address, or, where a name may stand for any, at all of IPv4.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        match self.host {
            Host::Name(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), self.port),
            Host::Ip(address) => SocketAddr::new(address, self.port),
        }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let wrong = || HostPortError(text.chars().take(REPEATED_MAX).collect());
        // Also an IPv6 address in its brackets.
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: Host::Ip(address.ip()), port: address.port() });
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        // A name of digits alone is an address that has been mistyped.
        let is_address = name.split('.').all(|label| label.parse::<u32>().is_ok());
        let port = port.parse().map_err(|_| wrong())?;
        if is_address || !is_host_name(name) {
            return Err(wrong());
        }
        Ok(Self { host: Host::Name(name.to_owned()), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Ip(address) => SocketAddr::new(*address, self.port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        let ip = |text: &str| AltName::Ip(text.parse().expect("an address"));
        let name = |text: &str| AltName::Dns(text.to_owned());
        for (text, expected, listen) in [
            ("10.0.0.1:80", ip("10.0.0.1"), "10.0.0.1:80"),
            ("[::1]:80", ip("::1"), "[::1]:80"),
            ("node.bank:80", name("node.bank"), "0.0.0.0:80"),
            ("localhost:0", name("localhost"), "0.0.0.0:0"),
        ] {
            let read: HostPort = text.parse().expect(text);
            assert_eq!(read.alt_name(), expected, "{text}");
            assert_eq!(read.listen().to_string(), listen);
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            ":",
            "node.bank",
            "node.bank:",
            ":80",
            "node bank:80",
            "10.0.0:80",
            "10.0.0.1.2:80",
            "::1:80",
            "node.bank:70000",
            "https://node.bank:80",
            "node..bank:80",
            "node.bank:80/",
            "node_1:80",
            "node.bank.:80",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
        let long = format!("{}:80", "a".repeat(1_000));
        assert!(long.parse::<HostPort>().expect_err("it is too long").to_string().len() < 200);
    }
}
