//! One boot of the image, for the tests: what every boot needs, and all that was said in it.

use anyhow::{Context, Result};
use core::ops::ControlFlow;
use core::time::Duration;
use pkeys_launch::{Kernel, Qemu, Symbols};
use std::path::PathBuf;

pub(super) use pkeys_launch::machine::DEFAULT_CPU;
pub(super) use pkeys_launch::{End, Machine};

/// What every boot needs.
#[derive(Debug)]
pub(super) struct Bench {
    /// The kernel.
    pub(super) image: PathBuf,
    /// The emulator.
    pub(super) qemu: Qemu,
}

impl Bench {
    /// Boots and waits for the end; gives what was printed, too.
    pub(super) fn boot(
        &self,
        machine: &Machine<'_>,
        limit: Duration,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(End, String)> {
        let qemu = machine.command(&self.qemu, &Kernel::File(self.image.clone()))?;
        let name = qemu.get_program().display().to_string();
        let symbols = Symbols::of_file(self.image.clone());
        let mut output = String::new();
        let end = pkeys_launch::boot(qemu, limit, &mut |_, line| {
            let line = symbols.name_in(line);
            output.push_str(&line);
            output.push('\n');
            on_line(&line);
            ControlFlow::Continue(())
        })
        .context(name)?;
        Ok((end, output))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bench, End, Machine, Qemu};
    use core::time::Duration;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_said_is_heard_at_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("q");
        fs::write(&script, "#!/bin/sh\necho ok a\necho why >&2\nexit 65\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let bench = Bench {
            image: "/k".into(),
            qemu: Qemu::Installed(script),
        };
        let mut heard = Vec::new();
        let booted = bench.boot(&Machine::default(), Duration::from_secs(600), &mut |line| {
            heard.push(line.to_owned());
        });
        let (end, output) = booted.unwrap();
        assert_eq!(end, End::Failed);
        heard.sort();
        assert_eq!(heard, ["ok a", "why"]);
        assert!(
            output.contains("ok a\n") && output.contains("why\n"),
            "{output}"
        );
    }
}
