//! The programs in C and C++, and how they are built: by the machine's compiler, against headers and libraries that need not be
//! installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder of the built programs.
pub(crate) const FOLDER: &str = "PKEYS_TEST_PROGRAMS";

/// Names a folder with the headers and libraries of packages, as if it were `/`.
const PACKAGES: &str = "PKEYS_TEST_PACKAGES";

/// Where a distribution keeps libraries.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A program: its source, what it is linked with, and other arguments.
struct Program {
    name: &'static str,
    source: &'static str,
    arguments: &'static [&'static str],
}

const PROGRAMS: [Program; 5] = [
    Program {
        name: "orders",
        source: "orders.c",
        arguments: &["-lsqlite3"],
    },
    Program {
        name: "shelves",
        source: "shelves.c",
        arguments: &["-lxml2"],
    },
    Program {
        name: "boxes",
        source: "boxes.c",
        arguments: &["-llmdb"],
    },
    Program {
        name: "counter",
        source: "counter.cc",
        arguments: &["-lleveldb"],
    },
    Program {
        name: "vandal.so",
        source: "vandal.c",
        arguments: &["-shared", "-fPIC"],
    },
];

/// The folder of the built programs.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// What programs of packages are given to do.
const SCRIPTS: [&str; 3] = ["app.py", "ungated.py", "work.sql"];

/// Builds all of them, and puts the scripts beside them.
pub(crate) fn build(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for program in &PROGRAMS {
        program.build(folder);
    }
    for script in SCRIPTS {
        std::fs::copy(sources().join(script), folder.join(script)).unwrap();
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guarded/programs")
}

impl Program {
    fn build(&self, folder: &Path) {
        let compiler = cc::Build::new()
            .cpp(
                Path::new(self.source)
                    .extension()
                    .is_some_and(|end| end == "cc"),
            )
            .opt_level(1)
            .host("x86_64-unknown-linux-gnu")
            .target("x86_64-unknown-linux-gnu")
            .get_compiler();
        let mut command = Command::new(compiler.path());
        command
            .args(["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
            .arg(folder.join(self.name))
            .arg(sources().join(self.source));
        let root = std::env::var_os(PACKAGES).map_or_else(|| PathBuf::from("/"), PathBuf::from);
        for headers in ["usr/include", "usr/include/libxml2"] {
            command.arg("-idirafter").arg(root.join(headers));
        }
        let libraries = root.join(LIBRARIES);
        command.arg(joined("-L", &libraries));
        // What the libraries need in turn is not looked for: the guest has it.
        command.args(["-Wl,--allow-shlib-undefined", "-Wl,--as-needed"]);
        command.arg(joined("-Wl,-rpath-link,", &libraries));
        let done = command.args(self.arguments).output().expect("a C compiler");
        assert!(
            done.status.success(),
            "{}: {}",
            self.source,
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut all = OsString::from(option);
    all.push(path);
    all
}
