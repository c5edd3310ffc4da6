#include "ledger.h"
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <stdexcept>

static Entry *from_constructor;
__attribute__((constructor)) static void begin() {
    from_constructor = new Entry();
    from_constructor->balance = 77;
}
__attribute__((destructor)) static void end() {
    from_constructor->balance = 0;
    delete from_constructor;
}

Account::~Account() { delete entry; }
void Account::deposit(long amount) { entry->balance += amount; }
long Account::balance() const { return entry->balance; }
Account *account_open() {
    Account *account = new Account();
    account->entry = entry_new(0);
    return account;
}

static void *worker(void *argument) {
    Entry *entry = static_cast<Entry *>(argument);
    for (int i = 0; i < 100; i++) {
        char *scratch = static_cast<char *>(std::malloc(100 + i));
        std::memset(scratch, i, 100 + i);
        entry->balance += 1;
        std::free(scratch);
    }
    return nullptr;
}
static int hidden(Entry *entry) {
    entry->balance = 55;
    std::memset(entry->history, 0, sizeof entry->history);
    return 55;
}
static int compare(const void *a, const void *b) {
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
}

extern "C" {
Entry *entry_new(long balance) {
    Entry *entry = new Entry();
    entry->balance = balance;
    return entry;
}
Entry *entry_new_array(int count) { return new Entry[count](); }
void entry_delete(Entry *entry) { delete entry; }
long entry_balance(const Entry *entry) { return entry->balance; }
void entry_set(Entry *entry, long balance) { entry->balance = balance; }
long entry_from_constructor() { return from_constructor->balance; }
char *text_copy(const char *text) { return strdup(text); }
void entry_fail(Entry *entry, long balance) {
    entry->balance = balance;
    throw std::runtime_error("no such entry");
}
int entry_visit(Entry *entry, Visit visit, int depth) {
    entry->balance += 1;
    int result = visit(entry, depth);
    entry->balance += 1;
    return result;
}
void entry_jump(Entry *entry, std::jmp_buf *to, long balance) {
    entry->balance = balance;
    std::longjmp(*to, 1);
}
long sum_of_nine(long a, long b, long c, long d, long e, long f, long g, long h, long i) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i;
}
double sum_of_many(int count, ...) {
    va_list list;
    va_start(list, count);
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += va_arg(list, double);
    va_end(list);
    return sum;
}
Five five_from(long start) {
    Five five;
    for (int i = 0; i < 5; i++)
        five.values[i] = start + i;
    return five;
}
Pair pair_from(long count) { return {count, count / 2.0}; }
long double twice_long(long double value) { return value * 2; }
__int128 next_wide(__int128 value) { return value + 1; }
__attribute__((target("avx"))) __m256d twice_vector(__m256d value) { return _mm256_add_pd(value, value); }
void entry_work(Entry *entry, int rounds) {
    for (int i = 0; i < rounds; i++) {
        pthread_t thread;
        pthread_create(&thread, nullptr, worker, entry);
        pthread_join(thread, nullptr);
    }
}
Plain entry_hidden() { return hidden; }
void sort_numbers(int *numbers, int count) { std::qsort(numbers, count, sizeof *numbers, compare); }
void *entry_handed_over() { return std::malloc(64); }
}
