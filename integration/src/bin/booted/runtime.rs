//! A real containerd as a node's own service, and the registries whose images it pulls.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use assay_integration::certificates::{Authority, Profile};
use assay_integration::containerd::PullError;
use assay_integration::cosign::{KeyPair, KeyType, Series, Sign as SignWithCosign};
use assay_integration::notation::Sign;
use assay_integration::{Cosign, Cri, Image, Notation, Peers, Registry};
use tokio::task::JoinSet;

use crate::node::Node;

/// How many pull at once.
pub(crate) const PULLERS: usize = 50;

/// The repository in which every other image is not signed.
const LOAD: &str = "prod/load";

/// Who may enter the private registry.
pub(crate) const LOGIN: (&str, &str) = ("node", "correct horse");

/// Registries with signed images, reached from a node by this machine's loopback, which it shares.
pub(crate) struct World {
    peers: Peers,
    /// Whoever asks is answered.
    pub(crate) open: Registry,
    /// A user name and a password are wanted.
    pub(crate) private: Registry,
    authority: Authority,
    release: Profile,
    key: KeyPair,
    cosign: String,
    /// It has the key.
    _cosign: Cosign,
}

impl World {
    pub(crate) async fn make() -> Result<Self> {
        let peers = Peers::fetch()?;
        let (open, private) = (Registry::start().await?, Registry::start().await?);
        let authority = Authority::root(&Profile::named("Corp Root"))?;
        let release = Profile::named("release");
        let notation = Notation::new(&peers)?;
        notation.add_key("release", &authority.issue(&release)?)?;
        let cosign = Cosign::new(&peers, Series::Three)?;
        let key = cosign.generate_key(KeyType::P256).await?;

        let stored = |registry: &Registry, repository: &str, tag: &str| -> Result<String> {
            let image = Image::tiny(&format!("{repository} {tag}"))?;
            image.store(registry.content(), repository, tag);
            Ok(format!("{}@{}", registry.repository(repository), image.digest()))
        };
        // Docker Hub, which the node reaches through a mirror.
        stored(&open, "library/alpine", "3")?;
        stored(&open, "prod/unsigned", "v1")?;
        notation
            .sign(&stored(&open, "prod/app", "v1")?, &Sign::with("release"))
            .await?;
        cosign
            .sign(&stored(&open, "cosign/app", "v1")?, &SignWithCosign::key(&key))
            .await?;
        for nth in 0..PULLERS {
            let reference = stored(&open, LOAD, &format!("v{nth}"))?;
            if is_signed(nth) {
                notation.sign(&reference, &Sign::with("release")).await?;
            }
        }
        for name in ["prod/by-file", "prod/by-provider"] {
            notation
                .sign(&stored(&private, name, "v1")?, &Sign::with("release"))
                .await?;
        }
        private.require(assay_integration::registry::Login::Basic {
            username: LOGIN.0.into(),
            password: LOGIN.1.into(),
        });
        Ok(Self {
            cosign: cosign.version().to_owned(),
            _cosign: cosign,
            peers,
            open,
            private,
            authority,
            release,
            key,
        })
    }

    /// What is real in it.
    pub(crate) fn versions(&self) -> String {
        format!("{}, cosign {}", self.peers, self.cosign)
    }

    /// Files of this machine that a node needs for containerd.
    pub(crate) fn shown(&self) -> Vec<(PathBuf, &'static str)> {
        let root = self.peers.containerd();
        let root = root.ancestors().nth(3).unwrap_or(Path::new("/"));
        [
            "/usr/bin/containerd",
            "/usr/bin/containerd-shim-runc-v2",
            "/usr/bin/ctr",
            "/usr/lib/systemd/system/containerd.service",
        ]
        .map(|path| (root.join(path.trim_start_matches('/')), path))
        .to_vec()
    }

    /// The policy of who follows the manual: in audit mode first, as it says.
    pub(crate) fn policy(&self, unmatched: &str, mode: &str) -> String {
        let (open, private) = (self.open.host(), self.private.host());
        let identity = self.release.trusted_identity();
        format!(
            r#"version   = 1
unmatched = "{unmatched}"

[authority.corp]
type               = "notation"
trust_stores       = ["ca:corp"]
trusted_identities = ["{identity}"]
level              = "strict"

[authority.release-key]
type = "cosign"
keys = ["keys/release.pub"]

[[rule]]
name    = "production"
images  = ["{open}/prod/**", "{private}/prod/**"]
require = {{ all = ["corp"] }}
mode    = "{mode}"

[[rule]]
name    = "by cosign"
images  = ["{open}/cosign/**"]
require = {{ all = ["release-key"] }}
mode    = "{mode}"
"#
        )
    }

    /// Starts containerd on a node, with both registries and a mirror of Docker Hub in its host tree, and puts down what
    /// policies name.
    pub(crate) fn install(&self, node: &Node) -> Result<Cri> {
        node.write(
            "/etc/containerd/config.toml",
            "version = 3\n\n[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n",
        )?;
        for registry in [&self.open, &self.private] {
            node.write(
                &format!("/etc/containerd/certs.d/{}/hosts.toml", registry.host()),
                &format!("server = \"{}\"\n", registry.url()),
            )?;
        }
        let mirror = format!(
            "[host.\"{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            self.open.url()
        );
        node.write("/etc/containerd/certs.d/docker.io/hosts.toml", &mirror)?;
        node.run("systemctl enable --now containerd.service; systemctl is-active containerd.service")?;
        Cri::at(&node.seen_from_outside("/run/containerd/containerd.sock"))
    }

    /// The certificate and the key that the policy names.
    pub(crate) fn trust(&self, node: &Node) -> Result<()> {
        let store = "/etc/assayd/notation/truststore/x509/ca/corp/root.pem";
        node.write(store, &self.authority.certificate_pem())?;
        node.write("/etc/assayd/keys/release.pub", self.key.public_pem())
    }

    /// A tag of the open registry.
    pub(crate) fn image(&self, repository: &str) -> String {
        format!("{}:v1", self.open.repository(repository))
    }

    /// Begins to pull, from fifty at once, over and over: 25 signed images and 25 that are not.
    pub(crate) fn load(&self, cri: &Cri) -> Load {
        let state = Arc::new(State::default());
        let mut pullers = JoinSet::new();
        for nth in 0..PULLERS {
            let (cri, state) = (cri.clone(), state.clone());
            let reference = format!("{}:v{nth}", self.open.repository(LOAD));
            pullers.spawn(async move {
                while !state.ended.load(Ordering::Relaxed) {
                    let pulled = cri.pull(&reference, None).await;
                    let counter = if expected(nth, &reference, pulled)? {
                        // Without its removal the next pull would have nothing to unpack.
                        cri.remove(&reference).await?;
                        &state.admitted
                    } else {
                        &state.denied
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            });
        }
        Load { state, pullers }
    }
}

/// Pulls that go on.
pub(crate) struct Load {
    state: Arc<State>,
    pullers: JoinSet<Result<()>>,
}

#[derive(Default)]
struct State {
    ended: AtomicBool,
    admitted: AtomicUsize,
    denied: AtomicUsize,
}

impl Load {
    /// Waits for as many further pulls as there are pullers. A pull that came to something else is an error.
    pub(crate) async fn go_on(&mut self) -> Result<()> {
        let pulls = || self.state.admitted.load(Ordering::Relaxed) + self.state.denied.load(Ordering::Relaxed);
        let until = pulls() + PULLERS;
        while pulls() < until {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            if let Some(ended) = self.pullers.try_join_next() {
                ended??;
                bail!("a puller ended by itself");
            }
        }
        Ok(())
    }

    /// Ends them, and says how many were admitted and how many denied.
    pub(crate) async fn end(mut self) -> Result<(usize, usize)> {
        self.state.ended.store(true, Ordering::Relaxed);
        while let Some(ended) = self.pullers.join_next().await {
            ended??;
        }
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Ok((count(&self.state.admitted), count(&self.state.denied)))
    }
}

fn is_signed(nth: usize) -> bool {
    nth.is_multiple_of(2)
}

/// Whether it was admitted, where that is as it should be.
fn expected(nth: usize, reference: &str, pulled: Result<(), PullError>) -> Result<bool> {
    match (is_signed(nth), pulled) {
        (true, Ok(())) => Ok(true),
        (true, Err(error)) => Err(error).with_context(|| format!("{reference}, which is signed, was lost")),
        (false, Ok(())) => bail!("{reference}, which is not signed, was pulled"),
        (false, Err(error)) => {
            ensure!(
                error.is_denial() && error.message.contains("DENY unsigned"),
                "{reference}, which is not signed, was lost: {error}"
            );
            Ok(false)
        }
    }
}
