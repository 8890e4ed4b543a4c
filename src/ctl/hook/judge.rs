//! What the policy in force makes of the images of this node, before it counts.

use std::collections::BTreeSet;

use assay_proto::v1 as proto;
use assay_verify::code::Code;
use assay_verify::limits::NODE_IMAGES_AT_ONCE;
use assay_verify::untrusted::Untrusted;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::ctl::Failure;
use crate::ctl::client::ControlClient;
use crate::ctl::progress::Progress;

/// One image and what became of it.
#[derive(Debug)]
pub(super) struct Judged {
    image: String,
    verdict: Verdict,
    /// The code of a denial, also of one that audit mode overrides.
    code: String,
    reason: String,
    rule: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Admit,
    /// Audit mode admits.
    Audit,
    Deny,
    /// Nobody can tell: the registry was away, or wants credentials.
    Unknown,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Audit => "audit",
            Self::Deny => "DENY",
            Self::Unknown => "unknown",
        }
    }
}

impl Judged {
    fn new(image: &str, answer: Result<proto::ExplainResponse, Failure>) -> Self {
        let judged = |verdict, code: &str, reason: &str, rule: &str| Self {
            image: image.to_owned(),
            verdict,
            code: code.to_owned(),
            reason: reason.to_owned(),
            rule: rule.to_owned(),
        };
        match answer.map(|answer| answer.verdict) {
            Ok(Some(found)) => {
                let inconclusive = found.code.parse::<Code>().is_ok_and(Code::is_inconclusive);
                let verdict = match found.verdict() {
                    proto::Verdict::Admit if found.audited => Verdict::Audit,
                    proto::Verdict::Admit => Verdict::Admit,
                    _ if inconclusive => Verdict::Unknown,
                    _ => Verdict::Deny,
                };
                judged(verdict, &found.code, &found.reason, &found.rule)
            }
            Ok(None) => judged(Verdict::Unknown, "", "assayd gave no verdict", ""),
            // The image's descriptor could not be had: the message begins with the code.
            Err(Failure::Daemon(message) | Failure::Input(message)) => match message.split_once(": ") {
                Some((code, reason)) if code.parse::<Code>().is_ok() => judged(Verdict::Unknown, code, reason, ""),
                _ => judged(Verdict::Unknown, "", &message, ""),
            },
        }
    }

    /// Whether a pull of it would fail under the hook.
    pub(super) fn would_break(&self) -> bool {
        matches!(self.verdict, Verdict::Deny | Verdict::Unknown)
    }

    pub(super) fn lacks_credentials(&self) -> bool {
        self.code == Code::RegistryAuth.as_str()
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "image": self.image,
            "verdict": self.verdict.word().to_ascii_lowercase(),
            "code": self.code,
            "reason": self.reason,
            "rule": self.rule,
        })
    }

    fn print(&self) {
        println!("{:8} {}", self.verdict.word(), Untrusted::new(&self.image));
        let reason = Untrusted::new(&self.reason);
        match self.code.as_str() {
            "" => println!("         {reason}"),
            code => println!("         {}: {reason}", Untrusted::new(code)),
        }
    }
}

/// Judges images, and says on standard error how far it is.
pub(super) async fn all(client: ControlClient, images: &BTreeSet<String>) -> Vec<Judged> {
    let judge = |image: String| {
        let mut client = client.clone();
        async move {
            let answer = client.explain(&image).await;
            Judged::new(&image, answer)
        }
    };
    let mut judging =
        futures_util::stream::iter(images.clone().into_iter().map(judge)).buffer_unordered(NODE_IMAGES_AT_ONCE);
    let (mut judged, mut progress) = (Vec::new(), Progress::new());
    while let Some(one) = judging.next().await {
        judged.push(one);
        progress.show(|| format!("{} of {} images are judged", judged.len(), images.len()));
    }
    judged.sort_by(|a, b| a.image.cmp(&b.image));
    judged
}

/// Prints what would be denied, and how many would not.
pub(super) fn print(judged: &[Judged]) {
    for one in judged.iter().filter(|one| one.verdict != Verdict::Admit) {
        one.print();
    }
    let count = |verdict| judged.iter().filter(|one| one.verdict == verdict).count();
    println!(
        "{} images of this node: {} admitted, {} by audit mode alone, {} denied, {} not decided",
        judged.len(),
        count(Verdict::Admit),
        count(Verdict::Audit),
        count(Verdict::Deny),
        count(Verdict::Unknown),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(verdict: proto::Verdict, code: &str, audited: bool) -> Result<proto::ExplainResponse, Failure> {
        Ok(proto::ExplainResponse {
            verdict: Some(proto::VerifyResponse {
                verdict: verdict.into(),
                code: code.to_owned(),
                audited,
                ..proto::VerifyResponse::default()
            }),
            ..proto::ExplainResponse::default()
        })
    }

    #[test]
    fn what_cannot_be_told_breaks_a_pull_as_much_as_a_denial() {
        use proto::Verdict::{Admit, Deny};
        let away = |message: &str| Err(Failure::Daemon(message.to_owned()));
        for (answer, verdict, breaks, lacks) in [
            (answer(Admit, "", false), Verdict::Admit, false, false),
            (answer(Admit, "unsigned", true), Verdict::Audit, false, false),
            (answer(Admit, "registry-auth", true), Verdict::Audit, false, true),
            (answer(Deny, "unsigned", false), Verdict::Deny, true, false),
            (answer(Deny, "registry-auth", false), Verdict::Unknown, true, true),
            (away("registry-auth: 401"), Verdict::Unknown, true, true),
            (away("assayd: is away"), Verdict::Unknown, true, false),
            (Ok(proto::ExplainResponse::default()), Verdict::Unknown, true, false),
        ] {
            let judged = Judged::new("a", answer);
            let found = (judged.verdict, judged.would_break(), judged.lacks_credentials());
            assert_eq!(found, (verdict, breaks, lacks), "{judged:?}");
        }
    }
}
