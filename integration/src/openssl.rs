//! The real `openssl` command line: the machine's own, or Debian's when the machine has none.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::certificates::Serial;
use crate::peers::{OPENSSL, Peers, Program};
use crate::process::{Finished, output};

/// The `openssl` program.
#[derive(Clone, Debug)]
pub struct OpenSsl {
    program: Program,
}

impl OpenSsl {
    /// The machine's own `openssl`; Debian's, fetched as the other peers are, when `PATH` has none.
    ///
    /// # Errors
    ///
    /// There is none and it cannot be fetched.
    pub fn find(peers: &Peers) -> Result<Self> {
        match Program::on_path("openssl") {
            Some(program) => Ok(Self { program }),
            None => Self::fetch(peers),
        }
    }

    /// Debian's `openssl`, whatever the machine has.
    ///
    /// # Errors
    ///
    /// It cannot be fetched.
    pub fn fetch(peers: &Peers) -> Result<Self> {
        let program = peers.linked(&OPENSSL);
        let program = program.context("no openssl on PATH, and none can be fetched")?;
        Ok(Self { program })
    }

    /// The command with these arguments, run in `directory`. It reads no configuration of the machine.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, directory: &Path, arguments: &[S]) -> Command {
        let mut command = self.program.command();
        command
            .args(arguments)
            .current_dir(directory)
            .env("OPENSSL_CONF", "/dev/null");
        command
    }

    /// Runs it in `directory`.
    ///
    /// # Errors
    ///
    /// It cannot be started, or fails; the error is what it said.
    pub async fn run<S: AsRef<OsStr>>(&self, directory: &Path, arguments: &[S]) -> Result<Finished> {
        let shown = arguments.first().map(|command| command.as_ref().to_string_lossy());
        let finished = output(self.command(directory, arguments)).await?;
        finished
            .successful()
            .with_context(|| format!("openssl {} failed", shown.unwrap_or_default()))
    }
}

/// Why a certificate is revoked (RFC 5280 §5.3.1), as far as openssl can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No reason is given.
    Unspecified,
    /// The key is in other hands.
    KeyCompromise,
    /// The issuer's key is in other hands.
    CaCompromise,
    /// The subject's name changed.
    AffiliationChanged,
    /// Another certificate takes its place.
    Superseded,
    /// It is needed no more.
    CessationOfOperation,
    /// For the time being only.
    CertificateHold,
    /// In a delta CRL: no longer revoked.
    RemoveFromCrl,
}

impl Reason {
    /// As the database of `openssl ca` names it (openssl-ca(1), -crl_reason).
    fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "CACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::RemoveFromCrl => "removeFromCRL",
        }
    }
}

/// A revocation, as its issuer records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate's serial number.
    pub serial: Serial,
    /// Since when, in whole seconds.
    pub at: SystemTime,
    /// Why.
    pub reason: Reason,
    /// Since when the certificate may not be trusted (RFC 5280 §5.3.2). openssl writes this with `KeyCompromise` only.
    pub invalid_since: Option<SystemTime>,
}

impl Revoked {
    /// Revoked for this reason an hour ago.
    pub fn new(serial: &Serial, reason: Reason) -> Self {
        Self {
            serial: serial.clone(),
            at: SystemTime::now() - Duration::from_secs(60 * 60),
            reason,
            invalid_since: None,
        }
    }

    /// The same since another time.
    pub fn at(self, at: SystemTime) -> Self {
        Self { at, ..self }
    }

    /// The same with a date of invalidity, for a compromised key.
    pub fn invalid_since(self, time: SystemTime) -> Self {
        Self {
            reason: Reason::KeyCompromise,
            invalid_since: Some(time),
            ..self
        }
    }
}

/// A line of the database of `openssl ca`: flag, expiry, revocation, serial number, file and subject, between tabs.
/// Expiry and subject play no part in what is made of it here.
pub(crate) fn index_line(serial: &Serial, revoked: Option<&Revoked>) -> Result<String> {
    let (flag, since) = match revoked {
        None => ('V', String::new()),
        Some(revoked) => {
            // The database has UTCTime here, and GeneralizedTime after the reason.
            let since = time_text(revoked.at)?;
            let since = since.get(2..).unwrap_or_default();
            match revoked.invalid_since {
                Some(time) => ('R', format!("{since},keyTime,{}", time_text(time)?)),
                None if revoked.reason == Reason::Unspecified => ('R', since.to_owned()),
                None => ('R', format!("{since},{}", revoked.reason.name())),
            }
        }
    };
    Ok(format!(
        "{flag}\t491231235959Z\t{since}\t{serial}\tunknown\t/CN=unknown\n"
    ))
}

/// A GeneralizedTime in whole seconds: `20261121163440Z`.
pub(crate) fn time_text(time: SystemTime) -> Result<String> {
    let time = jiff::Timestamp::try_from(time).context("a time that no calendar has")?;
    Ok(time.strftime("%Y%m%d%H%M%SZ").to_string())
}
