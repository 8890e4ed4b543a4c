//! Every image that was admitted on this node, by what is stored and the policy in force.

use assay_proto::v1 as proto;
use assay_verify::Timestamp;
use assay_verify::code::Code;
use serde_json::json;

use super::client::ControlClient;
use super::progress::Progress;
use super::{DENIED, DONE, Failure, NOT_DECIDED, Output, denied, render};

/// What an inventory is not.
const NOT_IN_IT: &str = "Images that came to this node without assayd being asked are not in it, nor those whose evidence was forgotten, nor \
                         those that needed none.";

/// How an image stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Admitted,
    Denied,
    Unknown,
}

impl Standing {
    fn of(verdict: &proto::VerifyResponse) -> Self {
        match verdict.verdict() {
            proto::Verdict::Admit => Self::Admitted,
            _ => match verdict.code.parse::<Code>().map_or(DENIED, denied) {
                NOT_DECIDED => Self::Unknown,
                _ => Self::Denied,
            },
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Admitted => "admit",
            Self::Denied => "deny",
            Self::Unknown => "unknown",
        }
    }
}

/// Shows the inventory.
pub(super) async fn run(output: Output, client: &mut ControlClient) -> Result<u8, Failure> {
    let mut stream = client.inventory().await?;
    let mut progress = Progress::new();
    let mut rows = Vec::new();
    while let Some(row) = stream.message().await? {
        rows.push(row);
        let total = rows.last().map_or(0, |row| row.total);
        progress.show(|| format!("judged {} of {total} images", rows.len()));
    }
    drop(progress);
    // The store's own order means nothing.
    rows.sort_by(|one, other| (&one.repository, digest(one)).cmp(&(&other.repository, digest(other))));
    let standings: Vec<_> = rows.iter().map(|row| Standing::of(&verdict(row))).collect();
    show(output, &rows, &standings);
    Ok(if standings.contains(&Standing::Denied) {
        DENIED
    } else if standings.contains(&Standing::Unknown) {
        NOT_DECIDED
    } else {
        DONE
    })
}

fn verdict(row: &proto::InventoryResponse) -> proto::VerifyResponse {
    row.verdict.clone().unwrap_or_default()
}

fn digest(row: &proto::InventoryResponse) -> &str {
    row.descriptor
        .as_ref()
        .map_or("", |descriptor| descriptor.digest.as_str())
}

fn show(output: Output, rows: &[proto::InventoryResponse], standings: &[Standing]) {
    let count = |wanted| standings.iter().filter(|standing| **standing == wanted).count();
    let counts = [Standing::Admitted, Standing::Denied, Standing::Unknown].map(count);
    let [admitted, denied, unknown] = counts;
    let time = |seconds| {
        Timestamp::from_second(seconds)
            .map(|at| at.to_string())
            .unwrap_or_default()
    };
    if output == Output::Json {
        let image = |(row, standing): (&proto::InventoryResponse, &Standing)| {
            let verdict = verdict(row);
            let descriptor = row.descriptor.clone().unwrap_or_default();
            json!({
                "repository": row.repository,
                "digest": descriptor.digest,
                "media_type": descriptor.media_type,
                "size": descriptor.size,
                "standing": standing.word(),
                "audited": verdict.audited,
                "code": verdict.code,
                "reason": verdict.reason,
                "rule": verdict.rule,
                "policy": verdict.policy_revision,
                "recorded_at": time(row.recorded_at),
                "imported": row.imported,
            })
        };
        println!(
            "{}",
            json!({
                "images": rows.iter().zip(standings).map(image).collect::<Vec<_>>(),
                "admitted": admitted,
                "denied": denied,
                "unknown": unknown,
                "not_in_it": NOT_IN_IT,
            })
        );
        return;
    }
    for (row, standing) in rows.iter().zip(standings) {
        let verdict = verdict(row);
        let word = match standing {
            Standing::Admitted => render::headline_word(&verdict),
            Standing::Denied => render::bad("DENY"),
            Standing::Unknown => render::warn("UNKNOWN"),
        };
        println!("{word} {}@{}", row.repository, digest(row));
        if !verdict.code.is_empty() {
            println!("  {}: {}", verdict.code, verdict.reason);
        }
    }
    println!(
        "{} images with stored evidence: {admitted} admitted, {denied} denied, {unknown} not decided without a network",
        rows.len()
    );
    println!("{NOT_IN_IT}");
}
