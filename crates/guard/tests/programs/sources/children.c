// Children of the program: who of them is guarded, and how each comes to be. "child" is what they execute: it strays.
#define _GNU_SOURCE
#include "store.h"
#include "case.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static const char *self;

static int ended(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}
// How a child ended: 's'urvived, 'd'ied of SIGSEGV, else '?'.
static void tell(const char *name, int end) {
    printf("%s %c\n", name, end == SURVIVED ? 's' : end == SIGSEGV ? 'd' : '?');
    fflush(stdout);
}

static int nr_arguments;
static char **all_arguments;

// Has what it was given: arguments in their order, and the environment that was meant.
static int child(void) {
    int is_marked = nr_arguments > 2 && strcmp(all_arguments[2], "marked") == 0;
    for (int i = 3; i < nr_arguments; i++)
        if (atoi(all_arguments[i]) != i - 1)
            return 1;
    if (is_marked != (getenv("CASE_MARK") != NULL))
        return 1;
    volatile struct item *item = item_new(1);
    item->value = 666;
    return SURVIVED;
}

// Every function that executes a program, in a child of its own.
static void executes(int which) {
    char *marked[] = {"CASE_MARK=1", NULL};
    char *plain[] = {(char *)self, "child", "1", "2", "3", "4", "5", "6", NULL};
    char *arguments[] = {(char *)self, "child", "marked", "2", "3", "4", "5", "6", NULL};
    switch (which) {
    case 0: execve(self, arguments, marked); break;
    case 1: execv(self, plain); break;
    case 2: execvp(self, plain); break;
    case 3: execvpe(self, arguments, marked); break;
    case 4: execl(self, self, "child", NULL); break;
    case 5: execl(self, self, "child", "1", "2", "3", "4", "5", "6", NULL); break;
    case 6: execlp(self, self, "child", "1", "2", "3", "4", "5", "6", NULL); break;
    case 7: execle(self, self, "child", "marked", "2", "3", "4", "5", NULL, marked); break;
    case 8: execle(self, self, "child", "marked", NULL, marked); break;
    case 9: fexecve(open(self, O_RDONLY), arguments, marked); break;
    case 10: execveat(AT_FDCWD, self, arguments, marked, 0); break;
    }
}
static const char *const names[] = {"execve", "execv",  "execvp",       "execvpe", "execl",   "execl with many",
                                    "execlp", "execle", "execle of two", "fexecve", "execveat"};
enum { FUNCTIONS = sizeof names / sizeof *names };

static int forks(void) {
    for (int which = 0; which < FUNCTIONS; which++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            executes(which);
            _exit(99);
        }
        tell(names[which], ended(pid));
    }
    return 0;
}
static int others(void) {
    char *none[] = {NULL};
    char *arguments[] = {(char *)self, "child", NULL};
    pid_t pid = vfork();
    if (pid == 0) {
        execve(self, arguments, none);
        _exit(99);
    }
    tell("vfork and execve", ended(pid));
    pid = vfork();
    if (pid == 0) {
        execl(self, self, "child", NULL);
        _exit(99);
    }
    tell("vfork and execl", ended(pid));
    posix_spawn(&pid, self, NULL, NULL, arguments, environ);
    tell("posix_spawn", ended(pid));
    posix_spawn(&pid, self, NULL, NULL, arguments, none);
    tell("posix_spawn with nothing", ended(pid));
    posix_spawnp(&pid, self, NULL, NULL, arguments, none);
    tell("posix_spawnp", ended(pid));
    char command[500];
    snprintf(command, sizeof command, "exec %s child", self);
    int status = system(command);
    tell("system", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) == 128 + SIGSEGV ? SIGSEGV : WEXITSTATUS(status));
    snprintf(command, sizeof command, "exec %s child 2>&1", self);
    FILE *pipe = popen(command, "r");
    while (fgetc(pipe) != EOF)
        ;
    status = pclose(pipe);
    tell("popen", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 0;
}

// Executes the child in its own place.
static int in_place(void) {
    executes(atoi(getenv("CASE_WHICH")));
    return 99;
}
// What cannot be executed: the call comes back, with everything as it was.
static int nowhere(void) {
    const char *const no = "/nowhere/at/all";
    volatile long kept = 1234;
    check("execl", execl(no, no, "1", "2", "3", "4", "5", "6", NULL) == -1 && errno == ENOENT && kept == 1234);
    check("execlp", execlp(no, no, "1", NULL) == -1 && errno == ENOENT);
    check("execle", execle(no, no, "1", "2", "3", "4", "5", NULL, environ) == -1 && errno == ENOENT);
    char *arguments[] = {(char *)no, NULL};
    check("execve", execve(no, arguments, environ) == -1 && errno == ENOENT && kept == 1234);
    return 0;
}

// Threads that use the library all the time while the process forks.
static volatile int is_over;
static void *busy(void *unused) {
    unsigned seed = 1;
    while (!is_over) {
        size_t bytes = (seed = seed * 1103515245 + 12345) % 300000;
        struct item *item = item_new(bytes);
        item = item_grown(item, sizeof *item + bytes);
        item_free(item);
        // The guard's own memory is used for a thread's start.
        pthread_t thread;
        if (seed % 16 == 0 && pthread_create(&thread, NULL, (void *(*)(void *))item_new, NULL) == 0)
            pthread_join(thread, NULL);
    }
    return unused;
}
static int busy_forks(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, busy, NULL);
    int right = 0;
    for (int round = 0; round < 60; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(60);
            struct item *item = item_new(round);
            item = item_grown(item, 200000);
            pthread_t thread;
            pthread_create(&thread, NULL, (void *(*)(void *))item_new, NULL);
            pthread_join(thread, NULL);
            // Bound for the first time in the child.
            struct methods *made = store_made_methods();
            made->set(item, 5);
            _exit(item_get(item) == 5 ? 0 : 1);
        }
        right += ended(pid) == 0;
    }
    is_over = 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    check("forks among busy threads", right == 60);
    return 0;
}
static int stray_in_child(void) {
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    sigprocmask(SIG_SETMASK, &before, NULL);
    struct item *item = item_new(1);
    pid_t pid = fork();
    sigprocmask(SIG_SETMASK, NULL, &after);
    check(pid ? "the mask of the parent" : "the mask of the child",
          sigismember(&after, SIGUSR2) && !sigismember(&after, SIGUSR1) && !sigismember(&after, SIGTERM));
    if (pid == 0) {
        item_set(item, 2);
        ((volatile struct item *)item)->value = 3;
        _exit(0);
    }
    check("a child that strays dies", ended(pid) == (getenv("CASE_HAS_KEYS") ? SIGSEGV : 0));
    check("its parent lives", item_get(item) == 1);
    return 0;
}

static int quick(void) {
    quick_exit(5);
    return 99;
}
static int at_once(void) {
    _exit(6);
    return 99;
}

const struct part parts[] = {
    {"child", child},   {"forks", forks},           {"others", others},
    {"place", in_place}, {"nowhere", nowhere},
    {"busy", busy_forks}, {"stray", stray_in_child}, {"quick", quick},
    {"exit", at_once},   {0},
};

int main(int count, char **arguments) {
    self = realpath("/proc/self/exe", NULL);
    nr_arguments = count;
    all_arguments = arguments;
    return run_part(parts, count > 1 ? arguments[1] : NULL);
}
