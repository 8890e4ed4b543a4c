//! Fetching evidence from registries, under bounds, and reading it from files.
//!
//! [`Client`] asks registries; [`layout`] reads OCI image layouts without a network; [`revocation`] asks the endpoints of
//! certificate authorities. None decides anything: what comes out are
//! [`Signature`](assay_verify::evidence::Signature)s, whose bytes hang together by digest, answers that nobody has proved,
//! and reasons why there are no others. Errors here are inconclusive by construction, see [`FetchError`].
//!
//! A client is reqwest with its own policies switched off: redirects, retries, logins, limits and the check of learned
//! addresses are in this module, because each of them has been the hole in another registry client.

pub mod address;
mod auth;
mod body;
mod budget;
mod config;
mod count;
mod discovery;
mod error;
mod host;
mod hosts;
pub mod layout;
mod own_tls;
mod registry;
pub mod revocation;
mod transport;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reqwest::dns::Resolve;
use rustls::RootCertStore;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::index::{ImageIndex, NotAnIndex};
use assay_verify::limits::{MAX_MANIFEST_SIZE, MAX_REGISTRIES, MEMORY_WAIT, REGISTRY_FILES_LOOK};
use assay_verify::manifest::Manifest;
use assay_verify::reference::{Reference, Repository, canonical_host};
use assay_verify::untrusted::Untrusted;
use tokio::time::Instant;

pub use crate::credential::{Credentials, Secret};
pub use budget::{Budget, ProcessMemory};
pub use config::{ConfigError, FetchConfig, RegistryConfig, proxy_hosts};
pub use count::RequestCounts;
pub use discovery::{Batch, Judged, Place, Search, SkipReason, Skipped, SkippedItem, Sought, Summary};
pub use error::FetchError;
pub use hosts::HostTree;
pub(crate) use transport::innermost;

use budget::Lease;
use budget::RegistryShare;
use count::{Counters, Purpose};
use host::{Answer, Host, Parts};
use hosts::{LoadedHost, Seen};
use own_tls::OwnTls;
use registry::{Names, Question, Registry};
use transport::Transport;

/// What a digest or tag may name: images, and every other artifact, the legacy artifact manifest too. A registry may hide
/// what is not asked for.
const ACCEPT_ARTIFACT: &str = "application/vnd.oci.image.index.v1+json, \
                               application/vnd.docker.distribution.manifest.list.v2+json, \
                               application/vnd.oci.image.manifest.v1+json, \
                               application/vnd.docker.distribution.manifest.v2+json, \
                               application/vnd.oci.artifact.manifest.v1+json";

const ACCEPT_IMAGE: &str = "application/vnd.oci.image.index.v1+json, \
                            application/vnd.docker.distribution.manifest.list.v2+json, \
                            application/vnd.oci.image.manifest.v1+json, \
                            application/vnd.docker.distribution.manifest.v2+json";

/// The registry client. Clones share connections, tokens and counters. Making one sends nothing.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: FetchConfig,
    plain_hosts: Arc<BTreeSet<String>>,
    resolver: Arc<dyn Resolve>,
    system_roots: OnceLock<Arc<RootCertStore>>,
    /// Of all hosts that are not configured, which differ in nothing.
    default_transport: OnceLock<Transport>,
    registries: Mutex<HashMap<Box<str>, Known>>,
    counters: Arc<Counters>,
    memory: ProcessMemory,
}

/// A registry, and what its hosts were read from.
struct Known {
    registry: Arc<Registry>,
    seen: Seen,
    looked: Instant,
}

/// A manifest or index that was fetched. It holds its share of the memory budget: drop it when it is no longer needed.
#[derive(Debug)]
pub struct FetchedManifest {
    /// What it is.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Vec<u8>,
    _lease: Lease,
}

/// An index that was fetched. It holds its share of the memory budget: drop it when it is no longer needed.
#[derive(Debug)]
pub struct FetchedIndex {
    /// The index.
    pub index: Arc<ImageIndex>,
    _lease: Lease,
}

/// Memory for bytes that came another way than from a registry.
#[derive(Debug)]
pub struct Held {
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client that resolves names as the system does.
    ///
    /// # Errors
    ///
    /// When the configuration is malformed; all of it is read here, so that a mistake shows at start and not at a pull.
    pub fn new(config: FetchConfig, memory: ProcessMemory) -> Result<Self, ConfigError> {
        Self::with_resolver(config, memory, Arc::new(address::SystemResolver))
    }

    /// Makes a client that resolves names with `resolver`.
    ///
    /// # Errors
    ///
    /// As for [`Client::new`].
    pub fn with_resolver(
        config: FetchConfig,
        memory: ProcessMemory,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, ConfigError> {
        let config = canonical(config)?;
        for (host, registry) in &config.registries {
            transport::roots(&RootCertStore::empty(), host, &registry.extra_ca)?;
        }
        let plain_hosts = config
            .registries
            .iter()
            .filter(|(_, registry)| registry.plain_http)
            .map(|(host, _)| host.clone())
            .collect();
        Ok(Self(Arc::new(Inner {
            config,
            plain_hosts: Arc::new(plain_hosts),
            resolver,
            system_roots: OnceLock::new(),
            default_transport: OnceLock::new(),
            registries: Mutex::default(),
            counters: Arc::default(),
            memory,
        })))
    }

    /// The budget of one verification that must end at `deadline`.
    pub fn budget(&self, deadline: Instant) -> Budget {
        self.0.memory.budget(deadline)
    }

    /// Pays for bytes that come another way than from a registry, from the memory that all verifications share.
    ///
    /// # Errors
    ///
    /// When others hold it for longer than is waited.
    pub async fn pay(&self, bytes: usize) -> Result<Held, FetchError> {
        let give_up = Instant::now() + MEMORY_WAIT;
        let _permit = self.0.memory.reserve(bytes, give_up).await?;
        Ok(Held { _permit })
    }

    /// How many requests were sent so far.
    pub fn requests(&self) -> RequestCounts {
        self.0.counters.read()
    }

    /// Begins to look for the signatures of `subject` in all `places` at once.
    ///
    /// A search takes three dependent requests where the kind of the registry is known, or both kinds are asked at once:
    /// listing, manifest, envelope; for a signature under a tag two. A token that is not cached takes one more, and the
    /// first challenge of a registry another.
    pub fn search(&self, places: impl IntoIterator<Item = Place>, subject: &Descriptor, budget: Budget) -> Search {
        let places = places.into_iter().map(|place| {
            let registry = self.registry(place.repository.host());
            (place, registry)
        });
        Search::start(places, subject, budget)
    }

    /// What a reference names now, for explanations alone. It decides nothing: what is verified is the digest that
    /// containerd gives, and no tag is resolved for it.
    ///
    /// # Errors
    ///
    /// When the registry has no such image, or it cannot be fetched.
    pub async fn resolve(&self, reference: &Reference, budget: &Budget) -> Result<Descriptor, FetchError> {
        Ok(self.fetch(reference, budget).await?.descriptor)
    }

    /// The manifest or index that a reference names now. A digest in it proves the bytes.
    ///
    /// # Errors
    ///
    /// When the registry has no such image, or it cannot be fetched.
    pub async fn fetch(&self, reference: &Reference, budget: &Budget) -> Result<FetchedManifest, FetchError> {
        self.named(reference, ACCEPT_ARTIFACT, budget).await
    }

    /// Fetches the image manifest that a reference names now, with its digest: what describes an artifact whose files prove
    /// themselves. No image is judged by it.
    ///
    /// # Errors
    ///
    /// When the registry has no such manifest, or it cannot be fetched or read.
    pub async fn artifact(&self, reference: &Reference, budget: &Budget) -> Result<(Digest, Manifest), FetchError> {
        let fetched = self.named(reference, MediaType::OCI_MANIFEST, budget).await?;
        match Manifest::parse(&fetched.descriptor.media_type, &fetched.bytes) {
            Ok(manifest) => Ok((fetched.descriptor.digest, manifest)),
            Err(cause) => Err(FetchError::Manifest {
                registry: reference.repository.host().into(),
                cause,
            }),
        }
    }

    /// Fetches one blob of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// When the registry does not have it, it cannot be fetched, or the bytes are not those of the digest.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: usize,
        budget: &Budget,
    ) -> Result<Vec<u8>, FetchError> {
        let registry = self.registry(repository.host())?;
        let question = Question {
            purpose: Purpose::Blob,
            repository,
            endpoint: "blobs",
            reference: &digest.to_string(),
            names: Names::Digest,
            accept: "*/*",
            limit,
            promise: None,
        };
        match registry.get(&question, budget).await? {
            Answer::Found(found) if digest.matches(&found.body) => Ok(found.body),
            Answer::Found(_) => Err(FetchError::WrongBytes {
                registry: registry.name.clone(),
                digest: digest.clone(),
            }),
            Answer::Missing => Err(FetchError::Missing {
                registry: registry.name.clone(),
                what: digest.to_string().into(),
            }),
        }
    }

    /// An HTTP client for a host that the configuration names and that is no registry, made as those for registries are. It
    /// follows no redirect, retries nothing and sends no credentials.
    ///
    /// # Errors
    ///
    /// When one of the certificate authorities in `extra_ca`, which count beside the system's, is malformed.
    pub(crate) fn web_client(&self, base: &Url, extra_ca: &[Vec<u8>]) -> Result<reqwest::Client, ConfigError> {
        let host = base.host_str().unwrap_or_default();
        let system = if base.scheme() == "https" {
            Arc::clone(self.system_roots())
        } else {
            Arc::new(RootCertStore::empty())
        };
        transport::web(&system, host, extra_ca, &self.0.resolver)
    }

    /// Read when the first host is asked: it takes milliseconds that a start does not have.
    fn system_roots(&self) -> &Arc<RootCertStore> {
        self.0.system_roots.get_or_init(|| Arc::new(transport::system_roots()))
    }

    /// The document that a reference names now, and what describes it.
    async fn named(
        &self,
        reference: &Reference,
        accept: &'static str,
        budget: &Budget,
    ) -> Result<FetchedManifest, FetchError> {
        let registry = self.registry(reference.repository.host())?;
        let what = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => "latest".to_owned(),
        };
        let question = Question {
            purpose: Purpose::Manifest,
            repository: &reference.repository,
            endpoint: "manifests",
            reference: &what,
            names: if reference.digest.is_some() {
                Names::Digest
            } else {
                Names::Name
            },
            accept,
            limit: MAX_MANIFEST_SIZE,
            promise: None,
        };
        let Answer::Found(found) = registry.get(&question, budget).await? else {
            return Err(FetchError::Missing {
                registry: registry.name.clone(),
                what: what.into(),
            });
        };
        let digest = match &reference.digest {
            None => Digest::sha256(&found.body),
            Some(digest) if digest.matches(&found.body) => digest.clone(),
            Some(digest) => {
                return Err(FetchError::WrongBytes {
                    registry: registry.name.clone(),
                    digest: digest.clone(),
                });
            }
        };
        let content_type = found.content_type.as_deref().unwrap_or_default();
        let media_type = MediaType::parse(content_type.split(';').next().unwrap_or_default().trim()).map_err(|_| {
            FetchError::ContentType {
                registry: registry.name.clone(),
                content_type: content_type.into(),
            }
        })?;
        Ok(FetchedManifest {
            descriptor: Descriptor {
                media_type,
                digest,
                size: found.body.len() as u64,
            },
            bytes: found.body,
            _lease: found.lease,
        })
    }

    /// Fetches an index. Its bytes are proved by its digest, and it draws on `budget` from the first moment: beside a search
    /// that draws on the same, neither waits for the other.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or is no index whose children are known.
    pub async fn index(
        &self,
        repository: &Repository,
        index: &Descriptor,
        budget: &Budget,
    ) -> Result<FetchedIndex, FetchError> {
        let registry = self.registry(repository.host())?;
        let size = usize::try_from(index.size).unwrap_or(usize::MAX);
        if size > MAX_MANIFEST_SIZE {
            return Err(FetchError::TooLarge {
                registry: registry.name.clone(),
                limit: MAX_MANIFEST_SIZE,
            });
        }
        let portion = budget.portion(body::read_cost(size))?;
        let wrong_bytes = || FetchError::WrongBytes {
            registry: registry.name.clone(),
            digest: index.digest.clone(),
        };
        let question = Question {
            purpose: Purpose::Manifest,
            repository,
            endpoint: "manifests",
            reference: &index.digest.to_string(),
            names: Names::Digest,
            accept: ACCEPT_IMAGE,
            limit: size,
            promise: None,
        };
        let found = match registry.get(&question, &portion).await {
            Ok(Answer::Found(found)) => found,
            Ok(Answer::Missing) => {
                return Err(FetchError::Missing {
                    registry: registry.name.clone(),
                    what: index.digest.to_string().into(),
                });
            }
            Err(FetchError::TooLarge { .. }) => return Err(wrong_bytes()),
            Err(error) => return Err(error),
        };
        let opened = open_index(index, found.body).await.map_err(|cause| match cause {
            NotAnIndex::WrongBytes(_) => wrong_bytes(),
            cause => FetchError::Index {
                registry: registry.name.clone(),
                cause,
            },
        })?;
        Ok(FetchedIndex {
            index: Arc::new(opened),
            _lease: found.lease,
        })
    }

    /// The registry of a name. What its hosts are read from is looked at again from time to time, so that a change counts
    /// without a restart, as it does for containerd.
    fn registry(&self, name: &str) -> Result<Arc<Registry>, FetchError> {
        let mut registries = self.0.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = registries.get_mut(name) {
            if known.looked.elapsed() < REGISTRY_FILES_LOOK || known.seen.is_current() {
                if known.looked.elapsed() >= REGISTRY_FILES_LOOK {
                    known.looked = Instant::now();
                }
                return Ok(Arc::clone(&known.registry));
            }
            registries.remove(name);
        }
        if registries.len() >= MAX_REGISTRIES {
            registries.retain(|_, known| Arc::strong_count(&known.registry) > 1);
        }
        let unusable = |cause: String| FetchError::Unusable {
            registry: name.into(),
            cause: Untrusted::from(cause),
        };
        let loaded = self
            .0
            .config
            .hosts
            .load(name)
            .map_err(|error| unusable(error.to_string()))?;
        let share = RegistryShare::default();
        let mut hosts = Vec::new();
        for host in loaded.hosts {
            hosts.push(Arc::new(self.host(name, host, &share)?));
        }
        let registry = Arc::new(Registry::new(name, share, hosts));
        let known = Known {
            registry: Arc::clone(&registry),
            seen: loaded.seen,
            looked: Instant::now(),
        };
        registries.insert(name.into(), known);
        Ok(registry)
    }

    fn host(&self, registry: &str, loaded: LoadedHost, share: &RegistryShare) -> Result<Host, FetchError> {
        let name = match &loaded.entry.api {
            None => registry.to_owned(),
            Some(api) => host::authority(api),
        };
        let unusable = |cause: String| FetchError::Unusable {
            registry: name.as_str().into(),
            cause: cause.into(),
        };
        let own = OwnTls::read(&loaded).map_err(unusable)?;
        let configured = self.0.config.registries.get(&name);
        let mut config = configured.cloned().unwrap_or_default();
        config.extra_ca.extend(loaded.ca);
        let transport = if configured.is_none() && config.extra_ca.is_empty() && own.is_usual() {
            self.default_transport()
        } else {
            self.transport(&name, &config, &own)
        };
        let parts = Parts {
            transport: transport.map_err(|error| unusable(error.to_string()))?,
            config,
            keyring: self.0.config.keyring.clone(),
            entry: loaded.entry,
            counters: Arc::clone(&self.0.counters),
            share: share.clone(),
            plain_hosts: Arc::clone(&self.0.plain_hosts),
        };
        Host::new(registry, parts)
    }

    fn default_transport(&self) -> Result<Transport, ConfigError> {
        let inner = &*self.0;
        if let Some(transport) = inner.default_transport.get() {
            return Ok(transport.clone());
        }
        let transport = self.transport("", &RegistryConfig::default(), &OwnTls::default())?;
        Ok(inner.default_transport.get_or_init(|| transport).clone())
    }

    fn transport(&self, host: &str, registry: &RegistryConfig, own: &OwnTls) -> Result<Transport, ConfigError> {
        let inner = &*self.0;
        let system = self.system_roots();
        let roots = if registry.extra_ca.is_empty() {
            Arc::clone(system)
        } else {
            transport::roots(system, host, &registry.extra_ca)?
        };
        Transport::new(&inner.config, registry, roots, own, &inner.resolver)
    }
}

/// Proves an index. A large one is read on a thread for blocking work: it must not hold up others.
async fn open_index(index: &Descriptor, bytes: Vec<u8>) -> Result<ImageIndex, NotAnIndex> {
    if bytes.len() <= body::STEP {
        return ImageIndex::open(index, bytes.into());
    }
    let index = index.clone();
    let opened = tokio::task::spawn_blocking(move || ImageIndex::open(&index, bytes.into())).await;
    // What makes the reader panic is no index.
    opened.unwrap_or_else(|_| Err(NotAnIndex::Malformed("reading it failed".into())))
}

/// Makes the names in a configuration canonical and checks what can be checked without a network.
fn canonical(config: FetchConfig) -> Result<FetchConfig, ConfigError> {
    let mut registries = BTreeMap::new();
    for (name, mut registry) in config.registries {
        if name.is_empty() || name.contains(['/', '@', ' ']) {
            return Err(ConfigError::Host(name.into()));
        }
        if let Some(credentials) = &registry.credentials
            && credentials
                .username
                .contains(|character: char| character == ':' || character.is_control())
        {
            return Err(ConfigError::Username(name.into()));
        }
        registry.token_realms = registry.token_realms.iter().map(|host| canonical_host(host)).collect();
        if registries.insert(canonical_host(&name), registry).is_some() {
            return Err(ConfigError::Duplicate(name.into()));
        }
    }
    Ok(FetchConfig { registries, ..config })
}
