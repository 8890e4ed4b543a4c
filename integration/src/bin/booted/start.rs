//! The manual's five minutes, followed by a new user with a real containerd, and what comes after them: restarts, an upgrade and a
//! downgrade under load, credentials, metrics, removal.

use anyhow::{Context as _, Result, ensure};
use assay_integration::Cri;
use tokio::runtime::Runtime;

use crate::manual::Commands;
use crate::node::Node;
use crate::runtime::{LOGIN, World};
use crate::{Kind, NEW, OLD, Versions, eventually, says, step, workspace};

/// A node from its first package to its last.
pub(crate) struct Start<'a> {
    pub(crate) node: &'a Node,
    pub(crate) kind: Kind,
    pub(crate) world: &'a World,
    pub(crate) versions: &'a Versions,
    pub(crate) runtime: &'a Runtime,
}

impl Start<'_> {
    pub(crate) fn follow(&self) -> Result<()> {
        let (node, kind, world) = (self.node, self.kind, self.world);
        let mut manual = Commands::of(&workspace().join("docs/install.md"), "Five minutes")?;
        let cri = world.install(node)?;
        step("containerd runs as the node's service", || {
            says(
                &node.run("ctr version; systemctl show --property=SubState containerd.service")?,
                &["Version:  2.", "SubState=running"],
            )
        })?;
        step("five minutes: install", || {
            let (deb, rpm) = (manual.next("apt install")?, manual.next("dnf install")?);
            self.type_in(match kind {
                Kind::Deb => &deb,
                Kind::Rpm => &rpm,
            })?;
            let said = self.type_in(&manual.next("systemctl status")?)?;
            says(&said, &["active (running)", "is in force", &self.versions.old])
        })?;
        step("five minutes: ask about an image", || {
            says(
                &self.type_in(&manual.next("assayctl explain")?)?,
                &["ADMIT (audit): no rule of the policy matches"],
            )
        })?;
        step("five minutes: say who may vouch for images", || {
            world.trust(node)?;
            self.write_next_policy("audit", "audit")?;
            let said = self.type_in(&manual.next("\"${EDITOR:-vi}\"")?)?;
            let in_force = [
                "/etc/assayd/policy.toml is good",
                "2 rules, 2 authorities",
                "is in force",
            ];
            says(&said, &in_force)
        })?;
        let (signed, unsigned) = (world.image("prod/app"), world.image("prod/unsigned"));
        let by_cosign = world.image("cosign/app");
        // Decisions name repositories and digests.
        let [signed_name, unsigned_name, cosign_name] =
            ["prod/app", "prod/unsigned", "cosign/app"].map(|name| world.open.repository(name));
        step("five minutes: the hook observes, and everything is pulled", || {
            let said = self.type_in(&manual.next("assayctl hook enable --observe")?)?;
            says(&said, &["/opt/containerd/image-verifier/bin"])?;
            for image in [&signed, &by_cosign, &unsigned] {
                self.pull(&cri, image)?.map_err(|denied| anyhow::anyhow!("{denied}"))?;
            }
            Ok(())
        })?;
        step("five minutes: the journal says what would be denied", || {
            let said = self.type_in(&manual.next("journalctl -x")?)?;
            says(
                &said,
                &[&unsigned_name, "the code unsigned", "Subject: Audit mode admitted"],
            )?;
            ensure!(
                !said.contains(&signed_name) && !said.contains(&cosign_name),
                "a signed image is named:\n{said}"
            );
            Ok(())
        })?;
        step(
            "five minutes: enforcing is refused while the node has what would be denied, and then works",
            || {
                self.write_next_policy("deny", "enforce")?;
                let commands = manual.next("\"${EDITOR:-vi}\"")?;
                let refused = self.type_in(&commands);
                let refused = refused
                    .err()
                    .context("the hook enforces although an image would be denied")?;
                says(
                    &refused.to_string(),
                    &[&unsigned_name, "1 denied", "Nothing is changed"],
                )?;
                self.runtime.block_on(cri.remove(&unsigned))?;
                self.type_in(&commands)?;
                manual.end()
            },
        )?;
        step(
            "an image that is not signed is denied, and signed ones are pulled",
            || {
                for image in [&signed, &by_cosign] {
                    self.runtime.block_on(cri.remove(image))?;
                    self.pull(&cri, image)?.map_err(|denied| anyhow::anyhow!("{denied}"))?;
                }
                self.is_denied(&cri, &unsigned, "DENY unsigned")?;
                says(
                    &node.run("journalctl -t assayd ASSAY_VERDICT=deny -o verbose --no-pager")?,
                    &[&unsigned_name, "ASSAY_CODE=unsigned"],
                )?;
                says(
                    &node.run("assayctl hook status; assayctl decisions")?,
                    &["enforcing", &unsigned_name, &signed_name],
                )
            },
        )?;
        step(
            "nothing is lost over restarts, a kill, an upgrade and a downgrade under fifty pulls at once",
            || self.under_load(&cri),
        )?;
        step(
            "the doctor finds nothing worse than warnings, and its canary is denied",
            || {
                // In a container nothing sets the clock, and nothing runs for the bootstrap list: 4 is warnings alone.
                says(
                    &node.run("assayctl doctor || test $? = 4")?,
                    &["the canary was denied by decision"],
                )
            },
        )?;
        self.watch(&cri)?;
        self.metrics()?;
        self.credentials(&cri)?;
        step("removing takes the hook out, and the node pulls", || {
            says(&node.run(kind.remove())?, &["containerd no longer asks assayd"])?;
            self.pull(&cri, &unsigned)?
                .map_err(|denied| anyhow::anyhow!("{denied}"))
        })
    }

    /// Runs commands as they stand in the manual, in the folder of the older package, and says yes to what they ask.
    fn type_in(&self, commands: &str) -> Result<String> {
        self.node.run(&format!(
            "exec < <(yes)\nexport EDITOR=/root/editor\ncd {OLD}\n{commands}"
        ))
    }

    /// What the editor will write.
    fn write_next_policy(&self, unmatched: &str, mode: &str) -> Result<()> {
        self.node
            .write("/root/policy.toml", &self.world.policy(unmatched, mode))?;
        self.node
            .write("/root/editor", "#!/bin/sh\nexec cp /root/policy.toml \"$1\"\n")?;
        self.node.run("chmod +x /root/editor").map(drop)
    }

    fn pull(&self, cri: &Cri, image: &str) -> Result<Result<(), String>> {
        let pulled = self.runtime.block_on(cri.pull(image, None));
        Ok(pulled.map_err(|error| format!("{image}: {error}")))
    }

    fn is_denied(&self, cri: &Cri, image: &str, code: &str) -> Result<()> {
        let said = self
            .pull(cri, image)?
            .err()
            .with_context(|| format!("{image} was pulled"))?;
        says(&said, &["image verifier bindir blocked pull", code])
    }

    fn under_load(&self, cri: &Cri) -> Result<()> {
        let (node, kind, versions) = (self.node, self.kind, self.versions);
        let mut load = self.runtime.block_on(async { self.world.load(cri) });
        let events = [
            ("systemctl restart assayd.service".to_owned(), &versions.old),
            ("systemctl kill --signal=KILL assayd.service".to_owned(), &versions.old),
            (kind.install(NEW), &versions.new),
            (kind.install(OLD), &versions.old),
            ("systemctl restart assayd.service".to_owned(), &versions.old),
        ];
        for (event, version) in &events {
            self.runtime.block_on(load.go_on())?;
            node.run(event)?;
            eventually(node, "assayctl status", version)?;
            self.runtime.block_on(load.go_on()).context(event.clone())?;
        }
        let (admitted, denied) = self.runtime.block_on(load.end())?;
        println!("    {admitted} pulls admitted, {denied} denied, none lost");
        // The daemon's own count begins with its last start.
        says(
            &node.run("assayctl metrics | grep '^assayd_verdicts_total'")?,
            &["admit", "deny"],
        )?;
        let journal = "journalctl -t assayd ASSAY_VERDICT=admit ASSAY_VERDICT=deny --output=cat --no-pager | wc -l";
        let journal = node.run(journal)?;
        let journalled: usize = journal.trim().parse().with_context(|| journal.clone())?;
        ensure!(
            journalled >= admitted + denied,
            "the journal has {journalled} verdicts, fewer than {admitted} and {denied} pulls"
        );
        Ok(())
    }

    /// What comes past the hook, as the unit sees it.
    fn watch(&self, cri: &Cri) -> Result<()> {
        let node = self.node;
        let unsigned = self.world.image("prod/unsigned");
        let name = self.world.open.repository("prod/unsigned");
        step(
            "assay-gate says what comes past the hook, and the inventory shows it",
            || {
                node.run("systemctl enable --now assay-gate; systemctl is-active assay-gate")?;
                let status = "systemctl show --property=StatusText assay-gate";
                eventually(node, status, "images that came past the hook")?;
                node.run(&format!("ctr -n elsewhere images pull --local --plain-http {unsigned}"))?;
                // Observing has let it in before; so it is in the ledger as denied since.
                let past = "journalctl -t assayd MESSAGE_ID=6f1d5c1ab3a04b3c9d0b7c5f2f0f7a17 -x --no-pager";
                eventually(node, past, &format!("{name} came past the hook"))?;
                let listed = node.run("assayctl inventory || test $? = 1")?;
                says(&listed, &[&format!("DENY {name}@"), "it is here", "1 denied"])?;
                node.run(&format!("ctr -n elsewhere images rm --sync {unsigned}"))?;
                self.is_denied(cri, &unsigned, "DENY unsigned")
            },
        )
    }

    /// The metrics that Prometheus and node-exporter come for, in the sandbox of the unit.
    fn metrics(&self) -> Result<()> {
        let node = self.node;
        step("Prometheus and node-exporter get the metrics", || {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let folder = "/var/lib/prometheus/node-exporter";
            node.run(&format!("mkdir -p {folder}; chown assay {folder}"))?;
            self.drop_in("metrics", &format!("[Service]\nReadWritePaths={folder}\n"))?;
            self.configure(&format!(
                "metrics_listen = \"127.0.0.1:{port}\"\nmetrics_file = \"{folder}/assayd.prom\"\n"
            ))?;
            let asked =
                format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
            eventually(node, &asked, "assayd_build_info")?;
            let read = format!("setpriv --reuid=nobody --regid=nogroup --clear-groups cat {folder}/assayd.prom");
            eventually(node, &read, "assayd_build_info")
        })
    }

    /// Credentials that only root can read or get.
    fn credentials(&self, cri: &Cri) -> Result<()> {
        let (node, private) = (self.node, &self.world.private);
        let image = |name: &str| format!("{}:v1", private.repository(name));
        let pull = |name: &str| {
            let pulled = self.runtime.block_on(cri.pull(&image(name), Some(LOGIN)));
            pulled.map_err(|error| error.message)
        };
        step("a registry that wants a password is registry-auth without one", || {
            let said = pull("prod/by-file").err().context("it was pulled")?;
            says(&said, &["DENY registry-auth"])
        })?;
        step("LoadCredential= brings the kubelet's file", || {
            let login = assay_integration::registry::basic(LOGIN.0, LOGIN.1);
            let auth = login.trim_start_matches("Basic ");
            let file = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, private.host());
            node.write("/var/lib/kubelet/config.json", &file)?;
            node.run("chmod 600 /var/lib/kubelet/config.json")?;
            self.drop_in(
                "credential",
                "[Service]\nLoadCredential=kubelet.json:/var/lib/kubelet/config.json\n",
            )?;
            self.configure("docker_config = [\"$CREDENTIALS_DIRECTORY/kubelet.json\"]\n")?;
            pull("prod/by-file").map_err(anyhow::Error::msg)
        })?;
        step("assay-credential asks the kubelet's provider as root", || {
            let folder = "/etc/eks/image-credential-provider";
            let provider = format!(
                "#!/bin/sh\ncat >/dev/null\nid -u >> /run/assayd/provider-ran-as\ncat <<'END'\n{}\nEND\n",
                serde_json::json!({
                    "kind": "CredentialProviderResponse",
                    "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                    "cacheKeyType": "Registry",
                    "auth": { private.host(): { "username": LOGIN.0, "password": LOGIN.1 } },
                })
            );
            node.write(&format!("{folder}/lab-provider"), &provider)?;
            let configuration = serde_json::json!({
                "kind": "CredentialProviderConfig",
                "apiVersion": "kubelet.config.k8s.io/v1",
                "providers": [{
                    "name": "lab-provider",
                    "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                    "matchImages": [private.host()],
                    "defaultCacheDuration": "1m",
                }],
            });
            node.write(&format!("{folder}/config.json"), &configuration.to_string())?;
            node.run(&format!(
                "chmod 700 {folder}/lab-provider; systemctl enable --now assay-credential"
            ))?;
            self.configure("credential_socket = \"/run/assayd/credential.sock\"\n")?;
            pull("prod/by-provider").map_err(anyhow::Error::msg)?;
            says(&node.run("cat /run/assayd/provider-ran-as")?, &["0\n"])?;
            node.run("systemctl disable --now assay-credential").map(drop)
        })
    }

    fn drop_in(&self, name: &str, text: &str) -> Result<()> {
        let path = format!("/etc/systemd/system/assayd.service.d/{name}.conf");
        self.node.write(&path, text)?;
        self.node.run("systemctl daemon-reload").map(drop)
    }

    /// Gives the daemon another configuration.
    fn configure(&self, text: &str) -> Result<()> {
        self.node.write("/etc/assayd/config.toml", text)?;
        self.node.run("systemctl restart assayd.service").map(drop)
    }
}
