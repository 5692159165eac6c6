//! One run: prepare the chain, send, watch, count, report.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{U64, map::B256Map};
use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum as _;
use serde_json::json;
use tokio::task;

use crate::{
    args::{BenchArgs, BenchCommand, LoadArgs, Method},
    client::{Connection, Endpoint},
    load::{self, Board, Pace, Sent, Shape},
    mainnet,
    plan::{Plan, Signed},
    process::{self, ProcessTime},
    recover,
    report::{Latency, LoadReport, Report, SignedReport},
    rpc,
    watch::{self, Outcomes, Seen, Watch},
    workload,
};

/// Does what the command line asks for. Prints nothing: see [`Report::text`] and [`Report::json`].
///
/// # Errors
/// When a server cannot be reached, preparing the chain fails, a file cannot be read or written, or an answer makes no
/// sense. Refused transactions are not errors; the report counts them.
pub async fn run(args: BenchArgs) -> anyhow::Result<Report> {
    match args.command {
        Some(BenchCommand::Mainnet(args)) => {
            Ok(Report::Mainnet(task::spawn_blocking(move || mainnet::prepare(&args)).await??))
        }
        Some(BenchCommand::Recoveries(args)) => {
            let each = Duration::from_millis(args.milliseconds);
            Ok(Report::Recoveries(task::spawn_blocking(move || recover::measure(each)).await?))
        }
        None => send_load(args.load).await,
    }
}

async fn send_load(args: LoadArgs) -> anyhow::Result<Report> {
    ensure!(args.connections > 0 && args.batch > 0, "connections and batch are at least 1");
    ensure!(args.rate.is_none_or(|rate| rate > 0.0 && rate.is_finite()), "the rate is above 0");
    let endpoints =
        args.urls.iter().map(|url| Endpoint::parse(url)).collect::<Result<Vec<_>, _>>()?;
    let watched = match &args.watch_url {
        Some(url) => Endpoint::parse(url)?,
        None => endpoints.first().context("at least one --url is needed")?.clone(),
    };
    let signing = Instant::now();
    let plan = plan(&args, &watched).await?;
    if let Some(path) = &args.save {
        plan.save(path)?;
        if args.sign_only {
            return Ok(Report::Signed(SignedReport {
                file: path.display().to_string(),
                setup: plan.setup.iter().map(Vec::len).sum(),
                load: plan.load.len(),
                seconds: signing.elapsed().as_secs_f64(),
            }));
        }
    }
    ensure!(!plan.load.is_empty(), "there is nothing to send");
    let mut connection = Connection::open(&watched).await?;
    for (number, group) in plan.setup.into_iter().enumerate() {
        set_up(&mut connection, &endpoints, &args, group)
            .await
            .with_context(|| format!("preparing the chain, group {}", number + 1))?;
    }
    let shape = Shape {
        endpoints,
        connections: args.connections,
        batch: args.batch,
        method: args.method,
        pace: args
            .rate
            .map_or(Pace::Closed { window: args.window }, |per_second| Pace::Open { per_second }),
    };
    measure(&args, connection, Arc::new(shape), plan.load).await
}

async fn plan(args: &LoadArgs, watched: &Endpoint) -> anyhow::Result<Plan> {
    match &args.presigned {
        Some(path) => {
            let (path, count) = (path.clone(), args.count.unwrap_or(usize::MAX));
            task::spawn_blocking(move || Plan::read(&path, count)).await?
        }
        None => workload::generate(&mut Connection::open(watched).await?, args).await,
    }
}

/// Sends one group that prepares the chain and waits until all of it is included.
async fn set_up(
    connection: &mut Connection,
    endpoints: &[Endpoint],
    args: &LoadArgs,
    group: Vec<Signed>,
) -> anyhow::Result<()> {
    let shape = Shape {
        endpoints: endpoints[..1].to_vec(),
        connections: SETUP_CONNECTIONS,
        batch: SETUP_BATCH,
        method: Method::Async,
        pace: Pace::Closed { window: usize::MAX },
    };
    let (count, wanted) = (group.len(), wanted(&group));
    let watch = watch_of(watch::head(connection).await? + 1, args, count);
    let (clock, board) = (Instant::now(), Arc::new(Board::default()));
    let sent = load::send(Arc::new(shape), Arc::new(group), clock, Arc::clone(&board)).await?;
    if let Some((message, refused)) = sent.errors.first_key_value() {
        bail!("{refused} of {count} refused: {message}");
    }
    let seen = watch::follow(connection, watch, &wanted, clock, &board).await?;
    ensure!(seen.included == count, "{} of {count} were included", seen.included);
    Ok(())
}

async fn measure(
    args: &LoadArgs,
    mut connection: Connection,
    shape: Arc<Shape>,
    signed: Vec<Signed>,
) -> anyhow::Result<Report> {
    let chain_id: U64 = rpc::call(&mut connection, "eth_chainId", json!([])).await?;
    let server: String = rpc::call(&mut connection, "web3_clientVersion", json!([])).await?;
    let wanted = wanted(&signed);
    let watch = watch_of(watch::head(&mut connection).await? + 1, args, signed.len());
    let board = Arc::new(Board::default());
    let own = [std::process::id()];
    let (before, own_before) = (process::times(&args.pids)?, process::times(&own)?);
    let clock = Instant::now();
    let sending = load::send(Arc::clone(&shape), Arc::new(signed), clock, Arc::clone(&board));
    let (sent, seen) = match args.method {
        Method::Async => {
            let sending = task::spawn(sending);
            let seen = watch::follow(&mut connection, watch, &wanted, clock, &board).await?;
            (sending.await??, seen)
        }
        // The answers are the receipts, so blocks need not be watched while the load runs.
        Method::Sync => (sending.await?, Seen::default()),
    };
    let submitted_in = clock.elapsed();
    let processes = process::used(&before, &process::times(&args.pids)?);
    let own_used = process::used(&own_before, &process::times(&own)?);
    let seen = match args.method {
        Method::Async => seen,
        Method::Sync => {
            let seen = watch::follow(&mut connection, watch, &wanted, clock, &board).await?;
            let last =
                sent.times.iter().map(|(_, _, answered)| *answered).max().unwrap_or(submitted_in);
            Seen { last, ..seen }
        }
    };
    let outcomes = outcomes(args, &mut connection, &seen, &wanted).await?;
    let recoveries = if args.recoveries {
        Some(task::spawn_blocking(|| recover::measure(RECOVERY_TIME)).await?)
    } else {
        None
    };
    let mut report = report(args, &shape, &sent, &seen, outcomes);
    report.chain_id = chain_id.to();
    report.server = server;
    report.recoveries = recoveries;
    report.set_processor_time(processes, &own_used);
    Ok(Report::Load(Box::new(report)))
}

/// What the receipts say; none when they are not wanted, or when reading them takes so long (some servers answer in time
/// quadratic in the size of a block) that the run would never end.
async fn outcomes(
    args: &LoadArgs,
    connection: &mut Connection,
    seen: &Seen,
    wanted: &B256Map<usize>,
) -> anyhow::Result<Option<Outcomes>> {
    if args.skip_receipts {
        return Ok(None);
    }
    let limit = Duration::from_secs(args.receipts_seconds);
    tokio::time::timeout(limit, watch::outcomes(connection, &seen.blocks, wanted))
        .await
        .ok()
        .transpose()
}

fn wanted(signed: &[Signed]) -> B256Map<usize> {
    signed.iter().enumerate().map(|(place, signed)| (signed.hash, place)).collect()
}

fn watch_of(from: u64, args: &LoadArgs, places: usize) -> Watch {
    Watch {
        from,
        poll: Duration::from_millis(args.poll_ms.max(1)),
        quiet: Duration::from_secs(args.quiet_seconds),
        places,
    }
}

fn report(
    args: &LoadArgs,
    shape: &Shape,
    sent: &Sent,
    seen: &Seen,
    outcomes: Option<Outcomes>,
) -> LoadReport {
    let seconds = seen.last.as_secs_f64();
    let gas_used = outcomes.map_or(seen.gas_used, |outcomes| outcomes.gas_used);
    let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let answers =
        sent.times.iter().map(|(_, due, answered)| answered.saturating_sub(*due)).collect();
    let receipts = sent
        .times
        .iter()
        .filter_map(|(place, due, answered)| {
            let visible = if sent.receipts.contains(place) {
                Some(*answered)
            } else {
                *seen.visible_at.get(*place)?
            };
            visible.map(|visible| visible.saturating_sub(*due))
        })
        .collect();
    let last_answer = sent.times.iter().map(|(_, _, answered)| *answered).max().unwrap_or_default();
    LoadReport {
        urls: args.urls.clone(),
        server: String::new(),
        chain_id: 0,
        workload: workload_name(args),
        method: match args.method {
            Method::Async => "eth_sendRawTransaction",
            Method::Sync => "eth_sendRawTransactionSync",
        },
        connections: shape.connections,
        batch: shape.batch,
        rate: args.rate,
        submitted: sent.submitted,
        accepted: sent.accepted,
        committed: seen.included,
        succeeded: outcomes.map(|outcomes| outcomes.succeeded),
        reverted: outcomes.map(|outcomes| outcomes.reverted),
        errors: sent.errors.clone(),
        blocks: seen.blocks.len(),
        gas_used,
        submit_seconds: last_answer.as_secs_f64(),
        seconds,
        committed_per_second: per_second(count(seen.included)),
        gas_per_second: per_second(count(usize::try_from(gas_used).unwrap_or(usize::MAX))),
        latency: Latency::of(receipts),
        answer_latency: Latency::of(answers),
        processes: Vec::new(),
        cpu_seconds_per_transaction: None,
        generator_cpu_seconds: 0.0,
        recoveries: None,
    }
}

impl LoadReport {
    fn set_processor_time(&mut self, processes: Vec<ProcessTime>, own: &[ProcessTime]) {
        let all: f64 = processes.iter().map(|process| process.seconds).sum();
        if !processes.is_empty() && self.committed > 0 {
            self.cpu_seconds_per_transaction = Some(all / count(self.committed));
        }
        self.processes = processes;
        self.generator_cpu_seconds = own.iter().map(|process| process.seconds).sum();
    }
}

fn workload_name(args: &LoadArgs) -> String {
    match &args.presigned {
        Some(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        None => args
            .workload
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts shown as rates stay far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Preparing is not measured; a few connections keep it short.
const SETUP_CONNECTIONS: usize = 4;
const SETUP_BATCH: usize = 50;
const RECOVERY_TIME: Duration = Duration::from_secs(1);
