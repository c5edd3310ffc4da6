// Memory that the library maps, and changes afterwards.
#define _GNU_SOURCE
#include "store.h"
#include "case.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, ALL = 16 * PAGE };

// How a child ends that writes there: 0, or the signal.
static int ends(volatile char *at) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        *at = 1;
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}
static int is_kept(volatile char *at) { return ends(at) == (getenv("CASE_HAS_KEYS") ? SIGSEGV : 0); }

static void kind(const char *how) {
    char name[100];
    char *pages = pages_map(how, ALL);
    pages_fill(pages, ALL, 3);
    snprintf(name, sizeof name, "%s: the library writes", how);
    check(name, pages[ALL - 1] == 3);
    snprintf(name, sizeof name, "%s: the program does not", how);
    check(name, is_kept(pages) && is_kept(pages + ALL - 1));
    pages_unmap(pages + 4 * PAGE, 4 * PAGE);
    snprintf(name, sizeof name, "%s: with a hole", how);
    check(name, is_kept(pages) && is_kept(pages + 8 * PAGE) && ends(pages + 4 * PAGE) == SIGSEGV);
    pages_unmap(pages, 4 * PAGE);
    munmap(pages + 8 * PAGE, 8 * PAGE);
    // Somebody else's memory at the same place is somebody else's.
    char *mine = mmap(pages, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    memset(mine, 1, ALL);
    snprintf(name, sizeof name, "%s: gone", how);
    check(name, mine[ALL - 1] == 1);
    munmap(mine, ALL);
}

static int kinds(void) {
    kind("anonymous");
    kind("shared");
    kind("file");
    char *stack = pages_map("stack", ALL);
    check("a stack is left alone", ends(stack) == 0);
    char *code = pages_map("code", ALL);
    check("code is left alone", ends(code) == 0);
    return 0;
}

static int changes(void) {
    char *pages = pages_map("reserve", ALL);
    check("a reservation", ends(pages) == SIGSEGV);
    pages_protect(pages, 4 * PAGE, "rw");
    pages_fill(pages, 4 * PAGE, 5);
    check("made writable", is_kept(pages + PAGE) && ends(pages + 8 * PAGE) == SIGSEGV);
    pages_protect(pages + 4 * PAGE, 4 * PAGE, "rw");
    pages_fill(pages, 8 * PAGE, 6);
    check("more of it", is_kept(pages + 5 * PAGE) && pages[8 * PAGE - 1] == 6);
    pages_protect(pages, PAGE, "r");
    check("made read-only", ends(pages) == SIGSEGV && pages[0] == 6);
    pages_protect(pages, PAGE, "rw");
    pages_fill(pages, PAGE, 7);
    check("made writable again", is_kept(pages));
    pages_protect(pages, PAGE, "rwx");
    check("made code", ends(pages) == 0 && is_kept(pages + PAGE));
    pages_unmap(pages, ALL);

    pages = pages_map("anonymous", ALL + PAGE);
    pages_fill(pages, ALL, 8);
    pages_unmap(pages + ALL, PAGE);
    // Something behind it, so that it has to move.
    mmap(pages + ALL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    char *moved = pages_move(pages, ALL, 2 * ALL);
    check("moved", moved != pages && moved[ALL - 1] == 8);
    pages_fill(moved, 2 * ALL, 9);
    check("moved: the program does not", is_kept(moved) && is_kept(moved + 2 * ALL - 1));
    char *mine = mmap(pages, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    check("moved: nothing stays behind", ends(mine) == 0);
    char *cut = pages_move(moved, 2 * ALL, ALL);
    check("cut", cut == moved && is_kept(cut + ALL - 1));
    return 0;
}

// Strays, for the report.
static int stray_to(const char *how) {
    volatile char *pages = pages_map(how, ALL);
    pages[5000] = 1;
    printf("survived\n");
    return SURVIVED;
}
static int stray_to_file(void) { return stray_to("file"); }
static int stray_to_anonymous(void) { return stray_to("anonymous"); }

// Where the region has been cut, and where it has been moved.
static int stray_behind_hole(void) {
    char *pages = pages_map("anonymous", ALL);
    pages_unmap(pages + 4 * PAGE, 4 * PAGE);
    *(volatile char *)(pages + 8 * PAGE + 100) = 1;
    printf("survived\n");
    return SURVIVED;
}
static int stray_to_moved(void) {
    char *pages = pages_map("anonymous", ALL);
    char *moved = mremap(pages, ALL, 2 * ALL, MREMAP_MAYMOVE | MREMAP_FIXED, pages_map("reserve", 2 * ALL));
    *(volatile char *)(moved + ALL + 200) = 1;
    printf("survived\n");
    return SURVIVED;
}

// A lock that processes share: whoever dies with it leaves it to the next, inside a gate or outside.
static int lock(void) {
    char path[] = "/tmp/pkeys-lock-XXXXXX", other[sizeof path + 2];
    close(mkstemp(path));
    unlink(path);
    snprintf(other, sizeof other, "%s-2", path);
    struct lock *lock = lock_open(path);
    check("taken", lock_take(lock) == 0);
    lock_release(lock);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct lock *own = lock_open(path);
        struct lock *second = lock_open(other);
        lock_take(own);
        // Links between the two are written here.
        lock_take(second);
        lock_release(second);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    check("a child has died with it", WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check("left to the next", lock_take(lock) == EOWNERDEAD);
    lock_release(lock);
    check("taken again", lock_take(lock) == 0);
    unlink(path);
    unlink(other);
    return 0;
}

const struct part parts[] = {
    {"kinds", kinds}, {"changes", changes}, {"file", stray_to_file}, {"anonymous", stray_to_anonymous}, {"hole", stray_behind_hole}, {"moved", stray_to_moved}, {"lock", lock}, {0},
};

int main(int count, char **arguments) { return run_part(parts, count > 1 ? arguments[1] : NULL); }
