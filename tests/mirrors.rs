//! Signatures come from the hosts that containerd's host trees name, in their order, and no secret of one reaches another.

use std::fs;
use std::path::Path;
use std::time::Duration;

use assay_integration::registry::{Fault, Kind, Login, OCI_MANIFEST, Registry, TokenIssuer, When, basic};
use assay_verify::code::Code;
use assay_verify::descriptor::Descriptor;
use assayd::fetch::{
    Client, Credentials, FetchConfig, FetchError, HostTree, Judged, Place, ProcessMemory, RegistryConfig, Secret,
    Sought,
};
use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;

const JWS: &str = "application/jose+json";
const IMAGE: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

/// A mirror and a registry, and a host tree for the images of `registry.example`.
struct Lab {
    mirror: Registry,
    upstream: Registry,
    folder: TempDir,
    config: FetchConfig,
}

/// What a search came to: the envelopes that were found, and why it was not complete.
type Found = (Vec<String>, Option<FetchError>);

impl Lab {
    async fn new() -> Self {
        Self::with(Registry::start().await.unwrap()).await
    }

    async fn with(mirror: Registry) -> Self {
        let upstream = Registry::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = FetchConfig {
            hosts: HostTree::from_config_path(folder.path().to_str().unwrap()),
            ..FetchConfig::default()
        };
        let lab = Self {
            mirror,
            upstream,
            folder,
            config,
        };
        lab.write_hosts("");
        lab
    }

    /// The mirror, with these settings, before the registry.
    fn write_hosts(&self, settings: &str) {
        self.write(&format!(
            "server = \"{}\"\n[host.\"{}\"]\n{settings}",
            self.upstream.url(),
            self.mirror.url()
        ));
    }

    fn write(&self, hosts: &str) {
        let folder = self.folder.path().join("registry.example");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("hosts.toml"), hosts).unwrap();
    }

    fn file(&self, name: &str) -> Box<Path> {
        self.folder.path().join("registry.example").join(name).into()
    }

    fn login(&mut self, host: String, username: &str, password: &str) {
        let config = RegistryConfig {
            credentials: Some(Credentials {
                username: username.to_owned(),
                secret: Secret::new(password),
            }),
            ..RegistryConfig::default()
        };
        self.config.registries.insert(host, config);
    }

    fn client(&self) -> Client {
        Client::new(self.config.clone(), ProcessMemory::default()).unwrap()
    }

    async fn search(&self) -> Found {
        search(&self.client()).await
    }

    /// What is found although a host fails, which leaves the search incomplete: it may hold more.
    async fn found_nevertheless(&self) -> Vec<String> {
        let (envelopes, incomplete) = self.search().await;
        assert!(incomplete.is_some());
        envelopes
    }
}

fn subject() -> serde_json::Value {
    let digest = assay_verify::digest::Digest::sha256(IMAGE.as_bytes()).to_string();
    json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": IMAGE.len() })
}

fn sign(registry: &Registry, envelope: &str) {
    let content = registry.content();
    content.attach_signature("app", &subject(), JWS, envelope.as_bytes());
}

async fn search(client: &Client) -> Found {
    let subject = Descriptor::from_json(subject().to_string().as_bytes()).unwrap();
    let place = Place {
        repository: "registry.example/app".parse().unwrap(),
        sought: Sought::EVERYTHING,
    };
    let budget = client.budget(tokio::time::Instant::now() + Duration::from_secs(20));
    let mut search = client.search([place], &subject, budget);
    let mut found = Vec::new();
    while let Some(batch) = search.next_batch(&Judged::default()).await {
        let texts = batch.signatures.iter();
        found.extend(texts.map(|signature| String::from_utf8(signature.envelope().to_vec()).unwrap()));
    }
    found.sort();
    (found, search.finish().incomplete)
}

fn found(envelopes: &[&str]) -> Found {
    (envelopes.iter().map(|&text| text.to_owned()).collect(), None)
}

fn authorizations(registry: &Registry) -> Vec<String> {
    let requests = registry.log().requests();
    requests
        .into_iter()
        .filter_map(|request| request.authorization)
        .collect()
}

// Which host

#[tokio::test]
async fn signatures_come_from_the_mirror_that_comes_first() {
    let lab = Lab::new().await;
    sign(&lab.mirror, "mirrored");
    sign(&lab.upstream, "original");
    assert_eq!(lab.search().await, found(&["mirrored"]));
    // Cosign's tags may be on either, and are asked of the next where the mirror has none.
    assert_eq!(lab.upstream.log().count(Kind::Referrers), 0);
    let asked = lab.mirror.log().requests();
    assert!(
        asked.iter().all(|request| request.query == "ns=registry.example"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn what_a_mirror_does_not_have_comes_from_the_registry() {
    let lab = Lab::new().await;
    sign(&lab.upstream, "original");
    assert_eq!(lab.search().await, found(&["original"]));
    assert!(lab.mirror.log().count(Kind::Referrers) > 0);
}

#[tokio::test]
async fn what_a_mirror_lists_and_does_not_hold_comes_from_the_registry() {
    let lab = Lab::new().await;
    sign(&lab.mirror, "one");
    sign(&lab.upstream, "one");
    lab.mirror
        .misbehave(When::kind(Kind::Blob), Fault::Status(StatusCode::NOT_FOUND));
    assert_eq!(lab.search().await, found(&["one"]));
}

#[tokio::test]
async fn a_mirror_that_fails_is_followed_by_the_registry() {
    for fault in [
        Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::Status(StatusCode::FORBIDDEN),
        Fault::Status(StatusCode::UNAUTHORIZED),
        Fault::Challenge("Negotiate".to_owned()),
        Fault::TooManyRequests {
            retry_after: Duration::from_secs(3600),
        },
        Fault::Reset,
        Fault::RedirectLoop,
    ] {
        let lab = Lab::new().await;
        sign(&lab.mirror, "mirrored");
        sign(&lab.upstream, "original");
        lab.mirror.misbehave(When::always(), fault.clone());
        assert_eq!(lab.found_nevertheless().await, ["original"], "{fault:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_cannot_be_reached_is_asked_last_for_a_while() {
    let mut lab = Lab::new().await;
    sign(&lab.upstream, "original");
    lab.mirror.stop().await;
    let client = lab.client();
    assert_eq!(search(&client).await.0, ["original"]);
    lab.mirror.restart().await.unwrap();
    sign(&lab.mirror, "mirrored");
    assert_eq!(search(&client).await, found(&["original"]));
}

#[tokio::test]
async fn nothing_found_is_unsigned_only_if_every_host_was_heard() {
    let lab = Lab::new().await;
    assert_eq!(lab.search().await, found(&[]));
    for (status, code) in [
        (401, Code::RegistryAuth),
        (403, Code::RegistryAuth),
        (503, Code::RegistryUnavailable),
    ] {
        let fault = Fault::Status(StatusCode::from_u16(status).unwrap());
        for refusing in [&lab.mirror, &lab.upstream] {
            refusing.misbehave(When::always(), fault.clone());
            let (envelopes, incomplete) = lab.search().await;
            let incomplete = incomplete.unwrap();
            assert_eq!((envelopes.len(), incomplete.code()), (0, code));
            assert!(incomplete.to_string().contains(&refusing.host()), "{incomplete}");
            refusing.behave();
        }
    }
}

#[tokio::test]
async fn names_are_asked_of_those_that_may_resolve_and_bytes_of_all() {
    let lab = Lab::new().await;
    lab.write_hosts("capabilities = [\"pull\"]\n");
    sign(&lab.mirror, "one");
    sign(&lab.upstream, "one");
    assert_eq!(lab.search().await, found(&["one"]));
    assert_eq!(lab.mirror.log().count(Kind::Referrers), 0);
    assert_eq!(lab.mirror.log().count(Kind::Blob), 1);
    assert_eq!(lab.upstream.log().count(Kind::Blob), 0);
}

#[tokio::test]
async fn a_registry_without_a_host_that_may_resolve_says_so() {
    let lab = Lab::new().await;
    let url = lab.upstream.url();
    lab.write(&format!("server = \"{url}\"\ncapabilities = [\"pull\"]\n"));
    let (_, incomplete) = lab.search().await;
    let text = incomplete.unwrap().to_string();
    assert!(
        text.contains("capabilities \"pull\" and \"resolve\" (hosts.toml)"),
        "{text}"
    );
}

#[tokio::test]
async fn an_api_below_a_path_of_its_own_is_asked_there() {
    let lab = Lab::new().await;
    lab.write(&format!(
        "server = \"{}\"\n[host.\"{}/v2/hub\"]\noverride_path = true\n",
        lab.upstream.url(),
        lab.mirror.url()
    ));
    let content = lab.mirror.content();
    content.attach_signature("hub/app", &subject(), JWS, b"one");
    assert_eq!(lab.search().await, found(&["one"]));
}

#[tokio::test]
async fn a_listing_goes_on_where_it_began() {
    let lab = Lab::new().await;
    for number in 0..5 {
        sign(&lab.mirror, &number.to_string());
    }
    lab.mirror.misbehave(When::always(), Fault::Pages(2));
    assert_eq!(lab.search().await, found(&["0", "1", "2", "3", "4"]));
    assert_eq!(lab.upstream.log().count(Kind::Referrers), 0);
}

#[tokio::test]
async fn a_change_of_the_files_counts_without_a_restart() {
    let lab = Lab::new().await;
    sign(&lab.mirror, "mirrored");
    sign(&lab.upstream, "original");
    let client = lab.client();
    assert_eq!(search(&client).await, found(&["mirrored"]));
    lab.write(&format!("server = \"{}\"\n", lab.upstream.url()));
    // Looked at again at most once a second.
    let changed = async {
        while search(&client).await != found(&["original"]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed).await.unwrap();
}

#[tokio::test]
async fn a_malformed_file_is_no_reason_to_go_to_the_registry() {
    let lab = Lab::new().await;
    sign(&lab.upstream, "original");
    lab.write_hosts("capabilities = [\"pul\"]\n");
    let (envelopes, incomplete) = lab.search().await;
    let incomplete = incomplete.unwrap();
    assert_eq!((envelopes.len(), incomplete.code()), (0, Code::RegistryUnavailable));
    let text = incomplete.to_string();
    assert!(
        text.contains("registry.example/hosts.toml:3:17: unknown capability"),
        "{text}"
    );
}

// TLS

#[tokio::test]
async fn a_mirrors_authority_is_trusted_for_it_or_verification_is_skipped_where_the_file_says_so() {
    let lab = Lab::with(Registry::start_tls().await.unwrap()).await;
    sign(&lab.mirror, "mirrored");
    sign(&lab.upstream, "original");
    assert_eq!(lab.found_nevertheless().await, ["original"]);
    fs::write(lab.file("ca.pem"), lab.mirror.ca().unwrap()).unwrap();
    for settings in ["ca = \"ca.pem\"\n", "skip_verify = true\n"] {
        lab.write_hosts(settings);
        assert_eq!(lab.search().await, found(&["mirrored"]), "{settings}");
    }
}

#[tokio::test]
async fn a_host_of_plain_http_with_tls_settings_is_asked_over_tls_first() {
    let lab = Lab::new().await;
    sign(&lab.mirror, "plain");
    lab.write_hosts("skip_verify = true\n");
    assert_eq!(lab.search().await, found(&["plain"]));

    let lab = Lab::with(Registry::start_tls().await.unwrap()).await;
    sign(&lab.mirror, "tls");
    lab.write(&format!(
        "server = \"{}\"\n[host.\"http://{}\"]\nskip_verify = true\n",
        lab.upstream.url(),
        lab.mirror.host()
    ));
    assert_eq!(lab.search().await, found(&["tls"]));
}

// Secrets

#[tokio::test]
async fn a_mirror_gets_its_own_credentials_and_the_registry_its_own() {
    let mut lab = Lab::new().await;
    let (mirror, upstream) = (lab.mirror.host(), lab.upstream.host());
    let login = |username: &str, password: &str| Login::Basic {
        username: username.to_owned(),
        password: password.to_owned(),
    };
    lab.mirror.require(login("mirror", "m-secret"));
    lab.upstream.require(login("registry", "r-secret"));
    lab.login(mirror, "mirror", "m-secret");
    lab.login(upstream, "registry", "r-secret");
    sign(&lab.upstream, "original");
    assert_eq!(lab.search().await, found(&["original"]));
    let (to_mirror, to_upstream) = (authorizations(&lab.mirror), authorizations(&lab.upstream));
    assert!(!to_mirror.is_empty() && !to_upstream.is_empty());
    assert!(
        to_mirror.iter().all(|sent| *sent == basic("mirror", "m-secret")),
        "{to_mirror:?}"
    );
    assert!(
        to_upstream.iter().all(|sent| *sent == basic("registry", "r-secret")),
        "{to_upstream:?}"
    );
}

#[tokio::test]
async fn credentials_of_the_registry_never_reach_a_mirror() {
    let mut lab = Lab::new().await;
    let issuer = TokenIssuer::with_password("registry", "r-secret");
    lab.upstream.require_tokens(issuer);
    let upstream = lab.upstream.host();
    let realm = format!("Bearer realm=\"{}/token\",service=\"{upstream}\"", lab.upstream.url());
    lab.login(upstream, "registry", "r-secret");
    // Credentials for the name of the images are not the mirror's either.
    lab.login("registry.example".to_owned(), "registry", "r-secret");
    sign(&lab.upstream, "original");
    for challenge in ["Basic realm=\"x\"".to_owned(), realm] {
        lab.mirror.behave();
        lab.mirror
            .misbehave(When::always(), Fault::Challenge(challenge.clone()));
        assert_eq!(lab.found_nevertheless().await, ["original"], "{challenge}");
        assert_eq!(authorizations(&lab.mirror), [""; 0], "{challenge}");
    }
}

#[tokio::test]
async fn a_header_of_the_file_goes_to_its_host_and_to_no_other() {
    let mut lab = Lab::new().await;
    let storage = Registry::start().await.unwrap();
    let plain = RegistryConfig {
        plain_http: true,
        ..RegistryConfig::default()
    };
    let private = RegistryConfig {
        private_addresses: true,
        ..RegistryConfig::default()
    };
    lab.config.registries = [(storage.host(), plain), (lab.mirror.host(), private)].into();
    lab.write_hosts(&format!(
        "[host.\"{}\".header]\nauthorization = \"Bearer secret\"\n",
        lab.mirror.url()
    ));
    sign(&lab.mirror, "one");
    sign(&storage, "one");
    lab.mirror
        .misbehave(When::kind(Kind::Blob), Fault::RedirectTo(storage.url()));
    assert_eq!(lab.search().await, found(&["one"]));
    assert!(authorizations(&lab.mirror).iter().all(|sent| sent == "Bearer secret"));
    assert!(!authorizations(&lab.mirror).is_empty());
    assert_eq!(storage.log().count(Kind::Blob), 1);
    assert_eq!(authorizations(&storage), [""; 0]);
    assert_eq!(authorizations(&lab.upstream), [""; 0]);
}
