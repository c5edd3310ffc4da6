CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INT, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO orders SELECT i, i * i % 997, printf('note %d', i) FROM n;
CREATE INDEX by_amount ON orders (amount);
SELECT count(*), sum(amount), max(note) FROM orders;
.mode box
SELECT amount, count(*) AS orders FROM orders GROUP BY amount ORDER BY 2 DESC, 1 LIMIT 3;
.mode json
SELECT * FROM orders WHERE id % 1000 = 0;
.schema
.tables
.mode csv
SELECT hex(randomblob(8)) = hex(zeroblob(8)), typeof(NULL), quote(x'00ff');
.mode insert other
SELECT * FROM orders WHERE id = 7;
UPDATE orders SET note = replace(note, 'note', 'text') WHERE id < 100;
.dump other
SELECT json_group_array(note) FROM (SELECT note FROM orders LIMIT 3);
DELETE FROM orders WHERE id > 2500;
VACUUM;
PRAGMA integrity_check;
