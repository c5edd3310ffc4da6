/*
 * Protection keys as a program of plain C sees them, on Linux and in the image alike.
 *
 * Needs a C library with pkey_alloc(3) and nothing else. Every line that it prints is decided by the kernel's rules: no
 * addresses, no times, no numbers of processes, and threads print one after the other. What it must print stands beside it,
 * as Linux made it print, in keys.out.
 *
 *   cc -static -O2 -pthread -o keys keys.c && ./keys
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

/* What the handler has seen, of the thread that it ran on. */
struct seen {
    int code;
    int pkey;
    char *addr;
    int rights; /* of the watched key, while the handler ran */
};

static _Thread_local volatile struct seen seen;
static _Thread_local sigjmp_buf after;
/* Whether the handler opens the key in the frame and goes back, and which key that is. */
static _Thread_local volatile int repair;
static _Thread_local volatile int watched;

static const char *error_name(int error)
{
    switch (error) {
    case 0: return "success";
    case EACCES: return "EACCES";
    case EBADF: return "EBADF";
    case EFAULT: return "EFAULT";
    case EINTR: return "EINTR";
    case EINVAL: return "EINVAL";
    case ENOMEM: return "ENOMEM";
    case ENOSPC: return "ENOSPC";
    case ETIMEDOUT: return "ETIMEDOUT";
    default: return "another error";
    }
}

static const char *code_name(int code)
{
    switch (code) {
    case SEGV_MAPERR: return "SEGV_MAPERR";
    case SEGV_ACCERR: return "SEGV_ACCERR";
    case SEGV_PKUERR: return "SEGV_PKUERR";
    default: return "another code";
    }
}

static void must(int holds, const char *what)
{
    if (!holds) {
        printf("failed: %s: %s\n", what, error_name(errno));
        exit(1);
    }
}

/* PKRU in the signal frame: component 9 of the extended state, which CPUID places. */
static uint32_t *pkru_of(ucontext_t *context)
{
    unsigned size, offset, flags, reserved;
    __cpuid_count(0xD, 9, size, offset, flags, reserved);
    return (uint32_t *)((char *)context->uc_mcontext.fpregs + offset);
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    seen.code = info->si_code;
    seen.pkey = info->si_code == SEGV_PKUERR ? (int)info->si_pkey : -1;
    seen.addr = info->si_addr;
    seen.rights = pkey_get(watched);
    if (repair) {
        *pkru_of(context) &= ~(3u << (2 * info->si_pkey));
        return;
    }
    siglongjmp(after, 1);
}

/* Reads or writes a byte. 0 if nothing happened. */
static int try_access(volatile char *at, int is_write)
{
    if (sigsetjmp(after, 1))
        return 1;
    if (is_write)
        *at = 1;
    else
        (void)*at;
    return 0;
}

static void tell(const char *what, volatile char *at, int is_write)
{
    if (try_access(at, is_write))
        printf("%s: %s with key %d, %s\n", what, code_name(seen.code), seen.pkey,
               seen.addr == at ? "at its address" : "at another address");
    else
        printf("%s: fine\n", what);
}

static char *pages(int count, int prot)
{
    char *at = mmap(NULL, count * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(at != MAP_FAILED, "mmap");
    return at;
}

static char *page_behind(int key)
{
    char *at = pages(1, PROT_READ | PROT_WRITE);
    must(pkey_mprotect(at, PAGE, PROT_READ | PROT_WRITE, key) == 0, "pkey_mprotect");
    return at;
}

/* Allocation. */

static void allocate(void)
{
    int keys[16], count = 0;
    for (;;) {
        int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
        if (key < 0)
            break;
        must(count < 16, "no more keys than there are");
        keys[count++] = key;
    }
    printf("%d keys, %d to %d, then %s\n", count, keys[0], keys[count - 1], error_name(errno));
    for (int at = 0; at < count; at++)
        must(pkey_free(keys[at]) == 0, "pkey_free");
    printf("freed twice: %s\n", pkey_free(keys[0]) ? error_name(errno) : "fine");
    printf("rights that there are not: %s\n", pkey_alloc(0, 4) < 0 ? error_name(errno) : "fine");
    printf("a flag that there is not: %s\n", pkey_alloc(1, 0) < 0 ? error_name(errno) : "fine");
}

/* Rights. */

static void rights(int key, char *secret)
{
    static const unsigned values[] = {0, PKEY_DISABLE_WRITE, PKEY_DISABLE_ACCESS};
    for (int at = 0; at < 3; at++) {
        must(pkey_set(key, values[at]) == 0, "pkey_set");
        printf("rights %d\n", pkey_get(key));
        tell("  a read", secret, 0);
        must(pkey_set(key, values[at]) == 0, "pkey_set");
        tell("  a write", secret, 1);
    }
    watched = key;
    must(pkey_set(key, PKEY_DISABLE_WRITE) == 0, "pkey_set");
    tell("a write with the key read only", secret, 1);
    printf("the handler ran with rights %d\n", seen.rights);
    printf("who jumps out of it keeps rights %d\n", pkey_get(key));
}

static void protection_beside_keys(int key)
{
    char *at = page_behind(key);
    must(pkey_set(key, 0) == 0, "pkey_set");
    *at = 7;
    must(mprotect(at, PAGE, PROT_READ) == 0, "mprotect");
    tell("a write to a page that mprotect made read only", at, 1);
    must(pkey_set(key, PKEY_DISABLE_ACCESS) == 0, "pkey_set");
    must(mprotect(at, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
    tell("a read after mprotect, which leaves the key", at, 0);
    must(pkey_mprotect(at, PAGE, PROT_READ | PROT_WRITE, 0) == 0, "pkey_mprotect");
    tell("a read with key 0 again", at, 0);
    must(munmap(at, PAGE) == 0, "munmap");
    tell("a read of nothing", at, 0);
}

/* A handler that repairs. */

static void repair_in_handler(int key, char *secret)
{
    must(pkey_set(key, 0) == 0, "pkey_set");
    *secret = 42;
    must(pkey_set(key, PKEY_DISABLE_ACCESS) == 0, "pkey_set");
    watched = key;
    repair = 1;
    int value = *(volatile char *)secret;
    repair = 0;
    printf("the handler opened the key in its frame: read %d, rights %d\n", value, pkey_get(key));
}

/* The kernel's own accesses. */

static void kernel_accesses(int key, char *secret)
{
    int ends[2];
    must(pipe(ends) == 0, "pipe");
    must(pkey_set(key, PKEY_DISABLE_ACCESS) == 0, "pkey_set");
    printf("write from a closed page: %s\n", write(ends[1], secret, 1) < 0 ? error_name(errno) : "fine");
    must(pkey_set(key, PKEY_DISABLE_WRITE) == 0, "pkey_set");
    printf("write from a page that can be read: %s\n", write(ends[1], secret, 1) == 1 ? "fine" : error_name(errno));
    printf("read to a page that cannot be written: %s\n", read(ends[0], secret, 1) < 0 ? error_name(errno) : "fine");
    must(pkey_set(key, 0) == 0, "pkey_set");
    printf("read to an open page: %s\n", read(ends[0], secret, 1) == 1 ? "fine" : error_name(errno));
    close(ends[0]);
    close(ends[1]);
}

/* Execute-only memory. */

static void execute_only(void)
{
    static const unsigned char code[] = {0xB8, 0x2A, 0, 0, 0, 0xC3}; /* mov $42, %eax; ret */
    char *at = pages(1, PROT_READ | PROT_WRITE);
    memcpy(at, code, sizeof code);
    must(mprotect(at, PAGE, PROT_EXEC) == 0, "mprotect");
    int (*function)(void) = (int (*)(void))(uintptr_t)at;
    printf("execute-only code gives %d\n", function());
    tell("a read of it", at, 0);
    must(mprotect(at, PAGE, PROT_READ | PROT_EXEC) == 0, "mprotect");
    tell("a read of it as ordinary code", at, 0);
    must(munmap(at, PAGE) == 0, "munmap");
}

/* Threads. */

struct work {
    int key;
    char *secret;
    int at_start;
    int own;
    int fault;
};

static void *look(void *argument)
{
    struct work *work = argument;
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    must(stack.ss_sp && sigaltstack(&stack, NULL) == 0, "sigaltstack");
    work->at_start = pkey_get(work->key);
    must(pkey_set(work->key, PKEY_DISABLE_ACCESS) == 0, "pkey_set");
    work->fault = try_access(work->secret, 0) ? seen.pkey : -1;
    work->own = pkey_get(work->key);
    stack.ss_flags = SS_DISABLE;
    must(sigaltstack(&stack, NULL) == 0, "sigaltstack");
    free(stack.ss_sp);
    return work;
}

static void threads(int key, char *secret)
{
    static const unsigned values[] = {0, PKEY_DISABLE_WRITE, PKEY_DISABLE_ACCESS};
    for (int at = 0; at < 3; at++) {
        struct work work = {.key = key, .secret = secret};
        pthread_t thread;
        void *result;
        must(pkey_set(key, values[at]) == 0, "pkey_set");
        must(pthread_create(&thread, NULL, look, &work) == 0, "pthread_create");
        must(pthread_join(thread, &result) == 0 && result == &work, "pthread_join");
        printf("a thread made with rights %u: starts with %d, faults with key %d, ends with %d; its maker has %d\n",
               values[at], work.at_start, work.fault, work.own, pkey_get(key));
    }
}

/* Many threads that take turns with a mutex and a condition, each with a key open that is closed in all others. */

#define TURNS 50
#define PLAYERS 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn;

struct player {
    int number;
    int key;
    char *own;
    char *next;
    int strays;
};

static void *play(void *argument)
{
    struct player *player = argument;
    must(pkey_set(player->key, 0) == 0, "pkey_set");
    for (int round = 0; round < TURNS; round++) {
        pthread_mutex_lock(&lock);
        while (turn % PLAYERS != player->number)
            pthread_cond_wait(&changed, &lock);
        ++*player->own;
        if (round % 10 == 0) {
            player->strays += try_access(player->next, 0);
            /* Who jumps out of a handler has what handlers start with. */
            must(pkey_set(player->key, 0) == 0, "pkey_set");
        }
        turn++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void players(void)
{
    struct player players[PLAYERS];
    pthread_t threads[PLAYERS];
    for (int at = 0; at < PLAYERS; at++) {
        int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
        must(key > 0, "pkey_alloc");
        players[at] = (struct player){.number = at, .key = key, .own = page_behind(key)};
    }
    for (int at = 0; at < PLAYERS; at++)
        players[at].next = players[(at + 1) % PLAYERS].own;
    for (int at = 0; at < PLAYERS; at++)
        must(pthread_create(&threads[at], NULL, play, &players[at]) == 0, "pthread_create");
    for (int at = 0; at < PLAYERS; at++)
        must(pthread_join(threads[at], NULL) == 0, "pthread_join");
    for (int at = 0; at < PLAYERS; at++) {
        must(pkey_set(players[at].key, PKEY_DISABLE_WRITE) == 0, "pkey_set");
        printf("player %d: %d turns, %d strays stopped\n", at, *players[at].own, players[at].strays);
        must(munmap(players[at].own, PAGE) == 0, "munmap");
        must(pkey_free(players[at].key) == 0, "pkey_free");
    }
}

/* Children. */

static void children(int key, char *secret)
{
    must(pkey_set(key, PKEY_DISABLE_WRITE) == 0, "pkey_set");
    fflush(stdout);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        printf("a child has rights %d\n", pkey_get(key));
        tell("its write", secret, 1);
        int next = pkey_alloc(0, 0);
        printf("its next key is %d\n", next);
        fflush(stdout);
        _exit(next);
    }
    int status;
    must(waitpid(child, &status, 0) == child, "waitpid");
    printf("it ended with status %d; its parent has rights %d\n", WEXITSTATUS(status), pkey_get(key));
    must(pkey_set(key, PKEY_DISABLE_ACCESS) == 0, "pkey_set");
    child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(volatile char *)secret);
    }
    must(waitpid(child, &status, 0) == child, "waitpid");
    printf("one without a handler ended by signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

/* Signals between threads, and time. */

static volatile sig_atomic_t nr_signals;
static pthread_barrier_t ready;

static void on_usr1(int signo)
{
    (void)signo;
    nr_signals++;
}

static void *sleeper(void *argument)
{
    (void)argument;
    struct timespec hour = {.tv_sec = 3600}, left = {0};
    pthread_barrier_wait(&ready);
    while (nr_signals == 0 && nanosleep(&hour, &left) == 0)
        ;
    return (void *)(intptr_t)(left.tv_sec > 3000 || left.tv_sec == 0);
}

static void signals_and_time(void)
{
    struct sigaction action = {.sa_handler = on_usr1};
    must(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    must(pthread_barrier_init(&ready, NULL, 2) == 0, "pthread_barrier_init");
    pthread_t thread;
    must(pthread_create(&thread, NULL, sleeper, NULL) == 0, "pthread_create");
    pthread_barrier_wait(&ready);
    must(pthread_kill(thread, SIGUSR1) == 0, "pthread_kill");
    /* It may come between the thread's look and its sleep: then once more. */
    void *result;
    struct timespec until;
    for (;;) {
        must(clock_gettime(CLOCK_REALTIME, &until) == 0, "clock_gettime");
        until.tv_nsec += 10 * 1000 * 1000;
        if (until.tv_nsec >= 1000 * 1000 * 1000) {
            until.tv_sec++;
            until.tv_nsec -= 1000 * 1000 * 1000;
        }
        if (pthread_timedjoin_np(thread, &result, &until) == 0)
            break;
        must(pthread_kill(thread, SIGUSR1) == 0, "pthread_kill");
    }
    printf("a signal ended another thread's sleep: %s\n", result ? "yes" : "no");

    struct timespec start, end, pause = {.tv_nsec = 20 * 1000 * 1000};
    must(clock_gettime(CLOCK_MONOTONIC, &start) == 0, "clock_gettime");
    must(nanosleep(&pause, NULL) == 0, "nanosleep");
    must(clock_gettime(CLOCK_MONOTONIC, &end) == 0, "clock_gettime");
    long passed = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
    printf("20 ms of sleep took that long: %s\n", passed >= 20 ? "yes" : "no");

    pthread_mutex_lock(&lock);
    must(clock_gettime(CLOCK_REALTIME, &until) == 0, "clock_gettime");
    int error = pthread_cond_timedwait(&changed, &lock, &until);
    pthread_mutex_unlock(&lock);
    printf("a condition that nobody signals: %s\n", error_name(error));
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    must(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction");
    printf("%d arguments%s%s\n", argc - 1, argc > 1 ? ", the first is " : "", argc > 1 ? argv[1] : "");
    allocate();
    int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
    must(key > 0, "pkey_alloc");
    printf("the key is %d\n", key);
    char *secret = page_behind(key);
    rights(key, secret);
    protection_beside_keys(key);
    repair_in_handler(key, secret);
    kernel_accesses(key, secret);
    execute_only();
    threads(key, secret);
    players();
    children(key, secret);
    signals_and_time();
    must(pkey_free(key) == 0, "pkey_free");
    printf("done\n");
    return 0;
}
