//! Runs a target on its seeds and on mutations of them.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use assay_verify::digest::Digest;

use crate::Target;
use crate::mutate::{Random, mutate};

/// Inputs kept because their outcome was new.
const MAX_KEPT: usize = 4_096;

/// An input that takes longer is worth a look.
const SLOW: Duration = Duration::from_secs(2);

/// Runs the seeds and then mutations, until the number of inputs or `ASSAY_FUZZ_SECONDS` is reached.
///
/// # Panics
///
/// When an input breaks a property. It is in a file then, whose name is in the message.
pub fn run(target: &Target) {
    if let Some(file) = std::env::var_os("ASSAY_FUZZ_REPLAY") {
        let input = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        eprintln!("{}: {}", target.name, (target.check)(&input));
        return;
    }
    let seed = number("ASSAY_FUZZ_SEED").unwrap_or(1);
    let seconds = number("ASSAY_FUZZ_SECONDS").map(Duration::from_secs);
    let keep = std::env::var_os("ASSAY_FUZZ_KEEP").is_some();

    let begin = Instant::now();
    let mut random = Random::new(seed);
    let mut kept = (target.seeds)();
    assert!(!kept.is_empty(), "{} has no seeds", target.name);
    let seeds = kept.len();
    let mut outcomes = BTreeSet::new();
    let mut slowest = Duration::ZERO;
    let mut count = 0_u64;
    loop {
        let number = usize::try_from(count).unwrap_or(usize::MAX);
        let (input, fresh) = match kept.get(number).filter(|_| number < seeds) {
            Some(seed) => (seed.clone(), false),
            None => {
                // Half from the seeds: what was kept is often damaged already.
                let end = if random.below(2) == 0 { seeds } else { kept.len() };
                let (one, other) = (random.below(end), random.below(kept.len()));
                (mutate(&mut random, &kept[one], &kept[other], target.words), true)
            }
        };
        if keep {
            write(target, "last", &input);
        }
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.check)(&input)));
        let taken = started.elapsed();
        match outcome {
            Ok(outcome) => {
                if outcomes.insert(words(&outcome)) && fresh && kept.len() < MAX_KEPT {
                    kept.push(input.clone());
                }
            }
            Err(_) => {
                let file = write(target, &name(&input), &input);
                panic!(
                    "{} fails on input {count} of seed {seed}; again with ASSAY_FUZZ_REPLAY={} cargo test -p assay-fuzz {}",
                    target.name,
                    file.display(),
                    target.name
                );
            }
        }
        if taken > SLOW {
            let file = write(target, &format!("slow-{}", name(&input)), &input);
            eprintln!(
                "{}: {} bytes take {taken:?}: {}",
                target.name,
                input.len(),
                file.display()
            );
        }
        slowest = slowest.max(taken);
        count += 1;
        let over = seconds.map_or(count >= target.inputs, |seconds| begin.elapsed() >= seconds);
        if over && count >= seeds as u64 {
            break;
        }
    }
    eprintln!(
        "{}: {count} inputs of seed {seed} in {:.1?}, {seeds} seeds, {} outcomes, slowest {slowest:?}",
        target.name,
        begin.elapsed(),
        outcomes.len()
    );
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
    )
}

fn name(input: &[u8]) -> String {
    Digest::sha256(input).hex().chars().take(16).collect()
}

fn write(target: &Target, name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let file = folder.join(format!("{}-{name}", target.name));
    std::fs::write(&file, input).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file.canonicalize().unwrap_or(file)
}

/// The words of an outcome, without what it quotes and counts: two inputs that fail at one place are one outcome.
fn words(outcome: &str) -> String {
    let mut quoted = false;
    let mut escaped = false;
    outcome
        .chars()
        .filter(|character| {
            if *character == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = *character == '\\' && !escaped;
            !quoted && (character.is_ascii_alphabetic() || *character == '(')
        })
        .take(400)
        .collect()
}
