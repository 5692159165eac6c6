//! Processor time of processes, from `/proc`.

use std::fs;

use anyhow::Context as _;
use serde::Serialize;

/// Processor time a process used, all its threads together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProcessTime {
    /// Process id.
    pub pid: u32,
    /// Seconds in user and kernel mode.
    pub seconds: f64,
}

/// Time used so far by each of `pids`.
///
/// # Errors
/// When a process does not exist or `/proc` cannot be read.
pub(crate) fn times(pids: &[u32]) -> anyhow::Result<Vec<ProcessTime>> {
    pids.iter()
        .map(|&pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("reading processor time of process {pid}"))?;
            let ticks = ticks(&stat).with_context(|| format!("processor time of process {pid}"))?;
            Ok(ProcessTime { pid, seconds: ticks / TICKS_PER_SECOND })
        })
        .collect()
}

/// What was used between two readings of the same processes.
pub(crate) fn used(before: &[ProcessTime], after: &[ProcessTime]) -> Vec<ProcessTime> {
    before
        .iter()
        .zip(after)
        .map(|(before, after)| ProcessTime {
            pid: before.pid,
            seconds: after.seconds - before.seconds,
        })
        .collect()
}

/// `utime + stime` of `/proc/PID/stat`: fields 14 and 15. The second field is the program's name in parentheses and
/// may hold anything, so counting starts behind the last closing one.
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let kernel: u32 = fields.next()?.parse().ok()?;
    Some(f64::from(user) + f64::from(kernel))
}

/// `USER_HZ`, fixed at 100 by Linux for everything it shows to programs on the processors we build for.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_behind_an_awkward_name() {
        let stat = "12 (a) b (c)) S 1 1 1 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!(ticks("12 (a S"), None);
    }

    #[test]
    fn own_time_is_readable_and_grows_never_backwards() {
        let me = std::process::id();
        let before = times(&[me]).unwrap();
        let after = times(&[me]).unwrap();
        assert!(used(&before, &after)[0].seconds >= 0.0);
        assert!(times(&[u32::MAX]).is_err());
    }
}
