//! The command line of `assayd`. It is here and not in the program, so that the package's manual and completions are made of it.

use std::path::PathBuf;

use clap::Parser;

/// Decides on the node itself which container images may be unpacked.
///
/// containerd's image-verifier hook (assay-verifier) asks assayd before an image is unpacked; assayd checks the image's
/// signatures against the node's policy. SIGHUP reads policy and trust material again, SIGTERM answers what is under way
/// and stops.
#[derive(Parser)]
#[command(name = "assayd", version, max_term_width = 100)]
pub struct Arguments {
    /// The configuration file [default: /etc/assayd/config.toml, which may be absent]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
