-- A TRUNCATE, or a load that is under way, makes nobody leave: more loss than the metric's limit stops before anything is written.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA loss_test;
SET search_path = loss_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-01';
SET retention.progress = off;
SET client_min_messages = warning;
\set SHOW_CONTEXT never
\pset null '-'

CREATE TABLE orders (order_id serial, customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
CREATE TABLE more_orders (LIKE orders INCLUDING INDEXES);
INSERT INTO orders (customer_id, ordered_at, amount) SELECT i % 40, timestamptz '2024-01-01' + i * interval '1 day', i % 7 + 1 FROM generate_series(0, 119) i;
INSERT INTO more_orders SELECT i, 40 + i % 10, '2024-02-01', 5 FROM generate_series(1000, 1020) i;
CREATE TABLE kept AS TABLE orders;
SELECT retention.add_source('orders', order_id => 'order_id', events => true), retention.add_source('more_orders');
SELECT retention.add_metric('other'), retention.add_source('more_orders', metric => 'other');
SELECT retention.track('orders'), retention.track('more_orders');
-- As process_changes does some time later: what has failed is due again.
CREATE PROCEDURE process_later() LANGUAGE plpgsql AS $$
BEGIN UPDATE retention.change_log SET due_at = NULL; CALL retention.process_changes(); END $$;
-- The first refresh has nothing to lose.
CALL retention.refresh();
CALL retention.refresh('other');
CREATE VIEW everybody AS SELECT customer_id FROM retention.customer WHERE metric = 'orders';
SELECT retention.add_segment('everybody');

-- Whatever a refresh writes, and the settings, as text.
CREATE FUNCTION state(metric text) RETURNS text LANGUAGE sql AS $$
  SELECT md5(concat((SELECT string_agg(c::text, ' ' ORDER BY c.customer_id) FROM retention.customer c WHERE c.metric = state.metric),
    (SELECT string_agg(c::text, ' ' ORDER BY c.change_id) FROM retention.rfm_change c WHERE c.metric = state.metric),
    (SELECT string_agg((to_jsonb(p) - 'stale')::text, ' ' ORDER BY p.refresh_id) FROM retention.population p WHERE p.metric = state.metric),
    (SELECT string_agg(s::text, ' ' ORDER BY s.change_id) FROM retention.segment_change s), (SELECT string_agg(e::text, ' ' ORDER BY e.event_id) FROM retention.order_event e)))
$$;
CREATE TABLE before AS SELECT state('orders');

-- A nightly TRUNCATE and reload, with everything that may run in between.
TRUNCATE orders;
CALL retention.refresh();
\set VERBOSITY sqlstate
CALL retention.refresh(full => true);
\set VERBOSITY default
CALL retention.refresh_all();
INSERT INTO more_orders VALUES (2000, 60, '2024-02-01', 5);
CALL process_later();
SELECT state('orders') = b.state AS unchanged FROM before b;
SELECT metric, stale FROM retention.population p WHERE p = retention._last_refresh(metric) ORDER BY 1;
SELECT metric, count(*) FROM retention.customer GROUP BY 1 ORDER BY 1;
INSERT INTO orders TABLE kept;
CALL process_later();
SELECT state('orders') = b.state AS unchanged FROM before b;
CALL retention.refresh();
SELECT inserted, updated, deleted FROM retention.population WHERE metric = 'orders' ORDER BY refresh_id DESC LIMIT 1;
SELECT change, count(*) FROM retention.segment_change GROUP BY 1 ORDER BY 1;

-- The same by DELETE: whose changes wait until they are back.
UPDATE before SET state = state('orders');
DELETE FROM orders WHERE customer_id < 30;
DELETE FROM more_orders WHERE customer_id = 60;
CALL process_later();
SELECT state('orders') = b.state AS unchanged FROM before b;
SELECT metric, customer_id FROM retention.customer WHERE customer_id = '60';
SELECT cardinality(customer_ids) FROM retention.change_log;
CALL process_later();
INSERT INTO orders SELECT * FROM kept WHERE customer_id < 20;
CALL process_later();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
SELECT count(*) FROM retention.change_log;
INSERT INTO orders SELECT * FROM kept WHERE customer_id BETWEEN 20 AND 29;
CALL process_later();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
-- It is decided for all who have changed, and not for each batch of them; by whom there are now, and not at the last refresh.
SELECT retention.alter_metric('orders', loss_limit => 0.2);
INSERT INTO orders SELECT i, i, '2024-05-01', 1 FROM generate_series(10000, 35000) i;
CALL process_later();
DELETE FROM orders WHERE customer_id BETWEEN 20000 AND 25000;
CALL process_later();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
DELETE FROM orders WHERE customer_id BETWEEN 20000 AND 25008;
CALL process_later();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
DELETE FROM orders WHERE customer_id >= 10000;
CALL process_later();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
-- What was meant.
CALL retention.refresh(allow_loss => NULL);
CALL retention.refresh(allow_loss => true);
CALL process_later();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
SELECT count(*) FROM retention.change_log;

-- The limit.
SELECT retention.alter_metric('orders', loss_limit => 1.01);
SELECT retention.alter_metric('orders', loss_limit => 'NaN');
UPDATE retention.metric SET loss_limit = NULL;
SELECT retention.alter_metric('orders', loss_limit => 0);
DELETE FROM orders WHERE customer_id = 1;
CALL process_later();
CALL retention.refresh();
SELECT retention.alter_metric('orders', loss_limit => 1);
CALL process_later();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
SELECT retention.add_metric('strict', loss_limit => 0.1), retention.alter_metric('orders', loss_limit => 0.5);
SELECT metric, loss_limit FROM retention.metric ORDER BY 1;

-- Time takes no customer away, and what an admin asks for is no loss: another history, a source less.
SELECT retention.alter_metric('orders', history => '60 days');
CALL retention.refresh();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
INSERT INTO orders SELECT i, i, '2024-06-01', 1 FROM generate_series(100, 129) i;
CALL retention.refresh();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
SET retention.as_of = '2024-07-31';
CALL retention.refresh();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
SET retention.as_of = '2024-08-02';
CALL retention.refresh();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
UPDATE retention.metric SET history = NULL WHERE metric = 'orders';
CALL retention.refresh();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
SELECT retention.drop_source(source_id) FROM retention.source WHERE metric = 'orders' AND relation = 'orders'::regclass;
CALL retention.refresh();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
-- Fewer than 20 customers may all go; after a reset there is nobody to lose.
TRUNCATE more_orders;
CALL process_later();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';
INSERT INTO more_orders TABLE kept;
CALL retention.refresh();
TRUNCATE more_orders;
CALL retention.refresh();
SELECT retention.reset_metric('orders');
CALL retention.refresh();
SELECT count(*) FROM retention.customer WHERE metric = 'orders';

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA loss_test CASCADE;
