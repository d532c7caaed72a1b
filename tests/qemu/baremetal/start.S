/* SPDX-License-Identifier: GPL-2.0 */
/* Entry, exception vectors, and the way to lower Exception levels and back. */

#include "frame.h"

#define FRAME 0x120	/* struct frame in runtime.c */

	.section .text.start, "ax"
	.globl	start
start:
	ldr	x0, =stack_top
	mov	sp, x0
	bl	main
1:	b	1b

/*
 * Secondary CPUs come here from PSCI CPU_ON, with their stack in x0. They only start once the tables
 * are made.
 */
	.globl	start_secondary
start_secondary:
	mov	sp, x0
	bl	main_secondary
1:	b	1b

	.text

/* --- PSCI, below EL3: psci(function, a1, a2, a3), and where a CPU starts again that has lost its power --- */

	.globl	psci
psci:
	push_callee_saved
	mov	x5, sp
	ldr	x4, =psci_sp
	str	x5, [x4]
	ldr	x4, =home
	ldr	w4, [x4]
	cmp	w4, #1
	b.ne	1f
	hvc	#0
	b	2f
1:	smc	#0
2:	pop_callee_saved
	ret

	/* With x0 as PSCI was given it. The translation is off. */
	.globl	psci_entry
psci_entry:
	ldr	x4, =psci_sp
	ldr	x5, [x4]
	mov	sp, x5
	mov	x19, x0
	bl	mmu_on
	mov	x0, x19
	b	2b
	.ltorg

	.local	psci_sp
	.comm	psci_sp, 8, 8

/* --- Vectors of the home level --- */

	.macro	home_entry el, index
	.balign	128
	sub	sp, sp, #FRAME
	stp	x0, x1, [sp]
	mov	x1, #\index
	b	home_\el
	.endm

	.macro	home_vectors el
	.balign	2048
	.globl	home_vectors_\el
home_vectors_\el:
	.irp	index, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	home_entry \el, \index
	.endr

home_\el:
	save_x2_to_x29
	mrs	x2, elr_el\el
	stp	x30, x2, [sp, #0xf0]
	mrs	x2, spsr_el\el
	mrs	x3, esr_el\el
	stp	x2, x3, [sp, #0x100]
	mrs	x2, far_el\el
	.if	\el == 2
	/* The handler is not to be redirected or trapped. Records belong to the context that is left. */
	hint	#17
	dsb	nsh
	mrs	x3, hcr_el2
	ldr	x4, =hcr_base
	ldr	x4, [x4]
	msr	hcr_el2, x4
	isb
	.endif
	stp	x2, x3, [sp, #0x110]

	mov	x0, sp
	bl	exception

	ldp	x2, x3, [sp, #0x110]
	.if	\el == 2
	msr	hcr_el2, x3
	isb
	.endif
	ldp	x2, x3, [sp, #0x100]
	msr	spsr_el\el, x2
	ldp	x30, x2, [sp, #0xf0]
	msr	elr_el\el, x2
	restore_x2_to_x29
	ldp	x0, x1, [sp]
	add	sp, sp, #FRAME
	eret
	.ltorg
	.endm

	home_vectors 1
	home_vectors 2
	home_vectors 3

/* --- Vectors of levels below home: they forward, and return where home wants --- */

	.macro	forward_vectors insn
	.balign	2048
	.globl	forward_vectors_\insn
forward_vectors_\insn:
	.irp	index, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	.balign	128
	\insn	#(0x100 + \index)
	eret
	.endr
	.endm

	forward_vectors hvc
	forward_vectors smc

/* --- run_at_lower(spsr, hcr, fn, args): the C part has set the stack pointer of the level --- */

	.macro	run_lower el
	.globl	run_lower_\el
run_lower_\el:
	push_callee_saved
	msr	spsr_el\el, x0
	msr	elr_el\el, x2
	.if	\el > 1
	msr	hcr_el2, x1
	isb
	.endif
	adr	x30, run_end
	mov	x4, x3
	ldp	x0, x1, [x4]
	ldp	x2, x3, [x4, #0x10]
	eret
	.endm

	run_lower 1
	run_lower 2
	run_lower 3

	.globl	run_end
run_end:
	svc	#0

/* The handler returns here, at home, when the code has ended. */
	.globl	run_back
run_back:
	pop_callee_saved
	ret

/* run_here(hcr, fn, args): at home, which is EL2 */
	.globl	run_here
run_here:
	stp	x29, x30, [sp, #-16]!
	msr	hcr_el2, x0
	isb
	mov	x8, x1
	mov	x4, x2
	ldp	x0, x1, [x4]
	ldp	x2, x3, [x4, #0x10]
	blr	x8
	hint	#17
	dsb	nsh
	ldr	x4, =hcr_base
	ldr	x4, [x4]
	msr	hcr_el2, x4
	isb
	ldp	x29, x30, [sp], #16
	ret
	.ltorg

	.bss
	.balign	16
	.skip	0x8000
stack_top:
