//! The images that are pulled, and the only answer that is right for each.

use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result};
use assay_integration::cosign::{KeyPair, KeyType, Series, Sign as CosignSign};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::notation::{Format, Sign};
use assay_integration::{Cosign, Image, Notation, Peers, Question, Registry};
use serde_json::{Value, json};

use crate::change::Switch;
use crate::lab::Signers;

/// What the hook answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Admitted.
    Admit,
    /// Admitted by audit mode alone, which would have denied with this code.
    Audit(String),
    /// Denied with this code.
    Deny(String),
    /// Anything else that was said.
    Other(String),
}

impl Outcome {
    fn deny(code: &str) -> Self {
        Self::Deny(code.to_owned())
    }

    /// What the hook's exit code and its line say (docs/hook.md).
    pub(crate) fn of_hook(code: Option<i32>, line: &str) -> Self {
        let denial = line
            .split_once("DENY ")
            .and_then(|(_, rest)| Some(rest.split_once(':')?.0.to_owned()));
        match (code, denial) {
            (Some(0), None) if line.starts_with("ADMIT") && !line.contains("audit mode") => Self::Admit,
            (Some(0), Some(code)) if line.starts_with("ADMIT by audit mode, would DENY") => Self::Audit(code),
            (Some(1), Some(code)) if line.starts_with("DENY ") => Self::Deny(code),
            _ => Self::Other(format!("exit code {code:?}: {line}")),
        }
    }

    /// The same with another code, where there is one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Audit(code) | Self::Deny(code) => Some(code),
            Self::Admit | Self::Other(_) => None,
        }
    }

    /// How the table calls it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Admit => "admit".to_owned(),
            Self::Audit(code) => format!("audit {code}"),
            Self::Deny(code) => format!("deny {code}"),
            Self::Other(_) => "something else".to_owned(),
        }
    }
}

/// What is different from an image that is simply signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Signed by the real notation.
    NotationJws,
    /// The same as COSE.
    NotationCose,
    /// Signed by the real cosign 2.
    Cosign2,
    /// Signed by the real cosign 3.
    Cosign3,
    /// An index, signed as a whole.
    Index,
    /// Signed in this process.
    Signed,
    /// Signed by nobody.
    Unsigned,
    /// Signed under a root that nobody trusts.
    Stranger,
    /// Signed by somebody of the same root whom the policy does not name.
    Colleague,
    /// One byte of the signature is changed.
    Tampered,
    /// A good signature of another image.
    Moved,
    /// A signature whose own expiry has passed.
    Expired,
    /// Signed with a certificate that a CRL revokes.
    Revoked,
    /// Signed with a certificate that the deny-list names now and then.
    Leaked,
    /// Signed, and named by the deny-list.
    Listed,
    /// Signed, and denied by a rule.
    Withdrawn,
    /// Named by digest in the policy.
    Pinned,
    /// Under the same rule, and not named.
    NotPinned,
    /// Unsigned, under a rule that only observes.
    Audited,
    /// Signed, under a rule that the policy has turned into a denial now and then.
    Switched,
    /// Signed, and no rule speaks of it.
    Elsewhere,
}

impl Kind {
    /// How many of a hundred images are of which kind. The rest is made by the real programs, which take their time.
    const SHARES: [(Self, usize); 16] = [
        (Self::Signed, 50),
        (Self::Unsigned, 8),
        (Self::Stranger, 5),
        (Self::Colleague, 4),
        (Self::Tampered, 5),
        (Self::Moved, 4),
        (Self::Expired, 3),
        (Self::Revoked, 3),
        (Self::Leaked, 4),
        (Self::Listed, 3),
        (Self::Withdrawn, 2),
        (Self::Pinned, 2),
        (Self::NotPinned, 1),
        (Self::Audited, 2),
        (Self::Switched, 3),
        (Self::Elsewhere, 1),
    ];
    const MADE_BY_PEERS: [Self; 5] = [
        Self::NotationJws,
        Self::NotationCose,
        Self::Cosign2,
        Self::Cosign3,
        Self::Index,
    ];

    /// The first segment of the repository, which decides the rule.
    pub(crate) const fn rule(self) -> &'static str {
        match self {
            Self::Cosign2 | Self::Cosign3 => "cosign",
            Self::Withdrawn => "withdrawn",
            Self::Pinned | Self::NotPinned => "pinned",
            Self::Audited => "audited",
            Self::Switched => "switched",
            Self::Elsewhere => "elsewhere",
            _ => "prod",
        }
    }
}

/// Positions of the policy and the deny-list that change during the run.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    /// Whether the deny-list names the certificate `leaked`.
    pub(crate) leaked: Switch,
    /// Whether the rule `switched` denies.
    pub(crate) switched: Switch,
}

/// An image under a name.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    /// Which registry has it.
    pub(crate) registry: usize,
    pub(crate) question: Question,
}

impl Subject {
    /// Whether this is the right answer to a question that was open from `asked` to `answered`, the registry being well.
    pub(crate) fn is_right(&self, outcome: &Outcome, switches: &Switches, asked: Instant, answered: Instant) -> bool {
        let right = |expected: Outcome| *outcome == expected;
        let by_switch = |switch: &Switch, code| {
            (right(Outcome::deny(code)) && switch.may_be(true, asked, answered))
                || (right(Outcome::Admit) && switch.may_be(false, asked, answered))
        };
        match self.kind {
            Kind::NotationJws | Kind::NotationCose | Kind::Cosign2 | Kind::Cosign3 => right(Outcome::Admit),
            Kind::Index | Kind::Signed | Kind::Pinned => right(Outcome::Admit),
            Kind::Unsigned => right(Outcome::deny("unsigned")),
            Kind::Stranger => right(Outcome::deny("untrusted-signer")),
            Kind::Colleague => right(Outcome::deny("identity-mismatch")),
            Kind::Tampered => right(Outcome::deny("signature-invalid")),
            Kind::Moved => right(Outcome::deny("subject-mismatch")),
            Kind::Expired => right(Outcome::deny("signature-expired")),
            Kind::Revoked => right(Outcome::deny("certificate-revoked")),
            Kind::Listed => right(Outcome::deny("denied-by-list")),
            Kind::Withdrawn | Kind::NotPinned => right(Outcome::deny("denied-by-rule")),
            Kind::Audited => right(Outcome::Audit("unsigned".to_owned())),
            Kind::Elsewhere => right(Outcome::deny("no-matching-rule")),
            Kind::Leaked => by_switch(&switches.leaked, "denied-by-list"),
            Kind::Switched => by_switch(&switches.switched, "denied-by-rule"),
        }
    }
}

/// Puts `count` images into the registries, and some more that the real programs sign. Each registry has some of every kind.
pub(crate) async fn prepare(
    count: usize,
    peers: &Peers,
    registries: &[Registry],
    signers: &Signers,
) -> Result<(Vec<Subject>, KeyPair)> {
    let (two, three) = (Cosign::new(peers, Series::Two)?, Cosign::new(peers, Series::Three)?);
    let makers = Makers {
        peers,
        notation: Notation::new(peers)?,
        key: two.generate_key(KeyType::P256).await?,
        two,
        three,
        release: EnvelopeSigner::new(&signers.release)?,
        stranger: EnvelopeSigner::new(&signers.stranger)?,
        colleague: EnvelopeSigner::new(&signers.colleague)?,
        revoked: EnvelopeSigner::new(&signers.revoked)?,
        leaked: EnvelopeSigner::new(&signers.leaked)?,
    };
    makers.notation.add_key("release", &signers.release)?;
    let mut subjects = vec![];
    // Each takes a program's run, and one on the registry that is always well is pulled through containerd.
    for number in 0..(count / 300).max(1) {
        for kind in Kind::MADE_BY_PEERS {
            subjects.push(makers.make(kind, number % registries.len(), number, registries).await?);
        }
    }
    // Shares are dealt like cards, so that a short run has all kinds, too.
    let mut cards = vec![];
    for (kind, share) in Kind::SHARES {
        cards.extend((0..share).map(|place| ((2 * place + 1) * 1_000 / share, kind)));
    }
    cards.sort_by_key(|(place, _)| *place);
    for number in 0..count {
        let (_, kind) = cards[number % cards.len()];
        // By every hundred one further, or a registry would have some kinds only.
        let registry = (number + number / cards.len()) % registries.len();
        subjects.push(makers.make(kind, registry, number, registries).await?);
    }
    Ok((subjects, makers.key))
}

struct Makers<'a> {
    peers: &'a Peers,
    notation: Notation,
    key: KeyPair,
    two: Cosign,
    three: Cosign,
    release: EnvelopeSigner,
    stranger: EnvelopeSigner,
    colleague: EnvelopeSigner,
    revoked: EnvelopeSigner,
    leaked: EnvelopeSigner,
}

impl Makers<'_> {
    async fn make(&self, kind: Kind, place: usize, number: usize, registries: &[Registry]) -> Result<Subject> {
        let registry = registries.get(place).context("there is no such registry")?;
        let marker = format!("{kind:?} {number} {place}");
        let image = match kind {
            Kind::Index => Image::two_platforms(self.peers, &marker)?,
            _ => Image::tiny(&marker)?,
        };
        // A node's images are spread over repositories.
        let repository = format!("{}/app-{}", kind.rule(), number / 4);
        let tag = format!("v{number}-{}", format!("{kind:?}").to_lowercase());
        image.store(registry.content(), &repository, &tag);
        let reference = format!("{}@{}", registry.repository(&repository), image.digest());
        let attach = |envelope: Vec<u8>| {
            registry
                .content()
                .attach_signature(&repository, &image.descriptor(), JWS, &envelope);
        };
        let now = SystemTime::now();
        match kind {
            Kind::NotationJws => self.notation.sign(&reference, &Sign::with("release")).await?,
            Kind::NotationCose => {
                let how = Sign::with("release").format(Format::Cose);
                self.notation.sign(&reference, &how).await?;
            }
            Kind::Cosign2 => self.two.sign(&reference, &CosignSign::key(&self.key)).await?,
            Kind::Cosign3 => self.three.sign(&reference, &CosignSign::key(&self.key)).await?,
            Kind::Unsigned | Kind::Audited | Kind::Pinned | Kind::NotPinned => {}
            Kind::Index | Kind::Signed | Kind::Listed | Kind::Withdrawn | Kind::Switched | Kind::Elsewhere => {
                attach(self.release.sign(&image.descriptor(), now)?);
            }
            Kind::Stranger => attach(self.stranger.sign(&image.descriptor(), now)?),
            Kind::Colleague => attach(self.colleague.sign(&image.descriptor(), now)?),
            Kind::Revoked => attach(self.revoked.sign(&image.descriptor(), now)?),
            Kind::Leaked => attach(self.leaked.sign(&image.descriptor(), now)?),
            Kind::Moved => {
                let another = Image::tiny(&format!("another than {marker}"))?;
                attach(self.release.sign(&another.descriptor(), now)?);
            }
            Kind::Tampered => attach(tampered(&self.release.sign(&image.descriptor(), now)?)?),
            Kind::Expired => attach(self.release.sign_claims(
                &json!({
                    "alg": "ES256",
                    "crit": ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"],
                    "cty": "application/vnd.cncf.notary.payload.v1+json",
                    "io.cncf.notary.signingScheme": "notary.x509",
                    "io.cncf.notary.signingTime": "2026-01-01T00:00:00Z",
                    "io.cncf.notary.expiry": "2026-01-02T00:00:00Z",
                }),
                &json!({ "targetArtifact": image.descriptor() }),
            )?),
        }
        let name = format!("{}:{tag}", registry.repository(&repository));
        Ok(Subject {
            kind,
            registry: place,
            question: Question::new(name, image.descriptor()),
        })
    }
}

/// The envelope with one character of its signature changed.
fn tampered(envelope: &[u8]) -> Result<Vec<u8>> {
    let mut envelope: Value = serde_json::from_slice(envelope)?;
    let signature = envelope["signature"].as_str().context("an envelope has a signature")?;
    // Not the last one, which may carry unused bits.
    let changed = if signature.get(20..21) == Some("A") { "B" } else { "A" };
    let mut signature = signature.to_owned();
    signature.replace_range(20..21, changed);
    envelope["signature"] = signature.into();
    Ok(envelope.to_string().into_bytes())
}
