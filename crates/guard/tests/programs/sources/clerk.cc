// Uses the library in every way there is. Each case prints "ok NAME", or why not.
#include "ledger.h"
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

static Entry *entry;
static std::jmp_buf place;
static bool has_keys;

static unsigned rights() {
    unsigned low = 0, high;
    if (has_keys)
        asm volatile("rdpkru" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}
static void check(const char *name, bool is_right) {
    std::printf("%s %s\n", is_right ? "ok" : "WRONG", name);
    std::fflush(stdout);
}
static int throws(Entry *, int) { throw 42; }
static int jumps(Entry *, int) { std::longjmp(place, 5); }
static int raises(Entry *, int) { return std::raise(SIGUSR1); }
static int deeper(Entry *at, int depth) { return depth == 0 ? 0 : 1 + entry_visit(at, deeper, depth - 1); }
static int strays(Entry *at, int) { return at->balance = 666; }
static void in_handler(int) { entry_set(entry, entry_balance(entry) + 1); }
static void strays_in_handler(int) { entry->balance = 666; }

__attribute__((target("avx"))) static double vector_sum() {
    double out[4];
    _mm256_storeu_pd(out, twice_vector(_mm256_set_pd(1, 2, 3, 4)));
    return out[0] + out[1] + out[2] + out[3];
}

static void values() {
    check("nine integers", sum_of_nine(1, 2, 3, 4, 5, 6, 7, 8, 9) == 285);
    check("variable arguments", sum_of_many(10, 1., 2., 3., 4., 5., 6., 7., 8., 9., 10.) == 55);
    check("structure in memory", five_from(10).values[4] == 14);
    check("structure in two registers", pair_from(8).count == 8 && pair_from(8).share == 4);
    check("long double", twice_long(1.5L) == 3);
    check("128-bit integer", next_wide(41) == 42);
    check("256-bit vector", !__builtin_cpu_supports("avx") || vector_sum() == 20);
    int numbers[] = {3, 1, 2};
    sort_numbers(numbers, 3);
    check("function left with libc", numbers[0] == 1 && numbers[2] == 3);
}

static void memory() {
    check("constructor", entry_from_constructor() == 77);
    char *text = text_copy("hello");
    check("string copied", std::strcmp(text, "hello") == 0);
    text = static_cast<char *>(std::realloc(text, 100000));
    check("reallocated by the program", std::strcmp(text, "hello") == 0);
    std::memset(text, 1, 100000);
    std::free(text);
    Entry *array = entry_new_array(100);
    check("new array", entry_balance(array + 99) == 0);
    delete[] array;
    entry_delete(entry_new(1));
    delete entry_new(2);
    Account *account = account_open();
    account->deposit(40);
    account->deposit(2);
    check("virtual functions", account->balance() == 42);
    delete account;
}

static void ways_out(unsigned before) {
    try {
        entry_fail(entry, 9);
        check("exception", false);
    } catch (const std::exception &error) {
        check("exception", error.what() == std::string("no such entry") && entry_balance(entry) == 9);
    }
    check("rights after an exception", rights() == before);
    try {
        entry_visit(entry, throws, 0);
        check("exception of a callback", false);
    } catch (int thrown) {
        check("exception of a callback", thrown == 42 && rights() == before);
    }
    if (setjmp(place) == 0)
        entry_jump(entry, &place, 11);
    check("long jump", entry_balance(entry) == 11 && rights() == before);
    if (setjmp(place) == 0)
        entry_visit(entry, jumps, 0);
    check("long jump of a callback", rights() == before);
    entry_set(entry, 0);
    std::signal(SIGUSR1, in_handler);
    std::raise(SIGUSR1);
    check("gate in a handler", entry_balance(entry) == 1 && rights() == before);
    entry_visit(entry, raises, 0);
    check("handler in a gate", entry_balance(entry) == 4 && rights() == before);
    entry_set(entry, 0);
    check("nested 300 deep", entry_visit(entry, deeper, 300) == 300 && entry_balance(entry) == 602);
    check("rights after nesting", rights() == before);
}

static void threads(unsigned before) {
    entry_set(entry, 0);
    entry_work(entry, 3);
    check("threads of the library", entry_balance(entry) == 300);
    std::vector<std::thread> all;
    bool is_right[16] = {};
    for (bool &right : is_right)
        all.emplace_back([&right] {
            right = true;
            for (long i = 0; i < 2000; i++) {
                Entry *own = entry_new(i);
                entry_set(own, i + 1);
                right = right && entry_balance(own) == i + 1;
                entry_delete(own);
            }
        });
    for (std::thread &thread : all)
        thread.join();
    bool all_right = true;
    for (bool right : is_right)
        all_right = all_right && right;
    check("16 threads", all_right);
    // The first call of a thread, through a gate that has nothing yet: its vector arguments are whole.
    double sum = 20;
    if (__builtin_cpu_supports("avx"))
        std::thread([&sum] { sum = vector_sum(); }).join();
    check("256-bit vector in a new thread", sum == 20);
    check("pointer to a hidden function", entry_hidden()(entry) == 55 && entry_balance(entry) == 55);
    entry_set(entry, 1);
    check("rights after a hidden function", rights() == before);
    pid_t child = fork();
    if (child == 0) {
        entry_set(entry, 5);
        _exit(entry_balance(entry) == 5 ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    check("fork", status == 0 && entry_balance(entry) == 1);
}

int main(int count, char **arguments) {
    std::string what = count > 1 ? arguments[1] : "all";
    has_keys = std::getenv("CASE_HAS_KEYS") != nullptr;
    entry = entry_new(1);
    if (what == "main")
        entry->balance = 666;
    if (what == "thread")
        std::thread([] { entry->balance = 666; }).join();
    if (what == "handler") {
        std::signal(SIGUSR2, strays_in_handler);
        std::raise(SIGUSR2);
    }
    if (what == "callback")
        entry_visit(entry, strays, 0);
    if (what == "handed")
        std::memset(entry_handed_over(), 1, 64);
    if (what != "all") {
        std::printf("survived\n");
        return 7;
    }
    unsigned before = rights();
    values();
    memory();
    ways_out(before);
    threads(before);
    return 0;
}
