// SPDX-License-Identifier: GPL-2.0
/*
 * crossings ROUNDS: goes from user space to the kernel and back in all ways: system calls, with data and
 * without, page faults of loads, stores and jumps, signals and their return, breakpoints, undefined
 * instructions, and context switches.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

/* An address of the kernel that this program uses itself. */
#define KERNEL 0xffff000000001000UL

static sigjmp_buf back;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Skips an instruction that has faulted. */
static void skip(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	((ucontext_t *)context)->uc_mcontext.pc += 4;
}

static void go_back(int number)
{
	(void)number;
	siglongjmp(back, 1);
}

static void nothing(int number)
{
	(void)number;
}

static void system_calls(void)
{
	char text[4096];
	int pipes[2];

	if (pipe(pipes))
		fail("pipe");
	for (int n = 0; n < 50; n++) {
		syscall(SYS_getppid);
		syscall(100000 + n);
		if (write(pipes[1], text, sizeof(text)) != sizeof(text) ||
		    read(pipes[0], text, sizeof(text)) != sizeof(text))
			fail("a pipe");
		sched_yield();
	}
	close(pipes[0]);
	close(pipes[1]);
}

static void faults(void)
{
	size_t size = 16 * sysconf(_SC_PAGESIZE);
	volatile char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int sum = 0;

	if (memory == MAP_FAILED)
		fail("mmap");
	for (size_t at = 0; at < size; at += sysconf(_SC_PAGESIZE))
		sum += memory[at];
	for (size_t at = 0; at < size; at += sysconf(_SC_PAGESIZE))
		memory[at] = sum;
	/* A jump to memory that is not executable. */
	if (!sigsetjmp(back, 1))
		((void (*)(void))memory)();
	/* A jump to the kernel, and a load from there. */
	if (!sigsetjmp(back, 1))
		((void (*)(void))KERNEL)();
	if (!sigsetjmp(back, 1))
		*(volatile char *)KERNEL;
	munmap((void *)memory, size);
}

static void exceptions(void)
{
	for (int n = 0; n < 20; n++) {
		asm volatile("brk #1");
		asm volatile(".inst 0");
		raise(SIGUSR1);
	}
}

static void switches(void)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (!child)
		_exit(0);
	if (waitpid(child, NULL, 0) < 0)
		fail("waitpid");
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_sigaction = skip, .sa_flags = SA_SIGINFO };

	sigaction(SIGTRAP, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	signal(SIGSEGV, go_back);
	signal(SIGUSR1, nothing);
	for (int rounds = argc > 1 ? atoi(argv[1]) : 1; rounds; rounds--) {
		system_calls();
		faults();
		exceptions();
		switches();
	}
	return 0;
}
