//! `assayctl hook`, `doctor` and `bootstrap` on a real containerd: each trap that is planted is found, mended where a drop-in can, and
//! a sound node is silent.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_integration::registry::Login;
use assay_integration::{Assayd, Containerd, Finished, Image, Journal, Peers, Registry, containerd, program};
use serde_json::Value;

const NOTHING: &str = "version   = 1\nunmatched = \"deny\"\n\n[authority.corp]\ntype = \"cosign\"\nkeys = [\"key.pub\"]\n\n[[rule]]\n\
                       name = \"signed\"\nimages = [\"registry.example/**\"]\nrequire = { all = [\"corp\"] }\n";
/// Any key: nothing is signed with it.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n\
                   6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n";

/// A daemon, and a containerd that is to ask it.
struct Node {
    assayd: Assayd,
    containerd: Containerd,
    verifier: PathBuf,
}

impl Node {
    /// Without the hook, with these tables in containerd's configuration.
    async fn without_hook(settings: &str, registry: Option<&Registry>) -> Self {
        let mut daemon = Assayd::builder().policy(NOTHING);
        if let Some(registry) = registry {
            daemon = daemon.plain_http(&registry.host());
        }
        Self::of(daemon, |containerd| {
            let containerd = containerd.settings(settings);
            match registry {
                Some(registry) => containerd.plain_http(&registry.host()),
                None => containerd,
            }
        })
        .await
    }

    async fn of(
        daemon: assay_integration::assayd::Builder,
        set_up: impl FnOnce(containerd::Builder) -> containerd::Builder,
    ) -> Self {
        let peers = Peers::fetch().unwrap();
        let assayd = daemon.file("key.pub", KEY).start().await.unwrap();
        let digest = format!("registry.k8s.io/pause@sha256:{}\n", "a".repeat(64));
        fs::write(assayd.bootstrap_list(), digest).unwrap();
        let containerd = set_up(Containerd::builder(&peers).asks(&assayd));
        Self {
            containerd: containerd.start().await.unwrap(),
            assayd,
            verifier: program("assay-verifier").unwrap(),
        }
    }

    async fn with_hook(settings: &str) -> Self {
        Self::with_hook_and(|containerd| containerd.settings(settings)).await
    }

    async fn with_hook_and(set_up: impl FnOnce(containerd::Builder) -> containerd::Builder) -> Self {
        let node = Self::of(Assayd::builder().policy(NOTHING), set_up).await;
        node.put_hook();
        node
    }

    /// As `hook enable` leaves it, which refuses on nodes that are not sound.
    fn put_hook(&self) {
        symlink(&self.verifier, self.link()).unwrap();
    }

    async fn assayctl(&self, command: &[&str]) -> Finished {
        let config = self.containerd.config_file();
        let mut arguments = command.to_vec();
        arguments.extend(["--containerd-config", config.to_str().unwrap()]);
        self.assayd.assayctl(&arguments).await.unwrap()
    }

    async fn hook(&self, command: &[&str]) -> Finished {
        let mut arguments = vec!["hook"];
        arguments.extend(command);
        arguments.extend(["--verifier", self.verifier.to_str().unwrap()]);
        self.assayctl(&arguments).await
    }

    async fn doctor(&self) -> Diagnosis {
        self.doctor_with(&[]).await
    }

    async fn doctor_with(&self, options: &[&str]) -> Diagnosis {
        let verifier = self.verifier.to_str().unwrap();
        let mut arguments = vec!["doctor", "--output", "json", "--verifier", verifier];
        arguments.extend(options);
        Diagnosis::read(&self.assayctl(&arguments).await)
    }

    async fn fix(&self, options: &[&str]) -> Finished {
        let mut arguments = vec!["doctor", "--fix", "--verifier", self.verifier.to_str().unwrap()];
        arguments.extend(options);
        self.assayctl(&arguments).await
    }

    /// All files of containerd's configuration, with their content.
    fn configuration(&self) -> Vec<(PathBuf, String)> {
        let main = self.containerd.config_file();
        let folders = [main.parent().unwrap().to_owned(), self.drop_ins()];
        let entries = folders.iter().flat_map(fs::read_dir).flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let of_it = |path: &PathBuf| path.is_file() && path.to_str().unwrap().contains(".toml");
        let mut files: Vec<_> = paths
            .filter(of_it)
            .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn drop_ins(&self) -> PathBuf {
        self.containerd.config_file().parent().unwrap().join("conf.d")
    }

    fn link(&self) -> PathBuf {
        self.containerd.verifier_directory().join("assay-verifier")
    }
}

#[derive(Debug)]
struct Diagnosis {
    code: Option<i32>,
    found: BTreeSet<String>,
    text: String,
}

impl Diagnosis {
    fn read(finished: &Finished) -> Self {
        let report: Value =
            serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        let findings = report["findings"].as_array().unwrap().iter();
        Self {
            code: finished.code,
            found: findings
                .map(|finding| finding["id"].as_str().unwrap().to_owned())
                .collect(),
            text: finished.stdout.clone(),
        }
    }

    #[track_caller]
    fn is(&self, code: i32, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().map(ToString::to_string).collect();
        assert_eq!((self.code, &self.found), (Some(code), &expected), "{}", self.text);
    }
}

fn images(lines: &str) -> String {
    format!("[plugins.\"io.containerd.cri.v1.images\"]\n{lines}\n")
}

#[tokio::test]
async fn a_sound_node_is_silent_and_the_canary_proves_the_hook() {
    let node = Node::without_hook("", None).await;
    node.hook(&["enable"]).await.successful().unwrap();
    node.doctor().await.is(0, &[]);
    let verifier = node.verifier.to_str().unwrap();
    let shown = node.assayctl(&["doctor", "--verifier", verifier]).await;
    assert!(shown.stdout.lines().all(|line| line.starts_with("OK ")), "{shown:?}");
    assert!(shown.stdout.contains("the canary was denied by decision "), "{shown:?}");
    assert!(node.containerd.images().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_setting_that_leads_past_the_verifiers_is_found_and_the_canary_shows_that_it_does() {
    let registry = |table: &str| format!("[plugins.\"io.containerd.cri.v1.images\".registry.{table}]\n");
    for (settings, id) in [
        (images("use_local_image_pull = true"), "local-pull"),
        (
            images("disable_snapshot_annotations = false"),
            "local-pull-snapshot-annotations",
        ),
        (
            images("discard_unpacked_layers = true"),
            "local-pull-discard-unpacked-layers",
        ),
        (
            images("max_concurrent_downloads = 5"),
            "local-pull-concurrent-downloads",
        ),
        (images("image_pull_with_sync_fs = true"), "local-pull-sync-fs"),
        (
            registry("configs.\"r.example\".auth") + "username = \"u\"\npassword = \"p\"\n",
            "local-pull-registry-configs",
        ),
        (
            registry("auths.\"https://r.example\"") + "username = \"u\"\npassword = \"p\"\n",
            "local-pull-registry-auths",
        ),
    ] {
        let node = Node::with_hook(&settings).await;
        node.doctor().await.is(1, &[id, "canary-admitted"]);
    }
    // containerd refuses mirrors beside a host tree.
    let mirrors = registry("mirrors.\"r.example\"") + "endpoint = [\"https://m.example\"]\n";
    let node = Node::with_hook_and(|containerd| containerd.line("config_path", "").settings(&mirrors)).await;
    let found = node.doctor().await;
    found.is(1, &["local-pull-registry-mirrors", "canary-admitted"]);
}

#[tokio::test]
async fn what_of_the_verifiers_settings_keeps_the_hook_from_being_asked_is_found() {
    for (key, line, expected) in [
        (
            "max_verifiers",
            "max_verifiers = 0",
            &["hook-skipped", "canary-admitted"][..],
        ),
        ("bin_dir", "bin_dir = \"\"", &["bin-dir-unset", "canary-admitted"]),
        // Long enough for the canary.
        (
            "per_verifier_timeout",
            "per_verifier_timeout = \"5s\"",
            &["verifier-timeout-too-short"],
        ),
    ] {
        let node = Node::with_hook_and(|containerd| containerd.line(key, line)).await;
        node.doctor().await.is(1, expected);
    }
    // Without the plugin, containerd 2.1 serves no CRI: nothing is pulled, and nothing unpacked.
    for (plugin, code, expected) in [
        (
            "io.containerd.image-verifier.v1.bindir",
            1,
            &["verifier-plugin-disabled", "cri-away"],
        ),
        ("io.containerd.grpc.v1.cri", 3, &["cri-disabled", "cri-away"]),
    ] {
        let line = format!("disabled_plugins = [\"io.containerd.nri.v1.nri\", \"{plugin}\"]");
        let node = Node::with_hook_and(|containerd| containerd.line("disabled_plugins", &line).without_cri()).await;
        node.doctor().await.is(code, expected);
    }
    // By the order of names, the hook comes second.
    let node = Node::with_hook_and(|containerd| containerd.line("max_verifiers", "max_verifiers = 1")).await;
    node.doctor().await.is(0, &[]);
    symlink("/bin/true", node.containerd.verifier_directory().join("a-first")).unwrap();
    node.doctor().await.is(1, &["hook-skipped", "canary-admitted"]);
}

#[tokio::test]
async fn what_is_wrong_with_the_folder_is_found_while_containerd_runs() {
    let node = Node::with_hook("").await;
    let stray = node.containerd.verifier_directory().join("README");
    fs::write(&stray, "").unwrap();
    node.doctor().await.is(1, &["stray-entry", "canary-denied-otherwise"]);
    fs::remove_file(&stray).unwrap();
    fs::remove_file(node.link()).unwrap();
    node.doctor().await.is(1, &["bin-dir-empty", "canary-admitted"]);
    fs::remove_dir(node.containerd.verifier_directory()).unwrap();
    node.doctor().await.is(1, &["bin-dir-missing", "canary-admitted"]);
    fs::write(node.containerd.verifier_directory(), "").unwrap();
    node.doctor()
        .await
        .is(1, &["bin-dir-unreadable", "canary-denied-otherwise"]);
}

#[tokio::test]
async fn what_is_wrong_with_the_hook_in_the_folder_is_found_while_containerd_runs() {
    let node = Node::with_hook("").await;
    let folder = node.containerd.verifier_directory();
    let mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    node.doctor().await.is(1, &["bin-dir-exchangeable"]);
    mode(0o755);
    fs::remove_file(node.link()).unwrap();
    fs::copy(&node.verifier, node.link()).unwrap();
    node.doctor().await.is(4, &["hook-copied"]);
    fs::remove_file(node.link()).unwrap();
    symlink("/nonexistent/assay-verifier", node.link()).unwrap();
    node.doctor().await.is(1, &["hook-dangling", "canary-denied-otherwise"]);
    fs::remove_file(node.link()).unwrap();
    symlink("/bin/true", folder.join("another")).unwrap();
    node.doctor().await.is(1, &["hook-absent", "canary-admitted"]);
}

#[tokio::test]
async fn what_is_wrong_with_the_hooks_files_and_the_daemon_is_found() {
    let node = Node::with_hook("").await;
    let list = node.assayd.bootstrap_list();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    fs::write(&list, "registry.k8s.io/pause:3.10\n").unwrap();
    node.doctor().await.is(4, &["bootstrap-list-malformed"]);
    mode(&list, 0o666);
    node.doctor().await.is(4, &["bootstrap-list-not-obeyed"]);
    fs::remove_file(&list).unwrap();
    node.doctor().await.is(4, &["bootstrap-list-missing"]);
    fs::write(&list, "").unwrap();
    let flag = node.assayd.observe_flag();
    fs::write(&flag, "").unwrap();
    mode(&flag, 0o666);
    node.doctor().await.is(4, &["observe-flag-not-obeyed"]);
    fs::remove_file(&flag).unwrap();
    let socket = node.assayd.verifier_socket();
    let before = fs::metadata(&socket).unwrap().permissions();
    mode(&socket, 0o666);
    node.doctor().await.is(4, &["socket-mode"]);
    fs::set_permissions(&socket, before).unwrap();
    node.assayd.write_policy("version = 1\n").unwrap();
    let reloaded = node.assayd.assayctl(&["reload"]).await.unwrap();
    assert_eq!(reloaded.code, Some(1), "{reloaded:?}");
    node.doctor().await.is(4, &["policy-refused"]);
}

#[tokio::test]
async fn what_a_drop_in_can_mend_is_shown_written_when_told_and_mended_after_the_restart() {
    let planted = images(
        "use_local_image_pull = true\ndisable_snapshot_annotations = false\ndiscard_unpacked_layers = true\n\
         max_concurrent_downloads = 5\nimage_pull_with_sync_fs = true",
    );
    let mut node = Node::with_hook_and(|containerd| {
        containerd
            .line("version", "version = 3\nimports = [\"conf.d/*.toml\"]")
            .line("max_verifiers", "max_verifiers = 0")
            .line("per_verifier_timeout", "per_verifier_timeout = \"5s\"")
            .settings(&planted)
    })
    .await;
    // A file that is changed within a second of the start may have been read.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = node.configuration();
    let shown = node.fix(&[]).await;
    assert_eq!(shown.code, Some(1), "{shown:?}");
    for said in [
        "+discard_unpacked_layers = false\n",
        "+max_verifiers = 10\n",
        "--yes puts it in place",
    ] {
        assert!(shown.stdout.contains(said), "{said}: {shown:?}");
    }
    assert_eq!(node.configuration(), before);

    let written = node.fix(&["--yes"]).await;
    assert_eq!(written.code, Some(4), "{written:?}");
    assert!(written.stdout.contains("systemctl restart containerd"), "{written:?}");
    node.doctor_with(&["--no-canary"])
        .await
        .is(4, &["containerd-not-restarted"]);
    node.containerd.restart().await.unwrap();
    node.doctor().await.is(0, &[]);
    // It is the only file that changed, and the number of downloads is kept where verifiers are asked.
    let after = node.configuration();
    let own = node.drop_ins().join("99-assayd.toml");
    assert!(
        after.iter().all(|file| file.0 == own || before.contains(file)),
        "{after:?}"
    );
    let transfer = "[plugins.\"io.containerd.transfer.v1.local\"]\nmax_concurrent_downloads = 5\n";
    assert!(fs::read_to_string(&own).unwrap().contains(transfer));

    let again = node.fix(&["--yes"]).await;
    assert!(
        again.success && again.stdout.contains("Nothing has to be mended"),
        "{again:?}"
    );
    let again = node.fix(&["--yes", "--output", "json"]).await;
    let told: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        (&told["fix"]["written"], &told["left"]["sound"]),
        (&false.into(), &true.into())
    );
    assert_eq!(node.configuration(), after);
}

#[tokio::test]
async fn config_toml_gets_its_one_line_only_when_that_is_said_too() {
    // Of the format of containerd 1, which a drop-in of another format would break.
    let mut node = Node::with_hook_and(|containerd| {
        containerd.format_2().line(
            "restrict_oom_score_adj",
            "restrict_oom_score_adj = true\nmax_concurrent_downloads = 5",
        )
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = node.configuration();
    let refused = node.fix(&["--yes"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stdout.contains("--edit-config") && refused.stdout.contains("+imports = ["),
        "{refused:?}"
    );
    assert_eq!(node.configuration(), before);

    let written = node.fix(&["--yes", "--edit-config"]).await;
    assert_eq!(written.code, Some(4), "{written:?}");
    let after = node.configuration();
    assert!(after.iter().any(|(path, text)| {
        path.to_str().unwrap().contains("config.toml.before-assayctl-") && *text == before[0].1
    }));
    node.containerd.restart().await.unwrap();
    node.doctor().await.is(0, &[]);
}

#[tokio::test]
async fn what_no_drop_in_can_mend_is_left_and_nothing_is_written() {
    let imports = "version = 3\nimports = [\"conf.d/*.toml\"]";
    let login = "[plugins.\"io.containerd.cri.v1.images\".registry.auths.\"https://r.example\"]\nusername = \"u\"\n";
    let node = Node::with_hook_and(|containerd| containerd.line("version", imports).settings(login)).await;
    fs::write(node.containerd.verifier_directory().join("README"), "").unwrap();
    let before = node.configuration();
    let left = node.fix(&["--yes"]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    for said in [
        "local-pull-registry-auths",
        "stray-entry",
        "Nothing of this can be mended",
    ] {
        assert!(left.stdout.contains(said), "{said}: {left:?}");
    }
    assert_eq!(node.configuration(), before);

    // A drop-in that is read later says otherwise.
    fs::create_dir(node.drop_ins()).unwrap();
    let later = format!("version = 3\n{}", images("discard_unpacked_layers = true"));
    fs::write(node.drop_ins().join("zz.toml"), later).unwrap();
    let before = node.configuration();
    let refused = node.fix(&["--yes"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let key = "plugins.io.containerd.cri.v1.images.discard_unpacked_layers";
    assert!(refused.stdout.contains(key), "{refused:?}");
    assert_eq!(node.configuration(), before);
}

#[tokio::test]
async fn the_journal_is_told_what_changed_and_nothing_else() {
    const FOUND: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a60";
    const GONE: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a61";
    let node = Node::without_hook("", None).await;
    let journal = Journal::listen().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("findings.json");
    // Among other mounts, no running containerd is found; it is named.
    let arguments = [
        "doctor",
        "--no-canary",
        "--verifier",
        node.verifier.to_str().unwrap(),
        "--containerd",
        node.containerd.program().to_str().unwrap(),
        "--containerd-config",
        &node.containerd.config_file().to_string_lossy(),
        "--journal-changes",
        state.to_str().unwrap(),
    ]
    .map(str::to_owned);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let run = async || {
        let mark = journal.mark();
        let finished = node.assayd.assayctl_with(&journal, &arguments).await.unwrap();
        // Datagrams come in order, and the journal reads them a moment later.
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Whoever connects begins with an empty one.
        let entries = journal.since(mark).into_iter().filter(|entry| !entry.is_empty());
        (finished, entries.collect::<Vec<_>>())
    };
    let (finished, entries) = run().await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let empty = entries
        .iter()
        .find(|entry| entry["ASSAY_FINDING"] == "bin-dir-empty")
        .unwrap();
    for (field, value) in [
        ("MESSAGE_ID", FOUND),
        ("ASSAY_SEVERITY", "bypass"),
        ("PRIORITY", "3"),
        ("SYSLOG_IDENTIFIER", "assayctl"),
    ] {
        assert_eq!(empty[field], value, "{empty:?}");
    }
    assert!(
        empty["MESSAGE"].ends_with("To mend it: assayctl hook enable"),
        "{empty:?}"
    );
    assert_eq!(run().await.1, []);
    node.put_hook();
    let entries = run().await.1;
    let [gone] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(
        (gone["MESSAGE_ID"].as_str(), gone["ASSAY_FINDING"].as_str()),
        (GONE, "bin-dir-empty")
    );
    assert_eq!(run().await.1, []);

    // Nobody else may say what is known already.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o666)).unwrap();
    let (refused, entries) = run().await;
    assert_eq!((refused.code, entries), (Some(2), vec![]), "{refused:?}");
    assert!(refused.stderr.contains("written by others"), "{refused:?}");
}

#[tokio::test]
async fn the_hook_is_not_enabled_while_a_registry_in_use_wants_a_password_that_assayd_has_not() {
    let registry = Registry::start().await.unwrap();
    let image = Image::busybox(&Peers::fetch().unwrap(), "unsigned").unwrap();
    image.push(&registry.repository("app"), "v1").await.unwrap();
    let (user, password) = ("node", "secret");
    registry.require(Login::Basic {
        username: user.into(),
        password: password.into(),
    });
    let policy = format!(
        "{NOTHING}\n[[rule]]\nname = \"own\"\nimages = [\"{}/**\"]\nrequire = {{ all = [\"corp\"] }}\n",
        registry.host()
    );
    let anonymous = |builder: assay_integration::assayd::Builder| builder.plain_http(&registry.host());
    let with_login = |builder: assay_integration::assayd::Builder| {
        builder.plain_http_with_password(&registry.host(), user, password)
    };
    let reference = format!("{}:v1", registry.repository("app"));

    let node = Node::of(anonymous(Assayd::builder().policy(&policy)), |containerd| {
        containerd.plain_http(&registry.host())
    })
    .await;
    let login = Some((user, password));
    node.containerd.pull_cri_with(&reference, login).await.unwrap();
    // Accepting denials is not accepting this.
    let refused = node.hook(&["enable", "--accept-denials"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for said in ["registry-auth", "--accept-missing-credentials", "Nothing is changed"] {
        assert!(refused.stdout.contains(said), "{said}: {refused:?}");
    }
    assert!(fs::symlink_metadata(node.link()).is_err());
    node.hook(&["enable", "--accept-missing-credentials"])
        .await
        .successful()
        .unwrap();
    assert!(node.link().exists());

    // With the password it is known what lacks, and that is a signature.
    let node = Node::of(with_login(Assayd::builder().policy(&policy)), |containerd| {
        containerd.plain_http(&registry.host())
    })
    .await;
    node.containerd.pull_cri_with(&reference, login).await.unwrap();
    let refused = node.hook(&["enable", "--accept-missing-credentials"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stdout.contains("unsigned") && !refused.stdout.contains("registry-auth"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_running_containerd_of_debian_13_is_found_never_to_ask() {
    let node = Node::with_hook_and(containerd::Builder::series_1).await;
    let found = node.doctor().await;
    found.is(1, &["containerd-too-old", "canary-admitted"]);
    assert!(found.text.contains("1.7"), "{found:?}");
    let before = node.configuration();
    let fixed = node.fix(&["--yes"]).await;
    assert_eq!((fixed.code, node.configuration()), (Some(1), before), "{fixed:?}");
}

#[tokio::test]
async fn a_daemon_that_is_away_is_found_and_the_hook_can_be_taken_out_without_it_and_without_containerd() {
    let mut node = Node::with_hook("").await;
    node.assayd.stop().await.unwrap();
    node.doctor().await.is(1, &["daemon-away", "canary-denied-otherwise"]);
    let (link, folder) = (node.link(), node.containerd.verifier_directory());
    // What is left of a node on which nothing runs: the folder.
    let kept = tempfile::tempdir().unwrap();
    symlink(fs::read_link(&link).unwrap(), kept.path().join("assay-verifier")).unwrap();
    node.containerd.stop().await.unwrap();
    assert!(!folder.exists());
    let flag = kept.path().join("observe");
    let arguments = [
        "hook",
        "disable",
        "--bin-dir",
        kept.path().to_str().unwrap(),
        "--observe-flag",
        flag.to_str().unwrap(),
        "--verifier",
        node.verifier.to_str().unwrap(),
        "--containerd",
        "/nonexistent/containerd",
    ];
    for _ in 0..2 {
        node.assayd.assayctl(&arguments).await.unwrap().successful().unwrap();
        assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn under_the_observe_flag_the_canary_proves_that_assayd_is_asked() {
    let node = Node::without_hook("", None).await;
    node.hook(&["enable", "--observe"]).await.successful().unwrap();
    let status = node.hook(&["status"]).await;
    assert!(status.success && status.stdout.starts_with("observing: "), "{status:?}");
    node.doctor().await.is(4, &["observing"]);
    node.hook(&["enable"]).await.successful().unwrap();
    assert!(!node.assayd.observe_flag().exists());
    node.doctor().await.is(0, &[]);
}

#[tokio::test]
async fn nothing_is_enabled_that_would_deny_an_image_of_the_node() {
    let registry = Registry::start().await.unwrap();
    let node = Node::without_hook("", Some(&registry)).await;
    let image = Image::busybox(&Peers::fetch().unwrap(), "unsigned").unwrap();
    image.push(&registry.repository("app"), "v1").await.unwrap();
    let reference = format!("{}:v1", registry.repository("app"));
    node.containerd.pull_cri(&reference).await.unwrap();

    let refused = node.hook(&["enable"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for said in [
        &registry.repository("app"),
        "no-matching-rule",
        "--accept-denials",
        "Nothing is changed",
    ] {
        assert!(refused.stdout.contains(said), "{said}: {refused:?}");
    }
    assert!(fs::symlink_metadata(node.link()).is_err());

    node.hook(&["enable", "--accept-denials"]).await.successful().unwrap();
    assert_eq!(fs::read_link(node.link()).unwrap(), node.verifier);
    node.containerd.remove(&reference).await.unwrap();
    assert!(node.containerd.pull_cri(&reference).await.unwrap_err().is_denial());
    node.hook(&["disable"]).await.successful().unwrap();
    node.containerd.pull_cri(&reference).await.unwrap();
}

#[tokio::test]
async fn a_containerd_of_debian_13_is_found_never_to_ask() {
    let (program, _) = Peers::fetch().unwrap().containerd1().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let socket = folder.path().join("containerd.sock");
    fs::write(
        &config,
        format!("version = 2\n[grpc]\naddress = \"{}\"\n", socket.display()),
    )
    .unwrap();
    let assayd = Assayd::builder()
        .policy(NOTHING)
        .file("key.pub", KEY)
        .start()
        .await
        .unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "doctor".to_owned(),
        "--output=json".to_owned(),
        "--containerd".to_owned(),
        path(&program),
        "--containerd-config".to_owned(),
        path(&config),
    ];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let found = Diagnosis::read(&assayd.assayctl(&arguments).await.unwrap());
    assert_eq!(found.code, Some(1));
    assert!(found.found.contains("containerd-too-old"), "{found:?}");
    assert!(found.text.contains("1.7"), "{found:?}");
    assert!(!found.found.iter().any(|id| id.starts_with("local-pull")), "{found:?}");
}
