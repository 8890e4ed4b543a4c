//! Reads an authority of the type `cosign`.

use std::collections::BTreeMap;

use super::{AnchorsDocument, CosignDocument, FileName, RootName, ShippedRoot, SignersDocument, StatedEvidence};
use crate::document::{Entry, Known, Node, Report, Table, Value, quoted};
use crate::limits::{MAX_IDENTITIES, MAX_KEYS, MAX_REQUIRED_VOUCHERS};
use crate::policy::conditions::read_annotations;
use crate::policy::document::read_optional_list;
use crate::policy::reference;
use crate::reference::Repository;
use crate::sigstore::fulcio::Claim;
use crate::sigstore::identity::{AnchoredRegex, IdentityMatcher, TextMatcher};

/// What is appended to a key for a regular expression instead of an exact text.
const REGEX: &str = "_regex";

/// Reads the authority whose table begins at `at`. Every problem is reported.
pub(in crate::policy) fn read_cosign(
    report: &mut Report<'_>,
    name: &str,
    at: usize,
    table: &Table,
) -> Option<CosignDocument> {
    let table = report.known(table, &reference::COSIGN);
    let files = read_files(report, table);
    let root = read_root(report, table);
    let stated = read_stated(report, table);
    let annotations = read_annotations(report, table);
    let repository = read_repository(report, table);
    let accept_dsse_v0_0_2 = match table.get("accept_dsse_v0_0_2") {
        None => Some(false),
        Some(node) => report.boolean("accept_dsse_v0_0_2", node),
    };
    let signers = match (table.entry("keys"), table.entry("identities")) {
        (Some(_), Some(identities)) => {
            report.error_with_help(
                identities.at,
                format!("authority {name} has both keys and identities"),
                "make two authorities, and name both in { any = [...] } or { all = [...] }",
            );
            None
        }
        (None, None) => {
            report.error_with_help(
                at,
                format!("authority {name} names no signer"),
                "write keys = [\"keys/release.pub\"], or identities = [{ issuer = \"…\", subject = \"…\" }]",
            );
            None
        }
        (Some(_), None) => read_keys(report, name, table, files, root),
        (None, Some(identities)) => read_keyless(report, name, table, identities, files, root),
    };
    let stated = check_stated(report, table, stated?)?;
    Some(CosignDocument {
        signers: signers?,
        stated,
        annotations: annotations?,
        repository: repository?,
        accept_dsse_v0_0_2: accept_dsse_v0_0_2?,
    })
}

/// The lists of files. Each may be absent.
struct Files {
    keys: Option<Vec<FileName>>,
    anchors: Option<Vec<FileName>>,
    intermediates: Option<Vec<FileName>>,
}

fn read_files(report: &mut Report<'_>, table: Known<'_>) -> Option<Files> {
    let mut read = |key| {
        let files = read_optional_list(report, key, table, |text| {
            FileName::new(text).ok_or_else(|| format!("{key} has {}, which names no file", quoted(text)))
        })?;
        let Some(count) = files.as_ref().map(Vec::len).filter(|count| *count > MAX_KEYS) else {
            return Some(files);
        };
        let at = table.entry(key).map_or(0, |entry| entry.at);
        report.error(at, format!("{key} has {count} files, more than {MAX_KEYS}"));
        None
    };
    let (keys, anchors, intermediates) = (read("keys"), read("ca"), read("intermediates"));
    Some(Files {
        keys: keys?,
        anchors: anchors?,
        intermediates: intermediates?,
    })
}

/// A name of a shipped root has no slash and does not end like a file; anything else is a file.
fn read_root(report: &mut Report<'_>, table: Known<'_>) -> Option<Option<RootName>> {
    let Some(node) = table.get("trusted_root") else {
        return Some(None);
    };
    let text = report.text("trusted_root", node)?;
    if text.contains('/') || text.ends_with(".json") {
        let file = FileName::new(text);
        if file.is_none() {
            report.error(
                node.at,
                format!("trusted_root is {}, which names no file", quoted(text)),
            );
        }
        return file.map(|file| Some(RootName::File(file)));
    }
    let shipped = ShippedRoot::ALL.into_iter().find(|root| root.as_str() == text);
    if shipped.is_none() {
        let names: Vec<_> = ShippedRoot::ALL
            .iter()
            .map(|root| format!("\"{}\"", root.as_str()))
            .collect();
        report.error_with_help(
            node.at,
            format!("there is no trusted root {}", quoted(text)),
            format!(
                "assayd brings along {}; a file has a slash in its name or ends in .json",
                names.join(" and ")
            ),
        );
    }
    shipped.map(|root| Some(RootName::Shipped(root)))
}

fn read_stated(report: &mut Report<'_>, table: Known<'_>) -> Option<StatedEvidence> {
    let mut read = |key| {
        let Some(node) = table.get(key) else {
            return Some(None);
        };
        let number = report.integer(key, node)?;
        let count = usize::try_from(number)
            .ok()
            .filter(|count| *count <= MAX_REQUIRED_VOUCHERS);
        if count.is_none() {
            let help = format!("expected 0 to {MAX_REQUIRED_VOUCHERS}");
            report.error_with_help(node.at, format!("{key} cannot be {number}"), help);
        }
        count.map(Some)
    };
    let (log_entries, timestamps, signed_certificate_timestamps) = (
        read("transparency_log"),
        read("timestamps"),
        read("signed_certificate_timestamps"),
    );
    Some(StatedEvidence {
        log_entries: log_entries?,
        timestamps: timestamps?,
        signed_certificate_timestamps: signed_certificate_timestamps?,
    })
}

/// Whoever is to vouch is in a trusted root: without one, nobody can.
fn check_stated(report: &mut Report<'_>, table: Known<'_>, stated: StatedEvidence) -> Option<StatedEvidence> {
    if table.get("trusted_root").is_some() {
        return Some(stated);
    }
    let mut possible = true;
    for (key, asked) in [
        ("transparency_log", stated.log_entries),
        ("timestamps", stated.timestamps),
        ("signed_certificate_timestamps", stated.signed_certificate_timestamps),
    ] {
        if let (Some(1..), Some(entry)) = (asked, table.entry(key)) {
            possible = false;
            let help = format!("add trusted_root = \"…\", whose logs and authorities count, or remove {key}");
            report.error_with_help(entry.at, format!("{key} has no meaning without a trusted root"), help);
        }
    }
    possible.then_some(stated)
}

fn read_repository(report: &mut Report<'_>, table: Known<'_>) -> Option<Option<Repository>> {
    let Some(node) = table.get("repository") else {
        return Some(None);
    };
    let text = report.text("repository", node)?;
    match text.parse() {
        Ok(repository) => Some(Some(repository)),
        Err(error) => {
            report.error_with_help(
                node.at,
                error.to_string(),
                "write the repository that holds the signatures, such as \"registry.corp.example/signatures\"",
            );
            None
        }
    }
}

fn read_keys(
    report: &mut Report<'_>,
    name: &str,
    table: Known<'_>,
    files: Option<Files>,
    root: Option<Option<RootName>>,
) -> Option<SignersDocument> {
    for key in ["ca", "intermediates"] {
        if let Some(entry) = table.entry(key) {
            report.error_with_help(
                entry.at,
                format!("{key} has no meaning beside keys: certificates say who signed, keys need none"),
                format!("remove it, or write identities instead of keys in authority {name}"),
            );
        }
    }
    if let Some(entry) = table.entry("signed_certificate_timestamps")
        && !matches!(entry.node.value, Value::Integer(0))
    {
        report.error_with_help(
            entry.at,
            "signed_certificate_timestamps has no meaning beside keys: they have no certificate",
            "remove it",
        );
    }
    Some(SignersDocument::Keys {
        files: files?.keys?,
        root: root?,
    })
}

fn read_keyless(
    report: &mut Report<'_>,
    name: &str,
    table: Known<'_>,
    entry: &Entry,
    files: Option<Files>,
    root: Option<Option<RootName>>,
) -> Option<SignersDocument> {
    let identities = read_identities(report, &entry.node);
    let anchors = match (table.entry("trusted_root"), table.entry("ca")) {
        (Some(_), Some(ca)) => {
            report.error_with_help(
                ca.at,
                format!("authority {name} has both ca and trusted_root"),
                "keep one: a trusted root has certificate authorities of its own",
            );
            None
        }
        (None, None) => {
            report.error_with_help(
                entry.at,
                "identities have no meaning without somebody who vouches for them",
                "add trusted_root = \"public-good\" or the file of another one, or ca = [\"keys/ca.pem\"]",
            );
            None
        }
        (Some(_), None) => root.flatten().map(AnchorsDocument::TrustedRoot),
        (None, Some(_)) => files.and_then(|files| {
            Some(AnchorsDocument::Certificates {
                anchors: files.anchors?,
                intermediates: files.intermediates.unwrap_or_default(),
            })
        }),
    };
    if let (Some(entry), None) = (table.entry("intermediates"), table.get("ca")) {
        let help = "add ca = [\"…\"] with the certificates that they lead to, or remove it";
        report.error_with_help(entry.at, "intermediates has no meaning without ca", help);
    }
    Some(SignersDocument::Identities {
        anchors: anchors?,
        identities: identities?,
    })
}

fn read_identities(report: &mut Report<'_>, node: &Node) -> Option<Vec<IdentityMatcher>> {
    const HELP: &str = "write: identities = [{ issuer = \"https://…\", subject = \"…\" }]";
    let list = report.list("identities", node)?;
    if list.is_empty() || list.len() > MAX_IDENTITIES {
        let message = format!("identities has {} items: expected 1 to {MAX_IDENTITIES}", list.len());
        report.error_with_help(node.at, message, HELP);
        return None;
    }
    let read: Vec<_> = list.iter().filter_map(|item| read_identity(report, item)).collect();
    (read.len() == list.len()).then_some(read)
}

fn read_identity(report: &mut Report<'_>, node: &Node) -> Option<IdentityMatcher> {
    let table = report.table("each of identities", node)?;
    let issuer = read_expected(report, table, node.at, "issuer");
    let subject = read_expected(report, table, node.at, "subject");
    let mut claims = BTreeMap::new();
    let mut complete = true;
    for entry in &table.entries {
        let key = entry.key.as_str();
        let stem = key.strip_suffix(REGEX).unwrap_or(key);
        if reference::IDENTITY.has(key) {
            continue;
        }
        let Some(claim) = Claim::from_name(stem) else {
            complete = false;
            let names: Vec<_> = Claim::all().map(Claim::name).collect();
            report.error_with_help(
                entry.at,
                format!("unknown key {}", quoted(key)),
                format!(
                    "expected issuer, subject, or a claim, each also with {REGEX}: {}",
                    names.join(", ")
                ),
            );
            continue;
        };
        match read_one(report, entry) {
            Some(text) => {
                if claims.insert(claim, text).is_some() {
                    complete = false;
                    report.error_with_help(
                        entry.at,
                        format!("{stem} and {stem}{REGEX} cannot both be given"),
                        "keep one: both would have to fit",
                    );
                }
            }
            None => complete = false,
        }
    }
    let (issuer, subject) = (issuer?, subject?);
    complete.then_some(IdentityMatcher {
        issuer,
        subject,
        claims,
    })
}

/// The text that has to be given, exactly or as an expression.
fn read_expected(report: &mut Report<'_>, table: &Table, at: usize, key: &str) -> Option<TextMatcher> {
    let pattern = format!("{key}{REGEX}");
    match (table.entry(key), table.entry(&pattern)) {
        (None, None) => {
            report.error_with_help(
                at,
                format!("an identity is missing its {key}"),
                format!("add {key} = \"…\" or {pattern} = \"…\": anybody whom the authority knows would fit otherwise"),
            );
            None
        }
        (Some(_), Some(second)) => {
            report.error_with_help(
                second.at,
                format!("{key} and {pattern} cannot both be given"),
                "keep one: both would have to fit",
            );
            None
        }
        (Some(entry), None) | (None, Some(entry)) => read_one(report, entry),
    }
}

/// A text, or an expression where the key ends so.
pub(in crate::policy) fn read_one(report: &mut Report<'_>, entry: &Entry) -> Option<TextMatcher> {
    let text = report.text(&entry.key, &entry.node)?;
    if text.is_empty() {
        let message = format!("{} is empty: nobody fits it", entry.key);
        report.error_with_help(entry.node.at, message, "write what is expected, or remove it");
        return None;
    }
    if !entry.key.ends_with(REGEX) {
        return Some(TextMatcher::Exact(text.into()));
    }
    match AnchoredRegex::new(text) {
        Ok(regex) => Some(TextMatcher::Pattern(regex)),
        Err(error) => {
            report.error_with_help(
                entry.node.at,
                format!("{} cannot be used: {error}", entry.key),
                "expected a regular expression without look-around and back-references; it has to fit the whole text",
            );
            None
        }
    }
}
