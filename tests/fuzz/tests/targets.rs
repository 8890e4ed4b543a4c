//! Runs every target for a moment, or as long as `ASSAY_FUZZ_SECONDS` says.

use assay_fuzz::{runner, targets};

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                runner::run(&targets::$name::TARGET);
            }
        )*

        #[test]
        fn every_target_runs_under_its_name() {
            let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets! {
    bundle cel certificate checkpoint cose crl deny_list descriptor digest distinguished_name dsse exception fulcio
    identities index jws log_entry manifest ocsp pattern platform plugin_metadata plugin_verdict policy query reference
    simple_signing
    statement timestamp trust_policy trust_store trusted_root untrusted
}
