//! What assayctl prints. The daemon's strings are escaped already; nothing here adds what a stranger wrote.

use std::io::{IsTerminal as _, stdout};

use assay_proto::v1 as proto;
use assay_verify::Timestamp;
use serde_json::{Map, Value, json};

use super::Output;
use super::blob::JudgedBlob;
use crate::admission::blob::BlobOutcome;
use crate::hooks::control::step;

/// The verdict alone.
pub(super) fn verdict(output: Output, explained: &proto::ExplainResponse) {
    match output {
        Output::Json => println!("{}", Value::Object(verdict_json(explained))),
        Output::Human => println!("{}", headline(explained)),
    }
}

/// The verdict, and every step on the way to it.
pub(super) fn explanation(output: Output, explained: &proto::ExplainResponse) {
    if output == Output::Json {
        let mut fields = verdict_json(explained);
        fields.insert(
            "authorities".to_owned(),
            explained.authorities.iter().map(authority_json).collect(),
        );
        fields.insert("advice".to_owned(), json!(explained.advice));
        fields.insert("skipped".to_owned(), json!(explained.skipped));
        println!("{}", Value::Object(fields));
        return;
    }
    println!("{}", headline(explained));
    let digest = explained
        .descriptor
        .as_ref()
        .map(|descriptor| descriptor.digest.as_str())
        .unwrap_or_default();
    println!("  image      {} {digest}", explained.reference);
    if let Some(verdict) = &explained.verdict {
        let rule = if verdict.rule.is_empty() {
            "none matches"
        } else {
            &verdict.rule
        };
        println!("  rule       {rule}");
        println!("  policy     {}", verdict.policy_revision);
    }
    for authority in &explained.authorities {
        let word = if authority.satisfied {
            good("satisfied")
        } else {
            bad("not satisfied")
        };
        let why = if authority.code.is_empty() {
            String::new()
        } else {
            format!(": {} {}", authority.code, authority.reason)
        };
        let attests = match authority.attestation.as_str() {
            "" => String::new(),
            predicate_type => format!(" attests {predicate_type}"),
        };
        println!("  authority  {}{attests} {word}{why}", authority.authority);
        for signature in &authority.signatures {
            let word = if signature.verified {
                good("verified")
            } else {
                bad("not verified")
            };
            println!("    signature {}{} {word}", signature.digest, layer(signature.position));
            signature.steps.iter().for_each(step_line);
        }
    }
    for skipped in &explained.skipped {
        println!("  skipped    {skipped}");
    }
    for advice in &explained.advice {
        println!("  to mend    {advice}");
    }
}

/// What hangs on an image.
pub(super) fn tree(output: Output, tree: &proto::TreeResponse) {
    let digest = tree.descriptor.as_ref().map(|descriptor| descriptor.digest.as_str());
    let digest = digest.unwrap_or_default();
    if output == Output::Json {
        let entry = |entry: &proto::TreeEntry| {
            json!({
                "manifest": entry.manifest,
                "position": entry.position,
                "format": entry.format,
                "predicate_type": entry.predicate_type,
                "signer": entry.signer,
                "verified_by": entry.verified_by,
                "witnesses": entry.witnesses,
                "problem": entry.problem,
                "size": entry.size,
            })
        };
        let entries: Vec<_> = tree.entries.iter().map(entry).collect();
        println!(
            "{}",
            json!({
                "reference": tree.reference,
                "digest": digest,
                "entries": entries,
                "others": tree.others,
                "incomplete": tree.incomplete,
            })
        );
        return;
    }
    println!("{} {digest}", tree.reference);
    if says_nothing_is_there(tree) {
        println!("  nothing is signed or attested here");
    }
    for entry in &tree.entries {
        let what = match (entry.predicate_type.as_str(), entry.format.as_str()) {
            ("", "notation") => "signature (Notary Project)".to_owned(),
            ("", "bundle") => "signature (sigstore bundle)".to_owned(),
            ("", _) => "signature (cosign v2)".to_owned(),
            (predicate_type, _) => format!("attestation {predicate_type}"),
        };
        println!("  {what}");
        println!("    manifest {}{}", entry.manifest, layer(entry.position));
        match entry.verified_by.as_slice() {
            [] => {
                println!("    signer   {} {}", entry.signer, bad("not verified"));
                println!("    why      {}", entry.problem);
            }
            authorities => println!(
                "    signer   {} {}",
                entry.signer,
                good(&format!("verified by {}", authorities.join(", ")))
            ),
        }
        for witness in &entry.witnesses {
            println!("    vouched  {witness}");
        }
    }
    for other in &tree.others {
        println!("  other      {other}");
    }
    if !tree.incomplete.is_empty() {
        println!(
            "  {} what was found may not be all: {}",
            warn("incomplete"),
            tree.incomplete
        );
    }
}

/// Only a whole look at an image can tell that nothing is there.
pub(super) fn says_nothing_is_there(tree: &proto::TreeResponse) -> bool {
    tree.entries.is_empty() && tree.incomplete.is_empty()
}

/// Which of a manifest's signatures it is, where it is not the first.
fn layer(position: u32) -> String {
    match position {
        0 => String::new(),
        position => format!(" (layer {})", position + 1),
    }
}

/// The policy document in force.
pub(super) fn policy(output: Output, shown: &proto::ShowPolicyResponse) {
    match output {
        Output::Json => {
            println!(
                "{}",
                json!({"revision": shown.revision, "path": shown.path, "document": shown.document})
            );
        }
        Output::Human => {
            println!("# policy {} from {}", shown.revision, shown.path);
            print!("{}", shown.document);
        }
    }
}

/// What the daemon is doing.
pub(super) fn status(output: Output, status: &proto::StatusResponse) {
    let policy = status.policy.clone().unwrap_or_default();
    let cache = status.cache.clone().unwrap_or_default();
    let revocation = status.revocation.clone().unwrap_or_default();
    if output == Output::Json {
        println!("{}", status_json(status));
        return;
    }
    println!(
        "assayd {} (process {}) since {}",
        status.version,
        status.process_id,
        time(status.started_at)
    );
    policy_lines(&policy);
    println!("  verdicts   {} admitted, {} denied", status.admitted, status.denied);
    if status.last_verdict_at.is_empty() {
        println!("  hooks      none has asked yet");
    }
    for (hook, at) in &status.last_verdict_at {
        println!("  hooks      {hook} asked last at {}", time(*at));
    }
    cache_lines(&cache);
    revocation_lines(&revocation);
}

/// What the daemon is doing.
pub(super) fn status_json(status: &proto::StatusResponse) -> Value {
    let last = |(hook, at): (&String, &i64)| (hook.clone(), json!(time(*at)));
    json!({
        "version": status.version,
        "process_id": status.process_id,
        "started_at": time(status.started_at),
        "policy": policy_json(&status.policy.clone().unwrap_or_default()),
        "admitted": status.admitted,
        "denied": status.denied,
        "last_verdict_at": status.last_verdict_at.iter().map(last).collect::<Map<_, _>>(),
        "cache": cache_json(&status.cache.clone().unwrap_or_default()),
        "revocation": revocation_json(&status.revocation.clone().unwrap_or_default()),
    })
}

fn revocation_json(revocation: &proto::RevocationStatus) -> Value {
    json!({
        "kept": revocation.kept,
        "bytes_in_memory": revocation.bytes_in_memory,
        "bytes_on_disk": revocation.bytes_on_disk,
        "soonest_lapse": (revocation.soonest_lapse != 0).then(|| time(revocation.soonest_lapse)),
        "failing": revocation.failing,
    })
}

fn revocation_lines(revocation: &proto::RevocationStatus) {
    if revocation.kept > 0 {
        let lapse = match revocation.soonest_lapse {
            0 => String::new(),
            at => format!(", the first lapses at {}", time(at)),
        };
        println!(
            "  revocation {} answers kept, {} bytes on disk{lapse}",
            revocation.kept, revocation.bytes_on_disk
        );
    }
    for failing in &revocation.failing {
        println!("  {} no answer from {failing}", bad("revocation"));
    }
}

/// What a reload came to.
pub(super) fn reloaded(output: Output, reloaded: &proto::ReloadResponse) {
    let policy = reloaded.policy.clone().unwrap_or_default();
    if output == Output::Json {
        println!(
            "{}",
            json!({"accepted": reloaded.accepted, "policy": policy_json(&policy)})
        );
        return;
    }
    println!(
        "{}",
        if reloaded.accepted {
            good("reloaded")
        } else {
            bad("refused")
        }
    );
    policy_lines(&policy);
}

/// How much is cached and how often it served.
pub(super) fn cache(output: Output, cache: &proto::CacheStatsResponse) {
    match output {
        Output::Json => println!("{}", cache_json(cache)),
        Output::Human => cache_lines(cache),
    }
}

/// What was forgotten.
pub(super) fn cleared(output: Output, cleared: &proto::ClearCacheResponse) {
    match output {
        Output::Json => {
            println!(
                "{}",
                json!({"verdicts": cleared.verdicts, "evidence_images": cleared.evidence_images})
            );
        }
        Output::Human => {
            println!(
                "forgot {} verdicts and the evidence of {} images",
                cleared.verdicts, cleared.evidence_images
            );
        }
    }
}

/// What became of the signature of a file, and every step on the way to it.
pub(super) fn blob(output: Output, judged: &JudgedBlob<'_>) {
    let (word, code, reason) = match judged.outcome {
        BlobOutcome::Admit { reason } => ("admit", "", reason),
        BlobOutcome::Deny { code, reason } => ("deny", code.as_str(), reason),
    };
    let steps: Vec<_> = judged.steps.iter().map(step).collect();
    if output == Output::Json {
        let document = json!({
            "verdict": word,
            "code": code,
            "reason": reason,
            "file": judged.file,
            "digest": judged.blob.digest.to_string(),
            "size": judged.blob.size,
            "media_type": judged.media_type,
            "user_metadata": judged.annotations,
            "statement": judged.statement,
            "signature": judged.signature,
            "steps": steps.iter().map(step_json).collect::<Vec<_>>(),
        });
        println!("{document}");
        return;
    }
    match judged.outcome {
        BlobOutcome::Admit { reason } => println!("{}: {reason}", good("ADMIT")),
        BlobOutcome::Deny { code, reason } => println!("{}: {reason}", bad(&format!("DENY {code}"))),
    }
    println!(
        "  file       {} {} ({} bytes)",
        judged.file, judged.blob.digest, judged.blob.size
    );
    if let Some(media_type) = &judged.media_type {
        println!("  signed as  {media_type}");
    }
    for (key, value) in &judged.annotations {
        println!("  metadata   {key}={value}");
    }
    println!("  statement  {}", judged.statement);
    println!("  signature  {}", judged.signature);
    steps.iter().for_each(step_line);
}

fn step_line(step: &proto::StepReport) {
    let detail = if step.detail.is_empty() {
        String::new()
    } else {
        format!("  {}", step.detail)
    };
    println!("      {:<20} {}{detail}", step.step, outcome(step.outcome()));
}

fn step_json(step: &proto::StepReport) -> Value {
    json!({"step": step.step, "outcome": outcome_word(step.outcome()), "detail": step.detail})
}

fn headline(explained: &proto::ExplainResponse) -> String {
    let Some(verdict) = &explained.verdict else {
        return bad("no verdict");
    };
    format!("{}: {}", headline_word(verdict), verdict.reason)
}

/// The verdict in capitals, with the code of a denial.
pub(super) fn headline_word(verdict: &proto::VerifyResponse) -> String {
    match (verdict.verdict(), verdict.audited) {
        (proto::Verdict::Admit, false) => good("ADMIT"),
        (proto::Verdict::Admit, true) => warn("ADMIT (audit)"),
        _ => bad(&format!("DENY {}", verdict.code)),
    }
}

/// The verdict for machines.
pub(super) fn word(verdict: &proto::VerifyResponse) -> &'static str {
    match verdict.verdict() {
        proto::Verdict::Admit => "admit",
        _ => "deny",
    }
}

fn verdict_json(explained: &proto::ExplainResponse) -> Map<String, Value> {
    let verdict = explained.verdict.clone().unwrap_or_default();
    let descriptor = explained.descriptor.clone().unwrap_or_default();
    Map::from_iter([
        ("verdict".to_owned(), json!(word(&verdict))),
        ("audited".to_owned(), json!(verdict.audited)),
        ("code".to_owned(), json!(verdict.code)),
        ("reason".to_owned(), json!(verdict.reason)),
        ("rule".to_owned(), json!(verdict.rule)),
        ("policy".to_owned(), json!(verdict.policy_revision)),
        ("reference".to_owned(), json!(explained.reference)),
        ("digest".to_owned(), json!(descriptor.digest)),
        ("media_type".to_owned(), json!(descriptor.media_type)),
        ("size".to_owned(), json!(descriptor.size)),
    ])
}

fn authority_json(authority: &proto::AuthorityReport) -> Value {
    let signature = |signature: &proto::SignatureReport| {
        json!({
            "digest": signature.digest,
            "position": signature.position,
            "format": signature.format,
            "verified": signature.verified,
            "steps": signature.steps.iter().map(step_json).collect::<Vec<_>>(),
        })
    };
    json!({
        "authority": authority.authority,
        "attestation": authority.attestation,
        "satisfied": authority.satisfied,
        "code": authority.code,
        "reason": authority.reason,
        "signatures": authority.signatures.iter().map(signature).collect::<Vec<_>>(),
    })
}

fn policy_json(policy: &proto::PolicyStatus) -> Value {
    json!({
        "revision": policy.revision,
        "path": policy.path,
        "loaded_at": time(policy.loaded_at),
        "rules": policy.rules,
        "authorities": policy.authorities,
        "warnings": policy.warnings,
        "rejected_errors": policy.rejected_errors,
        "rejected_at": time(policy.rejected_at),
    })
}

fn policy_lines(policy: &proto::PolicyStatus) {
    if policy.revision.is_empty() {
        println!(
            "  policy     {}: every image is denied with policy-invalid",
            bad("none is in force")
        );
    } else {
        println!(
            "  policy     {} from {}, {} rules, {} authorities, in force since {}",
            policy.revision,
            policy.path,
            policy.rules,
            policy.authorities,
            time(policy.loaded_at)
        );
    }
    for warning in &policy.warnings {
        println!("             {}", aligned(warning));
    }
    if policy.rejected_at != 0 {
        println!(
            "  {} what is on disk was refused at {}:",
            bad("broken    "),
            time(policy.rejected_at)
        );
        for error in &policy.rejected_errors {
            println!("             {}", aligned(error));
        }
    }
}

/// A diagnostic's lines below each other: the second one says how to mend it.
fn aligned(diagnostic: &str) -> String {
    diagnostic.replace('\n', "\n             ")
}

fn cache_json(cache: &proto::CacheStatsResponse) -> Value {
    json!({
        "verdicts": cache.verdicts,
        "verdict_hits": cache.verdict_hits,
        "evidence_hits": cache.evidence_hits,
        "gathers": cache.gathers,
        "evidence_state": cache.evidence_state,
        "degraded": cache.degraded,
        "evidence_images": cache.evidence_images,
        "evidence_bytes": cache.evidence_bytes,
        "evidence_bytes_limit": cache.evidence_bytes_limit,
        "bytes_on_disk": cache.bytes_on_disk,
        "damaged_records": cache.damaged_records,
        "damaged_stores": cache.damaged_stores,
        "evicted": cache.evicted,
        "imported_images": cache.imported_images,
    })
}

fn cache_lines(cache: &proto::CacheStatsResponse) {
    println!(
        "  cache      {} verdicts in memory, {} answered from them",
        cache.verdicts, cache.verdict_hits
    );
    println!(
        "             {} answered from stored evidence, {} gathered",
        cache.evidence_hits, cache.gathers
    );
    let state = if cache.degraded {
        bad(&cache.evidence_state)
    } else {
        cache.evidence_state.clone()
    };
    println!(
        "  evidence   {state}; of {} images, {} of them imported, {} of {} KiB, {} KiB on disk, {} evicted",
        cache.evidence_images,
        cache.imported_images,
        cache.evidence_bytes.div_ceil(1024),
        cache.evidence_bytes_limit.div_ceil(1024),
        cache.bytes_on_disk.div_ceil(1024),
        cache.evicted
    );
    if cache.damaged_records + cache.damaged_stores > 0 {
        let word = warn("damaged   ");
        println!(
            "  {word} {} records were dropped, {} whole stores moved aside; evidence is gathered again",
            cache.damaged_records, cache.damaged_stores
        );
    }
}

fn outcome_word(outcome: proto::StepOutcome) -> &'static str {
    match outcome {
        proto::StepOutcome::Unspecified => "unknown",
        proto::StepOutcome::Passed => "passed",
        proto::StepOutcome::Failed => "failed",
        proto::StepOutcome::Logged => "failed, only logged",
        proto::StepOutcome::Skipped => "skipped",
        proto::StepOutcome::NotReached => "not reached",
    }
}

fn outcome(outcome: proto::StepOutcome) -> String {
    let word = outcome_word(outcome);
    match outcome {
        proto::StepOutcome::Passed => good(word),
        proto::StepOutcome::Logged => warn(word),
        proto::StepOutcome::Failed => bad(word),
        _ => word.to_owned(),
    }
}

/// Unix seconds as a time for people; 0 is never.
pub(super) fn time(seconds: i64) -> String {
    if seconds == 0 {
        return String::new();
    }
    Timestamp::from_second(seconds)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn good(word: &str) -> String {
    coloured(word, "32")
}

pub(super) fn warn(word: &str) -> String {
    coloured(word, "33")
}

pub(super) fn bad(word: &str) -> String {
    coloured(word, "31")
}

fn coloured(word: &str, colour: &str) -> String {
    if stdout().is_terminal() {
        format!("\x1b[{colour}m{word}\x1b[0m")
    } else {
        word.to_owned()
    }
}
