//! The policy document: what it may say, and what it says when it may not.

use std::time::Duration;

use super::*;

const HEAD: &str = "version = 1\nunmatched = \"deny\"\n";
const CORP: &str = "[authority.corp]\ntype = \"notation\"\nconfig = \"/etc/notation\"\n";
const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn shown(text: &str) -> Vec<String> {
    let parsed = Policy::parse("policy.toml", text);
    let refused = parsed
        .diagnostics
        .iter()
        .any(|one| one.severity == crate::document::Severity::Error);
    assert_eq!(
        parsed.policy.is_none(),
        refused,
        "there is a policy if and only if there are no errors"
    );
    parsed.diagnostics.iter().map(ToString::to_string).collect()
}

/// The document must have exactly these problems, each beginning as given.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found = shown(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\ndoes not say\n{expected}");
    }
}

/// A rule with these lines, in a policy that is right.
#[track_caller]
fn check_rule(lines: &str, expected: &[&str]) {
    check(
        &format!(
            "{HEAD}{CORP}[[rule]]\nname = \"r\"\n{lines}\n[[rule]]\nname = \"last\"\nimages = [\"z.example/z\"]\nrequire = {{ all = [\"corp\"] }}\n"
        ),
        expected,
    );
}

/// An authority with these lines, in a policy that is right.
#[track_caller]
fn check_authority(lines: &str, expected: &[&str]) {
    check(
        &format!(
            "{HEAD}[[rule]]\nname = \"r\"\nimages = [\"**\"]\nrequire = {{ all = [\"corp\"] }}\n[authority.corp]\n{lines}\n"
        ),
        expected,
    );
}

#[test]
fn reads_a_whole_policy() {
    let text = format!(
        r#"
version = 1
unmatched = "deny"

[authority.corp]
type = "notation"
trust_stores = ["ca:corp", "tsa:corp"]
trusted_identities = ["x509.subject: C=US, ST=WA, O=Corp, CN=release"]
level = "strict"
override = {{ revocation = "skip" }}
verify_timestamp = "afterCertExpiry"

[authority.folder]
type = "notation"
config = "/etc/notation"

[[rule]]
name = "node essentials"
images = ["registry.k8s.io/pause"]
admit_digests = ["{DIGEST}"]

[[rule]]
name = "production"
images = ["registry.corp.example/prod/**", "alpine"]
require = {{ at_least = 1, of = ["corp", "folder"] }}
mode = "audit"
on_inconclusive = "admit_if_seen"
revocation_grace = "36h"
minimum_signing_time = "2026-01-31T00:00:00Z"
annotations = {{ build = "release" }}
accept_platform_signatures = true
accept_unverified = true

[[rule]]
name = "never"
digests = ["{DIGEST}"]
deny = "withdrawn after incident 4711"
"#
    );
    assert_eq!(shown(&text), Vec::<String>::new());
    let policy = Policy::parse("policy.toml", &text).policy.unwrap();
    assert_eq!(policy.unmatched(), Unmatched::Deny);
    let names: Vec<&str> = policy.rules().iter().map(Rule::name).collect();
    assert_eq!(names, ["node essentials", "production", "never"]);
    let production = &policy.rules()[1];
    assert_eq!(production.mode(), Mode::Audit);
    let conditions = production.conditions().unwrap();
    assert_eq!(conditions.revocation_grace, Duration::from_secs(36 * 3600));
    assert_eq!(
        conditions.minimum_signing_time,
        Some("2026-01-31T00:00:00Z".parse().unwrap())
    );
    assert_eq!(
        conditions.annotations,
        BTreeMap::from([("build".into(), "release".into())])
    );
    assert_eq!(conditions.without_grace().revocation_grace, Duration::ZERO);
    assert!(production.accepts_platform_signatures());
    assert!(production.accepts_unverified());
    let Effect::Require { requirements, .. } = production.effect() else {
        panic!("{production:?}");
    };
    let requirement = requirements.signatures().unwrap();
    assert_eq!(requirement.needed(), 1);
    assert_eq!(requirement.authorities().len(), 2);
    assert!(!policy.rules()[0].accepts_unverified());
    let corp = &policy.authorities()[&"corp".parse().unwrap()];
    assert_eq!(corp.place, Place { line: 5, column: 12 });
    assert!(matches!(&corp.source, AuthoritySource::Notation(statement) if *statement.name == *"corp"));
}

#[test]
fn all_needs_all_and_any_needs_one() {
    let needed = |require: &str| {
        let text = format!(
            "{HEAD}[authority.a]\ntype = \"notation\"\nconfig = \"a\"\n[authority.b]\ntype = \"notation\"\nconfig = \"b\"\n\
             [[rule]]\nname = \"r\"\nimages = [\"**\"]\nrequire = {require}\n"
        );
        match Policy::parse("p", &text).policy.unwrap().rules()[0].effect() {
            Effect::Require { requirements, .. } => requirements.signatures().map_or(0, Requirement::needed),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(needed("{ all = [\"a\", \"b\"] }"), 2);
    assert_eq!(needed("{ any = [\"a\", \"b\"] }"), 1);
    assert_eq!(needed("{ at_least = 2, of = [\"a\", \"b\"] }"), 2);
}

#[test]
fn an_empty_requirement_cannot_be_made() {
    let name = |text: &str| text.parse::<AuthorityName>().unwrap();
    assert_eq!(Requirement::at_least(0, vec![name("a")]), None);
    assert_eq!(Requirement::at_least(0, vec![]), None);
    assert_eq!(Requirement::at_least(2, vec![name("a")]), None);
    assert_eq!(Requirement::at_least(2, vec![name("a"), name("a")]), None);
}

#[test]
fn reports_everything_wrong_at_once_like_a_compiler() {
    let text = r#"version = 2
unmatchd = "deny"

[authority.corp]
type = "notation"
trust_stores = ["tls:corp"]
trusted_identities = ["x509.subject: C=US, O=Corp"]
level = "strict"

[authority.release]
type = "cosign"

[[rule]]
name = "prod"
images = ["registry.example/prod:v1", "registry.example/prod/**"]
require = { all = ["corpp"] }

[[rule]]
name = "prod"
digests = ["sha256:abc"]
deny = "withdrawn"
mode = "audit"
"#;
    let expected = r#"policy.toml:1:1: error: unmatched is missing
  help: unmatched says what happens to images that no rule is for: "deny", "audit" or "admit"
policy.toml:1:11: error: version 2 is not supported: expected 1
policy.toml:2:1: error: unknown key "unmatchd"
  help: expected one of: version, unmatched, poll_interval, authority, rule
policy.toml:6:17: error: unsupported trust store type tls: expected ca, signingAuthority or tsa
policy.toml:7:23: error: trusted identity "x509.subject: C=US, O=Corp": the attribute ST is mandatory: a name needs C, ST and O
policy.toml:10:12: error: authority release names no signer
  help: write keys = ["keys/release.pub"], or identities = [{ issuer = "…", subject = "…" }]
policy.toml:15:11: error: image pattern "registry.example/prod:v1" names a tag or digest: a pattern names repositories, digests belong in "digests"
policy.toml:16:20: error: authority corpp is not defined
  help: add [authority.corpp], or use one of: corp, release
policy.toml:19:8: error: more than one rule is named "prod"
  help: the other is in line 14: rename one
policy.toml:20:12: error: digest sha256:abc is not 64 lower-case hexadecimal digits
policy.toml:22:8: error: rule "prod" denies, and audit never overrides a deny
  help: remove the mode, or the rule"#;
    assert_eq!(shown(text).join("\n"), expected);
}

#[test]
fn syntax_errors_and_duplicate_keys_have_a_place() {
    check("version = \n", &["policy.toml:1:1"]);
    check(
        &format!("{HEAD}version = 1\n"),
        &["policy.toml:3:1: error: duplicate key"],
    );
    check(
        &format!("{HEAD}{CORP}{CORP}"),
        &[
            "policy.toml:6:12: error: duplicate key",
            "policy.toml:7:1: ",
            "policy.toml:8:1: ",
        ],
    );
}

#[test]
fn version_and_unmatched_are_mandatory() {
    check("", &["version is missing", "unmatched is missing"]);
    check(
        "version = \"1\"\nunmatched = \"deny\"",
        &["version must be a whole number, not text"],
    );
    check("version = 1\nunmatched = \"allow\"", &["unmatched cannot be \"allow\""]);
    check(
        "version = 1\nunmatched = true",
        &["unmatched must be text, not a boolean"],
    );
}

#[test]
fn a_rule_needs_a_name_a_condition_and_an_effect() {
    check(
        &format!("{HEAD}[[rule]]\n"),
        &["missing its name", "no condition", "no effect"],
    );
    check(
        &format!("{HEAD}[rule]\nname = \"r\"\n"),
        &["rules are a list: write [[rule]]"],
    );
    check_rule("deny = \"x\"", &["rule \"r\" has no condition"]);
    check_rule("images = [\"a.example/b\"]", &["rule \"r\" has no effect"]);
    check_rule("images = []\ndeny = \"x\"", &["images is empty"]);
    check_rule(
        "images = [\"alpine\", \"docker.io/library/alpine\"]\ndeny = \"x\"",
        &["is in images twice"],
    );
    check_rule(
        "images = \"alpine\"\ndeny = \"x\"",
        &["images must be a list, not text"],
    );
    check_rule(
        "images = [1]\ndeny = \"x\"",
        &["each of images must be text, not a number"],
    );
    check_rule("images = [\"alpine\"]\ndeny = \"\"", &["the reason to deny is empty"]);
    check_rule("images = [\"alpine\"]\ndeny = \"a\\nb\"", &["control characters"]);
    check_rule("images = [\"alpine\"]\ndeny = true", &["deny must be text"]);
    check_rule("images = [\"alpine\"]\nadmit_digests = []", &["admit_digests is empty"]);
}

#[test]
fn a_deny_has_no_exceptions() {
    check_rule(
        &format!(
            "images = [\"alpine\"]\ndeny = \"x\"\nadmit_digests = [\"{DIGEST}\"]\nrequire = {{ all = [\"corp\"] }}"
        ),
        &["both denies and has admit_digests", "both denies and has require"],
    );
    check_rule(
        "images = [\"alpine\"]\ndeny = \"x\"\nmode = \"audit\"",
        &["audit never overrides a deny"],
    );
    check_rule("images = [\"alpine\"]\ndeny = \"x\"\nmode = \"enforce\"", &[]);
}

#[test]
fn refuses_requirements_without_a_meaning() {
    let check_require = |require: &str, expected: &str| {
        check_rule(&format!("images = [\"alpine\"]\nrequire = {require}"), &[expected]);
    };
    check_require("{}", "exactly one of all, any, and at_least with of");
    check_require("[\"corp\"]", "require must be a table, not a list");
    check_require("{ all = [] }", "all is empty");
    check_require("{ any = [] }", "any is empty");
    check_require("{ at_least = 1, of = [] }", "of is empty");
    check_require("{ all = [\"corp\"], any = [\"corp\"] }", "exactly one of");
    check_require("{ at_least = 1 }", "exactly one of");
    check_require("{ of = [\"corp\"] }", "exactly one of");
    check_require("{ at_least = 0, of = [\"corp\"] }", "at_least is 0, but of has 1");
    check_require("{ at_least = 2, of = [\"corp\"] }", "at_least is 2, but of has 1");
    check_require("{ at_least = -1, of = [\"corp\"] }", "at_least is -1");
    check_require(
        "{ at_least = 2, of = [\"corp\", \"corp\"] }",
        "authority corp is named twice",
    );
    check_require("{ all = [\"other\"] }", "authority other is not defined");
    check_require("{ all = [\"no such\"] }", "is not valid");
}

#[test]
fn settings_of_evidence_need_a_requirement() {
    check_rule(
        "images = [\"alpine\"]\ndeny = \"x\"\non_inconclusive = \"deny\"\naccept_unverified = true",
        &["on_inconclusive has no meaning", "accept_unverified has no meaning"],
    );
    check_rule(
        "images = [\"alpine\"]\nrequire = { all = [\"corp\"] }\non_inconclusive = \"admit\"\naccept_unverified = 1\nmode = \"off\"",
        &[
            "expected \"deny\" or \"admit_if_seen\"",
            "accept_unverified must be true or false",
            "expected \"enforce\" or \"audit\"",
        ],
    );
}

#[test]
fn conditions_say_what_they_mean_or_are_refused() {
    let check_conditions = |conditions: &str, expected: &[&str]| {
        check_rule(
            &format!("images = [\"alpine\"]\nrequire = {{ all = [\"corp\"] }}\n{conditions}"),
            expected,
        );
    };
    let seen = "on_inconclusive = \"admit_if_seen\"";
    check_conditions(seen, &["changes nothing without revocation_grace"]);
    check_conditions(
        "revocation_grace = \"24h\"",
        &["revocation_grace has no meaning without on_inconclusive"],
    );
    for grace in ["", "24", "-1h", "0s", "91d", "1y", "soon"] {
        check_conditions(
            &format!("{seen}\nrevocation_grace = \"{grace}\""),
            &["expected a duration of 1 s to 90 days"],
        );
    }
    for time in ["", "2026-01-31", "2026-01-31T00:00:00", "yesterday"] {
        check_conditions(
            &format!("minimum_signing_time = \"{time}\""),
            &["expected a time such as"],
        );
    }
    check_conditions("annotations = {}", &["annotations has 0 keys"]);
    check_conditions("annotations = { a = 1 }", &["annotation \"a\" must be text"]);
    check_conditions("annotations = { \"io.cncf.notary.x\" = \"1\" }", &["is reserved"]);
    check_conditions("accept_platform_signatures = 1", &["must be true or false"]);
}

#[test]
fn refuses_what_this_version_cannot_do() {
    check_rule(
        "images = [\"alpine\"]\nrequire = { all = [\"corp\"] }\nnamespaces = [\"x\"]\ntags = [\"v1\"]",
        &["does not know the namespace", "a tag says nothing reliable"],
    );
    check_authority("type = \"sigstore\"", &["authority type \"sigstore\" is unknown"]);
    check_authority("", &["authority corp is missing its type"]);
}

#[test]
fn an_authority_is_described_here_or_in_a_folder_not_both() {
    check_authority(
        "type = \"notation\"\nconfig = \"/etc/notation\"\nlevel = \"strict\"\ntrust_stores = [\"ca:x\"]",
        &[
            "level cannot stand beside config",
            "trust_stores cannot stand beside config",
        ],
    );
    check_authority("type = \"notation\"\nconfig = \"\"", &["config names no folder"]);
    check_authority(
        "type = \"notation\"",
        &[
            "level is missing",
            "trust_stores is missing",
            "trusted_identities is missing",
        ],
    );
    check_authority(
        "type = \"notation\"\nlevel = \"skip\"",
        &["authority corp verifies nothing: its level is skip"],
    );
    check_authority(
        "type = \"notation\"\nlevel = \"strict\"\ntrust_stores = [\"ca:x\"]\ntrusted_identities = [\"*\"]\nlevels = 1",
        &["unknown key \"levels\""],
    );
    check(
        &format!("{HEAD}[authority.\"a b\"]\ntype = \"notation\"\n"),
        &["authority name \"a b\" is not valid"],
    );
}

#[test]
fn a_broken_authority_does_not_make_its_rules_wrong() {
    check_authority(
        "type = \"notation\"\nconfig = 7",
        &["policy.toml:9:10: error: config must be text, not a number"],
    );
}

#[test]
fn warns_of_rules_that_can_never_decide() {
    let rule = |name: &str, condition: &str| format!("[[rule]]\nname = \"{name}\"\n{condition}\ndeny = \"x\"\n");
    let wide = rule("wide", "images = [\"a.example/**\"]");
    let narrow = rule("narrow", "images = [\"a.example/b\", \"a.example/c/*\"]");
    check(
        &format!("{HEAD}{wide}{narrow}"),
        &[
            "policy.toml:7:1: warning: rule \"narrow\" can never decide: rules above are for all its images\n  help: move it above rule \"wide\" in line 3",
        ],
    );
    check(&format!("{HEAD}{narrow}{wide}"), &[]);
    let other = rule("other", "images = [\"a.example/b\", \"b.example/c\"]");
    check(&format!("{HEAD}{wide}{other}"), &[]);
    let by_digest = rule("by digest", &format!("digests = [\"{DIGEST}\"]"));
    check(&format!("{HEAD}{by_digest}{wide}"), &[]);
    check(&format!("{HEAD}{wide}{by_digest}"), &[]);
    let both = rule("both", &format!("images = [\"c.example/d\"]\ndigests = [\"{DIGEST}\"]"));
    check(&format!("{HEAD}{by_digest}{both}"), &["rule \"both\" can never decide"]);
    let everything = rule("everything", "images = [\"**\"]");
    check(
        &format!("{HEAD}{everything}{both}"),
        &["rule \"both\" can never decide"],
    );
    let two = format!(
        "{}{}",
        rule("b", "images = [\"a.example/b\"]"),
        rule("c", "images = [\"a.example/c/*\"]")
    );
    check(&format!("{HEAD}{two}{narrow}"), &["rule \"narrow\" can never decide"]);
}

#[test]
fn warns_of_what_is_probably_not_meant() {
    check(
        &format!("{HEAD}{CORP}"),
        &["policy.toml:3:12: warning: no rule requires authority corp"],
    );
    check(
        "version = 1\nunmatched = \"admit\"\n[[rule]]\nname = \"r\"\nimages = [\"alpine\"]\ndeny = \"x\"\n",
        &[
            "policy.toml:2:13: warning: images that no rule is for are admitted without evidence",
            "policy.toml:3:1: warning: rule \"r\" is no boundary",
        ],
    );
    check(
        &format!(
            "version = 1\nunmatched = \"audit\"\n[[rule]]\nname = \"r\"\ndigests = [\"{DIGEST}\"]\ndeny = \"x\"\n"
        ),
        &[],
    );
}

#[test]
fn escapes_what_it_quotes() {
    check_rule(
        "images = [\"alpine\"]\ndeny = \"x\"\n\"\\u001b[31m\" = 1",
        &["unknown key \"\\u{1b}[31m\""],
    );
}

#[test]
fn reads_as_many_rules_as_are_allowed_and_no_more() {
    let rules = |count: usize| {
        let rule = |number| format!("[[rule]]\nname=\"{number}\"\nimages=[\"a.example/{number}\"]\ndeny=\"x\"\n");
        format!("{HEAD}{}", (0..count).map(rule).collect::<String>())
    };
    check(&rules(MAX_RULES), &[]);
    check(&rules(MAX_RULES + 1), &["10001 rules are more than 10000"]);
    check(
        &"#".repeat(MAX_POLICY_SIZE + 1),
        &["policy.toml: error: the policy has"],
    );
}

#[test]
fn warns_of_what_has_no_meaning_for_authorities_of_the_type_cosign() {
    let policy = |authority: &str, rule: &str| {
        format!(
            "{HEAD}[authority.key]\ntype = \"cosign\"\nkeys = [\"a.pub\"]\n{authority}\n[[rule]]\nname = \"r\"\nimages = [\"a.example/b\"]\n{rule}\n"
        )
    };
    const REQUIRE: &str = "require = { all = [\"key\"] }";
    const GRACE: &str = "on_inconclusive = \"admit_if_seen\"\nrevocation_grace = \"24h\"";
    check(
        &policy("", &format!("{REQUIRE}\naccept_unverified = true")),
        &["warning: accept_unverified changes nothing in rule \"r\""],
    );
    check(
        &policy("", &format!("{REQUIRE}\n{GRACE}")),
        &["warning: revocation_grace changes nothing in rule \"r\""],
    );
    let both = "require = { any = [\"key\", \"corp\"] }";
    check(
        &policy(CORP, &format!("{both}\naccept_unverified = true\n{GRACE}")),
        &[],
    );
    let attested = "require_attestations = [{ type = \"openvex\", authority = \"key\" }]";
    check(
        &policy("annotations = { env = \"prod\" }", attested),
        &["warning: the annotations of authority key are not asked of the attestations in rule \"r\""],
    );
    check(&policy("annotations = { env = \"prod\" }", REQUIRE), &[]);
    check(&policy("", attested), &[]);
}
