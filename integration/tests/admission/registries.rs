//! Private registries and mirrors: what containerd pulls through its host tree is judged by what the same hosts hold, each asked
//! with credentials of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use assay_integration::assayd::Builder;
use assay_integration::notation::Sign;
use assay_integration::registry::{Kind, Login, TokenIssuer, basic};
use assay_integration::{Assayd, Containerd, Image, Peers, Registry};
use serde_json::json;
use tempfile::TempDir;

use crate::lab::{Signers, assert_denial, policy};

/// What the images are called. Nobody serves under this name.
const NAME: &str = "registry.example:5000";
const MIRROR: (&str, &str) = ("mirror-node", "mirror-secret");
const UPSTREAM: (&str, &str) = ("node", "registry-secret");

/// A mirror that asks for one password and a registry that asks for tokens with another, and one host tree for both programs.
struct Lab {
    peers: Peers,
    signers: Signers,
    mirror: Registry,
    upstream: Registry,
    tree: TempDir,
}

impl Lab {
    async fn new() -> Self {
        let peers = Peers::fetch().expect("the peers");
        let signers = Signers::new(&peers);
        let (mirror, upstream) = (Registry::start().await.unwrap(), Registry::start().await.unwrap());
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("registry.example_5000_");
        fs::create_dir(&folder).unwrap();
        let hosts = format!(
            "server = \"{}\"\n\n[host.\"{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            upstream.url(),
            mirror.url()
        );
        fs::write(folder.join("hosts.toml"), hosts).unwrap();
        Self {
            peers,
            signers,
            mirror,
            upstream,
            tree,
        }
    }

    /// Puts an image into both, under `name:v1`, and its signature into one of them, if any.
    async fn push(&self, name: &str, signed_in: Option<&Registry>) -> String {
        let repository = format!("prod/{name}");
        let image = Image::tiny(&repository).unwrap();
        for registry in [&self.mirror, &self.upstream] {
            image.store(registry.content(), &repository, "v1");
        }
        if let Some(registry) = signed_in {
            let reference = format!("{}@{}", registry.repository(&repository), image.digest());
            self.signers
                .notation
                .sign(&reference, &Sign::with("release"))
                .await
                .unwrap();
        }
        format!("{NAME}/{repository}:v1")
    }

    /// From here on, both ask for credentials.
    fn lock(&self) {
        self.mirror.require(Login::Basic {
            username: MIRROR.0.into(),
            password: MIRROR.1.into(),
        });
        let issuer = TokenIssuer::with_password(UPSTREAM.0, UPSTREAM.1);
        self.upstream.require_tokens(issuer);
    }

    async fn node(&self, configure: impl FnOnce(Builder) -> Builder) -> (Assayd, Containerd) {
        let rule = "[[rule]]\nname = \"production\"\nimages = [\"HOST/prod/**\"]\nrequire = { all = [\"corp\"] }\n";
        let tree = self.tree.path().to_str().unwrap();
        let daemon = self
            .signers
            .assayd()
            .policy(&policy(NAME, rule))
            .setting("config_path", tree);
        let assayd = configure(daemon).start().await.expect("assayd");
        let containerd = Containerd::builder(&self.peers).hook(&assayd).expect("the hook");
        let containerd = containerd
            .host_tree(self.tree.path())
            .start()
            .await
            .expect("containerd");
        (assayd, containerd)
    }

    /// What assayd proved itself with, to each of the two.
    fn sent_by_assayd(&self) -> [Vec<String>; 2] {
        [&self.mirror, &self.upstream].map(|registry| {
            let requests = registry.log().requests().into_iter();
            let by_assayd = requests.filter(|request| {
                let agent = request.user_agent.as_deref();
                agent.is_some_and(|agent| agent.starts_with("assayd/"))
            });
            by_assayd.filter_map(|request| request.authorization).collect()
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_through_a_mirror_is_judged_with_the_mirrors_own_credentials() {
    let lab = Lab::new().await;
    let mirrored = lab.push("mirrored", Some(&lab.mirror)).await;
    let upstream = lab.push("upstream", Some(&lab.upstream)).await;
    let unsigned = lab.push("unsigned", None).await;
    lab.lock();
    let login = |(username, password): (&str, &str)| json!({ "username": username, "password": password });
    let auths = json!({ "auths": { (lab.mirror.host()): login(MIRROR), (lab.upstream.host()): login(UPSTREAM) } });
    let (assayd, containerd) = lab
        .node(|daemon| {
            let daemon = daemon.file("docker.json", auths.to_string());
            daemon.setting("docker_config", vec!["docker.json"])
        })
        .await;

    for reference in [&mirrored, &upstream] {
        let pulled = containerd.pull_cri_with(reference, Some(MIRROR)).await;
        pulled.unwrap_or_else(|refusal| panic!("{reference}: {refusal}\n{}", assayd.log()));
    }
    assert!(!lab.mirror.log().layer_requests().is_empty());
    let refusal = containerd
        .pull_cri_with(&unsigned, Some(MIRROR))
        .await
        .expect_err("a denial");
    assert_denial(&refusal.to_string(), "unsigned", &assayd.log());

    let [to_mirror, to_upstream] = lab.sent_by_assayd();
    assert!(!to_mirror.is_empty());
    assert!(
        to_mirror.iter().all(|sent| *sent == basic(MIRROR.0, MIRROR.1)),
        "{to_mirror:?}"
    );
    let own = |sent: &String| *sent == basic(UPSTREAM.0, UPSTREAM.1) || sent.starts_with("Bearer ");
    assert!(to_upstream.iter().all(own), "{to_upstream:?}");
    assert!(lab.upstream.log().count(Kind::Token) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_without_credentials_is_registry_auth_and_never_unsigned() {
    let lab = Lab::new().await;
    let reference = lab.push("mirrored", Some(&lab.mirror)).await;
    lab.lock();
    let auths = json!({ "auths": { (lab.upstream.host()): { "username": UPSTREAM.0, "password": UPSTREAM.1 } } });
    let (assayd, containerd) = lab
        .node(|daemon| {
            let daemon = daemon.file("docker.json", auths.to_string());
            daemon.setting("docker_config", vec!["docker.json"])
        })
        .await;
    let refusal = containerd
        .pull_cri_with(&reference, Some(MIRROR))
        .await
        .expect_err("a denial");
    assert_denial(&refusal.to_string(), "registry-auth", &assayd.log());
    assert!(refusal.to_string().contains(&lab.mirror.host()), "{refusal}");
    assert!(lab.mirror.log().layer_requests().is_empty());
    let [to_mirror, _] = lab.sent_by_assayd();
    assert_eq!(to_mirror, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_is_judged_with_the_credentials_of_a_kubelets_provider() {
    let lab = Lab::new().await;
    let signed = lab.push("signed", Some(&lab.mirror)).await;
    lab.lock();
    let folder = tempfile::tempdir().unwrap();
    let answer = json!({
        "kind": "CredentialProviderResponse",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType": "Registry",
        "auth": { (lab.mirror.host()): { "username": MIRROR.0, "password": MIRROR.1 } },
    });
    let program = folder.path().join("provider");
    fs::write(&program, format!("#!/bin/sh\ncat > /dev/null\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: provider\n  matchImages: [\"{}\"]\n  defaultCacheDuration: 1m\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n",
        lab.mirror.host()
    );
    let config_file = folder.path().join("config.yaml");
    fs::write(&config_file, config).unwrap();
    let mut provider = toml::Table::new();
    provider.insert("config".into(), config_file.to_str().unwrap().into());
    provider.insert("bin_dir".into(), folder.path().to_str().unwrap().into());

    let (assayd, containerd) = lab.node(|daemon| daemon.setting("credential_provider", provider)).await;
    let pulled = containerd.pull_cri_with(&signed, Some(MIRROR)).await;
    pulled.unwrap_or_else(|refusal| panic!("{refusal}\n{}", assayd.log()));
    let [to_mirror, _] = lab.sent_by_assayd();
    assert!(
        to_mirror.iter().all(|sent| *sent == basic(MIRROR.0, MIRROR.1)),
        "{to_mirror:?}"
    );
    assert!(!to_mirror.is_empty());
}
