//! A verification plugin of the Notary Project for tests: it speaks the whole contract of `get-plugin-metadata` and
//! `verify-signature`, and its configuration tells it what to be
//! (notation spec: plugin-extensibility.md#plugin-contract).
//!
//! It calls itself what its file is called. Without configuration it has both capabilities, finds everything good and
//! processes every attribute. The keys of `pluginConfig`:
//!
//! | key | meaning |
//! | --- | --- |
//! | `name`, `version`, `contract` | what its metadata say instead |
//! | `capabilities` | a list with commas of `identity`, `revocation`, `sign` |
//! | `identity`, `revocation` | the reason for which this check fails |
//! | `trusted` | the trusted identity that the policy must list; else the check fails |
//! | `unprocessed` | an attribute that it does not process |
//! | `record` | a file to which every run appends a line of JSON: command, request, environment, folder |
//! | `misbehave` | what `verify-signature` does instead: see [`misbehave`] |

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

const IDENTITY: &str = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY";
const REVOCATION: &str = "SIGNATURE_VERIFIER.REVOCATION_CHECK";

fn main() -> ExitCode {
    match answer() {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let error = json!({"errorCode": "VALIDATION_ERROR", "errorMessage": format!("{error:#}")});
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> Result<Value> {
    let mut arguments = std::env::args();
    let program = arguments.next().context("no name")?;
    let command = arguments.next().context("no command")?;
    let mut request = Vec::new();
    // A run that hangs or floods does so whether it was asked properly or not.
    std::io::stdin().read_to_end(&mut request)?;
    let request: Value = serde_json::from_slice(&request).context("the request is not JSON")?;
    let config = |key: &str| request.pointer(&format!("/pluginConfig/{key}")).and_then(Value::as_str);
    if let Some(path) = config("record") {
        record(path, &command, &request)?;
    }
    match command.as_str() {
        "get-plugin-metadata" => {
            let own = program.rsplit('/').next().unwrap_or_default();
            let capabilities = config("capabilities").unwrap_or("identity,revocation").split(',');
            Ok(json!({
                "name": config("name").unwrap_or(own.strip_prefix("notation-").unwrap_or(own)),
                "description": "A plugin for tests",
                "version": config("version").unwrap_or("1.0.0"),
                "url": "https://plugin.example",
                "supportedContractVersions": [config("contract").unwrap_or("1.0")],
                "capabilities": capabilities.map(capability).collect::<Vec<_>>(),
            }))
        }
        "verify-signature" => match config("misbehave") {
            Some(how) => misbehave(how),
            None => verify(&request, config),
        },
        other => bail!("the command {other} is not supported"),
    }
}

fn capability(short: &str) -> &str {
    match short {
        "identity" => IDENTITY,
        "revocation" => REVOCATION,
        "sign" => "SIGNATURE_GENERATOR.RAW",
        other => other,
    }
}

fn verify<'a>(request: &Value, config: impl Fn(&str) -> Option<&'a str>) -> Result<Value> {
    let list = |path: &str| -> Result<Vec<&str>> {
        let items = match request.pointer(path).with_context(|| format!("{path} is missing"))? {
            // What notation writes for an empty list.
            Value::Null => return Ok(vec![]),
            items => items.as_array().with_context(|| format!("{path} is not a list"))?,
        };
        items
            .iter()
            .map(|item| item.as_str().with_context(|| format!("{path} is not text")))
            .collect()
    };
    let text = |path: &str| request.pointer(path).and_then(Value::as_str);
    if text("/contractVersion") != Some("1.0") {
        bail!("the contract version is not 1.0");
    }
    if text("/signature/criticalAttributes/contentType").is_none() || list("/signature/certificateChain")?.is_empty() {
        bail!("the signature is incomplete");
    }
    let identities = list("/trustPolicy/trustedIdentities")?;
    let mut results = Map::new();
    for check in list("/trustPolicy/signatureVerification")? {
        let refused = match check {
            IDENTITY => config("identity").map(str::to_owned).or_else(|| {
                let trusted = config("trusted").filter(|trusted| !identities.contains(trusted))?;
                Some(format!("the policy does not list {trusted}"))
            }),
            REVOCATION => config("revocation").map(str::to_owned),
            other => bail!("the check {other} is not supported"),
        };
        let result = match refused {
            None => json!({"success": true, "reason": "good"}),
            Some(reason) => json!({"success": false, "reason": reason}),
        };
        results.insert(check.to_owned(), result);
    }
    let mut processed = list("/signature/unprocessedAttributes")?;
    processed.retain(|name| Some(*name) != config("unprocessed"));
    Ok(json!({"verificationResults": results, "processedAttributes": processed}))
}

/// What no plugin should do.
fn misbehave(how: &str) -> Result<Value> {
    match how {
        // Longer than anybody waits.
        "sleep" => std::thread::sleep(Duration::from_secs(600)),
        "flood" => loop {
            std::io::stdout().write_all(&[b'x'; 65536])?;
        },
        "flood-error" => loop {
            std::io::stderr().write_all(&[b'x'; 65536])?;
        },
        "abort" => std::process::abort(),
        "fail" => std::process::exit(3),
        "panic" => {
            eprintln!("goroutine 1 [running]");
            std::process::exit(2);
        }
        "denied" => {
            let error =
                json!({"errorCode": "ACCESS_DENIED", "errorMessage": "no credentials", "errorMetadata": {"a": "b"}});
            eprintln!("{error}");
            std::process::exit(1);
        }
        // A child that holds the output open after its parent is gone.
        "linger" => {
            let child = Command::new("/proc/self/exe")
                .arg("verify-signature")
                .stdin(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin {
                write!(stdin, "{}", json!({"pluginConfig": {"misbehave": "sleep"}}))?;
            }
            println!("{}", json!({"verificationResults": {}, "processedAttributes": []}));
            std::process::exit(0);
        }
        other => bail!("unknown misbehaviour {other}"),
    }
    bail!("it should not have come this far");
}

fn record(path: &str, command: &str, request: &Value) -> Result<()> {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let line = json!({
        "command": command,
        "request": request,
        "environment": environment,
        "folder": std::env::current_dir()?,
        "process": std::process::id(),
    });
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // In one piece: a reader sees whole lines.
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}
