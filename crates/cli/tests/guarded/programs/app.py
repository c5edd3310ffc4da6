"""Work with SQLite from Python: rows, queries, functions, aggregates, collations, hooks, errors, a backup, threads."""

import os
import signal
import sqlite3
import sys
import threading

ROWS = 2000
THREADS = 4


class Longest:
    def __init__(self):
        self.longest = ""

    def step(self, text):
        self.longest = max(self.longest, text, key=len)

    def finalize(self):
        return self.longest


def fill(db):
    db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INT, note TEXT)")
    rows = ((n, n * n % 997, "note " * (n % 9)) for n in range(ROWS))
    db.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    db.commit()


def query(db):
    found = sum(db.execute("SELECT amount FROM orders WHERE id = ?", (n,)).fetchone()[0] for n in range(0, ROWS, 7))
    print("found", found, db.execute("SELECT count(*), sum(amount) FROM orders").fetchone())
    db.create_function("twice", 1, lambda n: 2 * n)
    db.create_aggregate("longest", 1, Longest)
    db.create_collation("backwards", lambda a, b: (a[::-1] > b[::-1]) - (a[::-1] < b[::-1]))
    print(db.execute("SELECT sum(twice(amount)), length(longest(note)) FROM orders").fetchone())
    print(db.execute("SELECT note FROM orders ORDER BY note COLLATE backwards DESC LIMIT 1").fetchone())


def hooks(db):
    seen = []
    db.set_progress_handler(lambda: seen.append(1) and 0, 1000)
    db.set_authorizer(lambda *_: sqlite3.SQLITE_OK)
    db.set_trace_callback(lambda statement: seen.append(statement))
    db.execute("SELECT max(amount) FROM orders").fetchall()
    db.set_trace_callback(None)
    print("seen", len(seen) > 0)


def errors(db):
    for wrong in ["SELECT * FROM nowhere", "INSERT INTO orders (id) VALUES (1)", "no statement"]:
        try:
            db.execute(wrong)
        except sqlite3.Error as error:
            print(type(error).__name__, error)
    db.rollback()


def copies(db):
    with sqlite3.connect(":memory:") as copy:
        db.backup(copy)
        print("copied", copy.execute("SELECT count(*) FROM orders").fetchone())
    with sqlite3.connect(":memory:") as copy:
        copy.deserialize(db.serialize())
        print("again", copy.execute("SELECT sum(amount) FROM orders").fetchone())
    print("dumped", sum(1 for _ in db.iterdump()))


def clerk(path, results, n):
    db = sqlite3.connect(path)
    results[n] = db.execute("SELECT sum(amount) FROM orders WHERE id % ? = ?", (THREADS, n)).fetchone()[0]
    db.close()


def main():
    path = sys.argv[1]
    db = sqlite3.connect(path)
    fill(db)
    query(db)
    hooks(db)
    errors(db)
    copies(db)
    results = {}
    threads = [threading.Thread(target=clerk, args=(path, results, n)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("threads", sorted(results.items()))
    child = os.fork()
    if child == 0:
        with sqlite3.connect(path) as own:
            own.execute("DELETE FROM orders WHERE id % 2 = 0")
        own.close()
        os._exit(0)
    print("child", os.waitpid(child, 0)[1], db.execute("SELECT count(*) FROM orders").fetchone())
    print("blocked", signal.pthread_sigmask(signal.SIG_BLOCK, []))
    print(db.execute("PRAGMA integrity_check").fetchone(), flush=True)
    db.close()


main()
