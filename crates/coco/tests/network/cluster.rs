//! A network whose nodes are this test's own processes, to be killed, frozen and started again one by one.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use coco_node::NodeConfig;

use super::{
    accounts::Account,
    dev::Dev,
    http::Connection,
    ledger::{is_read_by_ccf, length},
    program::{Folder, Turn, program, signal, until},
};

const READY_TIME: Duration = Duration::from_secs(30);
const STOP_TIME: Duration = Duration::from_secs(10);
const QUESTION_TIME: Duration = Duration::from_secs(2);

/// Where a running node serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// HTTPS.
    pub(crate) client: SocketAddr,
    /// Plain HTTP.
    pub(crate) development: SocketAddr,
}

/// Plain HTTP addresses of the nodes; `None` for one that does not run. They change when a node starts again.
pub(crate) type SharedAddresses = Arc<RwLock<Vec<Option<SocketAddr>>>>;

#[derive(Debug)]
struct Place {
    folder: PathBuf,
    child: Option<Child>,
    addresses: Option<Addresses>,
    /// Whether the last process was killed, so that the end of the ledger may be torn.
    was_killed: bool,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    places: Vec<Place>,
    shared: SharedAddresses,
    pub(crate) accounts: Vec<Account>,
    folder: Folder,
    _turn: Turn,
}

impl Network {
    /// Makes a network of `count` nodes whose configurations `adjust` may change. Nothing runs yet.
    pub(crate) fn provision(
        count: usize,
        adjust: impl Fn(&mut NodeConfig),
    ) -> anyhow::Result<Self> {
        let turn = Turn::take()?;
        let folder = Folder::new()?;
        let path = folder.path().to_str().context("a path in UTF-8")?;
        let dev = Dev::start(&["--dir", path, "--nodes", &count.to_string(), "--port", "0"])?;
        let accounts = dev.accounts()?;
        let ended = dev.interrupt()?;
        ensure!(ended.success(), "coco dev ended with {ended}");
        let network = Self::in_folder(folder, turn, count, accounts);
        network.adjust(adjust)?;
        Ok(network)
    }

    /// The network whose nodes' folders lie in this one. Nothing runs yet.
    pub(crate) fn in_folder(
        folder: Folder,
        turn: Turn,
        count: usize,
        accounts: Vec<Account>,
    ) -> Self {
        let place = |i| folder.path().join(format!("n{i}"));
        let places = (0..count).map(|i| Place {
            folder: place(i),
            child: None,
            addresses: None,
            was_killed: false,
        });
        let places = places.collect();
        let shared = Arc::new(RwLock::new(vec![None; count]));
        Self { places, shared, accounts, folder, _turn: turn }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn shared(&self) -> SharedAddresses {
        Arc::clone(&self.shared)
    }

    pub(crate) fn service_cert(&self) -> PathBuf {
        self.folder.path().join("service_cert.pem")
    }

    pub(crate) fn service_cert_pem(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.service_cert())?)
    }

    pub(crate) fn ledger_folder(&self, i: usize) -> PathBuf {
        self.places[i].folder.join("ledger")
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self, i: usize) -> anyhow::Result<NodeConfig> {
        Ok(NodeConfig::load(&self.places[i].folder.join("node.toml"))?)
    }

    pub(crate) fn addresses(&self, i: usize) -> anyhow::Result<Addresses> {
        self.places[i].addresses.with_context(|| format!("n{i} does not run"))
    }

    pub(crate) fn start_all(&mut self) -> anyhow::Result<()> {
        for i in 0..self.len() {
            self.spawn(i)?;
        }
        for i in 0..self.len() {
            self.await_served(i)?;
        }
        self.await_ready()
    }

    /// Waits until every running node says that it is ready.
    pub(crate) fn await_ready(&self) -> anyhow::Result<()> {
        self.await_ready_at("/node/ready/app")
    }

    /// The same, by another of the calls that say so.
    pub(crate) fn await_ready_at(&self, path: &str) -> anyhow::Result<()> {
        for addresses in self.places.iter().filter_map(|place| place.addresses) {
            until("every node is ready", READY_TIME, || {
                let mut connection = Connection::plain(addresses.development, QUESTION_TIME)?;
                Ok(connection.get(path)?.status == 204)
            })?;
        }
        Ok(())
    }

    /// Starts one node and waits until it serves; how long that took.
    pub(crate) fn start(&mut self, i: usize) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.spawn(i)?;
        self.await_served(i)?;
        Ok(started.elapsed())
    }

    pub(crate) fn spawn(&mut self, i: usize) -> anyhow::Result<()> {
        let place = &mut self.places[i];
        ensure!(place.child.is_none(), "n{i} runs already");
        let ready = place.folder.join("ready");
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let log =
            fs::OpenOptions::new().create(true).append(true).open(place.folder.join("node.log"))?;
        let child = Command::new(program())
            // Should this test be killed, its nodes notice by their standard input.
            .args(["node", "start", "--stop-with-parent", "--config"])
            .arg(place.folder.join("node.toml"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        place.child = Some(child);
        place.was_killed = false;
        Ok(())
    }

    pub(crate) fn await_served(&mut self, i: usize) -> anyhow::Result<()> {
        let place = &mut self.places[i];
        let ready = place.folder.join("ready");
        let child = place.child.as_mut().context("it was started")?;
        until(&format!("n{i} serves"), READY_TIME, || {
            if let Some(status) = child.try_wait()? {
                bail!("it ended with {status}; see {}", place.folder.join("node.log").display());
            }
            Ok(ready.exists())
        })?;
        let text = fs::read_to_string(&ready)?;
        let mut lines = text.lines();
        let mut next = || lines.next().context("two addresses")?.parse().context("an address");
        let addresses = Addresses { client: next()?, development: next()? };
        place.addresses = Some(addresses);
        self.publish(i, Some(addresses.development));
        Ok(())
    }

    fn publish(&self, i: usize, address: Option<SocketAddr>) {
        self.shared.write().expect("nobody panics with it")[i] = address;
    }

    /// The process of a node that runs.
    pub(crate) fn process(&self, i: usize) -> anyhow::Result<u32> {
        Ok(self.places[i].child.as_ref().with_context(|| format!("n{i} runs"))?.id())
    }

    /// kill -9 of these nodes at once.
    pub(crate) fn kill(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        for i in nodes {
            self.places[*i].child.as_mut().with_context(|| format!("n{i} runs"))?.kill()?;
        }
        for i in nodes {
            if let Some(mut child) = self.places[*i].child.take() {
                child.wait()?;
            }
            self.places[*i].addresses = None;
            self.places[*i].was_killed = true;
            self.publish(*i, None);
        }
        Ok(())
    }

    /// Stops a node's process where it is; its connections stay open.
    pub(crate) fn freeze(&self, i: usize) -> anyhow::Result<()> {
        signal(self.places[i].child.as_ref().with_context(|| format!("n{i} runs"))?, "STOP")
    }

    pub(crate) fn thaw(&self, i: usize) -> anyhow::Result<()> {
        signal(self.places[i].child.as_ref().with_context(|| format!("n{i} runs"))?, "CONT")
    }

    /// Whether the node's process has ended by itself.
    pub(crate) fn has_ended(&mut self, i: usize) -> anyhow::Result<bool> {
        match &mut self.places[i].child {
            Some(child) => Ok(child.try_wait()?.is_some()),
            None => Ok(true),
        }
    }

    /// Stops all nodes in good order.
    pub(crate) fn stop_all(&mut self) -> anyhow::Result<()> {
        for place in &mut self.places {
            if let Some(child) = &mut place.child {
                drop(child.stdin.take());
            }
        }
        for i in 0..self.len() {
            let Some(mut child) = self.places[i].child.take() else { continue };
            let mut ended = None;
            let waited = until(&format!("n{i} stops"), STOP_TIME, || {
                ended = child.try_wait()?;
                Ok(ended.is_some())
            });
            if waited.is_err() {
                child.kill()?;
                child.wait()?;
            }
            waited?;
            ensure!(ended.is_some_and(|status| status.success()), "n{i} ended with {ended:?}");
            let ready = self.places[i].folder.join("ready");
            ensure!(!ready.exists(), "n{i} has ended, and its ready file says that it serves");
            self.places[i].addresses = None;
            self.publish(i, None);
        }
        Ok(())
    }

    /// What a node says of itself: its id, and the primary's.
    fn ids(&self, i: usize) -> Option<(String, Option<String>)> {
        let addresses = self.places[i].addresses?;
        // A frozen node does not answer.
        let ask = |path: &str| {
            let mut connection = Connection::plain(addresses.development, QUESTION_TIME).ok()?;
            connection.get(path).ok()?.json().ok()
        };
        let me = ask("/node/state")?["node_id"].as_str()?.to_owned();
        let primary = ask("/node/network")?["primary_id"].as_str().map(str::to_owned);
        Some((me, primary))
    }

    /// The primary that a majority of all nodes names.
    pub(crate) fn primary(&self) -> anyhow::Result<Option<usize>> {
        let said: Vec<_> = (0..self.len()).map(|i| self.ids(i)).collect();
        let majority = self.len() / 2 + 1;
        Ok((0..self.len()).find(|i| {
            let me = said[*i].as_ref().map(|(me, _)| me);
            let names = |other: &Option<(String, Option<String>)>| {
                me.is_some() && other.as_ref().and_then(|(_, primary)| primary.as_ref()) == me
            };
            said.iter().filter(|other| names(other)).count() >= majority
        }))
    }

    /// Changes the configuration of all nodes, from their next start on.
    pub(crate) fn adjust(&self, adjust: impl Fn(&mut NodeConfig)) -> anyhow::Result<()> {
        for place in &self.places {
            adjust_config(&place.folder.join("node.toml"), &adjust)?;
        }
        Ok(())
    }

    /// A node's folder.
    pub(crate) fn place(&self, i: usize) -> &Path {
        &self.places[i].folder
    }

    /// Waits until all nodes run, and every one of them names exactly them as the nodes of the network.
    pub(crate) fn await_all_seated(&self, time: Duration) -> anyhow::Result<()> {
        until("every node has a seat that all know of", time, || {
            let mut ids: Vec<String> =
                (0..self.len()).filter_map(|i| self.ids(i).map(|(me, _)| me)).collect();
            ids.sort();
            let mut all = ids.len() == self.len();
            for place in &self.places {
                let addresses = place.addresses.context("it runs")?;
                let mut connection = Connection::plain(addresses.development, QUESTION_TIME)?;
                let body = connection.get("/node/network/nodes")?.json()?;
                let nodes = body["nodes"].as_array().context("a list of nodes")?;
                let mut named: Vec<&str> =
                    nodes.iter().filter_map(|node| node["node_id"].as_str()).collect();
                named.sort_unstable();
                all &= named == ids;
            }
            Ok(all)
        })
    }

    pub(crate) fn await_primary(&self, time: Duration) -> anyhow::Result<usize> {
        let mut found = None;
        until("a majority has a primary", time, || {
            found = self.primary()?;
            Ok(found.is_some())
        })?;
        found.context("it was found")
    }

    /// The longest whole ledger that a node has left which was stopped in good order.
    fn left_ledger(&self) -> anyhow::Result<Option<PathBuf>> {
        let stopped = self.places.iter().filter(|place| !place.was_killed);
        let ledgers = stopped.map(|place| place.folder.join("ledger"));
        let mut longest = None;
        for ledger in ledgers.filter(|ledger| ledger.exists()) {
            longest = longest.max(length(&ledger)?.map(|length| (length, ledger)));
        }
        Ok(longest.map(|(_, ledger)| ledger))
    }

    /// The end of a test that went well. What it leaves is read by another's tool as well.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.stop_all()?;
        if let Some(ledger) = self.left_ledger()? {
            is_read_by_ccf(&ledger)?;
        }
        let Self { ref folder, .. } = self;
        fs::remove_dir_all(folder.path())?;
        Ok(())
    }
}

/// Changes the configuration of a node, from its next start on.
pub(crate) fn adjust_config(
    file: &Path,
    adjust: impl FnOnce(&mut NodeConfig),
) -> anyhow::Result<()> {
    let mut config: NodeConfig = toml::from_str(&fs::read_to_string(file)?)?;
    adjust(&mut config);
    Ok(fs::write(file, toml::to_string_pretty(&config)?)?)
}

impl Drop for Network {
    fn drop(&mut self) {
        for place in &mut self.places {
            if let Some(child) = &mut place.child
                && child.kill().is_ok()
            {
                let _ended = child.wait();
            }
        }
    }
}
