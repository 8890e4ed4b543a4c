//! assayctl's verdicts: through the daemon, and offline from OCI image layouts; exit codes and machine output.

use std::fs;
use std::path::{Path, PathBuf};

use assay_integration::notation::{Format, Sign};
use assay_integration::{Assayd, Finished};
use serde_json::{Value, json};

use crate::lab::{Lab, PRODUCTION, RELEASE, vectors};

/// A folder with a policy for the Notary Project's own test images, and assayctl without a daemon.
struct Offline {
    assayd: Assayd,
    layouts: PathBuf,
}

impl Offline {
    fn new() -> Self {
        let data = vectors().join("notation/notation");
        let certificate = |name: &str| fs::read(data.join("config/localkeys").join(name)).expect(name);
        let policy = r#"version = 1
unmatched = "deny"

[authority.e2e]
type               = "notation"
trust_stores       = ["ca:e2e"]
trusted_identities = ["x509.subject: C=US, ST=WA, O=Notary, CN=e2e"]
level              = "strict"

[authority.expired]
type               = "notation"
trust_stores       = ["ca:expired"]
trusted_identities = ["*"]
level              = "strict"

[[rule]]
name    = "expired-certificate"
images  = ["registry.example/expired"]
require = { all = ["expired"] }

[[rule]]
name    = "e2e"
images  = ["registry.example/e2e"]
require = { all = ["e2e"] }
"#;
        let assayd = Assayd::builder()
            .policy(policy)
            .file("notation/truststore/x509/ca/e2e/e2e.crt", certificate("e2e.crt"))
            .file(
                "notation/truststore/x509/ca/expired/expired.crt",
                certificate("expired_e2e.crt"),
            )
            .prepare();
        Self {
            assayd: assayd.expect("a configuration"),
            layouts: data.join("registry/oci_layout"),
        }
    }

    async fn run(&self, command: &str, reference: &str, layout: &Path, more: &[&str]) -> Finished {
        let policy = self.assayd.config_directory().join("policy.toml");
        let mut arguments = vec![command, reference, "--offline", layout.to_str().expect("UTF-8")];
        arguments.extend(["--policy", policy.to_str().expect("UTF-8")]);
        arguments.extend(more);
        self.assayd.assayctl(&arguments).await.expect("assayctl runs")
    }
}

/// A tar of the folder, as `docker save` and `skopeo copy oci-archive:` write one.
fn tar_of(folder: &Path) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", folder).expect("an archive");
    archive.into_inner().expect("an archive")
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_the_notary_projects_own_layouts_offline_at_a_given_time() {
    const E2E: &str = "registry.example/e2e:v1";
    const DIGEST: &str = "registry.example/e2e@sha256:b8479de3f88fb259a0a9ea82a5b2a052a1ef3c4ebbcfc61482d5ae4c831f8af9";
    const EXPIRED: &str = "registry.example/expired:v1";
    let offline = Offline::new();
    let cases: &[(&str, &str, &[&str], Option<&str>)] = &[
        ("e2e-valid-signature", E2E, &[], None),
        ("e2e-valid-signature", DIGEST, &[], None),
        ("e2e-valid-multiple-signatures", E2E, &[], None),
        ("e2e", E2E, &[], Some("unsigned")),
        ("e2e-invalid-signature", E2E, &[], Some("signature-invalid")),
        ("e2e-expired-signature", E2E, &[], Some("signature-expired")),
        ("e2e-expired-signature", E2E, &["--at", "2023-06-26T12:00:00Z"], None),
        (
            "e2e-expired-signature",
            E2E,
            &["--at", "2023-07-01T12:00:00Z"],
            Some("signature-expired"),
        ),
        (
            "e2e-valid-signature",
            E2E,
            &["--at", "2022-01-01T00:00:00Z"],
            Some("certificate-expired"),
        ),
        ("e2e-with-expired-cert", EXPIRED, &[], Some("certificate-expired")),
        (
            "e2e-valid-signature",
            "registry.example/other:v1",
            &[],
            Some("no-matching-rule"),
        ),
        ("e2e-valid-signature", EXPIRED, &[], Some("untrusted-signer")),
    ];
    for (layout, reference, more, code) in cases {
        let folder = offline.layouts.join(layout);
        let archive = tar_of(&folder);
        for place in [&folder, archive.path()] {
            let case = format!("{layout} {reference} {more:?}");
            let human = offline.run("verify", reference, place, more).await;
            let (exit, start) = code.map_or((0, "ADMIT: ".to_owned()), |code| (1, format!("DENY {code}: ")));
            assert_eq!(human.code, Some(exit), "{case}: {human:?}");
            assert!(human.stdout.starts_with(&start), "{case}: {human:?}");

            let machine = offline
                .run("explain", reference, place, &[more, &["--output", "json"][..]].concat())
                .await;
            assert_eq!(machine.code, Some(exit), "{case}: {machine:?}");
            let machine: Value =
                serde_json::from_str(&machine.stdout).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(machine["code"], code.unwrap_or_default(), "{case}: {machine}");
            assert_eq!(
                machine["verdict"],
                if code.is_some() { "deny" } else { "admit" },
                "{case}"
            );
            assert_eq!(
                machine["advice"].as_array().unwrap().is_empty(),
                code.is_none(),
                "{case}: {machine}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_ends_with_2_and_an_absent_daemon_with_3() {
    let offline = Offline::new();
    let valid = offline.layouts.join("e2e-valid-signature");
    let nowhere = Path::new("/nonexistent/layout");
    let reference = "registry.example/e2e:v1";
    for (reference, layout, more) in [
        ("Not A Reference", &*valid, &[][..]),
        ("registry.example/e2e:v2", &valid, &[]),
        (reference, nowhere, &[]),
        (reference, Path::new("/etc/os-release"), &[]),
        (reference, &valid, &["--at", "yesterday"]),
        (reference, &valid, &["--no-such-option"]),
    ] {
        let finished = offline.run("verify", reference, layout, more).await;
        assert_eq!(finished.code, Some(2), "{reference} {layout:?} {more:?}: {finished:?}");
        assert!(
            finished.stdout.is_empty() && !finished.stderr.is_empty(),
            "{finished:?}"
        );
    }
    offline.assayd.write_policy("version = 2\n").unwrap();
    let finished = offline.run("verify", reference, &valid, &[]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("policy.toml:1:"), "{finished:?}");

    for command in [
        &["verify", reference][..],
        &["explain", reference],
        &["status"],
        &["reload"],
        &["cache", "stats"],
    ] {
        let finished = offline.assayd.assayctl(command).await.unwrap();
        assert_eq!(finished.code, Some(3), "{command:?}: {finished:?}");
        assert!(finished.stderr.contains("is it running"), "{finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explains_through_the_daemon_what_was_found_and_what_would_make_it_pass() {
    let mut lab = Lab::start(PRODUCTION).await;
    let image = lab
        .push_signed("prod/good", &Sign::with("release").format(Format::Cose))
        .await;
    lab.push_signed("prod/colleague", &Sign::with("colleague")).await;
    lab.push("prod/unsigned");
    let explain = async |lab: &Lab, repository: &str| {
        let reference = lab.reference(repository);
        let human = lab.assayd.assayctl(&["explain", &reference]).await.unwrap();
        let machine = lab
            .assayd
            .assayctl(&["explain", &reference, "--output", "json"])
            .await
            .unwrap();
        assert_eq!(human.code, machine.code);
        (
            human,
            serde_json::from_str::<Value>(&machine.stdout).unwrap_or_default(),
        )
    };

    let (human, machine) = explain(&lab, "prod/good").await;
    assert_eq!(human.code, Some(0), "{human:?}");
    for part in [
        "ADMIT: ",
        image.digest(),
        "rule       production",
        "corp satisfied",
        "verified",
        "integrity",
    ] {
        assert!(human.stdout.contains(part), "{part} is missing:\n{}", human.stdout);
    }
    assert_eq!(
        (&machine["verdict"], &machine["digest"]),
        (&json!("admit"), &json!(image.digest()))
    );
    assert_eq!(machine["authorities"][0]["signatures"][0]["verified"], true);
    let steps = machine["authorities"][0]["signatures"][0]["steps"]
        .as_array()
        .unwrap()
        .clone();
    assert!(steps.iter().all(|step| step["outcome"] == "passed"), "{steps:?}");

    let (human, machine) = explain(&lab, "prod/colleague").await;
    assert_eq!(human.code, Some(1), "{human:?}");
    assert!(
        human.stdout.contains("CN=colleague") && human.stdout.contains("to mend"),
        "{}",
        human.stdout
    );
    assert_eq!(machine["code"], "identity-mismatch");
    let steps = machine["authorities"][0]["signatures"][0]["steps"].as_array().unwrap();
    let failed: Vec<_> = steps.iter().filter(|step| step["outcome"] == "failed").collect();
    assert!(
        matches!(failed.as_slice(), [step] if step["step"] == "identity"),
        "{steps:?}"
    );

    let (human, machine) = explain(&lab, "prod/unsigned").await;
    assert_eq!((human.code, machine["code"].as_str()), (Some(1), Some("unsigned")));
    let (human, machine) = explain(&lab, "elsewhere/app").await;
    assert_eq!(human.code, Some(3), "it is not there to be judged: {human:?}");
    assert_eq!(machine, Value::Null);

    let shown = lab.assayd.assayctl(&["policy", "show"]).await.unwrap();
    assert!(
        shown.code == Some(0) && shown.stdout.contains(RELEASE),
        "{}",
        shown.stdout
    );
    for command in [
        &["status"][..],
        &["policy", "show"],
        &["cache", "stats"],
        &["cache", "clear"],
        &["reload"],
    ] {
        let finished = lab
            .assayd
            .assayctl(&[command, &["--output", "json"][..]].concat())
            .await
            .unwrap();
        assert_eq!(finished.code, Some(0), "{command:?}: {finished:?}");
        serde_json::from_str::<Value>(&finished.stdout).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }

    // The registry is away: nothing is decided.
    lab.registry.stop().await;
    for command in ["verify", "explain"] {
        let reference = format!("{}@{}", lab.registry.repository("prod/unsigned"), image.digest());
        let finished = lab.assayd.assayctl(&[command, &reference]).await.unwrap();
        assert_eq!(finished.code, Some(3), "{finished:?}");
        let said = finished.stdout + &finished.stderr;
        assert!(said.contains("registry-unavailable"), "{said}");
    }
}
