-- What a flow is compiled to: laid out, and as it runs.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS retention;
SELECT retention.add_metric('orders');
SELECT retention.create_flow('{"name": "shown", "trigger": {"type": "manual"}, "entry_filter": "historic_clv > 10",
  "filter": "churn_risk <> ''low''", "exit": "historic_number_of_orders > (event ->> ''orders'')::integer",
  "nodes": [{"id": "wait", "type": "wait_for", "condition": "rfm_group = ''Champions''", "timeout": "3 days", "next": "hello", "else": "split"},
            {"id": "hello", "type": "message", "channel": "email", "subject": "Hello {{ person.properties.name|default:''you'' }}", "body": "We miss you", "next": "split"},
            {"id": "split", "type": "split", "branches": [{"when": "p_alive > 0.5", "next": "tag"}], "else": "pause"},
            {"id": "tag", "type": "set_property", "set": {"kept": "true"}, "next": "pause"},
            {"id": "pause", "type": "delay", "for": "1 day"}]}');
\set SHOW_CONTEXT never
SELECT * FROM retention.flow_plan('shown');
SELECT * FROM retention.flow_plan('nothing');
SELECT retention.publish('shown');
SELECT step, runs, cardinality(string_to_array(statement, E'\n')) > 5 AS in_lines, statement !~ E'\\n *\\n' AS dense FROM retention.flow_plan('shown');
\pset format unaligned
\pset tuples_only on
SELECT statement FROM retention.flow_plan('shown') WHERE step = 'split';
\pset format aligned
\pset tuples_only off
-- They can be run as they are shown.
DO $$
DECLARE
  shown record;
BEGIN
  FOR shown IN SELECT p.step, p.statement FROM retention.flow_plan('shown') AS p LOOP
    EXECUTE 'PREPARE shown (retention._traveller[], text[], timestamptz, integer[]) AS ' || shown.statement;
    EXECUTE 'EXECUTE shown (''{}'', ''{}'', ''2024-01-01'', ''{}'')';
    DEALLOCATE shown;
  END LOOP;
END $$;
DROP EXTENSION retention CASCADE;
