//! The program that asks the kubelet's credential providers as root, for assayd alone. See `assayd::credential`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use assayd::credential::{Providers, Runner, serve};
use clap::Parser;

/// Runs the kubelet's credential providers and hands their credentials to assayd, and to nobody else.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The kubelet's --image-credential-provider-config, YAML or JSON.
    #[arg(long)]
    config: PathBuf,
    /// The kubelet's --image-credential-provider-bin-dir.
    #[arg(long)]
    bin_dir: PathBuf,
    /// The socket to answer on; `credential_socket` in assayd's config.toml.
    #[arg(long, default_value = "/run/assayd/credential.sock")]
    socket: PathBuf,
    /// The user that assayd runs as, by name or number: nobody else is answered.
    #[arg(long, default_value = "assay")]
    user: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("assay-credential: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let user = user(&arguments.user)?;
    let runner = Runner::new(Vec::new(), std::env::vars_os());
    let providers = Providers::load(&arguments.config, &arguments.bin_dir, runner)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async move {
            let socket = &arguments.socket;
            let listener = assayd::hooks::socket::bind(socket, 0o600)?;
            // The folder is root's: nobody can put another file there meanwhile.
            std::os::unix::fs::chown(socket, Some(user), None)
                .with_context(|| format!("{}: it cannot be given to user {user}", socket.display()))?;
            serve(listener, &[user], Arc::new(providers))
                .await
                .context("the socket failed")
        })
}

/// The number of a user.
fn user(text: &str) -> anyhow::Result<u32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let user = nix::unistd::User::from_name(text).with_context(|| format!("--user {text}"))?;
    let user = user.with_context(|| format!("--user {text}: there is no such user"))?;
    Ok(user.uid.as_raw())
}
