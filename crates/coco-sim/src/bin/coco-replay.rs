//! `coco-replay`: steps through a run, of a seed or from the log of one, and draws a part of it.

#![expect(clippy::print_stderr, reason = "a command's answer is its output")]

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use coco_sim::{
    diagram::{ROWS_MAX, mermaid, svg},
    log::{Event, Happened, Log},
    planted, run_recorded,
};

/// Shows what happened in a simulated run
#[derive(Debug, Parser)]
struct Arguments {
    /// Make the run of this seed
    #[arg(long, required_unless_present = "log", conflicts_with = "log")]
    seed: Option<u64>,
    /// With this bug planted
    #[arg(long, requires = "seed")]
    planted: Option<String>,
    /// Read the log of a run that was made
    #[arg(long)]
    log: Option<PathBuf>,
    /// Begin at this simulated time, in seconds
    #[arg(long)]
    from: Option<f64>,
    /// End at this simulated time, in seconds
    #[arg(long)]
    to: Option<f64>,
    /// Show this node only, and what happens to the world
    #[arg(long)]
    node: Option<usize>,
    /// Show heartbeats and other sounds of a network at rest, too
    #[arg(long)]
    all: bool,
    /// Show only so many events, the last ones (200 unless a time is given)
    #[arg(long)]
    last: Option<usize>,
    /// Wait for Enter after each event
    #[arg(long)]
    step: bool,
    /// Draw the events into this file: an image when its name ends in .svg, mermaid text otherwise
    #[arg(long)]
    diagram: Option<PathBuf>,
}

/// Events that are shown when nothing else is said.
const LAST: usize = 200;
/// Events of a diagram when nothing else is said.
const ROWS: usize = 60;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let log = load(arguments)?;
    let mut out = io::stdout().lock();
    let title = title(&log);
    writeln!(out, "{title}\n{}", log.header.plan)?;
    if log.header.dropped > 0 {
        writeln!(out, "{} older events are not in the log", log.header.dropped)?;
    }
    let shown: Vec<&Event> =
        log.events.iter().filter(|event| is_wanted(arguments, event)).collect();
    if let Some(path) = &arguments.diagram {
        let rows = tail(&shown, arguments.last.unwrap_or(ROWS).min(ROWS_MAX));
        draw(path, rows, log.header.nodes, &title)?;
        writeln!(out, "{} events are drawn in {}", rows.len(), path.display())?;
        return Ok(());
    }
    let has_time = arguments.from.is_some() || arguments.to.is_some();
    let last = arguments.last.unwrap_or(if has_time { usize::MAX } else { LAST });
    let stops = arguments.step && io::stdin().is_terminal();
    for event in tail(&shown, last) {
        write!(out, "{event}")?;
        if stops {
            out.flush()?;
            let mut line = String::new();
            if io::stdin().lock().read_line(&mut line)? == 0 {
                break;
            }
        } else {
            writeln!(out)?;
        }
    }
    if let Some(failure) = &log.header.failure {
        writeln!(out, "fails: {failure}")?;
    }
    Ok(())
}

fn load(arguments: &Arguments) -> anyhow::Result<Log> {
    if let Some(path) = &arguments.log {
        let file =
            File::open(path).with_context(|| format!("cannot open the log {}", path.display()))?;
        return Log::read(BufReader::new(file))
            .with_context(|| format!("cannot read the log {}", path.display()));
    }
    let seed = arguments.seed.context("a seed or a log is needed")?;
    let bug = arguments.planted.as_deref().map(|name| {
        let found = planted::all().map(|known| known.bug).find(|bug| bug.name() == name);
        found.with_context(|| format!("this build can plant no bug {name}"))
    });
    // The failure is shown with the events that led to it.
    panic::set_hook(Box::new(|_| {}));
    Ok(run_recorded(seed, bug.transpose()?).1)
}

fn title(log: &Log) -> String {
    let header = &log.header;
    let planted = header.planted.iter().map(|bug| format!(" with {bug} planted"));
    let planted: String = planted.collect();
    let end = match &header.failure {
        Some(failure) => format!("fails: {}", failure.lines().next().unwrap_or_default()),
        None => "passes".to_owned(),
    };
    format!("seed {}{planted}, {} nodes, {end}", header.seed, header.nodes)
}

fn is_wanted(arguments: &Arguments, event: &Event) -> bool {
    let at_s = std::time::Duration::from_micros(event.at_us).as_secs_f64();
    let is_heard = |node: usize| {
        event.node.is_none_or(|at| at == node)
            || matches!(event.what, Happened::Sends { to, .. } if to == node)
    };
    arguments.from.is_none_or(|from| at_s >= from)
        && arguments.to.is_none_or(|to| at_s <= to)
        && arguments.node.is_none_or(is_heard)
        && (arguments.all || !is_noise(event))
        && (arguments.all || is_drawn(arguments) || !will_arrive(event))
}

/// Whether an image is wanted, which has a line from where a message was sent to where it arrived.
fn is_drawn(arguments: &Arguments) -> bool {
    arguments.diagram.as_deref().is_some_and(is_image)
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "svg")
}

/// A message on its way, which is shown when it arrives.
const fn will_arrive(event: &Event) -> bool {
    matches!(&event.what, Happened::Sends { arrives_us, .. } if !arrives_us.is_empty())
}

/// What goes on all the time and says nothing new.
fn is_noise(event: &Event) -> bool {
    match &event.what {
        Happened::Sends { said, .. } | Happened::Receives { said, .. } => {
            said.contains("heartbeat")
        }
        Happened::Asks { .. } => true,
        Happened::Answers { reply, .. } => reply.starts_with("NotPrimary"),
        Happened::Starts { .. }
        | Happened::Crashes { .. }
        | Happened::Fault { .. }
        | Happened::Heals
        | Happened::Works
        | Happened::Writes { .. }
        | Happened::Synced { .. }
        | Happened::Commits { .. }
        | Happened::RollsBack { .. }
        | Happened::Role { .. }
        | Happened::Fetched { .. }
        | Happened::Snapshot { .. }
        | Happened::Governs { .. }
        | Happened::Tells { .. } => false,
    }
}

fn tail<'e, 'a>(events: &'e [&'a Event], last: usize) -> &'e [&'a Event] {
    &events[events.len().saturating_sub(last)..]
}

fn draw(path: &Path, events: &[&Event], nodes: usize, title: &str) -> anyhow::Result<()> {
    let drawn =
        if is_image(path) { svg(events, nodes, title) } else { mermaid(events, nodes, title) };
    std::fs::write(path, drawn).with_context(|| format!("cannot write {}", path.display()))
}
