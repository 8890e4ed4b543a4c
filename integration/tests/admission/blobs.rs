//! `assayctl verify-blob`, by the cases of notation's own suite for `notation blob verify`
//! (notation: test/e2e/suite/command/blob/verify.go).
//!
//! notation 1.3 has no `blob` command, so it stands beside these cases by what it signs: a manifest that it signed in a
//! registry is a file like any other, and the envelope is its detached signature. That files are signed in the same
//! way is shown by the signatures of notation's own suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::notation::{Format, Sign};
use assay_integration::timestamp::Stamping;
use assay_integration::{
    Assayd, Crl, Finished, Image, Notation, OpenSsl, Peers, Reason, Registry, Revoked, TimestampAuthority, WebServer,
};
use serde_json::{Value, json};

use crate::lab::vectors;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn trust_policy() -> Vec<u8> {
    fs::read(vectors().join("notation/notation/blob/trustpolicies/trustpolicy.blob.json")).expect("notation's policy")
}

/// notation's configuration folder with its suite's trust policy, and assayctl.
struct Desk {
    assayd: Assayd,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self::with(toml::Table::new())
    }

    /// With these plugins in the daemon's configuration.
    fn with(plugins: toml::Table) -> Self {
        let assayd = Assayd::builder()
            .file("notation/trustpolicy.blob.json", trust_policy())
            .setting("revocation", toml::toml! { private_addresses = true })
            .setting("plugin", plugins)
            .prepare();
        Self {
            assayd: assayd.expect("a configuration"),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn config(&self) -> PathBuf {
        self.assayd.config_directory().join("notation")
    }

    /// Puts a certificate into `KIND:e2e`, the one store that the trust policy has of a kind.
    fn trust(&self, kind: &str, certificate: &[u8]) {
        let store = self.config().join("truststore/x509").join(kind).join("e2e");
        fs::create_dir_all(&store).unwrap();
        fs::write(store.join("certificate"), certificate).unwrap();
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    async fn verify(&self, file: &Path, signature: &Path, more: &[&str]) -> Finished {
        let (config, daemon) = (self.config(), self.assayd.config_directory().join("config.toml"));
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let mut arguments = vec![
            "verify-blob".to_owned(),
            text(file),
            "--signature".to_owned(),
            text(signature),
        ];
        arguments.extend(["--config".to_owned(), text(&config)]);
        if !more.contains(&"--offline") {
            arguments.extend(["--daemon-config".to_owned(), text(&daemon)]);
        }
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.assayd.assayctl(&arguments).await.expect("assayctl runs")
    }

    /// Expects an exit code and words in what is said.
    async fn expect(&self, file: &Path, signature: &Path, more: &[&str], code: i32, says: &str) -> Finished {
        let finished = self.verify(file, signature, more).await;
        assert_eq!(finished.code, Some(code), "{more:?}: {finished:?}");
        let said = finished.stdout.clone() + &finished.stderr;
        assert!(said.contains(says), "{more:?}: no \"{says}\" in {said}");
        finished
    }
}

/// What the real notation signed: a file, and its signature.
async fn signed_by_notation(desk: &Desk, notation: &Notation, registry: &Registry, how: Sign) -> (PathBuf, PathBuf) {
    let image = Image::tiny("a file").unwrap();
    image.store(registry.content(), "files", "v1");
    let reference = format!("{}@{}", registry.repository("files"), image.digest());
    notation.sign(&reference, &how).await.expect("a signature");
    let signature = registry
        .content()
        .signatures("files", image.digest())
        .pop()
        .expect("the signature");
    let format = if signature.media_type == JWS { "jws" } else { "cose" };
    let file = desk.write("file.txt", image.bytes());
    let signature = desk.write(&format!("file.txt.{format}.sig"), &signature.envelope);
    (file, signature)
}

#[tokio::test(flavor = "multi_thread")]
async fn behaves_as_notations_own_suite_lists_for_blobs() {
    let peers = Peers::fetch().expect("peers");
    let openssl = OpenSsl::find(&peers).expect("openssl");
    let registry = Registry::start().await.expect("a registry");
    let notation = Notation::new(&peers).expect("notation");
    let identity = SigningIdentity::self_signed(&Profile::named("e2e")).unwrap();
    notation.add_key("e2e", &identity).expect("a key");
    let desk = Desk::new();
    desk.trust("ca", identity.anchor_pem.as_bytes());
    let time_root = Authority::root(&Profile::named("time root")).unwrap();
    let identity = time_root.issue(&Profile::timestamping("time")).unwrap();
    let time = TimestampAuthority::start(&openssl, &Stamping::with(&identity))
        .await
        .unwrap();
    desk.trust("tsa", time.root_pem().as_bytes());
    let sign = |how: Sign| signed_by_notation(&desk, &notation, &registry, how);

    // verify-01, -03, -04: the global statement, a named one, the media type.
    let (file, signature) = sign(Sign::with("e2e")).await;
    let said = desk.expect(&file, &signature, &[], 0, "ADMIT: signed by").await;
    assert!(said.stdout.contains("test-blob-global-statement"), "{}", said.stdout);
    for step in ["integrity", "authenticity", "identity", "subject", "revocation"] {
        assert!(said.stdout.contains(step), "{step}: {}", said.stdout);
    }
    desk.expect(
        &file,
        &signature,
        &["--policy-name", "test-blob-statement"],
        0,
        "statement  test-blob-statement",
    )
    .await;
    desk.expect(&file, &signature, &["--media-type", MANIFEST], 0, "ADMIT")
        .await;
    // verify-12: another media type.
    desk.expect(
        &file,
        &signature,
        &["--media-type", "image/jpeg"],
        1,
        "DENY subject-mismatch",
    )
    .await;
    // verify-09: what is no key and value. verify-08: what a plugin is told is the node's configuration, not the asker's.
    let usage = &["--user-metadata", "invalid"];
    desk.expect(&file, &signature, usage, 2, "key-value pair requires \"=\"")
        .await;
    let usage = &["--plugin-config", "invalid"];
    desk.expect(&file, &signature, usage, 2, "unexpected argument '--plugin-config'")
        .await;
    // verify-10, -11 and a name without a format, also where the format is told.
    for (name, says) in [
        ("file.txt.jws.invalid", "extension must be .sig"),
        ("file.sig", "invalid signature filename"),
        ("file.txt.invalid.sig", "signature format \"invalid\" not supported"),
    ] {
        let renamed = desk.write(name, &fs::read(&signature).unwrap());
        desk.expect(&file, &renamed, &[], 2, says).await;
        desk.expect(&file, &renamed, &["--signature-format", "jws"], 0, "ADMIT")
            .await;
        desk.expect(
            &file,
            &renamed,
            &["--signature-format", "cose"],
            1,
            "DENY signature-invalid",
        )
        .await;
    }
    // verify-07: no signature.
    let finished = desk
        .assayd
        .assayctl(&["verify-blob", file.to_str().unwrap()])
        .await
        .unwrap();
    assert!(
        finished.code == Some(2) && finished.stderr.contains("--signature"),
        "{finished:?}"
    );

    // A changed byte, and files that are not there.
    let mut changed = fs::read(&file).unwrap();
    changed[20] ^= 1;
    let other = desk.write("other.txt", &changed);
    desk.expect(&other, &signature, &[], 1, "DENY subject-mismatch").await;
    desk.expect(Path::new("/nonexistent"), &signature, &[], 2, "/nonexistent")
        .await;
    desk.expect(&file, Path::new("/nonexistent.jws.sig"), &[], 2, "/nonexistent.jws.sig")
        .await;
    desk.expect(
        &file,
        &signature,
        &["--policy-name", "nobody's"],
        2,
        "it has test-blob-statement",
    )
    .await;
    // Without a token the statement that asks for one denies.
    let timestamped = &["--policy-name", "test-blob-with-timestamping"];
    desk.expect(&file, &signature, timestamped, 1, "DENY timestamp-required")
        .await;

    // verify-02: COSE. verify-05: a timestamp. verify-06: user metadata.
    let (file, signature) = sign(Sign::with("e2e").format(Format::Cose)).await;
    desk.expect(&file, &signature, &[], 0, "ADMIT").await;
    let (file, signature) = sign(Sign::with("e2e").timestamped(&time)).await;
    desk.expect(&file, &signature, timestamped, 0, "the time of").await;
    let (file, signature) = sign(Sign::with("e2e").claim("k1", "v1")).await;
    desk.expect(&file, &signature, &["--user-metadata", "k1=v1"], 0, "k1=v1")
        .await;
    desk.expect(&file, &signature, &["-m", "k1=v2"], 1, "DENY annotation-mismatch")
        .await;
    desk.expect(&file, &signature, &["-m", "k1=v1", "-m", "k1=v2"], 2, "twice")
        .await;
    let machine = desk.expect(&file, &signature, &["--output", "json"], 0, "admit").await;
    let machine: Value = serde_json::from_str(&machine.stdout).expect("JSON");
    assert_eq!(machine["user_metadata"], json!({"k1": "v1"}));
    assert!(
        machine["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["outcome"] == "passed"),
        "{machine}"
    );

    // verify-13: no trust policy.
    fs::remove_file(desk.config().join("trustpolicy.blob.json")).unwrap();
    desk.expect(&file, &signature, &[], 2, "the trust policy is not present")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_the_signatures_of_notations_own_suite_while_their_certificates_are_valid() {
    let signatures = vectors().join("notation/notation/signatures");
    let file = signatures.join("blob.LICENSE");
    for (name, format, at) in [
        ("blob.jws.sig", "jws", "2024-12-31T12:00:00Z"),
        ("blob.cose.sig", "cose", "2025-01-07T12:00:00Z"),
    ] {
        let desk = Desk::new();
        let signature = signatures.join(name);
        let certificate = leaf(format, &fs::read(&signature).unwrap());
        desk.trust("ca", &certificate);
        desk.expect(&file, &signature, &["--offline", "--at", at], 0, "ADMIT")
            .await;
        desk.expect(&file, &signature, &["--offline"], 1, "DENY certificate-expired")
            .await;
        let octets = &["--offline", "--at", at, "--media-type", "application/octet-stream"];
        desk.expect(&file, &signature, octets, 0, "ADMIT").await;
        let other = desk.write("other", &[&fs::read(&file).unwrap()[..], b"\n"].concat());
        desk.expect(
            &other,
            &signature,
            &["--offline", "--at", at],
            1,
            "DENY subject-mismatch",
        )
        .await;
    }
}

/// The certificate of an envelope that has one.
fn leaf(format: &str, envelope: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    if format == "jws" {
        let envelope: Value = serde_json::from_slice(envelope).unwrap();
        let certificate = envelope["header"]["x5c"][0].as_str().unwrap();
        return base64::engine::general_purpose::STANDARD.decode(certificate).unwrap();
    }
    // The one certificate in DER: a SEQUENCE with a length of two bytes, in a CBOR byte string of the same length and
    // four bytes more.
    let start = envelope.windows(5).position(|window| {
        window[0] == 0x59 && window[3..] == [0x30, 0x82] && u16::from_be_bytes([window[1], window[2]]) > 256
    });
    let start = start.expect("a certificate");
    let length = usize::from(u16::from_be_bytes([envelope[start + 1], envelope[start + 2]]));
    envelope[start + 3..][..length].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_the_issuer_whether_the_signer_is_revoked_and_takes_its_list_from_a_file_too() {
    let peers = Peers::fetch().expect("peers");
    let openssl = OpenSsl::find(&peers).expect("openssl");
    let root = Authority::root(&Profile::named("root")).unwrap();
    let mut web = WebServer::start().await.unwrap();
    let release = root
        .issue(&Profile::named("release").crl(web.url("/root.crl")))
        .unwrap();
    let list = async |revoked: Vec<Revoked>| {
        let list = Crl::sign(&openssl, &root, &assay_integration::crl::CrlProfile::revoking(revoked)).await;
        list.unwrap().der
    };
    let (clean, revoking) = (
        list(vec![]).await,
        list(vec![Revoked::new(&release.serial, Reason::KeyCompromise)]).await,
    );
    let desk = Desk::new();
    desk.trust("ca", root.certificate_pem().as_bytes());
    let (file, signature) = signed_here(&desk, &release);

    web.serve_crl("/root.crl", &clean);
    desk.expect(&file, &signature, &[], 0, "ADMIT").await;
    assert_eq!(web.requests("/root.crl"), 1);
    // Nobody is asked, so nothing is known.
    desk.expect(&file, &signature, &["--offline"], 3, "DENY revocation-unknown")
        .await;
    assert_eq!(web.requests("/root.crl"), 1);
    web.serve_crl("/root.crl", &revoking);
    desk.expect(&file, &signature, &[], 1, "DENY certificate-revoked").await;
    web.stop().await;
    desk.expect(&file, &signature, &[], 3, "DENY revocation-unknown").await;
    // The list as a file, beside notation's folder.
    let beside = desk.assayd.config_directory().join("revocation");
    fs::create_dir_all(&beside).unwrap();
    fs::write(beside.join("root.crl"), &clean).unwrap();
    desk.expect(&file, &signature, &["--offline"], 0, "ADMIT").await;
    fs::write(beside.join("root.crl"), &revoking).unwrap();
    desk.expect(&file, &signature, &["--offline"], 1, "DENY certificate-revoked")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consults_the_plugin_that_the_signature_asks_for_where_the_node_has_it() {
    const NAME: &str = "com.example.plugin";
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = folder.path().join(format!("notation-{NAME}"));
    // Another process writes the copy, so that no child of this one holds it open when it is run.
    let installed = std::process::Command::new("install")
        .args(["-m", "0755", env!("CARGO_BIN_EXE_notation-e2e-plugin")])
        .arg(&program)
        .status();
    assert!(installed.unwrap().success());
    let plugin = |config: toml::Table| {
        let path = program.to_str().unwrap().to_owned();
        let plugin = toml::Table::from_iter([("path".to_owned(), path.into()), ("config".to_owned(), config.into())]);
        toml::Table::from_iter([(NAME.to_owned(), plugin.into())])
    };
    let release = SigningIdentity::self_signed(&Profile::named("release")).unwrap();
    let refuses = plugin(toml::toml! { identity = "not on duty" });
    for (plugins, more, code, says) in [
        (
            plugin(toml::Table::new()),
            &[][..],
            0,
            "the plugin com.example.plugin 1.0.0 was heard",
        ),
        (plugin(toml::Table::new()), &["--offline"], 3, "DENY plugin-unavailable"),
        (refuses, &[], 1, "DENY plugin-refused"),
        (toml::Table::new(), &[], 3, "DENY plugin-unavailable"),
    ] {
        let desk = Desk::with(plugins);
        desk.trust("ca", release.anchor_pem.as_bytes());
        let file = desk.write("file", b"content");
        let protected = json!({
            "alg": "ES256",
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "crit": ["io.cncf.notary.signingScheme", "io.cncf.notary.verificationPlugin"],
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": jiff::Timestamp::now().round(jiff::Unit::Second).unwrap().to_string(),
            "io.cncf.notary.verificationPlugin": NAME,
        });
        let digest = assay_verify::digest::Digest::sha256(b"content").to_string();
        let target = json!({ "mediaType": "text/plain; charset=utf-8", "digest": digest, "size": 7 });
        let payload = json!({ "targetArtifact": target });
        let envelope = EnvelopeSigner::new(&release).unwrap().sign_claims(&protected, &payload);
        let signature = desk.write("file.jws.sig", &envelope.unwrap());
        desk.expect(&file, &signature, more, code, says).await;
    }
}

/// A file with a signature that is made here.
fn signed_here(desk: &Desk, identity: &SigningIdentity) -> (PathBuf, PathBuf) {
    let image = Image::tiny("a file").unwrap();
    let envelope = EnvelopeSigner::new(identity).unwrap();
    let envelope = envelope.sign(&image.descriptor(), SystemTime::now()).unwrap();
    (desk.write("file", image.bytes()), desk.write("file.jws.sig", &envelope))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_proves_nothing_admits_nothing_unless_that_is_asked_for() {
    let desk = Desk::new();
    let release = SigningIdentity::self_signed(&Profile::named("release")).unwrap();
    let stranger = SigningIdentity::self_signed(&Profile::named("stranger")).unwrap();
    desk.trust("ca", stranger.anchor_pem.as_bytes());
    let (file, signature) = signed_here(&desk, &release);
    let statement = |name: &str, level: &str| {
        let mut statement = json!({ "name": name, "signatureVerification": { "level": level } });
        if level != "skip" {
            statement["trustStores"] = json!(["ca:e2e"]);
            statement["trustedIdentities"] = json!(["*"]);
            statement["signatureVerification"]["override"] = json!({ "revocation": "skip" });
        }
        statement
    };
    let policy =
        json!({ "version": "1.0", "trustPolicies": [statement("skipped", "skip"), statement("logged", "audit")] });
    fs::write(desk.config().join("trustpolicy.blob.json"), policy.to_string()).unwrap();
    for (name, code) in [("skipped", "unsigned"), ("logged", "untrusted-signer")] {
        desk.expect(&file, &signature, &["--policy-name", name], 1, &format!("DENY {code}"))
            .await;
        let accepted = &["--policy-name", name, "--accept-unverified"];
        desk.expect(&file, &signature, accepted, 0, "that is accepted").await;
    }
    desk.expect(&file, &signature, &[], 2, "no statement of the trust policy is global")
        .await;
}
