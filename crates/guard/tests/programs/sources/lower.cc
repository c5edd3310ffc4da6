#include "lower.h"
#include <cstdlib>

static long data;

extern "C" {
Cell *cell_new(long value) { return new Cell{value, {}}; }
void cell_set(Cell *cell, long value) { cell->value = value; }
long cell_call(Cell *cell, Back back, long argument) {
    cell->value++;
    long result = back(cell, argument);
    cell->value++;
    return result;
}
void cell_fail(Cell *cell, int number) {
    cell->value = number;
    throw number;
}
void cell_jump(Cell *cell, jmp_buf *to) {
    cell->value = 5;
    longjmp(*to, 1);
}
void cell_write(long *place, long value) { *place = value; }
long *cell_data() { return &data; }
void cell_sort(int *numbers, int count, int (*compare)(const void *, const void *)) {
    std::qsort(numbers, count, sizeof *numbers, compare);
}
}
