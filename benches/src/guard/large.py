# Few large calls: a handful of statements, each over all rows.
import sqlite3
import sys

rows = int(sys.argv[1])
db = sqlite3.connect(":memory:")
db.execute("create table t (k integer primary key, a integer, b text, c real)")
db.execute(
    "insert into t with recursive n (x) as (select 0 union all select x + 1 from n limit ?)"
    " select x, x * 7919 % 1000003, 'row ' || x, x * 0.5 from n",
    (rows,),
)
db.execute("create index by_a on t (a)")
db.execute("create table s as select a % 97 as g, count(*) as n, sum(c) as c from t group by g")
db.execute("update t set b = upper(b) where a % 3 = 0")
print(db.execute("select sum(a), count(distinct b), max(c) from t").fetchone()[0])
print(db.execute("select count(*) from t x join t y on x.a = y.a").fetchone()[0])
