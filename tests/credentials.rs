//! Credentials from docker's files and helpers, and that they reach the host they belong to and no other.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use assay_integration::registry::{Fault, Kind, Login, OCI_MANIFEST, Registry, TokenIssuer, When, basic};
use assay_verify::code::Code;
use assay_verify::descriptor::Descriptor;
use assay_verify::digest::Digest;
use assayd::credential::{CredentialSocket, DockerConfig, Keyring, Providers, Runner, Sources};
use assayd::fetch::{Client, FetchConfig, FetchError, Judged, Place, ProcessMemory, RegistryConfig, Sought};
use serde_json::json;
use tempfile::TempDir;

/// A registry with one signed image, and a folder for what the client is configured with.
struct Lab {
    registry: Registry,
    subject: Descriptor,
    folder: TempDir,
    settings: RegistryConfig,
}

impl Lab {
    async fn new() -> Self {
        let registry = Registry::start().await.unwrap();
        let image = br#"{"schemaVersion":2}"#;
        let subject =
            json!({ "mediaType": OCI_MANIFEST, "digest": Digest::sha256(image).to_string(), "size": image.len() });
        for repository in ["app", "other"] {
            let content = registry.content();
            content.attach_signature(repository, &subject, "application/jose+json", b"signature");
        }
        Self {
            registry,
            subject: Descriptor::from_json(subject.to_string().as_bytes()).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            settings: RegistryConfig {
                plain_http: true,
                ..RegistryConfig::default()
            },
        }
    }

    fn docker_config(&self, document: &serde_json::Value) {
        fs::write(self.file(), document.to_string()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.json")
    }

    /// A credential helper that runs `script`.
    fn helper(&self, name: &str, script: &str) {
        let path = self.folder.path().join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn client(&self) -> Client {
        let runner = Runner::new(
            vec![self.folder.path().to_owned()],
            [
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("HOME".into(), self.folder.path().into()),
            ],
        );
        let config = FetchConfig {
            registries: [(self.registry.host(), self.settings.clone())].into(),
            keyring: Keyring::new(Sources {
                files: vec![DockerConfig::new(self.file())],
                runner,
                ..Sources::default()
            }),
            ..FetchConfig::default()
        };
        Client::new(config, ProcessMemory::default()).unwrap()
    }

    async fn find(&self, client: &Client, repository: &str) -> Result<(), FetchError> {
        let place = Place {
            repository: self.registry.repository(repository).parse().unwrap(),
            sought: Sought::EVERYTHING,
        };
        let budget = client.budget(tokio::time::Instant::now() + Duration::from_secs(20));
        let mut search = client.search([place], &self.subject, budget);
        let found = search.next_batch(&Judged::default()).await;
        match search.finish().incomplete {
            Some(error) => Err(error),
            None => {
                assert_eq!(found.unwrap().signatures.len(), 1);
                Ok(())
            }
        }
    }

    fn require_basic(&self) {
        self.registry.require(Login::Basic {
            username: "robot".to_owned(),
            password: "hunter2".to_owned(),
        });
    }
}

fn sent(registry: &Registry) -> BTreeSet<String> {
    let requests = registry.log().requests();
    requests
        .into_iter()
        .filter_map(|request| request.authorization)
        .collect()
}

#[tokio::test]
async fn a_password_of_dockers_file_opens_a_registry() {
    let lab = Lab::new().await;
    lab.require_basic();
    let client = lab.client();
    let error = lab.find(&client, "app").await.unwrap_err();
    assert_eq!(error.code(), Code::RegistryAuth);
    // The login comes later, and counts at once.
    lab.docker_config(&json!({ "auths": { (lab.registry.host()): { "username": "robot", "password": "hunter2" } } }));
    lab.find(&client, "app").await.unwrap();
    assert_eq!(sent(&lab.registry), [basic("robot", "hunter2")].into());
}

#[tokio::test]
async fn a_password_of_dockers_file_gets_a_token() {
    let lab = Lab::new().await;
    lab.registry
        .require_tokens(TokenIssuer::with_password("robot", "hunter2"));
    lab.docker_config(&json!({ "auths": { (lab.registry.url()): { "username": "robot", "password": "hunter2" } } }));
    lab.find(&lab.client(), "app").await.unwrap();
}

#[tokio::test]
async fn an_identity_token_is_changed_for_a_token_of_the_repository() {
    let lab = Lab::new().await;
    lab.registry.require_tokens(TokenIssuer::with_refresh_token("lasting"));
    lab.docker_config(&json!({ "auths": { (lab.registry.host()): { "identitytoken": "lasting" } } }));
    lab.find(&lab.client(), "app").await.unwrap();
    for request in lab.registry.log().requests() {
        assert!(!request.query.contains("lasting"), "{request:?}");
        assert_eq!(request.kind == Kind::Token, request.method == "POST");
    }
}

#[tokio::test]
async fn credentials_of_a_repository_are_for_it_alone() {
    let lab = Lab::new().await;
    lab.require_basic();
    let name = format!("{}/app", lab.registry.host());
    lab.docker_config(&json!({ "auths": { (name): { "username": "robot", "password": "hunter2" } } }));
    let client = lab.client();
    lab.find(&client, "app").await.unwrap();
    assert_eq!(lab.find(&client, "other").await.unwrap_err().code(), Code::RegistryAuth);
}

#[tokio::test]
async fn a_helper_is_asked_for_the_registry_once_and_again_when_it_was_refused() {
    let lab = Lab::new().await;
    lab.require_basic();
    lab.helper(
        "lab",
        r#"read -r server; echo "$1 $server" >> "$HOME/asked"; printf '{"ServerURL":"%s","Username":"robot","Secret":"%s"}' "$server" "$(cat "$HOME/secret")""#,
    );
    fs::write(lab.folder.path().join("secret"), "hunter1").unwrap();
    lab.docker_config(&json!({ "credHelpers": { (lab.registry.host()): "lab" } }));
    let client = lab.client();
    assert_eq!(lab.find(&client, "app").await.unwrap_err().code(), Code::RegistryAuth);
    fs::write(lab.folder.path().join("secret"), "hunter2").unwrap();
    lab.find(&client, "app").await.unwrap();
    lab.find(&client, "other").await.unwrap();
    let asked = fs::read_to_string(lab.folder.path().join("asked")).unwrap();
    let line = format!("get {}", lab.registry.host());
    assert!(asked.lines().all(|asked| asked == line), "{asked}");
    // Requests of one search are under way together, so that more than one may have been refused.
    assert!((2..=6).contains(&asked.lines().count()), "{asked}");
}

#[tokio::test]
async fn a_store_without_an_entry_is_no_error_and_a_helper_that_fails_is() {
    let lab = Lab::new().await;
    lab.require_basic();
    for (script, expected) in [
        (
            "echo 'credentials not found in native keychain'; exit 1",
            "refused access (401",
        ),
        (
            "echo no session; exit 3",
            "docker-credential-lab: exit status: 3: no session",
        ),
        (
            "echo nonsense",
            "docker-credential-lab: line 1, column 2: it is not the document",
        ),
        ("yes", "docker-credential-lab: it writes more than 65536 bytes"),
    ] {
        lab.helper("lab", script);
        lab.docker_config(&json!({ "credsStore": "lab" }));
        let error = lab.find(&lab.client(), "app").await.unwrap_err();
        assert_eq!(error.code(), Code::RegistryAuth, "{script}");
        assert!(error.to_string().contains(expected), "{script}: {error}");
    }
    for (name, expected) in [
        ("../lab", "its name is not that of a program"),
        ("absent", "there is no such program in "),
    ] {
        lab.docker_config(&json!({ "credsStore": name }));
        let error = lab.find(&lab.client(), "app").await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_malformed_file_is_registry_auth_and_names_its_path() {
    let lab = Lab::new().await;
    lab.require_basic();
    fs::write(lab.file(), "{\"auths\": {\n").unwrap();
    let error = lab.find(&lab.client(), "app").await.unwrap_err();
    assert_eq!(error.code(), Code::RegistryAuth);
    assert!(error.to_string().contains("config.json: line 2, column 0"), "{error}");
}

#[tokio::test]
async fn no_credential_reaches_a_realm_or_a_redirect_on_another_host() {
    for identity in [
        json!({ "username": "robot", "password": "hunter2" }),
        json!({ "identitytoken": "hunter2" }),
    ] {
        let mut lab = Lab::new().await;
        let thief = Registry::start_tls().await.unwrap();
        thief.serve_tokens(TokenIssuer::anonymous());
        lab.settings.private_addresses = true;
        lab.settings.extra_ca = vec![thief.ca().unwrap().as_bytes().to_vec()];
        lab.docker_config(&json!({ "auths": { (lab.registry.host()): identity } }));
        let realm = format!("Bearer realm=\"{}/token\",service=\"x\"", thief.url());
        lab.registry.misbehave(When::always(), Fault::Challenge(realm));
        let error = lab.find(&lab.client(), "app").await.unwrap_err();
        assert_eq!(error.code(), Code::RegistryAuth);
        let text = error.to_string();
        assert!(
            text.contains("the configured credentials were not sent to 127.0.0.1"),
            "{text}"
        );
        assert!(thief.log().count(Kind::Token) > 0);

        lab.registry.behave();
        lab.require_basic();
        lab.registry
            .misbehave(When::kind(Kind::Blob), Fault::RedirectTo(thief.url()));
        let _: Result<(), FetchError> = lab.find(&lab.client(), "app").await;
        for request in thief.log().requests() {
            assert_eq!(request.authorization, None);
            assert_eq!(request.method, "GET");
            assert!(!request.query.contains("hunter2"));
        }
    }
}

// Credential providers

impl Lab {
    /// A provider that answers for `lab.registry` with what `cacheKeyType` and lifetime are given, and notes each question.
    fn provider(&self, lifetime: &str) {
        let answer = json!({
            "kind": "CredentialProviderResponse",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "cacheKeyType": "Registry",
            "cacheDuration": lifetime,
            "auth": { (self.registry.host()): { "username": "robot", "password": "hunter2" } },
        });
        let asked = self.folder.path().join("asked");
        let path = self.folder.path().join("lab-provider");
        let script = format!(
            "#!/bin/sh\n(cat; echo \" $1 $LAB\") >> {}\necho '{answer}'\n",
            asked.display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n  - name: lab-provider\n    matchImages: [\"127.0.*.1:{port}/app\"]\n    defaultCacheDuration: 10m\n    apiVersion: credentialprovider.kubelet.k8s.io/v1\n    args: [get]\n    env: [{{name: LAB, value: set}}]\n",
            port = self.registry.host().rsplit(':').next().unwrap()
        );
        fs::write(self.folder.path().join("providers.yaml"), config).unwrap();
    }

    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    fn client_with(&self, sources: Sources) -> Client {
        let config = FetchConfig {
            registries: [(self.registry.host(), self.settings.clone())].into(),
            keyring: Keyring::new(sources),
            ..FetchConfig::default()
        };
        Client::new(config, ProcessMemory::default()).unwrap()
    }

    fn question(&self) -> String {
        let image = format!("{}/app", self.registry.host());
        let request = json!({ "kind": "CredentialProviderRequest", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "image": image });
        format!("{request} get set")
    }
}

#[tokio::test]
async fn a_credential_provider_is_asked_for_the_images_it_matches_and_its_answer_is_kept() {
    let lab = Lab::new().await;
    lab.registry
        .require_tokens(TokenIssuer::with_password("robot", "hunter2"));
    lab.provider("1h0m0s");
    let runner = Runner::new(Vec::new(), [("PATH".into(), "/usr/bin:/bin".into())]);
    let providers = Providers::load(&lab.folder.path().join("providers.yaml"), lab.folder.path(), runner).unwrap();
    let client = lab.client_with(Sources {
        providers: Some(providers),
        ..Sources::default()
    });
    lab.find(&client, "app").await.unwrap();
    lab.find(&client, "app").await.unwrap();
    assert_eq!(lab.asked(), [lab.question()]);
    assert_eq!(lab.find(&client, "other").await.unwrap_err().code(), Code::RegistryAuth);
    assert_eq!(lab.asked().len(), 1);
}

#[tokio::test]
async fn assay_credential_asks_the_providers_for_assayd_and_for_nobody_else() {
    let lab = Lab::new().await;
    lab.require_basic();
    lab.provider("1h");
    let socket = lab.folder.path().join("credential.sock");
    let me = nix::unistd::geteuid().as_raw();
    for (user, allowed) in [(me, true), (65_534, false)] {
        if !allowed && me != 0 {
            // Only root can give the socket to somebody else.
            continue;
        }
        let _: std::io::Result<()> = fs::remove_file(&socket);
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_assay-credential"))
            .arg("--config")
            .arg(lab.folder.path().join("providers.yaml"))
            .arg("--bin-dir")
            .arg(lab.folder.path())
            .arg("--socket")
            .arg(&socket)
            .args(["--user", &user.to_string()])
            .spawn()
            .unwrap();
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            assert_eq!(program.try_wait().unwrap(), None);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let client = lab.client_with(Sources {
            socket: Some(CredentialSocket(socket.clone())),
            ..Sources::default()
        });
        let found = lab.find(&client, "app").await;
        program.kill().unwrap();
        program.wait().unwrap();
        if allowed {
            found.unwrap();
            assert_eq!(lab.asked(), [lab.question()]);
        } else {
            let error = found.unwrap_err();
            assert_eq!(error.code(), Code::RegistryAuth);
            assert!(
                error.to_string().contains("credential.sock: assay-credential: "),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_helper_program_that_is_away_is_registry_auth_and_says_which() {
    let lab = Lab::new().await;
    lab.require_basic();
    let client = lab.client_with(Sources {
        socket: Some(CredentialSocket(lab.folder.path().join("absent.sock"))),
        ..Sources::default()
    });
    let error = lab.find(&client, "app").await.unwrap_err();
    assert_eq!(error.code(), Code::RegistryAuth);
    assert!(
        error
            .to_string()
            .contains("absent.sock: assay-credential: No such file"),
        "{error}"
    );
}
