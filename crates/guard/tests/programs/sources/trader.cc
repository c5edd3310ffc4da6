// Takes memory in every form of operator new from the library, and gives it back in every form of delete.
#include "case.h"
#include "stock.h"
#include <cstdint>
#include <initializer_list>
#include <new>

struct alignas(64) Wide {
    long values[8];
};
struct Counted;
extern "C" {
void *stock_new(std::size_t);
void *stock_new_array(std::size_t);
void *stock_new_nothrow(std::size_t);
void *stock_new_array_nothrow(std::size_t);
void *stock_new_aligned(std::size_t, std::size_t);
void *stock_new_array_aligned(std::size_t, std::size_t);
void *stock_new_aligned_nothrow(std::size_t, std::size_t);
void *stock_new_array_aligned_nothrow(std::size_t, std::size_t);
void *stock_posix_memalign(std::size_t, std::size_t);
void *stock_aligned_alloc(std::size_t, std::size_t);
void stock_delete(void *);
void stock_delete_sized(void *, std::size_t);
void stock_delete_aligned(void *, std::size_t);
Wide *stock_wide();
Counted *stock_counted(int);
void stock_uncount(Counted *);
long stock_count();
long stock_work();
}

using Plain = void *(*)(std::size_t);
using Aligned = void *(*)(std::size_t, std::size_t);
static const Plain plain[] = {stock_new, stock_new_array, stock_new_nothrow, stock_new_array_nothrow};
static const Aligned aligned[] = {stock_new_aligned,         stock_new_array_aligned, stock_new_aligned_nothrow,
                                  stock_new_array_aligned_nothrow, stock_posix_memalign,    stock_aligned_alloc};

static int forms() {
    bool is_right = true;
    for (Plain take : plain)
        for (std::size_t bytes : {0, 1, 24, 1000, 40000, 3000000}) {
            void *one = take(bytes), *two = take(bytes), *three = take(bytes), *four = take(bytes);
            is_right = is_right && one && two && one != two && reinterpret_cast<std::uintptr_t>(one) % 16 == 0;
            // By the program, in other forms than the library's own; by the library.
            ::operator delete(one);
            ::operator delete[](two, bytes);
            stock_delete(three);
            stock_delete_sized(four, bytes);
        }
    check("every plain form", is_right);
    is_right = true;
    for (Aligned take : aligned)
        for (std::size_t align : {16, 64, 4096, 65536})
            for (std::size_t bytes : {64, 4096, 65536}) {
                void *one = take(bytes, align), *two = take(bytes, align), *three = take(bytes, align);
                is_right = is_right && one && two && one != two && reinterpret_cast<std::uintptr_t>(one) % align == 0 &&
                           reinterpret_cast<std::uintptr_t>(two) % align == 0;
                ::operator delete(one, std::align_val_t(align));
                stock_delete_aligned(two, align);
                free(three);
            }
    check("every aligned form", is_right);
    Wide *wide = stock_wide();
    check("an aligned object", reinterpret_cast<std::uintptr_t>(wide) % 64 == 0 && wide->values[7] == 8);
    delete wide;
    Counted *counted = stock_counted(100);
    check("an array with a count", stock_count() == 100);
    stock_uncount(counted);
    check("destroyed", stock_count() == 0);
    check("containers", stock_work() == 1000 + 50);
    return 0;
}

// More than any heap has.
static const std::size_t HUGE = std::size_t(1) << 46;
static int nr_handled;
static void handler() {
    if (++nr_handled == 3)
        std::set_new_handler(nullptr);
}
static int exhausted() {
    for (Plain take : {stock_new, stock_new_array})
        try {
            std::set_new_handler(handler);
            nr_handled = 0;
            take(HUGE);
            check("throws", false);
        } catch (const std::bad_alloc &) {
            check("the new-handler, then an exception", nr_handled == 3);
        }
    for (Aligned take : {stock_new_aligned, stock_new_array_aligned})
        try {
            std::set_new_handler(handler);
            nr_handled = 0;
            take(HUGE, 64);
            check("throws", false);
        } catch (const std::bad_alloc &) {
            check("the new-handler of an aligned form", nr_handled == 3);
        }
    std::set_new_handler(handler);
    nr_handled = 0;
    check("without exceptions", !stock_new_nothrow(HUGE) && nr_handled == 3);
    std::set_new_handler(handler);
    nr_handled = 0;
    check("aligned without exceptions", !stock_new_aligned_nothrow(HUGE, 64) && nr_handled == 3);
    void *after = stock_new(10);
    check("and on", after != nullptr);
    ::operator delete(after);
    return 0;
}
// Derived by the program: some functions are its own, some the library's.
struct Triangle : Shape {
    long corners() override { return 3; }
    long write() { return *kept = 666; }
};
static int shapes() {
    Shape plain;
    check("the library's class", plain.twice() == 2 && plain.keep(5) == 5);
    Triangle triangle;
    Shape *shape = &triangle;
    check("a class derived by the program", shape->twice() == 6 && shape->keep(7) == 7);
    Shape *square = stock_square();
    check("a class that only the library knows", square->corners() == 4 && square->twice() == 8);
    delete square;
    return 0;
}
static int stray_in_shape() {
    Triangle triangle;
    triangle.keep(1);
    triangle.write();
    printf("survived\n");
    return SURVIVED;
}
static int stray_to(void *block) {
    *static_cast<volatile char *>(block) = 1;
    printf("survived\n");
    return SURVIVED;
}
static int stray() { return stray_to(stock_new(100)); }
static int stray_aligned() { return stray_to(stock_new_aligned(100, 4096)); }

const struct part parts[] = {
    {"forms", forms}, {"exhausted", exhausted}, {"stray", stray}, {"stray-aligned", stray_aligned}, {"shapes", shapes}, {"stray-shape", stray_in_shape}, {nullptr, nullptr},
};

int main(int count, char **arguments) { return run_part(parts, count > 1 ? arguments[1] : nullptr); }
