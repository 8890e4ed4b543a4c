//! The folders of a host tree, one for each registry, and whether they have changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::HostsError;
use super::file::{ClientPair, HostEntry, parse};
use assay_verify::limits::MAX_POLICY_SIZE;
use assay_verify::reference::DOCKER_HUB;

use crate::credential::FileState;

/// Where the trees are, as containerd's `config_path` lists them; the first that knows a registry counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTree {
    roots: Vec<PathBuf>,
}

/// The hosts of one registry, in the order in which they are asked, with the files that they name.
#[derive(Debug, PartialEq)]
pub(in crate::fetch) struct Loaded {
    pub(in crate::fetch) hosts: Vec<LoadedHost>,
    pub(in crate::fetch) seen: Seen,
}

#[derive(Debug, PartialEq)]
pub(in crate::fetch) struct LoadedHost {
    pub(in crate::fetch) entry: HostEntry,
    /// Certificate authorities beside the system's, PEM.
    pub(in crate::fetch) ca: Vec<Vec<u8>>,
    /// Client certificates.
    pub(in crate::fetch) client: Vec<LoadedPair>,
}

/// A client certificate and its key, PEM.
#[derive(PartialEq)]
pub(in crate::fetch) struct LoadedPair {
    pub(in crate::fetch) certificate: Vec<u8>,
    pub(in crate::fetch) key: Vec<u8>,
}

impl std::fmt::Debug for LoadedPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[certificate and key]")
    }
}

/// The state of every file that was looked at, present or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::fetch) struct Seen(Vec<(PathBuf, Option<FileState>)>);

impl Seen {
    /// Whether everything is as it was.
    pub(in crate::fetch) fn is_current(&self) -> bool {
        self.0.iter().all(|(path, was)| FileState::of(path) == *was)
    }

    fn look(&mut self, path: &Path) -> bool {
        let now = FileState::of(path);
        self.0.push((path.to_owned(), now));
        now.is_some()
    }
}

impl HostTree {
    /// Reads containerd's `config_path`: folders separated by colons. An empty text is no tree.
    pub fn from_config_path(text: &str) -> Self {
        Self {
            roots: text
                .split(':')
                .filter(|root| !root.is_empty())
                .map(PathBuf::from)
                .collect(),
        }
    }

    /// The hosts of a registry, by its canonical name. Where no folder is for it, its own host is the only one.
    pub(in crate::fetch) fn load(&self, registry: &str) -> Result<Loaded, HostsError> {
        let mut seen = Seen::default();
        let entries = match self.folder(registry, &mut seen)? {
            None => vec![HostEntry::upstream()],
            Some(folder) => read_folder(&folder, &mut seen)?,
        };
        let hosts = entries.into_iter().map(|entry| load(entry, &mut seen));
        let hosts = hosts.collect::<Result<_, _>>()?;
        Ok(Loaded { hosts, seen })
    }

    fn folder(&self, registry: &str, seen: &mut Seen) -> Result<Option<PathBuf>, HostsError> {
        for root in &self.roots {
            for name in folder_names(registry) {
                let folder = root.join(name);
                match fs::metadata(&folder) {
                    Ok(_) => {
                        seen.look(&folder);
                        return Ok(Some(folder));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        seen.look(&folder);
                    }
                    Err(error) => return Err(unreadable(&folder, &error)),
                }
            }
        }
        Ok(None)
    }
}

/// The folders of a registry, the one that counts first: with `_port_` for a port, with the port as it is, and the one for
/// every registry (containerd: core/remotes/docker/config/config_unix.go).
fn folder_names(registry: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |host: &str| {
        // From the first character on it would be a port alone.
        if let Some((name, port)) = host.rsplit_once(':').filter(|(name, _)| !name.is_empty()) {
            names.push(format!("{name}_{port}_"));
        }
        names.push(host.to_owned());
    };
    add(registry);
    // A canonical name has no :443, and containerd's has it where the image's name does.
    let has_port = registry
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    if !has_port && registry != DOCKER_HUB {
        add(&format!("{registry}:443"));
    }
    names.push("_default".to_owned());
    names
}

fn read_folder(folder: &Path, seen: &mut Seen) -> Result<Vec<HostEntry>, HostsError> {
    let path = folder.join("hosts.toml");
    let text = if seen.look(&path) { read(&path)? } else { Vec::new() };
    if text.is_empty() {
        return Ok(vec![certificate_files(folder, seen)?]);
    }
    let text = String::from_utf8(text).map_err(|_| HostsError::Unreadable {
        path: path.clone(),
        message: "it is not UTF-8 text".to_owned(),
    })?;
    parse(&path, &text)
}

/// docker's layout, for a folder without hosts.toml: `*.crt` are certificate authorities, `*.cert` client certificates, and
/// `*.key` beside them their keys.
fn certificate_files(folder: &Path, seen: &mut Seen) -> Result<HostEntry, HostsError> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| unreadable(folder, &error))?;
    // As Go's directory listing is.
    files.sort();
    let mut entry = HostEntry::upstream();
    for file in files.into_iter().filter(|file| !file.is_dir()) {
        // The name's end, not its extension: a file named ".crt" counts.
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".crt") {
            entry.ca.push(file);
        } else if let Some(stem) = name.strip_suffix(".cert") {
            let key = folder.join(format!("{stem}.key"));
            entry.client.push(ClientPair {
                key: seen.look(&key).then_some(key),
                certificate: file,
            });
        }
    }
    entry.says_tls = !(entry.ca.is_empty() && entry.client.is_empty());
    Ok(entry)
}

fn load(entry: HostEntry, seen: &mut Seen) -> Result<LoadedHost, HostsError> {
    let mut read_seen = |path: &PathBuf| {
        seen.look(path);
        read(path)
    };
    let ca = entry.ca.iter().map(&mut read_seen).collect::<Result<_, _>>()?;
    let mut client = Vec::new();
    for pair in &entry.client {
        let certificate = read_seen(&pair.certificate)?;
        let key = match &pair.key {
            Some(key) => read_seen(key)?,
            None => certificate.clone(),
        };
        client.push(LoadedPair { certificate, key });
    }
    Ok(LoadedHost { entry, ca, client })
}

fn read(path: &Path) -> Result<Vec<u8>, HostsError> {
    let size = fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if size > MAX_POLICY_SIZE as u64 {
        return Err(HostsError::Unreadable {
            path: path.to_owned(),
            message: format!("it has {size} bytes, more than {MAX_POLICY_SIZE}"),
        });
    }
    fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> HostsError {
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => ": let assayd's user read it (root:assay, mode 0640; folders 0750)",
        _ => "",
    };
    HostsError::Unreadable {
        path: path.to_owned(),
        message: format!("{error}{way_out}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree {
        folder: tempfile::TempDir,
        tree: HostTree,
    }

    impl Tree {
        fn with(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let tree = HostTree::from_config_path(folder.path().to_str().unwrap());
            Self { folder, tree }
        }

        fn apis(&self, registry: &str) -> Vec<String> {
            let loaded = self.tree.load(registry).unwrap();
            let shown = |host: &LoadedHost| {
                host.entry
                    .api
                    .as_ref()
                    .map_or("upstream".to_owned(), ToString::to_string)
            };
            loaded.hosts.iter().map(shown).collect()
        }
    }

    fn mirror(name: &str) -> String {
        format!("[host.\"https://{name}\"]\n")
    }

    #[test]
    fn a_registry_without_a_folder_is_asked_itself() {
        assert_eq!(Tree::with(&[]).apis("r.example"), ["upstream"]);
        assert_eq!(HostTree::from_config_path("").load("r.example").unwrap().hosts.len(), 1);
    }

    #[test]
    fn the_folder_with_the_port_spelt_out_comes_first_and_the_default_last() {
        let (a, b, c) = (mirror("a"), mirror("b"), mirror("c"));
        let tree = Tree::with(&[
            ("r.example_5000_/hosts.toml", &a),
            ("r.example:5000/hosts.toml", &b),
            ("_default/hosts.toml", &c),
        ]);
        assert_eq!(tree.apis("r.example:5000"), ["https://a/v2/", "upstream"]);
        assert_eq!(tree.apis("r.example"), ["https://c/v2/", "upstream"]);
        fs::remove_dir_all(tree.folder.path().join("r.example_5000_")).unwrap();
        assert_eq!(tree.apis("r.example:5000"), ["https://b/v2/", "upstream"]);
    }

    #[test]
    fn the_usual_port_may_be_part_of_a_folders_name() {
        let tree = Tree::with(&[("r.example_443_/hosts.toml", &mirror("a"))]);
        assert_eq!(tree.apis("r.example"), ["https://a/v2/", "upstream"]);
        assert_eq!(folder_names("[::1]:5000"), ["[::1]_5000_", "[::1]:5000", "_default"]);
        assert_eq!(folder_names("docker.io"), ["docker.io", "_default"]);
    }

    #[test]
    fn the_first_tree_that_knows_a_registry_counts() {
        let (first, second) = (
            Tree::with(&[("a.example/hosts.toml", &mirror("one"))]),
            Tree::with(&[
                ("a.example/hosts.toml", &mirror("two")),
                ("b.example/hosts.toml", &mirror("two")),
            ]),
        );
        let both = format!("{}:{}", first.folder.path().display(), second.folder.path().display());
        let tree = HostTree::from_config_path(&both);
        let api = |registry: &str| tree.load(registry).unwrap().hosts[0].entry.api.clone().unwrap();
        assert_eq!(api("a.example").as_str(), "https://one/v2/");
        assert_eq!(api("b.example").as_str(), "https://two/v2/");
    }

    #[test]
    fn a_folder_without_hosts_holds_certificates_as_dockers_does() {
        let tree = Tree::with(&[
            ("r.example/a.crt", "ca"),
            ("r.example/c.cert", "certificate"),
            ("r.example/c.key", "key"),
            ("r.example/d.cert", "both"),
            ("r.example/hosts.toml", ""),
        ]);
        let loaded = tree.tree.load("r.example").unwrap();
        let host = &loaded.hosts[0];
        assert_eq!((loaded.hosts.len(), &host.entry.api), (1, &None));
        assert_eq!(host.ca, [b"ca"]);
        let pairs: Vec<_> = host
            .client
            .iter()
            .map(|pair| (&*pair.certificate, &*pair.key))
            .collect();
        assert_eq!(pairs, [(&b"certificate"[..], &b"key"[..]), (b"both", b"both")]);
    }

    #[test]
    fn sees_every_change_that_counts() {
        let text = format!("{}ca = \"ca.pem\"\n", mirror("a"));
        let tree = Tree::with(&[("r.example/hosts.toml", &text), ("r.example/ca.pem", "1")]);
        let folder = tree.folder.path().join("r.example");
        for change in [
            &|| fs::write(folder.join("hosts.toml"), format!("{text}\n")).unwrap(),
            &|| fs::write(folder.join("ca.pem"), "22").unwrap(),
            &|| fs::remove_dir_all(&folder).unwrap(),
        ] as [&dyn Fn(); 3]
        {
            let before = tree.tree.load("r.example").unwrap().seen;
            assert!(before.is_current());
            change();
            assert!(!before.is_current());
        }
        let none = tree.tree.load("s.example").unwrap().seen;
        assert!(none.is_current());
        fs::create_dir(tree.folder.path().join("_default")).unwrap();
        assert!(!none.is_current());
    }

    #[test]
    fn a_certificate_that_is_not_there_is_an_error_with_its_path() {
        let text = format!("{}ca = \"ca.pem\"\n", mirror("a"));
        let tree = Tree::with(&[("r.example/hosts.toml", &text)]);
        let error = tree.tree.load("r.example").unwrap_err().to_string();
        assert!(error.contains("r.example/ca.pem: No such file"), "{error}");
    }
}
