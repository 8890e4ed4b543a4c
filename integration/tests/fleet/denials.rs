//! What is put on the deny-list is denied within one poll, from what the node has.

use std::time::{Duration, Instant};

use assay_integration::certificates::{Profile, SigningIdentity};
use assay_integration::cosign::{self, Cosign, Identity, KeyType, Series};
use assay_integration::journal::Entry;
use assay_integration::notation::Sign;
use assay_integration::registry::{Fault, Kind, When, sha256};
use assay_integration::timestamp::Stamping;
use assay_integration::{Image, OpenSsl, Question, SigstoreServices, TimestampAuthority};
use assayd::admission::events::{DENIED, WITHDRAWN};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};

use crate::lab::{Fleet, LATE, Node, POLL, PRODUCTION, admits, key_of, now};
use crate::policy_repository::TARGETS;

/// Further authorities: with a timestamp, with a bare key, and keyless.
const OTHERS: &str = r#"
[authority.timed]
type               = "notation"
trust_stores       = ["ca:corp", "tsa:public"]
trusted_identities = ["*"]
level              = "strict"

[authority.team]
type = "cosign"
keys = ["keys/team.pub"]

[authority.ci]
type         = "cosign"
trusted_root = "sigstore/services.json"
identities   = [{ issuer = "https://issuer.test", subject = "ci@example.test" }]

[[rule]]
name    = "timed"
images  = ["HOST/timed/**"]
require = { all = ["timed"] }

[[rule]]
name    = "team"
images  = ["HOST/team/**"]
require = { all = ["team"] }

[[rule]]
name    = "ci"
images  = ["HOST/ci/**"]
require = { all = ["ci"] }
"#;

fn fingerprint(identity: &SigningIdentity) -> String {
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes());
    sha256(&certificate.expect("a certificate"))
}

fn bare_key(pem: &str) -> String {
    sha256(&SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).expect("a key"))
}

/// The digest of the manifest of an image's one signature.
fn signature_of(fleet: &Fleet, repository: &str, image: &Image) -> String {
    let signatures = fleet.registry.content().signatures(repository, image.digest());
    let [signature] = signatures.as_slice() else {
        panic!("{signatures:?}")
    };
    signature.digest.clone()
}

/// A child of an index that this node does not run.
fn other_child(index: &Image) -> String {
    let index: Value = serde_json::from_slice(index.bytes()).expect("an index");
    index["manifests"][1]["digest"].as_str().expect("a digest").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_entry_names_is_denied_from_the_cache_within_one_poll_and_others_are_not() {
    let mut fleet = Fleet::new(&(PRODUCTION.to_owned() + OTHERS)).await;
    let openssl = OpenSsl::find(&fleet.peers).expect("openssl");
    let stamping = fleet.root.issue(&Profile::timestamping("Clock")).expect("an authority");
    let clock = TimestampAuthority::start(&openssl, &Stamping::with(&stamping)).await;
    let clock = clock.expect("a timestamp authority");
    let sigstore = SigstoreServices::start(&fleet.peers).await.expect("sigstore");
    let cosign = Cosign::new(&fleet.peers, Series::Three).expect("cosign");
    let team = cosign.generate_key(KeyType::P256).await.expect("a key");
    let ci = cosign::Sign::keyless(&Identity::ci(), &sigstore);
    let of_stable = |path: &str| format!("channels/stable/{path}");
    for (path, content) in [
        ("notation/truststore/x509/tsa/public/root.pem", clock.root_pem()),
        ("keys/team.pub", team.public_pem()),
        ("sigstore/services.json", &sigstore.trusted_root().to_string()),
    ] {
        fleet.put(TARGETS, &of_stable(path), content);
    }
    fleet.publish(&[(TARGETS, &of_stable("unused"), String::new())]);

    let [key, certificate, serial, _] = ["key", "certificate", "serial", "release"].map(|name| fleet.signer(name));
    fleet.signer("jane");
    let release = Sign::with("release");
    let jane = Sign::with("jane").timestamped(&clock);
    let by_cosign = async |repository: &str, how: &cosign::Sign<'_>| {
        let image = Image::tiny(repository).expect("an image");
        fleet.push(repository, &image);
        let reference = format!("{}@{}", fleet.registry.repository(repository), image.digest());
        cosign.sign(&reference, how).await.expect("a signature");
    };
    fleet.push_signed("timed/before", &jane).await;
    by_cosign("ci/before", &ci).await;
    // Timestamps are to the second, and accurate to a second.
    let from = Instant::now() + Duration::from_secs(2);
    let window = now() + Duration::from_secs(2);

    fleet.push_signed("prod/key", &Sign::with("key")).await;
    fleet.push_signed("prod/certificate", &Sign::with("certificate")).await;
    fleet.push_signed("prod/serial", &Sign::with("serial")).await;
    let signature = fleet.push_signed("prod/signature", &release).await;
    let image = fleet.push_signed("prod/image", &release).await;
    let index = Image::two_platforms(&fleet.peers, "index").expect("an index");
    fleet.push("prod/index", &index);
    fleet.sign_image("prod/index", &index, &release).await;
    fleet.push_signed("prod/release", &release).await;
    by_cosign("team/app", &cosign::Sign::key(&team)).await;
    let node = fleet.start_node().await;
    tokio::time::sleep_until((from + Duration::from_secs(2)).into()).await;
    fleet.push_signed("timed/after", &jane).await;
    by_cosign("ci/after", &ci).await;

    let subject = json!({ "certificate_subject": Profile::named("jane").trusted_identity().trim_start_matches("x509.subject: ") });
    let keyless = json!({ "issuer": Identity::ci().issuer, "subject": Identity::ci().subject });
    let denied = [
        ("prod/key", "INC-KEY", json!({ "key": key_of(&key) })),
        (
            "prod/certificate",
            "INC-CERTIFICATE",
            json!({ "certificate": fingerprint(&certificate) }),
        ),
        (
            "prod/serial",
            "INC-SERIAL",
            json!({ "issuer": "CN=Corp Root, O=Corp, ST=WA, C=US", "serial": serial.serial.to_string().to_lowercase() }),
        ),
        (
            "prod/signature",
            "INC-SIGNATURE",
            json!({ "signature": signature_of(&fleet, "prod/signature", &signature) }),
        ),
        ("prod/image", "INC-IMAGE", json!({ "image": image.digest() })),
        ("prod/index", "INC-CHILD", json!({ "image": other_child(&index) })),
        (
            "timed/after",
            "INC-JANE",
            json!({ "identity": subject, "from": window.to_string() }),
        ),
        ("team/app", "INC-TEAM", json!({ "key": bare_key(team.public_pem()) })),
        (
            "ci/after",
            "INC-CI",
            json!({ "identity": keyless, "from": window.to_string() }),
        ),
    ];
    let others = ["prod/release", "timed/before", "ci/before"];
    for repository in denied.iter().map(|(repository, ..)| *repository).chain(others) {
        let entry = node.admitted(repository).await;
        assert_eq!(entry["ASSAY_CACHE"], "gathered", "{repository}");
    }

    let (told, asked) = (node.journal.mark(), fleet.registry.log().mark());
    let entries: Vec<_> = denied
        .iter()
        .map(|(_, reference, entry)| (entry.clone(), *reference))
        .collect();
    let published = fleet.deny(&entries);
    // What was admitted is judged again from what is stored, one after the other. Nobody asks until that is done.
    let mut took = Duration::ZERO;
    for (repository, reference, _) in &denied {
        let image = fleet.registry.repository(repository);
        let is = |entry: &Entry| entry["ASSAY_IMAGE"] == image;
        let entry = node.told(told, WITHDRAWN, is).await;
        assert_eq!(entry["ASSAY_CODE"], "denied-by-list");
        assert!(entry["MESSAGE"].contains(reference), "{entry:?}");
        took = published.elapsed();
    }
    println!("denied {took:?} after the publication");
    assert!(took < POLL + LATE, "{took:?}");
    let mut wrong = vec![];
    for (repository, reference, _) in &denied {
        let denied = node.denied(repository, "denied-by-list").await;
        if !denied.event.contains(reference) {
            wrong.push(denied.event.clone());
        }
        // Everything but the image's own digest takes evidence, which is that on the node.
        let cache = match *reference {
            "INC-IMAGE" => "not-needed",
            _ => "verdict",
        };
        assert_eq!(denied.entry["ASSAY_CACHE"], cache, "{repository}");
        println!("{}", denied.event);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for repository in others {
        let entry = node.admitted(repository).await;
        assert_eq!(entry["ASSAY_CACHE"], "verdict", "{repository}: {entry:?}");
    }
    let requests = node.asked(asked);
    assert!(requests.is_empty(), "{requests:#?}");
    let count = u32::try_from(denied.len()).expect("a few");
    assert!(node.counts("assayd_withdrawn_images{state=\"denied\"}", count).await);
    assert!(node.counts("assayd_deny_list_entries", count).await);
}

/// How many ask at once.
const ASKERS: usize = 1_000;
/// How long the registry lets them wait.
const SLOW: Duration = Duration::from_secs(4);

/// A thousand who wait for one answer of a slow registry, while `entry` is published.
async fn a_thousand_wait(fleet: &mut Fleet, node: &Node, repository: &str, image: &Image, entry: Value) {
    fleet
        .registry
        .misbehave(When::kind(Kind::Blob).and_path(repository), Fault::Delay(SLOW));
    let (told, asked) = (node.journal.mark(), fleet.registry.log().mark());
    let question = Question::new(fleet.reference(repository), image.descriptor());
    let channels: Vec<_> = (0..20).map(|_| node.assayd.channel().expect("a socket")).collect();
    let started = Instant::now();
    let askers: Vec<_> = (0..ASKERS)
        .map(|number| {
            let (question, channel) = (question.clone(), channels[number % channels.len()].clone());
            tokio::spawn(async move { question.grpc(channel).await })
        })
        .collect();
    node.until("the one flight", async |node| !node.asked(asked).is_empty())
        .await;
    // Who is not heard by then would be denied without having waited, and is found out below.
    tokio::time::sleep(Duration::from_millis(700)).await;
    fleet.deny(&[(entry, "INC-4711")]);
    let (status, code) = node.sync_now().await;
    let in_force = started.elapsed();
    assert_eq!((code, &status["denials"]), (Some(0), &json!(1)), "{status}");
    assert!(
        in_force < SLOW,
        "{in_force:?}: the flight has landed before the denial was in force"
    );
    for asker in askers {
        let answer = asker.await.expect("an asker").expect("an answer");
        assert!(!admits(&answer), "{answer:?}");
        assert!(answer.reason.contains("INC-4711"), "{answer:?}");
    }
    let entries = || {
        let decided = |entry: &Entry| entry.contains_key("ASSAY_DECISION_ID");
        node.journal.since(told).into_iter().filter(decided).collect::<Vec<_>>()
    };
    node.until("the entries", async |_| entries().len() >= ASKERS).await;
    let waited: Vec<u128> = entries()
        .iter()
        .map(|entry| {
            assert_eq!(
                (entry["MESSAGE_ID"].as_str(), entry["ASSAY_CODE"].as_str()),
                (DENIED, "denied-by-list")
            );
            entry["ASSAY_DURATION_US"].parse().expect("a number")
        })
        .collect();
    let least = waited.iter().min().expect("some");
    println!("in force {in_force:?} after the first asked; the shortest wait was {least} us");
    assert_eq!(waited.len(), ASKERS);
    assert!(
        *least > 1_000_000,
        "somebody asked when the denial was in force: {least} us"
    );
    let referrers = node
        .asked(asked)
        .iter()
        .filter(|request| request.kind == Kind::Referrers)
        .count();
    // Where the flight brings an admit home that the list now denies, the registry is asked once more for another signature.
    assert!(referrers <= 2, "{referrers} flights");
    fleet.registry.behave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_who_wait_for_one_slow_registry_are_all_denied_when_the_denial_comes_first() {
    let mut fleet = Fleet::new(PRODUCTION).await;
    let [leaked, _] = ["leaked", "release"].map(|name| fleet.signer(name));
    let by_image = fleet.push_signed("prod/image", &Sign::with("release")).await;
    let by_key = fleet.push_signed("prod/key", &Sign::with("leaked")).await;
    let node = fleet.start_node().await;
    let entry = json!({ "image": by_image.digest() });
    a_thousand_wait(&mut fleet, &node, "prod/image", &by_image, entry).await;
    let entry = json!({ "key": key_of(&leaked) });
    a_thousand_wait(&mut fleet, &node, "prod/key", &by_key, entry).await;
}
