//! How registries misbehave during the run: one after the other, each for some seconds.

use std::time::Duration;

use assay_integration::Registry;
use assay_integration::registry::{Fault, Kind, OCI_INDEX, When};
use http::StatusCode;

/// A fault and what its table calls it.
pub(crate) struct Misbehaviour {
    pub(crate) name: &'static str,
    faults: &'static [fn() -> (When, Fault)],
}

/// Each leaves unknown what is true of an image. Lies are left out: a registry that lists nothing, or has something else under the
/// address of a manifest, says that an image has no signature, and is believed (`unsigned`). So what no digest proves, a
/// listing or a tag, keeps its content.
pub(crate) const MISBEHAVIOURS: &[Misbehaviour] = &[
    Misbehaviour {
        name: "429, Retry-After 1 s",
        faults: &[|| (When::always(), too_many(1))],
    },
    Misbehaviour {
        name: "429, Retry-After 60 s",
        faults: &[|| (When::always(), too_many(60))],
    },
    Misbehaviour {
        name: "500",
        faults: &[|| (When::always(), Fault::Status(StatusCode::INTERNAL_SERVER_ERROR))],
    },
    Misbehaviour {
        name: "503 for listings",
        faults: &[|| {
            (
                When::kind(Kind::Referrers),
                Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
            )
        }],
    },
    Misbehaviour {
        name: "slow bodies",
        faults: &[|| {
            let pace = Fault::Slow { bytes_per_second: 150 };
            (When::always(), pace)
        }],
    },
    Misbehaviour {
        name: "no answer for 9 s",
        faults: &[|| (When::always(), Fault::Delay(Duration::from_secs(9)))],
    },
    Misbehaviour {
        name: "bodies that break off",
        faults: &[|| (When::always(), Fault::Truncate { after: 100 })],
    },
    Misbehaviour {
        name: "wrong bytes",
        faults: &[
            || (When::kind(Kind::Blob), Fault::WrongBytes),
            || {
                (
                    When::kind(Kind::Manifest).and_path("/manifests/sha256:"),
                    Fault::WrongBytes,
                )
            },
        ],
    },
    Misbehaviour {
        name: "401",
        faults: &[|| (When::always(), Fault::Challenge("Basic realm=\"registry\"".to_owned()))],
    },
    Misbehaviour {
        name: "403",
        faults: &[|| (When::always(), Fault::Status(StatusCode::FORBIDDEN))],
    },
    Misbehaviour {
        name: "resets",
        faults: &[|| (When::always(), Fault::Reset)],
    },
    Misbehaviour {
        name: "redirects without an end",
        faults: &[|| (When::always(), Fault::RedirectLoop)],
    },
    Misbehaviour {
        name: "listings of 64 MiB",
        faults: &[
            || (When::kind(Kind::Referrers), Fault::Huge { bytes: 64 << 20 }),
            || (When::kind(Kind::Referrers), Fault::ContentType(OCI_INDEX.to_owned())),
        ],
    },
    Misbehaviour {
        name: "bodies of 64 MiB",
        faults: &[|| (When::kind(Kind::Blob), Fault::Huge { bytes: 64 << 20 })],
    },
];

fn too_many(seconds: u64) -> Fault {
    Fault::TooManyRequests {
        retry_after: Duration::from_secs(seconds),
    }
}

impl Misbehaviour {
    /// Switches it on.
    pub(crate) fn begin(&self, registry: &Registry) {
        for fault in self.faults {
            let (when, fault) = fault();
            registry.misbehave(when, fault);
        }
    }
}
