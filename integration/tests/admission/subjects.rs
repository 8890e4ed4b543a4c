//! What is judged: a digest, its media type and its repository, never a tag.

use assay_integration::Image;
use assay_integration::notation::Sign;
use serde_json::json;

use crate::lab::{Lab, PRODUCTION, admits, run_hook};

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_on_the_index_admits_and_one_on_a_platform_of_it_does_not() {
    let lab = Lab::start(PRODUCTION).await;
    let image = Image::two_platforms(&lab.peers, "index").unwrap();
    for repository in ["prod/index", "prod/platform"] {
        image.store(lab.registry.content(), repository, "v1");
    }
    let index: serde_json::Value = serde_json::from_slice(image.bytes()).unwrap();
    for entry in index["manifests"].as_array().unwrap() {
        let platform = format!(
            "{}@{}",
            lab.registry.repository("prod/platform"),
            entry["digest"].as_str().unwrap()
        );
        lab.signers
            .notation
            .sign(&platform, &Sign::with("release"))
            .await
            .unwrap();
    }
    lab.denied("prod/platform", "unsigned").await;
    lab.sign("prod/index", &image, &Sign::with("release")).await;
    lab.admitted("prod/index").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_digest_in_two_repositories_is_judged_by_the_statement_of_each() {
    let lab = Lab::start_with(|host, daemon| {
        let statement = |name: &str, signer: &str| {
            json!({
                "name": name,
                "registryScopes": [format!("{host}/prod/{name}")],
                "signatureVerification": { "level": "strict" },
                "trustStores": ["ca:corp"],
                "trustedIdentities": [format!("x509.subject: C=US, ST=WA, O=Corp, CN={signer}")],
            })
        };
        let statements = json!({
            "version": "1.0",
            "trustPolicies": [statement("released", "release"), statement("reviewed", "colleague")],
        });
        let policy = format!(
            "version = 1\nunmatched = \"deny\"\n[authority.folder]\ntype = \"notation\"\nconfig = \"notation\"\n\
             [[rule]]\nname = \"production\"\nimages = [\"{host}/prod/**\"]\nrequire = {{ all = [\"folder\"] }}\n"
        );
        daemon
            .policy(&policy)
            .file("notation/trustpolicy.json", statements.to_string())
    })
    .await;
    let image = Image::tiny("one digest").unwrap();
    for repository in ["prod/released", "prod/reviewed", "prod/neither"] {
        image.store(lab.registry.content(), repository, "v1");
        lab.sign(repository, &image, &Sign::with("release")).await;
    }
    let event = lab.denied("prod/reviewed", "identity-mismatch").await;
    assert!(event.contains("CN=release"), "{event}");
    let event = lab.denied("prod/neither", "no-matching-rule").await;
    assert!(event.contains("no statement"), "{event}");
    let explained = lab
        .assayd
        .assayctl(&["explain", &lab.reference("prod/neither")])
        .await
        .unwrap();
    assert!(explained.stdout.contains("registryScopes"), "{}", explained.stdout);
    lab.admitted("prod/released").await;
    // The cached admit of one repository admits nothing in another.
    lab.denied("prod/reviewed", "identity-mismatch").await;
    let answer = lab.verify(&lab.reference("prod/reviewed"), &image.descriptor()).await;
    assert_eq!(answer.code, "identity-mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_digest_with_two_media_types_is_judged_apart() {
    let lab = Lab::start(PRODUCTION).await;
    let image = lab.push_signed("prod/app", &Sign::with("release")).await;
    let name = lab.reference("prod/app");
    let (signed, mut retyped, mut resized) = (image.descriptor(), image.descriptor(), image.descriptor());
    retyped["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
    resized["size"] = (image.bytes().len() + 1).into();
    // Twice, so that the second answers come from the cache.
    for _ in 0..2 {
        let answer = lab.verify(&name, &retyped).await;
        assert_eq!((admits(&answer), answer.code.as_str()), (false, "subject-mismatch"));
        let answer = lab.verify(&name, &resized).await;
        assert_eq!((admits(&answer), answer.code.as_str()), (false, "subject-mismatch"));
        let answer = lab.verify(&name, &signed).await;
        assert!(admits(&answer) && answer.reason.contains("CN=release"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_between_resolving_and_verifying_changes_nothing() {
    let lab = Lab::start(PRODUCTION).await;
    let signed = lab.push_signed("prod/app", &Sign::with("release")).await;
    let unsigned = Image::tiny("unsigned").unwrap();
    let name = lab.reference("prod/app");
    for (now_tagged, asked, code) in [
        (&unsigned, &signed, Some(0)),
        (&unsigned, &unsigned, Some(1)),
        (&signed, &unsigned, Some(1)),
        (&signed, &signed, Some(0)),
    ] {
        now_tagged.store(lab.registry.content(), "prod/app", "v1");
        let mark = lab.registry.log().mark();
        let answer = run_hook(&lab.assayd, &name, &asked.descriptor()).await;
        assert_eq!(answer.code, code, "{answer:?}");
        assert_eq!(answer.stdout.starts_with("ADMIT "), code == Some(0), "{answer:?}");
        let of_the_tag = lab
            .requests_by_assayd(mark)
            .into_iter()
            .filter(|request| request.path.ends_with("/v1"));
        assert_eq!(of_the_tag.count(), 0, "assayd resolved the tag");
    }
    // Nor does a question that names one digest and describes another have an answer.
    let answer = lab
        .verify(&format!("{name}@{}", signed.digest()), &unsigned.descriptor())
        .await;
    assert_eq!(answer.code, "request-malformed");
}
