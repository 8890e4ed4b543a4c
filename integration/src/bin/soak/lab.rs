//! The daemon, its policy and its deny-list, whom it trusts, and how all of that changes during the run.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::cosign::KeyPair;
use assay_integration::crl::CrlProfile;
use assay_integration::registry::sha256;
use assay_integration::{Assayd, Crl, OpenSsl, Peers, Reason, Registry, Revoked};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use crate::subjects::{Kind, Subject, Switches};

/// Bytes of stored evidence: for a fifth of the images of the whole run, so that some are always evicted.
const CACHE_SIZE: i64 = 4 * 1024 * 1024;
/// How long an image that was denied may be after the denial has been lifted: assayd answers from memory for 5 s.
const LIFTED: Duration = Duration::from_secs(7);

/// Who signs, under one root but for the stranger.
pub(crate) struct Signers {
    root: Authority,
    pub(crate) release: SigningIdentity,
    pub(crate) colleague: SigningIdentity,
    pub(crate) revoked: SigningIdentity,
    pub(crate) leaked: SigningIdentity,
    pub(crate) stranger: SigningIdentity,
}

impl Signers {
    pub(crate) fn new() -> Result<Self> {
        let root = Authority::root(&Profile::named("Corp Root"))?;
        let issue = |name: &str| root.issue(&Profile::named(name));
        Ok(Self {
            release: issue("release")?,
            colleague: issue("colleague")?,
            revoked: issue("revoked")?,
            leaked: issue("leaked")?,
            stranger: SigningIdentity::self_signed(&Profile::named("release"))?,
            root,
        })
    }
}

/// What the daemon is told.
pub(crate) struct Documents {
    hosts: Vec<String>,
    pinned: BTreeSet<String>,
    listed: BTreeSet<String>,
    leaked: String,
}

impl Documents {
    pub(crate) fn new(registries: &[Registry], subjects: &[Subject], signers: &Signers) -> Result<Self> {
        let of_kind = |kind: Kind| {
            let subjects = subjects.iter().filter(move |subject| subject.kind == kind);
            subjects.map(|subject| subject.question.request().digest)
        };
        let leaked = CertificateDer::from_pem_slice(signers.leaked.certificate_pem.as_bytes())?;
        Ok(Self {
            hosts: registries.iter().map(Registry::host).collect(),
            pinned: of_kind(Kind::Pinned).collect(),
            listed: of_kind(Kind::Listed).collect(),
            leaked: sha256(&leaked),
        })
    }

    /// The policy, in which the rule `switched` denies or asks for a signature.
    fn policy(&self, switched: bool) -> String {
        let identities = ["release", "revoked", "leaked"].map(|name| Profile::named(name).trusted_identity());
        let images = |rule: &str| {
            let images: Vec<_> = self.hosts.iter().map(|host| format!("{host}/{rule}/**")).collect();
            json!(images)
        };
        let rule = |name: &str, rest: &str| {
            let images = images(name);
            format!("[[rule]]\nname = \"{name}\"\nimages = {images}\n{rest}\n\n")
        };
        let corp = "require = { all = [\"corp\"] }";
        let pinned = json!(self.pinned);
        let switched = if switched { "deny = \"switched off\"" } else { corp };
        let rules = [
            rule("withdrawn", "deny = \"withdrawn after incident 4711\""),
            rule("pinned", &format!("admit_digests = {pinned}")),
            rule("audited", &format!("{corp}\nmode = \"audit\"")),
            rule("switched", switched),
            rule("cosign", "require = { all = [\"release-key\"] }"),
            rule("prod", corp),
        ];
        format!(
            "version = 1\nunmatched = \"deny\"\n\n\
             [authority.corp]\ntype = \"notation\"\ntrust_stores = [\"ca:corp\"]\ntrusted_identities = {}\nlevel = \"strict\"\n\n\
             [authority.release-key]\ntype = \"cosign\"\nkeys = [\"keys/release.pub\"]\n\n{}",
            json!(identities),
            rules.concat()
        )
    }

    /// The deny-list: images for good, and the certificate `leaked` or not.
    fn deny_list(&self, leaked: bool) -> String {
        let now = jiff::Timestamp::now().to_string();
        let entry = |kind: &str, digest: &str| {
            json!({
                kind: digest, "reason": "taken out of use", "reference": "INC-4711", "at": now,
            })
        };
        let mut entries: Vec<_> = self.listed.iter().map(|digest| entry("image", digest)).collect();
        if leaked {
            entries.push(entry("certificate", &self.leaked));
        }
        json!({ "version": 1, "issued": now, "entries": entries }).to_string()
    }

    /// A daemon that knows these registries and trusts these signers.
    pub(crate) async fn daemon(&self, peers: &Peers, signers: &Signers, key: &KeyPair) -> Result<Assayd> {
        let revoked = Revoked::new(&signers.revoked.serial, Reason::KeyCompromise);
        let list = Crl::sign(&OpenSsl::find(peers)?, &signers.root, &CrlProfile::revoking([revoked])).await?;
        let builder = Assayd::builder()
            .policy(&self.policy(false))
            .setting("cache_size", CACHE_SIZE)
            .environment_of_the_unit()?
            .file(
                "notation/truststore/x509/ca/corp/root.pem",
                signers.root.certificate_pem(),
            )
            .file("revocation/corp.crl", list.der)
            .file("revocation/deny.json", self.deny_list(false))
            .file("keys/release.pub", key.public_pem());
        let hosts = self.hosts.iter();
        hosts
            .fold(builder, |builder, host| builder.plain_http(host))
            .start()
            .await
    }

    /// Turns the rule `switched`, and reloads.
    pub(crate) async fn switch(&self, on: bool, assayd: &Assayd, switches: &Switches) -> Result<()> {
        switches.switched.begin(on);
        assayd.write_policy(&self.policy(on))?;
        reload(assayd).await?;
        switches.switched.settle(LIFTED);
        Ok(())
    }

    /// Names the certificate `leaked` in the deny-list or takes it out, and reloads.
    pub(crate) async fn leak(&self, on: bool, assayd: &Assayd, switches: &Switches) -> Result<()> {
        let folder = assayd.config_directory().join("revocation");
        switches.leaked.begin(on);
        fs::write(folder.join("deny.next"), self.deny_list(on))?;
        fs::rename(folder.join("deny.next"), folder.join("deny.json")).context("cannot replace the deny-list")?;
        reload(assayd).await?;
        // What is denied is denied at once, whatever was admitted before.
        switches.leaked.settle(if on { Duration::ZERO } else { LIFTED });
        Ok(())
    }
}

async fn reload(assayd: &Assayd) -> Result<()> {
    let reload = assayd.assayctl(&["reload"]).await?;
    ensure!(reload.success, "the reload failed: {}{}", reload.stdout, reload.stderr);
    Ok(())
}
