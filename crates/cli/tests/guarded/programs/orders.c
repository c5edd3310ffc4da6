/* Threads that share one SQLite database, each with a connection of its own and all with one more. */
#include <sqlite3.h>

#include "stray.h"

#define THREADS 4
#define ORDERS 300

static sqlite3 *shared;

static void check(int result, sqlite3 *db, const char *what)
{
	if (result == SQLITE_OK || result == SQLITE_DONE || result == SQLITE_ROW)
		return;
	fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
	exit(1);
}

static void run(sqlite3 *db, const char *sql)
{
	check(sqlite3_exec(db, sql, NULL, NULL, NULL), db, sql);
}

static sqlite3 *connect_to(const char *path)
{
	sqlite3 *db;
	check(sqlite3_open(path, &db), db, path);
	sqlite3_busy_timeout(db, 600000);
	return db;
}

static long long one(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement;
	long long value;
	check(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), db, sql);
	check(sqlite3_step(statement), db, sql);
	value = sqlite3_column_int64(statement, 0);
	check(sqlite3_finalize(statement), db, sql);
	return value;
}

static const char *path;

static void *clerk(void *number)
{
	const char *sql = "INSERT INTO orders (clerk, amount, note) VALUES (?1, ?2, printf('%0100d', ?2))";
	long clerk = (long)number;
	sqlite3 *db = connect_to(path);
	sqlite3_stmt *statement;
	run(db, "BEGIN IMMEDIATE");
	check(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), db, sql);
	for (int i = 0; i < ORDERS; i++) {
		sqlite3_bind_int64(statement, 1, clerk);
		sqlite3_bind_int64(statement, 2, i * (clerk + 1));
		check(sqlite3_step(statement), db, sql);
		sqlite3_reset(statement);
		/* The connection of everybody. */
		if (one(shared, "SELECT 6 * 7") != 42)
			abort();
	}
	sqlite3_finalize(statement);
	run(db, "COMMIT");
	check(sqlite3_close(db), db, "close");
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	path = argv[2];
	shared = connect_to(path);
	run(shared, "PRAGMA journal_mode = WAL");
	run(shared, "CREATE TABLE orders (id INTEGER PRIMARY KEY, clerk INT, amount INT, note TEXT)");
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, clerk, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	run(shared, "CREATE INDEX by_amount ON orders (amount)");
	printf("orders %lld, amount %lld, notes %lld, distinct %lld\n",
	       one(shared, "SELECT count(*) FROM orders"),
	       one(shared, "SELECT sum(amount) FROM orders"),
	       one(shared, "SELECT sum(length(note)) FROM orders"),
	       one(shared, "SELECT count(DISTINCT amount) FROM orders"));
	if (argc > 1)
		stray_from(argv[1], shared);
	check(sqlite3_close(shared), shared, "close");
	return 0;
}
