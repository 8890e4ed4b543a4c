//! A trusted root put together from the files of an own deployment: certificates and keys, no `trusted_root.json`.

use thiserror::Error;

use super::log_key::LogKeyKind;
use super::{Authority, TransparencyLog, TrustedRoot, ambiguous};
use crate::limits::MAX_CHAIN_LENGTH;
use crate::sigstore::key::VerificationKey;
use crate::sigstore::window::Window;
use crate::x509::certificate::Certificate;

/// What an own deployment consists of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The trust anchors of those who issue signers' certificates.
    pub certificate_authorities: Vec<Certificate>,
    /// Certificates between them and signers' certificates, in any order.
    pub intermediates: Vec<Certificate>,
    /// Chains of timestamp authorities, each towards its trust anchor, which is last. The first may be the signing
    /// certificate.
    pub timestamp_authorities: Vec<Vec<Certificate>>,
    /// Transparency logs for signatures.
    pub logs: Vec<LogParts>,
    /// Keys of certificate transparency logs.
    pub certificate_logs: Vec<VerificationKey>,
}

/// A log of an own deployment.
#[derive(Clone, Debug)]
pub struct LogParts {
    /// Its key.
    pub key: VerificationKey,
    /// Where it is served. A Rekor v2 log has to have one: it is the origin of its checkpoints.
    pub base_url: Option<Box<str>>,
}

/// Why parts make no trusted root.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PartsError {
    /// An intermediate that leads nowhere is a mistake: the certificates that it issued would be untrusted.
    #[error("the certificate {0} is issued by none of the certificate authorities")]
    Stray(String),
    /// A chain without certificates, or with more than [`MAX_CHAIN_LENGTH`].
    #[error("a timestamp authority has {0} certificates: expected 1 to {MAX_CHAIN_LENGTH}")]
    ChainLength(usize),
    /// A key that logs do not sign with.
    #[error("the key {0} is of no kind that logs sign with")]
    LogKey(String),
    /// Two logs with one key.
    #[error("two logs have one key")]
    Ambiguous,
    /// No log and no authority: nothing could ever be verified with it.
    #[error("there is no log and no authority")]
    Empty,
}

impl TrustedRoot {
    /// Puts a root together. Files say no intervals: certificates have their own, and a key counts until it is taken out.
    ///
    /// # Errors
    ///
    /// When an intermediate leads to no authority, or a key is none that logs sign with or is given twice.
    pub fn from_parts(parts: Parts) -> Result<Self, PartsError> {
        let logs = parts.logs.into_iter().map(log).collect::<Result<Vec<_>, _>>()?;
        let certificate_logs = parts.certificate_logs.into_iter();
        let certificate_logs = certificate_logs
            .map(|key| log(LogParts { key, base_url: None }))
            .collect::<Result<Vec<_>, _>>()?;
        if ambiguous(&logs).is_some() || ambiguous(&certificate_logs).is_some() {
            return Err(PartsError::Ambiguous);
        }
        let chains = chains(&parts.certificate_authorities, &parts.intermediates)?;
        let length = |chain: &Vec<Certificate>| chain.is_empty() || chain.len() > MAX_CHAIN_LENGTH;
        if let Some(chain) = parts.timestamp_authorities.iter().find(|chain| length(chain)) {
            return Err(PartsError::ChainLength(chain.len()));
        }
        let root = Self {
            logs,
            certificate_logs,
            certificate_authorities: chains.into_iter().map(authority).collect(),
            timestamp_authorities: parts.timestamp_authorities.into_iter().map(authority).collect(),
        };
        match root.parties().is_empty() {
            true => Err(PartsError::Empty),
            false => Ok(root),
        }
    }
}

/// The chain of every anchor and of every intermediate: a signer's certificate may be issued by any of them. A chain for
/// each, because a trusted root has one for each combination (sigstore_trustroot.proto, `certificate_authorities`).
fn chains(anchors: &[Certificate], intermediates: &[Certificate]) -> Result<Vec<Vec<Certificate>>, PartsError> {
    let mut chains = Vec::new();
    for anchor in anchors {
        let mut below = vec![vec![anchor.clone()]];
        let mut left: Vec<&Certificate> = intermediates
            .iter()
            .filter(|certificate| *certificate != anchor)
            .collect();
        let mut next = 0;
        // Level by level, so that each gets its shortest way.
        while let Some(chain) = below.get(next).cloned() {
            next += 1;
            let (issued, others) = left.into_iter().partition::<Vec<_>, _>(|certificate| {
                let issuer = chain.first();
                chain.len() < MAX_CHAIN_LENGTH
                    && issuer.is_some_and(|issuer| certificate.check_issued_by(issuer).is_ok())
            });
            left = others;
            below.extend(issued.into_iter().map(|certificate| {
                let mut longer = vec![certificate.clone()];
                longer.extend(chain.iter().cloned());
                longer
            }));
        }
        chains.extend(below);
    }
    let leads = |certificate: &&Certificate| !chains.iter().any(|chain| chain.first() == Some(*certificate));
    match intermediates.iter().find(leads) {
        Some(stray) => Err(PartsError::Stray(stray.to_string())),
        None => Ok(chains),
    }
}

fn authority(certificates: Vec<Certificate>) -> Authority {
    let anchor = certificates.last().map(|anchor| anchor.fingerprint().to_string());
    Authority {
        operator: anchor.unwrap_or_default().into(),
        certificates,
        window: Window::default(),
    }
}

fn log(parts: LogParts) -> Result<TransparencyLog, PartsError> {
    let name = crate::digest::hex(parts.key.fingerprint());
    if LogKeyKind::of(&parts.key).is_none() {
        return Err(PartsError::LogKey(name));
    }
    Ok(TransparencyLog {
        log_id: parts.key.fingerprint().as_slice().into(),
        key: parts.key,
        window: Window::default(),
        operator: parts.base_url.clone().unwrap_or_else(|| name.into()),
        base_url: parts.base_url.unwrap_or_default(),
    })
}
