//! Evidence that is exported on one node and imported on another that reaches neither registry nor revocation endpoints.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use assay_integration::registry::{Fault, Kind, When};
use assay_verify::Timestamp;
use assay_verify::code::Code;
use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Lab, Node, Ran, assert_admitted, assert_denied, code};

pub(crate) const BY_BOTH: &str = "require = { all = [\"corp\", \"release\"] }";
pub(crate) const BY_CORP: &str = "require = { all = [\"corp\"] }";
pub(crate) const BY_RELEASE: &str = "require = { all = [\"release\"] }";
const BY_PLATFORMS: &str = "require = { all = [\"corp\"] }\naccept_platform_signatures = true";
const SCANNED: &str = "require_attestations = [{ type = \"vuln\", authority = \"release\", max_severity = \"high\", max_age = \"168h\" }]";

/// A bundle, and the folder that it is in.
pub(crate) struct Bundle {
    folder: TempDir,
}

impl Bundle {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("bundle.tar")
    }

    /// Exports images from a node that answers.
    pub(crate) async fn export(&self, node: &Node, more: &[&str]) -> Ran {
        let path = self.path();
        let arguments = ["bundle", "export", "--output", "json", "-o", path.to_str().unwrap()];
        node.assayctl(&[&arguments, more].concat()).await
    }
}

pub(crate) async fn import(node: &Node, file: &Path, more: &[&str]) -> Ran {
    let arguments = ["bundle", "import", "--output", "json", file.to_str().unwrap()];
    node.assayctl(&[&arguments, more].concat()).await
}

/// A node that answers assayctl.
pub(crate) async fn served(lab: &Lab, rule: &str) -> Node {
    let node = lab.node(rule).await;
    node.serve();
    node
}

/// Takes registry and endpoints away.
pub(crate) async fn go_dark(lab: &mut Lab) {
    lab.registry.stop().await;
    lab.endpoints.serve(None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_is_judged_from_then_on_without_a_network() {
    let mut lab = Lab::new().await;
    let image = lab.image("app");
    let index = lab.index(&[lab.image("own"), lab.image("other")]);
    for signed in [&image, &index] {
        lab.sign_by_corp(signed);
        lab.sign_by_release(signed);
    }
    let (tagged, bundle) = (lab.tag(&image, "v1"), Bundle::new());
    let exporter = served(&lab, BY_BOTH).await;
    let exported = bundle.export(&exporter, &[&tagged, &lab.reference(&index)]).await;
    let exported = exported.ended_with(0).json();
    for row in exported["images"].as_array().unwrap() {
        assert_eq!(
            (&row["verdict"], &row["signatures"], &row["answers"]),
            (&"admit".into(), &2.into(), &1.into()),
            "{row}"
        );
    }

    let node = served(&lab, BY_BOTH).await;
    go_dark(&mut lab).await;
    let questions = [&image, &index].map(|image| lab.question(image));
    for question in &questions {
        assert_denied(&node.judge(question).await, Code::RegistryUnavailable);
    }
    let (requests, asked) = (node.requests(), lab.endpoints.asked());
    let imported = import(&node, &bundle.path(), &[]).await.ended_with(0).json();
    assert_eq!(imported["images"].as_array().unwrap().len(), 2);
    for row in imported["images"].as_array().unwrap() {
        assert_eq!(
            (&row["verdict"], &row["kept"]),
            (&"admit".into(), &true.into()),
            "{row}"
        );
    }
    for question in &questions {
        // As a pull asks.
        let decision = node.admission.decide(question).await;
        assert_admitted(&decision.verdict);
    }
    assert_eq!((node.requests(), lab.endpoints.asked()), (requests, asked));
    assert_eq!(node.admission.evidence().stats().imported, 2);

    let node = node.restart(&lab, BY_BOTH).await;
    for question in &questions {
        assert_admitted(&node.judge(question).await);
    }
    assert_eq!((node.requests(), lab.endpoints.asked()), (0, asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_a_layout_that_verify_offline_reads_as_it_is() {
    let mut lab = Lab::new().await;
    let (image, other) = (lab.image("app"), lab.image("other"));
    for signed in [&image, &other] {
        lab.sign_by_corp(signed);
        lab.sign_by_release(signed);
    }
    let (tagged, bundle) = (lab.tag(&image, "v1"), Bundle::new());
    let node = served(&lab, BY_BOTH).await;
    bundle
        .export(&node, &[&tagged, &lab.reference(&other)])
        .await
        .ended_with(0);
    go_dark(&mut lab).await;
    let (file, policy) = (bundle.path(), node.policy());
    let (file, policy) = (file.to_str().unwrap(), policy.to_str().unwrap());
    for reference in [tagged, lab.reference(&image), lab.reference(&other)] {
        let verified = node
            .assayctl(&["verify", "--offline", file, "--policy", policy, &reference])
            .await;
        assert!(verified.ended_with(0).stdout.starts_with("ADMIT"), "{reference}");
    }
    let tree = node
        .assayctl(&[
            "tree",
            "--output",
            "json",
            "--offline",
            file,
            "--policy",
            policy,
            &lab.reference(&image),
        ])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (tree["entries"].as_array().unwrap().len(), &tree["incomplete"]),
        (2, &"".into())
    );
    // The same content makes the same file.
    let first = fs::read(bundle.path()).unwrap();
    lab.registry.restart().await.unwrap();
    lab.endpoints.serve(None);
    bundle
        .export(&node, &[&lab.tag(&image, "v1"), &lab.reference(&other)])
        .await
        .ended_with(0);
    assert_eq!(fs::read(bundle.path()).unwrap().len(), first.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_in_another_repository_come_along() {
    let mut lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_elsewhere(&image);
    let (rule, bundle) = ("require = { all = [\"elsewhere\"] }", Bundle::new());
    let exporter = served(&lab, rule).await;
    bundle.export(&exporter, &[&lab.reference(&image)]).await.ended_with(0);
    let node = served(&lab, rule).await;
    go_dark(&mut lab).await;
    import(&node, &bundle.path(), &[]).await.ended_with(0);
    assert_admitted(&node.judge(&lab.question(&image)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_by_the_signatures_of_its_children_comes_along_with_them() {
    let mut lab = Lab::new().await;
    let (own, other) = (lab.image("own"), lab.image("other"));
    lab.sign_by_corp(&own);
    lab.sign_by_corp(&other);
    let (index, bundle) = (lab.index(&[own, other]), Bundle::new());
    let exporter = served(&lab, BY_PLATFORMS).await;
    let exported = bundle
        .export(&exporter, &[&lab.reference(&index)])
        .await
        .ended_with(0)
        .json();
    assert_eq!(exported["images"][0]["signatures"], 2, "those for other platforms too");
    let node = served(&lab, BY_PLATFORMS).await;
    go_dark(&mut lab).await;
    import(&node, &bundle.path(), &[]).await.ended_with(0);
    let question = lab.question(&index);
    assert_admitted(&node.judge(&question).await);
    assert_admitted(&node.judge_stored(&question).await);
    // The index, and the child that this node runs.
    assert_eq!(node.admission.evidence().stats().imported, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_the_policy_does_not_admit_is_reported_and_nothing_of_it_is_kept() {
    let mut lab = Lab::new().await;
    let [good, unsigned, strange] = ["good", "unsigned", "strange"].map(|text| lab.image(text));
    lab.sign_by_release(&good);
    lab.sign_by_a_stranger(&strange);
    let (exporter, bundle) = (served(&lab, BY_RELEASE).await, Bundle::new());
    let references = [&good, &unsigned, &strange].map(|image| lab.reference(image));
    bundle
        .export(&exporter, &references.each_ref().map(String::as_str))
        .await
        .ended_with(0);
    let node = served(&lab, BY_RELEASE).await;
    go_dark(&mut lab).await;
    let imported = import(&node, &bundle.path(), &[]).await.ended_with(1).json();
    let rows = imported["images"].as_array().unwrap();
    let outcomes: Vec<_> = rows
        .iter()
        .map(|row| (row["code"].as_str().unwrap(), &row["kept"]))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("", &true.into()),
            ("unsigned", &false.into()),
            ("untrusted-signer", &false.into())
        ]
    );
    for (image, kept) in [(&good, true), (&unsigned, false), (&strange, false)] {
        assert_eq!(node.has_evidence(&lab.question(image)).await, kept);
    }
    // For people, too.
    let file = bundle.path();
    let said = node
        .assayctl(&["bundle", "import", file.to_str().unwrap(), &references[2]])
        .await;
    assert!(said.ended_with(1).stdout.starts_with("DENY untrusted-signer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_made_under_another_policy_is_judged_by_the_node_s_own() {
    let mut lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_corp(&image);
    lab.sign_by_release(&image);
    // Where `corp` is nobody, nobody asks whether it was revoked.
    let (exporter, bundle) = (served(&lab, BY_RELEASE).await, Bundle::new());
    let exported = bundle
        .export(&exporter, &[&lab.reference(&image)])
        .await
        .ended_with(0)
        .json();
    assert_eq!(exported["images"][0]["answers"], 0);
    let [corp, release] = [served(&lab, BY_CORP).await, served(&lab, BY_RELEASE).await];
    // What is denied there may be admitted here.
    let (denying, denied) = (served(&lab, "deny = \"not there\"").await, Bundle::new());
    let exported = denied
        .export(&denying, &[&lab.reference(&image)])
        .await
        .ended_with(0)
        .json();
    assert_eq!(exported["images"][0]["code"], "denied-by-rule");

    go_dark(&mut lab).await;
    let imported = import(&corp, &bundle.path(), &[]).await.ended_with(3).json();
    assert_eq!(imported["images"][0]["code"], "revocation-unknown");
    assert!(!corp.has_any_evidence().await);
    import(&release, &denied.path(), &[]).await.ended_with(0);
    assert_admitted(&release.judge(&lab.question(&image)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_lapsed_on_the_way_is_none_and_one_that_revokes_counts() {
    let mut lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_corp(&image);
    let soon = SystemTime::now() + Duration::from_secs(2);
    lab.endpoints.serve(Some(lab.crl_until(false, soon)));
    let (exporter, old) = (served(&lab, BY_CORP).await, Bundle::new());
    old.export(&exporter, &[&lab.reference(&image)]).await.ended_with(0);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    lab.endpoints.serve(Some(lab.crl(true)));
    let (exporter, revoking) = (served(&lab, BY_CORP).await, Bundle::new());
    let exported = revoking
        .export(&exporter, &[&lab.reference(&image)])
        .await
        .ended_with(0)
        .json();
    let row = &exported["images"][0];
    assert_eq!(
        (&row["code"], &row["answers"]),
        (&"certificate-revoked".into(), &1.into())
    );

    let node = served(&lab, BY_CORP).await;
    go_dark(&mut lab).await;
    let imported = import(&node, &old.path(), &[]).await.ended_with(3).json();
    let reason = imported["images"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("what was brought has lapsed at"), "{reason}");
    let imported = import(&node, &revoking.path(), &[]).await.ended_with(1).json();
    assert_eq!(imported["images"][0]["code"], "certificate-revoked");
    assert!(!node.has_any_evidence().await);
    // What was proved is kept, whatever came of it: no older word takes its place.
    import(&node, &old.path(), &[]).await.ended_with(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_again_brings_newer_answers_for_what_is_stored() {
    let mut lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_corp(&image);
    let (exporter, bundle) = (served(&lab, BY_CORP).await, Bundle::new());
    bundle.export(&exporter, &[&lab.reference(&image)]).await.ended_with(0);
    lab.endpoints.serve(Some(lab.crl(true)));
    let (exporter, revoking) = (served(&lab, BY_CORP).await, Bundle::new());
    revoking
        .export(&exporter, &[&lab.reference(&image)])
        .await
        .ended_with(0);
    let node = served(&lab, BY_CORP).await;
    go_dark(&mut lab).await;
    import(&node, &bundle.path(), &[]).await.ended_with(0);
    let question = lab.question(&image);
    assert_admitted(&node.judge(&question).await);
    // The answer that is kept has not lapsed, and is not all that counts.
    let imported = import(&node, &revoking.path(), &[]).await.ended_with(1).json();
    assert_eq!(imported["images"][0]["code"], "certificate-revoked");
    assert_denied(&node.judge_stored(&question).await, Code::CertificateRevoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_newest_decides_an_older_bundle_brings_nothing_back() {
    let mut lab = Lab::new().await;
    let image = lab.image("app");
    let hours_ago = |hours| Timestamp::now() - jiff::SignedDuration::from_hours(hours);
    lab.scan(&image, hours_ago(20), "LOW");
    let (exporter, older) = (served(&lab, SCANNED).await, Bundle::new());
    older.export(&exporter, &[&lab.reference(&image)]).await.ended_with(0);
    lab.scan(&image, hours_ago(10), "CRITICAL");
    let newer = Bundle::new();
    let exported = newer
        .export(&exporter, &[&lab.reference(&image)])
        .await
        .ended_with(0)
        .json();
    assert_eq!(exported["images"][0]["code"], "attestation-refused");

    let node = served(&lab, SCANNED).await;
    go_dark(&mut lab).await;
    let question = lab.question(&image);
    import(&node, &older.path(), &[]).await.ended_with(0);
    let verdict = node.judge(&question).await;
    assert_admitted(&verdict);
    assert!(
        verdict.finding().contains("not confirmed to be the newest"),
        "{}",
        verdict.finding()
    );
    // What is newer denies, and what it denies is not kept.
    let imported = import(&node, &newer.path(), &[]).await.ended_with(1).json();
    assert_eq!(imported["images"][0]["code"], "attestation-refused");
    assert!(!node.has_evidence(&question).await);
    assert_denied(&node.judge(&question).await, Code::RegistryUnavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_without_an_image_s_evidence_takes_nothing_away() {
    let mut lab = Lab::new().await;
    let image = lab.image("app");
    let (exporter, empty) = (served(&lab, SCANNED).await, Bundle::new());
    empty.export(&exporter, &[&lab.reference(&image)]).await.ended_with(0);
    lab.scan(&image, Timestamp::now() - jiff::SignedDuration::from_hours(1), "LOW");
    let full = Bundle::new();
    full.export(&exporter, &[&lab.reference(&image)]).await.ended_with(0);
    let node = served(&lab, SCANNED).await;
    go_dark(&mut lab).await;
    import(&node, &full.path(), &[]).await.ended_with(0);
    import(&node, &empty.path(), &[]).await.ended_with(0);
    assert_admitted(&node.judge(&lab.question(&image)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_gathered_whole_is_not_exported() {
    let lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_release(&image);
    let (node, bundle) = (served(&lab, BY_RELEASE).await, Bundle::new());
    lab.registry
        .misbehave(When::path(".att"), Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    let exported = bundle
        .export(&node, &[&lab.reference(&image)])
        .await
        .ended_with(3)
        .json();
    assert_eq!(exported["file"], Value::Null);
    assert!(!exported["images"][0]["incomplete"].as_str().unwrap().is_empty());
    // The image itself is away: there is nothing to say of it.
    lab.registry.behave();
    lab.registry.misbehave(
        When::kind(Kind::Manifest),
        Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
    );
    let refused = bundle.export(&node, &[&lab.reference(&image)]).await.ended_with(3);
    assert!(refused.stderr.contains(&lab.reference(&image)), "{refused:?}");
    assert_eq!(
        fs::read_dir(bundle.folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_repository_comes_along_and_goes_where_the_node_reads_it() {
    let lab = Lab::new().await;
    let node = served(&lab, BY_RELEASE).await;
    let repository = TempDir::new().unwrap();
    let put = |name: &str, text: &str| {
        let path = repository.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("timestamp.json", r#"{"signed":{"version":7}}"#);
    put("1.root.json", "{}");
    put("targets/channels/stable/ab.policy.toml", "version = 1");
    put("targets/revocation/cd.deny.json", "{}");
    let (bundle, target) = (Bundle::new(), TempDir::new().unwrap());
    let place = target.path().join("repository");
    let (folder, place_text) = (repository.path().to_str().unwrap(), place.to_str().unwrap());
    let exported = bundle.export(&node, &["--with-policy-repository", folder]).await;
    assert_eq!(exported.ended_with(0).json()["policy_repository_files"], 4);

    let imported = import(&node, &bundle.path(), &["--policy-repository-to", place_text]).await;
    assert_eq!(imported.ended_with(0).json()["policy_repository"]["files"], 4);
    for name in [
        "timestamp.json",
        "1.root.json",
        "targets/channels/stable/ab.policy.toml",
        "targets/revocation/cd.deny.json",
    ] {
        assert_eq!(
            fs::read(place.join(name)).unwrap(),
            fs::read(repository.path().join(name)).unwrap(),
            "{name}"
        );
    }
    // Without the folder it stays where it is, and going back is refused.
    import(&node, &bundle.path(), &[]).await.ended_with(0);
    fs::write(place.join("timestamp.json"), r#"{"signed":{"version":8}}"#).unwrap();
    let refused = import(&node, &bundle.path(), &["--policy-repository-to", place_text])
        .await
        .ended_with(2);
    assert!(refused.stderr.contains("its version is 7"), "{refused:?}");
    // What is no repository is not taken along, and no link is followed.
    std::os::unix::fs::symlink("/etc/passwd", repository.path().join("link")).unwrap();
    bundle
        .export(&node, &["--with-policy-repository", folder])
        .await
        .ended_with(2);
    fs::remove_file(repository.path().join("link")).unwrap();
    fs::remove_file(repository.path().join("timestamp.json")).unwrap();
    bundle
        .export(&node, &["--with-policy-repository", folder])
        .await
        .ended_with(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_it_denies_or_admits_a_rule_that_needs_no_evidence_keeps_none() {
    let mut lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_release(&image);
    let (exporter, bundle) = (served(&lab, BY_RELEASE).await, Bundle::new());
    bundle.export(&exporter, &[&lab.reference(&image)]).await.ended_with(0);
    go_dark(&mut lab).await;
    let listed = format!("admit_digests = [\"{}\"]", image["digest"].as_str().unwrap());
    for (rule, ended, expected) in [("deny = \"no\"", 1, Some(Code::DeniedByRule)), (&listed, 0, None)] {
        let node = served(&lab, rule).await;
        import(&node, &bundle.path(), &[]).await.ended_with(ended);
        assert_eq!(code(&node.judge(&lab.question(&image)).await), expected);
        assert!(!node.has_any_evidence().await);
    }
}
