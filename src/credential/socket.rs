//! `assay-credential` and whoever asks it: one question and one answer a connection, each a line of JSON, over a socket whose
//! other end is known by its user.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_verify::limits::{CREDENTIAL_TIMEOUT, MAX_CREDENTIAL_OUTPUT, MAX_CREDENTIAL_QUESTION};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::{info, warn};

use super::provider::Providers;
use super::{CredentialError, Identity, ImageName};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    host: String,
    repository: String,
    /// Whether what was said before was refused.
    again: bool,
}

// No Debug: it holds secrets.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Answer {
    Nothing,
    Password { username: String, password: String },
    Token { token: String },
    Failed { from: String, cause: String },
}

/// Answers the connections of these users until it is dropped; who connects as somebody else gets nothing.
///
/// # Errors
///
/// When the socket fails.
pub async fn serve(listener: UnixListener, users: &[u32], providers: Arc<Providers>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let Ok(user) = stream.peer_cred().map(|peer| peer.uid()) else {
            continue;
        };
        if !users.contains(&user) {
            warn!("a connection of user {user} was refused");
            continue;
        }
        let providers = Arc::clone(&providers);
        tokio::spawn(async move {
            // Who asks and goes away needs no answer.
            let _ = timeout(CREDENTIAL_TIMEOUT * 2, answer(stream, &providers)).await;
        });
    }
}

async fn answer(mut stream: UnixStream, providers: &Providers) -> io::Result<()> {
    let text = read(&mut stream, MAX_CREDENTIAL_QUESTION).await?;
    let question: Question = serde_json::from_slice(&text)?;
    let image = ImageName::new(&question.host, &question.repository);
    if question.again {
        providers.forget(&image);
    }
    let answer = match providers.find(&image).await {
        Ok(None) => Answer::Nothing,
        Ok(Some(Identity::Password(credentials))) => Answer::Password {
            username: credentials.username,
            password: credentials.secret.expose().to_owned(),
        },
        Ok(Some(Identity::Token(token))) => Answer::Token {
            token: token.expose().to_owned(),
        },
        Err(error) => {
            info!("no credentials for {}: {error}", image.host());
            Answer::Failed {
                from: error.from.into(),
                cause: error.cause.to_string(),
            }
        }
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// One line of at most `limit` bytes.
async fn read(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut bounded = stream.take(limit as u64 + 1);
    while !text.ends_with(b"\n") {
        if bounded.read_buf(&mut text).await? == 0 {
            break;
        }
    }
    if text.ends_with(b"\n") {
        Ok(text)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not one line within the limit",
        ))
    }
}

/// Where `assay-credential` is asked.
#[derive(Clone, Debug)]
pub struct CredentialSocket(pub PathBuf);

impl CredentialSocket {
    pub(super) async fn ask(&self, image: &ImageName, again: bool) -> Result<Option<Identity>, CredentialError> {
        let failed = |cause: String| CredentialError::new(self.0.display(), cause);
        let asked = timeout(CREDENTIAL_TIMEOUT * 2, exchange(&self.0, image, again)).await;
        let answer = asked
            .map_err(|_| failed("assay-credential did not answer in time".to_owned()))?
            .map_err(|error| failed(format!("assay-credential: {error}")))?;
        match answer {
            Answer::Nothing => Ok(None),
            Answer::Password { username, password } => {
                Identity::from_parts(username, password).map(Some).map_err(failed)
            }
            Answer::Token { token } => Identity::from_parts("<token>".to_owned(), token)
                .map(Some)
                .map_err(failed),
            Answer::Failed { from, cause } => Err(CredentialError::new(from, cause)),
        }
    }
}

async fn exchange(path: &Path, image: &ImageName, again: bool) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(path).await?;
    // Whoever put a socket there in its place must not be told which images are pulled, nor be believed: root answers, or
    // somebody who is assayd itself.
    if stream.peer_cred()?.uid() != 0 && stream.peer_cred()?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is not root who answers",
        ));
    }
    let mut question = serde_json::to_vec(&Question {
        host: image.host().to_owned(),
        repository: image.repository().to_owned(),
        again,
    })?;
    question.push(b'\n');
    stream.write_all(&question).await?;
    let text = read(&mut stream, MAX_CREDENTIAL_OUTPUT).await?;
    // serde's message may quote a value.
    serde_json::from_slice(&text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "its answer is malformed"))
}
