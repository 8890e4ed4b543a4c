//! `assayctl inventory`: every image of this node and what the policy makes of it.

mod node;
mod stored;

use std::path::PathBuf;

use assay_proto::v1 as proto;
use assay_verify::code::Code;
use assay_verify::untrusted::Untrusted;
use clap::Args;
use serde_json::{Value, json};

use super::client::ControlClient;
use super::node::containerd::Which;
use super::{DENIED, DONE, Failure, NOT_DECIDED, Output, denied, render};

#[derive(Args)]
pub(super) struct Inventory {
    /// Judge by a policy document that is proposed, and say what it would refuse. What it names is looked for beside the policy
    /// in force
    #[arg(long, value_name = "FILE", conflicts_with = "stored")]
    what_if: Option<PathBuf>,
    /// Judge by what is stored alone, without a network
    #[arg(long)]
    offline: bool,
    /// Show the images that were admitted here and have evidence, judged by that alone, in place of those that containerd has
    #[arg(long)]
    stored: bool,
    /// What lists containerd's images
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "/usr/libexec/assayd/assay-gate",
        env = "ASSAY_GATE"
    )]
    gate: PathBuf,
    #[command(flatten)]
    containerd: Which,
}

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

/// An image, and what is said of it.
struct Row {
    /// Its repository, or what containerd calls it where that is none.
    name: Untrusted,
    descriptor: proto::Descriptor,
    /// None where it has no name that a policy could judge.
    verdict: Option<proto::VerifyResponse>,
    /// What is told beside the verdict, in its order.
    details: Vec<(&'static str, Value)>,
    /// The same for people: what is out of the ordinary.
    remark: Option<&'static str>,
}

impl Row {
    fn standing(&self) -> Standing {
        self.verdict.as_ref().map_or(Standing::Unknown, Standing::of)
    }

    fn to_json(&self) -> Value {
        let verdict = self.verdict.clone().unwrap_or_default();
        let row = json!({
            "repository": self.name.to_string(),
            "digest": self.descriptor.digest,
            "media_type": self.descriptor.media_type,
            "size": self.descriptor.size,
            "standing": self.standing().word(),
            "audited": verdict.audited,
            "code": verdict.code,
            "reason": verdict.reason,
            "rule": verdict.rule,
            "policy": verdict.policy_revision,
        });
        let details = self
            .details
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        match row {
            Value::Object(fields) => Value::Object(fields.into_iter().chain(details).collect()),
            row => row,
        }
    }

    fn print(&self) {
        let word = match (&self.verdict, self.standing()) {
            (Some(verdict), Standing::Admitted) => render::headline_word(verdict),
            (_, Standing::Denied) => render::bad("DENY"),
            _ => render::warn("UNKNOWN"),
        };
        println!("{word} {}@{}", self.name, Untrusted::new(&self.descriptor.digest));
        match &self.verdict {
            Some(verdict) if !verdict.code.is_empty() => println!("  {}: {}", verdict.code, verdict.reason),
            Some(_) => {}
            None => println!("  it has no name that a policy could judge"),
        }
        if let Some(remark) = self.remark {
            println!("  {remark}");
        }
    }
}

/// Shows the inventory.
pub(super) async fn run(output: Output, asked: &Inventory, client: ControlClient) -> Result<u8, Failure> {
    let (rows, what, caveat) = if asked.stored {
        (
            stored::rows(client).await?,
            "images with stored evidence",
            stored::NOT_IN_IT,
        )
    } else {
        (node::rows(asked, client).await?, "images", node::NOT_IN_IT)
    };
    Ok(show(output, &rows, what, caveat))
}

fn show(output: Output, rows: &[Row], what: &str, caveat: &str) -> u8 {
    let count = |wanted| rows.iter().filter(|row| row.standing() == wanted).count();
    let [admitted, denied, unknown] = [Standing::Admitted, Standing::Denied, Standing::Unknown].map(count);
    match output {
        Output::Json => {
            let shown = json!({
                "images": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
                "admitted": admitted,
                "denied": denied,
                "unknown": unknown,
                "not_in_it": caveat,
            });
            println!("{shown}");
        }
        Output::Human => {
            for row in rows {
                row.print();
            }
            println!(
                "{} {what}: {admitted} admitted, {denied} denied, {unknown} not decided",
                rows.len()
            );
            println!("{caveat}");
        }
    }
    match (denied, unknown) {
        (0, 0) => DONE,
        (0, _) => NOT_DECIDED,
        _ => DENIED,
    }
}
