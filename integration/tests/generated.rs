//! The committed code is what the .proto file generates. `ASSAY_REGENERATE=1 cargo test -p assay-integration --test
//! generated` rewrites it.

use std::fs;
use std::path::Path;

#[test]
fn committed_code_is_what_the_proto_file_generates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["runtime/v1/image.proto"], [root.join("cri")]).expect("the .proto file compiles");
    let fresh = tempfile::tempdir().expect("a scratch directory");
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        .build_server(false)
        .compile_fds(files)
        .expect("code generation");
    let generated = fs::read_to_string(fresh.path().join("runtime.v1.rs")).expect("the generated file");

    let committed = root.join("src/generated/runtime.v1.rs");
    if std::env::var_os("ASSAY_REGENERATE").is_some() {
        fs::write(&committed, &generated).expect("the committed file is writable");
    }
    assert_eq!(
        fs::read_to_string(&committed).unwrap_or_default(),
        generated,
        "{} is stale: ASSAY_REGENERATE=1 cargo test -p assay-integration --test generated",
        committed.display()
    );
}
