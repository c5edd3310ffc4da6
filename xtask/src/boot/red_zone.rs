//! No function of the linked image keeps data below its stack pointer.
//!
//! An interrupt is delivered on the stack of the code that it interrupts and writes right below the stack pointer. The image
//! is compiled without a red zone for that reason; but the core library comes compiled with the toolchain, for programs that
//! have one. So the linked image is disassembled and looked through.
//!
//! An access through RSP shows by itself where it goes. With a frame pointer data is reached from RBP: there it is below the
//! stack pointer when it lies deeper than everything that the function pushes and subtracts. The sum is over the whole
//! function and so may be too large: what is named has a red zone, and one that is small beside other pushes may be missed.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// The disassembler, of the binutils or of LLVM.
const OBJDUMP: &str = "objdump";

/// The functions that have data below their stack pointer; `None` where there is no disassembler.
pub(super) fn functions(image: &Path) -> Result<Option<Vec<String>>> {
    let mut objdump = Command::new(OBJDUMP);
    objdump.args(["-d", "--no-show-raw-insn"]).arg(image);
    let done = match objdump.output() {
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        done => done.context(OBJDUMP)?,
    };
    if !done.status.success() {
        bail!("{OBJDUMP}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let found = look_through(&String::from_utf8_lossy(&done.stdout));
    found.map(Some).with_context(|| {
        format!("{OBJDUMP} shows no function with a frame: its form is another one")
    })
}

/// The functions in a disassembly; `None` when it shows none that sets up a frame.
fn look_through(text: &str) -> Option<Vec<String>> {
    let mut function = Function::default();
    let mut found = BTreeSet::new();
    let mut has_frames = false;
    // The empty name ends the last function.
    for line in text.lines().chain(["<>:"]) {
        if let Some(name) = name(line) {
            has_frames |= function.has_frame;
            if function.has_red_zone() {
                found.insert(function.name.to_owned());
            }
            function = Function {
                name,
                ..Function::default()
            };
        } else if let Some((_, instruction)) = line.split_once(':') {
            function.add(instruction);
        }
    }
    has_frames.then(|| found.into_iter().collect())
}

/// The function that starts at this line: `ffffffff80100000 <name>:`.
fn name(line: &str) -> Option<&str> {
    let (_, name) = line.strip_suffix(">:")?.split_once('<')?;
    Some(name)
}

/// What a function does with its stack.
#[derive(Debug, Default)]
struct Function<'a> {
    name: &'a str,
    /// RBP is its frame pointer.
    has_frame: bool,
    /// How far the stack pointer is below the frame pointer, at most, in bytes.
    depth: u64,
    /// How far below the frame pointer it accesses memory.
    deepest: u64,
    /// It accesses memory below the stack pointer, seen from that.
    is_below: bool,
}

impl Function<'_> {
    /// Takes an instruction in: `mov    %rax,-0x8(%rbp)`.
    fn add(&mut self, instruction: &str) {
        let instruction = instruction.trim();
        let (name, operands) = instruction
            .split_once(char::is_whitespace)
            .unwrap_or((instruction, ""));
        let operands: String = operands.split_whitespace().collect();
        // It computes an address and accesses nothing.
        if !name.starts_with("lea") {
            self.is_below |= displacement(&operands, "(%rsp").is_some();
            // With an index the address may be higher than it looks, and often is: a loop that counts from 1.
            if let Some(bytes) = displacement(&operands, "(%rbp)") {
                self.deepest = self.deepest.max(bytes);
            }
        }
        if name.starts_with("mov") && operands == "%rsp,%rbp" {
            self.has_frame = true;
        } else if self.has_frame {
            self.depth = self.depth.saturating_add(lowers(name, &operands));
        }
    }

    /// Whether it has data below its stack pointer.
    fn has_red_zone(&self) -> bool {
        self.is_below || (self.has_frame && self.deepest > self.depth)
    }
}

/// By how many bytes an instruction lowers the stack pointer, at most.
fn lowers(name: &str, operands: &str) -> u64 {
    if name.starts_with("push") {
        return 8;
    }
    let Some(amount) = operands.strip_suffix(",%rsp") else {
        return 0;
    };
    let amount = amount
        .strip_prefix("$0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(u64::cast_signed);
    match (name.get(..3), amount) {
        (Some("sub"), Some(amount)) => u64::try_from(amount).unwrap_or(0),
        // 128 bytes are subtracted by adding -128, which is shorter.
        (Some("add"), Some(amount)) if amount < 0 => amount.unsigned_abs(),
        // By a register, or to a multiple of something: as far as need be.
        (Some("sub" | "and"), _) => u64::MAX,
        _ => 0,
    }
}

/// The bytes in `-0x8(%rsp`, for that register.
fn displacement(operands: &str, register: &str) -> Option<u64> {
    let (before, _) = operands.split_once(register)?;
    let (_, digits) = before.rsplit_once("-0x")?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::look_through;

    /// The functions found in a disassembly of one, `f`, beside another with a plain frame.
    fn found(instructions: &str) -> Vec<String> {
        let mut text = String::from(
            "0 <other>:\n0:\tpush   %rbp\n1:\tmov    %rsp,%rbp\n4:\tmov    0x10(%rbp),%rax\n\n1 <f>:\n",
        );
        for instruction in instructions.split(';') {
            text.push_str("ffffffff80100005:\t");
            text.push_str(instruction);
            text.push('\n');
        }
        look_through(&text).unwrap()
    }

    #[test]
    fn data_below_the_stack_pointer_names_its_function() {
        for instructions in [
            "mov    %rdi,-0x18(%rsp)",
            "mov    -0x8(%rsp,%rcx,8),%rax",
            "push   %rbp;mov    %rsp,%rbp;mov    %eax,-0x4(%rbp)",
            "mov    %rsp,%rbp;push   %rbx;mov    %rax,-0x10(%rbp)",
            "mov    %rsp,%rbp;sub    $0x10,%rsp;movaps %xmm0,-0x20(%rbp)",
            // Raising it again makes no room.
            "mov    %rsp,%rbp;add    $0x20,%rsp;mov    %eax,-0x4(%rbp)",
            // The other disassembler's form.
            "movq\t%rsp, %rbp;movq\t%rax, -0x8(%rbp)",
        ] {
            assert_eq!(found(instructions), ["f"], "{instructions}");
        }
    }

    #[test]
    fn data_in_the_frame_is_where_it_belongs() {
        for instructions in [
            "mov    %rax,0x8(%rsp)",
            "lea    -0x20(%rsp),%rsp",
            "mov    %rsp,%rbp;lea    -0x20(%rbp),%rax",
            "mov    %rsp,%rbp;push   %rbx;mov    -0x8(%rbp),%rbx",
            "mov    %rsp,%rbp;sub    $0x18,%rsp;mov    %rax,-0x18(%rbp)",
            "mov    %rsp,%rbp;add    $0xffffffffffffff80,%rsp;mov    %rax,-0x80(%rbp)",
            "mov    %rsp,%rbp;and    $0xffffffffffffffc0,%rsp;mov    %rax,-0x80(%rbp)",
            "mov    %rsp,%rbp;sub    %rcx,%rsp;mov    %rax,-0x80(%rbp)",
            "mov    %rsp,%rbp;sub    $0x28,%rsp;movzbl -0x29(%rbp,%r9,1),%r11d",
            // There RBP is a register like any other.
            "mov    %rdi,%rbp;mov    %rax,-0x8(%rbp)",
        ] {
            assert!(found(instructions).is_empty(), "{instructions}");
        }
    }

    #[test]
    fn a_text_of_another_form_is_no_answer() {
        for text in [
            "",
            "0 <f>:\n0: mov rbp, rsp\n3: mov qword ptr [rsp - 8], rax\n",
        ] {
            assert_eq!(look_through(text), None, "{text}");
        }
    }
}
