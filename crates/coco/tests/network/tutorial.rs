//! The pages that show how a network is governed and brought back: whoever types their commands gets what they say.

use std::{env, ffi::OsStr, fs, os::unix::fs::symlink, path::Path, time::Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    dev::Dev,
    ended::{Ended, program_in},
    http::{Connection, PATIENCE},
    newcomers::free_address,
    program::{Folder, Turn, coco, errors_of, program},
};

const PAGE: &str = include_str!("../../../../docs/book/governing.md");
const RECOVERING: &str = include_str!("../../../../docs/book/recovering.md");
const FOUNDING: &str = include_str!("../../../../docs/book/founding.md");

/// Where the page has the network listen. The test takes any port.
const PAGE_ADDRESS: &str = "127.0.0.1:8545";

/// The lines of the blocks of a page that are marked as a shell's.
fn commands(page: &str) -> String {
    let mut blocks = page.split("```");
    // Before the first fence there is text, and so on in turn.
    let mut script = String::new();
    while let (Some(_text), Some(block)) = (blocks.next(), blocks.next()) {
        script.push_str(block.strip_prefix("sh\n").unwrap_or_default());
    }
    script
}

/// What a shell says in a folder where `coco` is this program.
fn type_in(folder: &Folder, script: &str) -> anyhow::Result<String> {
    let bin = folder.path().join("bin");
    fs::create_dir(&bin)?;
    symlink(fs::canonicalize(program())?, bin.join("coco"))?;
    let paths = env::var_os("PATH").unwrap_or_default();
    let paths = env::join_paths([bin].into_iter().chain(env::split_paths(&paths)))?;
    let typed = program_in(folder.path(), "sh".as_ref())
        .args(["-euc", script])
        .env("PATH", paths)
        .output()?;
    let said = Ended::of(&typed).ok();
    println!("{said}");
    Ok(said)
}

/// The story of a consortium from its first key to its second life, with nothing but the program.
#[test]
fn whoever_types_the_commands_of_the_first_page_founds_a_consortium() -> anyhow::Result<()> {
    let mut script = commands(FOUNDING);
    for port in (8701..=8708).chain(8801..=8808) {
        ensure!(script.contains(&port.to_string()), "{port} is no port of the page:\n{script}");
        script = script.replace(&port.to_string(), &free_address()?.port().to_string());
    }
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let said = type_in(&folder, &script)?;
    // Nobody is left of the old program, and three of four members decided on each step.
    for expected in
        ["3/3 recovery shares", "16 proposals accepted", "members at the end: 4, of them active: 4"]
    {
        ensure!(said.contains(expected), "{expected}: {said}");
    }
    folder.remove()
}

#[test]
fn whoever_types_the_commands_of_the_other_page_brings_a_service_back() -> anyhow::Result<()> {
    let mut script = commands(RECOVERING);
    for place in ["127.0.0.1:8700", "127.0.0.1:8701"] {
        ensure!(script.contains(place), "{script}");
        script = script.replace(place, &free_address()?.to_string());
    }
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let place = folder.path().join(".coco-dev");
    let dev = Dev::start(&["--dir", place.to_str().context("UTF-8")?, "--port", "0"])?;
    ensure!(dev.interrupt()?.success(), "coco dev stops in good order");
    let said = type_in(&folder, &script)?;
    ensure!(said.contains("2/2 recovery shares") && said.contains("verified: "), "{said}");
    folder.remove()
}

#[test]
fn whoever_types_the_commands_of_the_page_governs_a_network() -> anyhow::Result<()> {
    let script = commands(PAGE);
    ensure!(script.lines().count() > 30 && script.contains(PAGE_ADDRESS), "{script}");
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let place = folder.path().join(".coco-dev");
    let dev = Dev::start(&["--dir", place.to_str().context("UTF-8")?, "--port", "0"])?;
    let node = dev.nodes.first().context("a node")?.development;
    let said = type_in(&folder, &script.replace(PAGE_ADDRESS, &node.to_string()))?;
    ensure!(said.contains("Withdrawn"), "a proposal was taken back");

    let mut connection = Connection::plain(node, PATIENCE)?;
    let mut read = |path: &str| -> anyhow::Result<Vec<Value>> {
        let path = format!("/gov/{path}?api-version={}", coco_client::API_VERSION);
        let listed = connection.get(&path)?.json()?;
        Ok(listed["value"].as_array().context("a list")?.clone())
    };
    let members = read("service/members")?;
    ensure!(members.len() == 4, "{members:?}");
    ensure!(members.iter().all(|member| member["status"] == "Active"), "{members:?}");
    let users = read("service/users")?;
    ensure!(users.len() == 1 && users[0]["userData"]["role"] == "trader", "{users:?}");
    let open = read("members/proposals")?;
    ensure!(open.iter().all(|proposal| proposal["proposalState"] != "Open"), "{open:?}");
    let cert = dev.service_cert.clone();
    ensure!(dev.interrupt()?.success(), "coco dev stops in good order");
    audits(&place, &cert)?;
    folder.remove()
}

/// An auditor finds all that was typed, carries it out again, and comes to the same.
fn audits(place: &Path, cert: &Path) -> anyhow::Result<()> {
    for i in 0..3 {
        let began = Instant::now();
        let ledger = place.join(format!("n{i}/ledger"));
        let report = audit(&ledger, cert, &["--governance"]).with_context(|| format!("n{i}"))?;
        ensure!(report["acts"].is_null(), "{report}");
        let governance = &report["governance"];
        println!("n{i}: {governance} in {:?}", began.elapsed());
        ensure!(governance["active"] == 4 && governance["members"] == 4, "{report}");
        let proposals = governance["proposals"].as_u64().context("a number")?;
        let accepted = governance["accepted"].as_u64().context("a number")?;
        ensure!(proposals > accepted && accepted > 2, "{report}");
    }
    let ledger = place.join("n0/ledger");
    let all = audit(&ledger, cert, &["--acts"])?;
    let acts = all["acts"].as_array().context("a list of acts")?;
    ensure!(all["governance"]["requests"] == acts.len(), "{all}");
    let count = |kind: &str| acts.iter().filter(|act| act["act"] == kind).count();
    ensure!(all["governance"]["proposals"] == count("proposal"), "{all}");
    ensure!(all["governance"]["ballots"] == count("ballot"), "{all}");
    let admits =
        |act: &&Value| act["actions"].as_array().is_some_and(|a| a.contains(&"set_user".into()));
    let admitted = acts.iter().find(admits).context("somebody proposed the user")?;
    let member = admitted["member_id"].as_str().context("an id")?;
    let of_one = audit(&ledger, cert, &["--acts", "--member", &member[..8].to_uppercase()])?;
    let own: Vec<&Value> = acts.iter().filter(|act| act["member_id"] == member).collect();
    ensure!(own.len() < acts.len(), "{all}");
    ensure!(of_one["acts"].as_array().is_some_and(|acts| acts.iter().eq(own)), "{of_one}");
    Ok(())
}

fn audit(ledger: &Path, cert: &Path, words: &[&str]) -> anyhow::Result<Value> {
    let words = ["ledger", "verify", "--json"].iter().chain(words).chain(&["--service-cert"]);
    let words = words.map(OsStr::new).chain([cert.as_os_str(), ledger.as_os_str()]);
    let audited = coco(&words.collect::<Vec<_>>())?;
    ensure!(audited.status.success(), "{}", errors_of(&audited));
    Ok(serde_json::from_slice(&audited.stdout)?)
}
