//! A node without a network but for a mirror of the images: what a bundle brought decides about real pulls.

use std::time::SystemTime;

use assay_integration::certificates::{Authority, Profile};
use assay_integration::crl::CrlProfile;
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::{Assayd, Containerd, Crl, Image, OpenSsl, Peers, Registry, WebServer};
use serde_json::Value;

fn policy(registry: &Registry) -> String {
    format!(
        r#"version   = 1
unmatched = "deny"

[authority.corp]
type               = "notation"
trust_stores       = ["ca:corp"]
trusted_identities = ["*"]
level              = "strict"

[[rule]]
name    = "everything"
images  = ["{}/**"]
require = {{ all = ["corp"] }}
"#,
        registry.host()
    )
}

async fn assayd(registry: &Registry, root: &Authority) -> Assayd {
    Assayd::builder()
        .policy(&policy(registry))
        .file("notation/truststore/x509/ca/corp/root.pem", root.certificate_pem())
        .plain_http(&registry.host())
        .setting("revocation", toml::toml! { private_addresses = true })
        .start()
        .await
        .expect("assayd")
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_through_a_mirror_are_decided_by_what_a_bundle_brought() {
    let peers = Peers::fetch().expect("peers");
    let openssl = OpenSsl::find(&peers).expect("openssl");
    let (registry, mirror) = (Registry::start().await.unwrap(), Registry::start().await.unwrap());
    let web = WebServer::start().await.unwrap();
    let root = Authority::root(&Profile::named("root")).unwrap();
    let release = root
        .issue(&Profile::named("release").crl(web.url("/root.crl")))
        .unwrap();
    let list = Crl::sign(&openssl, &root, &CrlProfile::default()).await.unwrap();
    web.serve_crl("/root.crl", &list.der);

    // Both registries have the images, and the mirror nothing else.
    let signer = EnvelopeSigner::new(&release).unwrap();
    let index = Image::two_platforms(&peers, "index").unwrap();
    let other = Image::busybox(&peers, "other").unwrap();
    for (name, image) in [("index", &index), ("other", &other)] {
        image.store(registry.content(), name, "v1");
        image.store(mirror.content(), name, "v1");
        let envelope = signer.sign(&image.descriptor(), SystemTime::now()).unwrap();
        let content = registry.content();
        content.attach_signature(name, &image.descriptor(), JWS, &envelope);
    }
    let reference = |name: &str| format!("{}:v1", registry.repository(name));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.tar");
    let file = file.to_str().unwrap();
    let connected = assayd(&registry, &root).await;
    let exported = connected
        .assayctl(&["bundle", "export", &reference("index"), "-o", file])
        .await
        .unwrap();
    assert!(exported.success, "{exported:?}");

    // From here on the node has the mirror and the file.
    let (host, references) = (registry.host(), [reference("index"), reference("other")]);
    let node = assayd(&registry, &root).await;
    drop(registry);
    drop(web);
    let imported = node
        .assayctl(&["bundle", "import", "--output", "json", file])
        .await
        .unwrap();
    assert!(imported.success, "{imported:?}");
    let imported: Value = serde_json::from_str(&imported.stdout).unwrap();
    assert_eq!(
        (&imported["images"][0]["verdict"], &imported["images"][0]["kept"]),
        (&"admit".into(), &true.into())
    );

    let containerd = Containerd::builder(&peers).hook(&node).unwrap();
    let containerd = containerd.mirror(&host, &mirror.host()).start().await.unwrap();
    let pulled = containerd.pull_cri(&references[0]).await;
    pulled.unwrap_or_else(|refusal| panic!("{refusal}\n{}", node.log()));
    let refusal = containerd.pull_cri(&references[1]).await.expect_err("a denial");
    assert!(
        refusal.is_denial() && refusal.message.contains("registry-unavailable"),
        "{refusal}"
    );

    let inventory = node
        .assayctl(&["inventory", "--stored", "--output", "json"])
        .await
        .unwrap();
    assert!(inventory.success, "{inventory:?}");
    let inventory: Value = serde_json::from_str(&inventory.stdout).unwrap();
    let image = &inventory["images"][0];
    assert_eq!(
        (&image["standing"], &image["imported"], &image["digest"]),
        (&"admit".into(), &true.into(), &index.digest().into())
    );
}
