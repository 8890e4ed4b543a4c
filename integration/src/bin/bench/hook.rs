//! The cached verdict through the hook.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use assay_integration::measure::{Goal, Samples, Table, ratio, shown};

use crate::lab::Lab;
use crate::programs::Programs;
use crate::{runs, say};

/// Verdicts through the hook, and runs of the empty program between them.
const EXECS: usize = runs(2_000);
/// One run of notation for this many of the hook's: it takes longer by an order of magnitude.
const EXECS_PER_NOTATION: usize = 40;

/// A program that everybody knows, as a measure of the machine: linked dynamically, and does nothing.
const KNOWN: &str = "/bin/true";

/// The cached verdict from exec to exit, the empty program, a known one and notation, alternately.
pub(crate) async fn through_the_hook(lab: &Lab, programs: &Programs, table: &mut Table) -> Result<()> {
    say(&format!(
        "Asking through the hook {EXECS} times, between runs of an empty program and of notation"
    ));
    let requests_since = |mark| lab.registry.log().requests_since(mark).len();
    let (mut hook, mut empty, mut known, mut notation) = (vec![], vec![], vec![], vec![]);
    let (mut requests, mut of_notation) = (0, 0);
    tokio::task::block_in_place(|| -> Result<()> {
        // The first verdict is not from the cache; the others warm the machine's caches.
        for _ in 0..EXECS / 20 {
            lab.exec(&programs.empty, &lab.image)?;
            lab.exec(&programs.hook, &lab.image)?;
        }
        let start = lab.registry.log().mark();
        for number in 0..EXECS {
            if number.is_multiple_of(EXECS_PER_NOTATION) {
                let mark = lab.registry.log().mark();
                notation.push(lab.exec_notation(&lab.image)?);
                of_notation += requests_since(mark);
            }
            if number.is_multiple_of(10) {
                known.push(lab.exec(Path::new(KNOWN), &lab.image)?);
            }
            // Whoever comes after notation finds colder caches: they take turns.
            if (number / EXECS_PER_NOTATION).is_multiple_of(2) {
                empty.push(lab.exec(&programs.empty, &lab.image)?);
                hook.push(lab.exec(&programs.hook, &lab.image)?);
            } else {
                hook.push(lab.exec(&programs.hook, &lab.image)?);
                empty.push(lab.exec(&programs.empty, &lab.image)?);
            }
        }
        requests = requests_since(start) - of_notation;
        Ok(())
    })?;
    let of_notation = of_notation / notation.len().max(1);
    let [hook, empty, known, notation] = [hook, empty, known, notation].map(Samples::from_iter);
    let cached = hook.median();
    table.add(
        "cached verdict, exec of the hook to exit",
        shown(cached),
        Some(Goal::within(cached, Duration::from_micros(800))),
        format!(
            "notation verify {}: {:.0} x",
            shown(notation.median()),
            ratio(notation.median(), cached)
        ),
    );
    for (percent, most) in [(50, 2.0), (99, 2.5)] {
        let (ours, least) = (hook.percentile(percent), empty.percentile(percent));
        let times = ratio(ours, least);
        table.add(
            &format!("  p{percent} against an empty static program"),
            format!("{times:.2} x"),
            Some(Goal::at_most(times, most, " x")),
            format!(
                "hook {}, empty program {}, {KNOWN} {}",
                shown(ours),
                shown(least),
                shown(known.percentile(percent))
            ),
        );
    }
    table.add(
        "  registry requests",
        requests.to_string(),
        Some(Goal::at_most(requests as f64, 0.0, "")),
        format!("notation verify {of_notation}"),
    );
    Ok(())
}
