//! The kubelet's credential provider plugins: `CredentialProviderConfig` (kubelet.config.k8s.io/v1) and the exec protocol
//! `credentialprovider.kubelet.k8s.io/v1`. Of several providers that match an image the first that has credentials for it counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_verify::limits::{MAX_CREDENTIAL_LIFETIME, MAX_POLICY_SIZE};
use assay_verify::untrusted::Untrusted;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;

use super::cache::Cache;
use super::docker_config::place;
use super::image::Pattern;
use super::{CredentialError, Identity, ImageName, Runner};

const CONFIG_API: &str = "kubelet.config.k8s.io/v1";
const EXEC_API: &str = "credentialprovider.kubelet.k8s.io/v1";

/// The providers of one configuration file. Clones of what they said are kept here.
#[derive(Debug)]
pub struct Providers {
    providers: Vec<Provider>,
    runner: Runner,
    cache: Cache,
}

#[derive(Debug)]
struct Provider {
    name: String,
    path: PathBuf,
    images: Vec<Pattern>,
    default_lifetime: Duration,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    providers: Vec<ProviderItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProviderItem {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: String,
    api_version: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    /// Tokens of service accounts belong to pods, which are not known here.
    #[serde(default)]
    token_attributes: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

// No Debug: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    kind: String,
    api_version: String,
    cache_key_type: KeyType,
    #[serde(default)]
    cache_duration: Option<String>,
    #[serde(default)]
    auth: Option<BTreeMap<String, Auth>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
enum KeyType {
    Image,
    Registry,
    Global,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Providers {
    /// Reads a configuration file, YAML or JSON, whose programs are in `folder`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is malformed, or asks for what cannot be done here.
    pub fn load(file: &Path, folder: &Path, runner: Runner) -> Result<Self, CredentialError> {
        let failed = |cause: String| CredentialError::new(file.display(), cause);
        let size = fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
        if size > MAX_POLICY_SIZE as u64 {
            return Err(failed(format!("it has {size} bytes, more than {MAX_POLICY_SIZE}")));
        }
        let text = fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            providers: parse(&text, folder).map_err(failed)?,
            runner,
            cache: Cache::default(),
        })
    }

    /// The credentials for an image, of the first provider that has some.
    ///
    /// # Errors
    ///
    /// When a provider fails.
    pub async fn find(&self, image: &ImageName) -> Result<Option<Identity>, CredentialError> {
        for provider in self.providers_for(image) {
            let key = format!("{} {}", provider.name, image.reference());
            if let Some(identity) = self.cache.get(key, self.ask(provider, image)).await? {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    /// Forgets what was said about an image: its registry refused it.
    pub fn forget(&self, image: &ImageName) {
        for provider in self.providers_for(image) {
            self.cache.forget(&format!("{} {}", provider.name, image.reference()));
        }
    }

    fn providers_for(&self, image: &ImageName) -> impl Iterator<Item = &Provider> {
        let matches = |provider: &&Provider| provider.images.iter().any(|pattern| pattern.matches(image));
        self.providers.iter().filter(matches)
    }

    async fn ask(
        &self,
        provider: &Provider,
        image: &ImageName,
    ) -> Result<(Option<Identity>, Duration), CredentialError> {
        let failed = |cause: Untrusted| CredentialError::new(provider.path.display(), cause);
        let request =
            json!({ "kind": "CredentialProviderRequest", "apiVersion": EXEC_API, "image": image.reference() });
        let output = self
            .runner
            .run(
                provider.path.clone(),
                provider.name.clone(),
                provider.arguments.clone(),
                provider.environment.clone(),
                request.to_string().into_bytes(),
            )
            .await
            .map_err(&failed)?;
        if !output.status.success() {
            let said = Untrusted::from_bytes(output.stderr.trim_ascii());
            return Err(failed(format!("{}: {said}", output.status).into()));
        }
        read(&output.stdout, image, provider.default_lifetime).map_err(|cause| failed(cause.into()))
    }
}

fn parse(text: &str, folder: &Path) -> Result<Vec<Provider>, String> {
    let document: Document = serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    if document.api_version != CONFIG_API || document.kind != "CredentialProviderConfig" {
        return Err(format!(
            "it is a {} of {}: expected CredentialProviderConfig of {CONFIG_API}",
            Untrusted::from(document.kind),
            Untrusted::from(document.api_version)
        ));
    }
    document
        .providers
        .into_iter()
        .map(|item| provider(item, folder))
        .collect()
}

fn provider(item: ProviderItem, folder: &Path) -> Result<Provider, String> {
    let failed = |cause: &str| format!("provider {:?}: {cause}", item.name);
    // The kubelet's own rules (pkg/credentialprovider/plugin/config.go).
    if item.name.is_empty() || item.name.contains(['/', ' ']) || matches!(item.name.as_str(), "." | "..") {
        return Err(failed("its name is not that of a program"));
    }
    if item.api_version != EXEC_API {
        return Err(failed(&format!("its apiVersion is not {EXEC_API}")));
    }
    if item.token_attributes.is_some() {
        return Err(failed(
            "tokenAttributes asks for tokens of a pod's service account, and no pod is known here: give the node a provider without",
        ));
    }
    if item.match_images.is_empty() {
        return Err(failed("matchImages is empty"));
    }
    let images = item.match_images.iter().map(|pattern| {
        if pattern.contains("://") {
            return Err(failed(&format!("{pattern:?} has a scheme")));
        }
        Pattern::parse(pattern).map_err(|cause| failed(&cause))
    });
    Ok(Provider {
        images: images.collect::<Result<_, _>>()?,
        default_lifetime: duration(&item.default_cache_duration)
            .ok_or_else(|| failed("defaultCacheDuration is not a duration such as \"10m\""))?,
        path: folder.join(&item.name),
        arguments: item.args.unwrap_or_default(),
        environment: item
            .env
            .unwrap_or_default()
            .into_iter()
            .map(|variable| (variable.name, variable.value))
            .collect(),
        name: item.name,
    })
}

fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()
}

/// The credentials that a provider gave for an image, and how long they count.
///
/// An answer is remembered for the image that was asked for, whatever wider key the provider allows: it costs questions, and
/// a provider that is wrong about its key gives no image another's credentials.
fn read(json: &[u8], image: &ImageName, default: Duration) -> Result<(Option<Identity>, Duration), String> {
    let response: Response = serde_json::from_slice(json).map_err(|error| place(&error))?;
    if response.kind != "CredentialProviderResponse" || response.api_version != EXEC_API {
        return Err(format!(
            "it answers in another form than CredentialProviderResponse of {EXEC_API}"
        ));
    }
    let (KeyType::Image | KeyType::Registry | KeyType::Global) = response.cache_key_type;
    let lifetime = match &response.cache_duration {
        None => default,
        Some(text) => duration(text).ok_or("cacheDuration is not a duration")?,
    };
    let mut matching = Vec::new();
    for (name, auth) in response.auth.unwrap_or_default() {
        let pattern = Pattern::parse(&name)?;
        if pattern.matches(image) {
            matching.push((pattern.rank(), auth));
        }
    }
    matching.sort_by(|(one, _), (other, _)| other.cmp(one));
    let Some((_, auth)) = matching.into_iter().next() else {
        return Ok((None, lifetime.min(MAX_CREDENTIAL_LIFETIME)));
    };
    Ok((Some(Identity::from_parts(auth.username, auth.password)?), lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: ecr-credential-provider
    matchImages:
      - "*.dkr.ecr.*.amazonaws.com"
      - "registry.example:5000/team"
    defaultCacheDuration: "12h"
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    args: [get-credentials]
    env:
      - name: AWS_PROFILE
        value: node
"#;

    #[test]
    fn reads_the_kubelets_file_in_yaml_and_json() {
        let providers = parse(CONFIG, Path::new("/opt/providers")).unwrap();
        assert_eq!(providers[0].path, Path::new("/opt/providers/ecr-credential-provider"));
        assert_eq!(providers[0].default_lifetime, Duration::from_secs(12 * 3600));
        assert_eq!(providers[0].arguments, ["get-credentials"]);
        assert_eq!(
            providers[0].environment,
            [("AWS_PROFILE".to_owned(), "node".to_owned())]
        );
        let json = r#"{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[
            {"name":"p","matchImages":["r.example"],"defaultCacheDuration":"0s","apiVersion":"credentialprovider.kubelet.k8s.io/v1"}]}"#;
        assert_eq!(parse(json, Path::new("/p")).unwrap().len(), 1);
    }

    #[test]
    fn refuses_what_it_cannot_do_and_says_which_provider() {
        for (from, to, expected) in [
            (
                "kubelet.config.k8s.io/v1\n",
                "kubelet.config.k8s.io/v1beta1\n",
                "expected CredentialProviderConfig of",
            ),
            (
                "name: ecr",
                "name: ../ecr",
                "provider \"../ecr-credential-provider\": its name",
            ),
            ("\"12h\"", "\"soon\"", "defaultCacheDuration"),
            (
                "credentialprovider.kubelet.k8s.io/v1",
                "credentialprovider.kubelet.k8s.io/v1alpha1",
                "its apiVersion",
            ),
            ("\"*.dkr", "\"https://*.dkr", "has a scheme"),
            ("    args:", "    tokenAttributes: {}\n    args:", "service account"),
            ("    args:", "    arguments:", "arguments"),
        ] {
            let text = CONFIG.replacen(from, to, 1);
            assert_ne!(text, CONFIG);
            let error = parse(&text, Path::new("/p")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn takes_the_most_particular_credentials_of_an_answer_and_none_for_others() {
        let json = r#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",
            "cacheKeyType":"Registry","cacheDuration":"6h0m0s","auth":{
            "*.example":{"username":"any","password":"x"},"r.example/team":{"username":"team","password":"x"}}}"#;
        let user = |host: &str, repository: &str| {
            let (identity, lifetime) =
                read(json.as_bytes(), &ImageName::new(host, repository), Duration::ZERO).unwrap();
            assert_eq!(lifetime, Duration::from_secs(6 * 3600));
            identity.map(|identity| match identity {
                Identity::Password(credentials) => credentials.username,
                Identity::Token(_) => "token".to_owned(),
            })
        };
        assert_eq!(user("r.example", "team/a").as_deref(), Some("team"));
        assert_eq!(user("r.example", "a").as_deref(), Some("any"));
        assert_eq!(user("elsewhere.test", "a"), None);
    }

    #[test]
    fn an_answer_in_another_form_is_an_error_that_shows_no_secret() {
        let image = ImageName::new("r.example", "a");
        for json in [
            "hunter2",
            r#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"hunter2"}"#,
            r#"{"kind":"hunter2","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image"}"#,
        ] {
            let error = read(json.as_bytes(), &image, Duration::ZERO).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
