//! The document of a deny-list: JSON, read entry by entry, because a tree of a long list would take many times its memory.
//!
//! Everything wrong is reported at once, and a list with a mistake is no list: an entry that is passed over would deny
//! nothing, and nobody would know.

use std::sync::Arc;

use super::facts::Name;
use super::{Denied, DeniedIdentity, DenyList, Entry, Names, ParsedDenyList, Who, Window};
use crate::Timestamp;
use crate::digest::{Algorithm, Digest};
use crate::document::{Diagnostic, Node, Part, Report, Table, quoted};
use crate::limits::{
    MAX_CLAIM_LENGTH, MAX_DENY_LIST_ENTRIES, MAX_DENY_LIST_SIZE, MAX_DENY_REASON_LENGTH, MAX_DENY_REFERENCE_LENGTH,
    MAX_SERIAL_NUMBER_DIGITS,
};
use crate::untrusted::Untrusted;
use crate::x509::distinguished_name::DistinguishedName;
use crate::x509::loose_name::LooseAttribute;

/// The only version of the document.
const VERSION: i64 = 1;

const KEYS: [&str; 3] = ["version", "issued", "entries"];

/// The keys of which each entry has exactly one: they say what it names.
const KINDS: [&str; 6] = ["image", "signature", "key", "certificate", "issuer", "identity"];

/// What every entry has.
const COMMON: [&str; 3] = ["reason", "reference", "at"];

const WINDOW: [&str; 2] = ["from", "until"];

pub(super) fn read(file: &str, text: &str) -> ParsedDenyList {
    if text.len() > MAX_DENY_LIST_SIZE {
        let message = format!("the deny-list has {} bytes, more than {MAX_DENY_LIST_SIZE}", text.len());
        return ParsedDenyList {
            list: None,
            diagnostics: vec![Diagnostic::error(file, message)],
        };
    }
    let mut report = Report::new(file, text);
    let list = read_document(&mut report, text).filter(|_| !report.has_errors());
    ParsedDenyList {
        list,
        diagnostics: report.finish(),
    }
}

fn read_document(report: &mut Report<'_>, text: &str) -> Option<DenyList> {
    let members = Part::whole(text).members(report, "a deny-list")?;
    for member in &members {
        if !KEYS.contains(&member.key.as_str()) {
            report.refuse_key(&member.key, member.at, &KEYS);
        }
    }
    let mut part = |key: &str, help: &str| {
        let found = members.iter().find(|member| member.key == key);
        if found.is_none() {
            report.error_with_help(0, format!("{} is missing", quoted(key)), help);
        }
        found.map(|member| member.value)
    };
    let version = part("version", "add: \"version\": 1");
    let issued = part(
        "issued",
        "add the time of issue, for example: \"issued\": \"2026-01-31T00:00:00Z\"",
    );
    let entries = part("entries", "add: \"entries\": []");
    if let Some(node) = version.and_then(|part| part.read(report))
        && let Some(other) = report
            .integer("\"version\"", &node)
            .filter(|version| *version != VERSION)
    {
        report.error(node.at, format!("version {other} is not supported: expected {VERSION}"));
    }
    let issued = issued
        .and_then(|part| part.read(report))
        .and_then(|node| report.time("\"issued\"", &node));
    let entries = entries.and_then(|part| read_entries(report, part));
    Some(DenyList::new(Some(issued?), entries?))
}

/// The entries without the wrong ones, which are reported.
fn read_entries(report: &mut Report<'_>, part: Part<'_>) -> Option<Vec<Arc<Entry>>> {
    let items = part.items(report, "\"entries\"")?;
    if items.len() > MAX_DENY_LIST_ENTRIES {
        let message = format!("{} entries are more than {MAX_DENY_LIST_ENTRIES}", items.len());
        report.error(part.at, message);
        return None;
    }
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        let node = item.read(report);
        entries.extend(node.and_then(|node| read_entry(report, &node)).map(Arc::new));
    }
    Some(entries)
}

fn read_entry(report: &mut Report<'_>, node: &Node) -> Option<Entry> {
    let table = report.table("an entry", node)?;
    report.refuse_unknown(table, &[&KINDS[..], &["serial"], &COMMON, &WINDOW].concat());
    let named = read_denied(report, node.at, table);
    let reason = read_shown(report, node.at, table, "reason", MAX_DENY_REASON_LENGTH);
    let reference = read_shown(report, node.at, table, "reference", MAX_DENY_REFERENCE_LENGTH);
    let at = required(report, node.at, table, "at").and_then(|node| report.time("\"at\"", node));
    let (denied, names) = named?;
    Some(Entry {
        denied,
        names,
        reason: reason?,
        reference: reference?,
        at: at?,
    })
}

fn required<'n>(report: &mut Report<'_>, at: usize, table: &'n Table, key: &str) -> Option<&'n Node> {
    let node = table.get(key);
    if node.is_none() {
        let message = format!("an entry is missing its {}", quoted(key));
        report.error_with_help(at, message, format!("every entry has {}", COMMON.join(", ")));
    }
    node
}

fn read_shown(report: &mut Report<'_>, at: usize, table: &Table, key: &str, limit: usize) -> Option<Untrusted> {
    let node = required(report, at, table, key)?;
    report.shown(&quoted(key), node, limit).map(Untrusted::from)
}

fn read_denied(report: &mut Report<'_>, at: usize, table: &Table) -> Option<(Denied, Names)> {
    let mut kinds = KINDS.iter().filter_map(|key| table.entry(key));
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        let message =
            "an entry must name exactly one of image, signature, key, certificate, issuer with serial, and identity";
        report.error_with_help(at, message, "an entry counts by itself: write one for each");
        return None;
    };
    for (keys, owner) in [(&["serial"][..], "issuer"), (&WINDOW, "identity")] {
        for entry in keys.iter().filter_map(|key| table.entry(key)) {
            if kind.key != owner {
                let message = format!("{} has no meaning beside {}", quoted(&entry.key), quoted(&kind.key));
                report.error_with_help(
                    entry.at,
                    message,
                    format!("it belongs to an entry with {}", quoted(owner)),
                );
            }
        }
    }
    let node = &kind.node;
    let by_digest = |denied: fn(Digest) -> Denied, digest: Digest| {
        let name = Name::of_digest(&digest);
        (denied(digest), Names::One(name))
    };
    match kind.key.as_str() {
        "image" => Some(by_digest(Denied::Image, read_digest(report, "\"image\"", node)?)),
        "signature" => Some(by_digest(
            Denied::Signature,
            read_digest(report, "\"signature\"", node)?,
        )),
        "key" => Some(by_digest(Denied::Key, read_sha256(report, "\"key\"", node)?)),
        "certificate" => Some(by_digest(
            Denied::Certificate,
            read_sha256(report, "\"certificate\"", node)?,
        )),
        "issuer" => read_serial_number(report, at, node, table),
        _ => {
            let who = read_identity(report, node);
            let window = read_window(report, table);
            let (who, names) = who?;
            Some((
                Denied::Identity(Box::new(DeniedIdentity { who, window: window? })),
                names,
            ))
        }
    }
}

fn read_digest(report: &mut Report<'_>, what: &str, node: &Node) -> Option<Digest> {
    match report.text(what, node)?.parse() {
        Ok(digest) => Some(digest),
        Err(error) => {
            report.error(node.at, format!("{error}"));
            None
        }
    }
}

fn read_sha256(report: &mut Report<'_>, what: &str, node: &Node) -> Option<Digest> {
    let digest = read_digest(report, what, node)?;
    if digest.algorithm() == Algorithm::Sha256 {
        return Some(digest);
    }
    let message = format!("{what} is a {}", digest.algorithm().as_str());
    report.error_with_help(
        node.at,
        message,
        "keys and certificates are named by their SHA-256: sha256:…",
    );
    None
}

fn read_serial_number(report: &mut Report<'_>, at: usize, issuer: &Node, table: &Table) -> Option<(Denied, Names)> {
    const HELP: &str = "write the hexadecimal digits as OpenSSL prints them, for example \"0a1b\"";
    let Some(node) = table.get("serial") else {
        report.error_with_help(at, "an entry with an \"issuer\" is missing its \"serial\"", HELP);
        return None;
    };
    let serial = report.text("\"serial\"", node).and_then(|text| {
        let serial = serial_octets(text);
        if serial.is_none() {
            report.error_with_help(node.at, format!("\"serial\" cannot be {}", quoted(text)), HELP);
        }
        serial
    });
    let text = report.text("\"issuer\"", issuer)?;
    let name = match LooseAttribute::of_text(text) {
        Ok(name) => name,
        Err(error) => {
            let help = "write the issuer's name, for example \"CN=Corp CA, O=Corp, C=US\"; or name the certificate by its SHA-256";
            report.error_with_help(
                issuer.at,
                format!("\"issuer\" cannot be {}: {error}", quoted(text)),
                help,
            );
            return None;
        }
    };
    let (digits, octets) = serial?;
    let denied = Denied::SerialNumber {
        issuer: text.into(),
        serial: digits.into(),
    };
    Some((denied, Names::One(Name::of_serial_number(name, &octets))))
}

/// Digits in either case, colons between them or not, as many as there are: OpenSSL prints an even number of them, and
/// others leave zeros out. Returned without leading zeros, and as octets.
fn serial_octets(text: &str) -> Option<(String, Vec<u8>)> {
    let digits: String = text.chars().filter(|character| *character != ':').collect();
    if digits.is_empty() || digits.len() > MAX_SERIAL_NUMBER_DIGITS {
        return None;
    }
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0').to_ascii_lowercase();
    let even = if digits.len().is_multiple_of(2) { "" } else { "0" };
    let padded = format!("{even}{digits}");
    let pairs = padded.as_bytes().as_chunks::<2>().0;
    let octet = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let octets = pairs.iter().map(octet).collect::<Option<_>>()?;
    Some((digits, octets))
}

fn read_identity(report: &mut Report<'_>, node: &Node) -> Option<(Who, Names)> {
    const HELP: &str = "write { \"certificate_subject\": \"C=…, ST=…, O=…\" } for a certificate's subject, or \
                        { \"issuer\": \"https://…\", \"subject\": \"…\" } for whom an identity provider vouches";
    let table = report.table("\"identity\"", node)?;
    report.refuse_unknown(table, &["certificate_subject", "issuer", "subject"]);
    match (
        table.get("certificate_subject"),
        table.get("issuer"),
        table.get("subject"),
    ) {
        (Some(subject), None, None) => read_certificate_subject(report, subject),
        (None, Some(issuer), Some(subject)) => {
            let issuer = read_claim(report, "\"issuer\"", issuer);
            let subject = read_claim(report, "\"subject\"", subject);
            let (issuer, subject) = (issuer?, subject?);
            let who = Who::Keyless {
                issuer: issuer.into(),
                subject: subject.into(),
            };
            Some((who, Names::One(Name::of_keyless(issuer, subject))))
        }
        _ => {
            let message = "\"identity\" must have either certificate_subject, or issuer and subject";
            report.error_with_help(node.at, message, HELP);
            None
        }
    }
}

fn read_certificate_subject(report: &mut Report<'_>, node: &Node) -> Option<(Who, Names)> {
    let text = report.text("\"certificate_subject\"", node)?;
    let read = DistinguishedName::parse(text).and_then(|name| Ok((LooseAttribute::of_identity(&name)?, name)));
    match read {
        Ok((attributes, name)) => {
            let names = attributes.iter().map(Name::of_attribute).collect();
            Some((Who::CertificateSubject(name), Names::Every(names)))
        }
        Err(error) => {
            let message = format!("\"certificate_subject\" cannot be {}: {error}", quoted(text));
            let help = "write it as a trusted identity: \"C=…, ST=…, O=…, CN=…\"; or name the certificate or its key by their SHA-256";
            report.error_with_help(node.at, message, help);
            None
        }
    }
}

/// Text that is compared with a certificate's: neither empty nor longer than any that a certificate may have.
fn read_claim<'n>(report: &mut Report<'_>, what: &str, node: &'n Node) -> Option<&'n str> {
    let text = report.text(what, node)?;
    if text.is_empty() || text.len() > MAX_CLAIM_LENGTH {
        let message = format!("{what} has {} bytes: expected 1 to {MAX_CLAIM_LENGTH}", text.len());
        report.error(node.at, message);
        return None;
    }
    Some(text)
}

fn read_window(report: &mut Report<'_>, table: &Table) -> Option<Window> {
    let mut end = |key: &str| -> Option<Option<Timestamp>> {
        match table.get(key) {
            None => Some(None),
            Some(node) => report.time(&quoted(key), node).map(Some),
        }
    };
    let (from, until) = (end("from"), end("until"));
    let window = Window {
        from: from?,
        until: until?,
    };
    if let (Some(from), Some(until), Some(entry)) = (window.from, window.until, table.entry("until"))
        && from >= until
    {
        let message = format!("the window is empty: it ends at {until} and begins at {from}");
        report.error_with_help(
            entry.at,
            message,
            "\"until\" is the first moment that is no longer denied",
        );
        return None;
    }
    Some(window)
}
