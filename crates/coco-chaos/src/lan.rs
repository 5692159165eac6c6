//! A network of its own: one namespace a host, joined by a bridge in another one.
//!
//! Nothing of it is seen outside, and several runs on one machine do not meet.

use std::{fs::File, net::Ipv4Addr, os::fd::AsFd};

use anyhow::Context;

use crate::tool::{run, run_on};

/// How namespaces of all runs begin; the process id follows.
pub(crate) const PREFIX: &str = "coco-chaos-";
/// The last byte of the client's address.
const CLIENT: u8 = 100;

/// The namespaces. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct Lan {
    prefix: String,
    nodes: usize,
}

/// The address of a node.
pub(crate) fn node_address(i: usize) -> Ipv4Addr {
    let last = u8::try_from(i + 1).expect("a network has few nodes");
    Ipv4Addr::new(10, 77, 0, last)
}

/// The address of the clients.
pub(crate) const fn client_address() -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, CLIENT)
}

impl Lan {
    /// Makes the namespaces of `nodes` nodes and of the clients; `name` tells networks of this process apart.
    pub(crate) fn make(name: &str, nodes: usize) -> anyhow::Result<Self> {
        let lan = Self { prefix: format!("{PREFIX}{}-{name}-", std::process::id()), nodes };
        let hub = lan.name("hub");
        run("ip", &["netns", "add", &hub])?;
        run("ip", &["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        run("ip", &["-n", &hub, "link", "set", "bridge", "up"])?;
        for i in 0..nodes {
            lan.join(&lan.node(i), &format!("n{i}"), node_address(i))?;
        }
        lan.join(&lan.client(), "client", client_address())?;
        Ok(lan)
    }

    fn join(&self, namespace: &str, port: &str, address: Ipv4Addr) -> anyhow::Result<()> {
        let hub = self.name("hub");
        run("ip", &["netns", "add", namespace])?;
        run(
            "ip",
            &[
                "-n", &hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns",
                namespace,
            ],
        )?;
        let commands = format!("link set {port} master bridge\nlink set {port} up\n");
        run_on("ip", &["-n", &hub, "-batch", "-"], &commands)?;
        let commands =
            format!("address add {address}/24 dev eth0\nlink set eth0 up\nlink set lo up\n");
        run_on("ip", &["-n", namespace, "-batch", "-"], &commands).map(drop)
    }

    fn name(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    /// The namespace of a node.
    pub(crate) fn node(&self, i: usize) -> String {
        self.name(&format!("n{i}"))
    }

    fn client(&self) -> String {
        self.name("client")
    }

    /// Moves the calling thread, and all that it starts, into the clients' namespace.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        enter(&self.client())
    }
}

/// Moves the calling thread, and all that it starts, into a namespace.
pub(crate) fn enter(namespace: &str) -> anyhow::Result<()> {
    let path = path(namespace);
    let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
    rustix::thread::move_into_link_name_space(
        file.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )
    .with_context(|| format!("cannot enter {path}"))
}

/// How much may wait for a link that is limited, in bytes and in milliseconds; more is lost.
const BURST: &str = "16kb";
const WAIT: &str = "400ms";

/// Lets a host send so many kilobits a second, or as many as it can.
pub(crate) fn limit(namespace: &str, kbit: Option<u32>) -> anyhow::Result<()> {
    let netns = format!("--net={}", path(namespace));
    let Some(kbit) = kbit else {
        return run("nsenter", &[&netns, "tc", "qdisc", "del", "dev", "eth0", "root"]).map(drop);
    };
    let rate = format!("{kbit}kbit");
    let what = ["rate", &rate, "burst", BURST, "latency", WAIT];
    let command = [&netns, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf"];
    run("nsenter", &[&command[..], &what].concat()).map(drop)
}

/// The file that stands for a namespace.
pub(crate) fn path(namespace: &str) -> String {
    format!("/run/netns/{namespace}")
}

impl Drop for Lan {
    fn drop(&mut self) {
        let hosts = (0..self.nodes).map(|i| self.node(i)).chain([self.client(), self.name("hub")]);
        for namespace in hosts.filter(|name| std::path::Path::new(&path(name)).exists()) {
            if let Err(error) = run("ip", &["netns", "delete", &namespace]) {
                crate::say(&format!("{error:#}"));
            }
        }
    }
}
