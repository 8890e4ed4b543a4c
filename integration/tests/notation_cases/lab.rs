//! What the sections share: notation's own vectors, the verdicts of both sides in the same words, and their comparison.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use assay_integration::certificates::{Profile, SigningIdentity};
use assay_integration::registry::Content;
use assay_integration::{Assayd, Finished, Notation, Question};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

/// The verdicts that are not the same.
pub(crate) const DIFFERENCES: &str = include_str!("differences.tsv");

/// What one side came to, and all that it said.
pub(crate) struct Answer {
    pub(crate) verdict: String,
    pub(crate) said: String,
}

/// What a row of a table asks for.
pub(crate) struct Expected {
    pub(crate) id: &'static str,
    pub(crate) story: &'static str,
    pub(crate) verdict: &'static str,
    /// Parts of what each has to say, in this order, with a bar between them; `-` for none.
    pub(crate) assayd_says: &'static str,
    pub(crate) notation_says: &'static str,
}

/// What became of one row.
pub(crate) struct Outcome {
    line: String,
    pub(crate) wrong: Vec<String>,
}

impl Expected {
    /// Holds both answers against the row, or against the difference that is listed for it.
    pub(crate) fn compare(&self, assayd: &Answer, notation: &Answer) -> Outcome {
        let listed = rows(DIFFERENCES).find(|row| row[0] == self.id);
        let (for_assayd, for_notation) = listed
            .as_ref()
            .map_or((self.verdict, self.verdict), |row| (row[1], row[2]));
        let mut wrong = vec![];
        if (assayd.verdict.as_str(), notation.verdict.as_str()) != (for_assayd, for_notation) {
            wrong.push(format!(
                "{}: expected {for_assayd} and {for_notation}, not {} and {}\n\
                 assayd said: {}\nnotation said: {}",
                self.id, assayd.verdict, notation.verdict, assayd.said, notation.said
            ));
        }
        if listed.is_some() && (for_assayd, for_notation) == (self.verdict, self.verdict) {
            wrong.push(format!("{}: a listed difference is none", self.id));
        }
        for (who, answer, parts) in [
            ("assayd", assayd, self.assayd_says),
            ("notation", notation, self.notation_says),
        ] {
            let mut rest = answer.said.as_str();
            for part in parts.split('|').filter(|part| *part != "-") {
                match rest.split_once(part) {
                    Some((_, after)) => rest = after,
                    None => wrong.push(format!("{}: {who} does not say {part:?}: {}", self.id, answer.said)),
                }
            }
        }
        let line = format!(
            "{:<42} {:<30} {:<30} {}",
            self.id, assayd.verdict, notation.verdict, self.story
        );
        Outcome { line, wrong }
    }
}

/// Prints every outcome, and fails with all that is wrong.
pub(crate) async fn report(outcomes: impl Stream<Item = Outcome>) {
    let mut outcomes = std::pin::pin!(outcomes);
    let mut wrong = vec![];
    println!("{:<42} {:<30} {:<30} case", "id", "assayd", "notation");
    while let Some(outcome) = outcomes.next().await {
        println!("{}", outcome.line);
        wrong.extend(outcome.wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What notation says when a step fails, and assayd's code for it. The first that it says decides: a wrong identity is
/// also a failure of authenticity.
const FAILURES: [(&str, &str); 16] = [
    ("certificate signed by unknown authority", "registry-unavailable"),
    ("server gave HTTP response to HTTPS client", "registry-unavailable"),
    ("no signature is associated with", "unsigned"),
    ("revocation check by verification plugin", "plugin-refused"),
    ("trusted identify verification by plugin", "plugin-refused"),
    ("signature verification needs plugin version", "plugin-unavailable"),
    ("error while locating the verification plugin", "plugin-unavailable"),
    ("digital signature requires plugin", "plugin-unavailable"),
    ("not processed by the verification plugin", "plugin-unavailable"),
    ("failed to verify with plugin", "plugin-unavailable"),
    ("integrity validation failed", "signature-invalid"),
    ("does not match the X.509 trusted identities", "identity-mismatch"),
    ("authenticity validation failed", "untrusted-signer"),
    ("expiry validation failed", "signature-expired"),
    ("authenticTimestamp validation failed", "certificate-expired"),
    ("has no applicable trust policy statement", "no-matching-rule"),
];

pub(crate) fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect())
}

/// The folder of vectors from notation's own repository.
pub(crate) fn vectors() -> PathBuf {
    let folder = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors")),
        PathBuf::from,
    );
    let vectors = folder.join("notation/notation");
    assert!(
        vectors.is_dir(),
        "the test vectors are not in {}: set ASSAY_VECTORS to the folder that has notation/MANIFEST.tsv",
        folder.display()
    );
    vectors
}

pub(crate) fn read(file: &str) -> String {
    let path = vectors().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn layout_folder(name: &str) -> PathBuf {
    vectors().join("registry/oci_layout").join(name)
}

/// Puts everything that a layout holds into a repository, and returns the descriptor of what is tagged `v1`.
pub(crate) fn push(layout: &str, content: &Content, repository: &str) -> Value {
    let folder = layout_folder(layout);
    let read = |path: PathBuf| fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let blob = |digest: &str| read(folder.join("blobs").join(digest.replace(':', "/")));
    let index: Value = serde_json::from_slice(&read(folder.join("index.json"))).expect("an index");
    let blobs = fs::read_dir(folder.join("blobs/sha256")).expect("blobs");
    for entry in blobs {
        content.put_blob(repository, read(entry.expect("a blob").path()));
    }
    let mut tagged = None;
    for descriptor in index["manifests"].as_array().expect("manifests") {
        let (digest, media_type) = (text(&descriptor["digest"]), text(&descriptor["mediaType"]));
        content.put_manifest(repository, media_type, blob(digest));
        if let Some(tag) = descriptor["annotations"]["org.opencontainers.image.ref.name"].as_str() {
            content.tag(repository, tag, digest);
            if tag == "v1" {
                let fields = ["mediaType", "digest", "size"].map(|field| (field.to_owned(), descriptor[field].clone()));
                tagged = Some(Value::from_iter(fields));
            }
        }
    }
    tagged.expect("a layout has something that is tagged v1")
}

pub(crate) fn digest(descriptor: &Value) -> &str {
    text(&descriptor["digest"])
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every image, by the standard configuration folder.
pub(crate) fn policy(config: &Path, accept_unverified: bool) -> String {
    format!(
        "version = 1\nunmatched = \"deny\"\n\n[authority.notation]\ntype = \"notation\"\nconfig = \"{}\"\n\n\
         [[rule]]\nname = \"cases\"\nimages = [\"**\"]\nrequire = {{ all = [\"notation\"] }}\n\
         accept_unverified = {accept_unverified}\n",
        config.display()
    )
}

/// Asks assayctl for the steps of what the hook answered: they must agree.
pub(crate) async fn explain(assayd: &Assayd, reference: &str, hook: &Finished) -> Answer {
    let explained = assayd
        .assayctl(&["explain", reference, "--output", "json"])
        .await
        .expect("assayctl");
    let said = format!("{}{}{}", hook.stdout, explained.stdout, explained.stderr);
    let report: Value = serde_json::from_str(&explained.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let verdict = verdict_of_assayd(&report);
    assert_eq!(hook.success, report["verdict"] == "admit", "{said}");
    assert_eq!(explained.success, hook.success, "{said}");
    assert!(
        hook.success || hook.stdout.contains(&format!("DENY {}", text(&report["code"]))),
        "{said}"
    );
    Answer { verdict, said }
}

pub(crate) fn verdict_of_assayd(report: &Value) -> String {
    if report["verdict"] != "admit" {
        return match text(&report["code"]) {
            "policy-invalid" => "POLICY-INVALID".to_owned(),
            code => format!("DENY {code}"),
        };
    }
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let signatures: Vec<_> = all(&report["authorities"])
        .iter()
        .flat_map(|authority| all(&authority["signatures"]))
        .collect();
    if signatures.is_empty() {
        return "ADMIT-SKIPPED".to_owned();
    }
    let steps: Vec<_> = signatures
        .iter()
        .flat_map(|signature| all(&signature["steps"]))
        .collect();
    let logged: BTreeSet<_> = steps
        .iter()
        .filter(|step| step["outcome"] == "failed, only logged")
        .map(|step| text(&step["step"]).to_owned())
        .collect();
    admitted(logged)
}

pub(crate) fn verdict_of_notation(finished: &Finished, asked: bool) -> String {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    if !finished.success {
        if !asked {
            return "POLICY-INVALID".to_owned();
        }
        let code = FAILURES
            .iter()
            .find(|(says, _)| said.contains(says))
            .map_or("?", |(_, code)| *code);
        return format!("DENY {code}");
    }
    if said.contains("configured to skip signature verification") {
        return "ADMIT-SKIPPED".to_owned();
    }
    let logged = said.lines().filter_map(|line| {
        let (before, _) = line.split_once(" was set to \"log\" and failed")?;
        before.rsplit(' ').next().map(str::to_owned)
    });
    admitted(logged.collect())
}

pub(crate) fn admitted(logged: BTreeSet<String>) -> String {
    if logged.is_empty() {
        "ADMIT".to_owned()
    } else {
        format!("ADMIT-WARN {}", Vec::from_iter(logged).join(","))
    }
}

/// Asks as containerd does.
pub(crate) async fn hook(assayd: &Assayd, name: &str, descriptor: &Value) -> Finished {
    Question::new(name, descriptor.clone())
        .hook(assayd)
        .await
        .expect("the hook")
}

/// An image of our own with a signer that notation trusts in the store `ca:e2e`, for what the vectors have no key for.
pub(crate) fn trusted_signer(notation: &Notation) {
    let signer = SigningIdentity::self_signed(&Profile::named("signer")).expect("a certificate");
    notation.add_key("signer", &signer).expect("a key");
    notation.trust("ca", "e2e", &signer.anchor_pem).expect("a trust store");
    fs::write(
        notation.config().join("trustpolicy.json"),
        read("config/trustpolicies/trustpolicy.json"),
    )
    .expect("a trust policy");
}

/// A copy that may be written to: the vectors are read-only.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
    {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).expect("a file")).expect("a file");
        }
    }
}

/// A JWS envelope with one character of its signature changed: not the last, which may carry unused bits.
pub(crate) fn tampered(envelope: &[u8]) -> Vec<u8> {
    let mut changed = envelope.to_vec();
    let name = b"\"signature\":\"";
    let place = changed.windows(name.len()).position(|window| window == name);
    let byte = &mut changed[place.expect("a signature") + name.len() + 20];
    *byte = if *byte == b'A' { b'B' } else { b'A' };
    changed
}
