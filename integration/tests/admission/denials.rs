//! Each reason to deny, through containerd: the code, the reason, and not one request for a layer.

use std::time::{Duration, SystemTime};

use assay_integration::Image;
use assay_integration::certificates::Profile;
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::notation::{Format, Sign};
use assay_integration::registry::Kind;
use serde_json::{Value, json};

use crate::lab::{Lab, PRODUCTION, layers_since, with_one_byte_changed};

#[tokio::test(flavor = "multi_thread")]
async fn denies_signatures_that_do_not_count() {
    let lab = Lab::start(PRODUCTION).await;
    let notation = &lab.signers.notation;
    // Long enough to sign on a busy machine.
    let short = Profile {
        not_after: SystemTime::now() + Duration::from_secs(8),
        ..Profile::named("release")
    };
    let expires = short.not_after;
    let revocable = |crl: Option<&str>, ocsp: Option<&str>| Profile {
        crl: crl.map(str::to_owned).into_iter().collect(),
        ocsp: ocsp.map(str::to_owned).into_iter().collect(),
        ..Profile::named("release")
    };
    for (name, profile) in [
        ("short", short),
        ("crl", revocable(Some("http://127.0.0.1:1/crl"), None)),
        ("ocsp", revocable(None, Some("http://127.0.0.1:1/ocsp"))),
    ] {
        notation
            .add_key(name, &lab.signers.root.issue(&profile).unwrap())
            .unwrap();
    }
    let cases = [
        ("prod/stranger", Sign::with("stranger"), "untrusted-signer"),
        ("prod/colleague", Sign::with("colleague"), "identity-mismatch"),
        (
            "prod/expired",
            Sign::with("release").expiry(Duration::from_secs(1)),
            "signature-expired",
        ),
        ("prod/expired-certificate", Sign::with("short"), "certificate-expired"),
        ("prod/crl", Sign::with("crl"), "revocation-unknown"),
        ("prod/ocsp", Sign::with("ocsp"), "revocation-unknown"),
    ];
    for (repository, how, _) in &cases {
        lab.push_signed(repository, &how.clone().format(Format::Cose)).await;
    }
    lab.push("prod/unsigned");

    let image = lab.push("prod/tampered");
    let signature = lab.signature(&image, &Sign::with("release")).await;
    let changed = with_one_byte_changed(Format::Jws, &signature.envelope);
    lab.attach("prod/tampered", &image, &signature.media_type, &changed);
    // The good signature of one image, on the image with one byte of a layer changed.
    let twin = image.with_one_byte_changed().unwrap();
    twin.store(lab.registry.content(), "prod/replayed", "v1");
    lab.attach("prod/replayed", &twin, &signature.media_type, &signature.envelope);

    // Validity is in whole seconds.
    tokio::time::sleep(expires.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_secs(1)).await;
    let more = [
        ("prod/unsigned", "unsigned"),
        ("prod/tampered", "signature-invalid"),
        ("prod/replayed", "subject-mismatch"),
    ];
    for (repository, code) in cases
        .map(|(repository, _, code)| (repository, code))
        .into_iter()
        .chain(more)
    {
        lab.denied(repository, code).await;
        // What was not asked is not decided: docs/codes.md says which codes are.
        let exit_code = if code == "revocation-unknown" { 3 } else { 1 };
        let explained = lab
            .assayd
            .assayctl(&["explain", &lab.reference(repository)])
            .await
            .unwrap();
        assert_eq!(explained.code, Some(exit_code), "{explained:?}");
        assert!(
            explained.stdout.starts_with(&format!("DENY {code}: ")),
            "{}",
            explained.stdout
        );
        assert!(explained.stdout.contains("\n  to mend    "), "{}", explained.stdout);
    }
    assert!(lab.registry.log().layer_requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn denies_what_a_signature_asks_for_and_assayd_does_not_understand() {
    let lab = Lab::start(PRODUCTION).await;
    let identity = lab.signers.root.issue(&Profile::named("release")).unwrap();
    let signer = EnvelopeSigner::new(&identity).unwrap();
    let now = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap().to_string();
    let header = |name: &str, value: Value, critical: bool| {
        let mut header = json!({
            "alg": "ES256",
            "crit": ["io.cncf.notary.signingScheme"],
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": now,
        });
        header[name] = value;
        if critical {
            header["crit"].as_array_mut().unwrap().push(name.into());
        }
        header
    };
    let plugin = "io.cncf.notary.verificationPlugin";
    for (repository, header, code) in [
        (
            "prod/plugin",
            header(plugin, json!("example"), true),
            Some("plugin-unavailable"),
        ),
        (
            "prod/critical",
            header("example.key", json!(1), true),
            Some("signature-unsupported"),
        ),
        ("prod/plain", header("alg", json!("ES256"), false), None),
    ] {
        let image = lab.push(repository);
        let payload = json!({ "targetArtifact": image.descriptor() });
        let envelope = signer.sign_claims(&header, &payload).unwrap();
        lab.attach(repository, &image, JWS, &envelope);
        match code {
            Some(code) => drop(lab.denied(repository, code).await),
            None => lab.admitted(repository).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denies_what_the_policy_denies_and_admits_what_it_lists_without_asking_for_signatures() {
    let listed = Image::tiny("listed").unwrap();
    let rules = format!(
        r#"
[[rule]]
name   = "withdrawn"
images = ["HOST/withdrawn/**"]
deny   = "withdrawn after incident 4711"

[[rule]]
name          = "pinned"
images        = ["HOST/pinned/**"]
admit_digests = ["{}"]
"#,
        listed.digest()
    );
    let lab = Lab::start(&rules).await;
    listed.store(lab.registry.content(), "pinned/app", "v1");
    lab.push_signed("pinned/other", &Sign::with("release")).await;
    lab.push_signed("withdrawn/app", &Sign::with("release")).await;
    lab.push_signed("elsewhere/app", &Sign::with("release")).await;

    let mark = lab.registry.log().mark();
    let event = lab.denied("withdrawn/app", "denied-by-rule").await;
    assert!(
        event.contains("withdrawn after incident 4711") && event.contains("rule \"withdrawn\""),
        "{event}"
    );
    let event = lab.denied("pinned/other", "denied-by-rule").await;
    assert!(event.contains("rule \"pinned\""), "{event}");
    lab.denied("elsewhere/app", "no-matching-rule").await;
    assert!(layers_since(lab.registry.log(), mark).is_empty());
    lab.admitted("pinned/app").await;

    assert_eq!(lab.requests_by_assayd(mark).len(), 0, "no rule asked for evidence");
    let requests = lab.registry.log().requests_since(mark);
    assert!(requests.iter().all(|request| request.kind != Kind::Referrers));
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_mode_admits_and_says_what_it_would_have_denied() {
    let audited = PRODUCTION.to_owned() + "mode = \"audit\"\n";
    let lab = Lab::start(&audited).await;
    let image = lab.push("prod/unsigned");
    lab.admitted("prod/unsigned").await;

    let log = lab.assayd.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(image.digest())).collect();
    let [line] = lines.as_slice() else {
        panic!("one decision, {} lines:\n{log}", lines.len())
    };
    assert!(
        line.starts_with("warning: audit ") && line.contains("code=unsigned "),
        "{line}"
    );
    let said_to_containerd = "ADMIT by audit mode, would DENY unsigned: ";
    assert!(lab.containerd.log().contains(said_to_containerd));

    let reference = lab.reference("prod/unsigned");
    let verified = lab.assayd.assayctl(&["verify", &reference]).await.unwrap();
    assert_eq!(verified.code, Some(0));
    assert!(verified.stdout.starts_with("ADMIT (audit): "), "{}", verified.stdout);
    let explained = lab.assayd.assayctl(&["explain", &reference]).await.unwrap();
    assert!(explained.stdout.contains("mode = \"enforce\""), "{}", explained.stdout);
    let machine = lab
        .assayd
        .assayctl(&["--output", "json", "verify", &reference])
        .await
        .unwrap();
    let machine: Value = serde_json::from_str(&machine.stdout).unwrap();
    assert_eq!(
        (&machine["verdict"], &machine["audited"]),
        (&json!("admit"), &json!(true))
    );
    assert_eq!(machine["code"], "unsigned");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_signed_a_moment_later_is_admitted_without_a_reload() {
    let lab = Lab::start(PRODUCTION).await;
    let image = lab.push("prod/late");
    lab.denied("prod/late", "unsigned").await;
    lab.sign("prod/late", &image, &Sign::with("release")).await;

    let signed = SystemTime::now();
    let reference = lab.reference("prod/late");
    while let Err(refusal) = lab.containerd.pull_cri(&reference).await {
        let waited = signed.elapsed().unwrap();
        assert!(
            waited < Duration::from_secs(10),
            "still denied after {waited:?}: {refusal}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(
        lab.assayd.log().matches("is in force").count(),
        1,
        "no policy was loaded again"
    );
}
