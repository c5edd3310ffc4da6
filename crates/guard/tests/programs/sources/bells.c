#include "bells.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void *make(size_t bytes) {
    char *made = calloc(1, bytes);
    memset(made, 1, bytes);
    return made;
}
static void drop(void *block) { free(block); }

struct bells *bells_new(void) {
    struct bells *bells = malloc(sizeof *bells);
    bells->make = make;
    bells->drop = drop;
    return bells;
}
static long *rung(void) {
    static long *block;
    if (!block)
        block = calloc(1, sizeof *block);
    return block;
}
long bells_count(void) { return ++*rung(); }
long bells_ring(int signal) {
    raise(signal);
    return ++*rung();
}
long bells_visit(void (*first)(void), void (*second)(void)) {
    ++*rung();
    first();
    ++*rung();
    second();
    return ++*rung();
}
