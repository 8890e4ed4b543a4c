//! The peers for timestamps and revocation, shown to be real: the real notation signs with the timestamp authority, asks
//! the responder and reads the lists, and comes to the verdicts that its own end-to-end suite has.

mod lists;
mod notation_suite;
mod responders;
mod timestamps;

use assay_integration::certificates::SigningIdentity;
use assay_integration::notation::{Sign, Statement};
use assay_integration::{Image, Notation, OpenSsl, Peers, Registry};

/// notation, openssl and a registry.
struct Lab {
    peers: Peers,
    openssl: OpenSsl,
    registry: Registry,
}

impl Lab {
    async fn start() -> Self {
        let peers = Peers::fetch().expect("peers");
        Self {
            openssl: OpenSsl::find(&peers).expect("openssl"),
            registry: Registry::start().await.expect("a registry"),
            peers,
        }
    }

    fn push(&self, repository: &str) -> Image {
        let image = Image::tiny(repository).expect("an image");
        image.store(self.registry.content(), repository, "v1");
        image
    }

    fn reference(&self, repository: &str, image: &Image) -> String {
        format!("{}@{}", self.registry.repository(repository), image.digest())
    }

    /// A notation that trusts the anchor of `signer` for everything; and an image that `signer` signed, by its reference.
    async fn signed(&self, repository: &str, signer: &SigningIdentity, how: &Sign) -> (Notation, String) {
        let notation = Notation::new(&self.peers).expect("notation");
        notation.add_key("release", signer).expect("a key");
        notation.trust("ca", "corp", &signer.anchor_pem).expect("a store");
        let policy = Statement::strict(&["ca:corp"], &["*"]).policy();
        notation.write_policy(&policy).expect("a policy");
        let image = self.push(repository);
        let reference = self.reference(repository, &image);
        notation.sign(&reference, how).await.expect("a signature");
        (notation, reference)
    }
}
