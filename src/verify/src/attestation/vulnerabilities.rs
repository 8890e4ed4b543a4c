//! Scans for vulnerabilities (cosign specs/COSIGN_VULN_ATTESTATION_SPEC.md): when one ended, and how bad its worst finding
//! is.
//!
//! The specification leaves the report to the scanner. Three are read: Trivy's JSON of schema version 2, Grype's JSON, and
//! SARIF 2.1.0 with the property `security-severity`. What is none of them, has no severity or an unknown one, or looked at
//! nothing, is refused: it says nothing about what is not in it. Findings that the scanner itself was told to leave out are
//! not in these lists, and so not seen; results that a SARIF report marks as suppressed are.

use serde_json::Value;

use super::{field, text};
use crate::Timestamp;
use crate::untrusted::Untrusted;

/// How bad a vulnerability is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// No risk that anybody could name.
    Negligible,
    /// CVSS 0.1 to 3.9.
    Low,
    /// CVSS 4.0 to 6.9.
    Medium,
    /// CVSS 7.0 to 8.9.
    High,
    /// CVSS 9.0 and above.
    Critical,
}

impl Severity {
    /// Every severity, the least first.
    pub const ALL: [Self; 5] = [Self::Negligible, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its name in a policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Negligible => "negligible",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// A scanner's word, in any case.
    fn of_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(word))
    }

    /// A score (CVSS 3.1 §5). One without a risk is negligible.
    fn of_score(score: f64) -> Option<Self> {
        match score {
            0.0..0.1 => Some(Self::Negligible),
            0.1..4.0 => Some(Self::Low),
            4.0..7.0 => Some(Self::Medium),
            7.0..9.0 => Some(Self::High),
            9.0..=10.0 => Some(Self::Critical),
            _ => None,
        }
    }
}

/// When the scan ended.
pub(super) fn scan_end(statement: &Value) -> Result<Timestamp, Untrusted> {
    let text = text(statement, &["metadata", "scanFinishedOn"])?;
    text.parse()
        .map_err(|_| format!("metadata.scanFinishedOn is {}", Untrusted::from(text)).into())
}

/// Whether no finding is worse than `worst`.
pub(super) fn check(statement: &Value, worst: Severity) -> Result<(), Untrusted> {
    let report = field(statement, &["scanner", "result"]).filter(|report| report.is_object());
    let report = report.ok_or("there is no object predicate.scanner.result")?;
    let findings = match shape(report)? {
        Shape::Trivy => trivy(report),
        Shape::Grype => grype(report),
        Shape::Sarif => sarif(report),
    }?;
    for (name, severity) in findings {
        if severity > worst {
            return Err(format!("{name} is {}", severity.as_str()).into());
        }
    }
    Ok(())
}

/// A finding: its name and how bad it is.
type Finding = (Untrusted, Severity);

enum Shape {
    Trivy,
    Grype,
    Sarif,
}

/// Which report it is: exactly one of them.
fn shape(report: &Value) -> Result<Shape, Untrusted> {
    let trivy = report.get("SchemaVersion").is_some();
    let grype = report.get("matches").is_some();
    let sarif = report.get("runs").is_some();
    match (trivy, grype, sarif) {
        (true, false, false) if report.get("SchemaVersion").and_then(Value::as_u64) == Some(2) => Ok(Shape::Trivy),
        (false, true, false) => Ok(Shape::Grype),
        (false, false, true) if report.get("version").and_then(Value::as_str) == Some("2.1.0") => Ok(Shape::Sarif),
        _ => Err("predicate.scanner.result is no report of Trivy, Grype or SARIF 2.1.0".into()),
    }
}

/// A list that has to be there.
fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], Untrusted> {
    let list = value.get(name).and_then(Value::as_array).map(Vec::as_slice);
    list.ok_or_else(|| format!("the report has no list {name}").into())
}

/// A list that may be absent or null: Go writes both for an empty one.
fn optional_list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], Untrusted> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(_) => list(value, name),
    }
}

fn named(finding: &Value, name: &str) -> Untrusted {
    finding
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or("a finding without a name")
        .into()
}

fn word(finding: &Value, name: &str, key: &str) -> Result<Finding, Untrusted> {
    let name = named(finding, name);
    let word = finding.get(key).and_then(Value::as_str).unwrap_or("absent");
    match Severity::of_word(word) {
        Some(severity) => Ok((name, severity)),
        None => Err(format!("the severity of {name} is not known: it is {}", Untrusted::from(word)).into()),
    }
}

/// aquasecurity/trivy pkg/types/report.go: `Results`, each something that was scanned, with `Vulnerabilities`.
fn trivy(report: &Value) -> Result<Vec<Finding>, Untrusted> {
    let results = list(report, "Results")?;
    if results.is_empty() {
        return Err("the report lists nothing that was scanned".into());
    }
    let mut findings = Vec::new();
    for result in results {
        if !result.is_object() {
            return Err("one of Results is no object".into());
        }
        for finding in optional_list(result, "Vulnerabilities")? {
            findings.push(word(finding, "VulnerabilityID", "Severity")?);
        }
    }
    Ok(findings)
}

/// anchore/grype grype/presenter/models/document.go: `matches`, each with a `vulnerability`; `source` is what was scanned.
fn grype(report: &Value) -> Result<Vec<Finding>, Untrusted> {
    if !report.get("source").is_some_and(Value::is_object) {
        return Err("the report does not say what was scanned".into());
    }
    let finding = |one: &Value| {
        let vulnerability = one.get("vulnerability").ok_or("one of matches has no vulnerability")?;
        word(vulnerability, "id", "severity")
    };
    list(report, "matches")?.iter().map(finding).collect()
}

/// OASIS SARIF 2.1.0 §3.14, §3.27; the score is the property of a result's rule that code scanning reads, a number or its
/// text.
fn sarif(report: &Value) -> Result<Vec<Finding>, Untrusted> {
    let runs = list(report, "runs")?;
    if runs.is_empty() {
        return Err("the report has no run".into());
    }
    let mut findings = Vec::new();
    for run in runs {
        let driver = run.get("tool").and_then(|tool| tool.get("driver"));
        let driver = driver.ok_or("a run does not name its tool")?;
        let rules = optional_list(driver, "rules")?;
        for result in list(run, "results")? {
            let name = named(result, "ruleId");
            let score = rule(rules, result)
                .and_then(|rule| rule.get("properties")?.get("security-severity"))
                .and_then(|score| score.as_f64().or_else(|| score.as_str()?.parse().ok()));
            let severity = score.and_then(Severity::of_score);
            findings.push(match severity {
                Some(severity) => (name, severity),
                None => return Err(format!("the severity of {name} is not known").into()),
            });
        }
    }
    Ok(findings)
}

/// The rule of a result (SARIF §3.27.5, §3.27.6): the one at its index, whose identifier has to agree, or the only one with
/// its identifier.
fn rule<'a>(rules: &'a [Value], result: &Value) -> Option<&'a Value> {
    let id = result.get("ruleId").and_then(Value::as_str);
    let has_id = |rule: &&Value| rule.get("id").and_then(Value::as_str) == id;
    match result.get("ruleIndex") {
        Some(index) => {
            let rule = rules.get(usize::try_from(index.as_u64()?).ok()?)?;
            (id.is_none() || has_id(&rule)).then_some(rule)
        }
        None => {
            id?;
            let mut with_id = rules.iter().filter(has_id);
            let rule = with_id.next()?;
            with_id.next().is_none().then_some(rule)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_report(report: Value, expected: Result<(), &str>) {
        let statement = json!({"predicate": {"scanner": {"result": report}}});
        match (check(&statement, Severity::Medium), expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(words)) => assert!(found.to_string().contains(words), "{found}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_trivy() {
        let found = |severity: &str| {
            json!({"SchemaVersion": 2, "Results": [
                {"Target": "os", "Vulnerabilities": null},
                {"Target": "app", "Vulnerabilities": [{"VulnerabilityID": "CVE-1", "Severity": "LOW"},
                    {"VulnerabilityID": "CVE-2", "Severity": severity}]}]})
        };
        check_report(found("MEDIUM"), Ok(()));
        check_report(found("HIGH"), Err("CVE-2 is high"));
        check_report(
            found("UNKNOWN"),
            Err("the severity of CVE-2 is not known: it is UNKNOWN"),
        );
        check_report(json!({"SchemaVersion": 2, "Results": [{"Target": "os"}]}), Ok(()));
        check_report(
            json!({"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{}]}]}),
            Err("it is absent"),
        );
        check_report(
            json!({"SchemaVersion": 2, "Results": [{"Vulnerabilities": {}}]}),
            Err("no list Vulnerabilities"),
        );
        check_report(json!({"SchemaVersion": 2, "Results": ["x"]}), Err("no object"));
        check_report(json!({"SchemaVersion": 1, "Results": [{}]}), Err("no report of Trivy"));
    }

    #[test]
    fn reads_grype() {
        let found = |severity: &str| {
            json!({"source": {"type": "image"}, "matches": [
                {"vulnerability": {"id": "CVE-1", "severity": "Negligible"}},
                {"vulnerability": {"id": "CVE-2", "severity": severity}}]})
        };
        check_report(found("Medium"), Ok(()));
        check_report(found("Critical"), Err("CVE-2 is critical"));
        check_report(found("Unknown"), Err("not known"));
        check_report(json!({"source": {}, "matches": []}), Ok(()));
        check_report(json!({"source": {}, "matches": [{}]}), Err("no vulnerability"));
        check_report(json!({"matches": []}), Err("does not say what was scanned"));
    }

    #[test]
    fn reads_sarif() {
        let found = |score: Value, result: Value| {
            json!({"version": "2.1.0", "runs": [{"tool": {"driver": {"rules": [
                {"id": "CVE-1", "properties": {"security-severity": "1.0"}},
                {"id": "CVE-2", "properties": {"security-severity": score}}]}}, "results": [result]}]})
        };
        check_report(found(json!("6.9"), json!({"ruleId": "CVE-2", "ruleIndex": 1})), Ok(()));
        check_report(found(json!(7.0), json!({"ruleId": "CVE-2"})), Err("CVE-2 is high"));
        check_report(found(json!("9.8"), json!({"ruleIndex": 1})), Err("is critical"));
        check_report(
            found(json!(9.8), json!({"ruleId": "CVE-2", "ruleIndex": 0})),
            Err("not known"),
        );
        check_report(found(json!("nan"), json!({"ruleId": "CVE-2"})), Err("not known"));
        check_report(found(json!(-1), json!({"ruleId": "CVE-2"})), Err("not known"));
        check_report(found(json!(9.8), json!({"ruleId": "CVE-3"})), Err("not known"));
        check_report(found(json!(9.8), json!({})), Err("not known"));
        let suppressed = json!({"ruleId": "CVE-2", "suppressions": [{"kind": "external"}]});
        check_report(found(json!(9.8), suppressed), Err("CVE-2 is critical"));
        check_report(json!({"version": "2.1.0", "runs": []}), Err("no run"));
        check_report(
            json!({"version": "2.1.0", "runs": [{"tool": {"driver": {}}}]}),
            Err("no list results"),
        );
    }

    /// An empty set is never a good one (CVE-2022-35929, CVE-2022-35930).
    #[test]
    fn refuses_reports_that_looked_at_nothing() {
        check_report(
            json!({"SchemaVersion": 2, "Results": []}),
            Err("nothing that was scanned"),
        );
        check_report(json!({"SchemaVersion": 2}), Err("no list Results"));
        check_report(json!({"SchemaVersion": 2, "Results": null}), Err("no list Results"));
        for report in [json!(null), json!([]), json!("{}"), json!({}), json!({"findings": []})] {
            check_report(report, Err("predicate.scanner.result"));
        }
    }

    #[test]
    fn a_report_that_could_be_two_is_none() {
        check_report(
            json!({"SchemaVersion": 2, "Results": [{}], "matches": [], "source": {}}),
            Err("no report of Trivy"),
        );
    }

    #[test]
    fn the_end_of_a_scan_is_a_time() {
        let at = |time: Value| scan_end(&json!({"predicate": {"metadata": {"scanFinishedOn": time}}}));
        assert_eq!(
            at(json!("2026-01-01T00:00:00Z")),
            Ok("2026-01-01T00:00:00Z".parse().unwrap())
        );
        assert!(at(json!("yesterday")).is_err());
        assert!(at(json!(1)).is_err());
        assert!(scan_end(&json!({"predicate": {}})).is_err());
    }
}
