// Uses two libraries with a domain each, or one together.
#include "lower.h"
#include "case.h"
#include <csignal>
#include <cstring>
#include <pthread.h>

static Note *note;

static long plain(Cell *cell, long argument) { return cell->value * 0 + argument; }
static long again(Cell *cell, long depth) {
    return depth == 0 ? 0 : 1 + cell_call(cell, again, depth - 1);
}
static long both(Cell *cell, long argument) {
    // From a callback of the lower library into the upper one, which calls the lower one.
    note_set(note, argument);
    cell_set(cell, argument);
    return note_sum(note);
}
static long throws(Cell *, long) { throw 43L; }
static jmp_buf place;
static long jumps(Cell *, long) { longjmp(place, 1); }
static long strays_up(Cell *, long) { return *const_cast<volatile long *>(&note->value) = 666; }
static long strays_down(Cell *, long) { return *const_cast<volatile long *>(&note->cell->value) = 666; }
static int compare(const void *a, const void *b) {
    note_set(note, 3);
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
}

static int calls() {
    unsigned before = rights();
    note_set(note, 4);
    check("one calls the other", note_sum(note) == 8 && rights() == before);
    check("down, up, down", note_round(note, nullptr, 10) == 1 && note->value == 7 && note->cell->value == 16);
    check("down and up into the program", note_round(note, plain, 10) == 12 && rights() == before);
    check("both in a callback", note_round(note, both, 5) == 3 + 10 && rights() == before);
    check("in and out 100 times", note_round(note, again, 100) == 104 && rights() == before);
    try {
        note_fail(note, 42);
        check("exception through both", false);
    } catch (int number) {
        check("exception through both", number == 42 && note_sum(note) == 84 && rights() == before);
    }
    check("exception from one to the other", note_catch(note, 6) == 12 && rights() == before);
    try {
        note_round(note, throws, 1);
        check("exception of a callback through both", false);
    } catch (long number) {
        check("exception of a callback through both", number == 43 && rights() == before);
    }
    if (setjmp(place) == 0)
        note_jump(note, &place);
    check("long jump through both", note_sum(note) == 10 && rights() == before);
    if (setjmp(place) == 0)
        note_round(note, jumps, 1);
    check("long jump of a callback through both", rights() == before);
    note_jump_back(note);
    check("long jump back into one", note_sum(note) == 35 && rights() == before);
    int numbers[] = {3, 1, 2};
    cell_sort(numbers, 3, compare);
    check("a callback that libc calls", numbers[0] == 1 && note_sum(note) == 6 && rights() == before);
    return 0;
}
static int survived() {
    printf("survived\n");
    return SURVIVED;
}
static int upper() { return *const_cast<volatile long *>(&note->value) = 1, survived(); }
static int lower() { return *const_cast<volatile long *>(&note->cell->value) = 1, survived(); }
static int from_upper() { return note_stray(note), survived(); }
static int from_lower() { return note_lend(note), survived(); }
static int callback_up() { return note_round(note, strays_up, 1), survived(); }
static int callback_down() { return note_round(note, strays_down, 1), survived(); }
static int after() {
    note_round(note, plain, 1);
    return from_upper();
}

const struct part parts[] = {
    {"calls", calls},           {"upper", upper},       {"lower", lower},
    {"from-upper", from_upper}, {"from-lower", from_lower}, {"callback-up", callback_up},
    {"callback-down", callback_down}, {"after", after}, {nullptr, nullptr},
};

int main(int count, char **arguments) {
    note = note_new(1);
    return run_part(parts, count > 1 ? arguments[1] : nullptr);
}
