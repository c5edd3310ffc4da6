// Interrupts gates, and passes them by.
#define _GNU_SOURCE
#include "bells.h"
#include "case.h"
#include <setjmp.h>
#include <signal.h>

static struct bells *bells;

static void nothing(void) {}
static void count(void) { bells_count(); }
static void past(void) {
    char *made = bells->make(100);
    check("allocated past every gate", made[99] == 1);
    bells->drop(made);
}
static void on_signal(int signal) {
    (void)signal;
    past();
}

// A handler enters the library past every gate while the library has been interrupted in one.
static int handler(void) {
    signal(SIGUSR1, on_signal);
    long before = bells_count();
    check("rung", bells_ring(SIGUSR1) == before + 1 && bells_count() == before + 2);
    return 0;
}

// The library is entered past every gate in a callback that is closed; what follows is open, and has a gate in it.
static int callback(void) {
    long before = bells_count();
    check("visited", bells_visit(past, count) == before + 4);
    return 0;
}

// The keys that are open to writing, but for key 0.
static unsigned open_keys(void) {
    unsigned now = rights(), open = 0;
    for (int key = 1; key < 16; key++)
        open |= (now >> 2 * key & 3) == 0 ? 1u << key : 0;
    return open;
}

static sigjmp_buf home;
static volatile int steps_left, is_out, is_wrong;

static void on_step(int signal) {
    (void)signal;
    if (--steps_left == 0) {
        is_out = 1;
        siglongjmp(home, 1);
    }
}
// Jumps out of a gate at each of its instructions, from a callback that is closed. No gate is passed in between: until one gets as
// far as filling its frame, the frame holds what an earlier call left there.
static void step_through(void) {
    unsigned before = open_keys();
    for (int step = 1; step < 2000; step++) {
        is_out = 0;
        steps_left = step;
        if (sigsetjmp(home, 1) == 0) {
            __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq" ::: "memory", "cc");
            bells_count();
            __asm__ volatile("pushfq; andl $~0x100, (%%rsp); popfq" ::: "memory", "cc");
        }
        if (open_keys() & ~before) {
            printf("open after step %d: %x\n", step, open_keys());
            is_wrong = 1;
        }
        if (!is_out)
            break;
    }
    check("every instruction", !is_out);
}
static void deeper(void) { bells_visit(count, count); }

static int steps(void) {
    unsigned at_start = open_keys();
    signal(SIGTRAP, on_step);
    // Frames of gates within gates, whose callers had the key open.
    bells_visit(nothing, deeper);
    long before = bells_count();
    bells_visit(step_through, nothing);
    check("closed after each", !is_wrong && open_keys() == at_start);
    check("works on", bells_count() > before);
    return 0;
}

int main(int count, char **words) {
    static const struct part parts[] = {{"handler", handler}, {"callback", callback}, {"steps", steps}, {0}};
    bells = bells_new();
    return run_part(parts, count > 1 ? words[1] : NULL);
}
