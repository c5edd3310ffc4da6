// A library whose constructor uses the guarded one's, and strays where it is told to, before the program begins.
#include "store.h"
#include "case.h"

static struct item *item;

__attribute__((constructor)) static void begin(void) {
    item = item_new(5);
    if (getenv("CASE_EARLY"))
        ((volatile struct item *)item)->value = 6;
}
long early_value(void) { return item_get(item); }
