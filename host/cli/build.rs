//! Embeds the SDK, the contract and the scaffold of `plugin new` in the binary, so that it works
//! without a clone of the repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name: &str| {
        env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("cargo did not set {name}")))
    };
    let sdk = variable("CARGO_MANIFEST_DIR")?.join("../../sdk/rust").canonicalize()?;
    let mut sdk_files = vec![(String::from("Cargo.toml"), sdk.join("Cargo.toml"))];
    collect(&sdk.join("src"), "src", &mut sdk_files)?;
    // A link to the contract's own directory, which is followed.
    collect(&sdk.join("wit"), "wit", &mut sdk_files)?;
    let mut template_files = Vec::new();
    collect(&sdk.join("template"), "", &mut template_files)?;
    println!("cargo::rerun-if-changed={}", sdk.join("Cargo.toml").display());
    for dir in ["src", "wit", "template"] {
        println!("cargo::rerun-if-changed={}", sdk.join(dir).display());
    }
    let code = format!(
        "/// The SDK with the contract: path and content, in order of paths.\n{}\n\
         /// The scaffold of a plugin: path and content, in order of paths.\n{}",
        table("SDK", sdk_files),
        table("TEMPLATE", template_files)
    );
    fs::write(variable("OUT_DIR")?.join("embedded.rs"), code)
}

/// All files below a directory, by their path with slashes.
fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        // Follows links, as the contract is one.
        if fs::metadata(entry.path())?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else {
            files.push((path, entry.path()));
        }
    }
    Ok(())
}

fn table(name: &str, mut files: Vec<(String, PathBuf)>) -> String {
    files.sort();
    let mut code = format!("pub(crate) static {name}: &[(&str, &[u8])] = &[\n");
    for (path, file) in files {
        // Writing to a String cannot fail.
        let _ = writeln!(code, "    ({path:?}, include_bytes!({:?})),", file.display().to_string());
    }
    code.push_str("];\n");
    code
}
