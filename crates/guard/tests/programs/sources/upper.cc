#include "lower.h"
#include <cstdlib>
#include <cstring>

static long data;
static long nr_calls;

// Called by the lower library: a function of this one, which is not exported.
static long upwards(Cell *cell, long argument) {
    nr_calls++;
    data += argument;
    char *scratch = static_cast<char *>(std::malloc(100));
    std::memset(scratch, 1, 100);
    std::free(scratch);
    cell_set(cell, cell->value + argument);
    return nr_calls;
}
static long jumps(Cell *cell, long argument) {
    longjmp(*reinterpret_cast<jmp_buf *>(argument), 1);
    return cell->value;
}

extern "C" {
Note *note_new(long value) { return new Note{value, cell_new(value)}; }
void note_set(Note *note, long value) {
    note->value = value;
    cell_set(note->cell, value);
    note->value = value;
}
long note_sum(const Note *note) { return note->value + note->cell->value; }
long note_round(Note *note, Back back, long argument) {
    note->value++;
    // Down, and up again into this library; then down, and up into the program.
    long result = cell_call(note->cell, upwards, argument);
    note->value++;
    if (back)
        result += cell_call(note->cell, back, argument);
    note->value++;
    return result;
}
void note_fail(Note *note, int number) {
    note->value = number;
    cell_fail(note->cell, number);
}
long note_catch(Note *note, int number) {
    try {
        cell_fail(note->cell, number);
    } catch (int thrown) {
        note->value = thrown;
        return note_sum(note);
    }
    return 0;
}
void note_jump(Note *note, jmp_buf *to) {
    note->value = 5;
    cell_jump(note->cell, to);
}
void note_jump_back(Note *note) {
    jmp_buf own;
    if (setjmp(own) == 0)
        cell_call(note->cell, jumps, reinterpret_cast<long>(&own));
    note->value = 17;
    cell_set(note->cell, 18);
}
void note_stray(Note *note) { *const_cast<volatile long *>(&note->cell->value) = 666; }
void note_lend(Note *note) { cell_write(&note->value, 21); }
long *note_data() { return &data; }
}
