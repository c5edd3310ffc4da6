//! The crates that a kernel takes need no standard library and no C library.
//!
//! `#![no_std]` alone does not show it: a dependency may bring `std` in, and a crate may call C functions that a hosted
//! program happens to have. A build for a target without an operating system would show it, but such a target is one more
//! thing to install. So a program is made that has nothing but the crates, and two things are tried with it:
//!
//! 1. It is compiled with a panic handler of its own. `std` has one, and a second is an error (E0152) wherever in the
//!    graph of dependencies `std` comes in.
//! 2. All of its object code, whether it is reached or not, is linked without any library. What calls a function from
//!    elsewhere stays undefined, which is an error, too. The few functions that compiled Rust asks of every environment
//!    ([`PROBE`] defines them) are there.
//!
//! Nothing of it is ever run. What it cannot show is generic code that nobody instantiates; but that cannot name `std`
//! either without bringing it in.

use crate::capture;
use crate::test::Report;
use crate::test::results::Counts;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The crates, by their names in the workspace.
const CRATES: [&str; 3] = ["pkeys-core", "pkeys-arch", "pkeys-kernel"];

/// The program: what a kernel brings, and what compiled Rust calls by itself, as far as a linker looks.
const PROBE: &str = r#"#![no_std]
extern crate alloc;

struct Nothing;

unsafe impl core::alloc::GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
}

#[global_allocator]
static NOTHING: Nothing = Nothing;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

macro_rules! defined {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> ! {
            loop {}
        }
    )* };
}

defined! { _start memcpy memmove memset memcmp bcmp strlen rust_eh_personality _Unwind_Resume }
"#;

/// The probe's own crate, without its dependencies. It is no member of the workspace, whose features it would share.
const MANIFEST: &str = r#"[package]
name = "no-std-probe"
version = "0.0.0"
edition = "2024"

[lib]
path = "probe.rs"
crate-type = ["staticlib"]

[profile.dev]
panic = "abort"

[workspace]

[dependencies]
"#;

/// A crate: its name, and the folder of its manifest.
type Crate = (String, PathBuf);

/// The tier: one test a step.
pub(crate) fn tier(workspace: &Workspace, doing: &dyn Fn(&str)) -> Result<Report> {
    let probe = Probe {
        folder: workspace
            .metadata
            .target_directory
            .join("no-std")
            .into_std_path_buf(),
        crates: crates(workspace)?,
    };
    probe.write()?;
    // The versions that the workspace was tested with; the entries of everything else are dropped.
    fs::copy(
        workspace.root().join("Cargo.lock"),
        probe.folder.join("Cargo.lock"),
    )
    .context("Cargo.lock")?;
    probe.run(workspace, doing)
}

/// The crates to look at, and where they are.
fn crates(workspace: &Workspace) -> Result<Vec<Crate>> {
    let packages = workspace.metadata.workspace_packages();
    CRATES
        .iter()
        .map(|name| {
            let package = packages.iter().find(|package| package.name == *name);
            let manifest = &package
                .with_context(|| format!("no crate {name}"))?
                .manifest_path;
            let folder = manifest.parent().context("a manifest without a folder")?;
            Ok(((*name).to_owned(), folder.into()))
        })
        .collect()
}

/// A probe and what it takes in.
#[derive(Debug)]
struct Probe {
    folder: PathBuf,
    crates: Vec<Crate>,
}

impl Probe {
    /// Writes its crate.
    fn write(&self) -> Result<()> {
        let mut manifest = MANIFEST.to_owned();
        let mut source = PROBE.to_owned();
        for (name, folder) in &self.crates {
            manifest.push_str(&format!("{name} = {{ path = {folder:?} }}\n"));
            source.push_str(&format!("use {} as _;\n", name.replace('-', "_")));
        }
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        fs::write(self.folder.join("Cargo.toml"), manifest)?;
        fs::write(self.folder.join("probe.rs"), source)?;
        Ok(())
    }

    /// Compiles it, and links it if that worked.
    fn run(&self, workspace: &Workspace, doing: &dyn Fn(&str)) -> Result<Report> {
        let target = self.folder.join("build");
        let mut cargo = workspace.plain_cargo(&target);
        cargo
            .args(["build", "--manifest-path"])
            .arg(self.folder.join("Cargo.toml"));
        let mut cc = Command::new("cc");
        // Without the option for the whole of the library only what is reached from the entry point would be looked at.
        cc.args(["-nostdlib", "-static", "-Wl,--whole-archive"])
            .arg(target.join("debug/libno_std_probe.a"))
            .arg("-o")
            .arg(self.folder.join("linked"));
        let mut report = Report::default();
        for step in [cargo, cc] {
            let name = step.get_program().display().to_string();
            let done = capture::run(step, None, &mut |line| doing(line.trim())).context(name)?;
            report.output.push_str(&done.output);
            if !done.is_success() {
                report.counts += Counts::failure();
                break;
            }
            report.counts += Counts::pass();
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Probe};
    use crate::test::Report;
    use crate::workspace::Workspace;
    use std::fs;
    use std::path::Path;

    /// A crate of one file, and what it depends on beside it.
    fn write(root: &Path, name: &str, source: &str, uses: Option<&str>) {
        let folder = root.join(name);
        let mut manifest = format!(
            "[package]\nname = {name:?}\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [lib]\npath = \"lib.rs\"\n[dependencies]\n"
        );
        if let Some(uses) = uses {
            manifest.push_str(&format!("{uses} = {{ path = \"../{uses}\" }}\n"));
        }
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::write(folder.join("lib.rs"), source).unwrap();
    }

    /// What the probe says of a crate that calls itself `no_std`.
    fn verdict(source: &str, uses: Option<&str>) -> Report {
        let root = tempfile::tempdir().unwrap();
        let source = format!("#![no_std]\n{source}");
        write(root.path(), "tried", &source, uses);
        write(root.path(), "below", "pub fn len() -> usize { 3 }", None);
        let probe = Probe {
            folder: root.path().join("probe"),
            crates: vec![("tried".into(), root.path().join("tried"))],
        };
        probe.write().unwrap();
        probe.run(&Workspace::find().unwrap(), &|_| {}).unwrap()
    }

    #[test]
    fn a_crate_that_needs_only_an_allocator_passes() {
        let source = "extern crate alloc;
            pub fn text(n: &[u8]) -> alloc::string::String { alloc::format!(\"{n:?}\") }";
        let report = verdict(source, None);
        assert_eq!(report.counts.passed, 2, "{}", report.output);
        assert_eq!(report.counts.failed, 0, "{}", report.output);
    }

    #[test]
    fn std_is_found_in_the_crate_and_below_it() {
        for (source, uses) in [
            (
                "extern crate std; pub fn f() { std::process::abort() }",
                None,
            ),
            ("pub fn f() -> usize { below::len() }", Some("below")),
        ] {
            let report = verdict(source, uses);
            assert_eq!(report.counts, Counts::failure(), "{}", report.output);
            assert!(report.output.contains("E0152"), "{}", report.output);
        }
    }

    #[test]
    fn a_function_of_the_c_library_is_found() {
        let source = "unsafe extern \"C\" { fn getpid() -> i32; }
            pub fn f() -> i32 { unsafe { getpid() } }";
        let report = verdict(source, None);
        assert_eq!(report.counts.passed, 1, "{}", report.output);
        assert_eq!(report.counts.failed, 1, "{}", report.output);
        assert!(report.output.contains("`getpid'"), "{}", report.output);
    }
}
