//! The runner of plugins against a real program: what it may see, how long it may take, how much it may write, and what
//! is left of it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assay_verify::code::Code;
use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_CONCURRENT_PLUGINS, MAX_PLUGIN_OUTPUT, PLUGIN_FAILURE_LIFETIME, PLUGIN_TIMEOUT};
use assay_verify::notation::plugin::{Capability, PluginError, PluginMetadata, PluginVerdict};
use assay_verify::query::{PluginName, Query, Unanswered};
use assayd::plugin::{PluginConfig, Plugins};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "com.example.plugin";
const IDENTITY: &str = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY";
const REVOCATION: &str = "SIGNATURE_VERIFIER.REVOCATION_CHECK";

fn name() -> PluginName {
    NAME.parse().unwrap()
}

/// A folder with the program in it, and its configuration.
struct Plugin {
    folder: TempDir,
    config: PluginConfig,
}

impl Plugin {
    fn new(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join(format!("notation-{NAME}"));
        put(&path);
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut config: BTreeMap<String, String> = settings.collect();
        let record = folder.path().join("record").into_os_string().into_string().unwrap();
        config.insert("record".to_owned(), record);
        Self {
            folder,
            config: PluginConfig {
                path,
                sha256: None,
                environment: BTreeMap::new(),
                config,
            },
        }
    }

    fn misbehaving(how: &str) -> Self {
        Self::new(&[("misbehave", how)])
    }

    fn plugins(&self) -> Plugins {
        Plugins::new(BTreeMap::from([(name(), self.config.clone())]))
    }

    /// What the runs so far recorded, in their order.
    fn runs(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("record")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn commands(&self) -> Vec<String> {
        let runs = self.runs();
        let command = |run: &Value| run["command"].as_str().unwrap().to_owned();
        runs.iter().map(command).collect()
    }
}

/// Puts the program at a path. A copy is written by another process: this one forks for other tests meanwhile, and a child
/// that still holds the file open for writing makes it "busy".
fn put(path: &Path) {
    let copied = std::process::Command::new("install")
        .args(["-m", "0755", env!("CARGO_BIN_EXE_notation-e2e-plugin")])
        .arg(path)
        .status();
    assert!(copied.unwrap().success());
}

fn metadata_query() -> Query {
    Query::PluginMetadata(name())
}

fn request(checks: &[&str]) -> Value {
    json!({
        "contractVersion": "1.0",
        "signature": {
            "criticalAttributes": {"contentType": "application/vnd.cncf.notary.payload.v1+json"},
            "unprocessedAttributes": ["com.example.profile"],
            "certificateChain": ["AA=="],
        },
        "trustPolicy": {"trustedIdentities": ["com.example:a"], "signatureVerification": checks},
    })
}

fn verdict_query(checks: &[&str]) -> Query {
    Query::PluginVerdict {
        plugin: name(),
        request: request(checks).to_string().into(),
    }
}

async fn verdict(plugin: &Plugin) -> PluginVerdict {
    let answer = plugin
        .plugins()
        .answer(&verdict_query(&[IDENTITY, REVOCATION]))
        .await
        .unwrap();
    PluginVerdict::parse(&answer, &Capability::ALL.into(), &[]).unwrap()
}

async fn refused(plugin: &Plugin) -> Unanswered {
    plugin.plugins().answer(&verdict_query(&[IDENTITY])).await.unwrap_err()
}

#[track_caller]
fn says(unanswered: &Unanswered, words: &str) {
    assert_eq!(unanswered.code, Code::PluginUnavailable);
    assert!(unanswered.reason.to_string().contains(words), "{}", unanswered.reason);
}

async fn metadata(settings: &[(&str, &str)]) -> Result<PluginMetadata, PluginError> {
    let plugin = Plugin::new(settings);
    let answer = plugin.plugins().answer(&metadata_query()).await.unwrap();
    PluginMetadata::parse(&answer, &name())
}

#[tokio::test]
async fn a_plugin_says_what_it_is() {
    let found = metadata(&[]).await.unwrap();
    assert_eq!(found.version.to_string(), "1.0.0");
    assert_eq!(found.capabilities, Capability::ALL.into());
    let other = metadata(&[("version", "1.0.11"), ("capabilities", "revocation,sign")])
        .await
        .unwrap();
    assert_eq!(other.version.to_string(), "1.0.11");
    assert_eq!(other.capabilities, [Capability::RevocationCheck].into());
    assert!(
        metadata(&[("capabilities", "sign")])
            .await
            .unwrap()
            .capabilities
            .is_empty()
    );
    assert_eq!(
        metadata(&[("name", "other")]).await,
        Err(PluginError::Name("other".into()))
    );
    assert_eq!(
        metadata(&[("contract", "2.0")]).await,
        Err(PluginError::ContractVersion)
    );
}

#[tokio::test]
async fn a_plugin_judges_what_it_is_asked() {
    for (settings, identity, revocation) in [
        (&[][..], Ok(()), Ok(())),
        (&[("identity", "wrong profile")], Err("wrong profile".into()), Ok(())),
        (&[("revocation", "job revoked")], Ok(()), Err("job revoked".into())),
        (&[("trusted", "com.example:a")], Ok(()), Ok(())),
        (
            &[("trusted", "com.example:b")],
            Err("the policy does not list com.example:b".into()),
            Ok(()),
        ),
    ] {
        let found = verdict(&Plugin::new(settings)).await;
        let expected = [
            (Capability::TrustedIdentity, identity),
            (Capability::RevocationCheck, revocation),
        ];
        assert_eq!(found.results, BTreeMap::from(expected));
    }
}

#[tokio::test]
async fn an_attribute_that_is_not_processed_shows() {
    let attribute = assay_verify::envelope::CriticalAttribute {
        name: "com.example.profile".into(),
        value: assay_verify::envelope::AttributeValue::Null,
    };
    for (settings, expected) in [
        (&[][..], Ok(PluginVerdict::default())),
        (
            &[("unprocessed", "com.example.profile")],
            Err(PluginError::Unprocessed("com.example.profile".into())),
        ),
    ] {
        let plugin = Plugin::new(settings);
        let answer = plugin.plugins().answer(&verdict_query(&[])).await.unwrap();
        let found = PluginVerdict::parse(&answer, &[].into(), std::slice::from_ref(&attribute));
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_plugin_gets_the_request_with_its_configuration_and_nothing_of_the_daemon_s() {
    let mut plugin = Plugin::new(&[("region", "eu")]);
    plugin
        .config
        .environment
        .insert("HOME".to_owned(), "/var/empty".to_owned());
    verdict(&plugin).await;
    let runs = plugin.runs();
    let mut expected = request(&[IDENTITY, REVOCATION]);
    expected["pluginConfig"] = json!(plugin.config.config);
    assert_eq!(runs[0]["request"], expected);
    assert_eq!(runs[0]["environment"], json!({"HOME": "/var/empty"}));
    assert_eq!(runs[0]["folder"], "/");
    plugin.config.environment.clear();
    verdict(&plugin).await;
    assert_eq!(plugin.runs()[1]["environment"], json!({}));
}

#[tokio::test]
async fn metadata_are_asked_once_until_the_program_changes() {
    let plugin = Plugin::new(&[]);
    let plugins = Arc::new(plugin.plugins());
    let ask = || async { plugins.answer(&metadata_query()).await.unwrap() };
    let asked = futures_util::future::join_all((0..8).map(|_| ask())).await;
    assert!(asked.iter().all(|answer| *answer == asked[0]));
    assert_eq!(plugin.commands(), ["get-plugin-metadata"]);
    // As a package manager does: another file takes its place.
    let next = plugin.folder.path().join("next");
    put(&next);
    fs::rename(&next, &plugin.config.path).unwrap();
    ask().await;
    ask().await;
    assert_eq!(plugin.commands(), ["get-plugin-metadata", "get-plugin-metadata"]);
}

#[tokio::test]
async fn metadata_that_cannot_be_used_are_asked_for_again_after_a_moment() {
    for settings in [("name", "other"), ("contract", "2.0")] {
        let plugin = Plugin::new(&[settings]);
        let plugins = plugin.plugins();
        let first = plugins.answer(&metadata_query()).await;
        for _ in 0..20 {
            assert_eq!(plugins.answer(&metadata_query()).await, first);
        }
        assert_eq!(plugin.runs().len(), 1);
        tokio::time::pause();
        tokio::time::advance(PLUGIN_FAILURE_LIFETIME + Duration::from_secs(1)).await;
        tokio::time::resume();
        assert_eq!(plugins.answer(&metadata_query()).await, first);
        assert_eq!(plugin.runs().len(), 2);
    }
}

#[tokio::test]
async fn who_waits_for_a_slot_longer_than_a_run_lasts_still_gets_it() {
    let plugin = Plugin::misbehaving("sleep");
    let plugins = plugin.plugins();
    let query = verdict_query(&[]);
    let asked = futures_util::future::join_all((0..=MAX_CONCURRENT_PLUGINS).map(|_| plugins.answer(&query)));
    let later = async {
        while plugin.runs().len() < MAX_CONCURRENT_PLUGINS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::pause();
        tokio::time::advance(PLUGIN_TIMEOUT + Duration::from_secs(1)).await;
        tokio::time::resume();
    };
    let (asked, ()) = tokio::join!(asked, later);
    for answer in asked {
        says(&answer.unwrap_err(), "did not end within 5 s");
    }
}

#[tokio::test]
async fn a_plugin_that_is_not_configured_is_unavailable() {
    let plugins = Plugins::new(BTreeMap::new());
    for query in [metadata_query(), verdict_query(&[])] {
        says(
            &plugins.answer(&query).await.unwrap_err(),
            "not configured on this node",
        );
    }
}

#[tokio::test]
async fn a_program_is_run_only_when_its_digest_is_the_pinned_one() {
    let mut plugin = Plugin::new(&[]);
    let program = fs::read(&plugin.config.path).unwrap();
    plugin.config.sha256 = Some(Digest::sha256(&program));
    let plugins = plugin.plugins();
    assert!(plugins.problems().is_empty());
    for _ in 0..2 {
        plugins.answer(&metadata_query()).await.unwrap();
        plugins.answer(&verdict_query(&[])).await.unwrap();
    }
    assert_eq!(plugin.runs().len(), 3);
    // Another program takes its place, after the first was found good.
    let next = plugin.folder.path().join("next");
    let appended = "install -m 0755 \"$0\" \"$1\" && printf x >> \"$1\"";
    let status = std::process::Command::new("sh")
        .args(["-c", appended, env!("CARGO_BIN_EXE_notation-e2e-plugin")])
        .arg(&next)
        .status();
    assert!(status.unwrap().success());
    fs::rename(&next, &plugin.config.path).unwrap();
    for query in [metadata_query(), verdict_query(&[])] {
        says(&plugins.answer(&query).await.unwrap_err(), "has the digest sha256:");
    }
    assert_eq!(plugin.runs().len(), 3, "the other program was run");
    assert_eq!(plugins.problems().len(), 1);
}

#[tokio::test]
async fn only_a_file_that_nobody_else_may_change_is_run() {
    type Change = fn(&Path) -> PathBuf;
    let cases: [(Change, &str); 9] = [
        (
            |path| {
                let link = path.with_extension("link");
                symlink(path, &link).unwrap();
                link
            },
            "symbolic link",
        ),
        (|path| path.with_extension("absent"), "there is no program"),
        (|path| path.join("below"), "not a directory"),
        (|path| path.parent().unwrap().to_owned(), "not a regular file"),
        (
            |path| {
                fs::set_permissions(path, Permissions::from_mode(0o775)).unwrap();
                path.to_owned()
            },
            "written by its group or everyone (mode 0775)",
        ),
        (
            |path| {
                fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o777)).unwrap();
                path.to_owned()
            },
            "written by its group or everyone (mode 0777)",
        ),
        (
            |path| {
                std::os::unix::fs::chown(path, Some(12_345), None).expect("only root can");
                path.to_owned()
            },
            "belongs to user 12345",
        ),
        (
            |path| {
                fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
                path.to_owned()
            },
            "not executable",
        ),
        (
            |path| {
                let script = path.with_extension("sh");
                fs::write(&script, "#!/bin/sh\n").unwrap();
                fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
                script
            },
            "script",
        ),
    ];
    for (change, words) in cases {
        let mut plugin = Plugin::new(&[]);
        plugin.config.path = change(&plugin.config.path);
        let unanswered = refused(&plugin).await;
        assert_eq!(unanswered.code, Code::PluginUnavailable);
        let reason = unanswered.reason.to_string().to_lowercase();
        // The temporary path may take most of what is shown of a reason.
        assert!(reason.contains(&words.to_lowercase()), "{reason}: expected {words}");
        assert!(plugin.runs().is_empty(), "{words}: it was run");
    }
}

#[tokio::test]
async fn a_failure_is_told_in_the_plugin_s_own_words() {
    for (how, words) in [
        ("denied", "ACCESS_DENIED: no credentials"),
        ("fail", "failed without a word (exit status: 3)"),
        ("panic", "failed (exit status: 2): goroutine 1 [running]"),
        ("abort", "failed without a word (signal: 6"),
        ("what", "VALIDATION_ERROR: unknown misbehaviour what"),
    ] {
        says(&refused(&Plugin::misbehaving(how)).await, words);
    }
}

#[tokio::test]
async fn a_plugin_that_writes_without_end_is_stopped() {
    for how in ["flood", "flood-error"] {
        let plugin = Plugin::misbehaving(how);
        let unanswered = refused(&plugin).await;
        assert_eq!(unanswered.code, Code::LimitExceeded);
        let expected = format!("it writes more than {MAX_PLUGIN_OUTPUT} bytes");
        assert_eq!(unanswered.reason.to_string(), expected);
        gone(&plugin).await;
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_is_stopped() {
    let plugin = Plugin::misbehaving("sleep");
    says(&refused(&plugin).await, "did not end within 5 s");
    gone(&plugin).await;
}

#[tokio::test]
async fn what_a_plugin_leaves_behind_ends_with_it() {
    let plugin = Plugin::misbehaving("linger");
    // The child holds the output open: without its end there would be no answer.
    let answer = plugin.plugins().answer(&verdict_query(&[])).await.unwrap();
    assert!(PluginVerdict::parse(&answer, &[].into(), &[]).is_ok());
}

#[tokio::test]
async fn nobody_waiting_ends_a_plugin() {
    let plugin = Plugin::misbehaving("sleep");
    let plugins = plugin.plugins();
    let query = verdict_query(&[]);
    let running = async {
        while plugin.runs().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        answer = plugins.answer(&query) => panic!("{answer:?}"),
        () = running => {}
    }
    gone(&plugin).await;
}

/// Waits until the recorded process is gone.
async fn gone(plugin: &Plugin) {
    let process = plugin.runs()[0]["process"].as_u64().unwrap();
    let path = PathBuf::from(format!("/proc/{process}"));
    while path.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
