// Signals: the program's own handlers, as it would see them without a guard.
#define _GNU_SOURCE
#include "store.h"
#include "case.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

static struct item *item;
static volatile int seen, seen_code;
static void *volatile seen_addr;
static volatile unsigned seen_rights;
static sigjmp_buf back;

static void plain(int signal) { seen = signal; }
static void jumps(int signal) {
    seen = signal;
    siglongjmp(back, 1);
}
static void tells(int signal, siginfo_t *info, void *context) {
    (void)context;
    seen = signal;
    seen_code = info->si_code;
    seen_addr = info->si_addr;
    siglongjmp(back, 1);
}
static void uses(int signal) {
    item_set(item, item_get(item) + 1);
    seen = signal;
}

static int chains(void) {
    struct sigaction action, old;
    check("default at first", signal(SIGSEGV, jumps) == SIG_DFL);
    check("then what was set", signal(SIGSEGV, jumps) == jumps);
    sigaction(SIGSEGV, NULL, &old);
    check("signal's flags", old.sa_handler == jumps && old.sa_flags & SA_RESTART);
    volatile int *none = NULL;
    if (sigsetjmp(back, 1) == 0)
        *none = 1;
    check("a null pointer reaches the program's handler", seen == SIGSEGV);

    memset(&action, 0, sizeof action);
    action.sa_sigaction = tells;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaddset(&action.sa_mask, SIGUSR1);
    check("sigaction", sigaction(SIGSEGV, &action, &old) == 0 && old.sa_handler == jumps);
    check("says what was given", sigaction(SIGSEGV, NULL, &old) == 0 && old.sa_sigaction == tells && sigismember(&old.sa_mask, SIGUSR1) &&
                                     (old.sa_flags & (SA_SIGINFO | SA_NODEFER)) == (SA_SIGINFO | SA_NODEFER));
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sigsetjmp(back, 1) == 0)
        *(volatile char *)page = 1;
    check("address and code are the kernel's", seen_addr == page && seen_code == SEGV_ACCERR);
    if (sigsetjmp(back, 1) == 0)
        raise(SIGSEGV);
    check("a signal that was sent", seen_code <= 0 && seen == SIGSEGV);
    // After a jump out of a handler the library works as before.
    item_set(item, 5);
    check("gates after a jump out of a handler", item_get(item) == 5);
    errno = 0;
    check("a signal that is none", signal(1000, plain) == SIG_ERR && errno == EINVAL);
    check("ignored", signal(SIGBUS, SIG_IGN) == SIG_DFL && signal(SIGBUS, SIG_DFL) == SIG_IGN);
    return 0;
}
// A handler of the program for its own strays: it sees SEGV_PKUERR, and may go on elsewhere.
static int own(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = tells;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, NULL);
    for (int round = 0; round < 3; round++) {
        seen = 0;
        if (sigsetjmp(back, 1) == 0)
            ((volatile struct item *)item)->value = 9;
        check("a stray reaches the program's handler", seen == SIGSEGV && seen_addr == item && seen_code == 4);
        item_set(item, round);
        check("the library goes on", item_get(item) == round);
    }
    return 0;
}
static long raises(struct item *at, long signal) { return raise(signal) + at->value; }
static void notes(int signal) {
    seen = signal;
    seen_rights = rights();
}
// Jumps among the gates of a handler, and out of them all.
static sigjmp_buf within;
static volatile int nr_within;
static long jumps_within(struct item *at, long argument) {
    siglongjmp(within, 1);
    return at->value + argument;
}
static long jumps_out(struct item *at, long argument) {
    siglongjmp(back, 1);
    return at->value + argument;
}
static void gates_and_jumps(int signal) {
    seen = signal;
    if (sigsetjmp(within, 1) == 0)
        item_visit(item, jumps_within, 0);
    nr_within++;
}
static void gates_and_jumps_out(int signal) {
    seen = signal;
    item_visit(item, jumps_out, 0);
}
// Handlers on a stack of their own, inside gates and outside.
static void *on_own_stack(void *unused) {
    static __thread char stack[64 << 10];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = uses;
    action.sa_flags = SA_ONSTACK;
    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &action, NULL);
    unsigned closed = rights();
    item_set(item, 0);
    raise(SIGUSR1);
    check("gate on another stack", seen == SIGUSR1 && item_get(item) == 1 && rights() == closed);
    item_visit(item, raises, SIGUSR1);
    check("gate on another stack inside a gate", item_get(item) == 4 && rights() == closed);
    action.sa_handler = jumps;
    sigaction(SIGUSR1, &action, NULL);
    if (sigsetjmp(back, 1) == 0)
        item_visit(item, raises, SIGUSR1);
    check("jump from another stack out of a gate", rights() == closed);
    item_set(item, 7);
    check("gates after it", item_get(item) == 7 && rights() == closed);
    action.sa_handler = gates_and_jumps;
    sigaction(SIGUSR1, &action, NULL);
    nr_within = 0;
    item_set(item, 0);
    item_visit(item, raises, SIGUSR1);
    check("a jump within a handler leaves the interrupted gate", nr_within == 1 && item_get(item) == 3 && rights() == closed);
    action.sa_handler = gates_and_jumps_out;
    sigaction(SIGUSR1, &action, NULL);
    int right = 0;
    for (volatile int round = 0; round < 9000; round++)
        if (sigsetjmp(back, 1) == 0)
            item_visit(item, raises, SIGUSR1);
        else
            right += rights() == closed;
    check("jumps out of a handler's gates leave none behind", right == 9000);
    sigaltstack(NULL, &alternate);
    return unused;
}
static int stacks(void) {
    pthread_t thread;
    on_own_stack(NULL);
    pthread_create(&thread, NULL, on_own_stack, NULL);
    pthread_join(thread, NULL);
    signal(SIGUSR2, notes);
    item_visit(item, raises, SIGUSR2);
    // The kernel starts a handler with its own register: no key of the guard's is open there.
    check("a handler starts closed", !getenv("CASE_HAS_KEYS") || (seen_rights & ~3) == 0x55555554);
    return 0;
}
static void strays(int signal) {
    seen = signal;
    ((volatile struct item *)item)->value = 666;
}
static int stray_in_handler(void) {
    signal(SIGUSR1, strays);
    item_visit(item, raises, SIGUSR1);
    printf("survived\n");
    return SURVIVED;
}
static int sysv(void) {
    sysv_signal(SIGSEGV, jumps);
    if (sigsetjmp(back, 1) == 0)
        *(volatile int *)NULL = 1;
    printf("once %d\n", seen == SIGSEGV);
    fflush(stdout);
    *(volatile int *)NULL = 1;
    return 1;
}
static int ignored(void) {
    // The kernel does not let a fault be ignored.
    signal(SIGSEGV, SIG_IGN);
    *(volatile int *)NULL = 1;
    return 1;
}

const struct part parts[] = {
    {"chains", chains}, {"own", own}, {"stacks", stacks}, {"handler", stray_in_handler}, {"sysv", sysv}, {"ignored", ignored}, {0},
};

int main(int count, char **arguments) {
    item = item_new(1);
    return run_part(parts, count > 1 ? arguments[1] : NULL);
}
