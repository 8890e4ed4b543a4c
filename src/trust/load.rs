//! Reads the policy and everything it names, and reports every problem at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::deny_list::DenyList;
use assay_verify::digest::Digest;
use assay_verify::document::{Diagnostic, Severity};
use assay_verify::limits::{
    MAX_DENY_LIST_SIZE, MAX_LOCAL_REVOCATION_FILE_SIZE, MAX_POLICY_SIZE, MAX_TRUST_STORE_FILE_SIZE,
};
use assay_verify::notation::blob_policy::{BlobStatement, BlobTrustPolicy};
use assay_verify::notation::statement::TrustStoreName;
use assay_verify::notation::trust_policy::TrustPolicy;
use assay_verify::notation::trust_store::{TrustStore, TrustStores};
use assay_verify::policy::{AuthorityDocument, AuthorityName, AuthoritySource, Exceptions, Policy};
use assay_verify::sigstore::authority::Authority;
use assay_verify::untrusted::Untrusted;
use assay_verify::x509::revocation::LocalRevocation;

use super::cosign::{ReadRoot, RootSource};
use super::files::{FileError, Files, TrustedFiles, VerifiedFiles};
use super::floor::Floor;
use super::layout::{
    CHANNELS_FOLDER, DENY_LIST_FILE, EXCEPTIONS_FILE, EXCEPTIONS_FOLDER, POLICY_FILE, REVOCATION_FOLDER,
};
use super::snapshot::{BlobTrust, NotationAuthority, TrustSnapshot};
use super::state::FleetPolicy;

/// notation's names for its trust policy, in the order in which it looks for them.
const TRUST_POLICY_FILES: [&str; 2] = ["trustpolicy.oci.json", "trustpolicy.json"];

/// notation's name for its trust policy for files.
const BLOB_TRUST_POLICY_FILE: &str = "trustpolicy.blob.json";

/// Where notation keeps trust stores, below its configuration folder.
const TRUST_STORE_FOLDER: &str = "truststore/x509";

/// What a policy is called that is proposed.
const PROPOSED: &str = "the proposed policy";

/// The configuration folder of authorities that assayd's own policy describes, beside that policy.
const INLINE_FOLDER: &str = "notation";

/// What loading gives.
#[derive(Debug)]
pub struct Loaded {
    /// The snapshot, with the generation 1, or every error and warning.
    pub outcome: Result<TrustSnapshot, Vec<Diagnostic>>,
    /// The folders in which a change can change the outcome, also those that are not there.
    pub watched: BTreeSet<PathBuf>,
}

/// Reads the policy at `path`, what it names, and what lies beside it. Files have to belong to root or to `user`, and nobody
/// else may be able to write them.
pub fn load(path: &Path, user: u32, now: Timestamp) -> Loaded {
    let mut loaded = load_policy(path, user, now);
    let (additions, folders) = load_additions(path, user);
    loaded.watched.extend(folders);
    loaded.outcome = match (loaded.outcome, additions) {
        (Ok(snapshot), Ok(additions)) => Ok(snapshot.with(&additions)),
        (Ok(snapshot), Err(errors)) => Err([snapshot.warnings, errors].concat()),
        (Err(diagnostics), additions) => Err([diagnostics, additions.err().unwrap_or_default()].concat()),
    };
    loaded
}

/// Reads the policy at `path` and what it names, without this node's own additions.
pub(super) fn load_policy(path: &Path, user: u32, now: Timestamp) -> Loaded {
    let base = path.parent().unwrap_or(Path::new(""));
    let mut loader = Loader::new(Files::Disk(TrustedFiles { user }), base, now);
    let read = loader.read_policy(path);
    let revocation = loader.read_revocation(&base.join(REVOCATION_FOLDER));
    loader.finish(path, read, revocation)
}

/// Where a policy comes from, and what it names with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    /// This node's disk: the policy in force is at this path, and files belong to root or to this user.
    Disk(&'a Path, u32),
    /// A channel of the policy repository.
    Fleet(&'a VerifiedFiles, &'a FleetPolicy),
}

/// Reads a policy that is proposed in place of the one that is there, with what it names from where that would look for it.
///
/// # Errors
///
/// Every error and warning, where one of them is an error.
pub(super) fn load_proposed(
    document: &str,
    origin: Origin<'_>,
    now: Timestamp,
) -> Result<TrustSnapshot, Vec<Diagnostic>> {
    // Diagnostics name the document as the one who proposes it does.
    let path = Path::new(PROPOSED);
    let (files, base, revocation) = match origin {
        Origin::Disk(path, user) => {
            let base = path.parent().unwrap_or(Path::new("")).to_owned();
            let revocation = base.join(REVOCATION_FOLDER);
            (Files::Disk(TrustedFiles { user }), base, revocation)
        }
        Origin::Fleet(files, fleet) => (
            Files::Verified(files.clone()),
            Path::new(CHANNELS_FOLDER).join(&fleet.channel),
            REVOCATION_FOLDER.into(),
        ),
    };
    let mut loader = Loader::new(files, &base, now);
    let content = loader.record(path, Ok(document.as_bytes().to_owned()), "policy");
    let text = content.and_then(|content| loader.text(path, content));
    let read = text.and_then(|text| loader.read_document(path, text));
    if let (Origin::Fleet(_, fleet), Some((policy, ..))) = (origin, &read) {
        loader.diagnostics.extend(fleet.floor.violations(PROPOSED, policy));
    }
    let revocation = loader.read_revocation(&revocation);
    loader.finish(path, read, revocation).outcome
}

/// Reads a channel of the policy repository from verified files, and holds it against this node's floor. What a node takes is
/// what this takes: who publishes asks it first.
///
/// # Errors
///
/// Every error and warning, where one of them is an error.
pub fn load_fleet(
    files: &VerifiedFiles,
    channel: &str,
    floor: &Floor,
    now: Timestamp,
) -> Result<TrustSnapshot, Vec<Diagnostic>> {
    let base = Path::new(CHANNELS_FOLDER).join(channel);
    let path = base.join(POLICY_FILE);
    let mut loader = Loader::new(Files::Verified(files.clone()), &base, now);
    let read = loader.read_policy(&path);
    if let Some((policy, ..)) = &read {
        loader.diagnostics.extend(floor.violations(&shown(&path), policy));
    }
    let revocation = loader.read_revocation(Path::new(REVOCATION_FOLDER));
    let denials = loader.read_deny_list(&Path::new(REVOCATION_FOLDER).join(DENY_LIST_FILE));
    let exceptions_file = Path::new(EXCEPTIONS_FOLDER).join(EXCEPTIONS_FILE);
    let mut exceptions = loader.read_exceptions(&exceptions_file);
    if !floor.exceptions && !exceptions.all().is_empty() {
        let help = "this node's configuration has [floor] exceptions = false";
        loader
            .diagnostics
            .push(Diagnostic::warning(&shown(&exceptions_file), "its exceptions do not count here").with_help(help));
        exceptions = Exceptions::default();
    }
    let mut snapshot = loader.finish(&path, read, revocation).outcome?;
    snapshot.denials = Arc::new(denials);
    snapshot.exceptions = vec![Arc::new(exceptions)];
    Ok(snapshot)
}

/// What a node adds to a policy, wherever the policy comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Additions {
    /// Its own deny-list.
    pub(super) denials: Arc<DenyList>,
    /// Its own exceptions.
    pub(super) exceptions: Arc<Exceptions>,
    /// What is wrong with the exceptions, which then do not count: they only ever admit.
    pub(super) warnings: Vec<Diagnostic>,
}

/// Reads what this node adds, from beside the policy at `path`; and which folders it was looked for in.
pub(super) fn load_additions(path: &Path, user: u32) -> (Result<Additions, Vec<Diagnostic>>, BTreeSet<PathBuf>) {
    let base = path.parent().unwrap_or(Path::new(""));
    let folder = base.join(REVOCATION_FOLDER);
    let loader = |user| Loader::new(Files::Disk(TrustedFiles { user }), base, Timestamp::UNIX_EPOCH);
    let mut own = loader(user);
    let denials = Arc::new(own.read_deny_list(&folder.join(DENY_LIST_FILE)));
    // Whoever may write it lets images in without evidence: root alone, whoever runs the daemon.
    let mut of_root = loader(0);
    let exceptions = Arc::new(of_root.read_exceptions(&base.join(EXCEPTIONS_FILE)));
    let additions = if has_errors(&own.diagnostics) {
        Err([own.diagnostics, of_root.diagnostics].concat())
    } else {
        Ok(Additions {
            denials,
            exceptions,
            warnings: [own.diagnostics, of_root.diagnostics].concat(),
        })
    };
    (additions, BTreeSet::from([base.to_owned(), folder]))
}

fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|one| one.severity == Severity::Error)
}

/// Reads the trust policy for files in notation's configuration folder, and what its statement `name` needs; without a
/// name, what its global statement needs. The stores of other statements are not looked at. Revocation data lies beside
/// the folder.
///
/// # Errors
///
/// Every error and warning, where one of them is an error.
pub fn load_blob(folder: &Path, name: Option<&str>, user: u32) -> Result<BlobTrust, Vec<Diagnostic>> {
    // `.` and `..` have a parent, too, but not in their text.
    let base = match folder.file_name() {
        Some(_) => folder.parent().unwrap_or(Path::new("")).to_owned(),
        None => folder.join(".."),
    };
    // A statement about files names no trusted root.
    let files = Files::Disk(TrustedFiles { user });
    let mut loader = Loader::new(files, &base, Timestamp::UNIX_EPOCH);
    let read = loader.read_blob_trust(folder, name);
    let revocation = loader.read_revocation(&base.join(REVOCATION_FOLDER));
    let denials = loader.read_deny_list(&base.join(REVOCATION_FOLDER).join(DENY_LIST_FILE));
    let mut diagnostics = loader.diagnostics;
    let refused = has_errors(&diagnostics);
    match read {
        Some((statement, stores)) if !refused => Ok(BlobTrust {
            statement,
            stores,
            revocation,
            denials,
            warnings: diagnostics,
        }),
        _ => {
            if !refused {
                diagnostics.push(Diagnostic::error(&shown(folder), "the trust policy cannot be used"));
            }
            Err(diagnostics)
        }
    }
}

/// An authority with everything that it names.
enum ReadAuthority {
    Notation(NotationAuthority),
    Cosign(Arc<Authority>),
}

/// The authorities of a policy, by their type.
#[derive(Default)]
struct Authorities {
    notation: BTreeMap<AuthorityName, NotationAuthority>,
    cosign: BTreeMap<AuthorityName, Arc<Authority>>,
}

/// Whether the files of a trust store may be symbolic links.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Links {
    /// No, as notation has it.
    Refused,
    /// If they stay inside the store.
    Inside,
}

pub(super) struct Loader {
    pub(super) files: Files,
    /// The folder of the policy.
    pub(super) base: PathBuf,
    /// The time by which trusted roots are about to lapse.
    pub(super) now: Timestamp,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// One line for each file: its digest and what it is. No paths, so that equal files give equal revisions.
    contents: String,
    /// Every store that was read, or could not be, by its folder: authorities share stores, and their problems.
    stores: BTreeMap<(PathBuf, Links), Option<Arc<TrustStore>>>,
    /// Every trusted root that was read, or could not be.
    pub(super) roots: BTreeMap<RootSource, Option<ReadRoot>>,
    pub(super) watched: BTreeSet<PathBuf>,
}

impl Loader {
    fn new(files: Files, base: &Path, now: Timestamp) -> Self {
        Self {
            files,
            base: base.to_owned(),
            now,
            diagnostics: Vec::new(),
            contents: String::new(),
            stores: BTreeMap::new(),
            roots: BTreeMap::new(),
            watched: BTreeSet::new(),
        }
    }

    /// Makes a snapshot of what was read, unless something is wrong with it.
    fn finish(self, path: &Path, read: Option<(Policy, String, Authorities)>, revocation: LocalRevocation) -> Loaded {
        let mut diagnostics = self.diagnostics;
        let refused = has_errors(&diagnostics);
        let outcome = match read {
            Some((policy, document, authorities)) if !refused => Ok(TrustSnapshot {
                generation: 1,
                fingerprint: Digest::sha256(self.contents.as_bytes()),
                policy,
                path: path.to_owned(),
                document,
                loaded_at: self.now,
                is_proposed: false,
                notation: authorities.notation,
                cosign: authorities.cosign,
                revocation: Arc::new(revocation),
                denials: Arc::default(),
                exceptions: Vec::new(),
                warnings: diagnostics,
            }),
            _ => {
                // Whatever went wrong, a refusal says why.
                if !refused {
                    diagnostics.push(Diagnostic::error(&shown(path), "the policy cannot be used"));
                }
                Err(diagnostics)
            }
        };
        Loaded {
            outcome,
            watched: self.watched,
        }
    }

    fn read_blob_trust(&mut self, folder: &Path, name: Option<&str>) -> Option<(BlobStatement, TrustStores)> {
        if let Err(error) = self.files.check_folder(folder) {
            let help = format!("this folder holds {BLOB_TRUST_POLICY_FILE} and truststore/");
            self.refuse(folder, &error, Some(help));
            return None;
        }
        let path = folder.join(BLOB_TRUST_POLICY_FILE);
        if !self.files.is_present(&path) {
            let help = "signatures of files are judged by a trust policy of their own: trust-store-trust-policy.md of the \
                        Notary Project describes it";
            self.diagnostics
                .push(Diagnostic::error(&shown(&path), "the trust policy is not present").with_help(help));
            return None;
        }
        let text = self.read_text(&path, "trust policy for files")?;
        let parsed = BlobTrustPolicy::parse(&shown(&path), &text);
        self.diagnostics.extend(parsed.diagnostics);
        let policy = parsed.policy?;
        let statement = match policy.applicable(name) {
            Ok(statement) => statement.clone(),
            Err(error) => {
                self.diagnostics
                    .push(Diagnostic::error(&shown(&path), error.to_string()));
                return None;
            }
        };
        let needed_by = format!("{} (statement {})", shown(&path), Untrusted::new(&statement.name));
        let stores = self.read_stores(folder, &statement.trust_stores, "blobs", &needed_by, Links::Refused)?;
        Some((statement, stores))
    }

    fn read_policy(&mut self, path: &Path) -> Option<(Policy, String, Authorities)> {
        let base = self.base.clone();
        self.watched.insert(base.clone());
        let folder = if base.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &base
        };
        if self.files.is_present(path)
            && let Err(error) = self.files.check_folder(folder)
        {
            self.refuse(folder, &error, None);
        }
        let document = self.read_text(path, "policy")?;
        self.read_document(path, document)
    }

    /// Reads what a policy document names.
    fn read_document(&mut self, path: &Path, document: String) -> Option<(Policy, String, Authorities)> {
        let parsed = Policy::parse(&shown(path), &document);
        self.diagnostics.extend(parsed.diagnostics);
        let policy = parsed.policy?;
        let mut authorities = Authorities::default();
        for (name, document) in policy.authorities() {
            match self.read_authority(path, name, document) {
                Some(ReadAuthority::Notation(authority)) => {
                    authorities.notation.insert(name.clone(), authority);
                }
                Some(ReadAuthority::Cosign(authority)) => {
                    authorities.cosign.insert(name.clone(), authority);
                }
                // Why is among the diagnostics.
                None => {}
            }
        }
        self.warn_of_rules(path, &policy, &authorities.cosign);
        Some((policy, document, authorities))
    }

    fn read_authority(
        &mut self,
        policy: &Path,
        name: &AuthorityName,
        document: &AuthorityDocument,
    ) -> Option<ReadAuthority> {
        let (folder, trust_policy) = match &document.source {
            AuthoritySource::Notation(statement) => (
                self.base.join(INLINE_FOLDER),
                TrustPolicy::for_every_repository(statement.clone()),
            ),
            AuthoritySource::NotationFolder(folder) => {
                let folder = self.base.join(&**folder);
                let trust_policy = self.read_trust_policy(&folder, name)?;
                (folder, trust_policy)
            }
            AuthoritySource::Cosign(cosign) => {
                let authority = self.read_cosign(policy, name, document, cosign)?;
                return Some(ReadAuthority::Cosign(Arc::new(authority)));
            }
        };
        let needed_by = format!("{}:{} (authority {name})", shown(policy), document.place.line);
        let links = if document.follow_symlinks {
            Links::Inside
        } else {
            Links::Refused
        };
        let stores = self.read_stores(&folder, trust_policy.trust_stores(), name.as_str(), &needed_by, links)?;
        Some(ReadAuthority::Notation(NotationAuthority {
            policy: trust_policy,
            stores,
        }))
    }

    /// Reads all of these stores, so that every problem is reported; nothing where one cannot be used.
    fn read_stores<'a>(
        &mut self,
        folder: &Path,
        names: impl IntoIterator<Item = &'a TrustStoreName>,
        owner: &str,
        needed_by: &str,
        links: Links,
    ) -> Option<TrustStores> {
        let mut stores = BTreeMap::new();
        let mut complete = true;
        for name in names {
            match self.read_store(folder, name, owner, needed_by, links) {
                Some(read) => {
                    stores.insert(name.clone(), read);
                }
                None => complete = false,
            }
        }
        complete.then_some(TrustStores(stores))
    }

    /// Reads notation's own policy file. The second name counts only where the first does not exist: a file that is
    /// there and cannot be used is never passed over.
    fn read_trust_policy(&mut self, folder: &Path, name: &AuthorityName) -> Option<TrustPolicy> {
        self.watched.insert(folder.to_owned());
        if let Err(error) = self.files.check_folder(folder) {
            let help = format!("authority {name} names this folder: it holds trustpolicy.json and truststore/");
            self.refuse(folder, &error, Some(help));
            return None;
        }
        let present = |file: &&&str| self.files.is_present(&folder.join(file));
        let Some(file) = TRUST_POLICY_FILES.iter().find(present) else {
            let message = "the trust policy is not present";
            let help = format!("authority {name} needs trustpolicy.oci.json or trustpolicy.json in this folder");
            self.diagnostics
                .push(Diagnostic::error(&shown(folder), message).with_help(help));
            return None;
        };
        let path = folder.join(file);
        let text = self.read_text(&path, &format!("trust policy of {name}"))?;
        let parsed = TrustPolicy::parse(&shown(&path), &text);
        self.diagnostics.extend(parsed.diagnostics);
        parsed.policy
    }

    fn read_store(
        &mut self,
        folder: &Path,
        store: &TrustStoreName,
        owner: &str,
        needed_by: &str,
        links: Links,
    ) -> Option<Arc<TrustStore>> {
        let folder = folder
            .join(TRUST_STORE_FOLDER)
            .join(store.kind.as_str())
            .join(store.name());
        if let Some(read) = self.stores.get(&(folder.clone(), links)) {
            // What is in it is already part of the fingerprint; that this authority uses it is part of its policy.
            return read.clone();
        }
        self.watched.insert(folder.clone());
        let read = self.read_store_files(&folder, store, owner, needed_by, links);
        self.stores.insert((folder, links), read.clone());
        read
    }

    fn read_store_files(
        &mut self,
        folder: &Path,
        store: &TrustStoreName,
        owner: &str,
        needed_by: &str,
        links: Links,
    ) -> Option<Arc<TrustStore>> {
        let listed = match links {
            Links::Refused => self.files.list(folder),
            Links::Inside => self.files.list_inside(folder),
        };
        let paths = match listed {
            Ok(paths) => paths,
            Err(FileError::Missing) => {
                let message = format!("the trust store {store} does not exist");
                let help = format!("put its certificates into this folder; it is needed by {needed_by}");
                self.diagnostics
                    .push(Diagnostic::error(&shown(folder), message).with_help(help));
                return None;
            }
            Err(error) => {
                self.refuse(folder, &error, None);
                return None;
            }
        };
        let count = paths.len();
        let mut files = Vec::with_capacity(count);
        for path in paths {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let what = format!("{store} of {owner}");
            let content = match links {
                Links::Refused => self.files.read(&path, MAX_TRUST_STORE_FILE_SIZE),
                Links::Inside => self.files.read_inside(folder, &path, MAX_TRUST_STORE_FILE_SIZE),
            };
            if let (Some(name), Some(content)) = (name, self.record(&folder.join(&path), content, &what)) {
                files.push((name, content));
            }
        }
        if files.len() < count {
            return None;
        }
        let contents = files.iter().map(|(name, content)| (name.as_str(), content.as_slice()));
        match TrustStore::from_files(store.kind, contents) {
            Ok(store) => Some(Arc::new(store)),
            Err(error) => {
                let help = format!("the trust store {store} is needed by {needed_by}");
                self.diagnostics
                    .push(Diagnostic::error(&shown(folder), error.to_string()).with_help(help));
                None
            }
        }
    }

    /// Reads the CRLs and OCSP responses of a folder. It need not exist.
    fn read_revocation(&mut self, folder: &Path) -> LocalRevocation {
        self.watched.insert(folder.to_owned());
        let paths = match self.files.list(folder) {
            Ok(paths) => paths,
            Err(FileError::Missing) => return LocalRevocation::default(),
            Err(error) => {
                self.refuse(folder, &error, None);
                return LocalRevocation::default();
            }
        };
        // One is read when the one before it is taken in, and none once they are too much.
        let lists = paths.into_iter().filter(|path| !path.ends_with(DENY_LIST_FILE));
        let files = lists.filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some((
                name,
                self.read(&path, MAX_LOCAL_REVOCATION_FILE_SIZE, "revocation data")?,
            ))
        });
        LocalRevocation::from_files(files).unwrap_or_else(|error| {
            let help = "this folder holds CRLs and OCSP responses, in DER or PEM";
            self.diagnostics
                .push(Diagnostic::error(&shown(folder), error.to_string()).with_help(help));
            LocalRevocation::default()
        })
    }

    /// Reads a deny-list. The file need not exist; one that is broken is an error, never an empty list.
    fn read_deny_list(&mut self, path: &Path) -> DenyList {
        let Some(text) = self.read_optional(path, MAX_DENY_LIST_SIZE) else {
            return DenyList::default();
        };
        let parsed = DenyList::parse(&shown(path), &text);
        self.diagnostics.extend(parsed.diagnostics);
        parsed.list.unwrap_or_default()
    }

    /// Reads exceptions. The file need not exist.
    fn read_exceptions(&mut self, path: &Path) -> Exceptions {
        let Some(text) = self.read_optional(path, MAX_POLICY_SIZE) else {
            return Exceptions::default();
        };
        let parsed = Exceptions::parse(&shown(path), &text);
        self.diagnostics.extend(parsed.diagnostics);
        parsed.exceptions.unwrap_or_default()
    }

    /// A text that is not part of the fingerprint: what it says is looked at with every decision, so a change of it ends no
    /// verdict that it does not touch.
    fn read_optional(&mut self, path: &Path, limit: usize) -> Option<String> {
        match self.files.read(path, limit) {
            Ok(content) => self.text(path, content),
            Err(FileError::Missing) => None,
            Err(error) => {
                self.refuse(path, &error, None);
                None
            }
        }
    }

    fn text(&mut self, path: &Path, content: Vec<u8>) -> Option<String> {
        match String::from_utf8(content) {
            Ok(text) => Some(text),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                self.diagnostics.push(Diagnostic::error(
                    &shown(path),
                    format!("not UTF-8 text: byte {at} begins no character"),
                ));
                None
            }
        }
    }

    fn read_text(&mut self, path: &Path, what: &str) -> Option<String> {
        let content = self.read(path, MAX_POLICY_SIZE, what)?;
        self.text(path, content)
    }

    fn read(&mut self, path: &Path, limit: usize, what: &str) -> Option<Vec<u8>> {
        let content = self.files.read(path, limit);
        self.record(path, content, what)
    }

    /// Makes what was read part of the fingerprint, or says why it was not.
    pub(super) fn record(&mut self, path: &Path, content: Result<Vec<u8>, FileError>, what: &str) -> Option<Vec<u8>> {
        match content {
            Ok(content) => {
                // Writing to a string cannot fail.
                let _ = writeln!(self.contents, "{} {what}", Digest::sha256(&content));
                Some(content)
            }
            Err(error) => {
                self.refuse(path, &error, None);
                None
            }
        }
    }

    pub(super) fn refuse(&mut self, path: &Path, error: &FileError, help: Option<String>) {
        let diagnostic = Diagnostic::error(&shown(path), error.to_string());
        self.diagnostics.push(match error.help(path).or(help) {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        });
    }
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
