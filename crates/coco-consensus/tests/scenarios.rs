//! Plays the scenario files of `tests/scenarios`, and random ones.
//!
//! A scenario is a text of one step per line; `#` begins a comment. Nodes are called `n1`, `n2` and so on, or `all`.
//! Entries of a log are written `view:data`, the opening entry of a view `view:-`.
//!
//! | step | meaning |
//! |---|---|
//! | `nodes N` | N nodes with two genesis entries start; first step of every scenario |
//! | `nodes N of M` | M nodes, of which the first N make the configuration |
//! | `limits WINDOW UNCOMMITTED MESSAGE` | the same, before `nodes`: limits in bytes |
//! | `campaign n1`, `tick n1 10`, `transfer n1 n2`, `unreachable n1 n2` | what the replica can tell an engine |
//! | `propose n1 a b c` | three entries, all taken |
//! | `reconfigure n1 n1+n2+n4 n5` | n1 adds the entry that leads to these voters and, if named, learners |
//! | `inherit n4 n3 5` | n4, not in the configuration, goes down and takes the first five entries of n3's disk |
//! | `refused n1 REASON` | a proposal is refused so |
//! | `settle` | disks and links work until nothing is left |
//! | `run 30` | thirty times: all tick, all settles |
//! | `deliver n1 n2`, `lose n1 n2`, `repeat n1 n2`, `reverse n1 n2` | the messages on their way from n1 to n2 |
//! | `cut n1 n2`, `isolate n1`, `heal` | both directions; what is on its way is lost |
//! | `hold-disk n1`, `free-disk n1`, `write n1` | a disk that hangs, and one that does all it has |
//! | `crash n1`, `restart n1`, `restart-bare n1` | with all entries at hand, or with none |
//!
//! | expectation | holds when |
//! |---|---|
//! | `log n1 2:genesis 2:genesis 3:- 3:a`, `disk n1 …` | these are all entries, in memory or durable |
//! | `committed n1 4`, `view n1 3`, `next n1 3.5` or `none` | the position, the view, the name of the next proposal |
//! | `role n1 primary`, `primary n2 n1` or `none` | its part, and who it takes for primary |
//! | `rolled-back-to n1 4` or `never` | the newest void of entries kept those up to here |
//! | `fetched n1 some` or `none` | entries were read back from its disk |
//! | `configuration n1 n1+n2+n4/n1+n2+n3/n5` | in effect there: voters, old voters while a change lasts, learners |
//! | `reconfigures n1 now` or `later` | whether it may add an entry with a configuration |
//! | `queued n1 n2 something` or `nothing` | messages are on their way |

#[path = "scenarios/chaos.rs"]
mod chaos;
#[path = "scenarios/cluster.rs"]
mod cluster;
#[path = "scenarios/stage.rs"]
mod stage;

use std::{fs, panic, path::Path};

use crate::stage::Stage;

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|file| file.expect("readable").path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    assert!(files.len() >= 12, "scenarios are missing");
    let failed = files.iter().filter(|file| {
        let text = fs::read_to_string(file).expect("a scenario is text");
        panic::catch_unwind(|| play(&file.display().to_string(), &text)).is_err()
    });
    assert_eq!(failed.count(), 0, "scenarios failed, see above");
}

fn play(name: &str, text: &str) {
    let mut stage = Stage::default();
    for (line, step) in text.lines().enumerate() {
        let step = step.split('#').next().unwrap_or_default();
        let words: Vec<_> = step.split_whitespace().collect();
        let done = panic::catch_unwind(panic::AssertUnwindSafe(|| stage.step(&words)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(found)) => panic!("{name}:{}: {}: found {found}", line + 1, step.trim()),
            Err(_) => panic!("{name}:{}: {}", line + 1, step.trim()),
        }
    }
}
