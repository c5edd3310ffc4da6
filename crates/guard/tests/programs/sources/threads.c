// Threads: what each starts with, what it leaves behind, and how it may end.
#define _GNU_SOURCE
#include "store.h"
#include "case.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <threads.h>
#include <ucontext.h>

static struct item *item;
static unsigned at_start;

static int nr_mappings(void) {
    FILE *file = fopen("/proc/self/maps", "r");
    char line[1000];
    int count = 0;
    while (fgets(line, sizeof line, file))
        count++;
    fclose(file);
    return count;
}
static void *uses(void *argument) {
    item_set(item, (long)argument);
    return (void *)item_get(item);
}
static void *notes(void *argument) {
    at_start = rights();
    return argument;
}
static long makes_a_thread(struct item *at, long argument) {
    pthread_t thread;
    pthread_create(&thread, NULL, notes, NULL);
    pthread_join(thread, NULL);
    at->value += argument;
    return at->value;
}
static void *strays(void *argument) {
    ((volatile struct item *)item)->value = 666;
    return argument;
}
static int notes_c11(void *argument) {
    at_start = rights();
    return argument == (void *)3L ? 41 : 0;
}
static long makes_a_thread_c11(struct item *at, long argument) {
    thrd_t thread;
    int result = 0;
    if (thrd_create(&thread, notes_c11, (void *)3L) != thrd_success)
        return 0;
    thrd_join(thread, &result);
    at->value += argument;
    return result;
}
static long makes_a_stray(struct item *at, long argument) {
    pthread_t thread;
    pthread_create(&thread, NULL, strays, NULL);
    pthread_join(thread, NULL);
    return at->value + argument;
}

static int ends(void) {
    pthread_t thread;
    // What the C library keeps of ended threads is there from the first ones on.
    for (int i = 0; i < 50; i++) {
        pthread_create(&thread, NULL, uses, (void *)1L);
        pthread_join(thread, NULL);
    }
    int before = nr_mappings();
    for (long i = 0; i < 1000; i++) {
        pthread_create(&thread, NULL, uses, (void *)i);
        pthread_join(thread, NULL);
    }
    int after = nr_mappings();
    check("1000 threads leave no mapping behind", after <= before);
    if (after > before)
        printf("%d mappings, then %d\n", before, after);
    return 0;
}
static int starts(void) {
    unsigned closed = rights();
    // The callback runs with the key open, as it is on no list.
    item_visit(item, makes_a_thread, 5);
    check("a thread made inside a callback starts closed", at_start == closed);
    check("the callback itself may write", item_get(item) == 8);
    at_start = 0;
    check("a thread of C11", item_visit(item, makes_a_thread_c11, 5) == 41 && at_start == closed);
    return 0;
}
static int inside(void) {
    item_visit(item, makes_a_stray, 5);
    printf("survived\n");
    return SURVIVED;
}

// A thread that ends inside a gate: what it holds is given back, and destructors of its keys may use the library.
static pthread_key_t key;
static int nr_destroyed;
static void destroy(void *argument) {
    struct item *own = argument;
    item_set(own, item_get(own) + 1);
    nr_destroyed += item_get(own) == 8;
    item_free(own);
}
static long exits(struct item *at, long argument) {
    (void)at;
    pthread_exit((void *)argument);
}
static void *exits_inside(void *argument) {
    pthread_setspecific(key, item_new(7));
    return (void *)item_visit(item, exits, (long)argument);
}
static volatile int is_waiting;
static unsigned after_cleanup;
static void cleanup(void *argument) {
    after_cleanup = rights();
    item_set(argument, 99);
}
static long waits(struct item *at, long argument) {
    (void)at;
    is_waiting = 1;
    for (;;)
        pause();
    return argument;
}
static __attribute__((noinline)) long goes_in(void) { return item_visit(item, waits, 0) + 1; }
static void *waits_inside(void *argument) {
    pthread_setspecific(key, item_new(7));
    pthread_cleanup_push(cleanup, argument);
    goes_in();
    pthread_cleanup_pop(0);
    return NULL;
}
static int leaves(void) {
    pthread_t thread;
    void *result = NULL;
    unsigned closed = rights();
    pthread_key_create(&key, destroy);
    pthread_create(&thread, NULL, exits_inside, (void *)42L);
    pthread_join(thread, &result);
    check("pthread_exit inside a gate", result == (void *)42L && nr_destroyed == 1);
    struct item *own = item_new(1);
    pthread_create(&thread, NULL, waits_inside, own);
    while (!is_waiting)
        sched_yield();
    pthread_cancel(thread);
    pthread_join(thread, &result);
    check("cancelled inside a gate", result == PTHREAD_CANCELED && nr_destroyed == 2);
    check("clean-up outside it", item_get(own) == 99 && after_cleanup == closed);
    int before = nr_mappings();
    for (int i = 0; i < 100; i++) {
        pthread_create(&thread, NULL, exits_inside, NULL);
        pthread_join(thread, NULL);
    }
    int after = nr_mappings();
    check("nothing stays behind", after <= before && nr_destroyed == 102);
    if (after > before)
        printf("%d mappings, then %d\n", before, after);
    return 0;
}

// As deep as it is asked for.
static long deeper(struct item *at, long depth) { return depth == 0 ? 0 : 1 + item_visit(at, deeper, depth - 1); }
static jmp_buf place;
static long jumps_when_deep(struct item *at, long depth) {
    if (depth == 0)
        longjmp(place, 1);
    return item_visit(at, jumps_when_deep, depth - 1);
}
static void *deep_in_thread(void *depth) { return (void *)item_visit(item, deeper, (long)depth); }
static void *in_large_thread(void *(*start)(void *), long argument) {
    pthread_attr_t attributes;
    pthread_t thread;
    void *result = NULL;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 20);
    pthread_create(&thread, &attributes, start, (void *)argument);
    pthread_join(thread, &result);
    return result;
}
static int deep(void) {
    unsigned closed = rights();
    check("300 deep", item_visit(item, deeper, 300) == 300 && rights() == closed);
    check("16,000 deep", in_large_thread(deep_in_thread, 16000) == (void *)16000L);
    if (setjmp(place) == 0)
        item_visit(item, jumps_when_deep, 200);
    check("a jump out of 200 gates", rights() == closed);
    check("300 deep after it", item_visit(item, deeper, 300) == 300 && rights() == closed);
    int right = 0;
    for (int round = 0; round < 1000; round++)
        if (setjmp(place) == 0)
            item_visit(item, jumps_when_deep, 100);
        else
            right += rights() == closed;
    check("1000 jumps leave nothing behind", right == 1000);
    return 0;
}
static int too_deep(void) {
    in_large_thread(deep_in_thread, 20000);
    printf("survived\n");
    return SURVIVED;
}

// Coroutines: each is left inside a gate and gone on with there, on the same thread, the youngest first.
static ucontext_t outer, inner;
static long steps;
static long yields(struct item *at, long argument) {
    steps++;
    swapcontext(&inner, &outer);
    at->value += argument;
    steps++;
    return steps;
}
static void coroutine(void) {
    item_visit(item, yields, 10);
    item_set(item, item_get(item) + 100);
}
static int contexts(void) {
    static char stack[256 << 10];
    unsigned closed = rights();
    getcontext(&inner);
    inner.uc_stack.ss_sp = stack;
    inner.uc_stack.ss_size = sizeof stack;
    inner.uc_link = &outer;
    makecontext(&inner, coroutine, 0);
    item_set(item, 0);
    swapcontext(&outer, &inner);
    // Here the coroutine is inside the gate. Going on with it at once comes out right.
    swapcontext(&outer, &inner);
    check("a coroutine that is left inside a gate", steps == 2 && item_get(item) == 112);
    check("rights after it", rights() == closed);
    return 0;
}

// The guard's own memory.
static void tries(volatile char *at) { *at = *at; }
// Its place is in the thread's variables, which the test cannot name; it is found as the mapping of its length behind a key.
static char *shadow_stack(void) {
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[1000];
    unsigned long start = 0, end = 0, next_start, next_end, found = 0;
    int key;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx ", &next_start, &next_end) == 2)
            start = next_start, end = next_end;
        if (sscanf(line, "ProtectionKey: %d", &key) == 1 && key != 0 && end - start == 1 << 20)
            found = start;
    }
    fclose(file);
    return (char *)found;
}
static int shadow(void) {
    item_set(item, 1);
    char *stack = shadow_stack();
    if (!stack)
        return 1;
    tries(stack + 64);
    printf("survived\n");
    return SURVIVED;
}
static void (*volatile thunk)(struct item *, long) = item_set;
static int code(void) {
    tries((char *)thunk);
    printf("survived\n");
    return SURVIVED;
}
static int descriptor(void) {
    tries((char *)(((size_t)thunk & -4096) + 4096));
    printf("survived\n");
    return SURVIVED;
}

const struct part parts[] = {
    {"ends", ends},   {"starts", starts},     {"inside", inside},     {"leaves", leaves}, {"deep", deep},
    {"too-deep", too_deep}, {"contexts", contexts}, {"shadow", shadow}, {"code", code}, {"descriptor", descriptor}, {0},
};

int main(int count, char **arguments) {
    item = item_new(1);
    return run_part(parts, count > 1 ? arguments[1] : NULL);
}
