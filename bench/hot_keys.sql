\set a random(1, 10)
\set b random(1, 10)
BEGIN;
INSERT INTO shop.tracked SELECT nextval('bench.hot'), :a, '2024-12-31', 1;
INSERT INTO shop.tracked SELECT nextval('bench.hot'), :b, '2024-12-31', 1;
INSERT INTO shop.tracked SELECT nextval('bench.hot'), 11 - :a, '2024-12-31', 1;
COMMIT;
