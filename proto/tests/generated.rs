//! The committed code is what the .proto files generate. `ASSAY_REGENERATE=1 cargo test -p assay-proto` rewrites it.

use std::fs;
use std::path::Path;

use tonic_prost_build::Builder;

#[track_caller]
fn check(package: &str, files: &[&str], builder: Builder) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(files, [root]).expect("the .proto files compile");
    let fresh = std::env::temp_dir().join(format!("assay-proto-{package}-{}", std::process::id()));
    fs::create_dir_all(&fresh).expect("a scratch directory");
    builder.out_dir(&fresh).compile_fds(files).expect("code generation");
    let generated = fs::read_to_string(fresh.join(format!("{package}.rs"))).expect("the generated file");
    fs::remove_dir_all(&fresh).expect("the scratch directory goes away");

    let committed = root.join(format!("src/generated/{package}.rs"));
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

#[test]
fn committed_code_is_what_the_proto_files_generate() {
    let builder = tonic_prost_build::configure().server_mod_attribute(".", "#[cfg(feature = \"server\")]");
    check(
        "assayd.v1",
        &["assayd/v1/verifier.proto", "assayd/v1/control.proto"],
        builder,
    );
}

#[test]
fn committed_code_is_what_the_part_of_cri_generates() {
    let builder = tonic_prost_build::configure().build_server(false);
    check("runtime.v1", &["runtime/v1/cri.proto"], builder);
}
