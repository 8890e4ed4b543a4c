//! `assayctl sync`: what this node has of its policy repository, and what will happen when.

use assay_proto::v1 as proto;
use clap::Subcommand;
use serde_json::{Value, json};

use super::render::time;
use super::{DENIED, DONE, Output};

#[derive(Subcommand)]
pub(super) enum Sync {
    /// Show revision, age, next poll, what is stale, and what will happen when
    Status,
    /// Ask the policy repository now, and show what came of it
    Now,
}

/// Prints the status, and says whether all is well: fresh, followed, on disk, with the clock right.
pub(super) fn show(output: Output, status: &proto::SyncStatusResponse) -> u8 {
    match output {
        Output::Json => println!("{}", to_json(status)),
        Output::Human => lines(status),
    }
    let well = (status.repository.is_empty() || status.staleness == "fresh")
        && status.error.is_empty()
        && status.refused.is_empty()
        && status.degraded.is_empty()
        && !status.clock_behind;
    if well { DONE } else { DENIED }
}

fn at(seconds: i64) -> Value {
    match seconds {
        0 => Value::Null,
        seconds => json!(time(seconds)),
    }
}

pub(super) fn to_json(status: &proto::SyncStatusResponse) -> Value {
    let role =
        |role: &proto::RoleStatus| json!({ "role": role.role, "version": role.version, "expires": at(role.expires) });
    json!({
        "repository": status.repository,
        "channel": status.channel,
        "staleness": status.staleness,
        "changes_at": at(status.changes_at),
        "when_expired": status.when_expired,
        "roles": status.roles.iter().map(role).collect::<Vec<_>>(),
        "signed_at": at(status.signed_at),
        "last_attempt": at(status.last_attempt),
        "last_success": at(status.last_success),
        "next_poll": at(status.next_poll),
        "interval_seconds": status.interval_seconds,
        "failing_since": at(status.failing_since),
        "error_class": status.error_class,
        "error": status.error,
        "refused": status.refused,
        "degraded": status.degraded,
        "trusted_time": at(status.trusted_time),
        "requests": status.requests,
        "bytes": status.bytes,
        "denials": status.denials,
        "exceptions": status.exceptions,
        "now": time(status.now),
        "clock_behind": status.clock_behind,
    })
}

fn lines(status: &proto::SyncStatusResponse) {
    if status.repository.is_empty() {
        println!("this node has a policy of its own: config.toml has no [fleet]");
    } else {
        println!("{} (channel {})", status.repository, status.channel);
        println!("  trust      {}", age(status));
        if let Some(timestamp) = status.roles.iter().find(|role| role.role == "timestamp") {
            let signed = match status.signed_at {
                0 => String::new(),
                at => format!(", signed at {}", time(at)),
            };
            println!("  revision   timestamp {}{signed}", timestamp.version);
        }
        for role in &status.roles {
            println!(
                "    {:<12} version {}, expires at {}",
                role.role,
                role.version,
                time(role.expires)
            );
        }
        let asked = match (status.last_attempt, status.last_success) {
            (0, _) => "not since the start".to_owned(),
            (at, 0) => format!("last at {}, without success since the start", time(at)),
            (at, success) => format!("last at {}, with success at {}", time(at), time(success)),
        };
        println!("  asked      {asked}");
        println!(
            "  next poll  {}, every {} s",
            if status.next_poll == 0 {
                "now".to_owned()
            } else {
                time(status.next_poll)
            },
            status.interval_seconds
        );
        println!(
            "  traffic    {} requests, {} bytes since the start",
            status.requests, status.bytes
        );
    }
    println!("  clock      cannot be before {}", time(status.trusted_time));
    if status.clock_behind {
        println!(
            "  CLOCK      says {}, which is past: every image is denied with clock-unsynchronised",
            time(status.now)
        );
    }
    println!("  deny-list  {} entries", status.denials);
    for exception in &status.exceptions {
        println!("  exception  {exception}");
    }
    if !status.error.is_empty() {
        println!(
            "  FAILING    since {}: {}: {}",
            time(status.failing_since),
            status.error_class,
            status.error
        );
    }
    for line in &status.refused {
        println!("  REFUSED    {line}");
    }
    if !status.degraded.is_empty() {
        println!(
            "  DEGRADED   {}; what is in memory counts, and is lost at a restart",
            status.degraded
        );
    }
}

/// How old the trust is, and what comes next.
fn age(status: &proto::SyncStatusResponse) -> String {
    let then = match status.when_expired.as_str() {
        "cached-only" => "only images that were admitted before, and digests that the policy lists, are admitted",
        _ => "every image is denied with trust-stale",
    };
    let changes = time(status.changes_at);
    match status.staleness.as_str() {
        "fresh" => format!("fresh until {changes}; stale from then on unless renewed"),
        "stale" => format!("STALE: everything is judged as before until {changes}; from then on {then}"),
        "expired" => format!("EXPIRED since {changes}: {then}"),
        _ => "none: no generation is on this node yet, and every image is denied with policy-invalid".to_owned(),
    }
}
