/* Work with LMDB: several databases in one environment, duplicates, cursors, readers in threads, deletions, nested transactions.
 * With `writemap` in the environment's flags its pages are written in place. */
#include <lmdb.h>
#include <sys/stat.h>

#include "stray.h"

#define BOXES 2000
#define READERS 3

static MDB_env *env;
static MDB_dbi boxes, labels;

static void check(int result, const char *what)
{
	if (result == MDB_SUCCESS)
		return;
	fprintf(stderr, "%s: %s\n", what, mdb_strerror(result));
	exit(1);
}

static MDB_val value_of(void *data, size_t len)
{
	MDB_val value = { len, data };
	return value;
}

static void fill(void)
{
	MDB_txn *txn, *child;
	char key[16], text[200];
	check(mdb_txn_begin(env, NULL, 0, &txn), "begin");
	check(mdb_dbi_open(txn, "boxes", MDB_CREATE, &boxes), "open boxes");
	check(mdb_dbi_open(txn, "labels", MDB_CREATE | MDB_DUPSORT, &labels), "open labels");
	for (int i = 0; i < BOXES; i++) {
		MDB_val k = value_of(key, snprintf(key, sizeof key, "%08d", i * 7919 % BOXES));
		MDB_val v = value_of(text, snprintf(text, sizeof text, "%0*d", 20 + i % 150, i));
		check(mdb_put(txn, boxes, &k, &v, 0), "put");
		k = value_of(key, snprintf(key, sizeof key, "%d", i % 10));
		v = value_of(text, snprintf(text, sizeof text, "%08d", i));
		check(mdb_put(txn, labels, &k, &v, 0), "put duplicate");
	}
	/* A nested transaction that comes to nothing; pages in place have none. */
	if (mdb_txn_begin(env, txn, 0, &child) == MDB_SUCCESS) {
		check(mdb_drop(child, labels, 0), "drop");
		mdb_txn_abort(child);
	}
	check(mdb_txn_commit(txn), "commit");
}

static void empty(void)
{
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val k, v;
	int n = 0;
	check(mdb_txn_begin(env, NULL, 0, &txn), "begin");
	check(mdb_cursor_open(txn, boxes, &cursor), "cursor");
	while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == MDB_SUCCESS)
		if (n++ % 3 == 0)
			check(mdb_cursor_del(cursor, 0), "delete");
	mdb_cursor_close(cursor);
	check(mdb_txn_commit(txn), "commit");
}

struct sum {
	size_t entries, bytes;
};

static void *read_all(void *out)
{
	struct sum *sum = out;
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val k, v;
	check(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "begin reading");
	for (int i = 0; i < 2; i++) {
		check(mdb_cursor_open(txn, i ? labels : boxes, &cursor), "cursor");
		while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == MDB_SUCCESS) {
			sum->entries++;
			sum->bytes += k.mv_size + v.mv_size;
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sum sums[READERS] = { { 0, 0 } };
	pthread_t readers[READERS];
	MDB_stat stat;
	unsigned flags = argc > 3 && strcmp(argv[3], "writemap") == 0 ? MDB_WRITEMAP : 0;
	mkdir(argv[2], 0700);
	check(mdb_env_create(&env), "create");
	check(mdb_env_set_maxdbs(env, 4), "maxdbs");
	check(mdb_env_set_mapsize(env, 16 << 20), "mapsize");
	check(mdb_env_open(env, argv[2], flags, 0600), argv[2]);
	fill();
	empty();
	for (int i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, read_all, &sums[i]);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	for (int i = 0; i < READERS; i++)
		printf("entries %zu, bytes %zu\n", sums[i].entries, sums[i].bytes);
	check(mdb_env_stat(env, &stat), "stat");
	printf("databases %zu\n", stat.ms_entries);
	if (argc > 1)
		stray_from(argv[1], env);
	if (argc > 4) {
		/* A page of the data file, where it is written in place. */
		MDB_txn *txn;
		MDB_val k = value_of((void *)"00000001", 8), v;
		check(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "begin reading");
		check(mdb_get(txn, boxes, &k, &v), "get");
		stray_from(argv[4], v.mv_data);
		mdb_txn_abort(txn);
	}
	mdb_env_close(env);
	return 0;
}
