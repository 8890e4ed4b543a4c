//! What strangers wrote reaches people escaped: nothing but printable ASCII leaves assayd, whatever certificates,
//! annotations, media types and names say.

use std::time::SystemTime;

use assay_integration::Image;
use assay_integration::certificates::{Authority, Profile};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::registry::{NOTATION_SIGNATURE, OCI_MANIFEST, sha256};
use serde_json::{Value, json};

use crate::lab::{Lab, PRODUCTION, policy, run_hook};

/// Clears a terminal, starts a line of its own, writes backwards, and is not ASCII.
const EVIL: &str = "x\u{1b}[2J\nFORGED\r\u{202e}\u{2066}\u{9b}31m\u{7f}é";

/// How the start of [`EVIL`] looks once it is escaped.
const SHOWN: &str = "x\\u{1b}[2J\\nFORGED";

fn assert_printable(what: &str, text: &str) {
    for (number, line) in text.split('\n').enumerate() {
        let stray = line.chars().find(|character| !matches!(character, ' '..='~'));
        assert!(stray.is_none(), "{what}: {stray:?} in line {number}: {line:?}");
        assert!(
            !line.trim_start().starts_with("FORGED"),
            "{what}: a stranger began line {number}: {line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_sequences_newlines_and_bidirectional_marks_reach_nobody() {
    let anybody = PRODUCTION.to_owned()
        + "[authority.anybody]\ntype = \"notation\"\ntrust_stores = [\"ca:corp\"]\ntrusted_identities = [\"*\"]\n\
           level = \"strict\"\n[[rule]]\nname = \"anybody\"\nimages = [\"HOST/anybody/**\"]\n\
           require = { all = [\"anybody\"] }\n";
    let lab = Lab::start(&anybody).await;
    let content = lab.registry.content();
    let evil = Profile {
        organisation: EVIL.into(),
        ..Profile::named(EVIL)
    };
    let insider = EnvelopeSigner::new(&lab.signers.root.issue(&evil).unwrap()).unwrap();
    // A root of the same name as its leaf would be a defect of its own.
    let root = Profile::named(&format!("{EVIL} root"));
    let elsewhere = Authority::root(&root).unwrap();
    let stranger = EnvelopeSigner::new(&elsewhere.issue(&evil).unwrap()).unwrap();

    let attach = |repository: &str, signer: &EnvelopeSigner| {
        let image = lab.push(repository);
        let envelope = signer.sign(&image.descriptor(), SystemTime::now()).unwrap();
        lab.attach(repository, &image, JWS, &envelope);
        image
    };
    let images: Vec<(&str, Image, &str)> = vec![
        ("prod/subject", attach("prod/subject", &insider), "identity-mismatch"),
        ("prod/stranger", attach("prod/stranger", &stranger), "untrusted-signer"),
        (
            "prod/referrers",
            strange_referrers(&lab, "prod/referrers", &insider),
            "",
        ),
        ("prod/header", strange_header(&lab, "prod/header", &insider), ""),
        ("anybody/admitted", attach("anybody/admitted", &insider), "admitted"),
    ];
    let mut shown = 0;
    for (repository, image, code) in &images {
        let reference = lab.reference(repository);
        let mut outputs = vec![];
        if *code == "admitted" {
            lab.admitted(repository).await;
        } else {
            let event = lab
                .containerd
                .pull_cri(&reference)
                .await
                .expect_err(repository)
                .to_string();
            assert!(event.contains(&format!("DENY {code}")), "{event}");
            outputs.push(event);
        }
        outputs.push(run_hook(&lab.assayd, &reference, &image.descriptor()).await.stdout);
        outputs.push(format!(
            "{:?}",
            lab.verify(&reference, &image.descriptor()).await.reason
        ));
        for command in ["verify", "explain"] {
            for format in ["human", "json"] {
                let said = lab
                    .assayd
                    .assayctl(&[command, &reference, "--output", format])
                    .await
                    .unwrap();
                if format == "json" {
                    serde_json::from_str::<Value>(&said.stdout).unwrap();
                }
                outputs.extend([said.stdout, said.stderr]);
            }
        }
        for output in &outputs {
            assert_printable(repository, output);
            shown += usize::from(output.contains(SHOWN));
        }
    }
    assert!(
        shown >= 10,
        "the names were shown only {shown} times, so nothing was tested"
    );
    assert!(!content.referrers("prod/referrers", images[2].1.digest()).is_empty());

    // A question, and a policy, can hold anything too.
    let descriptor = images[0].1.descriptor();
    for name in [
        EVIL.to_owned(),
        format!("{}:{EVIL}", lab.registry.repository("prod/subject")),
    ] {
        let answer = lab.verify(&name, &descriptor).await;
        assert_eq!(answer.code, "request-malformed");
        assert_printable("reason", &answer.reason);
        let said = lab.assayd.assayctl(&["verify", &name]).await.unwrap();
        assert_eq!(said.code, Some(2), "{said:?}");
        assert_printable("assayctl", &said.stderr);
    }
    let mut retyped = descriptor.clone();
    retyped["mediaType"] = EVIL.into();
    let answer = lab.verify(&lab.reference("prod/subject"), &retyped).await;
    assert_printable("reason", &answer.reason);

    let escaped = "x\\u001b[2J\\nFORGED\\u202e";
    for broken in [
        format!("\"{escaped}\" = 1\nversion = 1\nunmatched = \"deny\"\n"),
        format!("version = 1\nunmatched = \"{escaped}\"\n"),
        "version = 1\nunmatched = \"\u{202e}\u{2066}\"\n".to_owned(),
        policy(&lab.registry.host(), PRODUCTION).replace("\"production\"", &format!("\"{escaped}\"")),
        policy(&lab.registry.host(), PRODUCTION).replace("\"ca:corp\"", &format!("\"ca:{escaped}\"")),
        policy(&lab.registry.host(), PRODUCTION).replace("CN=release", &format!("CN=release, {escaped}=y")),
    ] {
        lab.assayd.write_policy(&broken).unwrap();
        let file = lab.assayd.config_directory().join("policy.toml");
        for command in [
            &["reload"][..],
            &["status"],
            &["policy", "check", file.to_str().unwrap()],
        ] {
            for format in ["human", "json"] {
                let said = lab
                    .assayd
                    .assayctl(&[command, &["--output", format][..]].concat())
                    .await
                    .unwrap();
                assert_printable(
                    &format!("{command:?} {format} {broken:?}"),
                    &(said.stdout + &said.stderr),
                );
            }
        }
        let event = lab
            .containerd
            .pull_cri(&lab.reference("prod/subject"))
            .await
            .expect_err("a denial");
        assert_printable("event", &event.to_string());
    }
    let log = lab.assayd.log();
    assert!(log.contains(SHOWN));
    assert_printable("assayd's log", &log);
    // The last guard of a line puts this where nobody escaped before; the journal's fields have no such guard.
    assert!(!log.contains('?'), "unescaped on its way to the log:\n{log}");
}

/// Referrers whose every string is strange, beside a signature by the wrong signer.
fn strange_referrers(lab: &Lab, repository: &str, signer: &EnvelopeSigner) -> Image {
    let image = lab.push(repository);
    let content = lab.registry.content();
    lab.attach(repository, &image, EVIL, b"{}");
    let envelope = signer.sign(&image.descriptor(), SystemTime::now()).unwrap();
    content.put_blob(repository, envelope.clone());
    content.put_blob(repository, "{}");
    for (artifact_type, config, layer) in [
        (NOTATION_SIGNATURE, EVIL, JWS),
        (EVIL, EVIL, EVIL),
        (NOTATION_SIGNATURE, "application/vnd.oci.empty.v1+json", JWS),
    ] {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": { "mediaType": config, "digest": sha256(b"{}"), "size": 2 },
            "layers": [{
                "mediaType": layer, "digest": sha256(&envelope), "size": envelope.len(),
                "annotations": { EVIL: EVIL },
            }],
            "subject": image.descriptor(),
            "annotations": { EVIL: EVIL, "io.cncf.notary.x509chain.thumbprint#S256": EVIL },
        });
        content.put_manifest(repository, OCI_MANIFEST, manifest.to_string());
    }
    // Not a digest at all, and not what the index says.
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": NOTATION_SIGNATURE,
        "config": { "mediaType": EVIL, "digest": EVIL, "size": 2 },
        "layers": [{ "mediaType": JWS, "digest": EVIL, "size": 2 }],
        "subject": image.descriptor(),
    });
    content.put_manifest(repository, OCI_MANIFEST, manifest.to_string());
    image
}

/// Signatures by the insider whose headers and payloads are strange.
fn strange_header(lab: &Lab, repository: &str, signer: &EnvelopeSigner) -> Image {
    let image = lab.push(repository);
    let header = |name: &str, value: Value| {
        let mut header = json!({
            "alg": "ES256",
            "crit": ["io.cncf.notary.signingScheme"],
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": "2026-01-01T00:00:00Z",
        });
        header[name] = value;
        header
    };
    let payload = json!({ "targetArtifact": image.descriptor() });
    let mut strange = image.descriptor();
    strange["mediaType"] = EVIL.into();
    strange["annotations"] = json!({ EVIL: EVIL });
    for (header, payload) in [
        (header(EVIL, json!(1)), &payload),
        (header("alg", json!(EVIL)), &payload),
        (header("cty", json!(EVIL)), &payload),
        (header("io.cncf.notary.signingScheme", json!(EVIL)), &payload),
        (header("io.cncf.notary.signingTime", json!(EVIL)), &payload),
        (header("io.cncf.notary.verificationPlugin", json!(EVIL)), &payload),
        (header("crit", json!(["io.cncf.notary.signingScheme", EVIL])), &payload),
        (header("alg", json!("ES256")), &json!({ "targetArtifact": strange })),
        (header("alg", json!("ES256")), &json!({ EVIL: EVIL })),
    ] {
        let envelope = signer.sign_claims(&header, payload).unwrap();
        lab.attach(repository, &image, JWS, &envelope);
    }
    image
}
