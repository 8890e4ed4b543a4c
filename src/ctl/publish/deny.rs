//! `assayctl publish deny` and `exception`: entries for the day that something has happened.

use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use assay_verify::Timestamp;
use assay_verify::deny_list::DenyList;
use assay_verify::digest::{Digest, hex};
use assay_verify::document::{Diagnostic, Severity};
use assay_verify::limits::{MAX_CERTIFICATE_SIZE, MAX_DENY_LIST_SIZE, MAX_POLICY_SIZE};
use assay_verify::policy::Exceptions;
use assay_verify::sigstore::key::VerificationKey;

use super::Stop;
use super::folder::{self, Folder};
use super::keys::body;
use super::metadata::second;
use super::plan::Plan;
use super::published::Published;
use super::report;
use crate::ctl::Output;
use crate::sync::layout::{DENY_LIST_FILE, EXCEPTIONS_FILE, EXCEPTIONS_FOLDER, REVOCATION_FOLDER};
use crate::sync::{Role, check_clock};

#[derive(Args)]
pub(in crate::ctl) struct NewDenial {
    #[command(flatten)]
    what: What,
    /// The serial number of the certificate, with --issuer
    #[arg(long, value_name = "HEX", requires = "issuer")]
    serial: Option<String>,
    /// The subject that an identity provider vouches for, with --identity-issuer
    #[arg(long, value_name = "SUBJECT", requires = "identity_issuer")]
    identity_subject: Option<String>,
    /// Deny what an identity signed from this moment on
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Deny what an identity signed before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Why: denials show it
    #[arg(long)]
    reason: String,
    /// Where more is written about it, such as an incident's number: denials show it
    #[arg(long)]
    reference: String,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The digest of an image: an index or any of its children
    #[arg(long, value_name = "DIGEST")]
    image: Option<Digest>,
    /// The digest of a signature's manifest, or of its envelope, bundle or layer
    #[arg(long, value_name = "DIGEST")]
    signature: Option<Digest>,
    /// A key: the SHA-256 of its SubjectPublicKeyInfo, or a file with the public key or a certificate
    #[arg(long, value_name = "DIGEST|FILE")]
    key: Option<String>,
    /// A certificate anywhere in a chain: its SHA-256 fingerprint, or a file with it
    #[arg(long, value_name = "DIGEST|FILE")]
    certificate: Option<String>,
    /// The issuer of a certificate anywhere in a chain, with --serial
    #[arg(long, value_name = "NAME", requires = "serial")]
    issuer: Option<String>,
    /// Attributes of a signer's certificate, as in trusted identities: "C=US, O=Corp, CN=release"
    #[arg(long, value_name = "NAME")]
    certificate_subject: Option<String>,
    /// The identity provider of a keyless signer, with --identity-subject
    #[arg(long, value_name = "URL", requires = "identity_subject")]
    identity_issuer: Option<String>,
}

impl NewDenial {
    /// The entry, in the order in which people read it.
    fn entry(&self, now: Timestamp) -> Result<String, Stop> {
        let what = &self.what;
        let mut fields: Vec<(&str, Value)> = Vec::new();
        let digests = [("image", &what.image), ("signature", &what.signature)];
        for (name, digest) in digests {
            fields.extend(digest.iter().map(|digest| (name, json!(digest.to_string()))));
        }
        if let Some(text) = &what.key {
            fields.push(("key", json!(key(text)?)));
        }
        if let Some(text) = &what.certificate {
            fields.push(("certificate", json!(certificate(text)?)));
        }
        if let (Some(issuer), Some(serial)) = (&what.issuer, &self.serial) {
            fields.push(("issuer", json!(issuer)));
            fields.push(("serial", json!(serial.to_ascii_lowercase().replace(':', ""))));
        }
        if let Some(subject) = &what.certificate_subject {
            fields.push(("identity", json!({ "certificate_subject": subject })));
        }
        if let (Some(issuer), Some(subject)) = (&what.identity_issuer, &self.identity_subject) {
            fields.push(("identity", json!({ "issuer": issuer, "subject": subject })));
        }
        for (name, at) in [("from", self.from), ("until", self.until)] {
            fields.extend(at.map(|at| (name, json!(at.to_string()))));
        }
        fields.push(("reason", json!(self.reason)));
        fields.push(("reference", json!(self.reference)));
        fields.push(("at", json!(second(now).to_string())));
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\": {value}"))
            .collect();
        Ok(format!("{{{}}}", fields.join(", ")))
    }
}

/// The digest of a key, or of the key in a file.
fn key(text: &str) -> Result<String, Stop> {
    if let Ok(digest) = text.parse::<Digest>() {
        return Ok(digest.to_string());
    }
    let key = VerificationKey::from_pem(&read_text(text)?).map_err(|error| Stop::usage(format!("{text}: {error}")))?;
    Ok(format!("sha256:{}", hex(key.fingerprint())))
}

/// The fingerprint of a certificate, or of the one in a file.
fn certificate(text: &str) -> Result<String, Stop> {
    if let Ok(digest) = text.parse::<Digest>() {
        return Ok(digest.to_string());
    }
    let pem = read_text(text)?;
    let unusable = || Stop::usage(format!("{text}: not a certificate in PEM"));
    let der = body(&pem, "CERTIFICATE").ok_or_else(unusable)?;
    VerificationKey::from_pem(&pem).map_err(|error| Stop::usage(format!("{text}: {error}")))?;
    Ok(Digest::sha256(&der).to_string())
}

fn read_text(path: &str) -> Result<String, Stop> {
    let path = PathBuf::from(path);
    let content = folder::read(&path, MAX_CERTIFICATE_SIZE).map_err(|error| Stop::io(&path, &error))?;
    let missing = || Stop::usage(format!("{}: neither a digest nor a file", path.display()));
    String::from_utf8(content.ok_or_else(missing)?).map_err(|_| Stop::usage(format!("{}: not PEM", path.display())))
}

/// A deny-list whose entries stay as they are written.
#[derive(Deserialize)]
struct List<'a> {
    issued: Timestamp,
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
}

/// Writes a deny-list, an entry a line.
pub(super) fn write_list(issued: Timestamp, entries: &[&str]) -> String {
    let entries = match entries {
        [] => "[]".to_owned(),
        entries => format!("[\n    {}\n  ]", entries.join(",\n    ")),
    };
    format!("{{\n  \"version\": 1,\n  \"issued\": \"{issued}\",\n  \"entries\": {entries}\n}}\n")
}

fn errors(diagnostics: Vec<Diagnostic>) -> Result<(), Stop> {
    if diagnostics.iter().any(|one| one.severity == Severity::Error) {
        return Err(Stop::Refused(diagnostics));
    }
    Ok(())
}

/// Adds an entry and raises the time of issue. What is there is read strictly first, and what comes of it again.
pub(super) fn deny(output: Output, folder: &Folder, asked: &NewDenial, now: Timestamp) -> Result<u8, Stop> {
    let _held = folder.hold()?;
    let plan = Plan::read(folder)?;
    Published::read(folder)?.check_clock(now)?;
    let path = folder.files().join(REVOCATION_FOLDER).join(DENY_LIST_FILE);
    let file = path.display().to_string();
    let content = folder::read(&path, MAX_DENY_LIST_SIZE).map_err(|error| Stop::io(&path, &error))?;
    let old = match content {
        Some(content) => String::from_utf8(content).map_err(|_| Stop::usage(format!("{file}: not UTF-8 text")))?,
        None => write_list(Timestamp::UNIX_EPOCH, &[]),
    };
    errors(DenyList::parse(&file, &old).diagnostics)?;
    let list: List<'_> = serde_json::from_str(&old).map_err(|error| Stop::usage(format!("{file}: {error}")))?;
    check_clock(now, list.issued).map_err(|ahead| {
        Stop::usage(format!(
            "{file}: issued is in the future: {ahead}; correct it, or the clock of this machine"
        ))
    })?;
    let entry = asked.entry(now)?;
    let mut entries: Vec<&str> = list.entries.iter().map(|entry| entry.get()).collect();
    entries.push(&entry);
    // Never back: nodes take it for a statement of what time it is at least.
    let new = write_list(list.issued.max(second(now)), &entries);
    // The place would be in a text that nobody has.
    let of_new = DenyList::parse("the new entry", &new).diagnostics;
    errors(
        of_new
            .into_iter()
            .map(|one| Diagnostic { place: None, ..one })
            .collect(),
    )?;
    folder::put(&path, new.as_bytes(), 0o644).map_err(|error| Stop::io(&path, &error))?;
    report::added(output, &plan, Role::Revocations, &path, &entry);
    Ok(crate::ctl::DONE)
}

#[derive(Args)]
pub(in crate::ctl) struct NewException {
    /// Images that it is for: a pattern as in rules
    #[arg(long = "image", value_name = "PATTERN", required_unless_present = "digests")]
    images: Vec<String>,
    /// Digests that it is for; together with --image, both have to match
    #[arg(long = "digest", value_name = "DIGEST")]
    digests: Vec<Digest>,
    /// Who is responsible for it
    #[arg(long)]
    owner: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// The incident
    #[arg(long)]
    incident: String,
    /// How many hours it lasts from now: 24 at most
    #[arg(long, value_name = "HOURS", default_value_t = 8, value_parser = clap::value_parser!(i64).range(1..=24))]
    hours: i64,
}

/// Adds an exception.
pub(super) fn exception(output: Output, folder: &Folder, asked: &NewException, now: Timestamp) -> Result<u8, Stop> {
    let _held = folder.hold()?;
    let plan = Plan::read(folder)?;
    if !plan.roles.contains_key(&Role::Exceptions) {
        let message = "publish.toml has no [role.exceptions]: nodes of this fleet know no exceptions of the fleet";
        return Err(Stop::usage(message.to_owned()));
    }
    Published::read(folder)?.check_clock(now)?;
    let path = folder.files().join(EXCEPTIONS_FOLDER).join(EXCEPTIONS_FILE);
    let file = path.display().to_string();
    let content = folder::read(&path, MAX_POLICY_SIZE).map_err(|error| Stop::io(&path, &error))?;
    let old = match content {
        Some(content) => String::from_utf8(content).map_err(|_| Stop::usage(format!("{file}: not UTF-8 text")))?,
        None => "version = 1\n".to_owned(),
    };
    errors(Exceptions::parse(&file, &old).diagnostics)?;
    let starts = second(now);
    let expires = starts
        .checked_add(SignedDuration::from_hours(asked.hours))
        .unwrap_or(starts);
    let digests: Vec<String> = asked.digests.iter().map(Digest::to_string).collect();
    // A JSON string, and a list of them, are TOML's too.
    let entry = format!(
        "[[exception]]\nimages   = {}\ndigests  = {}\nowner    = {}\nreason   = {}\nincident = {}\nstarts   = {}\nexpires  = {}\n",
        json!(asked.images),
        json!(digests),
        json!(asked.owner),
        json!(asked.reason),
        json!(asked.incident),
        json!(starts.to_string()),
        json!(expires.to_string()),
    );
    let new = format!("{}\n\n{entry}", old.trim_end());
    let of_new = Exceptions::parse("the new exception", &new).diagnostics;
    errors(
        of_new
            .into_iter()
            .map(|one| Diagnostic { place: None, ..one })
            .collect(),
    )?;
    folder::put(&path, new.as_bytes(), 0o644).map_err(|error| Stop::io(&path, &error))?;
    report::added(output, &plan, Role::Exceptions, &path, &entry);
    Ok(crate::ctl::DONE)
}
