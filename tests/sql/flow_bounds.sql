-- What gets in all the same: the engine's times have an end, its circles too, and one customer's odd value is that customer's alone.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA flow_bounds_test;
SET search_path = flow_bounds_test;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET retention.as_of = '2024-06-03 10:00+00';
SET statement_timeout = '60s';
\set SHOW_CONTEXT never
CREATE TABLE orders (order_id integer, customer_id text, ordered_at timestamptz, amount numeric);
INSERT INTO orders SELECT i, 'c' || i % 10, timestamptz '2024-06-01' - i * interval '5 days', 5 FROM generate_series(1, 40) i;
-- As old as a time can be.
INSERT INTO orders VALUES (99, 'c9', '4714-11-24 00:00 BC', 5);
SELECT retention.add_source('orders', order_id => 'order_id', events => true);
CALL retention.refresh();
INSERT INTO retention.contact (customer_id, email, email_consent) SELECT 'c' || i, format('c%s@example.com', i), true FROM generate_series(0, 19) i;
CREATE FUNCTION flow(name text, more jsonb, VARIADIC nodes jsonb[]) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('name', name, 'trigger', '{"type": "manual"}'::jsonb, 'nodes', to_jsonb(nodes)) || more
$$;
CREATE FUNCTION mail(id text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'type', 'message', 'channel', 'email', 'subject', 's', 'body', 'b', 'smart_sending', false) || more
$$;
CREATE FUNCTION go_live(document jsonb) RETURNS void LANGUAGE sql AS $$
  SELECT retention.publish(retention.create_flow(document));
  SELECT retention.set_status(document ->> 'name', 'live');
$$;
CREATE VIEW state AS SELECT flow, customer_id, node, due_at, outcome, reason FROM retention.flow_enrollment;

-- Every function of local times with everything that it can be given.
CREATE TEMP TABLE moment AS SELECT m::timestamptz AS at FROM unnest(ARRAY[NULL, '-infinity', 'infinity', '4714-11-24 00:00+00 BC', '4713-01-01 00:00+00 BC', '0001-01-01 00:00+00 BC', '0001-01-01 00:00+00',
  '0001-01-02 00:00+00', '1970-01-01 00:00+00', '2024-03-31 01:30+00', '9999-12-31 23:59:59+00', '10000-01-01 00:00+00', '294276-12-31 23:59:59.999999+00']) AS m;
CREATE TEMP TABLE span AS SELECT s::interval AS span FROM unnest(ARRAY[NULL, '0', '1 microsecond', '3 days', '-3 days', '1 month -40 days', '100 years', '-100 years', '10000 years', '-10000 years',
  '178956970 years 7 mons', '-178956970 years -8 mons', '2147483647 days', '-2147483648 days', '2562047788 hours', '-2562047788 hours', '178956970 years -2147483648 days']) AS s;
CREATE TEMP TABLE zone AS SELECT retention._zone(z, 'Europe/Warsaw') AS zone
  FROM unnest(ARRAY[NULL, 'UTC', 'Pacific/Apia', 'Etc/GMT+12', 'Pacific/Kiritimati', 'Mars/Base', '', repeat('x', 100000), '../../../etc/passwd', 'posixrules', '<+05>-5', 'EST5EDT4', '25:00']) AS z;
CREATE TEMP TABLE clock AS SELECT t::time AS local FROM unnest(ARRAY[NULL, '00:00', '02:30', '23:59:59.999999', '24:00']) AS t;
CREATE TEMP TABLE weekday AS SELECT w::integer[] AS days FROM unnest(ARRAY[NULL, '{}', '{1}', '{1,7}', '{9}', '{NULL}']) AS w;
SELECT count(*), count(retention._add_local(at, span, zone)) AS added, bool_and(isfinite(at) = isfinite(retention._add_local(at, span, zone))) AS as_finite FROM moment, span, zone;
SELECT count(*), count(retention._next_local(at, local, days, zone)) AS found, bool_and(retention._next_local(at, local, days, zone) >= at) AS later FROM moment, clock, weekday, zone;
SELECT count(*), count(retention._quiet_until(at, starts.local, ends.local, zone)) AS quiet, bool_and(retention._quiet_until(at, starts.local, ends.local, zone) >= at) AS later
  FROM moment, clock AS starts, clock AS ends, zone;
SELECT count(retention._local_moment(at, zone)), count(retention._local_moment(at::timestamp, zone)), count(retention._add_days(day.day, span)),
       count(retention._local_moment(day.day, zone)), bool_and(isfinite(retention._local_moment(day.day, zone)) = (day.day BETWEEN '0001-01-01' AND '9999-12-31')) AS as_finite
  FROM moment, span, zone, unnest('{-infinity,infinity,4714-11-24 BC,0001-12-31 BC,0001-01-01,2024-02-29,9999-12-31,10000-01-01,294277-01-01,5874897-12-31}'::date[]) AS day;
SELECT span, retention._span(span), timestamptz '0001-01-01 00:00+00' + retention._span(span) IS NOT NULL AND timestamptz '9999-12-31 00:00+00' + retention._span(span) IS NOT NULL AS can_be_added FROM span;

-- Delays until whatever a table says.
CREATE TABLE subscription (customer_id text, ends_on date, ends_at timestamptz);
INSERT INTO subscription VALUES ('c0', 'infinity', 'infinity'), ('c1', '-infinity', '-infinity'), ('c2', '5874897-12-31', '294276-12-31'), ('c3', '4714-11-24 BC', '4714-11-24 00:00 BC'),
  ('c4', NULL, NULL), ('c5', '2024-06-10', '2024-06-10 12:00+00'), ('c6', '9999-12-31', '9999-12-31 23:00+00');
SELECT go_live(flow('good', '{}', mail('m')));
SELECT go_live(flow(name, '{}', jsonb_build_object('id', 'd', 'type', 'delay', 'until', format('(SELECT s.%s FROM flow_bounds_test.subscription s WHERE s.customer_id = person.customer_id)', name), 'next', 'm') || more, mail('m')))
FROM (VALUES ('ends_on', '{"at": "10:00", "for": "100 years"}'::jsonb), ('ends_at', '{"weekdays": ["sunday"]}')) AS f (name, more);
SELECT count(*) FROM subscription, unnest('{ends_on,ends_at}'::text[]) AS name, retention.enroll(name, customer_id);
SELECT count(retention.enroll('good', customer_id)) FROM subscription;
CALL retention.run_flows();
SELECT * FROM state WHERE flow <> 'good' ORDER BY flow, customer_id;
SELECT count(*) AS good FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow = 'good' AND m.state = 'ready';

-- A trigger of dates that lead out of the calendar.
SELECT go_live(flow('before', '{"trigger": {"type": "date", "column": "first_order_at", "offset": "-3 days", "at": "12:00"}}', mail('m'))),
       go_live(flow('after', '{"trigger": {"type": "date", "column": "last_order_at", "offset": "1 month", "at": "12:00"}}', mail('m')));
SET retention.as_of = '2024-06-27 13:00+00';
UPDATE retention.flow SET fires_at = '2024-06-27 12:00+00' WHERE flow IN ('before', 'after');
CALL retention.run_flows();
SELECT * FROM state WHERE flow IN ('before', 'after');
SELECT flow, error FROM retention.flow WHERE error IS NOT NULL;
SET retention.as_of = '2024-07-03 10:00+00';

-- Intervals that got in.
SELECT go_live(flow('forged', '{"reentry": "1 day"}', mail('m', '{"lateness": "2 days", "smart_sending": "1 day"}')));
UPDATE retention.flow_version SET document = jsonb_set(document, '{reentry}', '"10000 years"') WHERE flow_id = (SELECT flow_id FROM retention.flow WHERE flow = 'forged');
UPDATE retention.flow_node SET config = config || '{"lateness": "10000 years", "smart_sending": "178000000 years"}' WHERE flow_id = (SELECT flow_id FROM retention.flow WHERE flow = 'forged');
SELECT go_live(flow('forged delay', '{}', '{"id": "d", "type": "delay", "for": "1 day", "next": "m"}', mail('m')));
UPDATE retention.flow_node SET due = replace(due, '1 day', '10000 years') WHERE node = 'd' AND due ~ '1 day';
SELECT count(retention.enroll(name, 'c9')) FROM unnest('{forged,forged,forged delay,good}'::text[]) AS name;
CALL retention.run_flows();
CALL retention.run_flows();
SELECT * FROM state WHERE flow ~ 'forged' OR customer_id = 'c9' ORDER BY flow;

-- Keys that got in: they cannot be written, and are left out.
INSERT INTO retention.flow_entry (flow_id, customer_id, event)
  SELECT f.flow_id, k, '{}' FROM retention.flow f, unnest(ARRAY[(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 150) i), repeat('k', 2001), '', ' ', 'c8']) AS k WHERE f.flow = 'good';
CALL retention.run_flows();
SELECT count(*) AS left_over FROM retention.flow_entry;
SELECT left(customer_id, 10) AS customer_id FROM state WHERE flow = 'good' ORDER BY customer_id COLLATE "C";

-- Circles that got in: of one flow, of two; and flows that enter others several times over.
SELECT go_live(flow('alone', '{}', mail('m', '{"next": "e"}'), '{"id": "e", "type": "enter_flow", "flow": "alone"}'));
SELECT go_live(flow('two', '{}', mail('m'))), go_live(flow('one', '{}', mail('m', '{"next": "e"}'), '{"id": "e", "type": "enter_flow", "flow": "two"}')),
       go_live(flow('two', '{}', mail('m', '{"next": "e"}'), '{"id": "e", "type": "enter_flow", "flow": "one"}'));
SELECT count(go_live(flow('fan ' || i, '{"concurrent": true, "reentry": "always"}', VARIADIC ARRAY(
    SELECT jsonb_build_object('id', 'e' || j, 'type', 'enter_flow', 'flow', CASE i WHEN 1 THEN 'good' ELSE 'fan ' || i - 1 END) || CASE WHEN j < 10 THEN jsonb_build_object('next', 'e' || j + 1) ELSE '{}' END
    FROM generate_series(1, 10) j)))) FROM generate_series(1, 6) i;
UPDATE retention.flow_version v SET document = document || '{"reentry": "always"}' FROM retention.flow f WHERE f.flow_id = v.flow_id AND f.flow IN ('alone', 'one', 'two');
SELECT retention.enroll('alone', 'c10'), retention.enroll('one', 'c11'), retention.enroll('fan 6', 'c12'), retention.enroll('good', 'c13');
CALL retention.run_flows();
SELECT flow, customer_id, outcome, reason, event ->> 'from_flow' AS from_flow, count(*) FROM retention.flow_enrollment WHERE customer_id IN ('c10', 'c11', 'c13') GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5;
SELECT flow, count(*) FROM retention.flow_enrollment WHERE customer_id = 'c12' GROUP BY 1 ORDER BY 1 DESC;
SELECT count(*) FROM retention.flow_entry;
-- Slowly they may go round.
SELECT go_live(flow('monthly', '{"reentry": "always"}', mail('m', '{"next": "d"}'), '{"id": "d", "type": "delay", "for": "1 month", "next": "e"}', '{"id": "e", "type": "enter_flow", "flow": "monthly"}'));
SELECT retention.enroll('monthly', 'c14');
CREATE PROCEDURE months(n integer) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 0 .. n LOOP
    CALL retention.tick(retention.now() + i * interval '1 month');
    CALL retention.tick(retention.now() + i * interval '1 month');
    CALL retention.tick(retention.now() + i * interval '1 month');
  END LOOP;
END $$;
CALL months(11);
SELECT outcome, count(*) FROM retention.flow_enrollment WHERE flow = 'monthly' GROUP BY 1;
-- Several orders at once bring a customer on as often.
SELECT go_live(flow('follow', '{"reentry": "always", "concurrent": true}', '{"id": "d", "type": "delay", "for": "1 day"}')),
       go_live(flow('order', '{"trigger": {"type": "order"}, "reentry": "always", "concurrent": true}', '{"id": "e", "type": "enter_flow", "flow": "follow"}'));
INSERT INTO orders SELECT 1000 + i, 'c1', '2024-07-03 10:00+00', 5 FROM generate_series(1, 20) i;
CALL retention.refresh();
CALL retention.run_flows();
SELECT flow, outcome, event ->> 'from_flow' AS from_flow, count(*) FROM retention.flow_enrollment WHERE flow IN ('order', 'follow') GROUP BY 1, 2, 3 ORDER BY 1;
DROP EXTENSION retention CASCADE;
DROP SCHEMA flow_bounds_test CASCADE;
