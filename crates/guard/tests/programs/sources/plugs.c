// Libraries that come and go: dlopen, dlclose, dlmopen.
#define _GNU_SOURCE
#include "store.h"
#include "case.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

typedef struct item *(*maker)(long);
typedef void (*setter)(struct item *, long);
typedef long (*getter)(const struct item *);
typedef long *(*place)(void);
typedef long (*counting)(void);

static sigjmp_buf back;
static volatile int seen;
static void on_segv(int signal) {
    seen = signal;
    siglongjmp(back, 1);
}
// Whether a write there raises SIGSEGV.
static int is_kept(volatile void *at) {
    signal(SIGSEGV, on_segv);
    seen = 0;
    if (sigsetjmp(back, 1) == 0)
        *(volatile long *)at = 1;
    signal(SIGSEGV, SIG_DFL);
    return seen == (getenv("CASE_HAS_KEYS") ? SIGSEGV : 0);
}
// The same by a call.
static int is_kept_from(setter set, struct item *at) {
    signal(SIGSEGV, on_segv);
    seen = 0;
    if (sigsetjmp(back, 1) == 0)
        set(at, 1);
    signal(SIGSEGV, SIG_DFL);
    return seen == (getenv("CASE_HAS_KEYS") ? SIGSEGV : 0);
}
static int is_mapped(void *at) { return msync((void *)((size_t)at & -4096), 1, MS_ASYNC) == 0; }

static int once(int round) {
    void *library = dlopen("libstore.so", RTLD_NOW);
    setter set = (setter)dlsym(library, "item_set");
    getter get = (getter)dlsym(library, "item_get");
    struct item *item = ((maker)dlsym(library, "item_new"))(round);
    long *counter = ((place)dlsym(library, "store_counter"))();
    set(item, round + 1);
    int right = get(item) == round + 1 && item->value == round + 1;
    right = right && ((counting)dlsym(library, "store_count"))() == 1;
    right = right && is_kept(&item->more[3]);
    // Inside a constructor and through a table of the library's own.
    right = right && ((counting)dlsym(library, "store_began"))() == 77;
    ((const struct methods *)dlsym(library, "store_methods"))->set(item, 9);
    set(item, 10);
    right = right && is_kept(&item->more[3]);
    int has_data = getenv("CASE_DATA") != NULL;
    right = right && (!has_data || is_kept(counter));
    dlclose(library);
    right = right && !is_mapped(counter);
    // A block outlives its library, closed; whoever has it may free it.
    right = right && item->value == 10 && is_kept(&item->more[3]);
    free(item);
    return right;
}
static int reopen(void) {
    int right = 0;
    for (int round = 0; round < 20; round++)
        right += once(round);
    check("opened and closed 20 times", right == 20);
    return 0;
}

// Another library at the same place: no gate of the first one's is taken for one of its.
static size_t base_of(void *library) { return ((struct link_map *)library)->l_addr; }
static int replace(void) {
    int nr_same = 0, right = 0;
    for (int round = 0; round < 10; round++) {
        void *library = dlopen("libstore.so", RTLD_NOW);
        size_t base = base_of(library);
        long *counter = ((place)dlsym(library, "store_counter"))();
        struct item *left = ((maker)dlsym(library, "item_new"))(1);
        dlclose(library);
        // The same code, under a name that is not guarded.
        library = dlopen("libtwin.so", RTLD_NOW);
        nr_same += base_of(library) == base;
        struct item *item = ((maker)dlsym(library, "item_new"))(1);
        item->value = 5;
        counter = ((place)dlsym(library, "store_counter"))();
        *counter = 7;
        right += ((getter)dlsym(library, "item_get"))(item) == 5 && *counter == 7;
        right += ((counting)dlsym(library, "store_count"))() == 8;
        // Its code is not taken for the other's, and what the other has left behind is none of its business.
        right += is_kept_from((setter)dlsym(library, "item_set"), left);
        free(left);
        free(item);
        dlclose(library);
    }
    check("another library at its place", nr_same > 0 && right == 30);
    return 0;
}

// The program calls what is not there any more.
static int gone(void) {
    void *library = dlopen("libstore.so", RTLD_NOW);
    setter set = (setter)dlsym(library, "item_set");
    struct item *item = ((maker)dlsym(library, "item_new"))(1);
    dlclose(library);
    set(item, 1);
    printf("survived\n");
    return SURVIVED;
}

static int apart(void) {
    void *library = dlmopen(LM_ID_NEWLM, "libstore.so", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    struct item *item = ((maker)dlsym(library, "item_new"))(1);
    item->value = 3;
    ((setter)dlsym(library, "item_set"))(item, 4);
    check("a library in a namespace of its own", ((getter)dlsym(library, "item_get"))(item) == 4);
    ((volatile struct item *)item)->value = 5;
    check("is not guarded", item->value == 5);
    return 0;
}

const struct part parts[] = {{"reopen", reopen}, {"replace", replace}, {"gone", gone}, {"apart", apart}, {0}};

int main(int count, char **arguments) { return run_part(parts, count > 1 ? arguments[1] : NULL); }
