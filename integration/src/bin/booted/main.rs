//! `cargo booted`: the packages on whole nodes, with real systemd and journald.
//!
//! Each kind of package is installed, asked, reloaded, restarted, replaced by another version and removed while fifty askers go on
//! asking through the hook, and none may be lost. Then a new user follows the manual's five minutes on a node with a real containerd.
//! It takes minutes, and root.

mod manual;
mod node;
mod runtime;
mod start;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use self::node::Node;
use self::runtime::World;
use self::start::Start;

/// Asks through the hook.
const LOAD: &str = include_str!("load.sh");

/// Provides to rpm what the packages of Debian provide.
const DISTRIBUTION: &str = include_str!("distribution.sh");

/// Where a node has the packages of this version.
const OLD: &str = "/packages/old";
/// And those of the next.
const NEW: &str = "/packages/new";

/// The packages on booted nodes, with real systemd and journald.
#[derive(Parser)]
struct Options {
    /// The suites of Debian to boot
    #[arg(long, value_delimiter = ',', default_value = "bookworm,trixie")]
    suites: Vec<String>,
    /// The kinds of package
    #[arg(long, value_delimiter = ',', value_enum, default_value = "deb,rpm")]
    kinds: Vec<Kind>,
    /// Take the packages that were made the last time; else they are built, in two versions
    #[arg(long)]
    no_build: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(
        nix::unistd::geteuid().is_root(),
        "nodes are booted by root: run this as root"
    );
    let packages = workspace().join("target/booted");
    let versions = Versions::known()?;
    if !options.no_build {
        if packages.exists() {
            fs::remove_dir_all(&packages)?;
        }
        // The present one last, whose programs then are those that target/release has.
        for (folder, version) in [("new", &versions.new), ("old", &versions.old)] {
            build(version, &packages.join(folder))?;
        }
    }
    let runtime = tokio::runtime::Runtime::new()?;
    // Clients that are made outside of it belong to it as well.
    let _entered = runtime.enter();
    let world = runtime.block_on(World::make())?;
    println!("with {}", world.versions());
    let mut shown = world.shown();
    shown.push((packages, "/packages"));
    for suite in &options.suites {
        for kind in &options.kinds {
            let boot = || -> Result<Node> {
                let node = Node::boot(suite, &workspace().join(".lab/booted"), &shown)?;
                if *kind == Kind::Rpm {
                    node.run(DISTRIBUTION)?;
                }
                Ok(node)
            };
            println!("\n==> {kind:?} on {suite}");
            life(&boot()?, *kind, &versions)?;
            println!("\n==> {kind:?} on {suite}, by the manual");
            let start = Start {
                node: &boot()?,
                kind: *kind,
                world: &world,
                versions: &versions,
                runtime: &runtime,
            };
            start.follow()?;
        }
    }
    println!("\nEverything passed.");
    Ok(())
}

/// The two versions that are installed.
struct Versions {
    old: String,
    new: String,
}

impl Versions {
    fn known() -> Result<Self> {
        let old = env!("CARGO_PKG_VERSION");
        let (series, patch) = old.rsplit_once('.').context("a version has dots")?;
        let patch: u32 = patch.parse().context("a version ends in a number")?;
        Ok(Self {
            old: old.to_owned(),
            new: format!("{series}.{}", patch + 1),
        })
    }
}

/// Builds both packages of a version into a folder of their own.
fn build(version: &str, folder: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let made = workspace().join("target/package");
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    let built = Command::new(cargo)
        .args(["package-node", "--of-version", version])
        .current_dir(workspace())
        .status()
        .context("cargo cannot be run")?;
    ensure!(built.success(), "cargo package-node --of-version {version} failed");
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(made)? {
        let path = entry?.path();
        if let (Some("deb" | "rpm"), Some(name)) = (path.extension().and_then(|end| end.to_str()), path.file_name()) {
            fs::copy(&path, folder.join(name))?;
        }
    }
    Ok(())
}

/// A kind of package, and how it comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Deb,
    Rpm,
}

impl Kind {
    /// Installs the package of a folder, whichever version is there.
    fn install(self, folder: &str) -> String {
        match self {
            Self::Deb => format!("dpkg --install {folder}/assayd_*.deb"),
            Self::Rpm => format!("rpm --upgrade --oldpackage {folder}/assayd-*.rpm"),
        }
    }

    fn remove(self) -> &'static str {
        match self {
            Self::Deb => "apt remove --yes assayd",
            Self::Rpm => "dnf remove --assumeyes assayd",
        }
    }
}

/// One node's life with the package.
fn life(node: &Node, kind: Kind, versions: &Versions) -> Result<()> {
    step("installing enforces nothing, and the daemon runs", || {
        node.run(&kind.install(OLD))?;
        if kind == Kind::Rpm {
            node.run("systemctl enable --now assayd.socket assayd.service assayd-doctor.timer")?;
        }
        node.run("systemctl is-active assayd.socket assayd.service; test ! -e /opt/containerd")?;
        let status = node.run("assayctl status; systemctl show --property=StatusText assayd.service")?;
        says(&status, &["in force", "StatusText=policy "])?;
        let user = node.run("ps -o user= -p $(systemctl show --property=MainPID --value assayd.service) || stat -c %U /proc/$(systemctl show --property=MainPID --value assayd.service)")?;
        says(&user, &["assay"])?;
        says(
            &node.run("stat -c '%U %a' /run/assayd /run/assayd/verifier.sock")?,
            &["root 755", "root 600"],
        )
    })?;
    step("the unit is what it was checked to be", || {
        let units = "assayd.service assayd.socket assayd-doctor.service assayd-doctor.timer assay-gate.service assay-credential.service";
        node.run(&format!("systemd-analyze verify --man=no {units}"))?;
        for unit in ["assayd.service", "assay-gate.service"] {
            node.run(&format!("systemd-analyze security --threshold=13 {unit} >/dev/null"))?;
        }
        Ok(())
    })?;
    step("the journal explains its events", || {
        says(
            &node.run("journalctl --catalog --identifier assayd --no-pager")?,
            &["Subject: assayd answers", "Subject: Policy ", "Defined-By: assayd"],
        )
    })?;
    step(
        "a broken policy does not stop it, and denies with policy-invalid until it is mended",
        || {
            node.run("cp /etc/assayd/policy.toml /root/good; echo broken > /etc/assayd/policy.toml; systemctl restart assayd.service")?;
            let denied = node.run(&format!("{ASK} || true"))?;
            says(&denied, &["DENY policy-invalid"])?;
            node.run("cp /root/good /etc/assayd/policy.toml; systemctl reload assayd.service")?;
            eventually(node, ASK, "ADMIT by audit mode")
        },
    )?;
    step("a socket that is asked starts the daemon", || {
        node.run("systemctl stop assayd.service 2>/dev/null")?;
        says(&node.run(ASK)?, &["ADMIT by audit mode"])
    })?;
    step(
        "nothing is lost over restarts, a kill, an upgrade and a downgrade",
        || {
            node.run(&format!("cat > /root/load.sh <<'END'\n{LOAD}END"))?;
            let mut asking = node.start("bash /root/load.sh")?;
            let busy = "until [ \"$(wc -l < /root/answers)\" -gt \"$((seen + 50))\" ]; do sleep 0.1; done";
            let wait = format!("until [ -s /root/answers ]; do sleep 0.1; done; seen=$(wc -l < /root/answers); {busy}");
            let events = [
                "systemctl restart assayd.service".to_owned(),
                "systemctl kill --signal=KILL assayd.service".to_owned(),
                kind.install(NEW),
                kind.install(OLD),
                "systemctl restart assayd.service".to_owned(),
            ];
            for event in events {
                node.run(&wait)?;
                node.run(&event)?;
            }
            node.run(&format!("{wait}; rm /root/asking"))?;
            asking.wait()?;
            let lost = node
                .run("grep --invert-match --line-regexp answered /root/answers | sort | uniq --count | head || true")?;
            ensure!(lost.is_empty(), "questions were lost:\n{lost}");
            println!("    {} questions, none lost", node.run("wc -l < /root/answers")?.trim());
            Ok(())
        },
    )?;
    step("an upgrade keeps what was configured", || {
        node.run("echo '# mine' >> /etc/assayd/policy.toml")?;
        node.run(&kind.install(NEW))?;
        says(
            &node.run("assayd --version; assayctl --version")?,
            &[&format!("assayctl {}", versions.new)],
        )?;
        says(&node.run("cat /etc/assayd/policy.toml")?, &["# mine"])
    })?;
    step("removing takes the hook out and says what that means", || {
        node.run(
            "mkdir -p /opt/containerd/image-verifier/bin; cd /opt/containerd/image-verifier/bin
             ln -s /usr/libexec/assayd/assay-verifier assayd; ln -s /bin/true another",
        )?;
        says(
            &node.run(kind.remove())?,
            &["assayd is taken out: containerd no longer asks assayd"],
        )?;
        let left = node.run("ls /opt/containerd/image-verifier/bin")?;
        ensure!(left == "another\n", "left in the folder: {left}");
        node.run("! systemctl is-active assayd.socket assayd.service; test ! -e /usr/sbin/assayd")
            .map(drop)
    })?;
    if kind == Kind::Deb {
        step("purging leaves only what somebody else put there", || {
            node.run("touch /etc/assayd/corp.pem; dpkg --purge assayd; test ! -e /var/lib/assayd -a ! -e /run/assayd")?;
            let left = node.run("ls /etc/assayd")?;
            ensure!(left == "corp.pem\n", "left: {left}");
            Ok(())
        })?;
    }
    Ok(())
}

/// One question through the hook.
const ASK: &str = r#"digest=sha256:$(printf 'b2%.0s' {1..32}); /usr/libexec/assayd/assay-verifier -name registry.example/app:v1 \
    -digest $digest -stdin-media-type application/vnd.oci.descriptor.v1+json \
    <<<"{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"$digest\",\"size\":5}""#;

fn step(name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    check().with_context(|| name.to_owned())?;
    println!("  {name}");
    Ok(())
}

fn says(said: &str, expected: &[&str]) -> Result<()> {
    for expected in expected {
        ensure!(said.contains(expected), "does not say {expected:?}:\n{said}");
    }
    Ok(())
}

/// What a reload brings about is there when it has been read, which `systemctl reload` does not wait for.
fn eventually(node: &Node, script: &str, expected: &str) -> Result<()> {
    let mut said = String::new();
    for _ in 0..50 {
        said = node.run(&format!("{script} || true"))?;
        if said.contains(expected) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    says(&said, &[expected])
}

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
