//! Verdicts about images whose signers may be revoked. The registry and the endpoints are equally far away, for assayd and
//! for notation.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_integration::certificates::{Authority, Profile, Serial};
use assay_integration::crl::CrlProfile;
use assay_integration::measure::{Goal, Samples, Table, ratio, shown};
use assay_integration::notation::{Sign, Statement, VerifyTimestamp};
use assay_integration::ocsp::Responder;
use assay_integration::timestamp::Stamping;
use assay_integration::{
    Assayd, Crl, Image, Notation, OcspResponder, OpenSsl, Peers, Reason, Registry, Revoked, TimestampAuthority,
    WebServer,
};

use crate::lab::{Lab, REPOSITORY, policy};
use crate::programs::Programs;
use crate::{ROUND_TRIP, RUNS_FAR_AWAY, say};

/// The paths of CRLs, by whose certificates they are about.
const OF_INTERMEDIATES: &str = "/root.crl";
const OF_LEAVES: &str = "/intermediate.crl";
const OF_TIMESTAMP_AUTHORITIES: &str = "/timestamps.crl";

/// A signer whose chain of three names a responder and a CRL for the leaf, and a CRL for the intermediate.
pub(crate) async fn with_revocation(peers: &Peers, programs: &Programs, table: &mut Table) -> Result<()> {
    for timestamped in [false, true] {
        let what = if timestamped { ", with timestamps" } else { "" };
        say(&format!(
            "Asking with revocation on{what}: registry and endpoints {} away",
            shown(ROUND_TRIP)
        ));
        let mut world = World::new(peers, timestamped).await?;
        world.move_away();
        // The signer's responder, the CRL of the intermediate, and that of the timestamp authority.
        let (title, endpoints) = match timestamped {
            false => ("revocation", 2),
            true => ("timestamp, revocation", 3),
        };
        compare(&mut world, programs, title, endpoints, table).await?;
    }
    Ok(())
}

/// Everything that is asked.
struct World {
    lab: Lab,
    /// Further images by the same signer.
    others: Vec<Image>,
    responder: OcspResponder,
    lists: WebServer,
}

impl World {
    async fn new(peers: &Peers, timestamped: bool) -> Result<Self> {
        let openssl = OpenSsl::find(peers)?;
        let lists = WebServer::start().await?;
        let root = Authority::root(&Profile::named("Corp Root"))?;
        let intermediate = root.intermediate(&Profile::named("Corp Signing").crl(lists.url(OF_INTERMEDIATES)))?;
        let mut responder = OcspResponder::start(&openssl, &intermediate, &Responder::default()).await?;
        let release = Profile::named("release")
            .ocsp(responder.url())
            .crl(lists.url(OF_LEAVES));
        let signer = intermediate.issue(&release)?;
        responder.good([&signer.serial]).await?;
        // The timestamp authority's certificate names a CRL.
        let timestamps = Authority::root(&Profile::named("Timestamp Root"))?;
        let stamper = timestamps.issue(&Profile::timestamping("stamper").crl(lists.url(OF_TIMESTAMP_AUTHORITIES)))?;
        for (path, authority) in [
            (OF_INTERMEDIATES, &root),
            (OF_LEAVES, &intermediate),
            (OF_TIMESTAMP_AUTHORITIES, &timestamps),
        ] {
            lists.serve_crl(path, &list(&openssl, authority).await?.der);
        }

        let registry = Registry::start().await?;
        let notation = Notation::new(peers)?;
        notation.add_key("release", &signer)?;
        notation.trust("ca", "corp", &root.certificate_pem())?;
        notation.trust("tsa", "public", &timestamps.certificate_pem())?;
        let stores: &[&str] = match timestamped {
            false => &["ca:corp"],
            true => &["ca:corp", "tsa:public"],
        };
        let statement = Statement::strict(stores, &[&release.trusted_identity()]);
        notation.write_policy(&statement.verify_timestamp(VerifyTimestamp::Always).policy())?;

        let named = [responder.web().host(), lists.host()];
        let endpoints = toml::Table::from_iter([("hosts".to_owned(), toml::Value::from(named.to_vec()))]);
        let assayd = Assayd::builder()
            .policy(&policy(&registry, &release, stores))
            .file("notation/truststore/x509/ca/corp/root.pem", root.certificate_pem())
            .file(
                "notation/truststore/x509/tsa/public/root.pem",
                timestamps.certificate_pem(),
            )
            .setting("revocation", endpoints)
            .plain_http(&registry.host())
            .start()
            .await?;

        let office = TimestampAuthority::start(&openssl, &Stamping::with(&stamper)).await?;
        let how = match timestamped {
            false => Sign::with("release"),
            true => Sign::with("release").timestamped(&office),
        };
        let lab = Lab {
            image: signed("compared", &registry, &notation, &how).await?,
            registry,
            notation,
            assayd,
        };
        let mut others = vec![];
        for number in 0..RUNS_FAR_AWAY {
            let marker = format!("another {number}");
            others.push(signed(&marker, &lab.registry, &lab.notation, &how).await?);
        }
        Ok(Self {
            lab,
            others,
            responder,
            lists,
        })
    }

    /// From now on every request takes a round trip.
    fn move_away(&mut self) {
        self.lab.registry.add_latency(ROUND_TRIP);
        self.responder.web().add_latency(ROUND_TRIP);
        self.lists.add_latency(ROUND_TRIP);
    }

    /// Runs `run` and counts what was asked meanwhile.
    fn measure(&mut self, run: impl FnOnce(&Lab) -> Result<Duration>) -> Result<(Duration, Asked)> {
        let before = self.asked();
        let took = tokio::task::block_in_place(|| run(&self.lab))?;
        let after = self.asked();
        let asked = Asked {
            registry: after.registry - before.registry,
            endpoints: after.endpoints - before.endpoints,
        };
        Ok((took, asked))
    }

    /// All requests so far.
    fn asked(&mut self) -> Asked {
        Asked {
            registry: self.lab.registry.log().requests().len(),
            endpoints: self.responder.web().log().requests().len() + self.lists.log().requests().len(),
        }
    }

    /// The image through the hook.
    fn hook(&mut self, programs: &Programs) -> Result<(Duration, Asked)> {
        self.measure(|lab| lab.exec(&programs.hook, &lab.image))
    }

    /// `notation verify`, which keeps CRLs and nothing else.
    fn notation(&mut self) -> Result<(Duration, Asked)> {
        self.measure(|lab| lab.exec_notation(&lab.image))
    }

    /// What notation kept goes.
    fn forget_lists(&self) -> Result<()> {
        match fs::remove_dir_all(self.lab.notation.cache()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("notation's cache stays"),
            _ => Ok(()),
        }
    }

    /// Ends the daemon well and starts it with what it has on disk.
    async fn restart(&mut self) -> Result<()> {
        self.lab.assayd.stop().await?;
        self.lab.assayd.start().await
    }
}

/// An image in the registry with a signature.
async fn signed(marker: &str, registry: &Registry, notation: &Notation, how: &Sign) -> Result<Image> {
    let image = Image::tiny(marker)?;
    image.store(registry.content(), REPOSITORY, marker.replace(' ', "-").as_str());
    let reference = format!("{}@{}", registry.repository(REPOSITORY), image.digest());
    notation.sign(&reference, how).await?;
    Ok(image)
}

/// A list with a few others of the authority's.
async fn list(openssl: &OpenSsl, authority: &Authority) -> Result<Crl> {
    let serials: Vec<_> = (0..3).map(|_| Serial::random()).collect::<Result<_>>()?;
    let revoked = serials.iter().map(|serial| Revoked::new(serial, Reason::Superseded));
    Crl::sign(openssl, authority, &CrlProfile::revoking(revoked)).await
}

/// Numbers of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    registry: usize,
    endpoints: usize,
}

impl Asked {
    fn total(self) -> usize {
        self.registry + self.endpoints
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} + {}", self.registry, self.endpoints)
    }
}

/// Runs of the same thing, each with what it asked.
#[derive(Default)]
struct Runs(Vec<(Duration, Asked)>);

impl Runs {
    fn median(&self) -> Duration {
        self.0.iter().map(|(took, _)| *took).collect::<Samples>().median()
    }

    /// What each of them asked.
    fn asked(&self) -> Result<Asked> {
        let (_, first) = self.0.first().context("nothing was measured")?;
        let same = self.0.iter().all(|(_, asked)| asked == first);
        let all: Vec<_> = self.0.iter().map(|(_, asked)| asked.to_string()).collect();
        ensure!(same, "the same was asked differently: {}", all.join(", "));
        Ok(*first)
    }
}

/// The verdicts in the order in which a node comes to them, and notation's beside each. A verdict that nothing is known
/// for takes an answer from so many endpoints.
async fn compare(
    world: &mut World,
    programs: &Programs,
    title: &str,
    endpoints: usize,
    table: &mut Table,
) -> Result<()> {
    // Both have started once, and assayd knows what kind of registry it is.
    world.hook(programs)?;
    world.notation()?;

    let [mut first, mut cached, mut second, mut restarted, mut empty, mut warm]: [Runs; 6] = Default::default();
    for number in 0..RUNS_FAR_AWAY {
        world.lab.clear_cache().await?;
        first.0.push(world.hook(programs)?);
        world.forget_lists()?;
        empty.0.push(world.notation()?);
        warm.0.push(world.notation()?);
        cached.0.push(world.hook(programs)?);
        let other = world
            .others
            .get(number)
            .context("there is an image for each run")?
            .clone();
        second.0.push(world.measure(|lab| lab.exec(&programs.hook, &other))?);
    }
    // Apart from the others: a daemon that has just started does not know what kind of registry it is.
    for _ in 0..RUNS_FAR_AWAY {
        world.restart().await?;
        restarted.0.push(world.hook(programs)?);
    }

    // Each request of a cold verdict depends on the one before; the endpoints are asked at once.
    let round_trips = |count: f64| Some(ROUND_TRIP.mul_f64(1.1 * count));
    for (name, ours, most, requests, theirs, which) in [
        (
            "first pull",
            &first,
            round_trips(4.0),
            3 + endpoints,
            &empty,
            "no CRL kept",
        ),
        (
            "another image of the signer",
            &second,
            round_trips(3.0),
            3,
            &warm,
            "CRLs kept",
        ),
        (
            "cached verdict",
            &cached,
            Some(Duration::from_micros(800)),
            0,
            &warm,
            "CRLs kept",
        ),
        ("first verdict after a restart", &restarted, None, 0, &warm, "CRLs kept"),
    ] {
        let (took, others) = (ours.median(), theirs.median());
        table.add(
            &format!("{title}: {name}"),
            shown(took),
            most.map(|most| Goal::within(took, most)),
            format!(
                "notation verify, {which}, {}: {:.1} x",
                shown(others),
                ratio(others, took)
            ),
        );
        let asked = ours.asked()?;
        table.add(
            "  requests to the registry + to endpoints",
            asked.to_string(),
            Some(Goal::at_most(asked.total() as f64, requests as f64, "")),
            format!("notation verify {}", theirs.asked()?),
        );
    }
    Ok(())
}
