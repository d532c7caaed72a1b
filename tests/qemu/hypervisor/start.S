/* SPDX-License-Identifier: GPL-2.0 */
/* Entry, as of a Linux kernel, and the exception vectors. */

#include "../baremetal/frame.h"

#define LINUX 0x42000000
#define EL1H_MASKED 0x3c5
#define STACK_SHIFT 12
#define FRAME 256	/* x0 to x30 */

	.section .text.header, "ax"
	.globl	header
header:
	b	start
	.long	0
	.quad	0x200000
	.quad	image_end - header
	.quad	0xa		/* little-endian, pages of 4 KiB, anywhere in memory */
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0

/* Sets the stack of this CPU. Changes x9 and x10. */
	.macro	set_stack
	mrs	x9, mpidr_el1
	and	x9, x9, #0xff
	add	x9, x9, #1
	ldr	x10, =stacks
	add	x10, x10, x9, lsl #STACK_SHIFT
	mov	sp, x10
	.endm

/* Enters EL1 at x1 with x0. */
	.macro	enter_guest
	msr	elr_el2, x1
	mov	x2, #EL1H_MASKED
	msr	spsr_el2, x2
	mov	x1, #0
	mov	x2, #0
	mov	x3, #0
	isb
	eret
	.endm

/* The device tree is in x0. */
start:
	mov	x19, x0
	set_stack
	bl	make_stage2
	bl	set_up_cpu
	mov	x0, x19
	ldr	x1, =LINUX
	enter_guest

/* From CPU_ON, with a struct cpu_on in x0. */
	.globl	start_secondary
start_secondary:
	mov	x19, x0
	set_stack
	bl	set_up_cpu
	ldp	x1, x0, [x19]
	enter_guest
	.ltorg

	.text
	.balign	2048
	.globl	vectors
vectors:
	.irp	index, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	.balign	128
	.if	\index == 8	/* synchronous, from AArch64 below */
	sub	sp, sp, #FRAME
	stp	x0, x1, [sp]
	save_x2_to_x29
	str	x30, [sp, #0xf0]
	mov	x0, sp
	b	handle
	.else
	mov	x0, #\index
	b	unexpected_vector
	.endif
	.endr

handle:
	bl	trap
	ldr	x30, [sp, #0xf0]
	restore_x2_to_x29
	ldp	x0, x1, [sp]
	add	sp, sp, #FRAME
	eret
