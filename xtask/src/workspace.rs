//! Where the workspace is, and how cargo is called in it.

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables of the user's cargo that would change what is built, or where.
const NOT_OURS: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
];

/// The kernel image's folder, and that of what is built of it.
const IMAGE: &str = "image";

/// The workspace that this program was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// What `cargo metadata --no-deps` says: the members, with what each declares.
    pub(crate) metadata: Metadata,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        // Cargo says where this package is when it runs it; a binary started by hand remembers where it was built.
        let package =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let metadata = MetadataCommand::new()
            .current_dir(package)
            .no_deps()
            .exec()
            .context("cargo metadata")?;
        Ok(Self { metadata })
    }

    /// The same of the kernel image, which is a workspace of its own.
    pub(crate) fn image_metadata(&self) -> Result<Metadata> {
        MetadataCommand::new()
            .current_dir(self.root().join(IMAGE))
            .no_deps()
            .exec()
            .context("cargo metadata of the image")
    }

    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// Where everything that the guest needs is kept: QEMU, the kernel, the static test binaries, the initrd.
    pub(crate) fn guest_dir(&self) -> PathBuf {
        self.metadata.target_directory.as_std_path().join("guest")
    }

    /// The cargo that started this program, in the root, printing what can be read by a program.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(self.root())
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TERM_PROGRESS_WHEN", "never");
        cargo
    }

    /// The same, building into a folder of its own what the user's flags have no part in.
    pub(crate) fn plain_cargo(&self, target: &Path) -> Command {
        let mut cargo = self.cargo();
        for name in NOT_OURS {
            cargo.env_remove(name);
        }
        cargo.env("CARGO_TARGET_DIR", target);
        cargo
    }

    /// The same for the kernel image, which is a workspace of its own. It runs in the image's folder: by that cargo finds the
    /// flags that a kernel is compiled with.
    pub(crate) fn image_cargo(&self) -> Command {
        let target = self.metadata.target_directory.as_std_path().join(IMAGE);
        let mut cargo = self.plain_cargo(&target);
        cargo.current_dir(self.root().join(IMAGE));
        cargo
    }
}
