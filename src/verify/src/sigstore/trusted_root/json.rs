//! `trusted_root.json`: proto3 JSON of the message `TrustedRoot`, in which fields of a default value may be absent or null.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use super::{Authority, PartyError, TransparencyLog, TrustedRoot, TrustedRootError, log_key};
use crate::Timestamp;
use crate::limits::{MAX_CHAIN_LENGTH, MAX_TRUSTED_ROOT_SIZE, MAX_TRUSTED_ROOT_VALUES};
use crate::sigstore::window::Window;
use crate::sigstore::wire;
use crate::x509::certificate::Certificate;

/// The media types that clients must, should and may support.
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
];

/// The fields that have arrays.
const LISTS: [&str; 5] = [
    "tlogs",
    "certificateAuthorities",
    "ctlogs",
    "timestampAuthorities",
    "certificates",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Root {
    #[serde(default, deserialize_with = "nullable")]
    media_type: String,
    #[serde(default, deserialize_with = "nullable")]
    tlogs: Vec<Log>,
    #[serde(default, deserialize_with = "nullable")]
    certificate_authorities: Vec<WireAuthority>,
    #[serde(default, deserialize_with = "nullable")]
    ctlogs: Vec<Log>,
    #[serde(default, deserialize_with = "nullable")]
    timestamp_authorities: Vec<WireAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Log {
    #[serde(default, deserialize_with = "nullable")]
    base_url: String,
    #[serde(default, deserialize_with = "nullable")]
    hash_algorithm: String,
    public_key: Option<PublicKey>,
    log_id: Option<LogId>,
    checkpoint_key_id: Option<LogId>,
    #[serde(default, deserialize_with = "nullable")]
    operator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublicKey {
    #[serde(default, deserialize_with = "nullable")]
    raw_bytes: String,
    #[serde(default, deserialize_with = "nullable")]
    key_details: String,
    valid_for: Option<TimeRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogId {
    #[serde(default, deserialize_with = "nullable")]
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireAuthority {
    // Only says again what the anchor says.
    #[serde(rename = "subject")]
    _subject: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "nullable")]
    uri: String,
    cert_chain: Option<CertificateChain>,
    valid_for: Option<TimeRange>,
    #[serde(default, deserialize_with = "nullable")]
    operator: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateChain {
    #[serde(default, deserialize_with = "nullable")]
    certificates: Vec<WireCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireCertificate {
    #[serde(default, deserialize_with = "nullable")]
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeRange {
    start: Option<String>,
    end: Option<String>,
}

/// A null stands for the default value, as an absent field does.
fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

pub(super) fn parse(bytes: &[u8]) -> Result<TrustedRoot, TrustedRootError> {
    if bytes.len() > MAX_TRUSTED_ROOT_SIZE {
        return Err(TrustedRootError::TooLarge(bytes.len()));
    }
    let root: Root = wire::parse(bytes, MAX_TRUSTED_ROOT_VALUES, &LISTS).map_err(TrustedRootError::Malformed)?;
    if !MEDIA_TYPES.contains(&&*root.media_type) {
        return Err(TrustedRootError::MediaType(root.media_type.into()));
    }
    Ok(TrustedRoot {
        logs: each("tlogs", root.tlogs, log)?,
        certificate_logs: each("ctlogs", root.ctlogs, log)?,
        certificate_authorities: each("certificateAuthorities", root.certificate_authorities, authority)?,
        timestamp_authorities: each("timestampAuthorities", root.timestamp_authorities, authority)?,
    })
}

fn each<W, T>(
    list: &'static str,
    items: Vec<W>,
    parse: fn(W) -> Result<T, PartyError>,
) -> Result<Vec<T>, TrustedRootError> {
    let parsed = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| parse(item).map_err(|cause| TrustedRootError::Party { list, index, cause }));
    parsed.collect()
}

fn log(log: Log) -> Result<TransparencyLog, PartyError> {
    if log.hash_algorithm != "SHA2_256" {
        return Err(PartyError::HashAlgorithm(log.hash_algorithm.into()));
    }
    let public_key = log.public_key.ok_or(PartyError::Missing("publicKey"))?;
    let key = log_key::parse(
        &public_key.key_details,
        &decode("publicKey.rawBytes", &public_key.raw_bytes)?,
    )?;
    let window = window(public_key.valid_for)?;
    // Only a log's key has to say when it begins (sigstore-go pkg/root/trusted_root.go, `ParseTransparencyLogs`).
    if window.start.is_none() {
        return Err(PartyError::Missing("publicKey.validFor.start"));
    }
    let log_id = log.log_id.ok_or(PartyError::Missing("logId"))?;
    let parsed = TransparencyLog {
        key,
        log_id: decode("logId.keyId", &log_id.key_id)?,
        window,
        operator: first_of(&[&log.operator, &log.base_url]).ok_or(PartyError::Missing("baseUrl"))?,
        base_url: log.base_url.into(),
    };
    // It says nothing that key and URL do not; one that says otherwise is a mistake.
    match log.checkpoint_key_id {
        Some(id) if !parsed.has_checkpoint_key_id(&decode("checkpointKeyId.keyId", &id.key_id)?) => {
            Err(PartyError::CheckpointKeyId)
        }
        _ => Ok(parsed),
    }
}

fn authority(authority: WireAuthority) -> Result<Authority, PartyError> {
    let chain = authority.cert_chain.map(|chain| chain.certificates).unwrap_or_default();
    if chain.is_empty() || chain.len() > MAX_CHAIN_LENGTH {
        return Err(PartyError::ChainLength(chain.len()));
    }
    let certificates = chain.iter().enumerate().map(|(position, certificate)| {
        let der = decode("certChain.certificates.rawBytes", &certificate.raw_bytes)?;
        Certificate::from_der(&der).map_err(|cause| PartyError::Certificate { position, cause })
    });
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    let anchor = certificates.last().map(|anchor| anchor.fingerprint().to_string());
    Ok(Authority {
        operator: first_of(&[&authority.operator, &authority.uri, &anchor.unwrap_or_default()])
            .ok_or(PartyError::ChainLength(0))?,
        certificates,
        window: window(authority.valid_for)?,
    })
}

fn first_of(names: &[&str]) -> Option<Box<str>> {
    names.iter().find(|name| !name.is_empty()).map(|name| Box::from(*name))
}

/// Decodes bytes that have to be there.
fn decode(field: &'static str, text: &str) -> Result<Box<[u8]>, PartyError> {
    match STANDARD.decode(text) {
        Ok(bytes) if bytes.is_empty() => Err(PartyError::Missing(field)),
        Ok(bytes) => Ok(bytes.into()),
        Err(_) => Err(PartyError::Base64(field)),
    }
}

fn window(range: Option<TimeRange>) -> Result<Window, PartyError> {
    let Some(range) = range else {
        return Ok(Window::default());
    };
    let time = |field, text: Option<String>| {
        let parsed = text.map(|text| text.parse::<Timestamp>().map_err(|_| PartyError::Time(field)));
        parsed.transpose()
    };
    let window = Window {
        start: time("validFor.start", range.start)?,
        end: time("validFor.end", range.end)?,
    };
    match (window.start, window.end) {
        (Some(start), Some(end)) if end < start => Err(PartyError::Backwards),
        _ => Ok(window),
    }
}
