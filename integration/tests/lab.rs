//! The harness against itself: the real peers run here, and each tool shows what tests will rely on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Key, Profile, SigningIdentity};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::notation::{Format, Sign, Storage};
use assay_integration::registry::{Distribution, Kind, Login};
use assay_integration::{Containerd, Image, Notation, Peers, Registry};

fn peers() -> Peers {
    Peers::fetch().expect("the peers")
}

/// A verifier for these tests alone: it notes what containerd told it, speaks, and ends with `exit_code`.
struct Script {
    directory: tempfile::TempDir,
}

impl Script {
    fn ending_with(exit_code: u8) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let notes = directory.path().join("notes");
        let script = format!(
            "#!/bin/sh\n{{ echo \"$@\"; cat; echo \"NOTE=$NOTE\"; }} >> {}\necho said by the script\nexit {exit_code}\n",
            notes.display()
        );
        let program = directory.path().join("verifier");
        fs::write(&program, script).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("an executable script");
        Self { directory }
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("verifier")
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.directory.path().join("notes")).unwrap_or_default()
    }
}

#[test]
fn the_peers_are_fetched_once_and_found_again() {
    let first = peers();
    let again = peers();
    assert_eq!(first.versions(), again.versions());
    let containerd = first
        .versions()
        .iter()
        .find(|(name, _)| name == "containerd")
        .expect("containerd");
    let mut numbers = containerd.1.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let series = (numbers.next(), numbers.next());
    assert!(
        series >= (Some(2), Some(1)),
        "CRI pulls ask verifiers since 2.1; the archive has {}",
        containerd.1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowing_verifier_lets_a_cri_pull_through() {
    let peers = peers();
    let registry = Registry::start().await.unwrap();
    let image = Image::busybox(&peers, "allowed").unwrap();
    image.store(registry.content(), "app", "v1");
    let script = Script::ending_with(0);
    let containerd = Containerd::builder(&peers)
        .verifier("script", &script.program())
        .env("NOTE", "inherited")
        .plain_http(&registry.host())
        .start()
        .await
        .unwrap();
    let reference = format!("{}:v1", registry.repository("app"));

    containerd.pull_cri(&reference).await.unwrap();
    assert!(containerd.has(&reference).await.unwrap());
    assert_eq!(registry.log().layer_requests().len(), 1);
    let notes = script.notes();
    assert!(
        notes.contains(&format!("-name {reference} -digest {}", image.digest())),
        "{notes}"
    );
    assert!(notes.contains("NOTE=inherited"), "{notes}");

    containerd.remove(&reference).await.unwrap();
    assert!(!containerd.has(&reference).await.unwrap());
    containerd.pull_cri(&reference).await.unwrap();
    assert_eq!(
        registry.log().layer_requests().len(),
        2,
        "a removed image is fetched again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denying_verifier_stops_cri_and_ctr_before_any_layer() {
    let peers = peers();
    let registry = Registry::start().await.unwrap();
    Image::two_platforms(&peers, "denied")
        .unwrap()
        .store(registry.content(), "app", "v1");
    let script = Script::ending_with(1);
    let containerd = Containerd::builder(&peers)
        .verifier("script", &script.program())
        .plain_http(&registry.host())
        .start()
        .await
        .unwrap();
    let reference = format!("{}:v1", registry.repository("app"));

    let from_cri = containerd.pull_cri(&reference).await.expect_err("a denial");
    let from_ctr = containerd.pull_ctr(&reference).await.expect_err("a denial");
    for denial in [from_cri, from_ctr] {
        assert!(
            denial.is_denial() && denial.message.contains("said by the script"),
            "{denial}"
        );
    }
    assert!(registry.log().count(Kind::Manifest) > 0);
    assert!(registry.log().layer_requests().is_empty());
    assert!(containerd.images().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_an_index_over_tls_with_a_password_and_from_docker_registry() {
    let peers = peers();
    let tls = Registry::start_tls().await.unwrap();
    let distribution = Distribution::start(&peers).await.unwrap();
    let image = Image::two_platforms(&peers, "index").unwrap();
    image.store(tls.content(), "app", "v1");
    image.push(&distribution.repository("app"), "v1").await.unwrap();
    tls.require(Login::Basic {
        username: "user".into(),
        password: "secret".into(),
    });
    let containerd = Containerd::builder(&peers)
        .tls(&tls.host(), tls.ca().unwrap())
        .plain_http(distribution.host())
        .start()
        .await
        .unwrap();

    let reference = format!("{}:v1", tls.repository("app"));
    containerd.pull_cri(&reference).await.expect_err("a password is needed");
    containerd
        .pull_cri_with(&reference, Some(("user", "secret")))
        .await
        .unwrap();
    containerd.remove(&reference).await.unwrap();

    assert!(distribution.layer_requests(&image).is_empty());
    containerd
        .pull_cri(&format!("{}:v1", distribution.repository("app")))
        .await
        .unwrap();
    assert_eq!(distribution.layer_requests(&image).len(), 1);
    containerd.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_dropped_containerd_and_its_containers() {
    let peers = peers();
    let registry = Registry::start().await.unwrap();
    Image::busybox(&peers, "running")
        .unwrap()
        .store(registry.content(), "app", "v1");
    let containerd = Containerd::builder(&peers)
        .plain_http(&registry.host())
        .start()
        .await
        .unwrap();
    let reference = format!("{}:v1", registry.repository("app"));
    containerd.pull_cri(&reference).await.unwrap();
    let id = containerd.run(&reference).await.unwrap();
    let tasks = containerd.ctr(&["tasks", "list"]).await.unwrap().stdout;
    assert!(tasks.contains(&id) && tasks.contains("RUNNING"), "{tasks}");

    let directory = containerd.socket().parent().unwrap().to_owned();
    let sleeper: u32 = tasks
        .lines()
        .find_map(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("its id");
    let of_this_containerd = |entry: fs::DirEntry| {
        let command_line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command_line = String::from_utf8_lossy(&command_line).into_owned();
        command_line
            .contains(&*directory.to_string_lossy())
            .then_some(command_line)
    };
    let processes = || {
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(of_this_containerd)
            .collect::<Vec<_>>()
    };
    assert!(
        processes()
            .iter()
            .any(|command_line| command_line.contains("containerd-shim")),
        "{:?}",
        processes()
    );
    drop(containerd);
    assert_eq!(processes(), [""; 0]);
    assert!(
        !PathBuf::from(format!("/proc/{sleeper}")).exists(),
        "the container still runs"
    );
    assert!(!directory.exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*directory.to_string_lossy()), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn notation_signs_and_verifies_every_key_in_both_envelopes() {
    let peers = peers();
    let registry = Registry::start().await.unwrap();
    let root = Authority::root(&Profile::named("root")).unwrap();
    let intermediate = root.intermediate(&Profile::named("intermediate")).unwrap();
    let notation = Notation::new(&peers).unwrap();
    notation.trust("ca", "corp", &root.certificate_pem()).unwrap();
    let profile = Profile::named("release");
    notation
        .trust_everywhere("corp", &[&profile.trusted_identity()])
        .unwrap();

    for key in Key::ALL {
        let name = format!("{key:?}");
        notation
            .add_key(&name, &intermediate.issue(&profile.clone().key(key)).unwrap())
            .unwrap();
        for format in [Format::Jws, Format::Cose] {
            let image = Image::tiny(&format!("{key:?} {format:?}")).unwrap();
            image.store(registry.content(), "app", "v1");
            let reference = format!("{}@{}", registry.repository("app"), image.digest());
            assert!(
                !notation.verify(&reference).await.unwrap().success,
                "{reference} is not signed yet"
            );
            notation
                .sign(&reference, &Sign::with(&name).format(format))
                .await
                .unwrap();
            assert_eq!(registry.content().referrers("app", image.digest()).len(), 1);
            notation.verify(&reference).await.unwrap().successful().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notation_signs_in_docker_registry_and_under_the_fallback_tag() {
    let peers = peers();
    let notation = Notation::new(&peers).unwrap();
    notation.generate_test_key("test").await.unwrap();
    notation.trust_everywhere("test", &["*"]).unwrap();
    let distribution = Distribution::start(&peers).await.unwrap();
    let registry = Registry::start().await.unwrap();
    let image = Image::tiny("fallback").unwrap();

    image.push(&distribution.repository("app"), "v1").await.unwrap();
    let reference = format!("{}@{}", distribution.repository("app"), image.digest());
    for format in [Format::Jws, Format::Cose] {
        notation
            .sign(&reference, &Sign::with("test").format(format))
            .await
            .unwrap();
        notation.verify(&reference).await.unwrap().successful().unwrap();
    }
    let tag = image.digest().replace(':', "-");
    assert!(
        distribution
            .requests()
            .contains(&format!("PUT /v2/app/manifests/{tag}"))
    );

    image.push(&registry.repository("app"), "v1").await.unwrap();
    let reference = format!("{}@{}", registry.repository("app"), image.digest());
    notation
        .sign(&reference, &Sign::with("test").storage(Storage::FallbackTag))
        .await
        .unwrap();
    assert!(registry.content().resolve("app", &tag).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn notation_refuses_strangers_expired_signatures_and_expired_certificates() {
    let peers = peers();
    let registry = Registry::start().await.unwrap();
    let notation = Notation::new(&peers).unwrap();
    let trusted = SigningIdentity::self_signed(&Profile::named("trusted")).unwrap();
    let stranger = SigningIdentity::self_signed(&Profile::named("stranger")).unwrap();
    // Long enough to sign on a busy machine.
    let short = Profile {
        not_after: SystemTime::now() + Duration::from_secs(8),
        ..Profile::named("short")
    };
    let ends = short.not_after;
    let short = SigningIdentity::self_signed(&short).unwrap();
    for (name, identity) in [("trusted", &trusted), ("stranger", &stranger), ("short", &short)] {
        notation.add_key(name, identity).unwrap();
    }
    notation.trust("ca", "corp", &trusted.anchor_pem).unwrap();
    notation.trust("ca", "corp", &short.anchor_pem).unwrap();
    notation.trust_everywhere("corp", &["*"]).unwrap();

    let cases = [
        ("stranger", Sign::with("stranger"), "authenticity"),
        (
            "expired signature",
            Sign::with("trusted").expiry(Duration::from_secs(1)),
            "expired",
        ),
        ("expired certificate", Sign::with("short"), "expired"),
    ];
    let mut references = vec![];
    for (marker, how, _) in &cases {
        let image = Image::tiny(marker).unwrap();
        image.store(registry.content(), "app", "v1");
        let reference = format!("{}@{}", registry.repository("app"), image.digest());
        notation.sign(&reference, how).await.unwrap();
        references.push(reference);
    }
    // Validity is in whole seconds.
    tokio::time::sleep(ends.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_secs(1)).await;
    for ((marker, _, expected), reference) in cases.iter().zip(&references) {
        let finished = notation.verify(reference).await.unwrap();
        assert!(!finished.success, "{marker}");
        assert!(finished.stderr.contains(expected), "{marker}: {}", finished.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_can_be_changed_and_copied_to_another_image() {
    let peers = peers();
    let registry = Registry::start().await.unwrap();
    let notation = Notation::new(&peers).unwrap();
    let signer = SigningIdentity::self_signed(&Profile::named("signer")).unwrap();
    notation.add_key("signer", &signer).unwrap();
    notation.trust("ca", "corp", &signer.anchor_pem).unwrap();
    notation.trust_everywhere("corp", &["*"]).unwrap();
    let content = registry.content();
    let image = Image::tiny("signed").unwrap();
    let twin = image.with_one_byte_changed().unwrap();
    image.store(content, "app", "v1");
    twin.store(content, "app", "twin");
    assert_ne!(image.digest(), twin.digest());
    let reference = |image: &Image| format!("{}@{}", registry.repository("app"), image.digest());
    notation.sign(&reference(&image), &Sign::with("signer")).await.unwrap();
    notation.verify(&reference(&image)).await.unwrap().successful().unwrap();

    let signature = content.signatures("app", image.digest()).pop().expect("one signature");
    content.attach_signature("app", &twin.descriptor(), &signature.media_type, &signature.envelope);
    assert!(
        !notation.verify(&reference(&twin)).await.unwrap().success,
        "it names another digest"
    );

    let mut envelope = signature.envelope.to_vec();
    let last = envelope.iter().rposition(u8::is_ascii_alphabetic).unwrap();
    envelope[last - 10] ^= 1;
    assert!(content.remove("app", &signature.digest));
    content.attach_signature("app", &image.descriptor(), &signature.media_type, &envelope);
    assert!(
        !notation.verify(&reference(&image)).await.unwrap().success,
        "one byte is not what was signed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn notation_accepts_an_envelope_that_was_made_here() {
    let peers = peers();
    let registry = Registry::start().await.unwrap();
    let notation = Notation::new(&peers).unwrap();
    let root = Authority::root(&Profile::named("root")).unwrap();
    let profile = Profile::named("release");
    let signer = EnvelopeSigner::new(&root.issue(&profile).unwrap()).unwrap();
    notation.trust("ca", "corp", &root.certificate_pem()).unwrap();
    notation
        .trust_everywhere("corp", &[&profile.trusted_identity()])
        .unwrap();
    let image = Image::tiny("made here").unwrap();
    image.store(registry.content(), "app", "v1");

    let envelope = signer.sign(&image.descriptor(), SystemTime::now()).unwrap();
    registry
        .content()
        .attach_signature("app", &image.descriptor(), JWS, &envelope);
    let reference = format!("{}@{}", registry.repository("app"), image.digest());
    notation.verify(&reference).await.unwrap().successful().unwrap();

    let rsa = root.issue(&profile.key(Key::Rsa2048)).unwrap();
    assert!(EnvelopeSigner::new(&rsa).is_err());
}
