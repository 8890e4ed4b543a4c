//! The committed code is what the .proto files generate. `ASSAY_REGENERATE=1 cargo test -p assay-proto` rewrites it.

use std::fs;
use std::path::Path;

#[test]
fn committed_code_is_what_the_proto_files_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["assayd/v1/verifier.proto", "assayd/v1/control.proto"], [root])
        .expect("the .proto files compile");
    let fresh = std::env::temp_dir().join(format!("assay-proto-{}", std::process::id()));
    fs::create_dir_all(&fresh).expect("a scratch directory");
    tonic_prost_build::configure()
        .out_dir(&fresh)
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds(files)
        .expect("code generation");
    let generated = fs::read_to_string(fresh.join("assayd.v1.rs")).expect("the generated file");
    fs::remove_dir_all(&fresh).expect("the scratch directory goes away");

    let committed = root.join("src/generated/assayd.v1.rs");
    if std::env::var_os("ASSAY_REGENERATE").is_some() {
        fs::write(&committed, &generated).expect("the committed file is writable");
    }
    assert_eq!(
        fs::read_to_string(&committed).unwrap_or_default(),
        generated,
        "{} is stale: ASSAY_REGENERATE=1 cargo test -p assay-proto",
        committed.display()
    );
}
