//! How busy this machine is, and how many files a process may have open.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;

/// Connections that nodes have at once, in the mean: they fetch the files of an update side by side.
pub(crate) const CONNECTIONS_OF_NODE: usize = 3;

/// Descriptors beside those: the runtime's, files while they are written, the relay's.
const SPARE_FILES: u64 = 1_024;

/// The processor time of this process.
pub(crate) fn own_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let duration = |time: TimeVal| -> Result<Duration> {
        let micros = u64::try_from(time.tv_usec())?;
        Ok(Duration::from_secs(u64::try_from(time.tv_sec())?) + Duration::from_micros(micros))
    };
    Ok(duration(usage.user_time())? + duration(usage.system_time())?)
}

/// What the processors of this machine did since it was started, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    /// proc(5): user, nice, system, idle, iowait, irq, softirq, steal.
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let all = ticks.iter().sum();
        let idle = ticks.iter().skip(3).take(2).sum::<u64>();
        Ok(Self { busy: all - idle, all })
    }

    /// The part of all processors that was busy since then.
    pub(crate) fn busy_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.busy.saturating_sub(before.busy) as f64 / all as f64
    }
}

/// Memory of this process that is in use, in bytes.
pub(crate) fn memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes
        .context("the system does not say how much memory is used")?
        .parse::<u64>()?
        * 1024)
}

/// Lets this process have the connections of all nodes, as far as the system allows.
pub(crate) fn allow_files(nodes: usize) -> Result<()> {
    let wanted = (nodes * CONNECTIONS_OF_NODE) as u64 + SPARE_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(());
    }
    // Root may also raise the hard limit.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted));
    ensure!(
        raised.is_ok(),
        "{nodes} nodes need {wanted} open files, and at most {hard} are allowed: see ulimit -n"
    );
    Ok(())
}

/// The kernel's release.
pub(crate) fn kernel() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

/// The load of 1, 5 and 15 minutes (proc(5)).
pub(crate) fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// How many processors there are.
pub(crate) fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}
