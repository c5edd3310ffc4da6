//! The programs of the cases: how each is built, and where they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::OnceLock;

/// Names the folder with the programs, built before.
const BUILT: &str = "PKEYS_TEST_PROGRAMS";

/// One program or library.
struct Fixture {
    name: &'static str,
    /// Sources and what the compiler is told beside the usual. A name that ends in `.c` or `.cc` is a source.
    arguments: &'static str,
}

const fn library(name: &'static str, arguments: &'static str) -> Fixture {
    Fixture { name, arguments }
}

const fn program(name: &'static str, arguments: &'static str) -> Fixture {
    Fixture { name, arguments }
}

/// All of them, libraries before what is linked with them.
const FIXTURES: &[Fixture] = &[
    library("libledger.so", "ledger.cc"),
    library("libstore.so", "store.c"),
    program("clerk", "clerk.cc -lledger"),
    // The same program, bound in every way there is.
    program("keeper", "keeper.c -fPIC -Wl,-z,lazy -lstore"),
    program("keeper-now", "keeper.c -Wl,-z,now -lstore"),
    program("keeper-noplt", "keeper.c -fno-plt -lstore"),
    program(
        "keeper-nopie",
        "keeper.c -fno-pie -no-pie -Wl,-z,lazy -lstore",
    ),
    program("pages", "pages.c -lstore"),
    library("libbells.so", "bells.c"),
    program("ringer", "ringer.c -lbells"),
    program("children", "children.c -lstore"),
    program("threads", "threads.c -lstore"),
    program("signals", "signals.c -lstore"),
    library("libstock.so", "stock.cc -std=c++17"),
    program("trader", "trader.cc -std=c++17 -lstock"),
    library(
        "libstock-packed.so",
        "stock.cc -std=c++17 -Wl,-z,pack-relative-relocs",
    ),
    program(
        "trader-packed",
        "trader.cc -std=c++17 -lstock-packed -Wl,-z,pack-relative-relocs",
    ),
    library("libearly.so", "early.c -lstore"),
    program("late", "late.c -learly -lstore"),
    library("libtwin.so", "store.c"),
    program("plugs", "plugs.c"),
    library("libstore-packed.so", "store.c -Wl,-z,pack-relative-relocs"),
    program(
        "keeper-packed",
        "keeper.c -fPIC -lstore-packed -Wl,-z,pack-relative-relocs",
    ),
    library("liblower.so", "lower.cc"),
    library("libupper.so", "upper.cc -llower"),
    program("clients", "clients.cc -lupper -llower"),
];

/// The option that makes the linker pack relocations (`DT_RELR`).
const PACK: &str = "-Wl,-z,pack-relative-relocs";

/// The folder that this process has built the programs into.
static OWN: Mutex<Option<tempfile::TempDir>> = Mutex::new(None);

/// The folder with the programs, which are built at the first call where they were not built before.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os(BUILT) {
            return PathBuf::from(folder);
        }
        let own = tempfile::tempdir().unwrap();
        let folder = own.path().to_owned();
        build(&folder);
        *OWN.lock().unwrap() = Some(own);
        folder
    })
}

/// Removes what [`folder`] has built.
pub(crate) fn remove() {
    drop(OWN.lock().unwrap().take());
}

/// Whether there are programs with packed relocations, or could be.
pub(crate) fn can_pack() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| match std::env::var_os(BUILT) {
        Some(folder) => FIXTURES
            .iter()
            .filter(|fixture| fixture.arguments.contains(PACK))
            .all(|fixture| Path::new(&folder).join(fixture.name).is_file()),
        None => {
            let help = Command::new(compiler(false))
                .arg("-Wl,--help")
                .output()
                .unwrap();
            String::from_utf8_lossy(&help.stdout).contains("pack-relative-relocs")
        }
    })
}

/// Builds all programs into a folder.
pub(crate) fn build(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for fixture in FIXTURES {
        if !fixture.arguments.contains(PACK) || can_pack() {
            compile(fixture, folder);
        }
    }
}

fn compile(fixture: &Fixture, folder: &Path) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/sources");
    let is_cpp = fixture.arguments.contains(".cc");
    let mut command = Command::new(compiler(is_cpp));
    command
        .args(["-O1", "-g", "-Wall", "-Wno-psabi", "-o", fixture.name])
        .current_dir(folder);
    if fixture.name.contains(".so") {
        command.args(["-shared", "-fPIC"]);
        // What the loader calls it is its file's name.
        command.arg(format!("-Wl,-soname,{}", fixture.name));
    }
    for argument in fixture.arguments.split(' ') {
        if argument.ends_with(".c") || argument.ends_with(".cc") {
            command.arg(sources.join(argument));
        } else {
            command.arg(argument);
        }
    }
    command.args(["-L.", "-pthread", "-ldl", "-Wl,-rpath,$ORIGIN"]);
    let done = command
        .output()
        .expect("a compiler for C and C++ (Debian's package g++)");
    assert!(
        done.status.success(),
        "{}: {}",
        fixture.name,
        String::from_utf8_lossy(&done.stderr)
    );
}

fn compiler(is_cpp: bool) -> PathBuf {
    cc::Build::new()
        .cargo_metadata(false)
        .cpp(is_cpp)
        .opt_level(1)
        .host("x86_64-unknown-linux-gnu")
        .target("x86_64-unknown-linux-gnu")
        .get_compiler()
        .path()
        .to_owned()
}
