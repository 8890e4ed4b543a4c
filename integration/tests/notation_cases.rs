//! The cases of notation's own end-to-end suite, judged by assayd and by the real `notation` beside it, on the suite's
//! own OCI layouts, trust policies and certificates.
//!
//! `notation_cases.tsv` has the cases and what each must come to; `notation_differences.tsv` the verdicts that are not
//! the same, each with its reason. `--nocapture` prints both verdicts of every case.
//!
//! Three things are not as in the suite. It runs its registry on `localhost:5000`: that text becomes the address of
//! ours in the policies. Some of its cases sign a second image with another key: the vectors hold no private keys, so
//! a certificate with the subject of `new_e2e.crt` is made, and the real notation signs with it. And `skip` with the
//! scope `*`, which we refuse, has a second case for one repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::notation::{Format, Sign, Storage};
use assay_integration::registry::{Content, Distribution};
use assay_integration::{Assayd, Finished, Image, Notation, Peers, Question, Registry};
use futures_util::{StreamExt as _, stream};
use rcgen::{DistinguishedName, DnType};
use serde_json::Value;

const CASES: &str = include_str!("notation_cases.tsv");
const DIFFERENCES: &str = include_str!("notation_differences.tsv");

/// How many cases each section of the suite has.
const SECTIONS: [(&str, usize); 5] = [
    ("verification_level", 23),
    ("registry_scope", 8),
    ("multi_statements", 4),
    ("trust_store", 5),
    ("trusted_identity", 11),
];

/// What notation says when a step fails, and assayd's code for it. The first that it says decides: a wrong identity is
/// also a failure of authenticity.
const FAILURES: [(&str, &str); 6] = [
    ("integrity validation failed", "signature-invalid"),
    ("does not match the X.509 trusted identities", "identity-mismatch"),
    ("authenticity validation failed", "untrusted-signer"),
    ("expiry validation failed", "signature-expired"),
    ("authenticTimestamp validation failed", "certificate-expired"),
    ("has no applicable trust policy statement", "no-matching-rule"),
];

/// A row of the table.
struct Case {
    id: &'static str,
    story: &'static str,
    /// Repository and layout.
    images: Vec<(&'static str, &'static str)>,
    trust_policy: &'static str,
    scope: Option<&'static str>,
    /// Store and certificate.
    stores: Vec<(&'static str, &'static str)>,
    accept_unverified: bool,
    expected: &'static str,
    assayd_says: &'static str,
    notation_says: &'static str,
}

impl Case {
    fn all() -> Vec<Self> {
        rows(CASES).map(Self::new).collect()
    }

    fn new(fields: Vec<&'static str>) -> Self {
        let [
            id,
            story,
            images,
            trust_policy,
            scope,
            stores,
            accept,
            expected,
            assayd_says,
            notation_says,
        ] = fields[..]
        else {
            panic!("not ten fields: {fields:?}")
        };
        let pairs = |text: &'static str, separator| {
            let words = text.split_whitespace().filter(|word| *word != "-");
            words.map(|word| word.split_once(separator).expect("a pair")).collect()
        };
        Self {
            id,
            story,
            images: pairs(images, ':'),
            trust_policy,
            scope: (scope != "-").then_some(scope),
            stores: pairs(stores, '='),
            accept_unverified: accept == "yes",
            expected,
            assayd_says,
            notation_says,
        }
    }
}

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect())
}

/// The folder of vectors from notation's own repository.
fn vectors() -> PathBuf {
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

fn read(file: &str) -> String {
    let path = vectors().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn layout_folder(name: &str) -> PathBuf {
    vectors().join("registry/oci_layout").join(name)
}

/// Puts everything that a layout holds into a repository, and returns the descriptor of what is tagged `v1`.
fn push(layout: &str, content: &Content, repository: &str) -> Value {
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

fn digest(descriptor: &Value) -> &str {
    text(&descriptor["digest"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A signer with the subject of `new_e2e.crt`.
struct SecondSigner {
    root: String,
    identity: SigningIdentity,
}

impl SecondSigner {
    fn new() -> Self {
        let root = Authority::root(&Profile::named("second root")).expect("a root");
        let identity = root.issue_with(&Profile::named("second signer"), |parameters| {
            let mut subject = DistinguishedName::new();
            subject.push(DnType::CountryName, "AU");
            subject.push(DnType::StateOrProvinceName, "Some-State");
            subject.push(DnType::OrganizationName, "Internet Widgits Pty Ltd");
            parameters.distinguished_name = subject;
        });
        Self {
            root: root.certificate_pem(),
            identity: identity.expect("a certificate"),
        }
    }
}

/// What a case runs on: the image in a registry, notation with the case's configuration, and assayd with the same.
struct Bench {
    registry: Registry,
    notation: Notation,
    assayd: Assayd,
    /// Repository and descriptor.
    images: Vec<(String, Value)>,
}

impl Bench {
    async fn prepare(case: &Case, peers: &Peers, second: &SecondSigner) -> Self {
        let registry = Registry::start().await.expect("a registry");
        let notation = Notation::new(peers).expect("notation");
        for (store, certificate) in &case.stores {
            let certificate = match *certificate {
                "second-signer" => second.root.clone(),
                file => read(&format!("config/localkeys/{file}")),
            };
            notation.trust("ca", store, &certificate).expect("a trust store");
        }
        let trust_policy = read(&format!("config/trustpolicies/{}.json", case.trust_policy));
        let mut trust_policy = trust_policy.replace("localhost:5000", &registry.host());
        if let Some(scope) = case.scope {
            trust_policy = trust_policy.replace("\"*\"", &format!("\"{}\"", registry.repository(scope)));
        }
        fs::write(notation.config().join("trustpolicy.json"), trust_policy).expect("a trust policy");

        let mut images = vec![];
        for (repository, layout) in &case.images {
            let descriptor = match *layout {
                "second-signer" => {
                    let image = Image::tiny("signed by the second signer").expect("an image");
                    image.store(registry.content(), repository, "v1");
                    notation.add_key("second", &second.identity).expect("a key");
                    let reference = format!("{}@{}", registry.repository(repository), image.digest());
                    notation
                        .sign(&reference, &Sign::with("second"))
                        .await
                        .expect("a signature");
                    image.descriptor()
                }
                layout => push(layout, registry.content(), repository),
            };
            images.push((registry.repository(repository), descriptor));
        }

        let policy = policy(&notation.config(), case.accept_unverified);
        let assayd = Assayd::builder().policy(&policy).plain_http(&registry.host());
        let assayd = assayd.start().await.expect("assayd");
        Self {
            registry,
            notation,
            assayd,
            images,
        }
    }

    /// What assayd says about every image, and the one verdict.
    async fn ask_assayd(&self) -> (String, String) {
        let mut verdicts = BTreeSet::new();
        let mut said = String::new();
        for (repository, descriptor) in &self.images {
            let mark = self.registry.log().mark();
            let hook = hook(&self.assayd, &format!("{repository}:v1"), descriptor).await;
            let asked = self.registry.log().requests_since(mark);
            let (verdict, text) = explain(&self.assayd, &format!("{repository}@{}", digest(descriptor)), &hook).await;
            if matches!(verdict.as_str(), "POLICY-INVALID" | "ADMIT-SKIPPED") {
                assert!(asked.is_empty(), "nothing is to be fetched for {verdict}: {asked:?}");
            }
            verdicts.insert(verdict);
            said.push_str(&text);
        }
        let verdict = Vec::from_iter(verdicts).join(" | ");
        if verdict == "POLICY-INVALID" {
            let check = self.policy_check().await;
            assert!(
                !check.success,
                "policy-invalid, but the check finds nothing: {}",
                check.stdout
            );
            said.push_str(&check.stdout);
        }
        (verdict, said)
    }

    /// Puts another policy into force.
    async fn replace_policy(&self, accept_unverified: bool) {
        let policy = policy(&self.notation.config(), accept_unverified);
        self.assayd.write_policy(&policy).expect("a policy");
        let reloaded = self.assayd.assayctl(&["reload"]).await.expect("assayctl");
        reloaded.successful().expect("a good policy");
    }

    async fn policy_check(&self) -> Finished {
        let policy = self.assayd.config_directory().join("policy.toml");
        let policy = policy.to_str().expect("UTF-8");
        self.assayd
            .assayctl(&["policy", "check", policy])
            .await
            .expect("assayctl")
    }

    /// What notation says about every image, and the one verdict.
    async fn ask_notation(&self) -> (String, String) {
        let mut verdicts = BTreeSet::new();
        let mut said = String::new();
        for (repository, descriptor) in &self.images {
            let mark = self.registry.log().mark();
            let reference = format!("{repository}@{}", text(&descriptor["digest"]));
            let finished = self.notation.verify(&reference).await.expect("notation");
            // notation reads its trust policy before it speaks to a registry.
            let asked = !self.registry.log().requests_since(mark).is_empty();
            verdicts.insert(verdict_of_notation(&finished, asked));
            said.push_str(&finished.stdout);
            said.push_str(&finished.stderr);
        }
        (Vec::from_iter(verdicts).join(" | "), said)
    }

    /// Changes one character of the signature in every envelope.
    fn tamper(&self) {
        let content = self.registry.content();
        let host = format!("{}/", self.registry.host());
        for (repository, descriptor) in &self.images {
            let repository = repository.strip_prefix(&host).expect("a repository of this registry");
            for signature in content.signatures(repository, text(&descriptor["digest"])) {
                let mut envelope = signature.envelope.to_vec();
                let name = b"\"signature\":\"";
                let place = envelope
                    .windows(name.len())
                    .position(|window| window == name)
                    .expect("a signature");
                let byte = &mut envelope[place + name.len() + 20];
                *byte = if *byte == b'A' { b'B' } else { b'A' };
                assert!(content.remove(repository, &signature.digest));
                content.attach_signature(repository, descriptor, &signature.media_type, &envelope);
            }
        }
    }
}

/// Every image, by the standard configuration folder.
fn policy(config: &Path, accept_unverified: bool) -> String {
    format!(
        "version = 1\nunmatched = \"deny\"\n\n[authority.notation]\ntype = \"notation\"\nconfig = \"{}\"\n\n\
         [[rule]]\nname = \"cases\"\nimages = [\"**\"]\nrequire = {{ all = [\"notation\"] }}\n\
         accept_unverified = {accept_unverified}\n",
        config.display()
    )
}

/// Asks assayctl for the steps of what the hook answered: they must agree.
async fn explain(assayd: &Assayd, reference: &str, hook: &Finished) -> (String, String) {
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
    (verdict, said)
}

fn verdict_of_assayd(report: &Value) -> String {
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

fn verdict_of_notation(finished: &Finished, asked: bool) -> String {
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

fn admitted(logged: BTreeSet<String>) -> String {
    if logged.is_empty() {
        "ADMIT".to_owned()
    } else {
        format!("ADMIT-WARN {}", Vec::from_iter(logged).join(","))
    }
}

/// Asks as containerd does.
async fn hook(assayd: &Assayd, name: &str, descriptor: &Value) -> Finished {
    Question::new(name, descriptor.clone())
        .hook(assayd)
        .await
        .expect("the hook")
}

#[test]
fn the_table_has_every_case_of_the_sections_once() {
    let cases = Case::all();
    let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
    assert_eq!(ids.len(), cases.len());
    for (section, count) in SECTIONS {
        for number in 1..=count {
            let id = format!("{section}-{number:02}");
            assert!(ids.contains(id.as_str()), "{id} is missing");
        }
    }
    let beyond: Vec<_> = rows(DIFFERENCES)
        .map(|row| row[0])
        .filter(|id| !ids.contains(id))
        .collect();
    assert!(beyond.is_empty(), "differences of no case: {beyond:?}");
}

/// What became of one case.
struct Outcome {
    line: String,
    wrong: Vec<String>,
}

async fn judge(case: &Case, peers: &Peers, second: &SecondSigner, listed: Option<(&str, &str)>) -> Outcome {
    let bench = Bench::prepare(case, peers, second).await;
    let (assayd, assayd_said) = bench.ask_assayd().await;
    let (notation, notation_said) = bench.ask_notation().await;
    let line = format!("{:<28} {assayd:<30} {notation:<30} {}", case.id, case.story);
    let mut wrong = vec![];

    let (assayd_expected, notation_expected) = listed.unwrap_or((case.expected, case.expected));
    if (assayd.as_str(), notation.as_str()) != (assayd_expected, notation_expected) {
        wrong.push(format!(
            "expected {assayd_expected} and {notation_expected}, not {assayd} and {notation}\n\
             assayd said: {assayd_said}\nnotation said: {notation_said}"
        ));
    }
    if listed == Some((case.expected, case.expected)) {
        wrong.push("a listed difference is none".to_owned());
    }
    for (who, said, part) in [
        ("assayd", &assayd_said, case.assayd_says),
        ("notation", &notation_said, case.notation_says),
    ] {
        if part != "-" && !said.contains(part) {
            wrong.push(format!("{who} does not say {part:?}: {said}"));
        }
    }

    if case.accept_unverified && assayd.starts_with("ADMIT") {
        bench.replace_policy(false).await;
        let (verdict, said) = bench.ask_assayd().await;
        if !verdict.starts_with("DENY") || !said.contains("the rule does not accept") {
            wrong.push(format!("without accept_unverified: {verdict}: {said}"));
        }
        bench.replace_policy(true).await;
    }
    if assayd == "ADMIT" || assayd.starts_with("ADMIT-WARN") {
        bench.tamper();
        bench
            .assayd
            .assayctl(&["cache", "clear"])
            .await
            .expect("assayctl")
            .successful()
            .expect("a clear cache");
        for (who, (verdict, said)) in [
            ("assayd", bench.ask_assayd().await),
            ("notation", bench.ask_notation().await),
        ] {
            if verdict != "DENY signature-invalid" {
                wrong.push(format!(
                    "{who} with one character of the signature changed: {verdict}: {said}"
                ));
            }
        }
    }
    let wrong = wrong.into_iter().map(|what| format!("{}: {what}", case.id)).collect();
    Outcome { line, wrong }
}

/// Every case with both verdicts. What is admitted although a level only logs or skips is denied by a rule without
/// `accept_unverified`; what is admitted for its signature is denied with one character of that signature changed.
#[tokio::test(flavor = "multi_thread")]
async fn assayd_and_notation_come_to_the_listed_verdicts() {
    let peers = Peers::fetch().expect("the peers");
    let second = SecondSigner::new();
    let differences: BTreeMap<_, _> = rows(DIFFERENCES).map(|row| (row[0], (row[1], row[2]))).collect();
    let cases = Case::all();
    let outcomes = cases
        .iter()
        .map(|case| judge(case, &peers, &second, differences.get(case.id).copied()));
    // Most of a case is waiting for programs to start and to end.
    let mut outcomes = stream::iter(outcomes).buffered(4);
    let mut wrong = vec![];
    println!("{:<28} {:<30} {:<30} case", "id", "assayd", "notation");
    while let Some(outcome) = outcomes.next().await {
        println!("{}", outcome.line);
        wrong.extend(outcome.wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// An image of our own with a signer that notation trusts in the store `ca:e2e`, for what the vectors have no key for.
fn trusted_signer(notation: &Notation) {
    let signer = SigningIdentity::self_signed(&Profile::named("signer")).expect("a certificate");
    notation.add_key("signer", &signer).expect("a key");
    notation.trust("ca", "e2e", &signer.anchor_pem).expect("a trust store");
    fs::write(
        notation.config().join("trustpolicy.json"),
        read("config/trustpolicies/trustpolicy.json"),
    )
    .expect("a trust policy");
}

/// verify-01 and verify-02.
#[tokio::test(flavor = "multi_thread")]
async fn verifies_by_digest_and_by_tag() {
    let peers = Peers::fetch().expect("the peers");
    let registry = Registry::start().await.unwrap();
    let notation = Notation::new(&peers).unwrap();
    notation.trust("ca", "e2e", &read("config/localkeys/e2e.crt")).unwrap();
    fs::write(
        notation.config().join("trustpolicy.json"),
        read("config/trustpolicies/trustpolicy.json"),
    )
    .unwrap();
    let descriptor = push("e2e-valid-signature", registry.content(), "app");
    let unsigned = push("e2e", registry.content(), "unsigned");
    assert_eq!(
        digest(&descriptor),
        digest(&unsigned),
        "the same image, without a signature"
    );
    let assayd = Assayd::builder()
        .policy(&policy(&notation.config(), false))
        .plain_http(&registry.host());
    let assayd = assayd.start().await.unwrap();

    for (repository, admitted) in [("app", true), ("unsigned", false)] {
        let repository = registry.repository(repository);
        let by_digest = format!("{repository}@{}", digest(&descriptor));
        let by_tag = format!("{repository}:v1");
        for reference in [&by_digest, &by_tag] {
            let by_notation = notation.verify(reference).await.unwrap();
            assert_eq!(by_notation.success, admitted, "{}", by_notation.stderr);
            let hook = hook(&assayd, reference, &descriptor).await;
            let (verdict, said) = explain(&assayd, reference, &hook).await;
            assert_eq!(verdict, if admitted { "ADMIT" } else { "DENY unsigned" }, "{said}");
        }
    }
}

/// verify-04: docker-registry has no referrers API. verify-05: ours has one, and no fallback tag is made.
#[tokio::test(flavor = "multi_thread")]
async fn finds_signatures_under_the_fallback_tag_and_through_the_referrers_api() {
    let peers = Peers::fetch().expect("the peers");
    let notation = Notation::new(&peers).unwrap();
    trusted_signer(&notation);
    let distribution = Distribution::start(&peers).await.unwrap();
    let registry = Registry::start().await.unwrap();
    let image = Image::tiny("signed").unwrap();
    let assayd = Assayd::builder()
        .policy(&policy(&notation.config(), false))
        .plain_http(distribution.host())
        .plain_http(&registry.host());
    let assayd = assayd.start().await.unwrap();
    let tag = image.digest().replace(':', "-");

    let places = [
        (distribution.repository("app"), Storage::FallbackTag),
        (registry.repository("app"), Storage::Referrers),
    ];
    for (repository, storage) in places {
        image.push(&repository, "v1").await.unwrap();
        let reference = format!("{repository}@{}", image.digest());
        assert!(!notation.verify(&reference).await.unwrap().success, "not signed yet");
        let before = hook(&assayd, &reference, &image.descriptor()).await;
        assert!(before.stdout.contains("DENY unsigned"), "{}", before.stdout);
        assayd
            .assayctl(&["cache", "clear"])
            .await
            .unwrap()
            .successful()
            .unwrap();

        notation
            .sign(&reference, &Sign::with("signer").storage(storage))
            .await
            .unwrap();
        notation.verify(&reference).await.unwrap().successful().unwrap();
        let after = hook(&assayd, &reference, &image.descriptor()).await;
        let (verdict, said) = explain(&assayd, &reference, &after).await;
        assert_eq!(verdict, "ADMIT", "{said}");
    }
    let request = format!("GET /v2/app/manifests/{tag}");
    assert!(
        distribution.requests().contains(&request),
        "{:?}",
        distribution.requests()
    );
    assert_eq!(registry.content().resolve("app", &tag), None);
    let asked = registry.log().requests();
    assert!(
        asked
            .iter()
            .any(|request| request.path.contains("/referrers/") && request.status == Some(200))
    );
}

/// verify-06 and verify-07: offline, from an OCI layout by digest and by tag, in both envelopes.
#[tokio::test(flavor = "multi_thread")]
async fn verifies_an_oci_layout_by_digest_and_by_tag() {
    let peers = Peers::fetch().expect("the peers");
    let notation = Notation::new(&peers).unwrap();
    trusted_signer(&notation);
    let assayd = Assayd::builder()
        .policy(&policy(&notation.config(), false))
        .prepare()
        .unwrap();
    let policy = assayd.config_directory().join("policy.toml");
    let digest = "sha256:b8479de3f88fb259a0a9ea82a5b2a052a1ef3c4ebbcfc61482d5ae4c831f8af9";

    for format in [Format::Jws, Format::Cose] {
        let scratch = tempfile::tempdir().unwrap();
        let layout = scratch.path().join("layout");
        copy(&layout_folder("e2e"), &layout);
        let layout = layout.to_str().unwrap();
        for signed in [false, true] {
            if signed {
                let format = match format {
                    Format::Jws => "--signature-format=jws",
                    Format::Cose => "--signature-format=cose",
                };
                let target = format!("{layout}@{digest}");
                let sign = ["sign", "--oci-layout", "--key=signer", format, &target];
                experimental(&notation, &sign).await.successful().unwrap();
            }
            for (by_notation, by_assayctl) in [
                (format!("{layout}@{digest}"), format!("local/e2e@{digest}")),
                (format!("{layout}:v1"), "local/e2e:v1".to_owned()),
            ] {
                let verify = ["verify", "--oci-layout", "--scope=local/e2e", &by_notation];
                let of_notation = experimental(&notation, &verify).await;
                assert_eq!(of_notation.success, signed, "{by_notation}: {}", of_notation.stderr);
                let arguments = [
                    "verify",
                    "--offline",
                    layout,
                    "--policy",
                    policy.to_str().unwrap(),
                    &by_assayctl,
                ];
                let of_assayctl = assayd.assayctl(&arguments).await.unwrap();
                let said = format!("{by_assayctl}: {}{}", of_assayctl.stdout, of_assayctl.stderr);
                assert_eq!(of_assayctl.success, signed, "{said}");
                assert!(said.contains(if signed { "ADMIT" } else { "DENY unsigned" }), "{said}");
            }
        }
    }
}

/// notation keeps OCI layouts behind a variable of its environment.
async fn experimental(notation: &Notation, arguments: &[&str]) -> Finished {
    let mut command = notation.command(arguments);
    command.env("NOTATION_EXPERIMENTAL", "1");
    tokio::process::Command::from(command)
        .output()
        .await
        .expect("notation")
        .into()
}

/// A copy that may be written to: the vectors are read-only.
fn copy(from: &Path, to: &Path) {
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
