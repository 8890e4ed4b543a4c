//! Signs the cases, has cosign verify them and containerd pull them.

use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Profile};
use assay_integration::containerd::PullError;
use assay_integration::cosign::{CertifiedKey, Identity, Log, Series, Sign, Signer, Storage, Verify};
use assay_integration::registry::{Distribution, Fault, Kind, Mark, When};
use assay_integration::sigstore_services::Misbehaviour;
use assay_integration::{Assayd, Containerd, Cosign, Image, Peers, Registry, SigstoreServices};
use serde_json::json;

use crate::cases::{CASES, Case, rows};
use crate::changes::Stored;
use crate::policy::{ATTESTATION_RULES, AttestationRule, BUILDER, ELSEWHERE, KEYS, Trusted};

/// How long an authority counts that lapses. Long enough to sign under it on a busy machine.
const LAPSES_AFTER: Duration = Duration::from_secs(30);

/// A node, a registry with the referrers API and one without, everybody who signs and both cosigns.
pub(crate) struct Lab {
    peers: Peers,
    pub(crate) registry: Registry,
    pub(crate) distribution: Distribution,
    two: Cosign,
    three: Cosign,
    pub(crate) trusted: Trusted,
    pub(crate) assayd: Assayd,
    pub(crate) containerd: Containerd,
}

/// Runs the cases of one part, and fails with all that is not as the table has it.
pub(crate) async fn run(part: impl Fn(&Case) -> bool) {
    let lab = Lab::start().await;
    let mut wrong = vec![];
    println!(
        "{:<34} {:<28} {:>3} {:<8} {:>3}",
        "case", "assayd", "req", "cosign", "req"
    );
    for case in rows(CASES).map(|row| Case::parse(&row)).filter(part) {
        wrong.extend(lab.case(&case).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let peers = Peers::fetch().expect("the peers");
        let registry = Registry::start().await.expect("a registry");
        let distribution = Distribution::start(&peers).await.expect("docker-registry");
        let two = Cosign::new(&peers, Series::Two).expect("cosign 2");
        let three = Cosign::new(&peers, Series::Three).expect("cosign 3");
        let mut keys = vec![];
        for (name, kind) in KEYS {
            keys.push((name, three.generate_key(kind).await.expect(name)));
        }
        let root = Authority::root(&Profile::named("root")).expect("a root");
        let intermediate = root
            .intermediate(&Profile::named("intermediate"))
            .expect("an authority");
        let lapses_at = SystemTime::now() + LAPSES_AFTER;
        let lapsing = Profile {
            not_after: lapses_at,
            ..Profile::named("lapsing")
        };
        let lapsing = root.intermediate(&lapsing).expect("an authority");
        let identity = Identity {
            claims: vec![],
            ..Identity::workflow()
        };
        let release = CertifiedKey::issue(&three, &intermediate, &identity).await;
        let of_lapsing = CertifiedKey::issue(&three, &lapsing, &identity).await;
        let trusted = Trusted {
            keys,
            release: release.expect("a certificate"),
            lapsing: of_lapsing.expect("a certificate"),
            lapses_at,
            services: SigstoreServices::start(&peers).await.expect("services"),
            other_services: SigstoreServices::start(&peers).await.expect("services"),
        };

        let corp = three.trusted_root(&trusted.trust("release").0, None).await;
        let corp = std::fs::read(corp.expect("a trusted root")).expect("a trusted root");
        let mut daemon = Assayd::builder()
            .policy(&trusted.policy(&registry.host(), distribution.host()))
            .plain_http(&registry.host())
            .plain_http(distribution.host())
            .file("sigstore/services.json", trusted.services.trusted_root().to_string())
            .file("sigstore/other.json", trusted.other_services.trusted_root().to_string())
            .file("sigstore/corp.json", corp)
            .file("ca/root.pem", trusted.release.root_pem.as_str())
            .file("ca/intermediate.pem", intermediate.certificate_pem())
            .file("ca/lapsing.pem", lapsing.certificate_pem());
        for (name, key) in &trusted.keys {
            daemon = daemon.file(&format!("keys/{name}.pub"), key.public_pem());
        }
        let assayd = daemon.start().await.expect("assayd");
        let policy = assayd.config_directory().join("policy.toml").display().to_string();
        let checked = assayd.assayctl(&["policy", "check", &policy]).await.expect("assayctl");
        assert!(checked.success, "{}{}", checked.stdout, checked.stderr);
        let containerd = Containerd::builder(&peers).hook(&assayd).expect("the hook");
        let containerd = containerd.plain_http(&registry.host()).plain_http(distribution.host());
        let containerd = containerd.start().await;
        Self {
            containerd: containerd.expect("containerd"),
            peers,
            registry,
            distribution,
            two,
            three,
            trusted,
            assayd,
        }
    }

    pub(crate) fn cosign(&self, series: Series) -> &Cosign {
        match series {
            Series::Two => &self.two,
            Series::Three => &self.three,
        }
    }

    /// Signs, changes, verifies, pulls; and says what is not as the table has it.
    async fn case(&self, case: &Case) -> Vec<String> {
        let image = self.image(case.id, case.form);
        let how = self.how(case);
        self.sign(case, &image, how.as_ref()).await;
        let image = self.change(case, image, how.as_ref()).await;

        let mark = self.registry.log().mark();
        let verify = self.verification(case, how.as_ref());
        let reference = self.reference(case, &image);
        let said = self
            .cosign(case.series)
            .verify(&reference, &verify)
            .await
            .expect("cosign");
        let by_cosign = self.registry.log().requests_since(mark).len();

        let mark = self.registry.log().mark();
        let reference = format!("{}:v1", self.registry.repository(&case.repository()));
        let pulled = self.containerd.pull_cri(&reference).await;
        let (by_assayd, layers) = (self.requests_by_assayd(mark), self.layers(mark));
        let (verdict, event) = verdict(&pulled);
        println!(
            "{:<34} {verdict:<28} {by_assayd:>3} {:<8} {by_cosign:>3}",
            case.id,
            if said.success { "accepts" } else { "refuses" },
        );

        let mut wrong = vec![];
        if verdict != case.assayd {
            let log = self.assayd.log();
            let lines: Vec<_> = log.lines().filter(|line| line.contains(image.digest())).collect();
            let log = lines.join("\n");
            wrong.push(format!(
                "{}: expected {}: {verdict}\n{event}\n{log}",
                case.id, case.assayd
            ));
        }
        if said.success != case.cosign {
            wrong.push(format!("{}: cosign: {}{}", case.id, said.stdout, said.stderr));
        }
        if pulled.is_ok() != (layers > 0) {
            wrong.push(format!("{}: {verdict}, and {layers} requests for layers", case.id));
        }
        if pulled.is_ok() && by_assayd > most_requests(case, by_cosign) {
            wrong.push(format!("{}: {by_assayd} requests, and {by_cosign} by cosign", case.id));
        }
        wrong
    }

    fn image(&self, id: &str, form: &str) -> Image {
        match form {
            "index" | "recursive" => Image::two_platforms(&self.peers, id),
            _ => Image::tiny(id),
        }
        .expect("an image")
    }

    fn reference(&self, case: &Case, image: &Image) -> String {
        format!("{}@{}", self.registry.repository(&case.repository()), image.digest())
    }

    /// How a case is signed; none for one that nobody signs.
    fn how(&self, case: &Case) -> Option<Sign<'_>> {
        let (services, others) = (&self.trusted.services, &self.trusted.other_services);
        let sign = match case.signer {
            "-" => return None,
            "keyless" => Sign {
                log: Log::None,
                ..Sign::keyless(&Identity::ci(), services)
            },
            "workflow" => Sign {
                log: Log::None,
                ..Sign::keyless(&Identity::workflow(), services)
            },
            "release" => Sign::certified(&self.trusted.release),
            key => Sign::key(self.trusted.key(key).unwrap_or_else(|| panic!("no signer {key}"))),
        };
        let sign = case.services.split('+').fold(sign, |sign, service| match service {
            "-" => sign,
            "v1" | "v1:silent" | "v1:lying" => sign.logged(Log::RekorV1, services),
            "v2" => sign.logged(Log::RekorV2, services),
            "other-v1" => sign.logged(Log::RekorV1, others),
            "other-v2" => sign.logged(Log::RekorV2, others),
            "other-time" => sign.timestamped(others),
            "time" | "time:fraction" => sign.timestamped(services),
            other => panic!("{}: no service {other}", case.id),
        });
        Some(match case.form {
            "-" | "fallback" | "empty-api" | "index" | "two" | "both" => sign,
            "annotations" => sign.annotation("env", "prod"),
            "other-annotations" => sign.annotation("env", "test"),
            "referrers" => sign.storage(Storage::Referrers),
            "old" => sign.storage(Storage::OldFormat),
            "elsewhere" => sign.repository(&self.registry.repository(ELSEWHERE)),
            "recursive" => sign.recursive(),
            "attestation" | "signed-and-attested" => sign.attesting("slsaprovenance1", provenance()),
            "bill" => sign.attesting("spdxjson", bill_of_materials()),
            other => panic!("{}: no form {other}", case.id),
        })
    }

    async fn sign(&self, case: &Case, image: &Image, how: Option<&Sign<'_>>) {
        let repository = case.repository();
        image.store(self.registry.content(), &repository, "v1");
        let at = || When::path(format!("/{repository}/"));
        if matches!(case.form, "fallback" | "empty-api") {
            self.registry.misbehave(at(), Fault::NoReferrersApi);
        }
        let reference = self.reference(case, image);
        let sign = async |series: Series, how: &Sign<'_>| {
            let signed = self.cosign(series).sign(&reference, how).await;
            signed.unwrap_or_else(|error| panic!("{}: {error:#}\n{}", case.id, self.trusted.services.log()));
        };
        // Somebody else signs first, in the same format or in the newer one.
        let somebody = || Signer::Key(self.trusted.key("p384").expect("a key").clone());
        match (case.form, how) {
            ("two", Some(how)) => {
                let first = Sign {
                    signer: somebody(),
                    ..how.clone()
                };
                sign(case.series, &first).await;
            }
            ("both", Some(how)) => {
                let first = Sign {
                    signer: somebody(),
                    ..how.clone()
                };
                sign(Series::Three, &first).await;
                return sign(Series::Two, how).await;
            }
            ("signed-and-attested", Some(how)) => {
                let signature = Sign {
                    predicate: None,
                    ..how.clone()
                };
                sign(case.series, &signature).await;
            }
            _ => {}
        }
        for service in case.services.split('+') {
            let misbehaviour = match service {
                "v1:silent" => Misbehaviour::NoSignedEntryTimestamp,
                "v1:lying" => Misbehaviour::PreviousEntry,
                "time:fraction" => Misbehaviour::FractionalTime,
                _ => continue,
            };
            self.trusted
                .services
                .misbehave(misbehaviour)
                .await
                .expect("the services");
        }
        if let Some(how) = how {
            sign(case.series, how).await;
        }
        self.trusted.services.behave().await.expect("the services");
        if case.form == "empty-api" {
            self.registry.behave();
            self.registry.misbehave(at(), Fault::EmptyReferrers);
        }
    }

    /// Changes the signature of an image, and returns the one that is pulled.
    async fn change(&self, case: &Case, image: Image, how: Option<&Sign<'_>>) -> Image {
        if case.change == "-" {
            return image;
        }
        let (content, repository) = (self.registry.content(), case.repository());
        // Another image, signed by the same signer in the same way.
        let other = Image::tiny(&format!("{} other", case.id)).expect("an image");
        let stored = |image: &Image| Stored::of(content, &repository, image);
        let signed = async || {
            let reference = self.reference(case, &other);
            other.store(content, &repository, "other");
            let how = how.expect("a signature");
            self.cosign(case.series)
                .sign(&reference, how)
                .await
                .expect("a signature");
            stored(&other)
        };
        match case.change {
            "payload" => stored(&image).change_payload(),
            "signature" => stored(&image).change_signature(),
            "certificate" => stored(&image).take_certificate(signed().await),
            "entry" => stored(&image).take_entry(signed().await),
            "no-entry" => stored(&image).remove_entry(),
            "promise" => stored(&image).change_promise(),
            "proof" => stored(&image).change_proof(),
            "checkpoint" => stored(&image).change_checkpoint(),
            "timestamp" => stored(&image).take_timestamp(signed().await),
            "no-timestamp" => stored(&image).remove_timestamp(),
            "signature-added" => stored(&image).add_signature(),
            "entry-twice" => stored(&image).repeat_entry(),
            "timestamp-twice" => stored(&image).repeat_timestamp(),
            "copied" => {
                // The pulled image is one that nobody signed.
                other.store(content, &repository, "v1");
                stored(&image).copy_to(&other);
                return other;
            }
            change => panic!("{}: no change {change}", case.id),
        }
        image
    }

    /// How cosign is asked for the same.
    fn verification<'a>(&'a self, case: &Case, how: Option<&Sign<'a>>) -> Verify<'a> {
        let rule = ATTESTATION_RULES.iter().find(|rule| rule.name == case.authority);
        let authority = rule.map_or(case.authority, |rule| rule.authority);
        let (trust, services) = self.trusted.trust(authority);
        let nothing = Sign::key(self.trusted.key("p256").expect("a key"));
        let mut verify = Verify::of(how.unwrap_or(&nothing)).trusting(trust);
        verify.services = services;
        verify.predicate = rule.map(|rule| rule.kind.to_owned());
        verify.statement = rule.and_then(AttestationRule::statement);
        verify.annotations = vec![];
        verify.logged = services.is_some();
        match authority {
            "ci-time" => (verify.logged, verify.timestamped) = (false, true),
            "ci-log-and-time" => verify.timestamped = true,
            "annotated" => verify.annotations = vec![("env".to_owned(), "prod".to_owned())],
            "elsewhere" => verify.repository = Some(self.registry.repository(ELSEWHERE)),
            _ => verify.timestamped = false,
        }
        verify
    }

    pub(crate) fn requests_by_assayd(&self, mark: Mark) -> usize {
        let requests = self.registry.log().requests_since(mark);
        let by_assayd = |agent: Option<&str>| agent.is_some_and(|agent| agent.starts_with("assayd/"));
        requests
            .iter()
            .filter(|request| by_assayd(request.user_agent.as_deref()))
            .count()
    }

    fn layers(&self, mark: Mark) -> usize {
        let requests = self.registry.log().requests_since(mark);
        let layers = requests
            .iter()
            .filter(|request| request.kind == Kind::Layer && request.method == "GET");
        layers.count()
    }
}

/// How many requests an admit may take, where cosign takes so many. Each repository is asked at once for referrers by the
/// API and by their tag and for cosign's tags; a signature takes one more under a tag, two among the referrers. An index is asked
/// for beside them: a deny-list may name any of its children.
fn most_requests(case: &Case, by_cosign: usize) -> usize {
    match (case.series, case.form) {
        // It asks for what it knows of: of an empty listing no more than the listing.
        (Series::Three, "empty-api") => by_cosign + 2,
        // cosign is asked for the attestation alone.
        (Series::Two, "signed-and-attested") => by_cosign + 3,
        (Series::Three, "old") => by_cosign,
        (Series::Three, _) => by_cosign - 1,
        (Series::Two, "index" | "recursive") => by_cosign + 2,
        (Series::Two, _) => by_cosign + 1,
    }
}

/// `ADMIT`, or `DENY` with the code; and the event's text.
pub(crate) fn verdict(pulled: &Result<(), PullError>) -> (String, String) {
    let Err(refusal) = pulled else {
        return ("ADMIT".to_owned(), String::new());
    };
    let event = refusal.to_string();
    let code = event.split("DENY ").nth(1).and_then(|rest| rest.split(':').next());
    (
        code.map_or("no verdict".to_owned(), |code| format!("DENY {code}")),
        event,
    )
}

/// The least that `cosign attest --type slsaprovenance1` takes.
fn provenance() -> serde_json::Value {
    json!({
        "buildDefinition": {
            "buildType": "https://build.example.test",
            "externalParameters": {},
            "internalParameters": {},
            "resolvedDependencies": [],
        },
        "runDetails": { "builder": { "id": BUILDER }, "metadata": {} },
    })
}

/// The least that `cosign attest --type spdxjson` takes.
fn bill_of_materials() -> serde_json::Value {
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "app",
        "documentNamespace": "https://bill.example.test/1",
        "creationInfo": { "creators": ["Tool: example"], "created": "2026-01-01T00:00:00Z" },
        "packages": [],
    })
}
