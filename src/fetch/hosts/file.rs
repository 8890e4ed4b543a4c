//! One `hosts.toml`, read from its text.
//!
//! Keys that containerd does not know are ignored, as it ignores them. What makes it give up a whole file is an error here:
//! it would go to the registry itself then, and whoever wrote the file would not learn why.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::SignedDuration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::HostsError;

/// What a host is trusted for (containerd: docs/hosts.md#capabilities-field).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fetch) struct Capabilities {
    /// To give what a digest names.
    pub(in crate::fetch) pull: bool,
    /// To say what a name stands for.
    pub(in crate::fetch) resolve: bool,
}

impl Capabilities {
    pub(in crate::fetch) const ALL: Self = Self {
        pull: true,
        resolve: true,
    };
}

/// A client certificate. Without a file of its own, the key is in the certificate's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientPair {
    pub(super) certificate: PathBuf,
    pub(super) key: Option<PathBuf>,
}

/// One host of a file.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::fetch) struct HostEntry {
    /// The address of its API, up to and with the version (`https://mirror.example/v2/`). Absent: the registry's own.
    pub(in crate::fetch) api: Option<Url>,
    pub(in crate::fetch) capabilities: Capabilities,
    pub(super) ca: Vec<PathBuf>,
    pub(super) client: Vec<ClientPair>,
    pub(in crate::fetch) skip_verify: bool,
    /// Whether anything about TLS is said. With `http://` that means: TLS first, and plain HTTP where the host does not
    /// speak TLS.
    pub(in crate::fetch) says_tls: bool,
    /// Sent with every request to it. They may hold a secret.
    pub(in crate::fetch) headers: HeaderMap,
    pub(in crate::fetch) dial_timeout: Option<Duration>,
}

impl HostEntry {
    /// The registry's own host, with nothing said about it.
    pub(in crate::fetch) fn upstream() -> Self {
        Self {
            api: None,
            capabilities: Capabilities::ALL,
            ca: Vec::new(),
            client: Vec::new(),
            skip_verify: false,
            says_tls: false,
            headers: HeaderMap::new(),
            dial_timeout: None,
        }
    }
}

/// What is wrong, and where.
struct Problem {
    at: usize,
    message: String,
}

fn problem<T>(span: Range<usize>, message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem {
        at: span.start,
        message: message.into(),
    })
}

/// Reads a file: its hosts in the order in which it names them, and last what it says of the server.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<HostEntry>, HostsError> {
    let malformed = |at: usize, message: String| {
        let before = text.get(..at).unwrap_or(text);
        HostsError::Malformed {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|character| *character != '\n').count() + 1,
            message,
        }
    };
    let table = DeTable::parse(text).map_err(|error| {
        malformed(
            error.span().map_or(0, |span| span.start),
            error.message().trim().to_owned(),
        )
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    entries(folder, text, table.get_ref()).map_err(|problem| malformed(problem.at, problem.message))
}

fn entries(folder: &Path, text: &str, root: &DeTable<'_>) -> Result<Vec<HostEntry>, Problem> {
    let mut entries = Vec::new();
    if let Some(hosts) = root.get("host") {
        let DeValue::Table(hosts) = hosts.get_ref() else {
            return problem(hosts.span(), "host is not a table");
        };
        let mut in_order: Vec<_> = hosts.iter().collect();
        in_order.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in in_order {
            let DeValue::Table(settings) = value.get_ref() else {
                return problem(name.span(), format!("host.{:?} is not a table", name.get_ref()));
            };
            // containerd takes the order from the headers of tables, and asks no host that has none.
            if is_header(text, name.span().start) {
                let server = Some((name.get_ref().as_ref(), name.span()));
                entries.push(entry(folder, server, settings)?);
            }
        }
    }
    let server = match root.get("server") {
        None => None,
        Some(value) => match value.get_ref() {
            DeValue::String(server) if server.is_empty() => None,
            DeValue::String(server) => Some((server.as_ref(), value.span())),
            _ => return problem(value.span(), "server is not a string"),
        },
    };
    let mut last = entry(folder, server, root)?;
    if last.api.is_none() {
        // For the registry's own host, containerd puts its defaults over what the file says here.
        last.capabilities = Capabilities::ALL;
    }
    entries.push(last);
    Ok(entries)
}

/// Whether the line up to a key begins the header of a table.
fn is_header(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.trim_start().starts_with('[')
}

fn entry(folder: &Path, server: Option<(&str, Range<usize>)>, settings: &DeTable<'_>) -> Result<HostEntry, Problem> {
    let mut entry = HostEntry::upstream();
    let override_path = match settings.get("override_path") {
        None => false,
        Some(value) => boolean("override_path", value)?,
    };
    if let Some((server, span)) = server {
        entry.api = Some(api(server, override_path).or_else(|message| problem(span, message))?);
    }
    if let Some(value) = settings.get("capabilities") {
        entry.capabilities = capabilities(value)?;
    }
    if let Some(value) = settings.get("ca") {
        entry.ca = strings("ca", value)?.iter().map(|file| folder.join(file)).collect();
        entry.says_tls = true;
    }
    if let Some(value) = settings.get("client") {
        entry.client = client(folder, value)?;
        entry.says_tls = true;
    }
    if let Some(value) = settings.get("skip_verify") {
        entry.skip_verify = boolean("skip_verify", value)?;
        entry.says_tls = true;
    }
    if let Some(value) = settings.get("header") {
        entry.headers = headers(value)?;
    }
    if let Some(value) = settings.get("dial_timeout") {
        entry.dial_timeout = dial_timeout(value)?;
    }
    Ok(entry)
}

/// The address of a host's API. Below it lie the repositories; it ends with `/v2` unless the path is overridden.
fn api(server: &str, override_path: bool) -> Result<Url, String> {
    let with_scheme = if server.starts_with("http") {
        server.to_owned()
    } else {
        format!("https://{server}")
    };
    let mut url =
        Url::parse(&with_scheme).map_err(|error| format!("{server:?} is not the address of a host: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("{server:?} is not the address of a host: write https://host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address of a host carries a user name; credentials have a place of their own".to_owned());
    }
    url.set_query(None);
    url.set_fragment(None);
    let mut path = url.path().trim_end_matches('/').to_owned();
    if !override_path && !path.ends_with("/v2") {
        path.push_str("/v2");
    }
    path.push('/');
    url.set_path(&path);
    Ok(url)
}

fn boolean(key: &str, value: &Spanned<DeValue<'_>>) -> Result<bool, Problem> {
    match value.get_ref() {
        DeValue::Boolean(value) => Ok(*value),
        _ => problem(value.span(), format!("{key} is neither true nor false")),
    }
}

fn string<'a>(key: &str, value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, Problem> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => problem(value.span(), format!("{key} holds something that is not a string")),
    }
}

/// A string, or a list of strings.
fn strings<'a>(key: &str, value: &'a Spanned<DeValue<'_>>) -> Result<Vec<&'a str>, Problem> {
    match value.get_ref() {
        DeValue::String(text) => Ok(vec![text]),
        DeValue::Array(items) => items.iter().map(|item| string(key, item)).collect(),
        _ => problem(value.span(), format!("{key} is neither a string nor a list of strings")),
    }
}

fn capabilities(value: &Spanned<DeValue<'_>>) -> Result<Capabilities, Problem> {
    let DeValue::Array(items) = value.get_ref() else {
        return problem(value.span(), "capabilities is not a list of strings");
    };
    // An empty list is none at all, for containerd.
    if items.is_empty() {
        return Ok(Capabilities::ALL);
    }
    let mut read = Capabilities {
        pull: false,
        resolve: false,
    };
    for item in items.iter() {
        let word = string("capabilities", item)?;
        match word.to_lowercase().as_str() {
            "pull" => read.pull = true,
            "resolve" => read.resolve = true,
            // Of no use here. containerd knows the second since 2.2.
            "push" | "referrers" => {}
            _ => {
                return problem(
                    item.span(),
                    format!("unknown capability {word:?}: expected pull, resolve, push or referrers"),
                );
            }
        }
    }
    Ok(read)
}

/// One file, several, or several pairs of certificate and key.
fn client(folder: &Path, value: &Spanned<DeValue<'_>>) -> Result<Vec<ClientPair>, Problem> {
    let alone = |file: &str| ClientPair {
        certificate: folder.join(file),
        key: None,
    };
    match value.get_ref() {
        DeValue::String(file) => Ok(vec![alone(file)]),
        DeValue::Array(items) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(file) => Ok(alone(file)),
                DeValue::Array(_) => match strings("client", item)?.as_slice() {
                    [certificate, ""] => Ok(alone(certificate)),
                    [certificate, key] => Ok(ClientPair {
                        certificate: folder.join(certificate),
                        key: Some(folder.join(key)),
                    }),
                    _ => problem(
                        item.span(),
                        "client holds a list that is no pair of certificate and key",
                    ),
                },
                _ => problem(
                    item.span(),
                    "client holds something that is neither a file nor a pair of files",
                ),
            })
            .collect(),
        _ => problem(value.span(), "client is neither a file nor a list"),
    }
}

fn headers(value: &Spanned<DeValue<'_>>) -> Result<HeaderMap, Problem> {
    let DeValue::Table(table) = value.get_ref() else {
        return problem(value.span(), "header is not a table");
    };
    let mut headers = HeaderMap::new();
    for (name, values) in table.iter() {
        let Ok(header) = HeaderName::from_bytes(name.get_ref().as_bytes()) else {
            return problem(name.span(), format!("{:?} is not the name of a header", name.get_ref()));
        };
        for text in strings("header", values)? {
            let Ok(mut content) = HeaderValue::from_str(text) else {
                return problem(
                    values.span(),
                    format!("the value of {:?} cannot be sent", name.get_ref()),
                );
            };
            content.set_sensitive(true);
            headers.append(header.clone(), content);
        }
    }
    Ok(headers)
}

fn dial_timeout(value: &Spanned<DeValue<'_>>) -> Result<Option<Duration>, Problem> {
    let text = string("dial_timeout", value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse::<SignedDuration>().ok();
    match read.and_then(|read| Duration::try_from(read).ok()) {
        Some(read) => Ok(Some(read)),
        None => problem(
            value.span(),
            format!("dial_timeout {text:?} is not a duration such as \"3s\""),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<HostEntry>, String> {
        parse(Path::new("/certs.d/r.example/hosts.toml"), text).map_err(|error| error.to_string())
    }

    fn apis(text: &str) -> Vec<String> {
        let shown = |entry: &HostEntry| entry.api.as_ref().map_or("upstream".to_owned(), Url::to_string);
        read(text).unwrap().iter().map(shown).collect()
    }

    #[test]
    fn hosts_come_in_the_order_of_the_file_and_the_server_last() {
        let text = r#"
            server = "https://registry.example"
            [host."https://z.example"]
            [host."http://a.example:5000"]
            [host."https://z.example".header]
            x-a = "1"
            [host."m.example"]
        "#;
        assert_eq!(
            apis(text),
            [
                "https://z.example/v2/",
                "http://a.example:5000/v2/",
                "https://m.example/v2/",
                "https://registry.example/v2/"
            ]
        );
    }

    #[test]
    fn without_a_server_the_registry_itself_is_last_and_may_everything() {
        let read = read("capabilities = [\"push\"]\nskip_verify = true\n[host.\"https://m.example\"]\n").unwrap();
        assert_eq!(read[1].api, None);
        assert_eq!(read[1].capabilities, Capabilities::ALL);
        assert!(read[1].skip_verify && !read[0].skip_verify);
    }

    #[test]
    fn a_host_that_is_no_table_of_its_own_is_not_asked() {
        assert_eq!(apis("host.\"https://m.example\".skip_verify = true\n"), ["upstream"]);
    }

    #[test]
    fn a_path_is_the_apis_only_where_it_overrides() {
        for (server, override_path, api) in [
            ("https://m.example", false, "https://m.example/v2/"),
            ("https://m.example/", false, "https://m.example/v2/"),
            ("https://m.example/v2", false, "https://m.example/v2/"),
            ("https://m.example/v2/", false, "https://m.example/v2/"),
            ("https://m.example/a/../hub", false, "https://m.example/hub/v2/"),
            ("https://m.example/v2/hub", false, "https://m.example/v2/hub/v2/"),
            ("https://m.example/v2/hub", true, "https://m.example/v2/hub/"),
            ("https://m.example", true, "https://m.example/"),
            ("[::1]:5000", false, "https://[::1]:5000/v2/"),
        ] {
            let text = format!("[host.\"{server}\"]\noverride_path = {override_path}\n");
            assert_eq!(apis(&text)[0], api, "{server}");
        }
    }

    #[test]
    fn capabilities_are_what_is_listed_and_everything_where_nothing_is() {
        let both = |pull, resolve| Capabilities { pull, resolve };
        for (list, expected) in [
            ("[]", both(true, true)),
            ("[\"pull\"]", both(true, false)),
            ("[\"PULL\", \"Resolve\"]", both(true, true)),
            ("[\"push\"]", both(false, false)),
            ("[\"pull\", \"referrers\"]", both(true, false)),
        ] {
            let read = read(&format!("[host.\"https://m.example\"]\ncapabilities = {list}\n")).unwrap();
            assert_eq!(read[0].capabilities, expected, "{list}");
        }
    }

    #[test]
    fn files_are_relative_to_the_folder() {
        let text = r#"
            [host."https://m.example"]
            ca = "ca.pem"
            client = [["c.cert", "c.key"], "/abs/both.pem", ["only.pem", ""]]
            [host."https://n.example"]
            ca = ["a.pem", "/b.pem"]
            client = "both.pem"
        "#;
        let read = read(text).unwrap();
        assert_eq!(read[0].ca, [Path::new("/certs.d/r.example/ca.pem")]);
        assert_eq!(read[1].ca, [Path::new("/certs.d/r.example/a.pem"), Path::new("/b.pem")]);
        let pair = |certificate: &str, key: Option<&str>| ClientPair {
            certificate: certificate.into(),
            key: key.map(Into::into),
        };
        assert_eq!(
            read[0].client,
            [
                pair("/certs.d/r.example/c.cert", Some("/certs.d/r.example/c.key")),
                pair("/abs/both.pem", None),
                pair("/certs.d/r.example/only.pem", None),
            ]
        );
        assert_eq!(read[1].client, [pair("/certs.d/r.example/both.pem", None)]);
        assert!(read[0].says_tls && !read[2].says_tls);
    }

    #[test]
    fn headers_have_one_value_or_several_and_are_secrets() {
        let text = "[host.\"https://m.example\".header]\nx-one = \"1\"\nx-two = [\"a\", \"b\"]\n";
        let read = read(text).unwrap();
        let two: Vec<_> = read[0].headers.get_all("x-two").iter().collect();
        assert_eq!(two, ["a", "b"]);
        assert!(read[0].headers["x-one"].is_sensitive());
        assert!(!format!("{:?}", read[0]).contains("\"1\""));
    }

    #[test]
    fn unknown_keys_are_left_alone_as_containerd_leaves_them() {
        assert_eq!(apis("note = 1\n[host.\"https://m.example\"]\nother = []\n").len(), 2);
    }

    #[test]
    fn an_error_names_the_file_the_place_and_the_way_out() {
        for (text, expected) in [
            (
                "[host.\"https://m.example\"]\ncapabilities = [\"pul\"]\n",
                "hosts.toml:2:17: unknown capability \"pul\": expected pull, resolve, push or referrers; containerd ignores the whole file",
            ),
            ("server = 7\n", "hosts.toml:1:10: server is not a string"),
            ("server = \"http:\"\n", "hosts.toml:1:10: "),
            ("skip_verify = \"yes\"\n", "hosts.toml:1:15: skip_verify"),
            ("ca = [1]\n", "hosts.toml:1:7: ca holds"),
            (
                "client = [[\"a\"]]\n",
                "hosts.toml:1:11: client holds a list that is no pair",
            ),
            ("[header]\n\"a b\" = \"1\"\n", "hosts.toml:2:1: \"a b\" is not the name"),
            ("dial_timeout = \"soon\"\n", "hosts.toml:1:16: dial_timeout"),
            ("server = \n", "hosts.toml:1:10: "),
            ("[host.\"https://u:p@m.example\"]\n", "carries a user name"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.starts_with("/certs.d/r.example/hosts.toml:"), "{error}");
        }
    }

    #[test]
    fn reads_gos_durations() {
        for (text, expected) in [("3s", 3_000), ("500ms", 500), ("1m30s", 90_000)] {
            let read = read(&format!("dial_timeout = \"{text}\"\n")).unwrap();
            assert_eq!(read[0].dial_timeout, Some(Duration::from_millis(expected)), "{text}");
        }
    }
}
