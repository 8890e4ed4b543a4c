//! A policy repository that can be made wrong in any way: documents are written by hand, and signed as they are.
//!
//! No library that follows the rules is used, because what breaks them has to be expressed, too.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod server;

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::digest::{Digest, hex};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;

pub(crate) const ROOT: &str = "root";
pub(crate) const TIMESTAMP: &str = "timestamp";
pub(crate) const SNAPSHOT: &str = "snapshot";
pub(crate) const TARGETS: &str = "targets";
pub(crate) const REVOCATIONS: &str = "revocations";
pub(crate) const EXCEPTIONS: &str = "exceptions";

/// Every role but the root, each before those that name its file.
pub(crate) const BELOW_ROOT: [&str; 5] = [REVOCATIONS, EXCEPTIONS, TARGETS, SNAPSHOT, TIMESTAMP];

/// Files by their paths from the repository's base.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// When the tests take place.
pub(crate) fn now() -> Timestamp {
    at("2026-12-01T00:00:00Z")
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A key.
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            pair: Ed25519KeyPair::generate().unwrap(),
        })
    }

    pub(crate) fn key(&self) -> Value {
        json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex(self.pair.public_key().as_ref()) } })
    }

    pub(crate) fn id(&self) -> String {
        Digest::sha256(&to_canonical_bytes(&self.key()).unwrap())
            .hex()
            .to_owned()
    }

    pub(crate) fn signature(&self, signed: &Value) -> Value {
        let signature = self.pair.sign(&to_canonical_bytes(signed).unwrap());
        json!({ "keyid": self.id(), "sig": hex(signature.as_ref()) })
    }
}

/// Who signs for a role, and how many of them have to.
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) signers: Vec<Arc<Signer>>,
    pub(crate) threshold: u64,
}

impl Authority {
    pub(crate) fn new(signers: usize, threshold: u64) -> Self {
        Self {
            signers: (0..signers).map(|_| Signer::new()).collect(),
            threshold,
        }
    }

    fn role(&self) -> Value {
        let ids: Vec<String> = self.signers.iter().map(|signer| signer.id()).collect();
        json!({ "keyids": ids, "threshold": self.threshold })
    }
}

/// Changes a document of a role, before it is signed or after.
pub(crate) type Change = Box<dyn Fn(&str, &mut Value)>;

/// The repository, as its owner has it.
pub(crate) struct Repository {
    pub(crate) authorities: BTreeMap<&'static str, Authority>,
    pub(crate) versions: BTreeMap<&'static str, u64>,
    pub(crate) expires: BTreeMap<&'static str, Timestamp>,
    pub(crate) signed_at: Value,
    /// The targets that each role signs, by their paths.
    pub(crate) targets: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
    /// The delegations, as the targets have them.
    pub(crate) delegations: Vec<(&'static str, Vec<&'static str>)>,
    /// Done to each document before it is signed.
    pub(crate) before_signing: Option<Change>,
    /// Done to each document with its signatures.
    pub(crate) after_signing: Option<Change>,
    /// What was published so far.
    pub(crate) files: Files,
}

impl Repository {
    /// A repository with everything that it may have, published.
    pub(crate) fn new() -> Self {
        let mut repository = Self {
            authorities: BTreeMap::from([
                (ROOT, Authority::new(3, 2)),
                (TARGETS, Authority::new(3, 2)),
                (SNAPSHOT, Authority::new(1, 1)),
                (TIMESTAMP, Authority::new(1, 1)),
                (REVOCATIONS, Authority::new(2, 1)),
                (EXCEPTIONS, Authority::new(2, 2)),
            ]),
            versions: BELOW_ROOT.into_iter().chain([ROOT]).map(|role| (role, 1)).collect(),
            expires: BTreeMap::from([
                (ROOT, at("2028-01-01T00:00:00Z")),
                (TARGETS, at("2027-06-01T00:00:00Z")),
                (SNAPSHOT, at("2027-06-01T00:00:00Z")),
                (TIMESTAMP, at("2026-12-02T00:00:00Z")),
                (REVOCATIONS, at("2027-06-01T00:00:00Z")),
                (EXCEPTIONS, at("2027-06-01T00:00:00Z")),
            ]),
            signed_at: json!("2026-11-30T23:59:00Z"),
            targets: BTreeMap::new(),
            delegations: vec![(REVOCATIONS, vec!["revocation/*"]), (EXCEPTIONS, vec!["exceptions/*"])],
            before_signing: None,
            after_signing: None,
            files: Files::new(),
        };
        repository.put(TARGETS, "channels/stable/policy.toml", "policy 1");
        repository.put(
            TARGETS,
            "channels/stable/notation/truststore/x509/ca/corp/Corp Root (1).crt",
            "root",
        );
        repository.put(TARGETS, "channels/canary/policy.toml", "canary's policy");
        repository.put(REVOCATIONS, "revocation/deny.json", "deny 1");
        repository.put(EXCEPTIONS, "exceptions/break-glass.toml", "exceptions 1");
        repository.publish_root(&[]);
        repository.publish();
        repository
    }

    pub(crate) fn put(&mut self, role: &'static str, path: &str, content: &str) {
        self.targets
            .entry(role)
            .or_default()
            .insert(path.to_owned(), content.into());
    }

    /// The root that nodes pin.
    pub(crate) fn pinned(&self) -> Vec<u8> {
        self.files["1.root.json"].clone()
    }

    fn sign(&self, role: &str, mut document: Value, signers: &[Arc<Signer>]) -> Vec<u8> {
        if let Some(change) = &self.before_signing {
            change(role, &mut document);
        }
        let signatures: Vec<Value> = signers.iter().map(|signer| signer.signature(&document)).collect();
        let mut envelope = json!({ "signed": document, "signatures": signatures });
        if let Some(change) = &self.after_signing {
            change(role, &mut envelope);
        }
        envelope.to_string().into_bytes()
    }

    fn head(&self, role: &str, kind: &str) -> Value {
        json!({
            "_type": kind,
            "spec_version": "1.0.31",
            "version": self.versions[role],
            "expires": self.expires[role].to_string(),
        })
    }

    /// Publishes the root of the present version, also signed by `before`: those who could sign the one before it.
    pub(crate) fn publish_root(&mut self, before: &[Arc<Signer>]) {
        let mut document = self.head(ROOT, ROOT);
        document["consistent_snapshot"] = true.into();
        document["keys"] = json!({});
        document["roles"] = json!({});
        for role in [ROOT, TIMESTAMP, SNAPSHOT, TARGETS] {
            let authority = &self.authorities[role];
            document["roles"][role] = authority.role();
            for signer in &authority.signers {
                document["keys"][signer.id()] = signer.key();
            }
        }
        let mut signers = self.authorities[ROOT].signers.clone();
        for signer in before {
            if signers.iter().all(|one| one.id() != signer.id()) {
                signers.push(Arc::clone(signer));
            }
        }
        let bytes = self.sign(ROOT, document, &signers);
        self.files.insert(format!("{}.root.json", self.versions[ROOT]), bytes);
    }

    /// Gives roles other keys, in a new root that the owners of the old one sign.
    pub(crate) fn rotate(&mut self, change: impl FnOnce(&mut BTreeMap<&'static str, Authority>)) {
        let before = self.authorities[ROOT].signers.clone();
        change(&mut self.authorities);
        *self.versions.get_mut(ROOT).unwrap() += 1;
        self.publish_root(&before);
    }

    /// Publishes the present versions of every role below the root, and all targets.
    pub(crate) fn publish(&mut self) {
        let mut pins: BTreeMap<&str, Value> = BTreeMap::new();
        for role in BELOW_ROOT {
            let mut document = match role {
                TIMESTAMP | SNAPSHOT => self.head(role, role),
                _ => self.head(role, TARGETS),
            };
            match role {
                TIMESTAMP => {
                    document["meta"] = json!({ "snapshot.json": pins[SNAPSHOT] });
                    if !self.signed_at.is_null() {
                        document["x-assayd-signed-at"] = self.signed_at.clone();
                    }
                }
                SNAPSHOT => {
                    document["meta"] = json!({ "targets.json": pins[TARGETS] });
                    for (role, _) in &self.delegations {
                        document["meta"][format!("{role}.json")] = pins[role].clone();
                    }
                }
                _ => document["targets"] = self.describe(role),
            }
            if role == TARGETS {
                document["delegations"] = self.delegate();
            }
            let bytes = self.sign(role, document, &self.authorities[role].signers);
            let version = self.versions[role];
            pins.insert(
                role,
                json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": Digest::sha256(&bytes).hex() } }),
            );
            let name = match role {
                TIMESTAMP => "timestamp.json".to_owned(),
                _ => format!("{version}.{role}.json"),
            };
            self.files.insert(name, bytes);
        }
    }

    fn describe(&mut self, role: &str) -> Value {
        let mut described = json!({});
        let targets = self.targets.get(role).cloned().unwrap_or_default();
        for (path, content) in targets {
            let digest = Digest::sha256(&content);
            described[&path] = json!({ "length": content.len(), "hashes": { "sha256": digest.hex() } });
            let stored = match path.rsplit_once('/') {
                Some((folder, name)) => format!("targets/{folder}/{}.{name}", digest.hex()),
                None => format!("targets/{}.{path}", digest.hex()),
            };
            self.files.insert(stored, content);
        }
        described
    }

    fn delegate(&self) -> Value {
        let (mut keys, mut roles) = (json!({}), Vec::new());
        for (role, paths) in &self.delegations {
            let authority = &self.authorities[role];
            for signer in &authority.signers {
                keys[signer.id()] = signer.key();
            }
            let mut delegated = authority.role();
            delegated["name"] = (*role).into();
            delegated["paths"] = json!(paths);
            delegated["terminating"] = true.into();
            roles.push(delegated);
        }
        json!({ "keys": keys, "roles": roles })
    }

    /// Raises the versions of these roles.
    pub(crate) fn bump(&mut self, roles: &[&'static str]) {
        for role in roles {
            *self.versions.get_mut(role).unwrap() += 1;
        }
    }

    /// Publishes another policy and another deny-list, with new versions of everything.
    pub(crate) fn update(&mut self, content: &str) {
        self.put(TARGETS, "channels/stable/policy.toml", &format!("policy {content}"));
        self.put(REVOCATIONS, "revocation/deny.json", &format!("deny {content}"));
        self.bump(&BELOW_ROOT);
        self.publish();
    }

    /// Stops doing wrong.
    pub(crate) fn behave(&mut self) {
        self.before_signing = None;
        self.after_signing = None;
    }

    /// The file with a role's present metadata.
    pub(crate) fn file(&self, role: &str) -> String {
        match role {
            TIMESTAMP => "timestamp.json".to_owned(),
            _ => format!("{}.{role}.json", self.versions[role]),
        }
    }

    /// The file with a target's present content.
    pub(crate) fn target_file(&self, path: &str) -> String {
        let content = self.targets.values().find_map(|targets| targets.get(path)).unwrap();
        let (folder, name) = path.rsplit_once('/').unwrap();
        format!("targets/{folder}/{}.{name}", Digest::sha256(content).hex())
    }
}
