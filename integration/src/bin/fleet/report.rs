//! The figures as a table and in JSON, and what they come to for a fleet that no machine here can carry.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::machine;
use crate::model::{Model, Spread};
use crate::node::World;
use crate::phases::{Measured, Window};
use crate::wire::Cost;
use crate::{Arguments, intervals};

/// IPv4 and TCP with its timestamps: the heads of a packet (RFC 791 §3.1, RFC 9293 §3.1, RFC 7323 §3.2).
const PACKET_HEAD: f64 = 20.0 + 20.0 + 12.0;
/// Packets of a request on a connection that is open: it, its answer and the acknowledgement of that. Acknowledgements of
/// requests travel with the answers.
const PACKETS_OF_REQUEST: f64 = 3.0;
/// And of a connection, opened (3) and closed (4).
const PACKETS_OF_CONNECTION: f64 = 7.0;
/// Of a TLS 1.3 handshake beside that: both flights and the tickets, with an acknowledgement each.
const PACKETS_OF_HANDSHAKE: f64 = 6.0;

const SECONDS_OF_DAY: f64 = 86_400.0;

/// The fleets that the figures are carried to: nodes and interval.
const FLEETS: [(usize, u64); 3] = [(100_000, 60), (100_000, 10), (1_000_000, 60)];

/// Everything that a run found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    nodes: usize,
    interval_seconds: u64,
    seed: u64,
    certificate_bytes: usize,
    /// What a poll costs over each.
    http: Vec<Cost>,
    https: Vec<Cost>,
    measured: Measured,
    /// The schedule in virtual time: the fleet that was measured, and the one that it is carried to.
    model: Model,
    carried: Vec<Carried>,
    model_carried: Model,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cores: f64,
    kernel: String,
    assayd: &'static str,
    nginx: String,
    /// Of 1, 5 and 15 minutes, when the run was over.
    load: String,
}

/// What unchanged polls of a fleet come to.
#[derive(Debug, Serialize)]
struct Carried {
    nodes: usize,
    interval_seconds: u64,
    polls_per_second: f64,
    requests_per_second: f64,
    kept: Traffic,
    new_tcp: Traffic,
    /// With a handshake that takes up the session before.
    resumed_tls: Traffic,
    /// With one in full, and an answer with the timestamp in place of 304.
    full_tls: Traffic,
    /// One revocation to every node, over connections that are kept.
    revocation_gigabytes: f64,
    revocation_megabits_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Traffic {
    bytes_per_poll: f64,
    megabits_per_second: f64,
    megabytes_per_node_and_day: f64,
    server_cores: f64,
}

/// Something that has to be so, however fast the machine is.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    holds: bool,
    found: String,
}

impl Report {
    pub(crate) fn new(
        arguments: &Arguments,
        world: &World,
        http: Vec<Cost>,
        https: Vec<Cost>,
        measured: Measured,
        certificate: &str,
    ) -> Result<Self> {
        let outage = Duration::from_secs(arguments.outage);
        let nodes = usize::from(arguments.nodes);
        let model = Model::run(nodes, world.intervals, outage, &mut world.random(usize::MAX));
        let (fleet, interval) = FLEETS[0];
        let model_carried = Model::run(fleet, intervals(interval), outage, &mut world.random(usize::MAX - 1));
        let carried = FLEETS
            .iter()
            .map(|&(nodes, interval)| carry(nodes, interval, &http, &https))
            .collect::<Result<_>>()?;
        let checks = checks(nodes, &http, &https, &measured)?;
        Ok(Self {
            machine: Machine {
                cores: machine::cores(),
                kernel: machine::kernel()?,
                assayd: env!("CARGO_PKG_VERSION"),
                nginx: measured.nginx.clone(),
                load: machine::load()?,
            },
            nodes,
            interval_seconds: arguments.interval,
            seed: arguments.seed,
            certificate_bytes: certificate.len(),
            http,
            https,
            measured,
            model,
            carried,
            model_carried,
            checks,
        })
    }

    /// Whether everything is as it has to be.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

fn cost<'a>(costs: &'a [Cost], what: &str) -> Result<&'a Cost> {
    let found = costs.iter().find(|cost| cost.what == what);
    found.with_context(|| format!("{what} was not measured"))
}

/// What a poll takes on the wire, with the heads of its packets.
fn on_the_wire(cost: &Cost, tls: bool) -> f64 {
    let handshake = if tls { PACKETS_OF_HANDSHAKE } else { 0.0 };
    let packets = cost.requests * PACKETS_OF_REQUEST + cost.connections * (PACKETS_OF_CONNECTION + handshake);
    cost.up + cost.down + packets * PACKET_HEAD
}

fn carry(nodes: usize, interval_seconds: u64, http: &[Cost], https: &[Cost]) -> Result<Carried> {
    let interval = interval_seconds as f64;
    let polls_per_second = nodes as f64 / interval;
    let traffic = |cost: &Cost, tls: bool| {
        let bytes = on_the_wire(cost, tls);
        Traffic {
            bytes_per_poll: bytes,
            megabits_per_second: bytes * 8.0 * polls_per_second / 1e6,
            megabytes_per_node_and_day: bytes * SECONDS_OF_DAY / interval / 1e6,
            server_cores: cost.server_microseconds * polls_per_second / 1e6,
        }
    };
    let kept = cost(https, "unchanged, connection kept")?;
    let revocation = on_the_wire(cost(https, "revocation")?, true);
    Ok(Carried {
        nodes,
        interval_seconds,
        polls_per_second,
        requests_per_second: polls_per_second * kept.requests,
        kept: traffic(kept, true),
        new_tcp: traffic(cost(http, "unchanged, new connection")?, false),
        resumed_tls: traffic(cost(https, "unchanged, new connection")?, true),
        full_tls: traffic(cost(https, "unchanged, new process")?, true),
        revocation_gigabytes: revocation * nodes as f64 / 1e9,
        revocation_megabits_per_second: revocation * 8.0 * polls_per_second / 1e6,
    })
}

fn checks(nodes: usize, http: &[Cost], https: &[Cost], measured: &Measured) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let mut check = |what, holds, found: String| checks.push(Check { what, holds, found });
    let all_have = |spread: &Spread| (spread.missing == 0, format!("{} of {nodes} do not", spread.missing));
    let (holds, found) = all_have(&measured.revocation_reached);
    check("every node has the revocation in the end", holds, found);
    // Those who wait longer than this runs are said in the table.
    check(
        "every node that asks after the outage follows again",
        measured.recovery.failed == 0 && (measured.recovered.missing == 0 || measured.cut_short),
        format!("{} polls failed after it", measured.recovery.failed),
    );
    let (holds, found) = all_have(&measured.storm_followed);
    check("every node follows after the restart", holds, found);
    for (costs, what) in [
        (
            http,
            "an unchanged poll over http is 2 requests, the second 304 in 10 of 11",
        ),
        (
            https,
            "an unchanged poll over https is 2 requests, the second 304 in 10 of 11",
        ),
    ] {
        let Cost {
            requests, not_modified, ..
        } = *cost(costs, "unchanged, connection kept")?;
        check(
            what,
            (requests - 2.0).abs() < 1e-9 && not_modified >= 0.9,
            format!("{requests} requests, {not_modified} of them 304"),
        );
    }
    let steady = &measured.steady;
    check(
        "the fleet's unchanged polls are 2 requests each",
        (steady.requests_per_unchanged_poll - 2.0).abs() < 1e-9,
        format!("{}", steady.requests_per_unchanged_poll),
    );
    check(
        "nothing fails while the server is there",
        [
            &measured.first_start,
            steady,
            &measured.revocation,
            &measured.storm,
            &measured.naive,
        ]
        .iter()
        .all(|window| window.failed == 0),
        "polls that failed".to_owned(),
    );
    check(
        "nobody asks more often than the schedule allows",
        measured.too_early == 0,
        format!("{} polls came too early", measured.too_early),
    );
    // A request of a poll that failed may have reached the server or not.
    let lost = measured.counted.saturating_sub(measured.logged);
    check(
        "the server's log has what the nodes counted",
        measured.logged <= measured.counted && lost <= measured.counted_in_failures,
        format!(
            "{} counted, {} of them in polls that failed, {} logged",
            measured.counted, measured.counted_in_failures, measured.logged
        ),
    );
    Ok(checks)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            cores,
            kernel,
            assayd,
            nginx,
            load,
        } = &self.machine;
        let measured = &self.measured;
        writeln!(
            f,
            "{} nodes that ask each {} s over {}; {cores} cores, Linux {kernel}, {nginx}, assayd {assayd}; load {load}",
            self.nodes, self.interval_seconds, measured.scheme
        )?;
        write!(f, "files:")?;
        for (name, size) in &measured.files {
            write!(f, " {name} {size} B;")?;
        }
        writeln!(f, " certificate of the server {} B in PEM", self.certificate_bytes)?;
        writeln!(
            f,
            "memory of the simulator per node: {} kB",
            measured.memory_per_node / 1024
        )?;
        for (scheme, costs) in [("http", &self.http), ("https", &self.https)] {
            writeln!(
                f,
                "\n{:<34}{:>9}{:>6}{:>13}{:>10}{:>10}{:>13}",
                format!("one poll over {scheme}"),
                "requests",
                "304",
                "connections",
                "bytes up",
                "down",
                "server, us"
            )?;
            for cost in costs {
                writeln!(
                    f,
                    "{:<34}{:>9.2}{:>6.2}{:>13.2}{:>10.0}{:>10.0}{:>13.0}",
                    cost.what,
                    cost.requests,
                    cost.not_modified,
                    cost.connections,
                    cost.up,
                    cost.down,
                    cost.server_microseconds
                )?;
            }
        }
        writeln!(
            f,
            "\n{:<22}{:>6}{:>8}{:>8}{:>8}{:>9}{:>8}{:>8}{:>7}{:>10}{:>8}{:>8}{:>8}{:>10}{:>10}",
            "the fleet",
            "s",
            "polls",
            "peak/s",
            "failed",
            "requests",
            "peak/s",
            "304",
            "new",
            "kB",
            "server",
            "nodes",
            "busy",
            "late p99",
            "poll p99"
        )?;
        for window in [
            &measured.first_start,
            &measured.steady,
            &measured.revocation,
            &measured.storm,
            &measured.outage,
            &measured.recovery,
            &measured.naive,
        ] {
            show_window(f, window)?;
        }
        writeln!(
            f,
            "new: connections; server, nodes: cores in use; busy: the whole machine, whoever keeps it so; late, poll: ms; *: bounded by this machine"
        )?;
        let model = &self.model;
        writeln!(
            f,
            "\n{:<42}{:>9}{:>9}{:>9}{:>9}",
            "seconds until nodes have it", "50 %", "99 %", "100 %", "missing"
        )?;
        for (what, spread) in [
            ("revocation, measured", &measured.revocation_reached),
            ("  by the schedule alone", &model.revocation),
            ("restart with the schedule, measured", &measured.storm_followed),
            ("  by the schedule alone", &model.storm),
            ("restart without it, measured", &measured.naive_followed),
            ("outage, measured from its end", &measured.recovered),
            ("  by the schedule alone", &model.recovery),
        ] {
            show_spread(f, what, spread)?;
        }
        writeln!(
            f,
            "the loop without a schedule: {} requests/s at the most after the restart, {} an interval later",
            measured.naive.peak_requests, measured.naive_peak_later
        )?;
        writeln!(
            f,
            "waits after a failure, in intervals: below 1: {}, 2: {}, 4: {}, 8: {}, above: {}",
            measured.waits_after_failures[0],
            measured.waits_after_failures[1],
            measured.waits_after_failures[2],
            measured.waits_after_failures[3],
            measured.waits_after_failures[4]
        )?;
        writeln!(
            f,
            "peaks of polls/s: storm {} measured, {} by the schedule alone; outage {} and {}; recovery {} and {}",
            measured.storm.peak_polls,
            model.storm_peak,
            measured.outage.peak_polls,
            model.outage_peak,
            measured.recovery.peak_polls,
            model.recovery_peak
        )?;
        self.show_carried(f)?;
        writeln!(f)?;
        for Check { what, holds, found } in &self.checks {
            writeln!(f, "{} {what} ({found})", if *holds { "ok  " } else { "FAIL" })?;
        }
        if measured.cut_short {
            writeln!(
                f,
                "The time was up before everything had happened: give it more --seconds."
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn show_carried(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<22}{:>9}{:>9}   {:<34}{:>10}{:>12}{:>10}{:>8}",
            "carried to", "polls/s", "req/s", "", "B/poll", "Mbit/s", "MB/day", "cores"
        )?;
        for carried in &self.carried {
            let name = format!("{} nodes, {} s", carried.nodes, carried.interval_seconds);
            let first = format!(
                "{name:<22}{:>9.0}{:>9.0}",
                carried.polls_per_second, carried.requests_per_second
            );
            for (begin, how, traffic) in [
                (first, "https, connections kept", &carried.kept),
                (String::new(), "http, new connection each", &carried.new_tcp),
                (String::new(), "https, new connection each", &carried.resumed_tls),
                (String::new(), "https, handshake in full each", &carried.full_tls),
            ] {
                writeln!(
                    f,
                    "{begin:<40}   {how:<34}{:>10.0}{:>12.1}{:>10.2}{:>8.2}",
                    traffic.bytes_per_poll,
                    traffic.megabits_per_second,
                    traffic.megabytes_per_node_and_day,
                    traffic.server_cores
                )?;
            }
            writeln!(
                f,
                "{:<40}   one revocation: {:.2} GB, {:.0} Mbit/s for one interval",
                "", carried.revocation_gigabytes, carried.revocation_megabits_per_second
            )?;
        }
        let model = &self.model_carried;
        writeln!(
            f,
            "\nthe schedule alone, {} nodes at {} s: {:.0} polls/s steady; restart of all: {} polls/s at the most, naive {}",
            model.nodes, model.interval_seconds, model.steady_polls_per_second, model.storm_peak, model.naive_peak
        )?;
        writeln!(
            f,
            "  outage of {} s: {} polls fail, {}/s at the most; after it {} polls/s at the most",
            model.outage_seconds, model.outage_failed, model.outage_peak, model.recovery_peak
        )?;
        show_spread(f, "  revocation", &model.revocation)?;
        show_spread(f, "  restart", &model.storm)?;
        show_spread(f, "  outage", &model.recovery)
    }
}

fn show_window(f: &mut fmt::Formatter<'_>, window: &Window) -> fmt::Result {
    writeln!(
        f,
        "{:<22}{:>6.1}{:>8}{:>8}{:>8}{:>9}{:>8}{:>8}{:>7}{:>10.1}{:>8.2}{:>8.2}{:>7.0}%{:>10.1}{:>10.1}{}",
        window.name,
        window.seconds,
        window.polls,
        window.peak_polls,
        window.failed,
        window.requests,
        window.peak_requests,
        window.not_modified,
        window.connections,
        (window.received + window.sent) as f64 / 1e3,
        window.server_cores,
        window.simulator_cores,
        window.machine_busy * 100.0,
        window.late_p99_milliseconds,
        window.poll_p99_milliseconds,
        if window.bounded_by_simulator { " *" } else { "" }
    )
}

fn show_spread(f: &mut fmt::Formatter<'_>, what: &str, spread: &Spread) -> fmt::Result {
    writeln!(
        f,
        "{what:<42}{:>9.2}{:>9.2}{:>9.2}{:>9}",
        spread.p50, spread.p99, spread.p100, spread.missing
    )
}
