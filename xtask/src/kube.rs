//! The real API server, etcd and kubectl for the tests: found, or built once from pinned Go modules into a cache outside
//! the clone.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::PROFILE;
use crate::commands::bins;
use crate::paths;
use crate::step::{self, Failure};

/// Where both are, as Kubernetes' own test tools name it: set by a person, honoured by the tests.
const DIRECTORY: &str = "KUBEBUILDER_ASSETS";
/// Tells the tests why they are not there.
const MISSING: &str = "SETPOINT_KUBE_MISSING";
/// The main packages of the module, and so the programs.
const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];
/// Where Kubernetes keeps the version that it says it has.
const VERSIONS: [&str; 2] = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
/// How often a build says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// `cargo xtask kube assets`: the directory, alone on standard output.
pub(crate) fn assets() -> Result<(), Failure> {
    println!("{}", find_or_build()?.display());
    Ok(())
}

/// `cargo xtask kube up`
pub(crate) fn up(args: &[&str]) -> Result<(), Failure> {
    let assets = find_or_build()?;
    step::run("build the harness", bins(&["setpoint-kube"]).args(["--profile", PROFILE]))?;
    let mut command = Command::new(paths::binary(PROFILE, "setpoint-kube"));
    command.args(args).env(DIRECTORY, assets);
    // In the place of this program, so that Ctrl-C reaches it and nothing else.
    #[cfg(unix)]
    let failed = std::os::unix::process::CommandExt::exec(&mut command).to_string();
    #[cfg(not(unix))]
    let failed = "API servers are started on Unix only";
    Err(format!("the API server: {failed}"))
}

/// Tests find the programs by this, or the reason why they are skipped.
pub(crate) fn for_tests(command: &mut Command) {
    match find_or_build() {
        Ok(assets) => command.env(DIRECTORY, assets),
        Err(why) => command.env_remove(DIRECTORY).env(MISSING, why),
    };
}

fn find_or_build() -> Result<PathBuf, Failure> {
    if let Some(dir) = std::env::var_os(DIRECTORY).filter(|dir| !dir.is_empty()) {
        let dir = paths::root().join(dir);
        return match PROGRAMS.iter().find(|program| !dir.join(program).is_file()) {
            None => Ok(dir),
            Some(program) => Err(format!("{DIRECTORY} is {}, but there is no {program} in it", dir.display())),
        };
    }
    let module = Module::read(&paths::root().join("tests/kube/apiserver"))?;
    let go = Go::find(&module)?;
    let dir = cache()?.join(module.key(&go));
    if PROGRAMS.iter().all(|program| dir.join(program).is_file()) {
        return Ok(dir);
    }
    module.build(&dir)?;
    Ok(dir)
}

/// What users' programs keep outside of what is theirs.
fn cache() -> Result<PathBuf, Failure> {
    let var = |name: &str| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let usual = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let base =
        var("XDG_CACHE_HOME").filter(|dir| dir.is_absolute()).or_else(|| var("HOME").map(|home| home.join(usual)));
    let base =
        base.ok_or_else(|| format!("HOME is not set, so there is no place for built programs; or set {DIRECTORY}"))?;
    Ok(base.join("setpoint").join("kube"))
}

/// The Go that is installed.
struct Go {
    /// Such as `go1.26.8 linux/amd64`.
    version: String,
}

impl Go {
    fn find(module: &Module) -> Result<Self, Failure> {
        let (major, minor) = module.go;
        let remedy = format!(
            "install Go {major}.{minor} or newer (https://go.dev/dl), or set {DIRECTORY} to a directory with {}",
            PROGRAMS.join(", ")
        );
        let output = go(&module.dir).arg("version").output().map_err(|_| format!("Go is not installed; {remedy}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.trim().strip_prefix("go version ").unwrap_or_default().to_owned();
        match numbers(version.strip_prefix("go").unwrap_or_default()) {
            Some(found) if found >= module.go => Ok(Self { version }),
            Some((major, minor)) => Err(format!("Go {major}.{minor} is too old; {remedy}")),
            None => Err(format!("`go version` says {:?}; {remedy}", text.trim())),
        }
    }
}

/// Go in this directory. No other toolchain than the installed one is fetched.
fn go(dir: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(dir).env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    command
}

/// The Go module with the main packages.
struct Module {
    dir: PathBuf,
    /// The version of Kubernetes, such as `v1.34.4`.
    kubernetes: String,
    /// The oldest Go that builds it.
    go: (u32, u32),
    digest: u64,
}

impl Module {
    fn read(dir: &Path) -> Result<Self, Failure> {
        let read = |name: &str| {
            let file = dir.join(name);
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
        };
        let go_mod = read("go.mod")?;
        let mut all = vec![go_mod.clone(), read("go.sum")?];
        for program in PROGRAMS {
            all.push(read(&format!("{program}/main.go"))?);
        }
        let (kubernetes, go) = pinned(&go_mod)?;
        Ok(Self { dir: dir.to_owned(), kubernetes, go, digest: digest(&all) })
    }

    /// Anything that makes other programs makes another key.
    fn key(&self, go: &Go) -> String {
        format!("{}-{}-{:016x}", self.kubernetes, go.version.replace([' ', '/'], "-"), self.digest)
    }

    /// Complete or not at all, whoever else builds at the same time.
    fn build(&self, dir: &Path) -> Result<(), Failure> {
        let what =
            format!("build kube-apiserver and kubectl {}, and etcd, once: it takes some minutes", self.kubernetes);
        let began = Instant::now();
        eprintln!("== {what}");
        let total = self.packages()?;
        let new = dir.with_extension(format!("{}.new", std::process::id()));
        fs::create_dir_all(&new).map_err(|error| format!("{}: {error}", new.display()))?;
        let built = self.compile(&new, total, began);
        if built.is_ok() && fs::rename(&new, dir).is_ok() {
            eprintln!("== built into {}: {:.0} s", dir.display(), began.elapsed().as_secs_f64());
            return Ok(());
        }
        // Nothing there is worth keeping: Go keeps what it has compiled.
        let _ = fs::remove_dir_all(&new);
        match built {
            // Somebody else was first.
            Ok(()) if dir.is_dir() => Ok(()),
            Ok(()) => Err(format!("{} cannot be written", dir.display())),
            Err(error) => Err(error),
        }
    }

    /// How many packages there are. It fetches their modules and says so.
    fn packages(&self) -> Result<usize, Failure> {
        let mut list = go(&self.dir);
        list.args(["list", "-mod=readonly", "-deps"]).args(self.mains()).stderr(Stdio::inherit());
        let output = list.output().map_err(|error| step::cannot_start(&list, &error))?;
        if !output.status.success() {
            return Err("the Go modules of the API server could not be fetched; see above".into());
        }
        Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count())
    }

    fn compile(&self, into: &Path, total: usize, began: Instant) -> Result<(), Failure> {
        let mut build = go(&self.dir);
        build
            .args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"])
            .arg(self.version_flags());
        // A directory, as there are several.
        build.arg("-o").arg(format!("{}/", into.display())).args(self.mains());
        let mut child = build.stderr(Stdio::piped()).spawn().map_err(|error| step::cannot_start(&build, &error))?;
        let (mut compiled, mut said) = (0, Instant::now());
        for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            if !is_package(&line) {
                eprintln!("{line}");
                continue;
            }
            compiled += 1;
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                eprintln!("   {compiled} of at most {total} packages, {} s", began.elapsed().as_secs());
            }
        }
        let status = child.wait().map_err(|error| format!("go build: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("the API server could not be built: {status}; see above")) }
    }

    fn mains(&self) -> [String; 3] {
        PROGRAMS.map(|program| format!("./{program}"))
    }

    /// Unless told at link time, it says that it is version 0.0.0, and compares versions with that.
    fn version_flags(&self) -> String {
        let mut parts = self.kubernetes.trim_start_matches('v').split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut flags = "-s -w".to_owned();
        for package in VERSIONS {
            for (name, value) in [
                ("gitVersion", self.kubernetes.as_str()),
                ("gitMajor", major),
                ("gitMinor", minor),
                ("gitTreeState", "clean"),
            ] {
                flags.push_str(&format!(" -X {package}.{name}={value}"));
            }
        }
        flags
    }
}

/// Whether Go names a package that it compiles; all else that it prints is for people.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.contains([' ', '\t', '#']) && !line.ends_with(':')
}

/// The version of Kubernetes and the oldest Go, from a `go.mod`.
fn pinned(go_mod: &str) -> Result<(String, (u32, u32)), Failure> {
    let after = |word: &str| go_mod.lines().find_map(|line| line.trim().strip_prefix(word)).map(str::trim);
    let kubernetes =
        after("k8s.io/kubernetes ").ok_or("tests/kube/apiserver/go.mod names no version of k8s.io/kubernetes")?;
    let go = after("go ").and_then(numbers).ok_or("tests/kube/apiserver/go.mod has no go directive")?;
    Ok((kubernetes.to_owned(), go))
}

/// Major and minor of a version such as `1.24.0`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// FNV-1a: the same in every build of this program, and enough to tell one state of a clone from another.
fn digest(texts: &[String]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_read_from_the_module() {
        let text =
            "module a\n\ngo 1.24.0\n\nrequire (\n\tk8s.io/component-base v0.34.4\n\tk8s.io/kubernetes v1.34.4\n)\n";
        assert_eq!(pinned(text), Ok(("v1.34.4".to_owned(), (1, 24))));
        assert!(pinned("module a\n").is_err());
    }

    #[test]
    fn the_module_of_this_clone_is_read() {
        let module = Module::read(&paths::root().join("tests/kube/apiserver")).expect("it is whole");
        let go = Go { version: "go1.26.8 linux/amd64".into() };
        assert!(
            module.key(&go).starts_with(&format!("{}-go1.26.8-linux-amd64-", module.kubernetes)),
            "{}",
            module.key(&go)
        );
        assert!(module.version_flags().contains("component-base/version.gitMajor=1 "), "{}", module.version_flags());
    }

    #[test]
    fn an_old_go_is_told_from_a_new_one() {
        assert!(numbers("1.9.7") < Some((1, 24)));
        assert_eq!(numbers("1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(numbers("1.27rc1 linux/amd64"), Some((1, 27)));
        assert_eq!(numbers("devel"), None);
    }

    #[test]
    fn packages_are_told_from_what_people_read() {
        assert!(is_package("k8s.io/api/core/v1"));
        assert!(!is_package("go: downloading k8s.io/api v0.34.4"));
        assert!(!is_package("# k8s.io/api/core/v1"));
        assert!(!is_package("./main.go:7:2: undefined: app"));
        assert!(!is_package(""));
    }

    #[test]
    fn every_text_counts_in_the_digest_and_so_does_where_it_ends() {
        let of = |texts: &[&str]| digest(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }
}
