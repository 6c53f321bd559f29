// Entered by kexec in the old kernel's place: 64-bit mode, memory mapped one to
// one, no stack, no descriptor table, interrupts off. Makes of it what the
// 64-bit boot protocol asks for (Documentation/arch/x86/boot.rst): __BOOT_CS
// 0x10 and __BOOT_DS 0x18, both flat, %rsi -> boot_params. Then enters the
// kernel. Runs wherever it lies, in a page of its own; uses the end of that
// page as its stack.

	.section .rodata
	.balign	8
	.globl	loader_trampoline_begin
	.globl	loader_trampoline_end
	.hidden	loader_trampoline_begin
	.hidden	loader_trampoline_end
loader_trampoline_begin:
	cli
	cld
	leaq	loader_trampoline_begin+0x1000(%rip), %rsp
	leaq	gdt(%rip), %rax
	movq	%rax, gdt_address(%rip)
	lgdt	gdt_limit(%rip)
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movq	boot_params_address(%rip), %rsi
	pushq	$0x10
	pushq	entry_address(%rip)
	lretq

	.balign	8
gdt:
	.quad	0, 0
	.quad	0x00af9b000000ffff	// 0x10: 64-bit code, executable, readable
	.quad	0x00cf93000000ffff	// 0x18: data, writable, 4 GiB
gdt_limit:
	.word	gdt_limit - gdt - 1
gdt_address:
	.quad	0
	// Filled in by trampoline.cc: the last 16 bytes.
	.balign	8
boot_params_address:
	.quad	0
entry_address:
	.quad	0
loader_trampoline_end:

	.section .note.GNU-stack, "", @progbits
