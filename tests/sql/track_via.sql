-- Tables that only know their order, tracked through it: whose rows changed is looked up when the changes are processed.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA via_test;
SET search_path = via_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-01 12:00+00';
SET retention.progress = off;
\set SHOW_CONTEXT never
\i tests/include/failure.sql

CREATE TABLE orders (id integer PRIMARY KEY, customer_id text, payer text, ordered_at date, amount numeric);
CREATE TABLE returns (order_id integer, returned_at date, amount numeric);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON returns (order_id);
CREATE VIEW returned AS SELECT o.customer_id, r.* FROM returns r JOIN orders o ON o.id = r.order_id;
INSERT INTO orders SELECT i, 'c' || i % 10, 'p' || i % 3, date '2024-01-01' + i, 10 FROM generate_series(1, 100) i;

-- What a table without a customer's key is told: before there is a source, and then.
SELECT * FROM failure($$SELECT retention.track('returns')$$);
SELECT * FROM failure($$SELECT retention.track('returns', via => 'orders')$$);
SELECT retention.add_source('orders', order_id => 'id') > 0 AS added;
SELECT retention.add_source('returned', ordered_at => 'returned_at', order_id => 'order_id', kind => 'refund') > 0 AS added;
CALL retention.refresh();
SELECT * FROM failure($$SELECT retention.track('returns')$$);
SELECT * FROM failure($$SELECT retention.track('returns', 'customer_id')$$);
SELECT * FROM failure($$SELECT retention.track('returns', order_id => 'order_id')$$);
SELECT * FROM failure($$SELECT retention.track('returns', via => 'orders', order_id => 'id')$$);
SELECT * FROM failure($$SELECT retention.track('returns', via => 'returned')$$);
SELECT * FROM failure($$SELECT retention.track('orders', via => 'orders', order_id => 'id')$$);
CREATE TABLE parcels (order_id uuid);
SELECT * FROM failure($$SELECT retention.track('parcels', via => 'orders')$$);
SELECT count(*) AS none FROM retention.tracked;

-- The orders themselves should be tracked, too.
SELECT retention.track('returns', via => 'orders');
SELECT retention.track('orders');
SELECT retention.track('returns', via => 'orders');
SELECT * FROM retention.tracked ORDER BY relation::text;

-- What was noted, what is found, and that a rebuild then finds nothing to change.
CREATE FUNCTION noted() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s', relation, coalesce(
           (SELECT string_agg(k, ' ' ORDER BY k COLLATE "C") FROM unnest(customer_ids) k),
           (SELECT 'orders ' || string_agg(format('"%s"', k), ' ' ORDER BY k COLLATE "C") FROM unnest(order_ids) k), '*')), ' | ' ORDER BY ctid)
  FROM retention.change_log
$$;
CREATE FUNCTION processed() RETURNS TABLE (customer_id text, orders bigint, revenue numeric) LANGUAGE plpgsql AS $$
DECLARE
  before text[] := ARRAY(SELECT c::text FROM retention.customer c WHERE metric = 'orders');
  wrong record;
BEGIN
  CALL retention.process_changes();
  RETURN QUERY SELECT c.customer_id, c.orders, c.revenue FROM retention.customer c
    WHERE metric = 'orders' AND c::text <> ALL (before) ORDER BY 1;
  CALL retention.refresh(full => true);
  SELECT inserted, updated, deleted INTO wrong FROM retention.population ORDER BY refresh_id DESC LIMIT 1;
  IF wrong IS DISTINCT FROM ROW (0::bigint, 0::bigint, 0::bigint) THEN
    RAISE WARNING 'a rebuild differs: %', wrong;
  END IF;
END $$;
SELECT retention.alter_metric('orders', thresholds => 'frozen');
CALL retention.refresh();

-- Insert; update, old and new; delete; COPY; nothing; an order that is not there.
INSERT INTO returns VALUES (1, '2024-02-01', 1), (11, '2024-02-01', 2), (2, '2024-02-01', 3), (NULL, '2024-02-01', 4);
SELECT noted();
SELECT * FROM processed();
UPDATE returns SET order_id = 3 WHERE order_id = 2;
SELECT noted();
SELECT * FROM processed();
DELETE FROM returns WHERE order_id = 11;
UPDATE returns SET amount = 5 WHERE order_id = 99;
COPY returns FROM STDIN (FORMAT csv);
4,2024-02-02,1
1000,2024-02-02,1
\.
SELECT noted();
SELECT * FROM processed();
INSERT INTO returns VALUES (1001, '2024-02-01', 1);
SELECT * FROM processed();
BEGIN;
INSERT INTO returns VALUES (5, '2024-02-01', 1);
ROLLBACK;
SELECT noted();

-- An order that comes together with its rows, after them or before; one that changes hands; one that gets another id.
BEGIN;
INSERT INTO returns VALUES (201, '2024-03-02', 1);
INSERT INTO orders VALUES (201, 'new 1', NULL, '2024-03-01', 10), (202, 'new 2', NULL, '2024-03-01', 20);
INSERT INTO returns VALUES (202, '2024-03-02', 2);
COMMIT;
SELECT noted();
SELECT * FROM processed();
BEGIN;
UPDATE returns SET amount = 3 WHERE order_id = 201;
UPDATE orders SET customer_id = 'c5' WHERE id = 201;
COMMIT;
SELECT * FROM processed();
BEGIN;
UPDATE orders SET id = 203 WHERE id = 201;
UPDATE returns SET order_id = 203 WHERE order_id = 201;
COMMIT;
SELECT * FROM processed();
-- An order that goes together with its rows, before them, after them, by a cascade: its own deletion tells of its customer.
BEGIN;
DELETE FROM orders WHERE id = 203;
DELETE FROM returns WHERE order_id = 203;
COMMIT;
SELECT noted();
SELECT * FROM processed();
BEGIN;
DELETE FROM returns WHERE order_id = 1;
DELETE FROM orders WHERE id = 1;
COMMIT;
SELECT * FROM processed();
DELETE FROM returns WHERE NOT EXISTS (SELECT FROM orders WHERE id = order_id);
ALTER TABLE returns ADD FOREIGN KEY (order_id) REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE;
DELETE FROM orders WHERE id = 3;
SELECT noted();
SELECT * FROM processed();
UPDATE orders SET id = 104 WHERE id = 4;
SELECT noted();
SELECT * FROM processed();
-- Rows that are changed, and orders that go before anything is processed.
UPDATE returns SET amount = 9 WHERE order_id = 104;
DELETE FROM orders WHERE id = 104;
SELECT * FROM processed();
INSERT INTO returns VALUES (5, '2024-02-01', 1);
TRUNCATE returns;
SELECT noted();
SELECT * FROM processed();

-- A writer needs no right on the orders, nor on anything of ours.
CREATE ROLE retention_via_writer;
GRANT USAGE ON SCHEMA via_test TO retention_via_writer;
GRANT INSERT ON returns TO retention_via_writer;
SET ROLE retention_via_writer;
INSERT INTO returns VALUES (6, '2024-02-01', 1);
SELECT count(*) FROM orders;
RESET ROLE;
SELECT * FROM processed();

-- Several sources of the same orders: customers by each, by payers too, and by what another column leads to.
SELECT retention.add_source('orders', 'payer', order_id => 'id', metric => retention.add_metric('payers')) > 0 AS added;
CALL retention.refresh('payers');
ALTER TABLE returns ADD replaced_by integer;
SELECT retention.track('returns', via => 'orders', order_id => 'replaced_by');
SELECT order_id_columns, via FROM retention.tracked WHERE relation = 'returns'::regclass;
UPDATE returns SET replaced_by = 8;
SELECT noted();
SELECT customer_ids, everything FROM retention._take_changes(100, retention.now());

-- Partitions, those made later when it is called again; what a subscription writes.
CREATE TABLE items (order_id bigint, day date) PARTITION BY RANGE (day);
CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
SELECT retention.track('items', via => 'orders');
CREATE TABLE items_2 PARTITION OF items FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
SELECT untracked_partitions FROM retention.tracked WHERE relation = 'items'::regclass;
SELECT retention.track('items');
INSERT INTO items VALUES (10, '2024-01-01'), (12, '2024-02-01');
INSERT INTO items_2 VALUES (13, '2024-02-01');
SET session_replication_role = replica;
INSERT INTO items VALUES (14, '2024-01-01');
UPDATE items SET order_id = 15 WHERE order_id = 14;
RESET session_replication_role;
SELECT noted();
SELECT customer_ids FROM retention._take_changes(100, retention.now());
SELECT retention.untrack('items');
SELECT count(*) AS triggers_left FROM pg_trigger WHERE tgrelid IN ('items'::regclass, 'items_1'::regclass, 'items_2'::regclass);

-- Ids of other types are found as the column of the orders has them; ids of any text are ids.
CREATE FUNCTION found_by(type text, order_type text, id text, known_id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  metric text;
  found text;
BEGIN
  metric := retention.add_metric('typed');
  EXECUTE format('CREATE TABLE typed_orders (id %s, customer_id text, ordered_at date, amount numeric)', order_type);
  EXECUTE format('CREATE TABLE typed_items (order_id %s)', type);
  PERFORM retention.add_source('typed_orders', order_id => 'id', metric => metric);
  EXECUTE format('INSERT INTO typed_orders VALUES (%L, ''their customer''), (NULL, ''nobody'')', known_id);
  PERFORM retention.track('typed_orders'), retention.track('typed_items', via => 'typed_orders');
  DELETE FROM retention.change_log;
  EXECUTE format('INSERT INTO typed_items VALUES (%L)', id);
  SELECT coalesce(customer_ids::text, '-') || CASE WHEN relations IS NULL THEN '' ELSE ', anything of ' || array_to_string(relations, ',') END
    INTO found FROM retention._take_changes(100, retention.now());
  PERFORM retention.drop_metric(metric);
  DROP TABLE typed_orders, typed_items;
  RETURN found;
EXCEPTION WHEN datatype_mismatch THEN
  RETURN sqlerrm;
END $$;
SELECT type, order_type, left(id, 12) AS id, left(known_id, 12) AS known_id, found_by(type, order_type, id, known_id) FROM (VALUES
  ('integer', 'bigint', '7', '7'), ('text', 'integer', '007', '7'), ('text', 'integer', 'none', '7'), ('integer', 'text', '7', '7'), ('text', 'text', '007', '7'),
  ('numeric', 'bigint', '7', '7'), ('uuid', 'uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
  ('text', 'uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('uuid', 'bigint', NULL, NULL), ('date', 'integer', NULL, NULL),
  ('numeric', 'numeric', '7.0', '7.00'), ('char(5)', 'char(9)', 'seven', 'seven'), ('text', 'text', '', ''), ('text', 'text', ' ', ' '), ('text', 'text', NULL, '7'),
  ('text', 'text', repeat('x', 2000), repeat('x', 2000)), ('text', 'text', repeat('x', 2001), repeat('x', 2001))) AS t (type, order_type, id, known_id);

-- The orders are read with the rights of the relation's owner, whoever tracks, writes and processes; who tracks must be able to read them.
CREATE ROLE retention_via_owner;
CREATE ROLE retention_via_admin;
SELECT retention.grant_access('retention_via_admin', 'admin');
GRANT USAGE, CREATE ON SCHEMA via_test TO retention_via_owner, retention_via_admin;
GRANT SELECT ON orders TO retention_via_owner;
SET ROLE retention_via_owner;
CREATE FUNCTION ran_as_owner() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF current_user <> 'retention_via_owner' THEN RAISE EXCEPTION 'read as %', current_user; END IF;
  RETURN true;
END $$;
CREATE VIEW own_orders AS SELECT *, CASE WHEN via_test.ran_as_owner() THEN 1 / (id - 50) END AS fails FROM via_test.orders;
RESET ROLE;
SELECT retention.add_source('own_orders', order_id => 'id', metric => retention.add_metric('own')) > 0 AS added;
SET ROLE retention_via_admin;
CREATE TABLE own_items (order_id integer);
SELECT * FROM failure($$SELECT retention.track('own_items', via => 'own_orders')$$);
RESET ROLE;
GRANT SELECT (id, customer_id) ON own_orders TO retention_via_admin;
SET ROLE retention_via_admin;
SELECT * FROM failure($$SELECT retention.track('returns', via => 'own_orders')$$);
SELECT retention.track('own_items', via => 'own_orders');
INSERT INTO own_items VALUES (51), (52);
RESET ROLE;
SELECT customer_ids FROM retention._take_changes(100, retention.now());
-- An order whose row cannot be read waits in the log, and stops no other one.
SET ROLE retention_via_owner;
CREATE OR REPLACE VIEW own_orders AS SELECT id, CASE WHEN via_test.ran_as_owner() AND 1 / (id - 50) = 0 THEN customer_id ELSE customer_id END AS customer_id,
  payer, ordered_at, amount, 1 AS fails FROM via_test.orders;
RESET ROLE;
INSERT INTO own_items SELECT generate_series(48, 55);
SELECT customer_ids FROM retention._take_changes(100, retention.now());
SELECT order_ids, relation, due_at - retention.now() AS due_in FROM retention.change_log;
SELECT customer_ids FROM retention._take_changes(100, retention.now());
DELETE FROM orders WHERE id = 50;
SELECT customer_ids FROM retention._take_changes(100, retention.now() + interval '1 minute');
SELECT noted();

-- Large tables of orders need an index; so does a table that is read by another column.
CREATE TABLE many AS SELECT i AS id, 'm' || i AS customer_id, date '2024-01-01' AS ordered_at, 1 AS amount FROM generate_series(1, 40000) i;
SELECT retention.add_source('many', order_id => 'id', metric => retention.add_metric('many')) > 0 AS added;
SELECT retention.track('many');
SELECT retention.track('items', via => 'many');
CREATE INDEX ON many (id);
SELECT retention.track('items', via => 'many');
CREATE TABLE by_uuid AS SELECT gen_random_uuid() AS id, * FROM (SELECT customer_id, ordered_at, amount FROM many) AS m;
CREATE INDEX ON by_uuid (id);
SELECT retention.add_source('by_uuid', order_id => 'id', metric => 'many') > 0 AS added;
SELECT retention.track('by_uuid'), retention.track('parcels', via => 'by_uuid');
-- So many orders at once, and more than are looked up by one query; beyond that everything is read.
INSERT INTO items SELECT i, '2024-01-01' FROM generate_series(1, 25000) i;
SELECT cardinality(customer_ids), everything FROM retention._take_changes(30000, retention.now());
INSERT INTO items SELECT i, '2024-01-01' FROM generate_series(1, 25000) i;
SELECT cardinality(customer_ids), everything FROM retention._take_changes(20000, retention.now());
SELECT retention.untrack('items'), retention.drop_metric('many');

-- The shop goes on when a column, or the source, is gone; everything is read, with a warning, until it is tracked again.
SELECT retention.drop_metric('payers'), retention.drop_metric('own'), retention.untrack('own_items');
ALTER TABLE returns RENAME order_id TO of_order;
ALTER VIEW returned RENAME order_id TO of_order;
INSERT INTO returns VALUES (7, '2024-02-01', 1);
SELECT noted();
BEGIN;
CALL retention.process_changes();
ROLLBACK;
SELECT retention.track('returns', via => 'orders', order_id => 'of_order');
SELECT order_id_columns, via FROM retention.tracked WHERE relation = 'returns'::regclass;
SELECT retention.drop_source(source_id) FROM retention.source WHERE kind = 'order';
INSERT INTO returns VALUES (7, '2024-02-01', 1);
SELECT customer_ids, everything FROM retention._take_changes(100, retention.now());
SELECT * FROM failure($$SELECT retention.track('returns')$$);
SELECT retention.add_source('orders', order_id => 'id') > 0 AS added;
INSERT INTO returns VALUES (7, '2024-02-01', 1);
SELECT customer_ids, everything FROM retention._take_changes(100, retention.now());

DROP OWNED BY retention_via_writer, retention_via_owner, retention_via_admin;
DROP ROLE retention_via_writer, retention_via_owner, retention_via_admin;
DROP EXTENSION retention;
SELECT count(*) AS triggers_left FROM pg_trigger WHERE tgname LIKE 'retention%';
SET client_min_messages = error;
DROP SCHEMA via_test CASCADE;
