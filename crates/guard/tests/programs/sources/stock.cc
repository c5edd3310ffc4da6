// A C++ library that allocates in every form of operator new.
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

struct alignas(64) Wide {
    long values[8];
};
struct Counted {
    Counted() { count++; }
    ~Counted() { count--; }
    long value = 3;
    static long count;
};
long Counted::count;

// A class that programs derive from, one that nobody else can name, and one that is not derived from at all.
#include "stock.h"
Shape::~Shape() { delete kept; }
long Shape::keep(long value) {
    if (!kept)
        kept = new long;
    return *kept = value;
}
long Shape::twice() { return 2 * keep(corners()); }
long Shape::corners() { return 1; }
namespace {
struct Square : Shape {
    long corners() override { return keep(4); }
    long twice() override {
        corners();
        return *kept = 8;
    }
};
} // namespace
Shape *stock_square() { return new Square; }

extern "C" {
void *stock_new(std::size_t bytes) { return ::operator new(bytes); }
void *stock_new_array(std::size_t bytes) { return ::operator new[](bytes); }
void *stock_new_nothrow(std::size_t bytes) { return ::operator new(bytes, std::nothrow); }
void *stock_new_array_nothrow(std::size_t bytes) { return ::operator new[](bytes, std::nothrow); }
void *stock_new_aligned(std::size_t bytes, std::size_t align) { return ::operator new(bytes, std::align_val_t(align)); }
void *stock_new_array_aligned(std::size_t bytes, std::size_t align) { return ::operator new[](bytes, std::align_val_t(align)); }
void *stock_new_aligned_nothrow(std::size_t bytes, std::size_t align) {
    return ::operator new(bytes, std::align_val_t(align), std::nothrow);
}
void *stock_new_array_aligned_nothrow(std::size_t bytes, std::size_t align) {
    return ::operator new[](bytes, std::align_val_t(align), std::nothrow);
}
void *stock_posix_memalign(std::size_t bytes, std::size_t align) {
    void *block = nullptr;
    return posix_memalign(&block, align, bytes) == 0 ? block : nullptr;
}
void *stock_aligned_alloc(std::size_t bytes, std::size_t align) { return aligned_alloc(align, bytes); }
void stock_delete(void *block) { ::operator delete(block); }
void stock_delete_sized(void *block, std::size_t bytes) { ::operator delete(block, bytes); }
void stock_delete_aligned(void *block, std::size_t align) { ::operator delete(block, std::align_val_t(align)); }
Wide *stock_wide() { return new Wide{{1, 2, 3, 4, 5, 6, 7, 8}}; }
Counted *stock_counted(int count) { return new Counted[count]; }
void stock_uncount(Counted *counted) { delete[] counted; }
long stock_count() { return Counted::count; }
long stock_work() {
    std::vector<std::string> all;
    for (int i = 0; i < 1000; i++)
        all.push_back("a string that is too long to lie in the object " + std::to_string(i));
    auto shared = std::make_shared<std::vector<std::string>>(all);
    return shared->size() + all.back().size();
}
}
