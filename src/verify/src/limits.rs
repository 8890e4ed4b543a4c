//! The one table of limits. Everything from outside is bounded here, and each bound has its reason.
//!
//! Sizes are bytes. A limit is checked while reading, so a stranger's declared size never allocates.

use std::time::Duration;

/// An OCI manifest or index. The OCI distribution specification asks registries to accept 4 MiB; notation and
/// containerd stop there too.
pub const MAX_MANIFEST_SIZE: usize = 4 * 1024 * 1024;

/// A manifest that carries signatures. Those of notation and of bundles are below 8 KiB; one under a cosign tag has a layer
/// for every signature, with 6 to 8 KiB of certificates and log entry beside it.
pub const MAX_SIGNATURES_MANIFEST_SIZE: usize = 1024 * 1024;

/// A signature envelope. Real ones with a chain of four certificates and a timestamp are below 16 KiB. notation
/// accepts 32 MiB, which would let one referrer take the whole memory of a verification.
pub const MAX_ENVELOPE_SIZE: usize = 1024 * 1024;

/// One page of a referrers listing.
pub const MAX_REFERRERS_PAGE_SIZE: usize = MAX_MANIFEST_SIZE;

/// Pages of one referrers listing (CVE-2023-33957: endless signatures).
pub const MAX_REFERRERS_PAGES: usize = 64;

/// Descriptors kept from one listing. Ten thousand junk referrers around one signature are listed, not refused.
pub const MAX_REFERRERS: usize = 16_384;

/// Signature manifests opened for one verification, likely ones first. notation's default is 100 signatures; the rest
/// is room for referrers that are something else but do not say so.
pub const MAX_OPENED_REFERRERS: usize = 512;

/// Envelopes judged for one authority (CVE-2023-33958: the default was effectively unbounded).
pub const MAX_SIGNATURES: usize = 100;

/// Bytes that one verification holds at a time.
pub const MAX_VERIFICATION_MEMORY: usize = 8 * 1024 * 1024;

/// Bytes that all verifications of the process hold at a time.
pub const MAX_PROCESS_MEMORY: usize = 32 * 1024 * 1024;

/// Requests under way at once to one registry, so that a slow one starves no other.
pub const MAX_REQUESTS_PER_REGISTRY: usize = 16;

/// Redirects of one request. Registries redirect blobs once to storage.
pub const MAX_REDIRECTS: usize = 3;

/// A token server's answer. Real ones are below 8 KiB.
pub const MAX_TOKEN_RESPONSE_SIZE: usize = 64 * 1024;

/// What is read of a registry's error body, for the message.
pub const MAX_ERROR_BODY_SIZE: usize = 4 * 1024;

/// Connecting to a host, TLS included; and how long a connection may leave what was sent unacknowledged.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the head of an answer may take, connecting included. A registry that needs twelve seconds is denied once and
/// admitted on the retry, because gathering goes on; one that says nothing for longer must not hold its slots for all of
/// [`GATHER_DEADLINE`].
pub const RESPONSE_HEAD_TIMEOUT: Duration = Duration::from_secs(20);

const _: () = assert!(CONNECT_TIMEOUT.as_secs() < RESPONSE_HEAD_TIMEOUT.as_secs());
const _: () = assert!(RESPONSE_HEAD_TIMEOUT.as_secs() < GATHER_DEADLINE.as_secs());

/// Silence on an open response: no byte for this long ends it.
pub const READ_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an asker waits for a verdict. The hook gives up at 8 s and containerd kills it at 10; the answer, which knows
/// more than the hook does, must arrive before, also on a loaded node.
pub const VERIFY_DEADLINE: Duration = Duration::from_secs(7);

/// How long gathering goes on after its askers gave up, so that the retry finds what was slow.
pub const GATHER_DEADLINE: Duration = Duration::from_secs(60);

/// How old gathering may be for a new asker to rely on it alone. Older, it is probably stuck on a registry that hung, and
/// the asker begins anew beside it. Twice what an asker waits: the retry of one who gave up still joins.
pub const STALE_GATHER: Duration = Duration::from_secs(15);

/// How long the denial of an image is answered from memory. An image signed one minute late is admitted seconds later.
pub const DENIAL_LIFETIME: Duration = Duration::from_secs(5);

/// The longest life of an admitting verdict, whatever it rests on.
pub const MAX_VERDICT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Verdicts kept in memory. A node runs tens of images; a build node sees thousands.
pub const MAX_CACHED_VERDICTS: usize = 20_000;

/// Gathers under way at once; more askers of other images are denied with `limit-exceeded`. One that waits holds a few
/// kilobytes, and its bytes and requests have bounds of their own; so there are many, lest one registry that hangs use
/// them up.
pub const MAX_CONCURRENT_GATHERS: usize = 4_096;

/// A reference as a hook gives it: host, repository (255), tag (128) and digest with room to spare.
pub const MAX_REFERENCE_LENGTH: usize = 1024;

/// A repository's path. The OCI distribution specification allows clients to limit name and host to 255.
pub const MAX_REPOSITORY_LENGTH: usize = 255;

/// Bytes of a tag, by the grammar of the distribution specification.
pub const MAX_TAG_LENGTH: usize = 128;

/// A policy document, trustpolicy.json or configuration file.
pub const MAX_POLICY_SIZE: usize = 1024 * 1024;

/// Rules of a policy document, and authorities of one.
pub const MAX_RULES: usize = 10_000;

/// Names in one list of a rule or statement: image patterns, digests, scopes. Checking reachability compares them all.
pub const MAX_LIST_LENGTH: usize = 10_000;

/// Trusted identities of one statement. Each is compared with each when a policy is read, because they must not overlap:
/// half a million comparisons, a fraction of a second.
pub const MAX_TRUSTED_IDENTITIES: usize = 1_000;

/// Comparisons of image patterns when a policy is searched for rules that can never decide: seconds at most. Full
/// names are looked up and cost none; a thousand rules of ten wildcards each stay below. Beyond, the search ends and
/// says so.
pub const MAX_PATTERN_COMPARISONS: usize = 50_000_000;

/// A name or reason in a policy. It is part of the line that a hook prints.
pub const MAX_POLICY_NAME_LENGTH: usize = 128;

/// Problems reported about one document. A file of another kind would otherwise fill a terminal.
pub const MAX_DIAGNOSTICS: usize = 100;

/// A certificate file of a trust store.
pub const MAX_TRUST_STORE_FILE_SIZE: usize = 1024 * 1024;

/// Certificates of one trust store.
pub const MAX_TRUST_STORE_CERTIFICATES: usize = 1_000;

/// Certificates in the chain of one envelope. Public code-signing chains have three or four.
pub const MAX_CHAIN_LENGTH: usize = 16;

/// One certificate. Real ones are below 3 KiB.
pub const MAX_CERTIFICATE_SIZE: usize = 64 * 1024;

/// A distinguished name in text (CVE-2023-25656: a crafted one exhausted memory).
pub const MAX_DISTINGUISHED_NAME_LENGTH: usize = 4 * 1024;

/// Nesting of JSON and CBOR from outside. Envelopes and manifests nest below 8.
pub const MAX_NESTING: usize = 64;

/// Attributes and annotations of one envelope or manifest.
pub const MAX_ATTRIBUTES: usize = 128;

/// JSON or CBOR values of one envelope. Real ones have below 50. A parsed value takes 32 bytes where its text may take
/// one, so without this bound an envelope would multiply itself in memory.
pub const MAX_ENVELOPE_VALUES: usize = 1024;

/// A string from outside, when it is shown.
pub const MAX_SHOWN_LENGTH: usize = 200;

/// The line that a hook prints and that reaches `kubectl describe pod`.
pub const MAX_REASON_LENGTH: usize = 512;

/// Bytes of evidence on disk, unless configured. 10,000 images with three records of 4 KiB each are 120 MiB.
pub const DEFAULT_CACHE_SIZE: u64 = 256 * 1024 * 1024;

/// An OCI layout given to `assayctl verify --offline` as a tar, and the number of its entries.
pub const MAX_LAYOUT_TAR_ENTRIES: usize = 100_000;

/// The longest life of a registry's token that is believed.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// Tokens kept for one registry, one a repository.
pub const MAX_CACHED_TOKENS: usize = 1024;

/// Tries of one request, the first included: one more after a failure of the server or the connection.
pub const MAX_REQUEST_TRIES: u32 = 2;

/// Times that one request waits because the registry asks for it.
pub const MAX_RETRY_AFTER_WAITS: u32 = 3;

/// The longest wait that is granted. A registry that asks for more is given up on: the asker retries by itself.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(15);

/// How long a host that could not be reached is asked after the others that serve a registry's images. A mirror that is away
/// must not cost every request of a verification its timeout.
pub const MIRROR_REST: Duration = Duration::from_secs(10);

/// How often the files that say how registries are reached are looked at for changes: at most, and only when one is asked.
pub const REGISTRY_FILES_LOOK: Duration = Duration::from_secs(1);

/// How long it is remembered that a registry has the referrers API or not. After an upgrade, for this long signatures
/// are looked for in the old place first.
pub const REGISTRY_KIND_LIFETIME: Duration = Duration::from_secs(600);

/// The name of a file in a tar, where an extension header carries it. Blobs by sha512 need 141 bytes.
pub const MAX_TAR_NAME_LENGTH: u64 = 4096;

/// How long bytes wait for memory that others hold. Those others hold it for one request; who waits longer meets a
/// process that is full of them, and waiting while holding would block both.
pub const MEMORY_WAIT: Duration = Duration::from_secs(2);

/// Registries whose connections, tokens and kind are remembered. Nodes use a few; beyond this, idle ones are forgotten.
pub const MAX_REGISTRIES: usize = 256;

/// What HTTP/2 may buffer of one answer before it is read: hyper's own default is megabytes that no budget would pay for.
pub const STREAM_WINDOW: u32 = 128 * 1024;

/// The same for one connection.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The header fields of one answer, in bytes. A `Link` or a signed redirect takes up to 8 KiB.
pub const MAX_HEADER_SIZE: u32 = 64 * 1024;

/// A question on the wire: two short strings and a descriptor.
pub const MAX_QUESTION_SIZE: usize = 64 * 1024;

/// The bytes of evidence in one message of an export or import: with what is around them they stay below
/// [`MAX_QUESTION_SIZE`].
pub const EVIDENCE_PIECE: usize = 32 * 1024;

const _: () = assert!(2 * EVIDENCE_PIECE <= MAX_QUESTION_SIZE);

/// How long the questions under way have to finish when the daemon stops. A hook gives up at 8 s.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(9);

/// The same where systemd goes on listening. Who comes meanwhile waits in its queue and gives up after 8 s as well, so the wait
/// is short: a hook that is not answered within it asks the next daemon.
pub const ACTIVATED_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a question starts over because the policy changed while it was judged.
pub const MAX_POLICY_CHANGES: usize = 3;

/// The address of a CRL or OCSP responder. Real ones are below 200 bytes; directories with long names reach 500.
pub const MAX_REVOCATION_URL_LENGTH: usize = 2048;

/// Revocation sources of one kind that one certificate may name. Real ones name one or two.
pub const MAX_REVOCATION_URLS: usize = 8;

/// A CRL. Those of public code-signing authorities are below 2 MiB. notation reads 32 MiB, which would be all the memory
/// that the process has for everything in flight.
pub const MAX_CRL_SIZE: usize = 8 * 1024 * 1024;

/// An OCSP response, its responder's certificates included. Real ones are below 4 KiB; notation cuts at 20 KiB.
pub const MAX_OCSP_RESPONSE_SIZE: usize = 64 * 1024;

/// Revocation data in flight or in memory, of all images together; and again what is read from files.
pub const MAX_REVOCATION_MEMORY: usize = 24 * 1024 * 1024;

/// Revocation data on disk.
pub const MAX_REVOCATION_DISK: u64 = 256 * 1024 * 1024;

/// `root.json` of a policy repository. One with ten RSA keys of 4096 bits has 12 KiB, sigstore's public one 6.
pub const MAX_ROOT_METADATA_SIZE: usize = 128 * 1024;

/// `timestamp.json` of a policy repository: it describes one file, in about 500 bytes. The reference client stops here, too.
pub const MAX_TIMESTAMP_METADATA_SIZE: usize = 16 * 1024;

/// `snapshot.json` of a policy repository: 200 bytes for each of three roles, and room for roles that others read.
pub const MAX_SNAPSHOT_METADATA_SIZE: usize = 64 * 1024;

/// `targets.json` of a policy repository, or that of a role it delegates to: 8,000 targets of 130 bytes, of all channels
/// together.
pub const MAX_TARGETS_METADATA_SIZE: usize = 1024 * 1024;

/// JSON values of one metadata file, which is parsed before its signatures are verified. The largest `targets.json` has
/// 40,000; each takes 32 bytes, twice.
pub const MAX_METADATA_VALUES: usize = 65_536;

/// New roots that one refresh follows. What was followed is kept, so that the next one goes on from there; each takes a
/// round trip.
pub const MAX_ROOT_ROTATIONS: usize = 64;

/// All roots after the pinned one, which are kept because only their chain proves the last. With a root of 8 KiB and four
/// rotations a year, that is two and a half centuries.
pub const MAX_ROOT_CHAIN_SIZE: usize = 8 * 1024 * 1024;

/// The file with all verified metadata. As base64 it takes four bytes for three.
pub const MAX_GENERATION_FILE_SIZE: usize = 16 * 1024 * 1024;

const _: () = assert!(
    (MAX_ROOT_CHAIN_SIZE + MAX_TIMESTAMP_METADATA_SIZE + MAX_SNAPSHOT_METADATA_SIZE + 3 * MAX_TARGETS_METADATA_SIZE)
        / 3
        * 4
        + 64 * 1024
        < MAX_GENERATION_FILE_SIZE
);

/// The file with what must never go back: a few versions and key ids.
pub const MAX_FLOOR_FILE_SIZE: usize = 64 * 1024;

/// Files that one node takes from a policy repository: the largest trust store, as many relayed CRLs as are read from a
/// folder, and the rest.
pub const MAX_FLEET_FILES: usize = 2_048;

/// One of those files. It is what one verification may hold, and so what is fetched from a registry at once.
pub const MAX_FLEET_FILE_SIZE: usize = MAX_VERIFICATION_MEMORY;

/// All of those files, which are held in memory: the revocation data that is read from files, and the largest file beside.
pub const MAX_FLEET_SIZE: usize = MAX_REVOCATION_MEMORY + MAX_FLEET_FILE_SIZE;

/// The path of a target in a policy repository.
pub const MAX_TARGET_PATH_LENGTH: usize = 512;

/// A segment of such a path. With the hash before it, it has to be a file's name, which has 255 bytes.
pub const MAX_TARGET_SEGMENT_LENGTH: usize = 160;

/// The name of a channel. It is a segment of a path, and of a message.
pub const MAX_CHANNEL_LENGTH: usize = 64;

/// How long one refresh from a policy repository may take (slow retrieval attack): the largest update over one Mbit/s.
pub const REFRESH_DEADLINE: Duration = Duration::from_secs(300);

/// Files that are fetched at once from a policy repository.
pub const MAX_CONCURRENT_TARGETS: usize = 8;

/// An `ETag` that is sent back. Those of web servers and stores are below 100 bytes.
pub const MAX_ETAG_LENGTH: usize = 256;

/// How often in a row a web server's "not modified" is believed. A validator that is made of a file's length and of the time of
/// its change (nginx, Apache) does not change with a file whose time is always the same, as in images of file systems that can be
/// reproduced. With 10, a revocation comes at most ten intervals late there, and the asking costs one answer in eleven.
pub const MAX_NOT_MODIFIED: u32 = 10;

/// The longest wait between polls that fail, unless the interval is longer. What a fleet waits for after an outage.
pub const MAX_POLL_BACKOFF: Duration = Duration::from_secs(300);

/// All files of a policy repository that are carried in a bundle. One with a year of hourly timestamps and a few hundred CRLs stays below.
pub const MAX_REPOSITORY_SIZE: u64 = 256 * 1024 * 1024;

/// The path of such a file: a target's with the folder before it and the hash in it.
pub const MAX_REPOSITORY_PATH_LENGTH: usize = 1024;

/// An OCSP request that is written down. Those that assayd makes are below 200 bytes.
pub const MAX_OCSP_REQUEST_SIZE: usize = 4 * 1024;

/// A query about revocation in text: its addresses, and its request as base64.
pub const MAX_QUERY_TEXT_LENGTH: usize =
    MAX_REVOCATION_URLS * (MAX_REVOCATION_URL_LENGTH + 8) + 2 * MAX_OCSP_REQUEST_SIZE;

/// How long one OCSP responder may take. notation waits as long.
pub const OCSP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one CRL may take. notation waits as long.
pub const CRL_TIMEOUT: Duration = Duration::from_secs(5);

/// How far a certificate authority's clock may be ahead of the node's.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A timestamp token. Real ones with a chain of four certificates are below 12 KiB.
pub const MAX_TIMESTAMP_TOKEN_SIZE: usize = 64 * 1024;

/// Certificates, and signers, of one timestamp token. Real ones have up to five, and one.
pub const MAX_TIMESTAMP_TOKEN_ITEMS: usize = 16;

/// Rounds of asking what a judgement lacks: a plugin's metadata; a plugin's verdict; OCSP; the CRL of its responder, and that
/// one's delta; CRLs where OCSP had no answer; delta CRLs, which the CRLs name. Real chains need up to three.
pub const MAX_QUERY_ROUNDS: usize = 7;

/// Queries about one image in one round. A chain of four certificates and a timestamp's of four need six.
pub const MAX_QUERIES: usize = 64;

/// A plugin's name. It is part of a file's name.
pub const MAX_PLUGIN_NAME_LENGTH: usize = 128;

/// What a plugin may write to its standard output, and to its standard error. notation accepts 64 MiB.
pub const MAX_PLUGIN_OUTPUT: usize = 1024 * 1024;

/// How long one run of a plugin may take: it may ask a cloud service, and the asker waits 7 s.
pub const PLUGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one run of a docker credential helper or kubelet credential provider may take, and one answer of
/// `assay-credential`: they ask a cloud service, and the asker waits 7 s.
pub const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What one of them may write. Tokens of cloud services are below 8 KiB.
pub const MAX_CREDENTIAL_OUTPUT: usize = 64 * 1024;

/// Credential helpers and providers that run at once.
pub const MAX_CONCURRENT_CREDENTIAL_RUNS: usize = 4;

/// How long credentials of a helper are used again: helpers do not say. A provider's are used for as long as it says, at most
/// [`MAX_CREDENTIAL_LIFETIME`].
pub const CREDENTIAL_LIFETIME: Duration = Duration::from_secs(300);

/// The longest that a provider's credentials are used without asking again. Cloud services' last for 12 h.
pub const MAX_CREDENTIAL_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// How long it is remembered that a helper or provider failed: a hundred pulls must not each wait for one that hangs.
pub const CREDENTIAL_FAILURE_LIFETIME: Duration = Duration::from_secs(5);

/// Credentials that are remembered, by registry or image.
pub const MAX_CACHED_CREDENTIALS: usize = 1024;

/// A question to `assay-credential`: the name of an image, and the words around it.
pub const MAX_CREDENTIAL_QUESTION: usize = 1024;

/// Plugins that run at once.
pub const MAX_CONCURRENT_PLUGINS: usize = 4;

/// How long a plugin's good word counts. Nobody signed it, so it cannot say for itself.
pub const PLUGIN_VERDICT_LIFETIME: Duration = Duration::from_secs(3600);

/// How soon a verdict that rests on grace is reached again: the revocation endpoint may be back.
pub const GRACE_VERDICT_LIFETIME: Duration = Duration::from_secs(300);

/// Signatures verified for one timestamp token. A signer and its chain of four certificates need four; an authority that
/// rolls its certificates over, a few more. So the search for a chain ends, whatever certificates the token has.
pub const MAX_TIMESTAMP_VERIFICATIONS: usize = 64;

/// Certificates in one OCSP response. Real ones have the responder's, or none; each may cost a signature to check.
pub const MAX_OCSP_CERTIFICATES: usize = 8;

/// Files with CRLs and OCSP responses on a disconnected node. Every one is looked at for every certificate.
pub const MAX_LOCAL_REVOCATION_FILES: usize = 1_000;

/// A file with a CRL or an OCSP response. As PEM the largest CRL takes four bytes for three, and line ends.
pub const MAX_LOCAL_REVOCATION_FILE_SIZE: usize = 2 * MAX_CRL_SIZE;

/// How far revocation data may be stretched by a rule. Beyond a quarter of a year nobody would call it revocation.
pub const MAX_REVOCATION_GRACE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Key and value of an annotation that a rule asks for.
pub const MAX_ANNOTATION_LENGTH: usize = 4096;

/// Children of an index that one node could run. Real indexes have one, or two with a 32-bit variant; each costs a whole
/// verification.
pub const MAX_RUNNABLE_CHILDREN: usize = 8;

/// Revocation answers kept in memory: with the largest CRL there is room for the one before it, until a judgement has
/// compared them. What is left of [`MAX_REVOCATION_MEMORY`] holds the largest CRL that is fetched meanwhile.
pub const MAX_KEPT_REVOCATION_MEMORY: usize = 2 * MAX_CRL_SIZE;

const _: () = assert!(MAX_KEPT_REVOCATION_MEMORY + MAX_CRL_SIZE <= MAX_REVOCATION_MEMORY);

/// Queries whose answers are kept, on disk or in memory. A node's images rest on tens of certificates; where each release
/// has a certificate of three days, a year of daily releases stays below.
pub const MAX_KEPT_REVOCATION_ANSWERS: usize = 4_096;

/// Requests under way at once to one revocation endpoint.
pub const MAX_REQUESTS_PER_REVOCATION_HOST: usize = 4;

/// Revocation endpoints whose slots and failures are remembered. Beyond this, idle ones are forgotten.
pub const MAX_REVOCATION_HOSTS: usize = 256;

/// Revocation queries that are being asked at once, of all images together. Equal ones count once.
pub const MAX_CONCURRENT_REVOCATION_QUERIES: usize = 256;

/// How long it is remembered that a revocation endpoint failed, so that a hundred images do not each wait for it. Longer
/// than the timeouts, or waiting would never end; short enough that a pull's retry finds a mended endpoint.
pub const REVOCATION_FAILURE_LIFETIME: Duration = Duration::from_secs(10);

/// How long after its last use a revocation answer is still refreshed before it lapses. An image in use is judged again
/// at least once a day; a week bridges those that start at weekends.
pub const REVOCATION_USE_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// The wait after the first refresh of a revocation answer that failed; it doubles with each.
pub const MIN_REVOCATION_RETRY: Duration = Duration::from_secs(30);

/// The longest wait between refreshes that fail. A certificate authority that is away for a day is asked thirty times.
pub const MAX_REVOCATION_RETRY: Duration = Duration::from_secs(3600);

/// Revocation answers that are refreshed at once. The others are a few seconds late, and hours before they lapse.
pub const MAX_CONCURRENT_REFRESHES: usize = 16;

/// How long a plugin's bad word about itself, or its silence, is remembered: a hundred images must not each wait for a
/// plugin that hangs. As long as that of a revocation endpoint.
pub const PLUGIN_FAILURE_LIFETIME: Duration = Duration::from_secs(10);

/// A plugin's program. Those with a cloud service's library reach 60 MiB, and a pinned one is hashed whole.
pub const MAX_PLUGIN_FILE_SIZE: u64 = 256 * 1024 * 1024;

/// JSON values of an index whose children are judged. An image with twenty platforms, each with an attestation and its
/// annotations, has below 1,000; the worst that fits takes about 6 MiB beside its text.
pub const MAX_INDEX_VALUES: usize = 16_384;

/// Digests that an index names. Real ones have up to forty: twenty platforms, each with an attestation. All are kept with the
/// verdict, at some 100 bytes each, because a deny-list may name any of them.
pub const MAX_INDEX_CHILDREN: usize = 256;

/// Signatures in one manifest: those that hang on one cosign tag. cosign stops there, too (CVE-2023-46737: endless
/// signatures). Of so many, the newest [`MAX_SIGNATURES`] are judged.
pub const MAX_SIGNATURE_LAYERS: usize = 1_000;

/// A bundle or an attestation. Most are below 64 KiB; those with a bill of materials of a large image reach a few MiB.
/// Half of what one verification may hold, because the payload is decoded beside it. cosign reads 128 MiB
/// (CVE-2024-29902).
pub const MAX_ATTESTATION_SIZE: usize = 4 * 1024 * 1024;

/// Log entries of one bundle, and timestamps of one (CVE-2024-45395: sigstore-go's own limits).
pub const MAX_LOG_ENTRIES: usize = 32;

/// Timestamps of one signature: see [`MAX_LOG_ENTRIES`].
pub const MAX_TIMESTAMPS: usize = 32;

/// A predicate type. They are URIs of a few dozen bytes.
pub const MAX_PREDICATE_TYPE_LENGTH: usize = 512;

/// The path to a field of a statement: those of SLSA have four names.
pub const MAX_FIELD_PATH_LENGTH: usize = 1024;

/// A file with a public key, or with the certificate that it is in. RSA of 8192 bits takes 1.5 KiB.
pub const MAX_KEY_SIZE: usize = MAX_CERTIFICATE_SIZE;

/// A `trusted_root.json`. The public-good one has 7 KiB, GitHub's 32.
pub const MAX_TRUSTED_ROOT_SIZE: usize = 1024 * 1024;

/// JSON values of a `trusted_root.json`. GitHub's, with a chain for every intermediate of the last years, has below 1,000.
pub const MAX_TRUSTED_ROOT_VALUES: usize = 16_384;

/// Signatures on one checkpoint: the log's and its witnesses'. The library of the format's authors stops there, too
/// (golang.org/x/mod/sumdb/note).
pub const MAX_CHECKPOINT_SIGNATURES: usize = 100;

/// Memory of the parsed JSON of one bundle without its texts, in units of 32 bytes: half a MiB. The most that the other
/// limits let through, 32 log entries with their paths and 32 timestamps, takes below 10,000.
pub const MAX_BUNDLE_UNITS: usize = 16_384;

/// Memory of the parsed JSON of one statement without its texts, in the same units: 8 MiB. A bill of materials of one MiB
/// takes that much, because each of its objects is a tree.
pub const MAX_STATEMENT_UNITS: usize = 262_144;

/// The same for the payload of a simple signature and the annotations beside it: 32 KiB. Real ones take below 150.
pub const MAX_SIMPLE_SIGNING_UNITS: usize = 1_024;

/// Hashes of one inclusion proof: the depth of a tree whose size has 64 bits.
pub const MAX_INCLUSION_PROOF_HASHES: usize = 64;

/// Subjects of one statement (sigstore-go's own limit). A release of many files names a few hundred.
pub const MAX_STATEMENT_SUBJECTS: usize = 1024;

/// Digests of one subject (sigstore-go's own limit).
pub const MAX_SUBJECT_DIGESTS: usize = 32;

/// Signatures verified in the search for one signer's path, over all authorities of a trusted root. A path has up to
/// four certificates, and a public root lists two authorities of one name: so this is plenty, and a stranger's
/// intermediates cannot buy more.
pub const MAX_PATH_VERIFICATIONS: usize = 64;

/// Signed certificate timestamps in one certificate. Fulcio's has one; certificates for the web have two or three.
pub const MAX_CERTIFICATE_TIMESTAMPS: usize = 16;

/// An identity or a claim in a signer's certificate. Those of workflows are below 300 bytes; a regular expression's
/// time grows with it.
pub const MAX_CLAIM_LENGTH: usize = 2048;

/// A regular expression of a policy, in text.
pub const MAX_REGEX_LENGTH: usize = 2048;

/// A regular expression of a policy, compiled: a repetition of repetitions of a few bytes would otherwise take
/// gigabytes. With [`MAX_CLAIM_LENGTH`] it bounds the time of a match, too.
pub const MAX_REGEX_SIZE: usize = 1024 * 1024;

/// Files with keys, or with certificates, of one authority. Each key costs a signature to check for every signature.
pub const MAX_KEYS: usize = 64;

/// Identities of one authority. Each is compared with every signer.
pub const MAX_IDENTITIES: usize = 256;

/// Logs or authorities that have to vouch for one signature. There are two logs in the world that many use.
pub const MAX_REQUIRED_VOUCHERS: usize = 8;

/// Attestations that one rule asks for. Each is looked for among all that an image has.
pub const MAX_ATTESTATION_REQUIREMENTS: usize = 32;

/// How old an attestation may be allowed to be: ten years, longer than images are built from.
pub const MAX_ATTESTATION_AGE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// An expression of a policy, in text. What needs more belongs into what makes the attestation.
pub const MAX_EXPRESSION_LENGTH: usize = 4096;

/// Parts of an expression, and how deep they lie in each other. Each is evaluated at most once, or once for each item of a
/// list.
pub const MAX_EXPRESSION_PARTS: usize = 512;

/// See [`MAX_EXPRESSION_PARTS`].
pub const MAX_EXPRESSION_DEPTH: usize = 48;

/// JSON values of what an expression names of a statement. Each takes about 100 bytes while it is evaluated; a bill of
/// materials of a large image has some 50,000.
pub const MAX_EXPRESSION_VALUES: usize = 65_536;

/// How long before nobody of a trusted root can vouch for new signatures a policy's load says so. Operators announce new
/// keys months ahead; a month is time to roll them out.
pub const TRUSTED_ROOT_NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long the registry is asked when stored evidence may stand in for what it would say, or is known to be denied: the answer
/// has to leave before [`VERIFY_DEADLINE`]. A refresh, for which nobody waits, takes [`GATHER_DEADLINE`].
pub const CONFIRMATION_DEADLINE: Duration = Duration::from_secs(4);

const _: () = assert!(CONFIRMATION_DEADLINE.as_secs() < VERIFY_DEADLINE.as_secs());

/// Timestamps of one signature that may not hold before it is given up. A stranger's tokens cost up to
/// [`MAX_TIMESTAMP_VERIFICATIONS`] each, and nothing that is signed for real comes with several bad ones.
pub const MAX_REFUSED_TIMESTAMPS: usize = 4;

/// Entries of one deny-list. Those of registries' takedowns and leaked keys have tens; a whole pipeline's images of a year are
/// some ten thousand.
pub const MAX_DENY_LIST_ENTRIES: usize = 100_000;

/// A deny-list: 320 bytes for each entry. Those with a digest, a sentence and a reference have below 250.
pub const MAX_DENY_LIST_SIZE: usize = 32 * 1024 * 1024;

/// The reason of an entry. It is part of the line that a hook prints, beside the name of an authority and what is denied.
pub const MAX_DENY_REASON_LENGTH: usize = 128;

/// The reference of an entry: an incident's number or a short address.
pub const MAX_DENY_REFERENCE_LENGTH: usize = 64;

/// The digits of a certificate's serial number in a deny-list: RFC 5280 has 40 at most, and asks to handle longer ones.
pub const MAX_SERIAL_NUMBER_DIGITS: usize = 128;

/// Break-glass exceptions of one document. Each is for one incident of one day.
pub const MAX_EXCEPTIONS: usize = 100;

/// How long a break-glass exception may be active: a day has somebody in charge, and the next can say so again.
pub const MAX_EXCEPTION_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The shortest time between two questions to a policy repository. 100,000 nodes ask 20,000 times a second then: more
/// than that helps nobody, and what is urgent is there in seconds.
pub const MIN_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The longest: a deny-list that a node learns of later than this protects little.
pub const MAX_POLL_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// How often a policy repository is asked unless somebody says otherwise: a deny-list is on every node in about a minute.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The longest interval that a policy may set unless the node says otherwise.
pub const DEFAULT_MAX_POLL_INTERVAL: Duration = Duration::from_secs(3600);

/// How long a node may be told to go on with expired metadata of a policy repository. An edge site may be without a network
/// for a season; who needs longer publishes metadata that lives longer.
pub const MAX_FLEET_GRACE: Duration = Duration::from_secs(366 * 24 * 3600);

/// How long metadata of a policy repository may count. Roots that are rotated once in some years are the longest.
pub const MAX_FLEET_LIFETIME: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// What a program prints that is asked about the node, such as `containerd config dump`: real ones have below 64 KiB.
pub const MAX_PROGRAM_OUTPUT: usize = 4 * 1024 * 1024;

/// Bytes of one file of containerd's configuration. Real ones have below 20 KiB.
pub const MAX_CONTAINERD_CONFIG: usize = 1024 * 1024;

/// Files that make up containerd's configuration. Nodes have a handful.
pub const MAX_CONTAINERD_FILES: usize = 128;

/// Bytes of what the doctor remembers of its last run: some fifty words.
pub const MAX_DOCTOR_STATE: u64 = 16 * 1024;

/// A finding as one line of the journal. The longest names a path or two; values are bounded where they are made.
pub const MAX_FINDING_LINE: usize = 2048;

/// How long such a program may take. containerd's dump takes 50 ms, also on a loaded node below a second.
pub const PROGRAM_TIMEOUT: Duration = Duration::from_secs(10);

/// How long CRI may take to list what is on a node.
pub const CRI_TIMEOUT: Duration = Duration::from_secs(20);

/// What CRI lists of a node: 16 MiB, as much as containerd sends at once.
pub const MAX_CRI_ANSWER: usize = 16 * 1024 * 1024;

/// How long the pull of the canary may take: the hook has 8 s and containerd kills it after 10; the rest is for other verifiers
/// and for resolving a name on this machine.
pub const CANARY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request for the canary, which containerd makes on loopback. Its head has some 300.
pub const MAX_CANARY_REQUEST: usize = 16 * 1024;

/// Entries of the folder of image verifiers that are looked at. There is one, and containerd runs ten.
pub const MAX_VERIFIER_ENTRIES: usize = 1024;

/// How long the hook takes at most (`DEADLINE` of the hook's own table, which it can share with nobody; a test compares them).
pub const HOOK_DEADLINE: Duration = Duration::from_secs(8);

/// Bytes of the hook's list of images that are admitted without the daemon, as the hook reads it.
pub const MAX_BOOTSTRAP_LIST_SIZE: u64 = 256 * 1024;

/// Bytes of the hook's observe flag, as the hook reads it.
pub const MAX_OBSERVE_FLAG_SIZE: u64 = 4 * 1024;

/// Images of one node. The kubelet keeps some hundred, and none has more than some thousand.
pub const MAX_NODE_IMAGES: usize = 10_000;

/// Images of a node that are judged at once: the registries' own slots are what bounds them.
pub const NODE_IMAGES_AT_ONCE: usize = 4;

/// Recorded decisions that are compared with a policy: the images of a large fleet, some thousand a year.
pub const MAX_DECISIONS: usize = 1_000_000;

/// A file of recorded decisions: 300 bytes for each.
pub const MAX_DECISIONS_SIZE: usize = 300 * 1024 * 1024;

/// Connections that ask for the metrics at once; the next one waits. Prometheus and somebody with curl need two.
pub const MAX_METRICS_CONNECTIONS: usize = 8;

/// Decisions that wait for the decision log's thread; what comes on top is lost and counted. About 4 MiB.
pub const MAX_QUEUED_DECISIONS: usize = 4_096;

/// Bytes of decisions that are written at once.
pub const MAX_DECISION_BATCH: usize = 256 * 1024;

/// A line of the decision log. What is longer was not written by assayd.
pub const MAX_DECISION_LINE: u64 = 16 * 1024;

/// The last decisions that a support bundle takes along: 600 bytes for each.
pub const MAX_SUPPORT_DECISIONS: usize = 1_000;

/// A part of a support bundle that is read from a file.
pub const MAX_SUPPORT_FILE: u64 = 4 * 1024 * 1024;

/// Bytes of a file of the decision log, unless told, and the least and the most that can be told.
pub const DEFAULT_DECISION_FILE_SIZE: u64 = 16 * 1024 * 1024;
/// The least: one batch.
pub const MIN_DECISION_FILE_SIZE: u64 = 2 * MAX_DECISION_BATCH as u64;
/// The most: what [`MAX_DECISIONS_SIZE`] lets be read again.
pub const MAX_DECISION_FILE_SIZE: u64 = MAX_DECISIONS_SIZE as u64;

/// Files of the decision log, unless told. With the size above, 128 MiB.
pub const DEFAULT_DECISION_FILES: u32 = 8;
/// The most that can be told.
pub const MAX_DECISION_FILES: u32 = 1_000;

/// How long an answer with the metrics may take. Prometheus' own default is 10 s.
pub const METRICS_DEADLINE: Duration = Duration::from_secs(10);

/// Images in the ledger of what hooks were told. A node has at most [`MAX_NODE_IMAGES`]; the others are gone, and remembered for
/// the case that they come back without being pulled. About 10 MiB in memory.
pub const MAX_LEDGER_IMAGES: usize = 4 * MAX_NODE_IMAGES;

/// How many of the oldest make room at once when the ledger is full: it is searched for them from end to end.
pub const LEDGER_ROOM: usize = MAX_LEDGER_IMAGES / 10;

/// Bytes of the ledger's changes that wait for the disk. When there are more, the whole ledger is written in their place.
pub const MAX_PENDING_LEDGER: usize = 256 * 1024;

/// Bytes of the ledger's file: every image twice, at 400 bytes each, and a margin.
pub const MAX_LEDGER_SIZE: u64 = 3 * 400 * MAX_LEDGER_IMAGES as u64;

/// Images that came past the hook which one report says one by one; of more, the journal has the number.
pub const MAX_REPORTED_AT_ONCE: usize = 32;
