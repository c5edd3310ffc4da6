// Work with LevelDB, a C++ library: classes, virtual functions in both directions, strings, threads of its own.
#include <leveldb/cache.h>
#include <leveldb/comparator.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include <cstdint>
#include <memory>
#include <string>

#include "stray.h"

namespace {

constexpr int kItems = 3000;

// The program's own order, which the library calls: from behind.
class Reversed : public leveldb::Comparator {
 public:
  int Compare(const leveldb::Slice& a, const leveldb::Slice& b) const override { return b.compare(a); }
  const char* Name() const override { return "reversed"; }
  void FindShortestSeparator(std::string*, const leveldb::Slice&) const override {}
  void FindShortSuccessor(std::string*) const override {}
};

// What the library calls for each entry of a batch.
class Counting : public leveldb::WriteBatch::Handler {
 public:
  void Put(const leveldb::Slice&, const leveldb::Slice& value) override { bytes += value.size(); }
  void Delete(const leveldb::Slice&) override { deleted++; }
  size_t bytes = 0, deleted = 0;
};

void Check(const leveldb::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

std::string Key(int i) {
  char text[16];
  std::snprintf(text, sizeof text, "%08d", i * 7919 % kItems);
  return text;
}

void Fill(leveldb::DB* db) {
  for (int i = 0; i < kItems; i += 10) {
    leveldb::WriteBatch batch;
    for (int j = i; j < i + 10; j++) batch.Put(Key(j), std::string(100 + j % 100, char('a' + j % 26)));
    if (i % 100 == 0) batch.Delete(Key(i));
    Counting counting;
    Check(batch.Iterate(&counting));
    if (counting.bytes == 0) std::abort();
    Check(db->Write(leveldb::WriteOptions(), &batch));
  }
}

std::uint64_t Sum(leveldb::DB* db, const leveldb::ReadOptions& options) {
  std::uint64_t entries = 0, sum = 0;
  std::unique_ptr<leveldb::Iterator> it(db->NewIterator(options));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    entries++;
    for (char c : it->value().ToString()) sum += static_cast<unsigned char>(c);
  }
  Check(it->status());
  std::printf("entries %llu, sum %llu\n", (unsigned long long)entries, (unsigned long long)sum);
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  Reversed reversed;
  std::unique_ptr<leveldb::Cache> cache(leveldb::NewLRUCache(64 << 10));
  std::unique_ptr<const leveldb::FilterPolicy> filter(leveldb::NewBloomFilterPolicy(10));
  leveldb::Options options;
  options.create_if_missing = true;
  options.comparator = &reversed;
  options.block_cache = cache.get();
  options.filter_policy = filter.get();
  options.write_buffer_size = 64 << 10;  // Many tables, so that its thread has to compact.
  leveldb::DB* db = nullptr;
  Check(leveldb::DB::Open(options, argv[2], &db));
  Fill(db);
  const leveldb::Snapshot* before = db->GetSnapshot();
  for (int i = 0; i < kItems; i += 2) Check(db->Delete(leveldb::WriteOptions(), Key(i)));
  leveldb::ReadOptions then;
  then.snapshot = before;
  if (Sum(db, then) == Sum(db, leveldb::ReadOptions())) std::abort();
  db->ReleaseSnapshot(before);
  db->CompactRange(nullptr, nullptr);
  std::string value;
  Check(db->Get(leveldb::ReadOptions(), Key(1), &value));
  std::printf("value of %zu bytes, missing %d\n", value.size(),
              db->Get(leveldb::ReadOptions(), "none", &value).IsNotFound());
  leveldb::DB* none = nullptr;
  leveldb::Status wrong = leveldb::DB::Open(options, "/nonexistent/folder", &none);
  std::printf("%s\n", wrong.ok() ? "opened" : "refused");
  if (argc > 1) stray_from(argv[1], db);
  delete db;
  return 0;
}
