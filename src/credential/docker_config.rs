//! docker's `config.json`, which the kubelet reads too (docker/cli: cli/config/configfile; kubelet: `config.json` below
//! `/var/lib/kubelet`). It is read when it is asked, and again when it changes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use assay_verify::limits::MAX_POLICY_SIZE;
use assay_verify::reference::DOCKER_HUB;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::image::Pattern;
use super::{CredentialError, FileState, Identity, ImageName};

/// The name under which docker keeps Docker Hub's credentials.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// One file of credentials.
#[derive(Debug)]
pub struct DockerConfig {
    path: PathBuf,
    read: Mutex<Option<(FileState, Arc<Parsed>)>>,
}

/// What a file says about an image.
pub(super) enum Found {
    Nothing,
    Identity(Identity),
    /// The helper to ask, and what it is asked for.
    Helper {
        name: String,
        server: String,
    },
}

#[derive(Debug, Default)]
struct Parsed {
    /// The most particular first.
    auths: Vec<(Pattern, Identity)>,
    helpers: Vec<(Pattern, String, String)>,
    store: Option<String>,
}

// No Debug: it holds secrets.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

impl DockerConfig {
    /// A file, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: Mutex::default(),
        }
    }

    pub(super) fn find(&self, image: &ImageName) -> Result<Found, CredentialError> {
        let parsed = self.parsed()?;
        // As docker does: a helper for the host, else the store, else the file itself.
        if let Some((_, server, name)) = parsed.helpers.iter().find(|(pattern, ..)| pattern.matches(image)) {
            return Ok(Found::Helper {
                name: name.clone(),
                server: server.clone(),
            });
        }
        if let Some((_, identity)) = parsed.auths.iter().find(|(pattern, _)| pattern.matches(image)) {
            return Ok(Found::Identity(identity.clone()));
        }
        Ok(match &parsed.store {
            None => Found::Nothing,
            Some(name) => Found::Helper {
                name: name.clone(),
                server: match image.host() {
                    DOCKER_HUB => DOCKER_HUB_SERVER.to_owned(),
                    host => host.to_owned(),
                },
            },
        })
    }

    fn parsed(&self) -> Result<Arc<Parsed>, CredentialError> {
        let failed = |cause: String| CredentialError::new(self.path.display(), cause);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = FileState::of(&self.path) else {
            *read = None;
            let error = fs::metadata(&self.path).err();
            return match error {
                Some(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error.to_string())),
                // Credentials may come later, as docker's do with the first login.
                _ => Ok(Arc::default()),
            };
        };
        if let Some((known, parsed)) = &*read
            && *known == state
        {
            return Ok(Arc::clone(parsed));
        }
        let size = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if size > MAX_POLICY_SIZE as u64 {
            return Err(failed(format!("it has {size} bytes, more than {MAX_POLICY_SIZE}")));
        }
        let text = fs::read(&self.path).map_err(|error| failed(error.to_string()))?;
        let parsed = Arc::new(parse(&text).map_err(failed)?);
        *read = Some((state, Arc::clone(&parsed)));
        Ok(parsed)
    }
}

/// Reads a document. What it says beside credentials is docker's own.
fn parse(json: &[u8]) -> Result<Parsed, String> {
    // The message of the parser names line and column, and no value.
    let document: Document = serde_json::from_slice(json).map_err(|error| place(&error))?;
    let mut auths = Vec::new();
    for (name, auth) in document.auths {
        if let Some(identity) = identity(&name, auth)? {
            auths.push((Pattern::parse(&name)?, identity));
        }
    }
    auths.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
    let mut helpers = Vec::new();
    for (server, helper) in document.helpers {
        if !helper.is_empty() {
            helpers.push((Pattern::parse(&server)?, server, helper));
        }
    }
    helpers.sort_by_key(|(pattern, ..)| std::cmp::Reverse(pattern.rank()));
    let store = document.store.filter(|store| !store.is_empty());
    Ok(Parsed { auths, helpers, store })
}

/// Where a document is malformed. serde's own message may quote a value.
pub(super) fn place(error: &serde_json::Error) -> String {
    format!(
        "line {}, column {}: it is not the document that is expected",
        error.line(),
        error.column()
    )
}

/// The credentials of an entry. One without any is docker's note that a store has them.
fn identity(name: &str, auth: Auth) -> Result<Option<Identity>, String> {
    if !auth.identity_token.is_empty() {
        return Identity::from_parts("<token>".to_owned(), auth.identity_token).map(Some);
    }
    let (username, password) = if auth.auth.is_empty() {
        (auth.username, auth.password)
    } else {
        let malformed = || format!("auths.{name:?}.auth is not the Base64 of user:password");
        let decoded = STANDARD.decode(auth.auth.trim()).map_err(|_| malformed())?;
        let text = String::from_utf8(decoded).map_err(|_| malformed())?;
        let (username, password) = text.split_once(':').ok_or_else(malformed)?;
        // docker fills up with zeros what it once encoded.
        (username.to_owned(), password.trim_matches('\0').to_owned())
    };
    if username.is_empty() && password.is_empty() {
        return Ok(None);
    }
    Identity::from_parts(username, password)
        .map(Some)
        .map_err(|cause| format!("auths.{name:?}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str) -> (tempfile::TempDir, DockerConfig) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, json).unwrap();
        (folder, DockerConfig::new(path))
    }

    fn shown(found: Found) -> String {
        match found {
            Found::Nothing => "nothing".to_owned(),
            Found::Identity(Identity::Password(credentials)) => {
                format!("{}:{}", credentials.username, credentials.secret.expose())
            }
            Found::Identity(Identity::Token(token)) => format!("token {}", token.expose()),
            Found::Helper { name, server } => format!("{name} for {server}"),
        }
    }

    fn find(json: &str, host: &str, repository: &str) -> String {
        shown(file(json).1.find(&ImageName::new(host, repository)).unwrap())
    }

    #[test]
    fn reads_every_spelling_of_a_credential() {
        for (auth, expected) in [
            (r#"{"auth":"dTpwOnc="}"#, "u:p:w"),
            (r#"{"auth":"dTpwOncAAA=="}"#, "u:p:w"),
            (r#"{"username":"u","password":"p"}"#, "u:p"),
            (r#"{"auth":"dTpwOnc=","identitytoken":"t"}"#, "token t"),
            (r#"{"auth":"PHRva2VuPjp0"}"#, "token t"),
            ("{}", "nothing"),
        ] {
            let json = format!(r#"{{"auths":{{"r.example":{auth}}},"HttpHeaders":{{}}}}"#);
            assert_eq!(find(&json, "r.example", "a"), expected, "{auth}");
            assert_eq!(find(&json, "s.example", "a"), "nothing");
        }
    }

    #[test]
    fn the_most_particular_name_counts() {
        let json = r#"{"auths":{
            "*.example":{"username":"any","password":"x"},
            "r.example":{"username":"host","password":"x"},
            "r.example/team":{"username":"team","password":"x"},
            "https://index.docker.io/v1/":{"username":"hub","password":"x"}}}"#;
        assert_eq!(find(json, "r.example", "team/a"), "team:x");
        assert_eq!(find(json, "r.example", "other/a"), "host:x");
        assert_eq!(find(json, "s.example", "a"), "any:x");
        assert_eq!(find(json, "registry-1.docker.io", "library/a"), "hub:x");
    }

    #[test]
    fn a_helper_of_a_host_comes_before_the_file_and_the_store_after_it() {
        let json = r#"{"auths":{"r.example":{"username":"u","password":"p"},"h.example":{"username":"u","password":"p"},"e.example":{}},
            "credHelpers":{"h.example":"ecr-login"},"credsStore":"pass"}"#;
        assert_eq!(find(json, "h.example", "a"), "ecr-login for h.example");
        assert_eq!(find(json, "r.example", "a"), "u:p");
        assert_eq!(find(json, "e.example", "a"), "pass for e.example");
        assert_eq!(
            find(json, "docker.io", "library/a"),
            "pass for https://index.docker.io/v1/"
        );
    }

    #[test]
    fn a_file_that_is_not_there_has_nothing_and_one_that_changes_is_read_again() {
        let (folder, config) = file("{}");
        let image = ImageName::new("r.example", "a");
        assert_eq!(shown(config.find(&image).unwrap()), "nothing");
        fs::write(
            &config.path,
            r#"{"auths":{"r.example":{"username":"u","password":"p"}}}"#,
        )
        .unwrap();
        assert_eq!(shown(config.find(&image).unwrap()), "u:p");
        fs::remove_file(&config.path).unwrap();
        assert_eq!(shown(config.find(&image).unwrap()), "nothing");
        drop(folder);
    }

    #[test]
    fn an_error_names_the_file_and_shows_no_secret() {
        for json in [
            r#"{"auths":{"r.example":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"r.example":{"auth":"aHVudGVyMg=="}}}"#,
            r#"{"auths":{"r.example":{"username":"a:b","password":"hunter2"}}}"#,
            r#"{"auths":{"r.example":"hunter2"}}"#,
            r#"{"auths":{"":{"username":"u","password":"hunter2"}}}"#,
        ] {
            let (_folder, config) = file(json);
            let error = config
                .find(&ImageName::new("r.example", "a"))
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains("/config.json: "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
