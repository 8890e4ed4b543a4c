//! Loading authorities of the type `cosign`, on real files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::judge::AuthorityTerms;
use assay_verify::policy::cosign::ShippedRoot;
use assay_verify::sigstore::authority::Signers;
use assay_verify::sigstore::trusted_root::{Coverage, Role, TrustedRoot};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::trust::shipped::shipped;
use crate::trust::{Loaded, TrustSnapshot, load};

const IDENTITIES: &str = "identities = [{ issuer = \"https://idp.example\", subject = \"a@corp.example\" }]\n";

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    /// A policy that needs one authority with these lines.
    fn new(lines: &str) -> Self {
        let node = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        node.authority(lines);
        node.write("keys/a.pub", &KeyPair::generate().unwrap().public_key_pem());
        node.write("keys/b.pub", &KeyPair::generate().unwrap().public_key_pem());
        node
    }

    fn authority(&self, lines: &str) {
        self.write(
            "policy.toml",
            &format!(
                "version = 1\nunmatched = \"deny\"\n[authority.corp]\ntype = \"cosign\"\n{lines}\n[[rule]]\nname = \"all\"\nimages = [\"**\"]\nrequire = {{ all = [\"corp\"] }}\n"
            ),
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        self.mode(name, 0o644);
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.mode(folder, 0o755);
        }
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load_at(&self, now: Timestamp) -> Loaded {
        load(&self.path("policy.toml"), nix::unistd::geteuid().as_raw(), now)
    }

    #[track_caller]
    fn snapshot(&self) -> TrustSnapshot {
        self.load_at(now())
            .outcome
            .unwrap_or_else(|errors| panic!("{errors:#?}"))
    }

    fn warnings_at(&self, time: &str) -> Vec<String> {
        let snapshot = self.load_at(time.parse().unwrap()).outcome.unwrap();
        snapshot.warnings.iter().map(ToString::to_string).collect()
    }

    /// The policy has exactly this problem.
    #[track_caller]
    fn refused(&self, expected: &str) {
        let prefix = format!("{}/", self.folder.path().display());
        let errors = self.load_at(now()).outcome.unwrap_err();
        let found: Vec<String> = errors
            .iter()
            .map(|error| error.to_string().replace(&prefix, ""))
            .collect();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(expected), "{}\ndoes not say\n{expected}", found[0]);
    }
}

#[track_caller]
fn authority(snapshot: &TrustSnapshot) -> &Arc<super::Authority> {
    snapshot.cosign(&"corp".parse().unwrap()).unwrap()
}

fn certificate_authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2040, 1, 1);
    (parameters, KeyPair::generate().unwrap())
}

#[test]
fn loads_keys_and_needs_nothing_beside_them() {
    let node = Node::new("keys = [\"keys/a.pub\", \"keys/b.pub\"]");
    let snapshot = node.snapshot();
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
    let found = authority(&snapshot);
    assert!(matches!(&found.signers, Signers::Keys(keys) if keys.len() == 2));
    assert_eq!(found.evidence, super::RequiredEvidence::default());
    assert!(found.root.parties().is_empty());
    assert!(node.load_at(now()).watched.contains(&node.path("keys")));
    let terms = snapshot.terms(&"corp".parse().unwrap(), &"alpine".parse().unwrap());
    assert!(matches!(terms, AuthorityTerms::Cosign { .. }), "{terms:?}");
}

#[test]
fn loads_a_trusted_root_that_is_shipped_or_a_file() {
    let node = Node::new(&format!("trusted_root = \"public-good\"\n{IDENTITIES}"));
    let snapshot = node.snapshot();
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
    let found = authority(&snapshot);
    assert_eq!(
        (found.evidence.log_entries, found.evidence.signed_certificate_timestamps),
        (1, 1)
    );
    assert!(found.evidence.verified_time);

    // GitHub's own has no logs, and works as it is.
    node.authority(&format!("trusted_root = \"github\"\n{IDENTITIES}"));
    let github = node.snapshot();
    let found = authority(&github);
    assert_eq!(
        (found.evidence.log_entries, found.evidence.signed_certificate_timestamps),
        (0, 0)
    );
    assert!(found.evidence.verified_time);
    assert_ne!(snapshot.fingerprint, github.fingerprint);

    let text = String::from_utf8(shipped(ShippedRoot::PublicGood).json.to_vec()).unwrap();
    node.write("sigstore/root.json", &text);
    node.authority(&format!("trusted_root = \"sigstore/root.json\"\n{IDENTITIES}"));
    assert_eq!(authority(&node.snapshot()).evidence.log_entries, 1);
    assert!(node.load_at(now()).watched.contains(&node.path("sigstore")));
}

#[test]
fn the_shipped_roots_are_of_their_date_and_last() {
    for root in ShippedRoot::ALL {
        let parsed = TrustedRoot::parse(shipped(root).json).unwrap();
        assert!(!parsed.certificate_authorities.is_empty() && !parsed.timestamp_authorities.is_empty());
        let date: Timestamp = format!("{}T00:00:00Z", shipped(root).date).parse().unwrap();
        for role in Role::ALL {
            let present = parsed.parties().iter().any(|party| party.role == role);
            let covered = parsed.coverage(role, date) != Coverage::None;
            assert_eq!(present, covered, "{root:?} {role:?}");
        }
    }
}

#[test]
fn authorities_share_a_trusted_root() {
    let node = Node::new(&format!(
        "trusted_root = \"public-good\"\n{IDENTITIES}[authority.other]\ntype = \"cosign\"\nkeys = [\"keys/a.pub\"]\ntrusted_root = \"public-good\"\n"
    ));
    let snapshot = node.snapshot();
    let other = snapshot.cosign(&"other".parse().unwrap()).unwrap();
    assert!(Arc::ptr_eq(&other.root, &authority(&snapshot).root));
    // A key needs no certificate, so no promise about one; the logs of the root count.
    assert_eq!(
        (other.evidence.log_entries, other.evidence.signed_certificate_timestamps),
        (1, 0)
    );
    assert!(!other.evidence.verified_time);
}

#[test]
fn loads_own_certificate_authorities() {
    let node = Node::new(&format!(
        "ca = [\"keys/ca.pem\"]\nintermediates = [\"keys/below.pem\"]\n{IDENTITIES}"
    ));
    let (root, root_key) = certificate_authority("root");
    let (below, below_key) = certificate_authority("below");
    let issuer = Issuer::from_params(&root, &root_key);
    node.write("keys/ca.pem", &root.self_signed(&root_key).unwrap().pem());
    node.write("keys/below.pem", &below.signed_by(&below_key, &issuer).unwrap().pem());
    let snapshot = node.snapshot();
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
    let found = authority(&snapshot);
    assert_eq!(found.root.certificate_authorities.len(), 2);
    assert_eq!(found.evidence, super::RequiredEvidence::default());

    let (stray, stray_key) = certificate_authority("stray");
    node.write("keys/below.pem", &stray.self_signed(&stray_key).unwrap().pem());
    node.refused("is issued by none of the certificate authorities");
    node.write("keys/below.pem", &root.self_signed(&root_key).unwrap().pem());
    let mut leaf = CertificateParams::default();
    leaf.is_ca = IsCa::NoCa;
    node.write("keys/ca.pem", &leaf.self_signed(&root_key).unwrap().pem());
    node.refused("is not that of a certificate authority");
    node.write("keys/ca.pem", "nothing\n");
    assert!(node.load_at(now()).outcome.is_err());
    node.write("keys/ca.pem", "");
    node.refused("keys/ca.pem: error: it has no certificate");
}

#[test]
fn a_changed_key_is_another_revision() {
    let node = Node::new("keys = [\"keys/a.pub\"]");
    let first = node.snapshot();
    assert_eq!(first.fingerprint, node.snapshot().fingerprint);
    node.write("keys/a.pub", &KeyPair::generate().unwrap().public_key_pem());
    assert_ne!(first.fingerprint, node.snapshot().fingerprint);
}

#[test]
fn a_key_is_a_file_that_nobody_else_may_write_or_replace() {
    let node = Node::new("keys = [\"keys/a.pub\"]");
    node.mode("keys/a.pub", 0o666);
    node.refused("keys/a.pub: error: its group or everyone may write it");
    node.mode("keys/a.pub", 0o644);
    node.mode("keys", 0o777);
    node.refused("keys: error: its group or everyone may write it");
    node.mode("keys", 0o755);
    fs::remove_file(node.path("keys/a.pub")).unwrap();
    node.refused("keys/a.pub: error: there is no such file\n  help: it is needed by policy.toml:3 (authority corp)");
    symlink("b.pub", node.path("keys/a.pub")).unwrap();
    node.refused("keys/a.pub: error: symbolic links are not supported");
    fs::remove_dir_all(node.path("keys")).unwrap();
    node.refused("keys/a.pub: error: there is no such file");
}

#[test]
fn names_the_file_and_the_way_out_of_what_is_no_key() {
    let node = Node::new("keys = [\"keys/a.pub\"]");
    for content in ["", "ssh-ed25519 AAAA", &KeyPair::generate().unwrap().serialize_pem()] {
        node.write("keys/a.pub", content);
        node.refused("expected a PEM file with one public key or certificate");
    }
    node.write("keys/a.pub", &"x".repeat(1 << 20));
    node.refused("keys/a.pub: error: larger than");
}

#[test]
fn a_root_that_cannot_be_used_refuses_the_policy() {
    let node = Node::new(&format!("trusted_root = \"sigstore/root.json\"\n{IDENTITIES}"));
    node.refused("sigstore/root.json: error: there is no such file");
    node.write("sigstore/root.json", "{}");
    node.refused("expected a trusted_root.json of sigstore");
    node.authority(&format!(
        "trusted_root = \"github\"\ntransparency_log = 1\n{IDENTITIES}"
    ));
    node.refused("policy.toml:3:12: error: authority corp: transparency_log is 1, and the trusted root has 0");
}

#[test]
fn warns_when_nobody_vouches_for_a_time() {
    let node = Node::new(&format!("trusted_root = \"github\"\ntimestamps = 0\n{IDENTITIES}"));
    let warnings = node.warnings_at("2026-11-01T00:00:00Z");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].contains("certificates have to be valid when they are judged"),
        "{}",
        warnings[0]
    );
}

#[test]
fn warns_when_a_root_lapses() {
    let node = Node::new(&format!("trusted_root = \"public-good\"\n{IDENTITIES}"));
    assert_eq!(node.warnings_at("2026-11-01T00:00:00Z"), Vec::<String>::new());
    // The certificates of its certificate authority end in October 2031.
    let soon = node.warnings_at("2031-09-20T00:00:00Z");
    assert!(
        soon.iter()
            .any(|one| one.contains("has no certificate authority that counts after 2031-10-")),
        "{soon:#?}"
    );
    let late = node.warnings_at("2032-01-01T00:00:00Z");
    assert!(
        late.iter()
            .any(|one| one.contains("has no certificate authority that counts now")),
        "{late:#?}"
    );
}

#[test]
fn warns_when_keys_have_a_root_that_asks_for_nothing() {
    for (lines, warned) in [
        ("trusted_root = \"github\"", true),
        ("trusted_root = \"github\"\ntimestamps = 0", false),
        ("trusted_root = \"github\"\ntimestamps = 1", false),
        ("trusted_root = \"public-good\"", false),
        ("", false),
    ] {
        let warnings = Node::new(&format!("keys = [\"keys/a.pub\"]\n{lines}")).warnings_at("2026-11-01T00:00:00Z");
        let found: Vec<_> = warnings
            .iter()
            .map(|one| one.contains("policy.toml:3:12: warning: authority corp: its trusted root asks for nothing"))
            .collect();
        assert_eq!(found, vec![true; usize::from(warned)], "{lines}: {warnings:#?}");
    }
}

#[test]
fn warns_when_a_rule_asks_an_authority_for_a_time_that_nobody_tells() {
    const TIME: &str = "minimum_signing_time = \"2026-01-01T00:00:00Z\"\nrequire = { all = [\"corp\"] }";
    const AGE: &str = "require_attestations = [{ type = \"openvex\", authority = \"corp\", max_age = \"24h\" }]";
    const SCAN: &str = "require_attestations = [{ type = \"vuln\", authority = \"corp\", max_age = \"24h\" }]";
    let key = "keys = [\"keys/a.pub\"]";
    let witnessed = "keys = [\"keys/a.pub\"]\ntrusted_root = \"public-good\"";
    let stamped = "keys = [\"keys/a.pub\"]\ntrusted_root = \"github\"\ntimestamps = 1";
    let named = "identities = [{ issuer = \"https://issuer.test\", subject = \"ci\" }]\ntrusted_root = \"public-good\"";
    for (lines, rule, expected) in [
        (key, TIME, Some("minimum_signing_time")),
        (key, AGE, Some("max_age")),
        (key, SCAN, None),
        // A time says only by when what a key signs existed.
        (witnessed, TIME, Some("minimum_signing_time")),
        (witnessed, AGE, Some("max_age")),
        (stamped, TIME, Some("minimum_signing_time")),
        (named, TIME, None),
        (named, AGE, None),
    ] {
        let node = Node::new(lines);
        let policy = fs::read_to_string(node.path("policy.toml")).unwrap();
        node.write("policy.toml", &policy.replace("require = { all = [\"corp\"] }", rule));
        let warnings = node.warnings_at("2026-11-01T00:00:00Z");
        let expected = expected.map(|key| format!("authority corp: it can never satisfy {key} in rule \"all\""));
        assert_eq!(
            warnings.len(),
            usize::from(expected.is_some()),
            "{lines}\n{rule}: {warnings:#?}"
        );
        for (found, expected) in warnings.iter().zip(expected) {
            assert!(found.contains(&expected), "{found}");
        }
    }
}
