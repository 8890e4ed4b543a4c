//! The authorities of the policy, and whom each trusts in cosign's words.

use std::fmt::Write as _;
use std::time::SystemTime;

use assay_integration::SigstoreServices;
use assay_integration::cosign::{CertifiedKey, Identity, KeyPair, KeyType, Trust};

/// The repository of the authority `elsewhere`.
pub(crate) const ELSEWHERE: &str = "signatures/store";

/// Everybody who signs, and both sigstores.
pub(crate) struct Trusted {
    pub(crate) keys: Vec<(&'static str, KeyPair)>,
    pub(crate) release: CertifiedKey,
    /// Certified by an authority that soon counts no more.
    pub(crate) lapsing: CertifiedKey,
    pub(crate) lapses_at: SystemTime,
    pub(crate) services: SigstoreServices,
    pub(crate) other_services: SigstoreServices,
}

/// The names of keys in the tables.
pub(crate) const KEYS: [(&str, KeyType); 6] = [
    ("p256", KeyType::P256),
    ("p384", KeyType::P384),
    ("p521", KeyType::P521),
    ("rsa2048", KeyType::Rsa2048),
    ("rsa4096", KeyType::Rsa4096),
    ("ed25519", KeyType::Ed25519),
];

/// A regular expression that the workflow's name begins with.
const PART_OF_WORKFLOW: &str = "https://github.com/acme/app";

/// A rule that asks for an attestation.
pub(crate) struct AttestationRule {
    pub(crate) name: &'static str,
    /// Whom it asks for a signature too.
    signed_by: Option<&'static str>,
    /// Whose attestation.
    pub(crate) authority: &'static str,
    /// Of what, as cosign names it.
    pub(crate) kind: &'static str,
    builder: Option<&'static str>,
}

impl AttestationRule {
    /// The same in CUE.
    pub(crate) fn statement(&self) -> Option<String> {
        let builder = self.builder?;
        Some(format!("predicate: runDetails: builder: id: \"{builder}\"\n"))
    }

    fn terms(&self) -> String {
        let signed = self
            .signed_by
            .map(|name| format!("require = {{ all = [\"{name}\"] }}\n"));
        let builder = self.builder.map(|builder| format!(", builder = \"{builder}\""));
        let (kind, authority) = (self.kind, self.authority);
        format!(
            "{}require_attestations = [{{ type = \"{kind}\", authority = \"{authority}\"{} }}]",
            signed.unwrap_or_default(),
            builder.unwrap_or_default()
        )
    }
}

/// Who built what `cosign attest` is given here.
pub(crate) const BUILDER: &str = "https://builder.example.test";

pub(crate) const ATTESTATION_RULES: [AttestationRule; 6] = [
    AttestationRule {
        name: "provenance",
        signed_by: None,
        authority: "p256",
        kind: "slsaprovenance1",
        builder: None,
    },
    AttestationRule {
        name: "provenance-of-builder",
        signed_by: None,
        authority: "p256",
        kind: "slsaprovenance1",
        builder: Some(BUILDER),
    },
    AttestationRule {
        name: "provenance-of-other-builder",
        signed_by: None,
        authority: "p256",
        kind: "slsaprovenance1",
        builder: Some("https://other.example.test"),
    },
    AttestationRule {
        name: "keyless-provenance",
        signed_by: None,
        authority: "ci",
        kind: "slsaprovenance1",
        builder: None,
    },
    AttestationRule {
        name: "signed-with-provenance",
        signed_by: Some("p256"),
        authority: "p256",
        kind: "slsaprovenance1",
        builder: None,
    },
    AttestationRule {
        name: "bill-of-materials",
        signed_by: None,
        authority: "p256",
        kind: "spdxjson",
        builder: None,
    },
];

impl Trusted {
    pub(crate) fn key(&self, name: &str) -> Option<&KeyPair> {
        let found = self.keys.iter().find(|(known, _)| *known == name);
        found.map(|(_, key)| key)
    }

    /// Whom an authority trusts, and whose services.
    pub(crate) fn trust(&self, authority: &str) -> (Trust, Option<&SigstoreServices>) {
        let keyless = |issuer: &str, subject: &str| Trust::Keyless(Identity::new(issuer, subject));
        let ci = Identity::ci();
        match authority {
            "annotated" | "elsewhere" => (Trust::Key(self.key("p256").unwrap().clone()), None),
            "ci" | "ci-time" | "ci-log-and-time" => (Trust::Keyless(ci), Some(&self.services)),
            "other-subject" => (keyless(&ci.issuer, "other@example.test"), Some(&self.services)),
            "other-issuer" => (keyless("https://other.test", &ci.subject), Some(&self.services)),
            "other-services" => (Trust::Keyless(ci), Some(&self.other_services)),
            "workflow" => (Trust::Keyless(Identity::workflow()), Some(&self.services)),
            "other-workflow" => {
                let mut other = Identity::workflow();
                other.claims = vec![("repository", "acme/other".to_owned())];
                (Trust::Keyless(other), Some(&self.services))
            }
            "part-of-workflow" => {
                let trust = Trust::Matching {
                    issuer: Identity::workflow().issuer,
                    subject: PART_OF_WORKFLOW.to_owned(),
                };
                (trust, Some(&self.services))
            }
            "release" | "release-from-files" => {
                let intermediates = self.release.issuers_pem.strip_suffix(&self.release.root_pem);
                let trust = Trust::Certified {
                    identity: self.release.identity.clone(),
                    intermediates_pem: intermediates.unwrap_or_default().to_owned(),
                    root_pem: self.release.root_pem.clone(),
                };
                (trust, None)
            }
            key => {
                let (key, services) = match key.strip_suffix("-logged") {
                    Some(key) => (key, Some(&self.services)),
                    None => (key, None),
                };
                let key = self.key(key).unwrap_or_else(|| panic!("no authority {authority}"));
                (Trust::Key(key.clone()), services)
            }
        }
    }

    /// The policy, whose rule for each authority is for `HOST/AUTHORITY/*`, on both hosts.
    pub(crate) fn policy(&self, host: &str, other_host: &str) -> String {
        let identity = |identity: &Identity| {
            format!(
                "identities = [{{ issuer = \"{}\", subject = \"{}\" }}]\n",
                identity.issuer, identity.subject
            )
        };
        let evidence = |log: usize, time: usize| format!("transparency_log = {log}\ntimestamps = {time}\n");
        let services = "trusted_root = \"sigstore/services.json\"\n".to_owned();
        let workflow = |repository: &str, subject: &str| {
            let issuer = Identity::workflow().issuer;
            format!(
                "{services}identities = [{{ issuer = \"{issuer}\", subject_regex = '{subject}', \
                 source_repository = \"{repository}\", source_repository_ref = \"refs/heads/main\" }}]\n"
            ) + &evidence(1, 0)
        };
        let p256 = "keys = [\"keys/p256.pub\"]\n".to_owned();
        let ci = Identity::ci();
        let other_subject = Identity {
            subject: "other@example.test".into(),
            ..ci.clone()
        };
        let other_issuer = Identity {
            issuer: "https://other.test".into(),
            ..ci.clone()
        };
        let named = [
            ("annotated", format!("{p256}annotations = {{ env = \"prod\" }}\n")),
            ("elsewhere", format!("{p256}repository = \"{host}/{ELSEWHERE}\"\n")),
            ("ci", identity(&ci) + &services + &evidence(1, 0)),
            ("ci-time", identity(&ci) + &services + &evidence(0, 1)),
            ("ci-log-and-time", identity(&ci) + &services + &evidence(1, 1)),
            (
                "workflow",
                workflow(
                    "https://github.com/acme/app",
                    r"https://github\.com/acme/app/\.github/.*@refs/heads/main",
                ),
            ),
            ("other-workflow", workflow("https://github.com/acme/other", ".*")),
            (
                "part-of-workflow",
                workflow("https://github.com/acme/app", PART_OF_WORKFLOW),
            ),
            ("other-subject", identity(&other_subject) + &services + &evidence(1, 0)),
            ("other-issuer", identity(&other_issuer) + &services + &evidence(1, 0)),
            (
                "other-services",
                identity(&ci) + "trusted_root = \"sigstore/other.json\"\n" + &evidence(1, 0),
            ),
            (
                "release",
                identity(&self.release.identity)
                    + "trusted_root = \"sigstore/corp.json\"\nsigned_certificate_timestamps = 0\n"
                    + &evidence(0, 0),
            ),
        ];
        let mut authorities: Vec<_> = named.map(|(name, terms)| (name.to_owned(), terms)).into();
        for (name, file) in [("release-from-files", "intermediate"), ("lapsing", "lapsing")] {
            let files = format!("ca = [\"ca/root.pem\"]\nintermediates = [\"ca/{file}.pem\"]\n");
            authorities.push((name.to_owned(), identity(&self.release.identity) + &files));
        }
        for (name, _) in &self.keys {
            let key = format!("keys = [\"keys/{name}.pub\"]\n");
            authorities.push((format!("{name}-logged"), key.clone() + &services + &evidence(1, 0)));
            authorities.push(((*name).to_owned(), key));
        }
        let add_rule = |policy: &mut String, name: &str, terms: &str| {
            let images = format!("images = [\"{host}/{name}/*\", \"{other_host}/{name}/*\"]");
            let _ = writeln!(policy, "[[rule]]\nname = \"{name}\"\n{images}\n{terms}\n");
        };
        let mut policy = "version = 1\nunmatched = \"deny\"\n\n".to_owned();
        for (name, terms) in &authorities {
            let _ = writeln!(policy, "[authority.{name}]\ntype = \"cosign\"\n{terms}");
        }
        for (name, _) in &authorities {
            add_rule(&mut policy, name, &format!("require = {{ all = [\"{name}\"] }}"));
        }
        for rule in &ATTESTATION_RULES {
            add_rule(&mut policy, rule.name, &rule.terms());
        }
        policy
    }
}
