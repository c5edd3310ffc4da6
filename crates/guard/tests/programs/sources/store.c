#define _GNU_SOURCE
#include "store.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

long store_figure = 7;
char store_zeroed[3 * 4096];
static long counter;
static visitor on_change;
static struct item *first;

__attribute__((constructor)) static void begin(void) { first = item_new(77); }
__attribute__((destructor)) static void end(void) {
    static const char text[] = "ok destructor\n";
    first->value = 78;
    counter = 0;
    if (getenv("CASE_DESTRUCTOR") && first->value == 78)
        (void)!write(1, text, sizeof text - 1);
    free(first);
}

struct item *item_new(long value) {
    struct item *item = calloc(1, sizeof *item);
    item->value = value;
    return item;
}
struct item *item_grown(struct item *item, size_t bytes) { return realloc(item, bytes); }
void item_free(struct item *item) { free(item); }
long item_get(const struct item *item) { return item->value; }
void item_set(struct item *item, long value) { item->value = value; }

long *store_counter(void) { return &counter; }
long store_count(void) {
    memset(store_zeroed, 1, sizeof store_zeroed);
    store_figure++;
    return ++counter;
}
long store_began(void) { return first->value; }
struct item *store_first(void) { return first; }

long item_visit(struct item *item, visitor visit, long argument) {
    item->value++;
    long result = visit(item, argument);
    item->value++;
    return result;
}
long item_visit_both(struct item *item, long a, long b, long c, long d, long e, visitor one, long f, visitor two) {
    item->value += a + b + c + d + e;
    long result = one(item, f);
    item->value++;
    return result + two(item, f);
}
void item_on_change(visitor visit) { on_change = visit; }
void item_change(struct item *item, long value) {
    item->value = value;
    if (on_change)
        on_change(item, value);
    item->value = value;
}

static void set(struct item *item, long value) { item->value = value; }
static long add(struct item *item, long value) {
    set(item, item->value + value);
    memset(item->more, 0, sizeof item->more);
    return item->value;
}
const struct methods store_methods = {set, add};
static const struct methods hidden = {set, add};
const struct methods *store_hidden_methods(void) { return &hidden; }
struct methods *store_made_methods(void) {
    struct methods *made = malloc(sizeof *made);
    made->set = set;
    made->add = add;
    return made;
}

void *pages_map(const char *how, size_t bytes) {
    int both = PROT_READ | PROT_WRITE, anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    void *pages;
    if (strcmp(how, "anonymous") == 0)
        pages = mmap(NULL, bytes, both, anonymous, -1, 0);
    else if (strcmp(how, "shared") == 0)
        pages = mmap(NULL, bytes, both, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    else if (strcmp(how, "reserve") == 0)
        pages = mmap(NULL, bytes, PROT_NONE, anonymous | MAP_NORESERVE, -1, 0);
    else if (strcmp(how, "stack") == 0)
        pages = mmap(NULL, bytes, both, anonymous | MAP_STACK, -1, 0);
    else if (strcmp(how, "code") == 0)
        pages = mmap(NULL, bytes, both | PROT_EXEC, anonymous, -1, 0);
    else {
        int file = memfd_create("pages", 0);
        (void)!ftruncate(file, bytes);
        pages = mmap(NULL, bytes, both, MAP_SHARED, file, 0);
        close(file);
    }
    return pages == MAP_FAILED ? NULL : pages;
}
int pages_protect(void *pages, size_t bytes, const char *how) {
    int protection = 0;
    for (; *how; how++)
        protection |= *how == 'r' ? PROT_READ : *how == 'w' ? PROT_WRITE : *how == 'x' ? PROT_EXEC : 0;
    return mprotect(pages, bytes, protection);
}
void *pages_move(void *pages, size_t from, size_t to) {
    void *moved = mremap(pages, from, to, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
}
int pages_unmap(void *pages, size_t bytes) { return munmap(pages, bytes); }
void pages_fill(void *pages, size_t bytes, int byte) { memset(pages, byte, bytes); }

struct lock {
    pthread_mutex_t mutex;
    long value;
};
struct lock *lock_open(const char *path) {
    int is_new = access(path, F_OK) != 0;
    int file = open(path, O_RDWR | O_CREAT, 0600);
    (void)!ftruncate(file, 4096);
    struct lock *lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (is_new) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&lock->mutex, &attributes);
    }
    return lock;
}
int lock_take(struct lock *lock) {
    int result = pthread_mutex_lock(&lock->mutex);
    if (result == EOWNERDEAD)
        pthread_mutex_consistent(&lock->mutex);
    return result;
}
void lock_release(struct lock *lock) { pthread_mutex_unlock(&lock->mutex); }

char *line_new(void) { return malloc(4); }
size_t line_read(char **line, size_t *bytes, const char *path) {
    FILE *file = fopen(path, "r");
    ssize_t read = getline(line, bytes, file);
    fclose(file);
    return read;
}
