//! `coco dev` as its user sees it.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    accounts::{Account, accounts_in},
    program::{program, signal, until},
};

/// The last line that is printed when the network is ready.
const LAST_LINE: &str = "Ctrl-C stops the network.";
const READY_TIME: Duration = Duration::from_secs(60);
const STOP_TIME: Duration = Duration::from_secs(15);

/// One of its nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DevNode {
    /// HTTPS.
    pub(crate) client: SocketAddr,
    /// Plain HTTP.
    pub(crate) development: SocketAddr,
}

/// A running `coco dev`.
#[derive(Debug)]
pub(crate) struct Dev {
    child: Child,
    /// What it printed until it was ready.
    pub(crate) text: String,
    /// From its start to the last line.
    pub(crate) took: Duration,
    pub(crate) nodes: Vec<DevNode>,
    pub(crate) service_cert: PathBuf,
}

impl Dev {
    /// Starts it with these arguments and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(program())
            .arg("dev")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run coco dev")?;
        let out = child.stdout.take().context("its output is piped")?;
        let mut dev = Self {
            child,
            text: String::new(),
            took: Duration::ZERO,
            nodes: Vec::new(),
            service_cert: PathBuf::new(),
        };
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        loop {
            let Ok(line) = lines.recv_timeout(READY_TIME) else {
                bail!("coco dev did not get ready; it printed:\n{}", dev.text);
            };
            dev.text.push_str(&line);
            dev.text.push('\n');
            if line == LAST_LINE {
                break;
            }
        }
        dev.took = started.elapsed();
        dev.nodes = dev.text.lines().filter_map(node_in).collect();
        let cert = dev.text.lines().find_map(|line| line.strip_prefix("Service certificate: "));
        dev.service_cert =
            cert.with_context(|| format!("no service certificate in:\n{}", dev.text))?.into();
        Ok(dev)
    }

    pub(crate) fn accounts(&self) -> anyhow::Result<Vec<Account>> {
        accounts_in(&self.text)
    }

    /// Ctrl-C, and how it ended.
    pub(crate) fn interrupt(mut self) -> anyhow::Result<ExitStatus> {
        signal(&self.child, "INT")?;
        let mut ended = None;
        until("coco dev stops", STOP_TIME, || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        ended.context("it ended")
    }
}

/// A line `n0:  https://<address>  http://<address>  pid <number>`.
fn node_in(line: &str) -> Option<DevNode> {
    let address = |scheme| {
        line.split_ascii_whitespace().find_map(|word: &str| word.strip_prefix(scheme)?.parse().ok())
    };
    line.contains(" pid ").then_some(())?;
    Some(DevNode { client: address("https://")?, development: address("http://")? })
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its nodes notice that their standard input ends. Errors mean that it has ended already.
        if self.child.kill().is_ok() {
            let _ended = self.child.wait();
        }
    }
}
