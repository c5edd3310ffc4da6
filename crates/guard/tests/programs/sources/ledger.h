// A small library in the manner of C++ libraries: objects on its heap, exceptions, callbacks, virtual functions.
#pragma once
#include <csetjmp>
#include <immintrin.h>

struct Entry {
    long balance;
    long history[7];
};
struct Five {
    long values[5];
};
struct Pair {
    long count;
    double share;
};
using Visit = int (*)(Entry *, int);
using Plain = int (*)(Entry *);

class Account {
public:
    virtual ~Account();
    virtual void deposit(long amount);
    virtual long balance() const;

private:
    Entry *entry = nullptr;
    friend Account *account_open();
};

extern "C" {
Entry *entry_new(long balance);
Entry *entry_new_array(int count);
void entry_delete(Entry *entry);
long entry_balance(const Entry *entry);
void entry_set(Entry *entry, long balance);
long entry_from_constructor();
char *text_copy(const char *text);
void entry_fail(Entry *entry, long balance);
int entry_visit(Entry *entry, Visit visit, int depth);
void entry_jump(Entry *entry, std::jmp_buf *to, long balance);
long sum_of_nine(long a, long b, long c, long d, long e, long f, long g, long h, long i);
double sum_of_many(int count, ...);
Five five_from(long start);
Pair pair_from(long count);
long double twice_long(long double value);
__int128 next_wide(__int128 value);
__m256d twice_vector(__m256d value);
void entry_work(Entry *entry, int rounds);
Plain entry_hidden();
void sort_numbers(int *numbers, int count);
void *entry_handed_over();
}
Account *account_open();
