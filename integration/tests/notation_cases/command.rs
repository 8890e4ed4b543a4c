//! The section of the suite about the command line of `notation verify`, and what assayd has in its place: the hook and
//! `assayctl explain` for a registry, `assayctl explain --offline` for an OCI layout.
//!
//! assayd reads no variable of notation: its policy names the configuration folder, and config.toml the state directory.

use std::path::{Path, PathBuf};

use assay_integration::assayd::Builder;
use assay_integration::registry::Distribution;
use assay_integration::{Assayd, Finished, Image, Notation, Peers, Registry};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{
    Answer, Expected, Outcome, copy, digest, explain, hook, layout_folder, policy, report, rows, trusted_signer,
    verdict_of_assayd, verdict_of_notation,
};

/// The rows.
pub(crate) const CASES: &str = include_str!("command.tsv");

/// What is tagged `v1` in the suite's layout `e2e`.
const IN_LAYOUT: &str = "sha256:b8479de3f88fb259a0a9ea82a5b2a052a1ef3c4ebbcfc61482d5ae4c831f8af9";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Twist {
    None,
    /// notation tells its stages and requests.
    Debug,
    /// notation is not told to do what it calls experimental. assayd calls nothing so.
    NotExperimental,
    /// Nothing says which repository a layout is of. To assayctl that is the reference itself.
    NoScope,
    /// The registry's authority is trusted by neither.
    Stranger,
    /// Neither was told that the registry speaks plain HTTP.
    Unasked,
    /// NOTATION_CONFIG, and the policy's `config`, are a folder that does not exist.
    NoConfig,
    /// NOTATION_CONFIG, and the policy's `config`, are another folder; the variable of assayd's own environment is of no
    /// consequence.
    OtherConfig,
    /// NOTATION_CACHE, and config.toml's `state_directory`, are another folder.
    OtherCache,
}

/// A row of the table.
struct Case {
    place: &'static str,
    by_tag: bool,
    format: &'static str,
    twist: Twist,
    expected: Expected,
}

impl Case {
    fn new(fields: Vec<&'static str>) -> Self {
        let [id, story, place, by, format, twist, verdict, assayd_says, notation_says] = fields[..] else {
            panic!("not nine fields: {fields:?}")
        };
        let twist = match twist {
            "-" => Twist::None,
            "debug" => Twist::Debug,
            "not-experimental" => Twist::NotExperimental,
            "no-scope" => Twist::NoScope,
            "stranger" => Twist::Stranger,
            "unasked" => Twist::Unasked,
            "no-config" => Twist::NoConfig,
            "other-config" => Twist::OtherConfig,
            "other-cache" => Twist::OtherCache,
            other => panic!("{id}: no twist {other}"),
        };
        Self {
            place,
            by_tag: by == "tag",
            format,
            twist,
            expected: Expected {
                id,
                story,
                verdict,
                assayd_says,
                notation_says,
            },
        }
    }
}

/// Where image and signature are.
enum Place {
    Registry(Registry),
    Distribution(Distribution),
    Layout(PathBuf),
}

/// What a case runs on.
struct Bench<'c> {
    case: &'c Case,
    place: Place,
    notation: Notation,
    assayd: Assayd,
    /// Of the image.
    descriptor: Value,
    /// Folders of this case.
    scratch: TempDir,
}

impl<'c> Bench<'c> {
    async fn prepare(case: &'c Case, peers: &Peers) -> Self {
        let scratch = tempfile::tempdir().expect("a folder");
        let notation = Notation::new(peers).expect("notation");
        trusted_signer(&notation);
        let image = Image::tiny(case.expected.id).expect("an image");
        let mut descriptor = image.descriptor();
        let place = match case.place {
            "api" | "tls" => {
                let started = match case.place {
                    "api" => Registry::start().await,
                    _ => Registry::start_tls().await,
                };
                let registry = started.expect("a registry");
                image.store(registry.content(), "app", "v1");
                Place::Registry(registry)
            }
            "tag" => {
                let registry = Distribution::start(peers).await.expect("docker-registry");
                image.push(&registry.repository("app"), "v1").await.expect("a push");
                Place::Distribution(registry)
            }
            "layout" => {
                let layout = scratch.path().join("layout");
                copy(&layout_folder("e2e"), &layout);
                descriptor = json!({ "digest": IN_LAYOUT });
                Place::Layout(layout)
            }
            other => panic!("{}: no place {other}", case.expected.id),
        };
        let assayd = assayd(case, &place, &notation, scratch.path()).await;
        Self {
            case,
            place,
            notation,
            assayd,
            descriptor,
            scratch,
        }
    }

    /// The image, as it is asked for.
    fn reference(&self) -> String {
        let by = if self.case.by_tag {
            ":v1".to_owned()
        } else {
            format!("@{}", digest(&self.descriptor))
        };
        match &self.place {
            Place::Registry(registry) => registry.repository("app") + &by,
            Place::Distribution(registry) => registry.repository("app") + &by,
            Place::Layout(layout) => layout.display().to_string() + &by,
        }
    }

    /// Runs notation as the place needs it.
    async fn notation(&self, command: &str, further: &[&str], twist: Twist) -> Finished {
        let mut arguments = vec![command];
        arguments.extend(further);
        match &self.place {
            Place::Layout(_) => arguments.push("--oci-layout"),
            Place::Registry(registry) if registry.ca().is_some() => {}
            _ if twist == Twist::Unasked => {}
            _ => arguments.push("--insecure-registry"),
        }
        let reference = self.reference();
        arguments.push(&reference);
        let mut command = self.notation.command(&arguments);
        if twist != Twist::NotExperimental {
            command.env("NOTATION_EXPERIMENTAL", "1");
        }
        match (&self.place, twist) {
            (_, Twist::NoConfig) => _ = command.env("NOTATION_CONFIG", self.scratch.path().join("absent")),
            (_, Twist::OtherCache) => _ = command.env("NOTATION_CACHE", self.scratch.path().join("cache")),
            (Place::Registry(registry), twist) if twist != Twist::Stranger => {
                if let Some(ca) = registry.ca() {
                    let file = self.scratch.path().join("ca.pem");
                    std::fs::write(&file, ca).expect("a file");
                    command.env("SSL_CERT_FILE", file);
                }
            }
            _ => {}
        }
        let output = tokio::process::Command::from(command).output().await;
        output.expect("notation").into()
    }

    async fn sign(&self) {
        let format = format!("--signature-format={}", self.case.format);
        let mut arguments = vec!["--key=signer", &format];
        if !matches!(self.place, Place::Layout(_)) {
            let by_tag = matches!(self.place, Place::Distribution(_));
            arguments.push(if by_tag {
                "--force-referrers-tag"
            } else {
                "--force-referrers-tag=false"
            });
        }
        let signed = self.notation("sign", &arguments, Twist::None).await;
        signed.successful().expect("a signature");
    }

    async fn ask_notation(&self) -> Answer {
        let twist = self.case.twist;
        let mut arguments = vec![match twist {
            Twist::Debug => "--debug",
            _ => "--verbose",
        }];
        if matches!(self.place, Place::Layout(_)) && twist != Twist::NoScope {
            arguments.push("--scope=local/e2e");
        }
        let finished = self.notation("verify", &arguments, twist).await;
        let said = format!("{}{}", finished.stderr, finished.stdout);
        let usage = ["is experimental and not enabled", "they must all be set"];
        let verdict = if usage.iter().any(|words| said.contains(words)) {
            "USAGE".to_owned()
        } else {
            verdict_of_notation(&finished, !said.contains("trust policy is not present"))
        };
        Answer { verdict, said }
    }

    async fn ask_assayd(&self) -> Answer {
        let reference = self.reference();
        let Place::Layout(layout) = &self.place else {
            let hook = hook(&self.assayd, &reference, &self.descriptor).await;
            if matches!(self.case.twist, Twist::Stranger | Twist::Unasked) {
                // assayctl has nobody to resolve the reference.
                let words: Vec<_> = hook.stdout.split([' ', ':']).take(2).collect();
                return Answer {
                    verdict: words.join(" "),
                    said: hook.stdout,
                };
            }
            return explain(&self.assayd, &reference, &hook).await;
        };
        let reference = match (self.case.twist, self.case.by_tag) {
            (Twist::NoScope, _) => format!("@{IN_LAYOUT}"),
            (_, true) => "local/e2e:v1".to_owned(),
            (_, false) => format!("local/e2e@{IN_LAYOUT}"),
        };
        let (layout, policy) = (path(layout), self.assayd.config_directory().join("policy.toml"));
        let arguments = [
            "explain",
            "--output=json",
            "--offline",
            layout,
            "--policy",
            path(&policy),
            &reference,
        ];
        let finished = self.assayd.assayctl(&arguments).await.expect("assayctl");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        let verdict = match serde_json::from_str(&finished.stdout) {
            Ok(report) => verdict_of_assayd(&report),
            Err(_) if finished.code == Some(2) => "USAGE".to_owned(),
            Err(error) => panic!("{error}: {said}"),
        };
        Answer { verdict, said }
    }

    /// What is no verdict: how the signature was found, and where things are kept.
    fn look_closer(&self) {
        let tag = digest(&self.descriptor).replace(':', "-");
        match &self.place {
            Place::Registry(registry) => {
                assert_eq!(registry.content().resolve("app", &tag), None, "a fallback tag was made");
                let asked = registry.log().requests();
                assert!(
                    self.case.twist == Twist::NoConfig
                        || asked.iter().any(|request| request.path.contains("/referrers/")
                            && request.status == Some(200)
                            && request
                                .user_agent
                                .as_deref()
                                .is_some_and(|agent| agent.starts_with("assayd/"))),
                    "{asked:?}"
                );
            }
            Place::Distribution(registry) => {
                let request = format!("GET /v2/app/manifests/{tag}");
                assert!(registry.requests().contains(&request), "{:?}", registry.requests());
            }
            Place::Layout(_) => {}
        }
        if self.case.twist == Twist::OtherCache {
            let kept = |folder: &Path| std::fs::read_dir(folder).map_or(0, Iterator::count);
            assert!(kept(&self.scratch.path().join("state")) > 0);
            assert_eq!(kept(&self.assayd.state_directory()), 0);
        }
    }
}

/// A daemon beside notation's configuration. For a layout it is not started: only its policy is of use.
async fn assayd(case: &Case, place: &Place, notation: &Notation, scratch: &Path) -> Assayd {
    let config = match case.twist {
        Twist::NoConfig => scratch.join("absent"),
        _ => notation.config(),
    };
    let mut builder: Builder = Assayd::builder().policy(&policy(&config, false));
    match case.twist {
        Twist::OtherConfig => builder = builder.env("NOTATION_CONFIG", "/not/exist"),
        Twist::OtherCache => {
            let state = scratch.join("state");
            std::fs::create_dir(&state).expect("a folder");
            builder = builder.setting("state_directory", path(&state));
        }
        _ => {}
    }
    match place {
        Place::Layout(_) => return builder.prepare().expect("a policy"),
        Place::Distribution(registry) => builder = builder.plain_http(registry.host()),
        Place::Registry(registry) => match (registry.ca(), case.twist) {
            (_, Twist::Stranger | Twist::Unasked) => {}
            (Some(ca), _) => builder = builder.tls(&registry.host(), ca),
            (None, _) => builder = builder.plain_http(&registry.host()),
        },
    }
    builder.start().await.expect("assayd")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

async fn judge(case: &Case, peers: &Peers) -> Outcome {
    let bench = Bench::prepare(case, peers).await;
    let mut wrong = vec![];
    if case.expected.verdict == "ADMIT" {
        for (who, Answer { verdict, said }) in [
            ("assayd", bench.ask_assayd().await),
            ("notation", bench.ask_notation().await),
        ] {
            if verdict != "DENY unsigned" {
                wrong.push(format!(
                    "{}: {who} before it is signed: {verdict}: {said}",
                    case.expected.id
                ));
            }
        }
        if !matches!(bench.place, Place::Layout(_)) {
            let cleared = bench.assayd.assayctl(&["cache", "clear"]).await.expect("assayctl");
            cleared.successful().expect("a clear cache");
        }
    }
    bench.sign().await;
    let (assayd, notation) = (bench.ask_assayd().await, bench.ask_notation().await);
    let mut outcome = case.expected.compare(&assayd, &notation);
    outcome.wrong.extend(wrong);
    if assayd.verdict == "ADMIT" {
        bench.look_closer();
    }
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn assayd_and_notation_verify_what_the_command_line_asks_for() {
    let peers = Peers::fetch().expect("the peers");
    let cases: Vec<_> = rows(CASES).map(Case::new).collect();
    let outcomes = cases.iter().map(|case| judge(case, &peers));
    report(stream::iter(outcomes).buffered(4)).await;
}
