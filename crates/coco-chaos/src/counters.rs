//! What the kernel of a namespace has counted: whether a fault on the wire was one for TCP, too.

use anyhow::Context;

use crate::{lan, tool::run};

/// A number that Linux counts for each namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Segments with a wrong checksum.
    WrongChecksum,
    /// Segments that came before an earlier one.
    OutOfOrder,
    /// Segments that had come before, as far as that was told to their sender.
    Duplicate,
}

impl Counter {
    /// Protocol and name, as the kernel writes them.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::WrongChecksum => ("Tcp", "InCsumErrors"),
            Self::OutOfOrder => ("TcpExt", "TCPOFOQueue"),
            Self::Duplicate => ("TcpExt", "TCPDSACKOldSent"),
        }
    }

    /// What it stands at, over all these namespaces.
    pub(crate) fn read(self, namespaces: &[String]) -> anyhow::Result<u64> {
        let one = |namespace: &String| {
            let netns = format!("--net={}", lan::path(namespace));
            let text = run("nsenter", &[&netns, "cat", "/proc/net/snmp", "/proc/net/netstat"])?;
            let (protocol, name) = self.names();
            find(&text, protocol, name).with_context(|| format!("the kernel has no count {name}"))
        };
        namespaces.iter().map(one).sum()
    }
}

/// Names stand in one line, numbers in the next, both after the protocol.
fn find(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let rest = |line: &'_ str| -> Option<Vec<String>> {
        let (of, rest) = line.split_once(':')?;
        (of == protocol).then(|| rest.split_whitespace().map(str::to_owned).collect())
    };
    let mut lines = text.lines().filter_map(rest);
    let place = lines.next()?.iter().position(|one| one == name)?;
    lines.next()?.get(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_below_its_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: A InCsumErrors B\nTcp: -1 7 9\nTcpExt: InCsumErrors\nTcpExt: 3\n";
        assert_eq!(find(text, "Tcp", "InCsumErrors"), Some(7));
        assert_eq!(find(text, "TcpExt", "InCsumErrors"), Some(3));
        assert_eq!(find(text, "Tcp", "C"), None);
        assert_eq!(find(text, "Udp", "A"), None);
    }
}
