// A program on a library that was busy before.
#include "case.h"

long early_value(void);

int main(void) {
    check("used by a constructor", early_value() == (getenv("CASE_EARLY") ? 6 : 5));
    return 0;
}
