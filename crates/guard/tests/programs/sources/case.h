// What the programs of the cases share. Each prints "ok NAME" or "WRONG NAME" for everything that it tries.
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SURVIVED 7

// A program that hangs ends.
__attribute__((constructor)) static void limit(void) { alarm(60); }

static inline unsigned rights(void) {
    unsigned low = 0, high;
    if (getenv("CASE_HAS_KEYS"))
        __asm__ volatile("rdpkru" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static inline void check(const char *name, int is_right) {
    printf("%s %s\n", is_right ? "ok" : "WRONG", name);
    fflush(stdout);
}

// A part of a program, by the name that it is asked for.
struct part {
    const char *name;
    int (*run)(void);
};

static inline int run_part(const struct part *parts, const char *name) {
    for (; parts->name; parts++)
        if (name && strcmp(parts->name, name) == 0)
            return parts->run();
    fprintf(stderr, "no part %s\n", name ? name : "");
    return 1;
}
