-- A flow in which :live customers wait, of whom :due are due: in one statement, as years of entries would leave it. Run again, they are due anew.
\if :{?made}
\else
INSERT INTO retention.contact (customer_id, email, email_consent, time_zone, properties)
  SELECT n::text, format('customer%s@example.com', n), true, (ARRAY['Europe/Warsaw', 'America/New_York'])[1 + n % 2], jsonb_build_object('first_name', 'Ann')
  FROM generate_series(1, :live) AS n;
SELECT retention.create_flow(jsonb_build_object('name', 'bench', 'trigger', '{"type": "manual"}'::jsonb, 'nodes', jsonb_build_array(
  '{"id": "before", "type": "delay", "for": "1 day", "next": "letter"}'::jsonb,
  jsonb_build_object('id', 'letter', 'type', 'message', 'channel', 'email', 'subject', 'We miss you, {{ person.first_name }}',
    'body', '<p>Dear {{ person.first_name|default:"friend" }},</p><p>' || repeat('We have not seen you for a while. ', 30) || '</p>{% if person.email %}<p>{{ person.email }}</p>{% endif %}',
    'next', 'after'),
  '{"id": "after", "type": "delay", "for": "3 days", "next": "end"}'::jsonb,
  '{"id": "end", "type": "exit"}'::jsonb)));
SELECT retention.publish('bench'), retention.set_status('bench', 'live');
INSERT INTO retention.enrollment (flow_id, node_id, is_holdout, entered_at, since, due_at, customer_id, event)
  SELECT n.flow_id, n.node_id, false, '2024-12-31', '2024-12-31', '2025-02-01', i::text, '{}' FROM retention.flow_node n, generate_series(1, :live) AS i WHERE n.node = 'before';
\endif
TRUNCATE retention.message, retention.last_message;
-- Those who are due are spread over all.
UPDATE retention.enrollment e SET node_id = n.node_id, since = '2024-12-31', due_at = timestamptz '2024-12-31 12:00+00' + s * interval '10 milliseconds'
  FROM retention.flow_node n, generate_series(0, :due - 1) AS s WHERE n.node = 'before' AND e.enrollment_id = 1 + s * (:live::bigint / :due);
VACUUM (ANALYZE) retention.enrollment;
VACUUM (ANALYZE) retention.contact;
