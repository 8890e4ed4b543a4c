//! What is well signed is admitted, from every kind of registry; its twin with one byte changed is denied.

use assay_integration::certificates::{Key, Profile};
use assay_integration::notation::{Format, Sign, Storage};
use assay_integration::registry::{Distribution, Fault, Kind, Login, TokenIssuer, When};
use assay_integration::{Containerd, Image, Peers, Registry};

use crate::lab::{Lab, PRODUCTION, Signers, admits, assert_denial, layers_since, policy, with_one_byte_changed};

const FORMATS: [Format; 2] = [Format::Jws, Format::Cose];

fn name(key: Key, format: Format) -> String {
    format!("{key:?}-{format:?}").to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn admits_every_key_in_both_envelopes_and_denies_each_ones_twin() {
    let lab = Lab::start(PRODUCTION).await;
    for key in Key::ALL {
        let identity = lab.signers.root.issue(&Profile::named("release").key(key));
        let signer = format!("{key:?}");
        lab.signers.notation.add_key(&signer, &identity.unwrap()).unwrap();
        for format in FORMATS {
            let (good, twin) = (
                format!("prod/{}", name(key, format)),
                format!("prod/{}-twin", name(key, format)),
            );
            let image = Image::tiny(&good).unwrap();
            let signature = lab.signature(&image, &Sign::with(&signer).format(format)).await;
            for repository in [&good, &twin] {
                image.store(lab.registry.content(), repository, "v1");
            }
            let changed = with_one_byte_changed(format, &signature.envelope);
            lab.attach(&twin, &image, &signature.media_type, &changed);
            lab.attach(&good, &image, &signature.media_type, &signature.envelope);

            // The twin comes first: containerd would not fetch a layer that it has.
            lab.denied(&twin, "signature-invalid").await;
            lab.admitted(&good).await;
        }
    }
    assert!(lab.registry.log().count(Kind::Referrers) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn admits_what_notation_pushed_itself_and_what_ctr_pulls_by_the_transfer_service() {
    let lab = Lab::start(PRODUCTION).await;
    for (name, storage) in [
        ("referrers", Storage::Referrers),
        ("fallback", Storage::FallbackTag),
        ("no-api", Storage::FallbackTag),
        ("empty-api", Storage::FallbackTag),
    ] {
        for format in FORMATS {
            let repository = format!("prod/{name}-{format:?}").to_lowercase();
            let how = Sign::with("release").format(format).storage(storage);
            lab.push_signed(&repository, &how).await;
        }
    }
    // From here on, two of them have to be found by the fallback tag.
    lab.registry.misbehave(When::path("prod/no-api"), Fault::NoReferrersApi);
    lab.registry
        .misbehave(When::path("prod/empty-api"), Fault::EmptyReferrers);
    for name in ["referrers", "fallback", "no-api", "empty-api"] {
        for format in FORMATS {
            lab.admitted(&format!("prod/{name}-{format:?}").to_lowercase()).await;
        }
    }

    // By digest, with and without a tag before it.
    let unsigned = lab.push("prod/by-digest-unsigned");
    let image = lab.push_signed("prod/by-digest", &Sign::with("release")).await;
    for tag in ["", ":v1"] {
        let reference =
            |name: &str, image: &Image| format!("{}{tag}@{}", lab.registry.repository(name), image.digest());
        let refusal = lab
            .containerd
            .pull_cri(&reference("prod/by-digest-unsigned", &unsigned))
            .await;
        assert_denial(
            &refusal.expect_err("a denial").to_string(),
            "unsigned",
            &lab.assayd.log(),
        );
        lab.containerd
            .pull_cri(&reference("prod/by-digest", &image))
            .await
            .unwrap();
    }

    let image = lab.push_signed("prod/ctr", &Sign::with("release")).await;
    let signature = lab.registry.content().signatures("prod/ctr", image.digest()).remove(0);
    image.store(lab.registry.content(), "prod/ctr-twin", "v1");
    let changed = with_one_byte_changed(Format::Jws, &signature.envelope);
    lab.attach("prod/ctr-twin", &image, &signature.media_type, &changed);
    let mark = lab.registry.log().mark();
    let refusal = lab.containerd.pull_ctr(&lab.reference("prod/ctr-twin")).await;
    let event = refusal.expect_err("a denial").to_string();
    assert_denial(&event, "signature-invalid", &lab.assayd.log());
    assert!(layers_since(lab.registry.log(), mark).is_empty());
    lab.containerd.pull_ctr(&lab.reference("prod/ctr")).await.unwrap();
    assert_eq!(layers_since(lab.registry.log(), mark).len(), 1);
}

/// The places of the signing agent's name, the one text in an envelope that no signature covers
/// (signature-envelope-jws.md, signature-envelope-cose.md: unprotected headers).
fn unprotected(envelope: &[u8]) -> std::ops::Range<usize> {
    let name = b"io.cncf.notary.signingAgent";
    let start = envelope
        .windows(name.len())
        .position(|window| window == name)
        .expect("an agent");
    let agent = b"notation-go/";
    let value = envelope[start..]
        .windows(agent.len())
        .position(|window| window == agent)
        .expect("its name");
    // The key, what separates it from its value, the value with its version, and what ends it.
    start..start + value + agent.len() + 16
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_an_envelope_that_is_signed_can_be_changed() {
    let lab = Lab::start(PRODUCTION).await;
    let image = Image::tiny("changed").unwrap();
    for format in FORMATS {
        let signature = lab.signature(&image, &Sign::with("release").format(format)).await;
        let unprotected = unprotected(&signature.envelope);
        let places = (0..signature.envelope.len())
            .step_by(5)
            .filter(|place| !unprotected.contains(place));
        let variants: Vec<_> = places.map(Some).chain([None]).collect();
        assert!(variants.len() > 100);
        for place in variants {
            let repository = format!("prod/{format:?}-{place:?}")
                .to_lowercase()
                .replace(['(', ')'], "-");
            let repository = repository.trim_end_matches('-');
            let mut envelope = signature.envelope.to_vec();
            if let Some(place) = place {
                envelope[place] ^= 1;
            }
            image.store(lab.registry.content(), repository, "v1");
            lab.attach(repository, &image, &signature.media_type, &envelope);
            let answer = lab.verify(&lab.reference(repository), &image.descriptor()).await;
            assert_eq!(admits(&answer), place.is_none(), "{format:?} {place:?}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admits_from_docker_registry_by_the_fallback_tag() {
    let lab = Lab::start(PRODUCTION).await;
    let distribution = Distribution::start(&lab.peers).await.unwrap();
    let daemon = lab.signers.assayd().plain_http(distribution.host());
    let assayd = daemon
        .policy(&policy(distribution.host(), PRODUCTION))
        .start()
        .await
        .unwrap();
    let containerd = Containerd::builder(&lab.peers).hook(&assayd).unwrap();
    let containerd = containerd.plain_http(distribution.host()).start().await.unwrap();

    for format in FORMATS {
        let (good, twin) = (
            format!("prod/{format:?}").to_lowercase(),
            format!("prod/{format:?}-twin").to_lowercase(),
        );
        let image = Image::tiny(&good).unwrap();
        let how = Sign::with("release").format(format);
        for repository in [&good, &twin] {
            image.push(&distribution.repository(repository), "v1").await.unwrap();
        }
        let reference = format!("{}@{}", distribution.repository(&good), image.digest());
        lab.signers.notation.sign(&reference, &how).await.unwrap();
        let signature = lab.signature(&image, &how).await;
        let changed = with_one_byte_changed(format, &signature.envelope);
        let attached = distribution
            .attach_signature(&twin, &image, &signature.media_type, &changed)
            .await;
        attached.unwrap();

        let refusal = containerd
            .pull_cri(&format!("{}:v1", distribution.repository(&twin)))
            .await;
        assert_denial(
            &refusal.expect_err("a denial").to_string(),
            "signature-invalid",
            &assayd.log(),
        );
        assert!(distribution.layer_requests(&image).is_empty());
        containerd
            .pull_cri(&format!("{}:v1", distribution.repository(&good)))
            .await
            .unwrap();
        assert_eq!(distribution.layer_requests(&image).len(), 1);
    }
}

/// A registry that asks for something before it gives anything.
struct Guarded {
    registry: Registry,
    login: Option<(&'static str, &'static str)>,
}

impl Guarded {
    /// Stores an image twice, once with its signature and once with the signature's twin.
    async fn fill(&self, lab: &Lab, format: Format) -> Image {
        let image = Image::tiny(&self.registry.host()).unwrap();
        let signature = lab.signature(&image, &Sign::with("release").format(format)).await;
        let changed = with_one_byte_changed(format, &signature.envelope);
        let content = self.registry.content();
        for (repository, envelope) in [("prod/app", &signature.envelope[..]), ("prod/twin", &changed)] {
            image.store(content, repository, "v1");
            content.attach_signature(repository, &image.descriptor(), &signature.media_type, envelope);
        }
        image
    }

    async fn pull(&self, containerd: &Containerd, repository: &str) -> Result<(), String> {
        let reference = format!("{}:v1", self.registry.repository(repository));
        let pulled = containerd.pull_cri_with(&reference, self.login).await;
        pulled.map_err(|refusal| refusal.to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admits_over_tls_with_an_extra_ca_and_with_passwords_and_tokens() {
    const USER: (&str, &str) = ("node", "secret");
    let basic = || Login::Basic {
        username: USER.0.into(),
        password: USER.1.into(),
    };
    let lab = Lab::start(PRODUCTION).await;
    let tls = Registry::start_tls().await.unwrap();
    let password = Registry::start().await.unwrap();
    password.require(basic());
    let tokens = Registry::start().await.unwrap();
    tokens.require_tokens(TokenIssuer::with_password(USER.0, USER.1));
    let anonymous_tokens = Registry::start().await.unwrap();
    anonymous_tokens.require_tokens(TokenIssuer::anonymous());
    let tls_and_password = Registry::start_tls().await.unwrap();
    tls_and_password.require(basic());

    let ca = |registry: &Registry| registry.ca().unwrap().to_owned();
    let mut both = toml::Table::new();
    for (key, value) in [("username", USER.0), ("password_file", "both.password")] {
        both.insert(key.into(), value.into());
    }
    both.insert("ca".into(), vec!["both.pem"].into());
    let daemon = lab.signers.assayd();
    let hosts = [&tls, &password, &tokens, &anonymous_tokens, &tls_and_password].map(Registry::host);
    let rules: String = hosts.iter().map(|host| rule_for(host)).collect();
    let assayd = daemon
        .policy(&policy("", &rules))
        .tls(&tls.host(), &ca(&tls))
        .plain_http_with_password(&password.host(), USER.0, USER.1)
        .plain_http_with_password(&tokens.host(), USER.0, USER.1)
        .plain_http(&anonymous_tokens.host())
        .file("both.pem", ca(&tls_and_password))
        .file("both.password", USER.1)
        .registry(both, &tls_and_password.host())
        .start()
        .await
        .unwrap();
    let containerd = Containerd::builder(&lab.peers)
        .hook(&assayd)
        .unwrap()
        .tls(&tls.host(), &ca(&tls))
        .plain_http(&password.host())
        .plain_http(&tokens.host())
        .plain_http(&anonymous_tokens.host())
        .tls(&tls_and_password.host(), &ca(&tls_and_password))
        .start()
        .await
        .unwrap();

    for (number, (registry, login)) in [
        (tls, None),
        (password, Some(USER)),
        (tokens, Some(USER)),
        (anonymous_tokens, None),
        (tls_and_password, Some(USER)),
    ]
    .into_iter()
    .enumerate()
    {
        let guarded = Guarded { registry, login };
        guarded.fill(&lab, FORMATS[number % 2]).await;
        let event = guarded.pull(&containerd, "prod/twin").await.expect_err("a denial");
        assert_denial(&event, "signature-invalid", &assayd.log());
        let log = guarded.registry.log();
        assert!(log.layer_requests().is_empty(), "registry {number}");
        guarded
            .pull(&containerd, "prod/app")
            .await
            .unwrap_or_else(|event| panic!("registry {number}: {event}"));
        assert_eq!(log.layer_requests().len(), 1, "registry {number}");
    }
}

fn rule_for(host: &str) -> String {
    format!("[[rule]]\nname = \"{host}\"\nimages = [\"{host}/prod/**\"]\nrequire = {{ all = [\"corp\"] }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_assayd_may_not_enter_is_never_taken_for_one_without_signatures() {
    let peers = Peers::fetch().unwrap();
    let signers = Signers::new(&peers);
    let untrusted = Registry::start_tls().await.unwrap();
    let password = Registry::start().await.unwrap();
    password.require(Login::Basic {
        username: "node".into(),
        password: "secret".into(),
    });
    let tokens = Registry::start().await.unwrap();
    tokens.require_tokens(TokenIssuer::with_password("node", "secret"));
    let rules: String = [&untrusted, &password, &tokens]
        .map(|registry| rule_for(&registry.host()))
        .concat();
    // The certificate authority is missing, the password is wrong, and there is no password at all.
    let assayd = signers
        .assayd()
        .policy(&policy("", &rules))
        .plain_http_with_password(&password.host(), "node", "guess")
        .plain_http(&tokens.host())
        .start()
        .await
        .unwrap();
    let containerd = Containerd::builder(&peers)
        .hook(&assayd)
        .unwrap()
        .tls(&untrusted.host(), untrusted.ca().unwrap())
        .plain_http(&password.host())
        .plain_http(&tokens.host())
        .start()
        .await
        .unwrap();
    for (registry, login, code) in [
        (&untrusted, None, "registry-unavailable"),
        (&password, Some(("node", "secret")), "registry-auth"),
        (&tokens, Some(("node", "secret")), "registry-auth"),
    ] {
        Image::tiny("guarded")
            .unwrap()
            .store(registry.content(), "prod/app", "v1");
        let reference = format!("{}:v1", registry.repository("prod/app"));
        let refusal = containerd.pull_cri_with(&reference, login).await.expect_err("a denial");
        assert_denial(&refusal.to_string(), code, &assayd.log());
        assert!(registry.log().layer_requests().is_empty());
    }
}
