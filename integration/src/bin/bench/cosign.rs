//! Verdicts about images that cosign signed, beside `cosign verify` of the series that signed them.

use std::cell::RefCell;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use assay_integration::cosign::{Identity, KeyType, Log, Series, Sign, Verify};
use assay_integration::measure::{Goal, Samples, Table, ratio, shown};
use assay_integration::{Assayd, Cosign, Image, Peers, Registry, SigstoreServices};

use crate::cold::Cold;
use crate::lab::{clear_cache, exec};
use crate::programs::Programs;
use crate::{ROUND_TRIP, RUNS_FAR_AWAY, runs, say};

/// Cached verdicts through the hook.
const EXECS: usize = runs(1_000);
/// The listing of referrers, its tag or a referrer, the tag of signatures and what is signed. The first ones go out at once.
const REQUESTS: f64 = 4.0;
/// Runs of everything that asks a registry nearby.
const COLD_RUNS: usize = runs(50);

/// A key's signature under a tag, a keyless one under a tag, a keyless bundle: cached, cold, and cold from far away.
pub(crate) async fn beside_cosign(peers: &Peers, programs: &Programs, table: &mut Table) -> Result<()> {
    say("Signing with both cosigns");
    let services = SigstoreServices::start(peers).await?;
    let (two, three) = (Cosign::new(peers, Series::Two)?, Cosign::new(peers, Series::Three)?);
    let key = two.generate_key(KeyType::P256).await?;
    let keyless = Sign::keyless(&Identity::ci(), &services);
    let bundle = keyless.clone().logged(Log::RekorV2, &services).timestamped(&services);
    let registry = Registry::start().await?;
    let assayd = Assayd::builder()
        .policy(&policy(&registry, &Identity::ci()))
        .plain_http(&registry.host())
        .file("keys/release.pub", key.public_pem())
        .file("sigstore/services.json", services.trusted_root().to_string())
        .start()
        .await?;
    for (name, title, cosign, how) in [
        ("key", "key, under a tag", &two, &Sign::key(&key)),
        ("tag", "keyless, under a tag", &two, &keyless),
        ("bundle", "keyless, bundle with Rekor v2 and timestamp", &three, &bundle),
    ] {
        let image = Image::tiny(name)?;
        let repository = format!("{name}/app");
        image.store(registry.content(), &repository, "v1");
        let reference = format!("{}@{}", registry.repository(&repository), image.digest());
        cosign.sign(&reference, how).await?;
        let verification = cosign.verification(&reference, &Verify::of(how)).await?;
        let subject = Subject {
            title,
            registry: &registry,
            assayd: &assayd,
            programs,
            name: format!("{}:v1", registry.repository(&repository)),
            image,
            cosign: format!("cosign {}", cosign.version()),
            verification: RefCell::new(verification),
        };
        subject.compare(table).await?;
    }
    Ok(())
}

/// An image, and how both are asked about it.
struct Subject<'a> {
    title: &'static str,
    registry: &'a Registry,
    assayd: &'a Assayd,
    programs: &'a Programs,
    name: String,
    image: Image,
    cosign: String,
    verification: RefCell<Command>,
}

impl Subject<'_> {
    async fn compare(&self, table: &mut Table) -> Result<()> {
        say(&format!("Asking, cached and with everything forgotten: {}", self.title));
        self.hook()?;
        let mark = self.registry.log().mark();
        let cached = self.times(EXECS)?;
        let asked = self.registry.log().requests_since(mark).len();
        ensure!(asked == 0, "{asked} registry requests for what is cached");
        let (took, others) = (cached.median(), self.peer(RUNS_FAR_AWAY)?.median());
        table.add(
            &format!("{}: cached verdict", self.title),
            shown(took),
            Some(Goal::within(took, Duration::from_micros(800))),
            format!("{} {}: {:.0} x", self.cosign, shown(others), ratio(others, took)),
        );

        for (place, round_trip, runs) in [
            ("on loopback", Duration::ZERO, COLD_RUNS),
            ("50 ms away", ROUND_TRIP, RUNS_FAR_AWAY),
        ] {
            if !round_trip.is_zero() {
                self.registry.add_latency(round_trip);
            }
            let forget = async || clear_cache(self.assayd).await;
            let ours = Cold::measure(self.registry, runs, forget, || self.hook()).await?;
            let nothing = async || Ok(());
            let cosign = Cold::measure(self.registry, runs, nothing, || self.exec_cosign()).await?;
            let (took, others) = (ours.times.median(), cosign.times.median());
            let goal = (!round_trip.is_zero()).then(|| Goal::within(took, round_trip.mul_f64(3.3)));
            table.add(
                &format!("{}: cold verdict, registry {place}", self.title),
                shown(took),
                goal,
                format!("{} {}: {:.1} x", self.cosign, shown(others), ratio(others, took)),
            );
            table.add(
                "  registry requests",
                ours.requests.to_string(),
                Some(Goal::at_most(ours.requests as f64, REQUESTS, "")),
                format!("{} {}", self.cosign, cosign.requests),
            );
        }
        self.registry.behave();
        Ok(())
    }

    fn times(&self, count: usize) -> Result<Samples> {
        let mut times = vec![];
        tokio::task::block_in_place(|| -> Result<()> {
            for _ in 0..count {
                times.push(self.hook()?);
            }
            Ok(())
        })?;
        Ok(times.into_iter().collect())
    }

    fn peer(&self, count: usize) -> Result<Samples> {
        tokio::task::block_in_place(|| (0..count).map(|_| self.exec_cosign()).collect())
    }

    fn hook(&self) -> Result<Duration> {
        exec(&self.programs.hook, self.assayd, &self.name, &self.image)
    }

    fn exec_cosign(&self) -> Result<Duration> {
        let mut command = self.verification.borrow_mut();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status()?;
        let took = started.elapsed();
        ensure!(status.success(), "{} ended with {status}", self.cosign);
        Ok(took)
    }
}

fn policy(registry: &Registry, ci: &Identity) -> String {
    let host = registry.host();
    let Identity { issuer, subject, .. } = ci;
    let keyless = format!(
        "type = \"cosign\"\ntrusted_root = \"sigstore/services.json\"\ntransparency_log = 1\n\
         identities = [{{ issuer = \"{issuer}\", subject = \"{subject}\" }}]\n"
    );
    let rule = |name: &str| {
        format!("[[rule]]\nname = \"{name}\"\nimages = [\"{host}/{name}/*\"]\nrequire = {{ all = [\"{name}\"] }}\n\n")
    };
    format!(
        "version = 1\nunmatched = \"deny\"\n\n\
         [authority.key]\ntype = \"cosign\"\nkeys = [\"keys/release.pub\"]\n\n\
         [authority.tag]\n{keyless}timestamps = 0\n\n\
         [authority.bundle]\n{keyless}timestamps = 1\n\n{}",
        ["key", "tag", "bundle"].map(rule).concat()
    )
}
