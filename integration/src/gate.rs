//! The watch of what containerd has, as the workspace built it.

use std::process::Command;

use anyhow::Result;

use crate::assayd::{Assayd, program};
use crate::containerd::Containerd;
use crate::process::Service;

/// A running `assay-gate watch`. Dropping it kills it.
#[derive(Debug)]
pub struct Gate {
    service: Service,
    _folder: tempfile::TempDir,
}

impl Gate {
    /// Starts it between a containerd and a daemon, and waits until the daemon knows what there is.
    ///
    /// # Errors
    ///
    /// It is not built, or does not get that far; then the error holds the end of its log.
    pub async fn start(containerd: &Containerd, assayd: &Assayd) -> Result<Self> {
        let mut gate = Self::begin(containerd, assayd)?;
        let log = gate.service.log_file().to_owned();
        let knows = || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            async move { text.contains("assayd knows what there is") }
        };
        gate.service.wait_until(knows).await?;
        Ok(gate)
    }

    /// Starts it and waits for nothing: either side may be away.
    ///
    /// # Errors
    ///
    /// It is not built.
    pub fn begin(containerd: &Containerd, assayd: &Assayd) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-gate-").tempdir()?;
        let mut command = Command::new(program("assay-gate")?);
        command
            .arg("watch")
            .arg("--address")
            .arg(containerd.socket())
            .arg("--control-socket")
            .arg(assayd.control_socket());
        let service = Service::spawn("assay-gate", command, &folder.path().join("log"))?;
        Ok(Self {
            service,
            _folder: folder,
        })
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// Stops it in an orderly way.
    ///
    /// # Errors
    ///
    /// It did not stop in time.
    pub async fn stop(mut self) -> Result<bool> {
        Ok(self.service.terminate().await?.success())
    }
}
