//! The built assayctl as a process: what it prints, and its exit codes. None of these commands asks a daemon or a network.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ADMITTED: Option<i32> = Some(0);
const DENIED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);

/// The suite's own defaults (sigstore-conformance: test/assets/bundle-verify/README.md).
const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn vectors(path: &str) -> PathBuf {
    let root = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"),
        PathBuf::from,
    );
    let found = root.join("sigstore").join(path);
    assert!(
        found.exists(),
        "{} is absent: set ASSAY_VECTORS to the folder of test vectors",
        found.display()
    );
    found
}

fn bundles() -> PathBuf {
    vectors("conformance/bundle-verify")
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn assayctl<S: AsRef<str>>(arguments: &[S]) -> Output {
    let arguments = arguments.iter().map(AsRef::as_ref);
    Command::new(env!("CARGO_BIN_EXE_assayctl"))
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
fn check<S: AsRef<str>>(arguments: &[S], code: Option<i32>, expected: &[&str]) -> String {
    let output = assayctl(arguments);
    let said = said(&output);
    let shown: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    assert_eq!(output.status.code(), code, "{shown:?}: {said}");
    for expected in expected {
        assert!(said.contains(expected), "{shown:?}: {said}\ndoes not say\n{expected}");
    }
    said
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The arguments by which sigstore's conformance suite asks about a case.
fn asked(case: &Path, artifact: String) -> Vec<String> {
    let mut arguments = vec!["verify-bundle".to_owned()];
    let mut add = |key: &str, value: String| arguments.extend([key.to_owned(), value]);
    add("--bundle", text(&case.join("bundle.sigstore.json")));
    let given = |name: &str, default: &str| match fs::read_to_string(case.join(name)) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => default.to_owned(),
    };
    if case.join("key.pub").exists() {
        add("--key", text(&case.join("key.pub")));
    } else {
        add("--certificate-identity", given("identity", IDENTITY));
        add("--certificate-oidc-issuer", given("issuer", ISSUER));
    }
    if case.join("trusted_root.json").exists() {
        add("--trusted-root", text(&case.join("trusted_root.json")));
    }
    arguments.push(artifact);
    arguments
}

#[test]
fn every_key_of_the_policy_is_explained_without_a_daemon() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy-reference.md")).unwrap();
    let output = assayctl(&["policy", "reference"]);
    assert_eq!(output.status.code(), ADMITTED);
    assert_eq!(String::from_utf8_lossy(&output.stdout), page);
}

#[test]
fn every_case_of_the_conformance_suite_ends_as_it_expects_by_file_and_by_digest() {
    let (mut count, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(bundles()).unwrap() {
        let case = entry.unwrap().path();
        if !case.is_dir() {
            continue;
        }
        let artifact = match case.join("artifact") {
            own if own.exists() => own,
            _ => bundles().join("a.txt"),
        };
        let digest = assay_verify::digest::Digest::sha256(&fs::read(&artifact).unwrap());
        for given in [text(&artifact), digest.to_string()] {
            count += 1;
            let output = assayctl(&asked(&case, given.clone()));
            let said = said(&output);
            // What is wrong with a key or root is bad input; whatever else is wrong is a denial.
            let as_expected = match (text(&case).ends_with("_fail"), output.status.code()) {
                (false, code) => code == ADMITTED && said.starts_with("ADMIT"),
                (true, Some(1)) => said.starts_with("DENY"),
                (true, Some(2)) => {
                    said.starts_with("assayctl: ") && (said.contains(".json: ") || said.contains("key.pub: "))
                }
                (true, _) => false,
            };
            if !as_expected {
                wrong.push(format!("{} {given}: {:?} {said}", case.display(), output.status.code()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count >= 140, "only {count} runs");
}

fn bundle(case: &str) -> Vec<String> {
    let artifact = text(&bundles().join("a.txt"));
    let bundle = text(&bundles().join(case).join("bundle.sigstore.json"));
    ["verify-blob", &artifact, "--bundle", &bundle]
        .map(str::to_owned)
        .into()
}

fn with(mut arguments: Vec<String>, more: &[&str]) -> Vec<String> {
    arguments.extend(more.iter().map(ToString::to_string));
    arguments
}

const WHO: [&str; 4] = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER];

#[test]
fn a_files_bundle_has_to_be_a_signature_unless_an_attestation_is_asked_for() {
    let signature = || with(bundle("happy-path-v0.3"), &WHO);
    let attestation = || with(bundle("happy-path-intoto-in-dsse-v3"), &WHO);
    check(&signature(), ADMITTED, &["ADMIT", IDENTITY]);
    check(&with(signature(), &["--type", "slsaprovenance1"]), DENIED, &["DENY "]);
    check(
        &attestation(),
        DENIED,
        &["DENY unsigned", "--type https://slsa.dev/provenance/v1"],
    );
    for right in ["slsaprovenance1", "https://slsa.dev/provenance/v1"] {
        check(
            &with(attestation(), &["--type", right]),
            ADMITTED,
            &["attests    https://slsa.dev/provenance/v1"],
        );
    }
    check(
        &with(attestation(), &["--type", "vuln"]),
        DENIED,
        &["DENY attestation-missing"],
    );
    check(&with(attestation(), &["--type", "no type"]), USAGE, &["--type"]);
}

#[test]
fn a_files_bundle_is_judged_by_a_key_or_an_authority_of_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let key = text(&bundles().join("managed-key-happy-path/key.pub"));
    check(
        &with(bundle("managed-key-happy-path"), &["--key", &key]),
        ADMITTED,
        &["ADMIT", "key sha256:"],
    );
    check(
        &with(bundle("happy-path-v0.3"), &["--key", &key]),
        DENIED,
        &["DENY untrusted-signer"],
    );
    let policy = policy(folder.path(), Path::new(&key));
    let authority = ["--authority", "release", "--policy", &policy];
    check(
        &with(bundle("managed-key-happy-path"), &authority),
        ADMITTED,
        &["ADMIT"],
    );
    check(&with(bundle("happy-path-v0.3"), &authority), DENIED, &["DENY "]);
    let other = ["--authority", "nobody", "--policy", &policy];
    check(
        &with(bundle("managed-key-happy-path"), &other),
        USAGE,
        &["no authority nobody"],
    );
}

#[test]
fn the_json_of_a_files_bundle_has_the_keys_of_a_notation_signature() {
    for (case, code, verdict) in [
        ("happy-path-v0.3", ADMITTED, "admit"),
        ("happy-path-intoto-in-dsse-v3", DENIED, "deny"),
    ] {
        let said = check(&with(with(bundle(case), &WHO), &["--output", "json"]), code, &[]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["verdict"], verdict);
        assert_eq!(said["code"], if code == ADMITTED { "" } else { "unsigned" });
        assert!(
            said["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
            "{said}"
        );
        assert!(said["file"].is_string() && said["steps"].is_array(), "{said}");
    }
}

#[test]
fn nothing_that_is_asked_for_beside_a_bundle_or_signature_is_passed_over() {
    let file = text(&bundles().join("a.txt"));
    for (more, expected) in [
        (
            &["--authority", "a", "--certificate-oidc-issuer", ISSUER][..],
            "cannot be used with",
        ),
        (
            &[
                "--authority",
                "a",
                "--certificate-identity-regexp",
                ".+",
                "--certificate-oidc-issuer",
                ISSUER,
            ],
            "cannot be used with",
        ),
        (&["--authority", "a", "--trusted-root", "github"], "cannot be used with"),
        (
            &["--key", "k", "--certificate-oidc-issuer", ISSUER],
            "cannot be used with",
        ),
        (&["--key", "k", "--policy", "p"], "cannot be used with"),
        (&["--key", "k", "--media-type", "text/plain"], "cannot be used with"),
        (&["--key", "k", "--daemon-config", "c"], "cannot be used with"),
        (&["--certificate-oidc-issuer", ISSUER], "add --certificate-identity or"),
        (&["--certificate-identity", IDENTITY], "--certificate-oidc-issuer"),
        (&["--trusted-root", "public-good"], "say who has to have signed"),
        (&[], "say who has to have signed"),
    ] {
        check(&with(bundle("happy-path-v0.3"), more), USAGE, &[expected]);
    }
    for more in [
        &["--trusted-root", "public-good"][..],
        &["--key", "k"],
        &["--authority", "a"],
        &["--type", "vuln"],
        &WHO,
    ] {
        let signature = ["verify-blob", &file, "--signature", "a.jws.sig"].map(str::to_owned);
        check(&with(signature.into(), more), USAGE, &["are for --bundle"]);
    }
    let signature = ["verify-blob", &file, "--signature", "a.jws.sig", "--policy", "p"];
    check(&signature, USAGE, &["--authority"]);
}

/// A policy with one authority, that of the holder of a key.
fn policy(folder: &Path, key: &Path) -> String {
    let write = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        text(&path)
    };
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    write("key.pub", &fs::read(key).unwrap());
    write(
        "policy.toml",
        b"version = 1\nunmatched = \"deny\"\n[authority.release]\ntype = \"cosign\"\nkeys = [\"key.pub\"]\n[[rule]]\nname = \"all\"\nimages = [\"**\"]\nrequire = { all = [\"release\"] }\n",
    )
}

#[test]
fn the_tree_of_a_layout_shows_who_signed_and_what_nobody_did() {
    const IMAGE: &str = "registry.example/app@sha256:a6ac2cf1c5af6001895473365d7a1e3dba31113780f4d18dda6761884330d590";
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str| vectors("generated/keys").join(name);
    let tree = |layout: &str, key: &Path| {
        let policy = policy(folder.path(), key);
        let layout = text(&vectors("generated/layouts").join(layout));
        ["tree", IMAGE, "--offline", &layout, "--policy", &policy].map(str::to_owned)
    };
    check(
        &tree("v2-key-p256-notlog", &key("p256.pub")),
        ADMITTED,
        &["signature (cosign v2)", "verified by release"],
    );
    check(
        &tree("v3-key-p256-notlog", &key("p256.pub")),
        ADMITTED,
        &["signature (sigstore bundle)", "verified by release"],
    );
    check(
        &tree("v2-key-p256-notlog", &key("p384.pub")),
        ADMITTED,
        &["not verified", "release: it is not made with the key"],
    );
    check(
        &tree("v3-att-key-slsaprovenance1", &key("p256.pub")),
        ADMITTED,
        &["attestation https://slsa.dev/provenance/v1", "verified by release"],
    );
    let unsigned = tree("unsigned", &key("p256.pub"));
    check(&unsigned, ADMITTED, &["nothing is signed or attested here"]);
    let json = check(&with(unsigned.into(), &["--output", "json"]), ADMITTED, &[]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["entries"], &json["incomplete"]),
        (&serde_json::json!([]), &"".into())
    );
}

#[test]
fn a_trusted_root_is_added_for_the_daemon_to_read_whatever_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    let root = text(&vectors("generated/trust/trusted_root.json"));
    let target = folder.path().join("etc/sigstore");
    let add = |umask: &str, more: &str| {
        let line = format!(
            "umask {umask}; exec '{}' trust add '{root}' --folder '{}' --name corp {more}",
            env!("CARGO_BIN_EXE_assayctl"),
            target.display()
        );
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        (output.status.code(), said(&output))
    };
    let (code, said) = add("077", "");
    assert_eq!(code, ADMITTED, "{said}");
    assert!(said.contains("trusted_root = \"sigstore/corp.json\""), "{said}");
    let file = target.join("corp.json");
    assert_eq!(
        (mode(&folder.path().join("etc")), mode(&target), mode(&file)),
        (0o755, 0o755, 0o644)
    );
    assert_eq!(fs::read(&file).unwrap(), fs::read(&root).unwrap());

    let (code, said) = add("000", "");
    assert_eq!(code, USAGE, "{said}");
    assert!(said.contains("--replace replaces it"), "{said}");
    let (code, said) = add("000", "--replace");
    assert_eq!((code, mode(&file)), (ADMITTED, 0o644), "{said}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);

    // A folder that others may write is left as it is, and what the daemon will say of it is said now.
    fs::set_permissions(&target, fs::Permissions::from_mode(0o775)).unwrap();
    let (code, said) = add("022", "--replace");
    assert_eq!((code, mode(&target)), (DENIED, 0o775), "{said}");
    assert!(
        said.contains("assayd will refuse it") && said.contains("chmod go-w"),
        "{said}"
    );
    // Nor does the daemon's user get into one that is its owner's alone.
    fs::set_permissions(&target, fs::Permissions::from_mode(0o700)).unwrap();
    let (code, said) = add("022", "--replace");
    assert_eq!((code, mode(&target)), (DENIED, 0o700), "{said}");
    assert!(
        said.contains("assayd will refuse it") && said.contains("chmod g+rX"),
        "{said}"
    );
}

#[test]
fn only_a_regular_file_that_is_a_trusted_root_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let target = text(&folder.path().join("sigstore"));
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let large = folder.path().join("large.json");
    fs::write(&large, vec![b' '; assay_verify::limits::MAX_TRUSTED_ROOT_SIZE + 1]).unwrap();
    let broken = folder.path().join("broken.json");
    fs::write(&broken, "{}").unwrap();
    for (file, expected) in [
        (text(&pipe), "not a regular file"),
        (text(folder.path()), "not a regular file"),
        ("/dev/zero".to_owned(), "not a regular file"),
        (text(&large), "it has more than 1048576 bytes"),
        (text(&broken), "broken.json: "),
        (text(&folder.path().join("absent")), "No such file"),
    ] {
        check(
            &["trust", "add", &file, "--name", "a", "--folder", &target],
            USAGE,
            &[expected],
        );
    }
    let root = text(&vectors("generated/trust/trusted_root.json"));
    let escaping = ["trust", "add", &root, "--name", "../a", "--folder", &target];
    check(&escaping, USAGE, &["cannot be a trusted root's name"]);
    assert!(!Path::new(&target).exists());
}

#[test]
fn trusted_roots_are_shown_and_checked() {
    check(
        &["trust", "show", "public-good", "--at", "2026-11-01T00:00:00Z"],
        ADMITTED,
        &[
            "public-good",
            "transparency log ",
            "certificate transparency log",
            "current",
        ],
    );
    let check_at = |time: &'static str| ["trust", "check", "public-good", "--at", time];
    check(&check_at("2026-11-01T00:00:00Z"), ADMITTED, &["public-good is good"]);
    // The certificates of its certificate authority end in October 2031.
    check(
        &check_at("2031-09-20T00:00:00Z"),
        ADMITTED,
        &[
            "public-good has no certificate authority that counts after 2031-10-",
            "trust add --replace",
        ],
    );
    check(
        &check_at("2032-01-01T00:00:00Z"),
        DENIED,
        &["public-good has no certificate authority that counts now"],
    );
    let json = check(
        &with(
            check_at("2032-01-01T00:00:00Z").map(str::to_owned).into(),
            &["--output", "json"],
        ),
        DENIED,
        &[],
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json[0]["name"], &json[0]["good"]),
        (&"public-good".into(), &false.into())
    );
}
