//! Writes the metrics into a file, for node-exporter's textfile collector: a node needs no open port for them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_verify::Timestamp;
use tracing::warn;

use crate::hooks::metrics::Metrics;

/// How often. Prometheus asks node-exporter every 15 to 60 s.
const INTERVAL: Duration = Duration::from_secs(15);

/// Writes the file for as long as the daemon runs. What goes wrong is said once.
pub(super) async fn write_metrics(path: PathBuf, metrics: Metrics) {
    let mut complaint = String::new();
    loop {
        let text = metrics.render(Timestamp::now());
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || replace(&target, &text)).await;
        let problem = match written {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "writing it failed unexpectedly".to_owned(),
        };
        if !problem.is_empty() && problem != complaint {
            warn!("the metrics cannot be written to {}: {problem}", path.display());
        }
        complaint = problem;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The collector reads at any moment, and whole files only. One that is lost in a power cut is written again.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // The collector reads files that end in .prom.
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, text)?;
    // The collector is another user, and nothing in it is secret: whatever the daemon's umask is, others may read.
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o644))?;
    fs::rename(&unfinished, path)
}
