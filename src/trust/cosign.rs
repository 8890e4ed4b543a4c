//! Reads what an authority of the type `cosign` names: keys, certificates and trusted roots.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_verify::document::Diagnostic;
use assay_verify::limits::{MAX_KEY_SIZE, MAX_TRUST_STORE_FILE_SIZE, MAX_TRUSTED_ROOT_SIZE};
use assay_verify::notation::trust_store::parse_file;
use assay_verify::policy::cosign::{AnchorsDocument, CosignDocument, FileName, RootName, ShippedRoot, SignersDocument};
use assay_verify::policy::{AuthorityDocument, AuthorityName, Effect, Policy};
use assay_verify::sigstore::authority::{Authority, RequiredEvidence, Signers};
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::second_opinion::SecondOpinion;
use assay_verify::sigstore::trusted_root::{Parts, TrustedRoot};
use assay_verify::untrusted::Untrusted;
use assay_verify::x509::certificate::Certificate;

use super::files::FileError;
use super::load::{Loader, shown};
use super::shipped::shipped;

/// A trusted root, whoever names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RootSource {
    Shipped(ShippedRoot),
    File(PathBuf),
}

impl RootSource {
    /// Its name for people.
    fn shown(&self) -> String {
        match self {
            Self::Shipped(root) => format!("the trusted root \"{}\" of {}", root.as_str(), shipped(*root).date),
            Self::File(path) => format!("the trusted root {}", shown(path)),
        }
    }

    fn way_out(&self) -> &'static str {
        match self {
            Self::Shipped(_) => "install a newer assayd, or name the file of a newer trusted root",
            Self::File(_) => "put the current trusted root into this file",
        }
    }
}

/// A trusted root that was read.
#[derive(Clone, Default)]
pub(super) struct ReadRoot {
    root: Arc<TrustedRoot>,
    /// Another implementation with the same root, where it came as a file of its own format.
    second_opinion: Option<Arc<SecondOpinion>>,
}

/// Where in the policy an authority stands.
struct Owner<'a> {
    policy: &'a Path,
    name: &'a AuthorityName,
    document: &'a AuthorityDocument,
}

impl Owner<'_> {
    fn error(&self, message: String) -> Diagnostic {
        Diagnostic::error(&shown(self.policy), format!("authority {}: {message}", self.name)).at(self.document.place)
    }

    fn warning(&self, message: String) -> Diagnostic {
        Diagnostic::warning(&shown(self.policy), format!("authority {}: {message}", self.name)).at(self.document.place)
    }

    fn needed(&self) -> String {
        format!(
            "it is needed by {}:{} (authority {})",
            shown(self.policy),
            self.document.place.line,
            self.name
        )
    }
}

impl Loader {
    /// Reads everything that an authority names, so that every problem is reported; nothing where something cannot be used.
    pub(super) fn read_cosign(
        &mut self,
        policy: &Path,
        name: &AuthorityName,
        document: &AuthorityDocument,
        cosign: &CosignDocument,
    ) -> Option<Authority> {
        let owner = Owner { policy, name, document };
        let (signers, root) = match &cosign.signers {
            SignersDocument::Keys { files, root } => {
                let keys = self.read_all(files, |loader, file| loader.read_key(&owner, file));
                let root = match root {
                    Some(root) => self.read_root(&owner, root),
                    None => Some(ReadRoot::default()),
                };
                (keys.map(Signers::Keys), root)
            }
            SignersDocument::Identities { anchors, identities } => {
                let root = match anchors {
                    AnchorsDocument::TrustedRoot(root) => self.read_root(&owner, root),
                    AnchorsDocument::Certificates { anchors, intermediates } => {
                        self.read_certificate_authorities(&owner, anchors, intermediates)
                    }
                };
                (Some(Signers::Identities(identities.clone())), root)
            }
        };
        let (signers, read) = (signers?, root?);
        let root = read.root;
        let evidence = match cosign.required_evidence(&root) {
            Ok(evidence) => evidence,
            Err(error) => {
                let help = format!("ask for at most {}, or use a trusted root with more", error.present);
                self.diagnostics.push(owner.error(error.to_string()).with_help(help));
                return None;
            }
        };
        if matches!(signers, Signers::Identities(_)) && root.certificate_authorities.is_empty() {
            let help = "identities are what certificates say: use a trusted root that has certificateAuthorities";
            let message = "its trusted root has no certificate authority".to_owned();
            self.diagnostics.push(owner.error(message).with_help(help));
            return None;
        }
        self.warn(&owner, cosign, &signers, &root, evidence);
        Some(Authority {
            signers,
            root,
            second_opinion: read.second_opinion,
            evidence,
            annotations: cosign.annotations.clone(),
            accept_dsse_v0_0_2: cosign.accept_dsse_v0_0_2,
            repository: cosign.repository.clone(),
        })
    }

    fn read_all<T>(&mut self, files: &[FileName], read: impl Fn(&mut Self, &FileName) -> Option<T>) -> Option<Vec<T>> {
        let found: Vec<T> = files.iter().filter_map(|file| read(self, file)).collect();
        (found.len() == files.len()).then_some(found)
    }

    /// Reads a file that an authority names. Nobody else may be able to put another one in its place.
    fn read_named(&mut self, owner: &Owner<'_>, file: &Path, limit: usize, what: &str) -> Option<Vec<u8>> {
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        self.watched.insert(folder.to_owned());
        match self.files.check_folder(folder) {
            // Then the file is missing, too.
            Ok(()) | Err(FileError::Missing) => {}
            Err(error) => {
                self.refuse(folder, &error, None);
                return None;
            }
        }
        let content = self.files.read(file, limit);
        if matches!(content, Err(FileError::Missing)) {
            self.refuse(file, &FileError::Missing, Some(owner.needed()));
            return None;
        }
        self.record(file, content, what)
    }

    fn read_key(&mut self, owner: &Owner<'_>, file: &FileName) -> Option<VerificationKey> {
        let path = self.base.join(file.as_str());
        let content = self.read_named(owner, &path, MAX_KEY_SIZE, &format!("key of {}", owner.name))?;
        let text = String::from_utf8_lossy(&content);
        match VerificationKey::from_pem(&text) {
            Ok(key) => Some(key),
            Err(error) => {
                let help = "expected a PEM file with one public key or certificate, such as cosign's cosign.pub";
                self.diagnostics
                    .push(Diagnostic::error(&shown(&path), error.to_string()).with_help(help));
                None
            }
        }
    }

    fn read_certificate_authorities(
        &mut self,
        owner: &Owner<'_>,
        anchors: &[FileName],
        intermediates: &[FileName],
    ) -> Option<ReadRoot> {
        let anchors = self.read_all(anchors, |loader, file| {
            loader.read_certificates(owner, file, "authority")
        });
        let below = self.read_all(intermediates, |loader, file| {
            loader.read_certificates(owner, file, "intermediate")
        });
        let parts = Parts {
            certificate_authorities: anchors?.concat(),
            intermediates: below?.concat(),
            ..Parts::default()
        };
        match TrustedRoot::from_parts(parts) {
            Ok(root) => Some(ReadRoot {
                root: Arc::new(root),
                second_opinion: None,
            }),
            Err(error) => {
                let help = "ca has the certificates that are trusted, intermediates what they issued";
                self.diagnostics.push(owner.error(error.to_string()).with_help(help));
                None
            }
        }
    }

    /// The certificates of a file: at least one, each of an authority.
    fn read_certificates(&mut self, owner: &Owner<'_>, file: &FileName, what: &str) -> Option<Vec<Certificate>> {
        let path = self.base.join(file.as_str());
        let what = format!("{what} of {}", owner.name);
        let content = self.read_named(owner, &path, MAX_TRUST_STORE_FILE_SIZE, &what)?;
        let problem = match parse_file(&content) {
            Ok(found) if found.is_empty() => "it has no certificate".to_owned(),
            Ok(found) => match found.iter().find(|certificate| !certificate.is_ca()) {
                None => return Some(found),
                Some(other) => format!("the certificate {other} is not that of a certificate authority"),
            },
            Err(error) => error.to_string(),
        };
        let help = format!(
            "expected certificates of authorities, in PEM or DER; {}",
            owner.needed()
        );
        self.diagnostics
            .push(Diagnostic::error(&shown(&path), problem).with_help(help));
        None
    }

    /// Reads a trusted root once, however many authorities name it.
    fn read_root(&mut self, owner: &Owner<'_>, root: &RootName) -> Option<ReadRoot> {
        let source = match root {
            RootName::Shipped(root) => RootSource::Shipped(*root),
            RootName::File(file) => RootSource::File(self.base.join(file.as_str())),
        };
        if let Some(read) = self.roots.get(&source) {
            return read.clone();
        }
        let (path, content) = match &source {
            RootSource::Shipped(root) => {
                let path = PathBuf::from(root.as_str());
                let content = self.record(&path, Ok(shipped(*root).json.to_vec()), "shipped trusted root");
                (path, content)
            }
            RootSource::File(path) => {
                let content = self.read_named(owner, path, MAX_TRUSTED_ROOT_SIZE, "trusted root");
                (path.clone(), content)
            }
        };
        let read = content.and_then(|content| match TrustedRoot::parse(&content) {
            Ok(root) => Some(ReadRoot {
                root: Arc::new(root),
                second_opinion: Some(Arc::new(SecondOpinion::new(&content))),
            }),
            Err(error) => {
                let help = format!("expected a trusted_root.json of sigstore; {}", owner.needed());
                self.diagnostics
                    .push(Diagnostic::error(&shown(&path), error.to_string()).with_help(help));
                None
            }
        });
        if let Some(read) = &read {
            self.warn_of_end(owner, &source, &read.root);
        }
        self.roots.insert(source, read.clone());
        read
    }

    /// What is valid and probably not meant.
    fn warn(
        &mut self,
        owner: &Owner<'_>,
        cosign: &CosignDocument,
        signers: &Signers,
        root: &TrustedRoot,
        evidence: RequiredEvidence,
    ) {
        let vouchers = !root.logs.is_empty() || !root.timestamp_authorities.is_empty();
        if matches!(signers, Signers::Identities(_)) && vouchers && !evidence.verified_time {
            let message = "nobody vouches for a time, so certificates have to be valid when they are judged";
            let help = "Fulcio's are valid for ten minutes: remove transparency_log = 0 or timestamps = 0";
            self.diagnostics.push(owner.warning(message.to_owned()).with_help(help));
        }
        let idle = root.logs.is_empty() && cosign.stated.timestamps.is_none();
        if matches!(signers, Signers::Keys(_)) && cosign.root().is_some() && idle {
            let message =
                "its trusted root asks for nothing: it has no log, and nothing says that timestamps are needed";
            let help = "write timestamps = 1, or timestamps = 0 if none is needed, or remove trusted_root";
            self.diagnostics.push(owner.warning(message.to_owned()).with_help(help));
        }
        if cosign.accept_dsse_v0_0_2 && root.logs.is_empty() {
            let message = "accept_dsse_v0_0_2 changes nothing: its trusted root has no log";
            self.diagnostics
                .push(owner.warning(message.to_owned()).with_help("remove it"));
        }
    }

    /// What was signed in time stays good, but nothing new will be once nobody can vouch for it.
    fn warn_of_end(&mut self, owner: &Owner<'_>, source: &RootSource, root: &TrustedRoot) {
        for lapse in root.lapses(self.now) {
            let warning = owner.warning(format!("{} has {lapse}", source.shown()));
            let help = format!("new signatures will be refused: {}", source.way_out());
            self.diagnostics.push(warning.with_help(help));
        }
    }

    /// What a rule asks of its authorities of the type `cosign`, and one of them can never give.
    pub(super) fn warn_of_rules(
        &mut self,
        path: &Path,
        policy: &Policy,
        read: &BTreeMap<AuthorityName, Arc<Authority>>,
    ) {
        // Of what a bare key signs nothing proves when: anybody can have an old signature stamped again.
        let timeless = |name: &AuthorityName| {
            read.get(name).is_some_and(|authority| {
                let root = &authority.root;
                let nobody = root.logs.is_empty() && root.timestamp_authorities.is_empty();
                nobody || matches!(authority.signers, Signers::Keys(_))
            })
        };
        for rule in policy.rules() {
            let Effect::Require {
                requirements,
                conditions,
                ..
            } = rule.effect()
            else {
                continue;
            };
            let mut found = BTreeSet::new();
            if conditions.minimum_signing_time.is_some() {
                let names = requirements.authorities().filter(|name| timeless(name));
                found.extend(names.map(|name| (name, "minimum_signing_time")));
            }
            // A scan says itself when it ended.
            let aged = requirements
                .attestations()
                .iter()
                .filter(|asked| asked.max_age().is_some() && !asked.predicate_type().is_vulnerability_scan());
            let names = aged.map(|asked| asked.authority()).filter(|name| timeless(name));
            found.extend(names.map(|name| (name, "max_age")));
            for (name, key) in found {
                let Some(document) = policy.authorities().get(name) else {
                    continue;
                };
                let owner = Owner {
                    policy: path,
                    name,
                    document,
                };
                let message = format!(
                    "it can never satisfy {key} in rule \"{}\": nothing proves when it signed",
                    Untrusted::new(rule.name())
                );
                let help = format!(
                    "use identities with a trusted_root that has logs or timestamp authorities, or remove {key}"
                );
                self.diagnostics.push(owner.warning(message).with_help(help));
            }
        }
    }
}
