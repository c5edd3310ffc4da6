// A library that is interrupted, and whose functions are reached past its gates.
#pragma once
#include <stddef.h>

struct bells {
    void *(*make)(size_t);
    void (*drop)(void *);
};
// Functions of the library's own, in a structure that it has filled itself.
struct bells *bells_new(void);
long bells_count(void);
// Raises a signal from within.
long bells_ring(int signal);
// Calls the first function, then the second; changes a block of its own after each.
long bells_visit(void (*first)(void), void (*second)(void));
