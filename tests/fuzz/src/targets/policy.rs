//! The policy document.

use std::collections::BTreeSet;

use assay_verify::digest::Digest;
use assay_verify::policy::{Effect, Policy};

use crate::{Target, seeds, shown};

const WHOLE: &str = r#"version = 1
unmatched = "deny"
[authority.corp]
type = "notation"
trust_stores = ["ca:corp", "signingAuthority:corp"]
trusted_identities = ["x509.subject: C=US, ST=WA, O=Corp, CN=release"]
level = "strict"
override = { revocation = "skip" }
verify_timestamp = "afterCertExpiry"
[authority.folder]
type = "notation"
config = "/etc/notation"
[authority.key]
type = "cosign"
keys = ["keys/a.pub"]
trusted_root = "sigstore/root.json"
transparency_log = 1
annotations = { env = "prod" }
repository = "registry.corp.example/signatures"
accept_dsse_v0_0_2 = true
[authority.keyless]
type = "cosign"
trusted_root = "github"
identities = [{ issuer = "https://idp.example", subject_regex = "https://github\\.com/corp/.+", source_repository = "https://github.com/corp/app" }]
timestamps = 1
[authority.own]
type = "cosign"
ca = ["ca.pem"]
intermediates = ["i.pem"]
identities = [{ issuer_regex = ".+", subject = "a" }]
[[rule]]
name = "attested"
images = ["registry.corp.example/attested/**"]
require_attestations = [{ type = "vuln", authority = "key", max_severity = "low", max_age = "24h" }, { type = "slsaprovenance1", authority = "keyless", builder = "b", source_ref_regex = "refs/.+", equals = { "predicate.a.0" = 1 }, cel = "predicate.l.all(x, x == 'a')" }, { type = "spdx", authority = "own", format = "spdx" }]
[[rule]]
name = "node essentials"
images = ["registry.k8s.io/pause"]
admit_digests = ["sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"]
[[rule]]
name = "production"
images = ["registry.corp.example/prod/**", "alpine"]
require = { at_least = 1, of = ["corp", "folder"] }
mode = "audit"
on_inconclusive = "admit_if_seen"
accept_unverified = true
[[rule]]
name = "never"
images = ["docker.io/evil/**"]
deny = "withdrawn"
"#;

/// The policy document.
pub const TARGET: Target = Target {
    name: "policy",
    seeds: || {
        seeds::texts(&[
            WHOLE,
            "version = 1\nunmatched = \"admit\"\n[[rule]]\nname = 'a'\nimages = ['**']\ndeny = \"\"\"b\"\"\"\n",
            "version = 1\nunmatched = \"audit\"\nrule = [{name = \"a\", images = [\"a.example/*\"], require = {all = [\"b\"]}}]\nauthority.b = {type = \"notation\", config = \"/c\"}\n",
            "version = 1\nunmatched = \"deny\"\n[[rule]]\nname = \"a\"\ndigests = [\"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"]\ndeny = \"b\"\n",
            &format!("version = 1\n{}b = 1\n", "a.".repeat(8_000)),
            &format!("a = {}", "[".repeat(20_000)),
        ])
    },
    words: &[
        b"[",
        b"]",
        b"[[rule]]\n",
        b"[authority.a]\n",
        b"{",
        b"}",
        b"=",
        b"\"",
        b"'",
        b"\"\"\"",
        b"'''",
        b"\\u202E",
        b"\\U0001F600",
        b"\n",
        b"\r\n",
        b"a.",
        b".",
        b"#",
        b"0x",
        b"1979-05-27T07:32:00Z",
        b"inf",
        b"nan",
        b"99999999999999999999",
        b"-1",
        b"any = [\"corp\"]",
        b"all = []",
        b"deny = \"a\"\n",
        b"\xe2\x80\xae",
        b"\x1b[31m",
        b"\x7f",
        b"\"**\",",
        b"[a.",
        b"keys = [\"a\"]\n",
        b"identities = [{",
        b"_regex = \"(\"",
        b"trusted_root = \"github\"\n",
        b"cel = \"\"",
        b"require_attestations = [",
    ],
    check,
    inputs: 2_500,
};

/// A policy that is read is TOML, its rules have different names and authorities that exist, and it decides about every
/// image.
pub fn check(input: &[u8]) -> String {
    let Some(text) = super::text(input) else {
        return "not text".to_owned();
    };
    let parsed = Policy::parse("policy.toml", text);
    if let Some(policy) = &parsed.policy {
        text.parse::<toml::Table>().expect("TOML");
        let names: BTreeSet<&str> = policy.rules().iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), policy.rules().len());
        for rule in policy.rules() {
            assert!(
                rule.images().is_some_and(|images| !images.is_empty())
                    || rule.digests().is_some_and(|digests| !digests.is_empty())
            );
            if let Effect::Require { requirements, .. } = rule.effect() {
                if let Some(signatures) = requirements.signatures() {
                    assert!((1..=signatures.authorities().len()).contains(&signatures.needed()));
                }
                assert!(requirements.signatures().is_some() || !requirements.attestations().is_empty());
                assert!(
                    requirements
                        .authorities()
                        .all(|name| policy.authorities().contains_key(name))
                );
            }
        }
        let repository = "registry.corp.example/prod/a".parse().expect("a repository");
        let decision = policy.decide(&repository, &Digest::sha256(b""));
        assert_eq!(
            Policy::parse("again", text)
                .policy
                .as_ref()
                .map(|again| again.decide(&repository, &Digest::sha256(b""))),
            Some(decision)
        );
    }
    shown::diagnostics(text, parsed.policy.is_some(), &parsed.diagnostics)
}
