// Uses the library's blocks, variables, tables, callbacks and pages; and strays from them, where it is told to.
#define _GNU_SOURCE
#include "store.h"
#include "case.h"
#include <argz.h>
#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct item *item;
static volatile long *stray_at;

static void stray(void *at) {
    stray_at = at;
    *stray_at = 666;
}
static int survived(void) {
    printf("survived\n");
    return SURVIVED;
}

// Pointers to functions of the library: in a variable, in a constant table.
static void (*volatile by_pointer)(struct item *, long) = item_set;
static long (*const by_table[])(const struct item *) = {item_get};
static long doubled(struct item *at, long argument) { return item_get(at) * 2 + argument; }
static long strays(struct item *at, long argument) { return at->value = argument; }

static int calls(void) {
    item_set(item, 5);
    check("call", item_get(item) == 5);
    by_pointer(item, 6);
    check("function pointer", by_table[0](item) == 6);
    check("constructor", store_began() == 77);
    check("callback", item_visit(item, doubled, 1) == 15 && item_get(item) == 8);
    check("callbacks on the stack", item_visit_both(item, 1, 1, 1, 1, 1, doubled, 1, doubled) == 27 + 29);
    item_on_change(doubled);
    item_change(item, 9);
    check("callback that is kept", item_get(item) == 9);
    store_methods.set(item, 1);
    check("exported table", store_methods.add(item, 2) == 3);
    store_hidden_methods()->set(item, 4);
    check("hidden table", store_hidden_methods()->add(item, 2) == 6);
    struct methods *made = store_made_methods();
    made->set(item, 10);
    check("table on the heap", made->add(item, 1) == 11);
    long count = store_count();
    check("variables", store_count() == count + 1 && store_figure == 9 && store_zeroed[5000] == 1);
    return 0;
}

static int stray_to_block(void) {
    stray(item);
    return survived();
}
static int stray_after_table(void) {
    // The library was entered past every gate: the key is open until the next gate ends, and not after it.
    store_hidden_methods()->set(item, 4);
    item_set(item, 5);
    stray(item);
    return survived();
}
static int stray_in_first_callback(void) {
    item_visit_both(item, 1, 1, 1, 1, 1, strays, 1, doubled);
    return survived();
}
static int stray_in_second_callback(void) {
    item_visit_both(item, 1, 1, 1, 1, 1, doubled, 1, strays);
    return survived();
}
static int stray_to_figure(void) {
    stray(&store_figure);
    return survived();
}
static int stray_to_zeroed(void) {
    stray(store_zeroed + 4096);
    return survived();
}
static int stray_to_counter(void) {
    stray(store_counter());
    return survived();
}

// Two strays between any two gates, and what everything comes to.
static int wild(void) {
    long sum = 0;
    for (int round = 0; round < 5; round++) {
        ((volatile struct item *)item)->value = round;
        ((volatile struct item *)item)->more[3] = round * 2;
        item_set(item, item_get(item) + 1);
        sum += item_get(item) + item->more[3];
    }
    printf("sum %ld\n", sum);
    return 0;
}

// Memory of the library in the hands of the program and of the C library.
static int memory(void) {
    struct item *other = item_new(3);
    check("usable size", malloc_usable_size(other) >= sizeof *other);
    other = realloc(other, 50000);
    check("reallocated by the program", other->value == 3);
    memset(other, 1, 50000);
    free(other);
    other = item_new(4);
    other = reallocarray(other, 1000, 8);
    check("reallocated as an array", other->value == 4);
    other->value = 5;
    other = item_grown(other, 100000);
    check("grown by the library", other->value == 5);
    free(other);
    errno = 77;
    free(item_new(1));
    check("errno stays", errno == 77);
    size_t bytes = 4;
    char *line = line_new();
    size_t length = line_read(&line, &bytes, "/proc/self/status");
    check("a line in the library's block", length > 4 && strncmp(line, "Name:", 5) == 0);
    free(line);
    // Here it is the C library that makes it larger.
    line = line_new();
    bytes = 4;
    FILE *file = fopen("/proc/self/status", "r");
    ssize_t read = getline(&line, &bytes, file);
    fclose(file);
    check("a line in the library's block by the program", read > 4);
    free(line);
    // The one letter of the only string in it: when that goes, the C library frees the block.
    char *strings = (char *)item_new('a');
    size_t all = 2;
    argz_delete(&strings, &all, strings);
    check("freed by the C library", strings == NULL && all == 0);
    return 0;
}
static int stray_to_freed(void) {
    struct item *freed = item_new(1);
    item_free(freed);
    stray(&freed->more[2]);
    return survived();
}
static int stray_to_first(void) {
    stray(store_first());
    return survived();
}
static int stray_to_grown(void) {
    stray(item_grown(item_new(1), 200));
    return survived();
}
static int frees_twice(void) {
    struct item *freed = item_new(1);
    item_free(freed);
    item_free(freed);
    return survived();
}

const struct part parts[] = {
    {"calls", calls},
    {"block", stray_to_block},
    {"after-table", stray_after_table},
    {"first-callback", stray_in_first_callback},
    {"second-callback", stray_in_second_callback},
    {"figure", stray_to_figure},
    {"zeroed", stray_to_zeroed},
    {"counter", stray_to_counter},
    {"wild", wild},
    {"memory", memory},
    {"freed", stray_to_freed},
    {"first", stray_to_first},
    {"grown", stray_to_grown},
    {"twice", frees_twice},
    {0},
};

int main(int count, char **arguments) {
    item = item_new(1);
    return run_part(parts, count > 1 ? arguments[1] : NULL);
}
