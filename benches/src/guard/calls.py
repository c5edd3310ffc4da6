# Many small calls: rows inserted one by one by a prepared statement, and a fifth as many queries by key.
import sqlite3
import sys

rows = int(sys.argv[1])
db = sqlite3.connect(":memory:")
db.execute("create table t (k integer primary key, a integer, b text, c real)")
cursor = db.cursor()
for k in range(rows):
    cursor.execute("insert into t values (?, ?, ?, ?)", (k, k * 7, "row %d" % k, k * 0.5))
db.commit()
total = 0
for k in range(rows // 5):
    total += cursor.execute("select a, b, c from t where k = ?", (k * 7919 % rows,)).fetchone()[0]
print(total)
