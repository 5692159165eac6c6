//! The stage of a case: five nodes under load, and what must hold in the end.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use coco_node::{NodeConfig, config::Restart};
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::{
    checker::{Violation, judge},
    client::Tls,
    dice::Dice,
    history::{History, Outcome},
    image::{FileSystem, Image},
    interrupt,
    lan::Lan,
    load::{Accounts, Load},
    member::Member,
    network::{Network, Spec, client_address},
    nodes_say, proxy,
    report::Notes,
};

/// Nodes of a network.
pub(crate) const NODES: usize = 5;
/// So many of them may be lost.
pub(crate) const LOST_MAX: usize = 2;
/// Under a smaller load, in acknowledged writes a second, a fault proves nothing.
const RATE_MIN: u64 = 100;
/// Time for the load to get there.
const RATE_TIME: Duration = Duration::from_secs(25);
/// Once a majority is well, writes go on within this time, or the case has failed.
pub(crate) const RESUME_TIME: Duration = Duration::from_secs(10);
/// Time for the first primary, and for one after a fault.
const PRIMARY_TIME: Duration = Duration::from_secs(15);
/// A node that started again has a vote within this time.
const SEAT_TIME: Duration = Duration::from_secs(20);
/// Load after the last fault.
const LAST_LOAD: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);

/// The load was too small for the case to mean anything.
#[derive(Debug, Error)]
#[error("void: {found} operations a second before the fault, {RATE_MIN} are needed")]
pub(crate) struct Void {
    found: u64,
}

/// What a case is given.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The program `coco`.
    pub(crate) program: &'a Path,
    /// An empty folder of the case's own.
    pub(crate) folder: &'a Path,
    /// Where its choices come from.
    pub(crate) dice: Dice,
    /// What is written down of it.
    pub(crate) notes: &'a mut Notes,
}

/// Changes the configuration of a node.
type Adjust = dyn Fn(usize, &mut NodeConfig);

/// How a network is made.
pub(crate) struct Setup {
    /// A file system of its own for each node named here.
    pub(crate) images: Vec<(usize, FileSystem)>,
    /// What is special of a node's configuration.
    pub(crate) adjust: Box<Adjust>,
    /// What is done before the nodes start.
    pub(crate) before_start: Box<dyn Fn(&mut Network)>,
    /// The delay of the go-betweens, if there are any.
    pub(crate) delay_ms: Option<Arc<AtomicU64>>,
    /// Whether members govern it: one does.
    pub(crate) is_governed: bool,
    /// Whether nodes that start again go on from their disks. Otherwise the others give them their seats, which needs a
    /// majority that runs.
    pub(crate) from_disk: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            adjust: Box::new(|_, _| {}),
            before_start: Box::new(|_| {}),
            delay_ms: None,
            is_governed: false,
            from_disk: false,
        }
    }
}

/// A network under load. What is dropped first stands first.
pub(crate) struct Scene<'a> {
    pub(crate) load: Load,
    pub(crate) network: Network,
    pub(crate) images: Vec<(usize, Image)>,
    /// Who governs the network, if anybody.
    pub(crate) member: Option<Member>,
    pub(crate) runtime: Runtime,
    _lan: Lan,
    pub(crate) tls: Tls,
    pub(crate) dice: Dice,
    notes: &'a mut Notes,
    folder: &'a Path,
    from_disk: bool,
}

impl<'a> Scene<'a> {
    /// Makes the network, waits for its primary, and starts the load. The calling thread stays in the clients' namespace.
    pub(crate) fn open(stage: Stage<'a>, setup: Setup) -> anyhow::Result<Self> {
        let Stage { program, folder, dice, notes } = stage;
        let lan = Lan::make("case", NODES)?;
        lan.enter()?;
        // Its threads are born here, and so live in this namespace, too.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("clients")
            .enable_all()
            .build()?;
        let mut images = Vec::new();
        for (i, kind) in &setup.images {
            let image = Image::make(&folder.join(format!("n{i}")), *kind, kind.bytes())?;
            images.push((*i, image));
        }
        let accounts = Accounts::new();
        let namespaces = (0..NODES).map(|i| lan.node(i)).collect();
        let (member, governance) = if setup.is_governed {
            let urls = (0..NODES).map(|i| format!("https://{}", client_address(i)));
            let (member, governance) = Member::make(program, folder, urls.collect())?;
            (Some(member), Some(governance))
        } else {
            (None, None)
        };
        let governance = governance.as_ref();
        let spec = Spec { program, folder, namespaces, accounts: &accounts.funded(), governance };
        let from_disk = setup.from_disk;
        let adjust = move |i: usize, config: &mut NodeConfig| {
            config.consensus.restart = if from_disk { Restart::FromDisk } else { Restart::Rejoin };
            (setup.adjust)(i, config);
        };
        let mut network = Network::provision(spec, adjust)?;
        network.restarts()?.into_iter().for_each(|way| notes.restart(way));
        (setup.before_start)(&mut network);
        if let Some(delay_ms) = &setup.delay_ms {
            proxy::start(&runtime, delay_ms)?;
        }
        let all: Vec<usize> = (0..NODES).collect();
        network.start(&all)?;
        if let Some(member) = &member {
            member.open()?;
        }
        let tls = Tls::new(&network.service_cert_pem)?;
        let load = Load::start(&runtime, tls.clone(), accounts, network.starts());
        let scene = Self {
            load,
            network,
            images,
            member,
            runtime,
            _lan: lan,
            tls,
            dice,
            notes,
            folder,
            from_disk,
        };
        scene.primary()?;
        Ok(scene)
    }

    /// The primary that a majority of the nodes names.
    pub(crate) fn primary(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + PRIMARY_TIME;
        loop {
            let mut named = [0; NODES];
            let up = self.network.up();
            let ids: Vec<Option<String>> = up.iter().map(|i| self.own_id(*i)).collect();
            for i in &up {
                let asked = self.runtime.block_on(nodes_say::primary_id(&self.tls, *i));
                let Some(id) = asked.ok().flatten() else { continue };
                if let Some(at) = ids.iter().position(|one| one.as_ref() == Some(&id)) {
                    named[up[at]] += 1;
                }
            }
            if let Some(primary) = named.iter().position(|count| *count > NODES / 2) {
                return Ok(primary);
            }
            ensure!(Instant::now() < deadline, "no majority names a primary: {named:?}");
            interrupt::sleep(POLL)?;
        }
    }

    /// The id of a node, if it answers.
    pub(crate) fn own_id(&self, i: usize) -> Option<String> {
        self.runtime.block_on(nodes_say::own_id(&self.tls, i)).ok().flatten()
    }

    /// Waits until a node that started again as another has a vote: every node that is up names all of them, and nobody
    /// else.
    pub(crate) fn await_seats(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SEAT_TIME;
        loop {
            let up = self.network.up();
            let mut ids: Vec<String> = up.iter().filter_map(|i| self.own_id(*i)).collect();
            ids.sort();
            let agree = |i: &usize| {
                let named = self.runtime.block_on(nodes_say::voters(&self.tls, *i));
                named.is_ok_and(|mut named| {
                    named.sort();
                    named == ids
                })
            };
            if ids.len() == NODES && up.iter().all(agree) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not every node has a seat that all know of");
            interrupt::sleep(POLL)?;
        }
    }

    /// A node that is not the primary.
    pub(crate) fn backup(&mut self, primary: usize) -> usize {
        let others: Vec<usize> = (0..NODES).filter(|i| *i != primary).collect();
        self.dice.one_of(&others)
    }

    /// Writes down a choice.
    pub(crate) fn note(&mut self, choice: &str) {
        self.notes.choose(choice);
    }

    /// Waits until the load is large enough for a fault to mean something.
    pub(crate) fn under_load(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + RATE_TIME;
        let mut best = 0;
        loop {
            interrupt::sleep(Duration::from_millis(100))?;
            let rate = self.load.rate(1);
            best = rate.max(best);
            if rate >= RATE_MIN {
                self.notes.rate(rate);
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Void { found: best }.into());
            }
        }
    }

    /// Goes on under load.
    pub(crate) fn go_on(&self, time: Duration) -> anyhow::Result<()> {
        interrupt::sleep(time)
    }

    /// Waits until a write that was sent after `moment` is committed.
    pub(crate) fn resume(&self, moment: u64) -> anyhow::Result<Duration> {
        let started = Instant::now();
        loop {
            if let Some(after_us) = self.load.resumed_after_us(moment) {
                return Ok(Duration::from_micros(after_us));
            }
            ensure!(
                started.elapsed() < RESUME_TIME,
                "no write that was sent in the last {RESUME_TIME:?} was acknowledged"
            );
            interrupt::sleep(POLL)?;
        }
    }

    /// The primary was lost at `moment`: waits until writes go on, and writes down how long that took.
    pub(crate) fn resume_without_primary(&mut self, moment: u64) -> anyhow::Result<()> {
        let after = self.resume(moment)?;
        self.notes.outage(after);
        Ok(())
    }

    /// Nothing may have interrupted writes since `moment` for longer than `time`.
    pub(crate) fn hardly_noticed(&self, moment: u64, time: Duration) -> anyhow::Result<()> {
        let silence = Duration::from_micros(self.load.longest_silence_us(moment));
        ensure!(silence <= time, "no write was acknowledged for {silence:?}");
        Ok(())
    }

    /// The image of a node.
    pub(crate) fn image(&mut self, i: usize) -> anyhow::Result<&mut Image> {
        let found = self.images.iter_mut().find(|(node, _)| *node == i);
        found.map(|(_, image)| image).with_context(|| format!("n{i} has no image"))
    }

    /// The end: all nodes are up, all agree, their ledgers verify, and the history is one that the chain explains.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        let moment = self.load.now_us();
        let down: Vec<usize> = (0..NODES).filter(|i| !self.network.is_running(*i)).collect();
        self.network.start(&down)?;
        self.resume(moment)?;
        if !self.from_disk {
            self.await_seats()?;
        }
        interrupt::sleep(LAST_LOAD)?;
        // What is named last is dropped first: nodes before the file systems that they use.
        let Self { _lan, runtime, images, tls, notes, folder, mut network, load, .. } = self;
        // A node may have been replaced by one that was configured elsewhere.
        network.restarts()?.into_iter().for_each(|way| notes.restart(way));
        notes.silence(Duration::from_micros(load.longest_silence_us(0)));
        let history = load.finish(&runtime)?;
        save(folder, &history)?;
        let accounts = Accounts::new();
        let nodes: Vec<usize> = (0..NODES).collect();
        let funded = accounts.funded();
        let reading = nodes_say::chain(&tls, &nodes, accounts.all(), &funded);
        let chain = runtime.block_on(reading)?;
        network.stop()?;
        for i in nodes {
            network.verify(i)?;
        }
        let refused = history.writes.iter().find_map(|write| match &write.outcome {
            Outcome::Refused(reason) => Some(format!("{}: {reason}", write.hash)),
            Outcome::Acknowledged { .. } | Outcome::Unknown => None,
        });
        notes.operations(history.writes.len());
        match judge(&history, &chain) {
            Ok(judged) => notes.judged(judged),
            Err(violation) => {
                if let Violation::Lost { count, .. } = violation {
                    notes.lost(count);
                }
                fs::write(folder.join("chain.txt"), format!("{chain:#?}"))?;
                return Err(violation.into());
            }
        }
        ensure!(
            refused.is_none(),
            "an orderly transfer was refused: {}",
            refused.unwrap_or_default()
        );
        drop(network);
        drop(images);
        Ok(())
    }
}

/// Keeps what clients did and saw beside what the nodes wrote.
fn save(folder: &Path, history: &History) -> anyhow::Result<()> {
    let mut text = String::new();
    for write in &history.writes {
        writeln!(text, "{write:?}")?;
    }
    for read in &history.reads {
        writeln!(text, "{read:?}")?;
    }
    Ok(fs::write(folder.join("history.txt"), text)?)
}
