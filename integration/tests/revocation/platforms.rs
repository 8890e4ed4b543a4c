//! Signatures on the children of an index, seen by a real containerd that pulls the index.

use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Profile};
use assay_integration::envelope::EnvelopeSigner;
use assay_integration::registry::OCI_INDEX;
use assay_integration::{Containerd, Image};
use serde_json::{Value, json};

use crate::lab::{Lab, Policy};

/// The children of an index, without what only the index says about them.
fn children(index: &Image) -> Vec<Value> {
    let parsed: Value = serde_json::from_slice(index.bytes()).expect("an index");
    let children = parsed["manifests"].as_array().expect("children").iter();
    let bare =
        |child: &Value| json!({ "mediaType": child["mediaType"], "digest": child["digest"], "size": child["size"] });
    children.map(bare).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_counts_as_signed_when_every_child_that_this_node_could_run_is() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root
        .issue(&Profile::named("release").crl(lab.web.url("/leaf.crl")))
        .unwrap();
    lab.publish("/leaf.crl", &root, &assay_integration::crl::CrlProfile::default())
        .await;
    let signer = EnvelopeSigner::new(&release).unwrap();
    let sign = |repository: &str, descriptor: &Value| {
        let time = SystemTime::now() - Duration::from_secs(60);
        lab.attach(repository, descriptor, &signer.sign(descriptor, time).unwrap());
    };
    let push = |repository: &str| {
        let index = Image::two_platforms(&lab.peers, repository).unwrap();
        index.store(lab.registry.content(), repository, "v1");
        index
    };
    // An index with one more child, of which it does not say what it runs on.
    let push_with_unnamed = |repository: &str| {
        let (index, unnamed) = (push(repository), lab.push(repository));
        let mut parsed: Value = serde_json::from_slice(index.bytes()).unwrap();
        parsed["manifests"].as_array_mut().unwrap().push(unnamed.descriptor());
        let content = lab.registry.content();
        let digest = content.put_manifest(repository, OCI_INDEX, parsed.to_string());
        content.tag(repository, "v1", &digest);
        (index, unnamed)
    };

    let own = push("own");
    sign("own", &children(&own)[0]);
    let other = push("other");
    sign("other", &children(&other)[1]);
    push("none");
    let whole = push("whole");
    sign("whole", &whole.descriptor());
    let (index, _) = push_with_unnamed("unnamed-unsigned");
    sign("unnamed-unsigned", &children(&index)[0]);
    let (index, unnamed) = push_with_unnamed("unnamed-signed");
    sign("unnamed-signed", &children(&index)[0]);
    sign("unnamed-signed", &unnamed.descriptor());

    // An unsigned child that is for Windows, unless the reader takes keys for equal that Unicode folds together, and the last
    // of two: then it is the first for this platform.
    let disguised = push("disguised");
    sign("disguised", &children(&disguised)[0]);
    let mut parsed: Value = serde_json::from_slice(disguised.bytes()).unwrap();
    let mut evil = lab.push("disguised").descriptor();
    let own_platform = &parsed["manifests"][0]["platform"];
    evil["platform"] = json!({
        "architecture": own_platform["architecture"],
        "os": "windows",
        "o\u{17f}": own_platform["os"],
    });
    parsed["manifests"].as_array_mut().unwrap().insert(0, evil);
    let content = lab.registry.content();
    let digest = content.put_manifest("disguised", OCI_INDEX, parsed.to_string());
    content.tag("disguised", "v1", &digest);

    let strict = Policy::default();
    let platforms = Policy::default().rule("accept_platform_signatures = true");
    for (policy, admitted) in [
        (strict, &["whole"][..]),
        (platforms, &["whole", "own", "unnamed-signed"]),
    ] {
        let assayd = lab.daemon(&root.certificate_pem(), &policy).start().await.unwrap();
        let containerd = Containerd::builder(&lab.peers).hook(&assayd).unwrap();
        let containerd = containerd.plain_http(&lab.registry.host()).start().await.unwrap();
        for repository in [
            "own",
            "other",
            "none",
            "whole",
            "unnamed-unsigned",
            "unnamed-signed",
            "disguised",
        ] {
            let reference = format!("{}:v1", lab.registry.repository(repository));
            let mark = lab.registry.log().layer_requests().len();
            let pulled = containerd.pull_cri(&reference).await;
            if admitted.contains(&repository) {
                pulled.unwrap_or_else(|refusal| panic!("{repository}: {refusal}\n{}", assayd.log()));
                continue;
            }
            let refusal = pulled.expect_err(repository);
            assert!(refusal.is_denial(), "{repository}: {refusal}");
            assert!(refusal.message.contains("DENY unsigned: "), "{repository}: {refusal}");
            assert_eq!(lab.registry.log().layer_requests().len(), mark, "{repository}");
        }
    }
    // Two daemons, and one signer.
    assert_eq!(lab.web.requests("/leaf.crl"), 2);
}
