//! The demonstration: real images, real signatures and a real containerd that asks assayd before it unpacks.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::cosign::{KeyPair, KeyType, Series, Sign as SignWithCosign};
use assay_integration::notation::{Format, Sign};
use assay_integration::{Assayd, Containerd, Cosign, Image, Notation, Peers, Registry, build_programs};

/// What is pulled: the repository, what was done to it, and the code it must be denied with.
struct Case {
    repository: &'static str,
    story: &'static str,
    denied_with: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case {
        repository: "prod/jws",
        story: "signed by the release key (JWS)",
        denied_with: None,
    },
    Case {
        repository: "prod/cose",
        story: "signed by the release key (COSE)",
        denied_with: None,
    },
    Case {
        repository: "prod/unsigned",
        story: "never signed",
        denied_with: Some("unsigned"),
    },
    Case {
        repository: "prod/stranger",
        story: "signed by a key that nobody trusts",
        denied_with: Some("untrusted-signer"),
    },
    Case {
        repository: "prod/colleague",
        story: "signed by a colleague, not by the release key",
        denied_with: Some("identity-mismatch"),
    },
    Case {
        repository: "prod/expired",
        story: "signed, and the signature has expired",
        denied_with: Some("signature-expired"),
    },
    Case {
        repository: "prod/tampered",
        story: "one byte of the signature was changed",
        denied_with: Some("signature-invalid"),
    },
    Case {
        repository: "prod/replayed",
        story: "carries the signature of another image",
        denied_with: Some("subject-mismatch"),
    },
    Case {
        repository: "cosign/bundle",
        story: "signed by cosign's release key (a v3 bundle)",
        denied_with: None,
    },
    Case {
        repository: "cosign/attested",
        story: "not signed: the release key only attested its provenance",
        denied_with: Some("unsigned"),
    },
    Case {
        repository: "cosign/stranger",
        story: "signed by another key",
        denied_with: Some("untrusted-signer"),
    },
    Case {
        repository: "withdrawn/app",
        story: "well signed, and denied by a rule",
        denied_with: Some("denied-by-rule"),
    },
    Case {
        repository: "elsewhere/app",
        story: "no rule speaks of it",
        denied_with: Some("no-matching-rule"),
    },
];

#[tokio::main]
async fn main() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "containerd mounts file systems: run the demo as root"
    );
    say("Building assayd, its hook and assayctl (a few minutes the first time)");
    build_programs()?;
    say("Fetching containerd, notation and their companions from Debian's packages into .lab/ (once)");
    let peers = Peers::fetch()?;
    for (name, version) in peers.versions() {
        println!("  {name} {version}");
    }

    say("Starting a registry, making keys, pushing and signing images with the real notation and cosign");
    let registry = Registry::start().await?;
    let notation = Notation::new(&peers)?;
    let signers = Signers::new(&notation)?;
    let cosign = CosignKeys::new(&peers).await?;
    for case in CASES {
        match case.repository.strip_prefix("cosign/") {
            Some(name) => cosign.prepare(name, case, &peers, &registry).await?,
            None => prepare(case, &peers, &registry, &notation).await?,
        }
        println!("  {:<16} {}", case.repository, case.story);
    }
    // The expired signature was good for one second.
    tokio::time::sleep(Duration::from_secs(2)).await;

    say("The policy, /etc/assayd/policy.toml on a node");
    let policy = policy(&registry.host(), &signers.release.trusted_identity());
    println!("{}", indented(&policy));
    let mut assayd = Assayd::builder()
        .policy(&policy)
        .file(
            "notation/truststore/x509/ca/corp/root.pem",
            signers.authority.certificate_pem(),
        )
        .file("keys/release.pub", cosign.release.public_pem())
        .plain_http(&registry.host())
        .start()
        .await?;
    let containerd = Containerd::builder(&peers)
        .hook(&assayd)?
        .plain_http(&registry.host())
        .start()
        .await?;
    println!(
        "\n  assayd answers; containerd has the hook in {}",
        containerd.verifier_directory().display()
    );

    for case in CASES {
        pull(case, &registry, &containerd).await?;
    }

    say("The same in assayd's log (in the journal on a node: journalctl -t assayd)");
    for line in assayd.log().lines() {
        println!("  {line}");
    }

    say("assayctl explain: what was found, step by step, and what would make it pass");
    for repository in ["prod/cose", "prod/colleague"] {
        let explained = assayd
            .assayctl(&["explain", &format!("{}:v1", registry.repository(repository))])
            .await;
        let explained = explained?;
        println!("{}\n", indented(&format!("{}{}", explained.stdout, explained.stderr)));
    }
    say("assayctl tree: everything that hangs on an image, and who signed it");
    let tree = format!("{}:v1", registry.repository("cosign/attested"));
    println!("{}", indented(&assayd.assayctl(&["tree", &tree]).await?.stdout));
    say("assayctl status");
    println!("{}", indented(&assayd.assayctl(&["status"]).await?.stdout));

    say("assayd is killed: nothing is admitted because nobody answers");
    assayd.kill();
    containerd
        .remove(&format!("{}:v1", registry.repository("prod/jws")))
        .await?;
    let daemonless = Case {
        repository: "prod/jws",
        story: "well signed, but assayd is away",
        denied_with: Some("daemon-unavailable"),
    };
    pull(&daemonless, &registry, &containerd).await?;

    say("Cleaning up: everything was private to this demonstration");
    containerd.stop().await?;
    println!("  done; .lab/ keeps the fetched packages for the next time");
    Ok(())
}

struct Signers {
    authority: Authority,
    release: Profile,
}

impl Signers {
    fn new(notation: &Notation) -> Result<Self> {
        let authority = Authority::root(&Profile::named("Corp Root"))?;
        let release = Profile::named("release");
        notation.add_key("release", &authority.issue(&release)?)?;
        notation.add_key("colleague", &authority.issue(&Profile::named("colleague"))?)?;
        notation.add_key("stranger", &SigningIdentity::self_signed(&Profile::named("release"))?)?;
        Ok(Self { authority, release })
    }
}

/// cosign and its keys.
struct CosignKeys {
    cosign: Cosign,
    release: KeyPair,
    stranger: KeyPair,
}

impl CosignKeys {
    async fn new(peers: &Peers) -> Result<Self> {
        let cosign = Cosign::new(peers, Series::Three)?;
        println!("  cosign {}", cosign.version());
        let release = cosign.generate_key(KeyType::P256).await?;
        let stranger = cosign.generate_key(KeyType::P256).await?;
        Ok(Self {
            cosign,
            release,
            stranger,
        })
    }

    async fn prepare(&self, name: &str, case: &Case, peers: &Peers, registry: &Registry) -> Result<()> {
        let image = Image::busybox(peers, case.repository)?;
        image.store(registry.content(), case.repository, "v1");
        let reference = format!("{}@{}", registry.repository(case.repository), image.digest());
        let how = match name {
            "attested" => {
                let builder = serde_json::json!({ "runDetails": { "builder": { "id": "https://builder.example" } } });
                SignWithCosign::key(&self.release).attesting("slsaprovenance1", builder)
            }
            "stranger" => SignWithCosign::key(&self.stranger),
            _ => SignWithCosign::key(&self.release),
        };
        self.cosign.sign(&reference, &how).await
    }
}

/// Pushes the image of a case, and does to it what its story says.
async fn prepare(case: &Case, peers: &Peers, registry: &Registry, notation: &Notation) -> Result<()> {
    let image = Image::busybox(peers, case.repository)?;
    let repository = case.repository;
    let content = registry.content();
    image.store(content, repository, "v1");
    let reference = format!("{}@{}", registry.repository(repository), image.digest());
    let jws = Sign::with("release");
    match repository {
        "prod/unsigned" => {}
        "prod/cose" => notation.sign(&reference, &jws.format(Format::Cose)).await?,
        "prod/stranger" => notation.sign(&reference, &Sign::with("stranger")).await?,
        "prod/colleague" => notation.sign(&reference, &Sign::with("colleague")).await?,
        "prod/expired" => notation.sign(&reference, &jws.expiry(Duration::from_secs(1))).await?,
        "prod/tampered" | "prod/replayed" => {
            // The signature of another image is taken apart and put together again as an attacker would.
            let other = Image::busybox(peers, "an image that is well signed")?;
            let signed = if repository == "prod/tampered" { &image } else { &other };
            let elsewhere = format!("{repository}-signed");
            signed.store(content, &elsewhere, "v1");
            notation
                .sign(
                    &format!("{}@{}", registry.repository(&elsewhere), signed.digest()),
                    &jws,
                )
                .await?;
            let mut envelope = envelope(registry, &elsewhere, signed)?;
            if repository == "prod/tampered" {
                let start = find(&envelope, b"\"signature\":\"").context("an envelope has a signature")? + 20;
                let byte = envelope.get_mut(start).context("a signature is long")?;
                *byte = if *byte == b'A' { b'B' } else { b'A' };
            }
            content.attach_signature(repository, &image.descriptor(), "application/jose+json", &envelope);
        }
        _ => notation.sign(&reference, &jws).await?,
    }
    Ok(())
}

fn envelope(registry: &Registry, repository: &str, image: &Image) -> Result<Vec<u8>> {
    let content = registry.content();
    let referrers = content.referrers(repository, image.digest());
    let digest = referrers
        .first()
        .and_then(|referrer| referrer["digest"].as_str())
        .context("the signature was pushed")?;
    let manifest = content
        .manifest_bytes(repository, digest)
        .context("its manifest is there")?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
    let layer = manifest["layers"][0]["digest"].as_str().context("it has a layer")?;
    Ok(content
        .blob(repository, layer)
        .context("its envelope is there")?
        .to_vec())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Pulls the image of a case through CRI, and shows what a person would see.
async fn pull(case: &Case, registry: &Registry, containerd: &Containerd) -> Result<()> {
    say(&format!("kubelet pulls {}: {}", case.repository, case.story));
    let (mark, layers_before) = (registry.log().mark(), registry.log().layer_requests().len());
    let pulled = containerd
        .pull_cri(&format!("{}:v1", registry.repository(case.repository)))
        .await;
    let requests = registry.log().requests_since(mark).len();
    let layers = registry.log().layer_requests().len() - layers_before;
    match (&pulled, case.denied_with) {
        (Ok(()), None) => println!("  pulled; {requests} registry requests, {layers} of them for layers"),
        (Err(error), Some(code)) => {
            println!("  event: {error}\n  {layers} requests for layers");
            ensure!(
                error.to_string().contains(&format!("DENY {code}")),
                "expected the code {code}"
            );
            ensure!(layers == 0, "a layer was fetched before the verdict");
        }
        (Ok(()), Some(code)) => anyhow::bail!("{} was admitted; expected a denial with {code}", case.repository),
        (Err(error), None) => anyhow::bail!("{} was not admitted: {error}", case.repository),
    }
    Ok(())
}

fn policy(host: &str, release: &str) -> String {
    format!(
        r#"version   = 1
unmatched = "deny"

[authority.corp]
type               = "notation"
trust_stores       = ["ca:corp"]
trusted_identities = ["{release}"]
level              = "strict"

[authority.release-key]
type = "cosign"
keys = ["keys/release.pub"]

[[rule]]
name   = "withdrawn"
images = ["{host}/withdrawn/**"]
deny   = "withdrawn after incident 4711"

[[rule]]
name    = "production"
images  = ["{host}/prod/**"]
require = {{ all = ["corp"] }}

[[rule]]
name    = "by cosign"
images  = ["{host}/cosign/**"]
require = {{ all = ["release-key"] }}
"#
    )
}

fn say(what: &str) {
    println!("\n==> {what}");
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
