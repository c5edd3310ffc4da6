// A small library in the manner of C libraries: blocks, variables, tables of functions, callbacks, pages of its own.
#pragma once
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

struct item {
    long value;
    long more[7];
};
typedef long (*visitor)(struct item *, long);

struct item *item_new(long value);
struct item *item_grown(struct item *item, size_t bytes);
void item_free(struct item *item);
long item_get(const struct item *item);
void item_set(struct item *item, long value);

// Variables: an exported one with a value, a hidden one without, a large one without.
extern long store_figure;
extern char store_zeroed[3 * 4096];
long *store_counter(void);
long store_count(void);
long store_began(void);
// What its constructor has made.
struct item *store_first(void);

// Calls the visitor with item and argument; changes the item before and after.
long item_visit(struct item *item, visitor visit, long argument);
// The seventh and the ninth argument are functions.
long item_visit_both(struct item *item, long a, long b, long c, long d, long e, visitor first, long f, visitor second);
// Keeps a function and calls it later.
void item_on_change(visitor visit);
void item_change(struct item *item, long value);

// A table in which the library has put functions of its own.
struct methods {
    void (*set)(struct item *, long);
    long (*add)(struct item *, long);
};
extern const struct methods store_methods;
const struct methods *store_hidden_methods(void);
struct methods *store_made_methods(void);

// Pages: anonymous, shared, file, reserve, stack, code.
void *pages_map(const char *how, size_t bytes);
int pages_protect(void *pages, size_t bytes, const char *how);
void *pages_move(void *pages, size_t from, size_t to);
int pages_unmap(void *pages, size_t bytes);
void pages_fill(void *pages, size_t bytes, int byte);

// A lock in a file that processes share: 0, or EOWNERDEAD from whoever died with it.
struct lock;
struct lock *lock_open(const char *path);
int lock_take(struct lock *lock);
void lock_release(struct lock *lock);

char *line_new(void);
size_t line_read(char **line, size_t *bytes, const char *path);

#ifdef __cplusplus
}
#endif
