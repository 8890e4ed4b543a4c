//! Loading and reloading, on real files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use assay_verify::Timestamp;
use assay_verify::judge::AuthorityTerms;

use assay_verify::policy::Unmatched;

use super::{FleetPolicy, Floor, TrustState, VerifiedFiles, load, load_blob, load_fleet};

const POLICY: &str = r#"version = 1
unmatched = "deny"
[authority.corp]
type = "notation"
level = "strict"
trust_stores = ["ca:corp"]
trusted_identities = ["*"]
[authority.folder]
type = "notation"
config = "standard"
[[rule]]
name = "all"
images = ["**"]
require = { all = ["corp", "folder"] }
"#;

const TRUST_POLICY: &str = r#"{"version": "1.0", "trustPolicies": [{"name": "e2e", "registryScopes": ["a.example/b"],
"signatureVerification": {"level": "strict"}, "trustStores": ["ca:e2e"], "trustedIdentities": ["*"]}]}"#;

struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    /// A policy with both kinds of authority, and everything they need.
    fn new() -> Self {
        let node = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        node.write("policy.toml", POLICY);
        node.write("notation/truststore/x509/ca/corp/root.pem", &certificate);
        node.write("standard/trustpolicy.json", TRUST_POLICY);
        node.write("standard/truststore/x509/ca/e2e/root.pem", &certificate);
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        // Whatever the umask of who runs the test.
        let mut folder = path.parent().unwrap();
        while folder.starts_with(self.folder.path()) {
            mode(folder, 0o755);
            folder = folder.parent().unwrap();
        }
        mode(&path, 0o644);
    }

    fn state(&self) -> TrustState {
        TrustState::new(self.path("policy.toml"), nix::unistd::geteuid().as_raw())
    }

    /// Every problem, without the path of the temporary folder.
    fn problems(&self) -> Vec<String> {
        let user = nix::unistd::geteuid().as_raw();
        let errors = load(&self.path("policy.toml"), user, Timestamp::UNIX_EPOCH)
            .outcome
            .unwrap_err();
        let prefix = format!("{}/", self.folder.path().display());
        errors
            .iter()
            .map(|error| error.to_string().replace(&prefix, ""))
            .collect()
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn check(node: &Node, expected: &[&str]) {
    let found = node.problems();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\ndoes not say\n{expected}");
    }
}

#[test]
fn loads_the_policy_with_everything_it_names() {
    let node = Node::new();
    let snapshot = node.state().reload(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(snapshot.revision().len(), 12);
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
    assert_eq!(snapshot.document, POLICY);
    let terms = |authority: &str, repository: &str| {
        let (authority, repository) = (authority.parse().unwrap(), repository.parse().unwrap());
        matches!(snapshot.terms(&authority, &repository), AuthorityTerms::Notation { .. })
    };
    assert!(terms("corp", "alpine"));
    assert!(terms("folder", "a.example/b"));
    assert!(!terms("folder", "a.example/c"));
}

#[test]
fn equal_files_give_equal_revisions_and_a_changed_certificate_another() {
    let node = Node::new();
    let state = node.state();
    let first = state.reload(Timestamp::UNIX_EPOCH).unwrap();
    let same = state.reload(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((same.generation, same.revision()), (1, first.revision()));
    let pem = fs::read_to_string(node.path("standard/truststore/x509/ca/e2e/root.pem")).unwrap();
    node.write("standard/truststore/x509/ca/e2e/root.pem", &format!("{pem}\n"));
    let changed = state.reload(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(changed.generation, 2);
    assert_ne!(changed.revision(), first.revision());
}

#[test]
fn a_broken_policy_never_replaces_a_good_one() {
    let node = Node::new();
    let state = node.state();
    assert!(state.current().is_none());
    let good = state.reload(Timestamp::UNIX_EPOCH).unwrap();
    for broken in ["", "version = 1", "version = 1\nunmatched = \"deny\"\nrules = 1"] {
        node.write("policy.toml", broken);
        let rejected = state.reload(Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(!rejected.diagnostics.is_empty());
        assert_eq!(state.rejected(), Some(rejected));
        assert_eq!(state.current().unwrap().revision(), good.revision());
    }
    fs::remove_file(node.path("policy.toml")).unwrap();
    assert!(state.reload(Timestamp::UNIX_EPOCH).is_err());
    assert!(state.watched_paths().contains(node.folder.path()));
    node.write("policy.toml", POLICY);
    assert_eq!(state.reload(Timestamp::UNIX_EPOCH).unwrap().generation, 1);
    assert!(state.rejected().is_none());
}

#[test]
fn without_a_policy_there_is_no_snapshot() {
    let node = Node::new();
    fs::remove_file(node.path("policy.toml")).unwrap();
    check(&node, &["policy.toml: error: there is no such file"]);
    assert!(node.state().reload(Timestamp::UNIX_EPOCH).is_err());
}

#[test]
fn reports_the_problems_of_all_files_at_once() {
    let node = Node::new();
    fs::remove_dir_all(node.path("notation")).unwrap();
    node.write("standard/trustpolicy.json", "{}");
    check(
        &node,
        &[
            "notation/truststore/x509/ca/corp: error: the trust store ca:corp does not exist",
            "standard/trustpolicy.json:1:1: error: \"version\" is missing",
            "standard/trustpolicy.json:1:1: error: \"trustPolicies\" is missing",
        ],
    );
}

#[test]
fn a_trust_policy_that_is_there_is_never_passed_over() {
    let node = Node::new();
    node.write("standard/trustpolicy.oci.json", "no json");
    check(&node, &["standard/trustpolicy.oci.json:1:2: error: malformed JSON"]);
    fs::remove_file(node.path("standard/trustpolicy.oci.json")).unwrap();
    symlink("nowhere", node.path("standard/trustpolicy.oci.json")).unwrap();
    check(&node, &["symbolic links are not supported"]);
    fs::remove_file(node.path("standard/trustpolicy.oci.json")).unwrap();
    fs::remove_file(node.path("standard/trustpolicy.json")).unwrap();
    check(&node, &["standard: error: the trust policy is not present"]);
}

#[test]
fn a_store_holds_regular_files_only() {
    let store = "notation/truststore/x509/ca/corp";
    let node = Node::new();
    node.write(&format!("{store}/folder/x"), "");
    check(&node, &["corp/folder: error: not a regular file"]);
    let node = Node::new();
    symlink("root.pem", node.path(&format!("{store}/link.pem"))).unwrap();
    check(&node, &["corp/link.pem: error: symbolic links are not supported"]);
    let node = Node::new();
    nix::unistd::mkfifo(&node.path(&format!("{store}/pipe")), nix::sys::stat::Mode::S_IRUSR).unwrap();
    check(&node, &["corp/pipe: error: not a regular file"]);
    let node = Node::new();
    fs::rename(node.path(store), node.path("elsewhere")).unwrap();
    symlink(node.path("elsewhere"), node.path(store)).unwrap();
    check(&node, &["x509/ca/corp: error: symbolic links are not supported"]);
    let node = Node::new();
    fs::remove_file(node.path(&format!("{store}/root.pem"))).unwrap();
    check(&node, &["x509/ca/corp: error: the trust store has no certificate"]);
}

#[test]
fn refuses_files_that_others_may_write_and_names_the_way_out() {
    let node = Node::new();
    for name in [
        "policy.toml",
        "standard/trustpolicy.json",
        "notation/truststore/x509/ca/corp",
    ] {
        let before = fs::metadata(node.path(name)).unwrap().permissions();
        mode(&node.path(name), 0o666 | before.mode() & 0o111);
        let found = node.problems();
        assert!(
            found[0].contains(&format!("{name}: error: its group or everyone may write it")),
            "{found:?}"
        );
        assert!(found[0].contains(&format!("help: chmod go-w {name}")), "{found:?}");
        fs::set_permissions(node.path(name), before).unwrap();
    }
}

/// An exception that somebody puts beside the policy is none (CVE-2024-48921): one file decides.
#[test]
fn nothing_beside_the_policy_adds_a_rule() {
    let node = Node::new();
    let before = node.state().reload(Timestamp::UNIX_EPOCH).unwrap();
    for name in [
        "policy.d/exception.toml",
        "exceptions.toml",
        "policy.toml.d/1.toml",
        "policy.local.toml",
    ] {
        node.write(name, "version = 1\nunmatched = \"admit\"\n");
    }
    let after = node.state().reload(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(
        (&before.policy, &before.fingerprint),
        (&after.policy, &after.fingerprint)
    );
}

#[test]
fn the_sample_policy_is_valid() {
    let text = include_str!("../../packaging/policy.toml");
    let parsed = assay_verify::policy::Policy::parse("policy.toml", text);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    // With every example switched on, only the digests are still to be filled in.
    let digest = format!("sha256:{}", "0".repeat(64));
    let examples: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(example)
                if example.starts_with('[') || example.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                format!("{example}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let parsed = assay_verify::policy::Policy::parse("policy.toml", &examples.replace("sha256:...", &digest));
    assert!(parsed.policy.is_some(), "{:?}", parsed.diagnostics);
}

/// A Kubernetes Secret as a volume: the file is a link to a link to a folder that is exchanged as a whole.
#[test]
fn follows_links_that_stay_inside_a_trust_store_where_the_policy_says_so() {
    let node = Node::new();
    let store = node.path("notation/truststore/x509/ca/corp");
    let certificate = fs::read_to_string(store.join("root.pem")).unwrap();
    fs::remove_file(store.join("root.pem")).unwrap();
    node.write("notation/truststore/x509/ca/corp/..2026_01_01/ca.crt", &certificate);
    symlink("..2026_01_01", store.join("..data")).unwrap();
    symlink("..data/ca.crt", store.join("ca.crt")).unwrap();
    // Without the setting neither links nor folders are part of a store.
    assert!(
        node.problems()
            .iter()
            .any(|problem| problem.contains("symbolic links are not supported"))
    );
    node.write(
        "policy.toml",
        &POLICY.replace("[authority.folder]", "follow_symlinks = true\n[authority.folder]"),
    );
    let first = node.state().reload(Timestamp::UNIX_EPOCH).unwrap();
    assert!(first.warnings.is_empty());

    symlink("../../../../../policy.toml", store.join("out.crt")).unwrap();
    check(&node, &["corp/out.crt: error: leads out of its folder"]);
    fs::remove_file(store.join("out.crt")).unwrap();
    symlink(node.path("policy.toml"), store.join("absolute.crt")).unwrap();
    check(&node, &["corp/absolute.crt: error: leads out of its folder"]);
}

#[test]
fn revocation_data_lies_beside_the_policy_and_names_its_mistakes() {
    let node = Node::new();
    let before = node.state().reload(Timestamp::UNIX_EPOCH).unwrap();
    node.write("revocation/corp.crl", "not a CRL");
    check(&node, &["revocation: error: "]);
    assert!(node.problems()[0].contains("corp.crl"));
    fs::remove_dir_all(node.path("revocation")).unwrap();
    let again = node.state().reload(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(before.fingerprint, again.fingerprint);
}

const BLOB_POLICY: &str = r#"{"version": "1.0", "trustPolicies": [
{"name": "all", "globalPolicy": true, "signatureVerification": {"level": "strict"}, "trustStores": ["ca:corp"],
 "trustedIdentities": ["*"]},
{"name": "broken", "signatureVerification": {"level": "strict"}, "trustStores": ["ca:gone", "tsa:gone"],
 "trustedIdentities": ["*"]},
{"name": "skipped", "signatureVerification": {"level": "skip"}}]}"#;

/// Loads the statement of a name from the node's folder: its name, or every problem without the temporary folder's path.
fn blob(node: &Node, name: Option<&str>) -> Result<String, Vec<String>> {
    let user = nix::unistd::geteuid().as_raw();
    let prefix = format!("{}/", node.folder.path().display());
    load_blob(&node.path("notation"), name, user)
        .map(|trust| trust.statement.name.to_string())
        .map_err(|errors| {
            errors
                .iter()
                .map(|error| error.to_string().replace(&prefix, ""))
                .collect()
        })
}

#[test]
fn a_statement_about_files_needs_its_own_stores_and_no_others() {
    let node = Node::new();
    node.write("notation/trustpolicy.blob.json", BLOB_POLICY);
    assert_eq!(blob(&node, None).as_deref(), Ok("all"));
    assert_eq!(blob(&node, Some("skipped")).as_deref(), Ok("skipped"));
    let errors = blob(&node, Some("broken")).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].starts_with("notation/truststore/x509/ca/gone: error: the trust store ca:gone does not exist"));
    assert!(
        errors[0].contains("notation/trustpolicy.blob.json (statement broken)"),
        "{errors:#?}"
    );
    let errors = blob(&node, Some("other")).unwrap_err();
    assert!(errors[0].contains("no statement named"), "{errors:#?}");
}

#[test]
fn a_trust_policy_for_files_is_a_file_that_nobody_else_may_write() {
    let node = Node::new();
    let absent = blob(&node, None).unwrap_err();
    assert!(absent[0].starts_with("notation/trustpolicy.blob.json: error: the trust policy is not present"));
    node.write("elsewhere.json", BLOB_POLICY);
    symlink(node.path("elsewhere.json"), node.path("notation/trustpolicy.blob.json")).unwrap();
    let link = blob(&node, None).unwrap_err();
    assert!(link[0].contains("symbolic links are not supported"), "{link:#?}");
    fs::remove_file(node.path("notation/trustpolicy.blob.json")).unwrap();
    node.write("notation/trustpolicy.blob.json", BLOB_POLICY);
    mode(&node.path("notation/trustpolicy.blob.json"), 0o666);
    let writable = blob(&node, None).unwrap_err();
    assert!(writable[0].contains("may write it"), "{writable:#?}");
}

/// A CRL of about `size` bytes: the number of the one certificate on it has that many.
fn crl(size: usize) -> Vec<u8> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(parameters, rcgen::KeyPair::generate().unwrap());
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2027, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from(vec![1; size]),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().der().to_vec()
}

#[test]
fn no_more_revocation_data_is_read_once_it_is_too_much() {
    let node = Node::new();
    let list = crl(7 * 1024 * 1024);
    for name in ["1", "2", "3", "4", "5"] {
        let path = node.path("revocation").join(name);
        node.write(&format!("revocation/{name}"), "");
        fs::write(path, &list).unwrap();
    }
    // Nobody looks at the fifth: it would be refused for its mode.
    mode(&node.path("revocation/5"), 0o666);
    let problems = node.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].contains("4: with it the files have more than"),
        "{problems:#?}"
    );
}

#[test]
fn a_large_list_may_be_pem() {
    use base64::Engine as _;
    let node = Node::new();
    let encoded = base64::engine::general_purpose::STANDARD.encode(crl(7 * 1024 * 1024));
    let mut pem = "-----BEGIN X509 CRL-----\n".to_owned();
    for line in encoded.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap());
        pem.push('\n');
    }
    pem.push_str("-----END X509 CRL-----\n");
    node.write("revocation/list.pem", &pem);
    assert!(node.state().reload(Timestamp::UNIX_EPOCH).is_ok());
}

#[test]
fn revocation_data_for_files_lies_beside_the_folder() {
    let node = Node::new();
    node.write("notation/trustpolicy.blob.json", BLOB_POLICY);
    node.write("revocation/root.crl", "no list");
    let errors = blob(&node, None).unwrap_err();
    assert!(errors[0].starts_with("revocation: error: "), "{errors:#?}");
    // The same where the folder is named without its name.
    let user = nix::unistd::geteuid().as_raw();
    let errors = load_blob(&node.path("notation/truststore/.."), None, user).unwrap_err();
    assert!(
        errors
            .iter()
            .any(|error| error.to_string().contains("revocation: error: ")),
        "{errors:?}"
    );
}

/// What a policy repository has for the channel stable: the same files as [`Node`].
fn fleet_files(node: &Node, change: impl Fn(&str) -> String) -> VerifiedFiles {
    let files = [
        "policy.toml",
        "notation/truststore/x509/ca/corp/root.pem",
        "standard/trustpolicy.json",
        "standard/truststore/x509/ca/e2e/root.pem",
    ];
    let read = |name: &str| fs::read_to_string(node.path(name)).unwrap();
    let named = files.map(|name| {
        (
            format!("channels/stable/{name}"),
            change(&read(name)).into_bytes().into(),
        )
    });
    VerifiedFiles::new(named.into())
}

fn load_stable(files: &VerifiedFiles, floor: &Floor) -> Result<super::TrustSnapshot, Vec<String>> {
    load_fleet(files, "stable", floor, Timestamp::UNIX_EPOCH)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn a_channel_means_what_the_same_files_mean_on_disk() {
    let node = Node::new();
    let on_disk = node.state().reload(Timestamp::UNIX_EPOCH).unwrap();
    let files = fleet_files(&node, str::to_owned);
    let of_fleet = load_stable(&files, &Floor::default()).unwrap();
    assert_eq!(of_fleet.revision(), on_disk.revision());
    assert_eq!(of_fleet.path, Path::new("channels/stable/policy.toml"));
    let other = load_fleet(&files, "canary", &Floor::default(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(
        other[0]
            .to_string()
            .contains("channels/canary/policy.toml: error: there is no such file"),
        "{other:?}"
    );
}

#[test]
fn the_policy_of_a_fleet_names_no_file_of_the_node() {
    let node = Node::new();
    for elsewhere in [
        node.path("standard").display().to_string(),
        "../stable/standard".to_owned(),
    ] {
        let files = fleet_files(&node, |text| {
            text.replace("config = \"standard\"", &format!("config = \"{elsewhere}\""))
        });
        let errors = load_stable(&files, &Floor::default()).unwrap_err();
        assert!(errors[0].contains("there is no such file"), "{errors:?}");
    }
}

#[test]
fn a_policy_below_the_floor_is_refused_with_every_reason() {
    let node = Node::new();
    let floor = Floor {
        unmatched: Unmatched::Deny,
        audit: false,
        accept_unverified: false,
        exceptions: false,
    };
    assert!(load_stable(&fleet_files(&node, str::to_owned), &floor).is_ok());
    let lax = fleet_files(&node, |text| {
        text.replace("unmatched = \"deny\"", "unmatched = \"audit\"").replace(
            "images = [\"**\"]",
            "images = [\"**\"]\nmode = \"audit\"\naccept_unverified = true",
        )
    });
    let errors = load_stable(&lax, &floor).unwrap_err();
    for expected in [
        "unmatched = \"audit\" is below",
        "mode = \"audit\" is below",
        "accept_unverified is below",
    ] {
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{expected}: {errors:#?}"
        );
    }
    assert!(load_stable(&lax, &Floor::default()).is_ok());
}

fn of_fleet(node: &Node) -> TrustState {
    let fleet = FleetPolicy {
        channel: "stable".to_owned(),
        floor: Floor::default(),
    };
    TrustState::of_fleet(node.path("policy.toml"), nix::unistd::geteuid().as_raw(), fleet)
}

#[test]
fn a_node_of_a_fleet_has_no_policy_before_the_first_generation_whatever_lies_on_its_disk() {
    let node = Node::new();
    let state = of_fleet(&node);
    let rejected = state.reload(Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(
        rejected.diagnostics[0]
            .to_string()
            .contains("no generation of it is on this node yet")
    );
    assert!(state.current().is_none());

    let snapshot = state
        .activate(fleet_files(&node, str::to_owned), Timestamp::UNIX_EPOCH)
        .unwrap();
    assert_eq!(snapshot.generation, 1);
    fs::remove_file(node.path("policy.toml")).unwrap();
    assert_eq!(state.reload(Timestamp::UNIX_EPOCH).unwrap().generation, 1);
    assert!(state.rejected().is_none());
}

#[test]
fn a_generation_that_is_broken_leaves_the_last_one_in_force() {
    let node = Node::new();
    let state = of_fleet(&node);
    state
        .activate(fleet_files(&node, str::to_owned), Timestamp::UNIX_EPOCH)
        .unwrap();
    let broken = fleet_files(&node, |text| text.replace("unmatched", "unmatchd"));
    let rejected = state.activate(broken, Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(rejected.diagnostics.iter().any(|one| one.message.contains("unmatchd")));
    assert_eq!(state.current().unwrap().generation, 1);
    let changed = fleet_files(&node, |text| text.replace("name = \"all\"", "name = \"every\""));
    assert_eq!(state.activate(changed, Timestamp::UNIX_EPOCH).unwrap().generation, 2);
}
