//! The section of the suite about verification plugins: one real program as the plugin of both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assay_integration::certificates::{Profile, SigningIdentity};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::notation::Statement;
use assay_integration::{Assayd, Image, Notation, Peers, Registry};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Answer, Expected, Outcome, explain, hook, policy, report, rows, tampered, verdict_of_notation};

/// The rows.
pub(crate) const CASES: &str = include_str!("plugin.tsv");

const NAME: &str = "e2e-plugin";

/// The program under the name of a plugin, in a folder of its own.
pub(crate) struct Program {
    folder: TempDir,
    name: &'static str,
}

impl Program {
    pub(crate) fn named(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Another process writes the copy: this one forks meanwhile, and a child that still holds the file open for
        // writing makes it "busy".
        let copied = std::process::Command::new("install")
            .args(["-m", "0755", env!("CARGO_BIN_EXE_notation-e2e-plugin")])
            .arg(folder.path().join(format!("notation-{name}")))
            .status();
        assert!(copied.expect("install").success());
        Self { folder, name }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(format!("notation-{}", self.name))
    }

    /// The table of config.toml.
    pub(crate) fn table(&self, config: &BTreeMap<String, String>) -> toml::Table {
        let config = config.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        let plugin = toml::Table::from_iter([
            ("path".to_owned(), self.path().to_str().expect("UTF-8").into()),
            ("config".to_owned(), toml::Table::from_iter(config).into()),
        ]);
        toml::Table::from_iter([(self.name.to_owned(), plugin.into())])
    }

    /// Installs it for notation.
    pub(crate) fn install(&self, notation: &Notation) {
        notation.install_plugin(self.name, &self.path()).expect("a plugin");
    }

    /// The file in which the plugin records its runs, where its configuration has [`Self::recording`].
    fn record(&self) -> String {
        self.folder.path().join("record").to_str().expect("UTF-8").to_owned()
    }

    /// The key of its configuration that makes it record.
    pub(crate) fn recording(&self) -> (String, String) {
        ("record".to_owned(), self.record())
    }

    /// What was recorded of its runs with this command, in their order.
    pub(crate) fn runs(&self, command: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(Path::new(&self.record())).unwrap_or_default();
        let run = |line: &str| serde_json::from_str::<Value>(line).expect("a record");
        text.lines().map(run).filter(|run| run["command"] == command).collect()
    }
}

/// A row of the table.
struct Case {
    /// None where it is not installed.
    plugin: Option<BTreeMap<String, String>>,
    attributes: Vec<&'static str>,
    expected: Expected,
}

impl Case {
    fn new(fields: Vec<&'static str>) -> Self {
        let [id, story, plugin, attributes, verdict, assayd_says, notation_says] = fields[..] else {
            panic!("not seven fields: {fields:?}")
        };
        let setting = |text: &str| {
            let (key, value) = text.split_once('=').expect("KEY=VALUE");
            (key.to_owned(), value.to_owned())
        };
        Self {
            plugin: match plugin {
                "absent" => None,
                "-" => Some(BTreeMap::new()),
                settings => Some(settings.split(';').map(setting).collect()),
            },
            attributes: attributes.split(' ').collect(),
            expected: Expected {
                id,
                story,
                verdict,
                assayd_says,
                notation_says,
            },
        }
    }

    /// The protected header of the signature.
    fn header(&self) -> Value {
        let now = jiff::Timestamp::now().round(jiff::Unit::Second).expect("a time");
        let mut critical = vec!["io.cncf.notary.signingScheme"];
        let mut header = json!({
            "alg": "ES256",
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": now.to_string(),
        });
        for attribute in &self.attributes {
            let (name, value) = match attribute.split_once('=') {
                Some(("minimum", version)) => ("io.cncf.notary.verificationPluginMinVersion", version),
                None if *attribute == "plugin" => ("io.cncf.notary.verificationPlugin", NAME),
                None if *attribute == "profile" => ("com.example.profile", "release"),
                _ => panic!("no attribute {attribute}"),
            };
            critical.push(name);
            header[name] = value.into();
        }
        header["crit"] = json!(critical);
        header
    }
}

async fn judge(case: &Case, peers: &Peers, signer: &SigningIdentity, program: &Program) -> Outcome {
    let id = case.expected.id;
    let registry = Registry::start().await.expect("a registry");
    let image = Image::tiny(id).expect("an image");
    image.store(registry.content(), "app", "v1");
    let payload = json!({ "targetArtifact": image.descriptor() });
    let envelope = EnvelopeSigner::new(signer).and_then(|signer| signer.sign_claims(&case.header(), &payload));
    let envelope = envelope.expect("an envelope");
    let attached = registry
        .content()
        .attach_signature("app", &image.descriptor(), JWS, &envelope);

    let notation = Notation::new(peers).expect("notation");
    notation.trust("ca", "e2e", &signer.anchor_pem).expect("a trust store");
    let statement = Statement::strict(&["ca:e2e"], &["*"]);
    notation.write_policy(&statement.policy()).expect("a trust policy");
    let mut builder = Assayd::builder()
        .policy(&policy(&notation.config(), false))
        .plain_http(&registry.host());
    let mut arguments = vec!["--debug".to_owned()];
    if let Some(config) = &case.plugin {
        program.install(&notation);
        builder = builder.setting("plugin", program.table(config));
        arguments.extend(
            config
                .iter()
                .map(|(key, value)| format!("--plugin-config={key}={value}")),
        );
    }
    let assayd = builder.start().await.expect("assayd");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();

    let reference = format!("{}@{}", registry.repository("app"), image.digest());
    let ask_notation = || async {
        let finished = notation.verify_with(&reference, &arguments).await.expect("notation");
        Answer {
            verdict: verdict_of_notation(&finished, true),
            said: format!("{}{}", finished.stderr, finished.stdout),
        }
    };
    let ask_assayd = || async {
        let hook = hook(&assayd, &reference, &image.descriptor()).await;
        explain(&assayd, &reference, &hook).await
    };
    let mut outcome = case.expected.compare(&ask_assayd().await, &ask_notation().await);

    // With one character of the signature changed nothing of the plugin matters.
    assert!(registry.content().remove("app", &attached));
    registry
        .content()
        .attach_signature("app", &image.descriptor(), JWS, &tampered(&envelope));
    let cleared = assayd.assayctl(&["cache", "clear"]).await.expect("assayctl");
    cleared.successful().expect("a clear cache");
    for (who, Answer { verdict, said }) in [("assayd", ask_assayd().await), ("notation", ask_notation().await)] {
        if verdict != "DENY signature-invalid" {
            outcome.wrong.push(format!(
                "{id}: {who} with one character of the signature changed: {verdict}: {said}"
            ));
        }
    }
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn assayd_and_notation_heed_the_same_plugin_in_the_same_way() {
    let peers = Peers::fetch().expect("the peers");
    let signer = SigningIdentity::self_signed(&Profile::named("signer")).expect("a signer");
    let program = Program::named(NAME);
    let cases: Vec<_> = rows(CASES).map(Case::new).collect();
    let outcomes = cases.iter().map(|case| judge(case, &peers, &signer, &program));
    report(stream::iter(outcomes).buffered(4)).await;
}
