//! `assayctl support-bundle` as a process, with secrets planted wherever it looks.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Stands in every planted secret.
const SECRET: &str = "hunter2";

struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    /// A node whose daemon is dead, and on which every file has a secret.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let config = format!(
            "# the old password was {SECRET}\npolicy = 'policy.toml'\ncontrol_socket = 'control.sock'\nstate_directory = 'state'\n\
             [[registry]]\nhost = 'registry.example'\nusername = 'user-{SECRET}'\npassword_file = 'registry-password'\n\
             [plugin.'org.example.plugin']\npath = '/usr/libexec/plugin'\nenvironment = {{ path = '{SECRET}' }}\n\
             config = {{ a = '{SECRET}' }}\n"
        );
        fs::write(at("config.toml"), config).unwrap();
        fs::write(at("registry-password"), SECRET).unwrap();
        let policy = format!(
            "version = 1  # token {SECRET}\nunmatched = 'deny'\n[authority.corp]\ntype = 'cosign'\nkeys = ['key.pub']\n\
             password = '{SECRET}'\nurl = 'https://{SECRET}@kms.example'\nnote = 'Authorization: Basic {SECRET}'\n"
        );
        fs::write(at("policy.toml"), policy).unwrap();
        fs::create_dir_all(at("state/decisions")).unwrap();
        let decision = format!(
            "{{\"time\":\"2026-01-01T00:00:00Z\",\"id\":\"0001\",\"repository\":\"r.example/app\",\"verdict\":\"deny\",\"code\":\
             \"registry-unavailable\",\"reason\":\"https://u:{SECRET}@r.example/v2/?X-Amz-Signature={SECRET} answers 500 to bearer \
             {SECRET}\"}}\n{{\"torn {SECRET}\n"
        );
        fs::write(at("state/decisions/decisions.jsonl"), decision).unwrap();
        let images = "[plugins.'io.containerd.cri.v1.images'";
        let dump = format!(
            "version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = '/opt/verifiers'\n\
             {images}.registry.headers]\nendpoint = ['{SECRET}']\n\
             {images}.registry.mirrors.'https://u:{SECRET}@m.example']\nendpoint = ['https://u:{SECRET}@mirror.example']\n\
             {images}.registry.configs.'r.example'.auth]\nusername = '{SECRET}'\npassword = '{SECRET}'\nconfig_path = '{SECRET}'\n\
             {images}.registry.auths.'https://r.example']\nidentitytoken = '{SECRET}'\n\
             [plugins.'io.containerd.other']\nconfig_path = '{SECRET}'\n"
        );
        fs::write(at("dump.toml"), dump).unwrap();
        let containerd = format!(
            "#!/bin/sh\ncase \"$1\" in\n--version) echo 'containerd c 2.1.9 1';;\n*) cat '{}';;\nesac\n",
            at("dump.toml").display()
        );
        fs::write(at("containerd"), containerd).unwrap();
        fs::set_permissions(at("containerd"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn bundle(&self, out: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_assayctl"))
            .args(["support-bundle", "--no-canary", "--out", &self.path(out)])
            .args(["--config", &self.path("config.toml")])
            .args(["--containerd", &self.path("containerd")])
            .args(["--containerd-config", &self.path("containerd.toml")])
            .env_remove("ASSAYD_CONTROL_SOCKET")
            .output()
            .unwrap()
    }
}

fn parts(tar: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(fs::File::open(tar).unwrap());
    let part = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        (name, content)
    };
    archive.entries().unwrap().map(part).collect()
}

#[test]
fn without_a_daemon_it_holds_what_is_on_the_disk_says_what_is_missing_and_has_no_secret() {
    let node = Node::new();
    let output = node.bundle("support.tar");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let tar = node.folder.path().join("support.tar");
    assert_eq!(fs::metadata(&tar).unwrap().permissions().mode() & 0o7777, 0o600);
    let raw = fs::read(&tar).unwrap();
    let is_secret = |window: &[u8]| window == SECRET.as_bytes();
    let parts = parts(&tar);
    for (name, content) in &parts {
        assert!(!content.contains(SECRET), "{name}: {content}");
    }
    assert!(!raw.windows(SECRET.len()).any(is_secret));
    assert!(!String::from_utf8_lossy(&output.stdout).contains(SECRET), "{output:?}");
    for (name, expected) in [
        (
            "CONTENTS",
            "status.json                  MISSING: assayd does not answer on ",
        ),
        ("CONTENTS", "metrics.txt                  MISSING: "),
        ("CONTENTS", "sync-status.json             MISSING: "),
        ("CONTENTS", "policy-in-force.toml         MISSING: "),
        ("versions.txt", concat!("assayctl ", env!("CARGO_PKG_VERSION"))),
        ("versions.txt", "containerd 2.1.9"),
        ("doctor.json", "daemon-away"),
        ("doctor.json", "local-pull-registry-auths"),
        ("config.toml", "registry.example"),
        ("config.toml", "/usr/libexec/plugin"),
        ("config.toml", "registry-password"),
        ("policy-on-disk.toml", "key.pub"),
        ("decisions.jsonl", "registry-unavailable"),
        ("decisions.jsonl", "answers 500"),
        ("containerd.toml", "/opt/verifiers"),
        ("containerd.toml", "mirror.example"),
        ("os-release", "ID="),
    ] {
        let content = parts.get(name).unwrap_or_else(|| panic!("{name} is not in {parts:?}"));
        assert!(content.contains(expected), "{name} has no {expected}: {content}");
    }
}

#[test]
fn a_configuration_that_is_broken_is_named_and_not_quoted() {
    let node = Node::new();
    fs::write(
        node.path("config.toml"),
        format!("log = 'auto'\npassword = '{SECRET}\n"),
    )
    .unwrap();
    fs::write(node.path("dump.toml"), format!("version = 3\n{SECRET}\n")).unwrap();
    let output = node.bundle("support.tar");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let parts = parts(&node.folder.path().join("support.tar"));
    for (name, content) in &parts {
        assert!(!content.contains(SECRET), "{name}: {content}");
    }
    assert!(
        parts["CONTENTS"].contains("config.toml: it is no TOML from line 2 on"),
        "{parts:?}"
    );
    assert!(
        parts["CONTENTS"].contains("containerd.toml              MISSING: "),
        "{parts:?}"
    );
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let node = Node::new();
    fs::write(node.path("support.tar"), "mine").unwrap();
    let output = node.bundle("support.tar");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("support.tar"),
        "{output:?}"
    );
    assert_eq!(fs::read_to_string(node.path("support.tar")).unwrap(), "mine");
}

#[test]
fn of_a_configuration_that_assayd_refuses_it_says_that_other_places_were_looked_at() {
    let node = Node::new();
    let config =
        format!("misspelt = '{SECRET}'\n[fleet]\nrepository = 'https://u:{SECRET}@p.example/x?sig={SECRET}'\n");
    fs::write(node.path("config.toml"), config).unwrap();
    node.bundle("support.tar");
    let parts = parts(&node.folder.path().join("support.tar"));
    for (name, content) in &parts {
        assert!(!content.contains(SECRET), "{name}: {content}");
    }
    assert!(parts["CONTENTS"].contains("in the default places"), "{parts:?}");
    assert!(parts["config.toml"].contains("p.example"), "{parts:?}");
}
