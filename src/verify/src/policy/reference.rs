//! Every key of the policy document and of the exceptions: what the readers let pass, and the manual's reference of it.
//!
//! A reader gets its table from [`crate::document::Report::known`] and can read nothing from it that has no entry here.

use std::fmt::Write as _;

use crate::document::{Absent, Key, Kind, Section};
use crate::sigstore::fulcio::Claim;

#[cfg(test)]
mod tests;

use Absent::{Default, Instead, Mandatory, Nothing, Refused};
use Kind::{Described, Words};

const fn key(name: &'static str, value: Kind, absent: Absent, meaning: &'static str) -> Key {
    Key {
        name,
        value,
        absent,
        meaning,
    }
}

pub(crate) static DOCUMENT: Section = Section {
    title: "The policy document",
    about: "What stands before the first table.",
    keys: &[
        key("version", Described("`1`"), Mandatory, "the version of the document"),
        key(
            "unmatched",
            Words(&["deny", "audit", "admit"]),
            Mandatory,
            "what happens to images that no rule is for; `\"audit\"` admits, and says that they would have been denied",
        ),
        key(
            "poll_interval",
            Described("time, `\"5s\"` to `\"24h\"`"),
            Nothing,
            "how often nodes ask the policy repository that the document came from, within the bounds of their own configuration. In a \
             policy on disk it means nothing",
        ),
        key(
            "authority",
            Described("tables, `[authority.NAME]`"),
            Nothing,
            "somebody whose signature counts. The name has letters, digits, `-` and `_`",
        ),
        key(
            "rule",
            Described("list of tables, `[[rule]]`"),
            Nothing,
            "tried from top to bottom: the first whose `images` and `digests` match decides",
        ),
    ],
};

pub(crate) static NOTATION: Section = Section {
    title: "`[authority.NAME]` with `type = \"notation\"`",
    about: "The Notary Project. Either `config`, or the statement itself.",
    keys: &[
        key("type", Words(&["notation"]), Mandatory, "the Notary Project"),
        key(
            "config",
            Described("folder"),
            Nothing,
            "a standard Notation configuration, `trustpolicy.json` and `truststore/`, which describes the authority. Only `follow_symlinks` \
             may stand beside it",
        ),
        key(
            "follow_symlinks",
            Described("`true`, `false`"),
            Default("false"),
            "whether files of the trust stores may be symbolic links that stay inside the store, as Kubernetes mounts a Secret",
        ),
        key(
            "trust_stores",
            Described("list of `\"ca:NAME\"`, `\"signingAuthority:NAME\"`, `\"tsa:NAME\"`"),
            Mandatory,
            "folders of certificates beside the document: `notation/truststore/x509/ca/NAME/`",
        ),
        key(
            "trusted_identities",
            Described("list of text"),
            Mandatory,
            "who may sign: `\"x509.subject: …\"` or `\"*\"`, and here also `\"x509.sha256: …\"`, `\"x509.spki: …\"`, `\"x509.san.dns: …\"`, \
             `\"x509.san.uri: …\"` and `\"x509.san.email: …\"`",
        ),
        key(
            "level",
            Words(&["strict", "permissive", "audit"]),
            Mandatory,
            "which checks are enforced and which only logged, as the Notary Project has it",
        ),
        key(
            "override",
            Described("table of checks and `\"enforce\"`, `\"log\"` or `\"skip\"`"),
            Nothing,
            "another action for `authenticity`, `authenticTimestamp`, `expiry` or `revocation` than the level's. Only `revocation` can be \
             skipped",
        ),
        key(
            "verify_timestamp",
            Words(&["always", "afterCertExpiry"]),
            Default("\"always\""),
            "when a timestamp is needed: of use with a `tsa` store only",
        ),
    ],
};

pub(crate) static COSIGN: Section = Section {
    title: "`[authority.NAME]` with `type = \"cosign\"`",
    about: "What cosign and sigstore's services sign: either `keys`, or `identities` with `trusted_root` or `ca`.",
    keys: &[
        key("type", Words(&["cosign"]), Mandatory, "cosign and sigstore"),
        key(
            "keys",
            Described("list of at most 64 files"),
            Nothing,
            "one public key each, in PEM: `PUBLIC KEY`, `RSA PUBLIC KEY`, or `CERTIFICATE`, of which the key alone counts. One signature by one \
             of them suffices; for more, make an authority of each key",
        ),
        key(
            "identities",
            Described("list of 1 to 256 tables"),
            Nothing,
            "who may sign: one of them suffices. Not beside `keys`",
        ),
        key(
            "trusted_root",
            Described("`\"public-good\"`, `\"github\"` or a file"),
            Nothing,
            "the logs and authorities that are trusted; the two names are those that assayd brings along \
             ([trusted-roots.md](trusted-roots.md)). A name with a slash or with the end `.json` is a file. Optional with `keys`",
        ),
        key(
            "ca",
            Described("list of at most 64 files"),
            Nothing,
            "certificates that issue signers' certificates, instead of a trusted root: whole files of PEM, or DER. There is no log and no \
             timestamp then, so a certificate has to be valid when it is judged",
        ),
        key(
            "intermediates",
            Described("list of at most 64 files"),
            Nothing,
            "certificates between those and signers'. One that leads to no `ca` is an error",
        ),
        key(
            "transparency_log",
            Described("number, 0 to 8"),
            Default("1 if the trusted root has logs, else 0"),
            "entries in so many logs, of different operators",
        ),
        key(
            "signed_certificate_timestamps",
            Described("number, 0 to 8"),
            Default("1 with identities if the trusted root has such logs, else 0"),
            "promises by so many certificate transparency logs, of different operators",
        ),
        key(
            "timestamps",
            Described("number, 0 to 8"),
            Default("0"),
            "RFC 3161 timestamps by so many authorities, of different operators",
        ),
        key(
            "annotations",
            Described("table of 1 to 128 texts"),
            Nothing,
            "annotations that the signed payload must have: `{ env = \"prod\" }`. Not asked of attestations",
        ),
        key(
            "repository",
            Described("repository"),
            Nothing,
            "where signatures lie if not beside the image: cosign's `COSIGN_REPOSITORY`",
        ),
        key(
            "accept_dsse_v0_0_2",
            Described("`true`, `false`"),
            Default("false"),
            "also take log entries of the kind `dsse` 0.0.2, which cosign 3.0 made with a private Rekor v2",
        ),
    ],
};

const ISSUER: &str = "the identity provider";
const SUBJECT: &str = "the certificate's one alternative name: a URI, an e-mail address or a user name";

pub(crate) static IDENTITY: Section = Section {
    title: "Each of `identities`",
    about: "A regular expression has to fit the whole text. Everything that is written down has to fit.",
    keys: &[
        key("issuer", Described("text"), Instead("issuer_regex"), ISSUER),
        key(
            "issuer_regex",
            Described("regular expression"),
            Instead("issuer"),
            ISSUER,
        ),
        key("subject", Described("text"), Instead("subject_regex"), SUBJECT),
        key(
            "subject_regex",
            Described("regular expression"),
            Instead("subject"),
            SUBJECT,
        ),
    ],
};

pub(crate) static RULE: Section = Section {
    title: "`[[rule]]`",
    about: "At least one of `images` and `digests`, and at least one of `require`, `require_attestations`, `admit_digests` and `deny`, are \
            mandatory.",
    keys: &[
        key(
            "name",
            Described("text, at most 128 bytes"),
            Mandatory,
            "unique; it appears in every verdict",
        ),
        key(
            "images",
            Described("list of patterns"),
            Nothing,
            "the rule is for repositories that one of them matches: [policy.md](policy.md#patterns)",
        ),
        key(
            "digests",
            Described("list of digests"),
            Nothing,
            "the rule is for these digests alone",
        ),
        key(
            "deny",
            Described("text, at most 128 bytes"),
            Nothing,
            "denies, with this reason",
        ),
        key(
            "require",
            Described("table"),
            Nothing,
            "which authorities have to have signed: `{ all = [...] }`, `{ any = [...] }` or `{ at_least = 2, of = [...] }`",
        ),
        key(
            "require_attestations",
            Described("list of 1 to 32 tables"),
            Nothing,
            "attestations, each of which has to be there; alone or beside `require`: [attestations.md](attestations.md)",
        ),
        key(
            "admit_digests",
            Described("list of digests"),
            Nothing,
            "digests that need no evidence; without `require` and `require_attestations`, every other digest is denied",
        ),
        key(
            "mode",
            Words(&["enforce", "audit"]),
            Default("\"enforce\""),
            "`\"audit\"` admits, and says in every channel what it would have denied. Never with `deny`",
        ),
        key(
            "accept_unverified",
            Described("`true`, `false`"),
            Default("false"),
            "lets Notation's `skip`, or an authenticity failure that a level only logs, satisfy the requirement. Needs `require`",
        ),
        key(
            "accept_platform_signatures",
            Described("`true`, `false`"),
            Default("false"),
            "for a multi-platform index: signatures on every child that this node could run count as one on the index. Children without a \
             platform, of unknown types and nested indexes count as runnable",
        ),
        key(
            "namespaces",
            Described("–"),
            Refused,
            "containerd's hook does not know the namespace of a pod",
        ),
        key(
            "tags",
            Described("–"),
            Refused,
            "a tag says nothing reliable about what is unpacked",
        ),
        key(
            "on_inconclusive",
            Words(&["deny", "admit_if_seen"]),
            Default("\"deny\""),
            "stored evidence is always judged first, so an image that was seen stays admitted while the registry is away. `\"admit_if_seen\"` \
             also lets it pass while a revocation endpoint is away and the last answer has lapsed, for the time of `revocation_grace`",
        ),
        key(
            "revocation_grace",
            Described("time, at most 90 days: `\"24h\"`"),
            Nothing,
            "how far past its end a revocation answer may count, for an image that was admitted here before, while the endpoint is away. What \
             passes on grace says so in every verdict. A revoked certificate, and an endpoint that answers with an old answer, have no grace",
        ),
        key(
            "minimum_signing_time",
            Described("time: `\"2026-01-31T00:00:00Z\"`"),
            Nothing,
            "older signatures do not count, against the replay of old signed images. Only authenticated time counts: a timestamp authority's or \
             a signing authority's, for `notation`; for `cosign` the beginning of the signer's certificate, once a log or a timestamp \
             authority vouches for a time in its life. A signature without one is too old, and so is every one by a bare key: a new \
             timestamp makes no old signature young",
        ),
        key(
            "annotations",
            Described("table of 1 to 128 texts"),
            Nothing,
            "annotations that the payload of every signature must have, `{ build = \"release\" }`: notation's `--user-metadata`, cosign's \
             `--annotations`. Needs `require`",
        ),
    ],
};

pub(crate) static REQUIRE: Section = Section {
    title: "`require`",
    about: "Exactly one of `all`, `any`, and `at_least` with `of`. Names of authorities, each once.",
    keys: &[
        key("all", Described("list of names"), Nothing, "each has to have signed"),
        key("any", Described("list of names"), Nothing, "one suffices"),
        key("at_least", Described("number"), Nothing, "so many of those in `of`"),
        key(
            "of",
            Described("list of names"),
            Nothing,
            "of whom `at_least` have to have signed",
        ),
    ],
};

pub(crate) static ATTESTATION: Section = Section {
    title: "Each of `require_attestations`",
    about: "One statement has to satisfy all of it. [attestations.md](attestations.md) explains each condition.",
    keys: &[
        key(
            "type",
            Described("URI, or cosign's short name"),
            Mandatory,
            "the predicate type",
        ),
        key(
            "authority",
            Described("name"),
            Mandatory,
            "whose word counts: an authority of the type `cosign`",
        ),
        key(
            "max_age",
            Described("time, at most ten years: `\"24h\"`"),
            Nothing,
            "the newest statement decides, and is no older. Mandatory for `vuln`",
        ),
        key(
            "builder",
            Described("text"),
            Nothing,
            "provenance: the builder's identifier",
        ),
        key(
            "builder_regex",
            Described("regular expression"),
            Nothing,
            "provenance: the builder's identifier",
        ),
        key(
            "source_repository",
            Described("text"),
            Nothing,
            "provenance: the source's repository",
        ),
        key(
            "source_repository_regex",
            Described("regular expression"),
            Nothing,
            "provenance: the source's repository",
        ),
        key("source_ref", Described("text"), Nothing, "provenance: the source's ref"),
        key(
            "source_ref_regex",
            Described("regular expression"),
            Nothing,
            "provenance: the source's ref",
        ),
        key(
            "max_severity",
            Words(&["negligible", "low", "medium", "high", "critical"]),
            Nothing,
            "scans: no finding is worse",
        ),
        key(
            "format",
            Words(&["spdx", "cyclonedx"]),
            Nothing,
            "bills of materials: the predicate is one of this form",
        ),
        key(
            "equals",
            Described("table of 1 to 128 values"),
            Nothing,
            "fields of the statement have these values: `{ \"predicate.level\" = 3 }`",
        ),
        key("cel", Described("expression"), Nothing, "it is true"),
    ],
};

pub(crate) static EXCEPTIONS: Section = Section {
    title: "The document of exceptions",
    about: "Break-glass exceptions: [deny-list.md](deny-list.md#break-glass-exceptions).",
    keys: &[
        key("version", Described("`1`"), Mandatory, "the version of the document"),
        key(
            "exception",
            Described("list of at most 100 tables, `[[exception]]`"),
            Nothing,
            "each counts alone",
        ),
    ],
};

pub(crate) static EXCEPTION: Section = Section {
    title: "`[[exception]]`",
    about: "At least one of `images` and `digests` is mandatory.",
    keys: &[
        key(
            "images",
            Described("list of patterns"),
            Nothing,
            "for repositories that one of them matches; not for `**` alone",
        ),
        key(
            "digests",
            Described("list of digests"),
            Nothing,
            "for these digests alone",
        ),
        key(
            "owner",
            Described("text, at most 128 bytes"),
            Mandatory,
            "who is responsible for it",
        ),
        key(
            "reason",
            Described("text, at most 128 bytes"),
            Mandatory,
            "why it was made",
        ),
        key(
            "incident",
            Described("text, at most 128 bytes"),
            Mandatory,
            "where more is written about it",
        ),
        key(
            "starts",
            Described("time: `\"2026-01-31T00:00:00Z\"`"),
            Mandatory,
            "the first moment at which it counts",
        ),
        key(
            "expires",
            Described("time"),
            Mandatory,
            "the first moment at which it counts no longer, at most 24 hours later",
        ),
    ],
};

/// All of them, in the order of the manual.
static SECTIONS: [&Section; 9] = [
    &DOCUMENT,
    &NOTATION,
    &COSIGN,
    &IDENTITY,
    &RULE,
    &REQUIRE,
    &ATTESTATION,
    &EXCEPTIONS,
    &EXCEPTION,
];

/// The reference of all keys, as a page of the manual in Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Every key of the policy\n\n\
         This page is made of the code that reads the policy; `assayctl policy reference` prints it. [policy.md](policy.md) says how the keys \
         work together. Any other key is an error.\n",
    );
    for section in SECTIONS {
        // Writing to a String does not fail.
        let _: Result<(), _> = write!(
            page,
            "\n## {}\n\n{}\n\n| key | value | if absent | meaning |\n| --- | --- | --- | --- |\n",
            section.title, section.about
        );
        for key in section.keys {
            let _: Result<(), _> = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                key.name,
                value(key.value),
                absent(key.absent),
                key.meaning
            );
        }
        if std::ptr::eq(section, &IDENTITY) {
            let claims: Vec<_> = Claim::all().map(|claim| format!("`{}`", claim.name())).collect();
            let _: Result<(), _> = write!(
                page,
                "\nClaims about the workload may stand beside them, each also with `_regex`: {}.\n",
                claims.join(", ")
            );
        }
    }
    page
}

fn value(kind: Kind) -> String {
    match kind {
        Words(words) => words
            .iter()
            .map(|word| format!("`\"{word}\"`"))
            .collect::<Vec<_>>()
            .join(", "),
        Described(description) => description.to_owned(),
    }
}

fn absent(absent: Absent) -> String {
    match absent {
        Mandatory => "an error".to_owned(),
        Nothing => "–".to_owned(),
        // A value that can be written as it stands, or words.
        Default(value) if value.contains(' ') => value.to_owned(),
        Default(value) => format!("`{value}`"),
        Instead(other) => format!("`{other}`, or an error"),
        Refused => "always refused".to_owned(),
    }
}
