\set a random(1, 10)
\set b random(1, 10)
BEGIN;
INSERT INTO shop.tracked SELECT nextval('bench.hot'), :a, '2024-12-31', 1;
INSERT INTO shop.tracked SELECT nextval('bench.hot'), :b, '2024-12-31', 1;
UPDATE shop.tracked SET amount = amount + 1 WHERE order_id = currval('bench.hot');
COMMIT;
