//! What leaves the node in a support bundle, without what opens a door.
//!
//! Two fences stand one behind the other. Of tables that are known to hold credentials only the keys that are known to hold none keep
//! their value, and comments are left out with the rest of the text's form. Whatever text is left then loses what looks like a
//! credential wherever it stands: an error message quotes what somebody wrote.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value as Json;
use toml::{Table, Value};

/// What stands in the place of what was taken out.
const REDACTED: &str = "[redacted]";

/// Which values of a table stay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    /// Those of these keys, outside of tables whose keys are anybody's.
    Only(&'static [&'static str]),
    /// All but those whose key says that they are secret: for documents that have no place for a secret.
    Public,
}

/// The keys of config.toml whose values are no secret.
pub(super) const CONFIG: Keep = Keep::Only(&[
    "allowed_users",
    "bin_dir",
    "ca",
    "cache_size",
    "channel",
    "client_certificate",
    "client_key_file",
    "config_path",
    "control_socket",
    "credential_helpers",
    "credential_socket",
    "directory",
    "docker_config",
    "exceptions",
    "file_size",
    "files",
    "grace",
    "host",
    "hosts",
    "log",
    "max_poll_interval",
    "metrics_file",
    "metrics_listen",
    "min_poll_interval",
    "password_file",
    "path",
    "plain_http",
    "policy",
    "poll_interval",
    "private_addresses",
    "profile",
    "repository",
    "root",
    "sha256",
    "socket_mode",
    "state_directory",
    "token_realms",
    "unmatched",
    "verifier_socket",
    "when_expired",
]);

/// The keys of containerd's image verifiers and of CRI's image service whose values are no secret.
pub(super) const CONTAINERD: Keep = Keep::Only(&[
    "bin_dir",
    "ca_file",
    "cert_file",
    "config_path",
    "disable_snapshot_annotations",
    "discard_unpacked_layers",
    "endpoint",
    "image_pull_progress_timeout",
    "image_pull_with_sync_fs",
    "insecure_skip_verify",
    "key_file",
    "max_concurrent_downloads",
    "max_verifiers",
    "per_verifier_timeout",
    "sandbox",
    "snapshotter",
    "use_local_image_pull",
]);

/// Tables in which every key is somebody's own word, and every value may be a secret. `config` is one only in assayd's own
/// configuration, where it is what a plugin is given.
const SEALED: [&str; 7] = ["auth", "auths", "config", "env", "environment", "header", "headers"];

/// Parts of a key's name that say that its value is secret.
const SECRET_WORDS: [&str; 12] = [
    "apikey",
    "auth",
    "authorization",
    "cookie",
    "credential",
    "header",
    "headers",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "token",
];

/// A TOML document without its secrets and its comments. One that is none cannot be told apart from its secrets: only where
/// it is broken is said.
pub(super) fn document(text: &str, keep: Keep) -> Result<String, String> {
    let table: Table = toml::from_str(text).map_err(|error| {
        // The message of the parser itself may quote the document.
        let before = error.span().and_then(|span| text.get(..span.start));
        let place = before.map_or_else(String::new, |before| {
            format!(" from line {} on", before.matches('\n').count() + 1)
        });
        format!("it is no TOML{place}, and what cannot be read cannot be redacted")
    })?;
    let printed = toml::to_string_pretty(&redacted(table, keep)).map_err(|error| error.to_string())?;
    Ok(format!(
        "# Written anew without comments; \"{REDACTED}\" stands for what was taken out.\n{printed}"
    ))
}

/// A table without its secrets.
pub(super) fn redacted(table: Table, keep: Keep) -> Table {
    let entry = |(key, value): (String, Value)| {
        let is_sealed = value.is_table() && SEALED.contains(&key.to_ascii_lowercase().as_str());
        let value = match value {
            value if is_sealed => sealed(value),
            Value::Table(table) => Value::Table(redacted(table, keep)),
            Value::Array(values) if values.iter().all(Value::is_table) && !values.is_empty() => {
                Value::Array(values.into_iter().map(|value| of_table(value, keep)).collect())
            }
            value if keeps(keep, &key) => scrubbed(value),
            value => sealed(value),
        };
        (text(&key).into_owned(), value)
    };
    table.into_iter().map(entry).collect()
}

fn of_table(value: Value, keep: Keep) -> Value {
    match value {
        Value::Table(table) => Value::Table(redacted(table, keep)),
        value => sealed(value),
    }
}

fn keeps(keep: Keep, key: &str) -> bool {
    match keep {
        Keep::Only(keys) => keys.contains(&key),
        Keep::Public => !is_secret(key),
    }
}

/// Whether a key says that its value is secret. A path to a secret is none.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    !key.ends_with("_file") && key.split('_').any(|word| SECRET_WORDS.contains(&word))
}

/// A value of which only the form is left. An empty one says that there is nothing.
fn sealed(value: Value) -> Value {
    match value {
        Value::Table(table) => Value::Table(
            (table.into_iter())
                .map(|(key, value)| (text(&key).into_owned(), sealed(value)))
                .collect(),
        ),
        Value::Array(values) if values.is_empty() => Value::Array(values),
        Value::String(string) if string.is_empty() => Value::String(string),
        _ => Value::String(REDACTED.to_owned()),
    }
}

fn scrubbed(value: Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(&string).into_owned()),
        Value::Array(values) => Value::Array(values.into_iter().map(scrubbed).collect()),
        value @ Value::Table(_) => sealed(value),
        value => value,
    }
}

/// A JSON document whose strings, keys included, are without what looks like a credential.
pub(super) fn json(value: Json) -> Json {
    match value {
        Json::String(string) => Json::String(text(&string).into_owned()),
        Json::Array(values) => Json::Array(values.into_iter().map(json).collect()),
        Json::Object(fields) => Json::Object(
            (fields.into_iter())
                .map(|(key, value)| (text(&key).into_owned(), json(value)))
                .collect(),
        ),
        value => value,
    }
}

/// What looks like a credential in a text, and what is written in its place. The first are the widest.
static CREDENTIALS: LazyLock<Vec<(Regex, String)>> = LazyLock::new(|| {
    let secret_name = "password|passwd|passphrase|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key";
    let patterns = [
        // RFC 7468, also where its end was cut off.
        (
            r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)".to_owned(),
            REDACTED.to_owned(),
        ),
        // A field of a header, with all of its value (RFC 9110, section 5).
        (
            r#"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z0-9-]*(?:token|auth|key)[a-z0-9-]*)(["']?\s*[:=]\s*)[^\r\n]+"#
                .to_owned(),
            format!("${{1}}${{2}}{REDACTED}"),
        ),
        // RFC 3986, section 3.2.1: the user's part of an authority; and any query, which is how storage is signed for.
        (
            r#"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'<>]*@"#.to_owned(),
            format!("${{1}}{REDACTED}@"),
        ),
        (
            r#"([A-Za-z][A-Za-z0-9+.-]*://[^\s?#"'<>]*)\?[^\s"'<>]*"#.to_owned(),
            format!("${{1}}?{REDACTED}"),
        ),
        // RFC 9110, section 11.4.
        (
            r"(?i)\b(bearer|basic|negotiate)\s+[A-Za-z0-9._~+/=-]{6,}".to_owned(),
            format!("${{1}} {REDACTED}"),
        ),
        // RFC 7515: a token that was named nothing.
        (
            r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?".to_owned(),
            REDACTED.to_owned(),
        ),
        (
            format!(r#"(?i)((?:{secret_name})[\w.-]*["']?\s*[:=]\s*)(?:"[^"\r\n]*"|'[^'\r\n]*'|[^\s,;"']+)"#),
            format!("${{1}}{REDACTED}"),
        ),
    ];
    // None of them is from outside, and the tests use each.
    let compiled = |(pattern, replacement): (String, String)| Some((Regex::new(&pattern).ok()?, replacement));
    patterns.into_iter().filter_map(compiled).collect()
});

/// A text without what looks like a credential.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (pattern, replacement) in CREDENTIALS.iter() {
        if let Cow::Owned(replaced) = pattern.replace_all(&text, replacement) {
            text = Cow::Owned(replaced);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_loses_what_looks_like_a_credential_and_nothing_else() {
        for (before, after) in [
            (
                "https://u:p4ss@r.example/v2/: 401",
                "https://[redacted]@r.example/v2/: 401",
            ),
            ("https://u:p@ss@r.example", "https://[redacted]@r.example"),
            (
                "https://s3.example/b?X-Amz-Signature=ab",
                "https://s3.example/b?[redacted]",
            ),
            ("Authorization: Basic dTpw, and more", "Authorization: [redacted]"),
            ("it sent bearer abc.def-ghi then", "it sent bearer [redacted] then"),
            ("X-Vault-Token = s.1234", "X-Vault-Token = [redacted]"),
            (
                "registry_password: hunter2, next",
                "registry_password: [redacted], next",
            ),
            ("\"identitytoken\": \"a b\"", "\"identitytoken\": [redacted]"),
            ("got eyJhbGciOi.eyJzdWIi.c2ln here", "got [redacted] here"),
            (
                "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nb",
                "a\n[redacted]\nb",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMHc", "[redacted]"),
            (
                "r.example/app@sha256:00 is unsigned",
                "r.example/app@sha256:00 is unsigned",
            ),
            ("the token server answers 500", "the token server answers 500"),
        ] {
            assert_eq!(text(before), after);
        }
        assert_eq!(CREDENTIALS.len(), 7);
    }

    #[test]
    fn of_a_configuration_only_values_that_are_known_to_be_no_secret_stay() {
        let before = "state_directory = '/s'  # pw: s3cret\n[[registry]]\nhost = 'r.example'\nusername = 's3cret'\npassword = 's3cret'\n\
                      password_file = '/etc/pw'\n[plugin.x]\npath = '/p'\nenvironment = { path = 's3cret' }\n\
                      config = { a = ['s3cret'], path = 's3cret' }\n[fleet]\nrepository = 'https://s3cret@p.example/x'\n";
        let after = document(before, CONFIG).unwrap();
        assert!(!after.contains("s3cret"), "{after}");
        for kept in ["'/s'", "\"/s\"", "r.example", "/etc/pw", "\"/p\"", "p.example/x"] {
            assert!(after.contains(&kept.replace('\'', "\"")), "{kept}: {after}");
        }
    }

    #[test]
    fn a_document_that_is_none_is_named_by_its_line_and_not_quoted() {
        let said = document("a = 1\npassword = s3cret s3cret\n", CONFIG).unwrap_err();
        assert!(said.contains("line 2") && !said.contains("s3cret"), "{said}");
    }

    #[test]
    fn of_a_policy_all_stays_but_what_is_called_secret() {
        let before = "version = 1\n[authority.corp]\nkeys = ['key.pub']\ntoken = 's3cret'\n[[rule]]\nname = 'signed'\n\
                      [authority.corp.headers]\nx = 's3cret'\n";
        let after = document(before, Keep::Public).unwrap();
        assert!(!after.contains("s3cret"), "{after}");
        assert!(after.contains("key.pub") && after.contains("signed"), "{after}");
    }
}
