// From the boot loader to Rust: 32-bit protected mode without paging, to 64-bit mode at the kernel's own addresses.
//
// Names in braces are filled in by boot/mod.rs. AT&T syntax, in which far jumps between modes can be written down.

// The note by which a PVH boot loader finds the 32-bit entry point (XEN_ELFNOTE_PHYS32_ENTRY).
.section .note.Xen, "a", @note
.align 4
  .long 4, 4, 18
  .asciz "Xen"
  .long pvh_entry

// Linked at the physical address where it is loaded, since it runs before there is paging.
.section .boot, "awx", @progbits
.code32
.global pvh_entry
pvh_entry:
  cli
  cld
  movl $boot_early_stack, %esp
  movl %ebx, %edi

  // A CPU without long mode must not get to the WRMSR below: it would reset, which looks like a clean exit.
  movl $0x80000000, %eax
  cpuid
  cmpl $0x80000001, %eax
  jb no_long_mode
  movl $0x80000001, %eax
  cpuid
  btl $29, %edx
  jnc no_long_mode

  // The first GiB, by pages of 2 MiB, at three addresses: its own, and two that Rust code uses.
  movl $(boot_pdpt + 3), %eax
  movl %eax, boot_pml4
  movl %eax, boot_pml4 + {DIRECT_SLOT}*8
  movl %eax, boot_pml4 + 511*8
  movl $(boot_pd + 3), %eax
  movl %eax, boot_pdpt
  movl %eax, boot_pdpt + 510*8
  xorl %ecx, %ecx
1:
  movl %ecx, %eax
  shll $21, %eax
  orl $0x83, %eax
  movl %eax, boot_pd(,%ecx,8)
  incl %ecx
  cmpl $512, %ecx
  jne 1b

  call enter_long_mode
  lgdt boot_gdtr
  ljmp $8, $boot_64

// Paging on, with the tables above; SSE on, which code compiled for x86-64 uses; writes of the kernel to read-only pages
// fault. Bits of CR4 that a CPU may lack are set later, in Rust, after asking. Also called by the other CPUs.
enter_long_mode:
  movl $boot_pml4, %eax
  movl %eax, %cr3
  movl ${CR4}, %eax
  movl %eax, %cr4
  movl $0xC0000080, %ecx
  rdmsr
  orl ${EFER}, %eax
  wrmsr
  movl %cr0, %eax
  andl $~{CR0_CLEAR}, %eax
  orl ${CR0_SET}, %eax
  movl %eax, %cr0
  ret

no_long_mode:
  movl $no_long_mode_text, %esi
1:
  lodsb
  testb %al, %al
  jz 2f
  movw $0x3F8, %dx
  outb %al, %dx
  jmp 1b
2:
  movl ${STATUS}, %eax
  movw $0xF4, %dx
  outl %eax, %dx
3:
  hlt
  jmp 3b
no_long_mode_text:
  .asciz "pkeys: the CPU has no 64-bit mode\n"

.code64
boot_64:
  xorl %eax, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  movl %eax, %fs
  movl %eax, %gs
  movabsq $boot_stack_end, %rsp
  movl %edi, %edi
  xorl %ebp, %ebp
  movabsq $kernel_main, %rax
  call *%rax
  ud2

// The other CPUs begin here, in 16-bit mode: these bytes are copied below 1 MiB, to TRAMPOLINE, where a start-up
// interrupt can send them.
.code16
.global trampoline
.global trampoline_end
trampoline:
  cli
  cld
  xorw %ax, %ax
  movw %ax, %ds
  lgdtl (trampoline_gdtr - trampoline + {TRAMPOLINE})
  movl %cr0, %eax
  orl $1, %eax
  movl %eax, %cr0
  ljmpl $16, $secondary_32
.align 8
trampoline_gdtr:
  .word boot_gdt_end - boot_gdt - 1
  .long boot_gdt
trampoline_end:

.code32
secondary_32:
  movw $24, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  // A stack to call with is needed before there is one for this CPU. So they come through here one after the other.
1:
  lock btsl $0, secondary_lock
  jnc 2f
  pause
  jmp 1b
2:
  movl $boot_early_stack, %esp
  call enter_long_mode
  ljmp $8, $secondary_64

.code64
secondary_64:
  xorl %eax, %eax
  movl %eax, %ss
  movl %eax, %fs
  movl %eax, %gs
  // Numbers from 1 in the order of arrival. Who is not expected stops here.
  movl secondary_next, %edi
  cmpl %edi, secondary_limit
  jbe 4f
  incl secondary_next
  movq secondary_stacks, %rax
  movq (%rax,%rdi,8), %rsi
  movq secondary_root, %rdx
  movl $0, secondary_lock
  movabsq $secondary_high, %rax
  jmp *%rax
4:
  movl $0, secondary_lock
5:
  hlt
  jmp 5b

.align 8
.global secondary_limit
.global secondary_stacks
.global secondary_root
secondary_stacks: .quad 0
secondary_root: .quad 0
secondary_limit: .long 0
secondary_next: .long 1
secondary_lock: .long 0

.align 8
boot_gdt:
  .quad 0
  .quad 0x00AF9B000000FFFF
  .quad 0x00CF9B000000FFFF
  .quad 0x00CF93000000FFFF
boot_gdt_end:
boot_gdtr:
  .word boot_gdt_end - boot_gdt - 1
  .quad boot_gdt

.align 4096
.global boot_pml4
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd: .skip 4096
.skip 512
boot_early_stack:

.section .bss.stack, "aw", @nobits
.align 4096
.skip {STACK_LEN}
boot_stack_end:

// At the kernel's own addresses, which its tables map as the boot tables do; the stack is mapped by the kernel's alone.
.text
secondary_high:
  movq %rdx, %cr3
  movq %rsi, %rsp
  xorl %ebp, %ebp
  call secondary_main
  ud2
