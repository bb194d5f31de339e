/* SPDX-License-Identifier: MIT */
/*
 * The loads and stores of ff_umem_copy() and ff_umem_atomic(), which may raise SIGBUS at any
 * instruction between copy_text_start and copy_text_end: the handler (copy.c) then sets RIP to
 * copy_fault. So nothing in between pushes, calls or changes a callee-saved register.
 *
 * The last bytes are always stored last, and by stores that x86 keeps in order with those before
 * (also after rep movsb: SDM 8.2.4.2): programs that poll the end of an incoming RDMA WRITE see a
 * whole message.
 */
	.text
	.p2align 6
	.globl copy_text_start, copy_text_end, copy_fault
	.hidden copy_text_start, copy_text_end, copy_fault
copy_text_start:

	.globl ff_umem_copy
	.type ff_umem_copy, @function
/* rdi: to, rsi: from, rdx: bytes. Returns 0 or -EFAULT. */
ff_umem_copy:
	endbr64
	cmp $16, %rdx
	ja .Lover16
	cmp $8, %rdx
	jae .L8to16
	cmp $4, %rdx
	jae .L4to7
	cmp $1, %rdx
	ja .L2to3
	jb .Ldone
	movzbl (%rsi), %eax
	mov %al, (%rdi)
.Ldone:
	xor %eax, %eax
	ret
.L2to3:
	movzwl (%rsi), %eax
	movzwl -2(%rsi,%rdx), %ecx
	mov %ax, (%rdi)
	mov %cx, -2(%rdi,%rdx)
	xor %eax, %eax
	ret
.L4to7:
	mov (%rsi), %eax
	mov -4(%rsi,%rdx), %ecx
	mov %eax, (%rdi)
	mov %ecx, -4(%rdi,%rdx)
	xor %eax, %eax
	ret
.L8to16:
	mov (%rsi), %rax
	mov -8(%rsi,%rdx), %rcx
	mov %rax, (%rdi)
	mov %rcx, -8(%rdi,%rdx)
	xor %eax, %eax
	ret

	.p2align 4
.Lover16:
	cmp $32, %rdx
	ja .Lover32
	movdqu (%rsi), %xmm0
	movdqu -16(%rsi,%rdx), %xmm1
	movdqu %xmm0, (%rdi)
	movdqu %xmm1, -16(%rdi,%rdx)
	xor %eax, %eax
	ret
.Lover32:
	cmp $64, %rdx
	ja .Lover64
	movdqu (%rsi), %xmm0
	movdqu 16(%rsi), %xmm1
	movdqu -32(%rsi,%rdx), %xmm2
	movdqu -16(%rsi,%rdx), %xmm3
	movdqu %xmm0, (%rdi)
	movdqu %xmm1, 16(%rdi)
	movdqu %xmm2, -32(%rdi,%rdx)
	movdqu %xmm3, -16(%rdi,%rdx)
	xor %eax, %eax
	ret

	.p2align 4
.Lover64:
	cmp copy_rep_min(%rip), %rdx
	jae .Lrep
	/* rcx: 64-byte blocks before the last 1 to 64 bytes. */
	lea -1(%rdx), %rcx
	shr $6, %rcx
.Lloop:
	movdqu (%rsi), %xmm0
	movdqu 16(%rsi), %xmm1
	movdqu 32(%rsi), %xmm2
	movdqu 48(%rsi), %xmm3
	movdqu %xmm0, (%rdi)
	movdqu %xmm1, 16(%rdi)
	movdqu %xmm2, 32(%rdi)
	movdqu %xmm3, 48(%rdi)
	add $64, %rsi
	add $64, %rdi
	dec %rcx
	jnz .Lloop
	/* What is left, rdx - 64 * blocks = 1 to 64, as the 64 bytes that end there. */
	lea -1(%rdx), %ecx
	and $63, %ecx
	sub $63, %rcx
	jmp .Ltail
.Lrep:
	lea -64(%rdx), %rcx
	rep movsb
	xor %ecx, %ecx
	/* rcx: offset of the last 64 bytes from rsi and rdi. */
.Ltail:
	movdqu (%rsi,%rcx), %xmm0
	movdqu 16(%rsi,%rcx), %xmm1
	movdqu 32(%rsi,%rcx), %xmm2
	movdqu 48(%rsi,%rcx), %xmm3
	movdqu %xmm0, (%rdi,%rcx)
	movdqu %xmm1, 16(%rdi,%rcx)
	movdqu %xmm2, 32(%rdi,%rcx)
	movdqu %xmm3, 48(%rdi,%rcx)
	xor %eax, %eax
	ret
	.size ff_umem_copy, . - ff_umem_copy

	.p2align 4
	.globl copy_cmp_swap
	.hidden copy_cmp_swap
	.type copy_cmp_swap, @function
/* rdi: word, rsi: compare, rdx: swap, rcx: old value out (our memory). */
copy_cmp_swap:
	endbr64
	mov %rsi, %rax
	lock cmpxchg %rdx, (%rdi)
	mov %rax, (%rcx)
	xor %eax, %eax
	ret
	.size copy_cmp_swap, . - copy_cmp_swap

	.p2align 4
	.globl copy_fetch_add
	.hidden copy_fetch_add
	.type copy_fetch_add, @function
/* rdi: word, rsi: add, rdx: old value out. */
copy_fetch_add:
	endbr64
	lock xadd %rsi, (%rdi)
	mov %rsi, (%rdx)
	xor %eax, %eax
	ret
	.size copy_fetch_add, . - copy_fetch_add
copy_text_end:

/* The fault's registers are still there, the stack is as at entry. */
copy_fault:
	cld
	mov $-14, %eax
	ret
	.section .note.GNU-stack, "", @progbits
