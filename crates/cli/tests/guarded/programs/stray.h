/* A stray write at a known instruction, from the main thread, another thread or a signal handler. */
#ifndef STRAY_H
#define STRAY_H

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char stray_instruction[];

static void *stray_target;

/* Says where it will write and by which instruction, and does it: what is there already, so that a program which survives it
 * can go on. */
static __attribute__((noinline)) void scribble(void)
{
	printf("STRAY %p %p\n", stray_target, (const void *)stray_instruction);
	fflush(stdout);
	__asm__ volatile("movb (%0), %%al\n"
			 ".globl stray_instruction\n"
			 "stray_instruction: movb %%al, (%0)"
			 :
			 : "r"(stray_target)
			 : "al", "memory");
	printf("survived\n");
}

static void *scribble_in_thread(void *nothing)
{
	scribble();
	return nothing;
}

static void scribble_in_handler(int signal)
{
	(void)signal;
	scribble();
}

/* Writes to `target` from the place of that name; nothing where there is no such place. */
static void stray_from(const char *place, void *target)
{
	stray_target = target;
	if (strcmp(place, "main") == 0) {
		scribble();
	} else if (strcmp(place, "thread") == 0) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, scribble_in_thread, NULL) != 0)
			abort();
		pthread_join(thread, NULL);
	} else if (strcmp(place, "handler") == 0) {
		signal(SIGUSR1, scribble_in_handler);
		raise(SIGUSR1);
	}
}

#endif
