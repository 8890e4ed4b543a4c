//! docker's credential helpers: `docker-credential-NAME get`, with the server on its input (docker/docker-credential-helpers).

use std::time::Duration;

use assay_verify::limits::{CREDENTIAL_LIFETIME, CREDENTIAL_TIMEOUT, MAX_CREDENTIAL_OUTPUT};
use assay_verify::untrusted::Untrusted;
use serde::Deserialize;

use super::docker_config::place;
use super::{CredentialError, Identity, Runner};
use crate::process::{Output, Program, RunLimits, run};

/// What a helper says when it has nothing for a server, in the words of the protocol.
const NOT_FOUND: &str = "credentials not found in native keychain";

// No Debug: it holds the secret.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Under which key its word is remembered.
pub(super) fn key(name: &str, server: &str) -> String {
    format!("helper {name} {server}")
}

/// Asks a helper, and says how long its word counts.
pub(super) async fn ask(
    runner: &Runner,
    name: &str,
    server: &str,
) -> Result<(Option<Identity>, Duration), CredentialError> {
    let program = format!("docker-credential-{name}");
    let failed = |cause: Untrusted| CredentialError::new(&program, cause);
    if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        return Err(failed("its name is not that of a program".into()));
    }
    let found = runner.folders.iter().map(|folder| folder.join(&program));
    let Some(path) = found.into_iter().find(|path| path.is_file()) else {
        let folders: Vec<_> = runner
            .folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        return Err(failed(
            format!(
                "there is no such program in {} (credential_helpers)",
                folders.join(", ")
            )
            .into(),
        ));
    };
    let output = runner
        .run(path, program.clone(), vec!["get".to_owned()], [], server.into())
        .await
        .map_err(&failed)?;
    let identity = read(&output).map_err(failed)?;
    Ok((identity, CREDENTIAL_LIFETIME))
}

fn read(output: &Output) -> Result<Option<Identity>, Untrusted> {
    if !output.status.success() {
        let said = output.stdout.trim_ascii();
        if said == NOT_FOUND.as_bytes() {
            return Ok(None);
        }
        return Err(format!("{}: {}", output.status, Untrusted::from_bytes(said)).into());
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|error| place(&error))?;
    if answer.username.is_empty() && answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(Identity::from_parts(answer.username, answer.secret)?))
}

impl Runner {
    /// Runs a program that gives credentials.
    pub(super) async fn run(
        &self,
        path: std::path::PathBuf,
        name: String,
        arguments: Vec<String>,
        environment: impl IntoIterator<Item = (String, String)>,
        input: Vec<u8>,
    ) -> Result<Output, Untrusted> {
        // Never closed.
        let slot = match self.slots.clone().acquire_owned().await {
            Ok(slot) => slot,
            Err(error) => return Err(error.to_string().into()),
        };
        let mut all = self.environment.clone();
        all.extend(environment.into_iter().map(|(name, value)| (name.into(), value.into())));
        let program = Program {
            path,
            hold: Box::new(()),
            name,
            arguments,
            environment: all,
            limits: RunLimits {
                time: CREDENTIAL_TIMEOUT,
                output: MAX_CREDENTIAL_OUTPUT,
            },
        };
        run(program, input, slot)
            .await
            .map_err(|error| error.to_string().into())
    }
}
