//! The kernel image inside this program.
//!
//! `build.rs` builds it and leaves it in `OUT_DIR`; where that failed, the file is empty and the reason is in its place.

use std::env;

use pkeys_launch::{Kernel, Qemu, Symbols};

use crate::failure::{Doing, Failure};

/// The ELF file.
static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pkeys-image"));

/// Why there is none.
const TROUBLE: &str = env!("PKEYS_IMAGE_TROUBLE");

/// The image as something that QEMU can open.
pub(super) fn kernel() -> Result<Kernel, Failure> {
    if IMAGE.is_empty() {
        return Err(Failure::Failed(format!(
            "this program was built without the kernel image: {TROUBLE}"
        )));
    }
    Kernel::from_bytes(IMAGE).doing("cannot put the kernel image into memory")
}

/// The functions of the image.
pub(super) fn symbols() -> Symbols {
    Symbols::of(IMAGE)
}

/// The QEMU that the checkout's tests unpack below `target/guest`, for a program that runs out of `target/PROFILE`.
pub(super) fn beside_the_build() -> Option<Qemu> {
    let program = env::current_exe().ok()?;
    Qemu::below(&program.parent()?.parent()?.join("guest/qemu"))
}

#[cfg(test)]
mod tests {
    use super::{IMAGE, TROUBLE};

    #[test]
    fn the_image_is_there() {
        assert!(IMAGE.starts_with(b"\x7fELF"), "{TROUBLE}");
    }
}
