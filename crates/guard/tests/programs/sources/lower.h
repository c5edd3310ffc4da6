// Two libraries, of which one calls the other and is called back.
#pragma once
#include <setjmp.h>

struct Cell {
    long value;
    long more[7];
};
using Back = long (*)(Cell *, long);

extern "C" {
// The lower library: cells of its own, and functions that it calls.
Cell *cell_new(long value);
void cell_set(Cell *cell, long value);
long cell_call(Cell *cell, Back back, long argument);
void cell_fail(Cell *cell, int number);
void cell_jump(Cell *cell, jmp_buf *to);
// Writes where it is told to, whosever that is.
void cell_write(long *place, long value);
long *cell_data();
void cell_sort(int *numbers, int count, int (*compare)(const void *, const void *));

// The upper library: notes of its own, each with a cell of the lower one's.
struct Note {
    long value;
    Cell *cell;
};
Note *note_new(long value);
void note_set(Note *note, long value);
long note_sum(const Note *note);
long note_round(Note *note, Back back, long argument);
void note_fail(Note *note, int number);
long note_catch(Note *note, int number);
void note_jump(Note *note, jmp_buf *to);
void note_jump_back(Note *note);
void note_stray(Note *note);
void note_lend(Note *note);
long *note_data();
}
