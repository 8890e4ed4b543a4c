//! The sections of the suite about trust policies, on the suite's own OCI layouts, trust policies and certificates.
//!
//! Three things are not as in the suite. It runs its registry on `localhost:5000`: that text becomes the address of
//! ours in the policies. Some of its cases sign a second image with another key: the vectors hold no private keys, so
//! a certificate with the subject of `new_e2e.crt` is made, and the real notation signs with it. And `skip` with the
//! scope `*`, which we refuse, has a second case for one repository.

use std::collections::BTreeSet;
use std::fs;

use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::notation::Sign;
use assay_integration::{Assayd, Finished, Image, Notation, Peers, Registry};
use futures_util::{StreamExt as _, stream};
use rcgen::{DistinguishedName, DnType};
use serde_json::Value;

use crate::lab::{
    Answer, Expected, Outcome, digest, explain, hook, policy, push, read, report, rows, tampered, text,
    verdict_of_notation,
};

/// The rows.
pub(crate) const CASES: &str = include_str!("trust_policy.tsv");

/// A row of the table.
struct Case {
    /// Repository and layout.
    images: Vec<(&'static str, &'static str)>,
    trust_policy: &'static str,
    scope: Option<&'static str>,
    /// Store and certificate.
    stores: Vec<(&'static str, &'static str)>,
    accept_unverified: bool,
    expected: Expected,
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
            verdict,
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
            images: pairs(images, ':'),
            trust_policy,
            scope: (scope != "-").then_some(scope),
            stores: pairs(stores, '='),
            accept_unverified: accept == "yes",
            expected: Expected {
                id,
                story,
                verdict,
                assayd_says,
                notation_says,
            },
        }
    }
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
    async fn ask_assayd(&self) -> Answer {
        let mut verdicts = BTreeSet::new();
        let mut said = String::new();
        for (repository, descriptor) in &self.images {
            let mark = self.registry.log().mark();
            let hook = hook(&self.assayd, &format!("{repository}:v1"), descriptor).await;
            let asked = self.registry.log().requests_since(mark);
            let Answer { verdict, said: text } =
                explain(&self.assayd, &format!("{repository}@{}", digest(descriptor)), &hook).await;
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
        Answer { verdict, said }
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
    async fn ask_notation(&self) -> Answer {
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
        let verdict = Vec::from_iter(verdicts).join(" | ");
        Answer { verdict, said }
    }

    /// Changes one character of the signature in every envelope.
    fn tamper(&self) {
        let content = self.registry.content();
        let host = format!("{}/", self.registry.host());
        for (repository, descriptor) in &self.images {
            let repository = repository.strip_prefix(&host).expect("a repository of this registry");
            for signature in content.signatures(repository, text(&descriptor["digest"])) {
                assert!(content.remove(repository, &signature.digest));
                content.attach_signature(
                    repository,
                    descriptor,
                    &signature.media_type,
                    &tampered(&signature.envelope),
                );
            }
        }
    }
}

async fn judge(case: &Case, peers: &Peers, second: &SecondSigner) -> Outcome {
    let bench = Bench::prepare(case, peers, second).await;
    let assayd = bench.ask_assayd().await;
    let mut outcome = case.expected.compare(&assayd, &bench.ask_notation().await);
    let wrong = &mut outcome.wrong;
    let id = case.expected.id;

    if case.accept_unverified && assayd.verdict.starts_with("ADMIT") {
        bench.replace_policy(false).await;
        let Answer { verdict, said } = bench.ask_assayd().await;
        if !verdict.starts_with("DENY") || !said.contains("the rule does not accept") {
            wrong.push(format!("{id}: without accept_unverified: {verdict}: {said}"));
        }
        bench.replace_policy(true).await;
    }
    if assayd.verdict == "ADMIT" || assayd.verdict.starts_with("ADMIT-WARN") {
        bench.tamper();
        bench
            .assayd
            .assayctl(&["cache", "clear"])
            .await
            .expect("assayctl")
            .successful()
            .expect("a clear cache");
        for (who, Answer { verdict, said }) in [
            ("assayd", bench.ask_assayd().await),
            ("notation", bench.ask_notation().await),
        ] {
            if verdict != "DENY signature-invalid" {
                wrong.push(format!(
                    "{id}: {who} with one character of the signature changed: {verdict}: {said}"
                ));
            }
        }
    }
    outcome
}

/// Every case with both verdicts. What is admitted although a level only logs or skips is denied by a rule without
/// `accept_unverified`; what is admitted for its signature is denied with one character of that signature changed.
#[tokio::test(flavor = "multi_thread")]
async fn assayd_and_notation_come_to_the_verdicts_that_are_listed() {
    let peers = Peers::fetch().expect("the peers");
    let second = SecondSigner::new();
    let cases = Case::all();
    let outcomes = cases.iter().map(|case| judge(case, &peers, &second));
    // Most of a case is waiting for programs to start and to end.
    report(stream::iter(outcomes).buffered(4)).await;
}
