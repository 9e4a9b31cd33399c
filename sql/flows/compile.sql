-- Compiles a document's nodes to expressions.

CREATE OR REPLACE FUNCTION retention._literal(value text, type text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s::%s', quote_nullable(value), type)
$$;
COMMENT ON FUNCTION retention._literal(text, text) IS 'A constant of a type, for an expression.';

CREATE OR REPLACE FUNCTION retention._filled(template text, VARIADIC names_and_values text[])
  RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- In one pass: values may have braces of their own. A name without a value makes it null.
  SELECT CASE WHEN bool_and(n.name IS NULL OR v.value IS NOT NULL)
              THEN string_agg(piece || coalesce(v.value, ''), '' ORDER BY number) END
  FROM regexp_split_to_table(template, E'\\{\\w+\\}') WITH ORDINALITY AS p (piece, number)
  LEFT JOIN (SELECT m[1], o FROM regexp_matches(template, E'\\{(\\w+)\\}', 'g')
               WITH ORDINALITY AS r (m, o)) AS n (name, number) USING (number)
  LEFT JOIN (SELECT names_and_values[i], names_and_values[i + 1]
             FROM generate_series(1, cardinality(names_and_values), 2) AS i) AS v (name, value)
    USING (name)
$$;
COMMENT ON FUNCTION retention._filled(text, VARIADIC text[]) IS
  'A text of SQL with expressions in the place of their names in braces: names, and after each '
  'its expression.';

CREATE OR REPLACE FUNCTION retention._record(columns text[]) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN columns = '{}' THEN '''{}''::jsonb'
    ELSE format('(SELECT to_jsonb(v) FROM (SELECT %s) AS v)', array_to_string(columns, ', ')) END
$$;
COMMENT ON FUNCTION retention._record(text[]) IS
  'The expression for an object of these "expression AS name".';

CREATE OR REPLACE FUNCTION retention._named_expressions(expressions jsonb) RETURNS text[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(format(E'(\n%s\n) AS %I', value, key) ORDER BY key), '{}')
  FROM jsonb_each_text(coalesce(expressions, '{}'))
$$;
COMMENT ON FUNCTION retention._named_expressions(jsonb) IS
  'An object of expressions as a list for SELECT.';

CREATE OR REPLACE FUNCTION retention._person_record(names text[]) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._record(coalesce(array_agg(format('%s AS %I',
    CASE WHEN n IN ('customer_id', 'properties') THEN format('person.%I', n)
         WHEN c.origin = 'contact' THEN format('person.%I', n)
         WHEN c.origin = 'profile'
           THEN format('coalesce(person.properties -> %L, to_jsonb(person.%I))', n, n)
         ELSE format('person.properties -> %L', n) END, n) ORDER BY n), '{}'))
  FROM unnest(names) AS n LEFT JOIN retention._person_columns() c ON c.name = n
$$;
COMMENT ON FUNCTION retention._person_record(text[]) IS
  'The expression for what templates see as person, of the names that they use.';

CREATE OR REPLACE FUNCTION retention._context_expression(document jsonb, node jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH used AS MATERIALIZED (
    SELECT DISTINCT n.object, n.name
    FROM (VALUES ('subject'), ('body'), ('text'), ('url')) AS t (key),
         retention._template_names(node ->> t.key) AS n)
  SELECT retention._record(ARRAY(
    SELECT format('%s AS %I', part.expression, part.object)
    FROM (VALUES
      ('person', retention._person_record(ARRAY(SELECT name FROM used
                                                WHERE object = 'person' AND name IS NOT NULL))),
      ('event', 'person.event'),
      ('coupon',
       '(SELECT jsonb_build_object(''code'', c.code, ''expires_at'', c.expires_at) FROM '
       'retention.coupon c
                   WHERE c.enrollment_id = (person.traveller).enrollment_id
                    ORDER BY c.issued_at DESC, c.node DESC LIMIT 1)'),
      ('data', retention._record(retention._named_expressions(node -> 'data'))),
      ('flow', retention._literal(jsonb_build_object('name', document -> 'name')::text, 'jsonb')),
      ('message', retention._literal(jsonb_build_object('id', node -> 'id')::text,
                                     'jsonb'))) AS part (object, expression)
    WHERE part.object IN (SELECT object FROM used) ORDER BY part.object))
$$;
COMMENT ON FUNCTION retention._context_expression(jsonb, jsonb) IS
  'The expression for what a message''s templates see: no more than they use.';

CREATE OR REPLACE FUNCTION retention._reason_expression(document jsonb, node jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._filled($sql$
           CASE WHEN (person.traveller).is_holdout THEN 'holdout'
                WHEN (person.traveller).reason = 'draft' THEN 'draft'
                ELSE {unsendable} END$sql$,
    'unsendable', retention._unsendable(
      quote_literal(c.channel), coalesce('person.' || c.address, $x$'url'$x$),
      coalesce('person.' || c.consent, 'true'), coalesce(node ->> 'transactional', 'false'),
      '$3 > (person.traveller).due_at + '
        || retention._literal(coalesce(node ->> 'lateness', '1 day'), 'interval'),
      -- Looked up before, with the engine's rights, as what is a draft.
      $x$(person.traveller).reason IS NOT DISTINCT FROM 'suppression list'$x$))
  FROM retention._channels() c WHERE c.channel = node ->> 'channel'
$$;
COMMENT ON FUNCTION retention._reason_expression(jsonb, jsonb) IS
  'The expression for why somebody gets no message; null where they get it.';

CREATE OR REPLACE FUNCTION retention._address_expression(document jsonb, node jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN c.address IS NULL THEN 'NULL::text'
    ELSE format('retention._normal_address(%L, person.%I, %s)', c.channel, c.address,
                retention._country('person.country', coalesce(document ->> 'metric', 'orders')))
    END
  FROM retention._channels() c WHERE c.channel = node ->> 'channel'
$$;
COMMENT ON FUNCTION retention._address_expression(jsonb, jsonb) IS
  'The expression for where a message is sent.';

CREATE OR REPLACE FUNCTION retention._compile_message(
    document jsonb, node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  branch := '1';
  IF document ? 'quiet_hours' AND NOT coalesce((node -> 'transactional')::boolean, false) THEN
    due := retention._filled($sql$
           CASE WHEN made.payload ->> 'reason' IS NULL
                THEN retention._quiet_until($3, {from}, {until}, {zone}) END$sql$,
      'from', quote_literal(document #>> '{quiet_hours,from}'),
      'until', quote_literal(document #>> '{quiet_hours,until}'), 'zone', zone);
  END IF;
  payload := retention._filled($sql$
           (SELECT jsonb_build_object('reason', m.reason, 'address', {address},
                                      'context', CASE WHEN m.reason IS NULL THEN {context} END)
            FROM (SELECT {reason} AS reason OFFSET 0) AS m)$sql$,
    'address', retention._address_expression(document, node),
    'context', retention._context_expression(document, node),
    'reason', retention._reason_expression(document, node));
END
$$;
COMMENT ON FUNCTION retention._compile_message(jsonb, jsonb, text) IS
  'Compiles a message: why it may not be sent or what it is rendered with, and how long it waits '
  'for quiet hours to end.';

CREATE OR REPLACE FUNCTION retention._weekday_numbers(names jsonb) RETURNS integer[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(array_position(retention._weekdays(), e.element #>> '{}'))
  FROM retention._elements(names) AS e
$$;
COMMENT ON FUNCTION retention._weekday_numbers(jsonb) IS
  'Names of weekdays as numbers, 1 for Monday; null for none.';

CREATE OR REPLACE FUNCTION retention._compile_delay(
    node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment text := 'NULL::timestamptz';
BEGIN
  branch := '1';
  IF node ? 'until' THEN
    moment := format(E'retention._local_moment((\n%s\n), %s)', node ->> 'until', zone);
    payload := retention._filled($sql$
           CASE WHEN (person.traveller).since IS NULL
                THEN retention._moment_problem({moment}) END$sql$, 'moment', moment);
  END IF;
  -- Who has waited already goes on.
  due := retention._filled($sql$
           CASE WHEN (person.traveller).since IS NULL AND made.payload IS NULL
                THEN nullif(retention._delay_end($3, {for}, {moment}, {at}, {weekdays}, {zone}),
                            $3) END$sql$,
    'for', retention._literal(node ->> 'for', 'interval'), 'moment', moment,
    'at', retention._literal(node ->> 'at', 'time'), 'zone', zone,
    'weekdays', retention._literal(retention._weekday_numbers(node -> 'weekdays')::text,
                                   'integer[]'));
END
$$;
COMMENT ON FUNCTION retention._compile_delay(jsonb, text) IS 'Compiles a delay.';

CREATE OR REPLACE FUNCTION retention._compile_wait(
    node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wakes CONSTANT text := $sql$(made.payload = 'true'
                                AND (person.traveller).by_settings IS NOT TRUE)$sql$;
BEGIN
  branch := format('CASE WHEN %s THEN 1 ELSE 2 END', wakes);
  due := retention._filled($sql$
           retention._wait_end((person.traveller).since, (person.traveller).due_at, {wakes},
                               retention._add_local(person.since, {timeout}, {zone}), $3)$sql$,
    'wakes', wakes, 'timeout', retention._literal(node ->> 'timeout', 'interval'), 'zone', zone);
  payload := format(E'to_jsonb((\n%s\n) IS TRUE)', node ->> 'condition');
END
$$;
COMMENT ON FUNCTION retention._compile_wait(jsonb, text) IS
  'Compiles a wait_for: looked at again after a day, at the timeout, and when the customer '
  'changes.';

CREATE OR REPLACE FUNCTION retention._compile_split(node jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('CASE %s ELSE %s END', string_agg(format(E'WHEN (\n%s\n) THEN %s',
                                                         b.element ->> 'when', b.number + 1), ' '
                                                           ORDER BY b.number), count(*) + 1)
  FROM retention._elements(node -> 'branches') AS b
$$;
COMMENT ON FUNCTION retention._compile_split(jsonb) IS 'The expression for the branch of a split.';

CREATE OR REPLACE FUNCTION retention._compile_arms(flow text, node jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('(SELECT CASE %s END FROM retention.bucket(person.customer_id, %L) AS b)',
                string_agg(format('WHEN b < %s THEN %s', 100 * a.share, a.number + 1), ' '
                           ORDER BY a.number),
                flow || '/' || (node ->> 'id'))
  FROM (SELECT number, sum((element ->> 'share')::numeric) OVER (ORDER BY number) AS share
        FROM retention._elements(node -> 'arms')) AS a
$$;
COMMENT ON FUNCTION retention._compile_arms(text, jsonb) IS
  'The expression for the arm of a random split: always the same for a customer.';

CREATE OR REPLACE FUNCTION retention._compile_coupon(
    node jsonb, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- _issue_coupons has said who went without.
  SELECT format('CASE WHEN %s THEN 2 ELSE 1 END', went_without), NULL,
         CASE WHEN NOT node ? 'else'
           THEN format('CASE WHEN %s THEN ''{"outcome": "exhausted"}''::jsonb END',
                       went_without) END
  FROM (VALUES ('coalesce((person.traveller).reason = ''exhausted'', false)')) AS c (went_without)
$$;
COMMENT ON FUNCTION retention._compile_coupon(jsonb) IS
  'Compiles a coupon, which has been issued, where there was one, before the expressions are run.';

CREATE OR REPLACE FUNCTION retention._compile_node(
    document jsonb, node jsonb, zone text, OUT branch text, OUT due text,
    OUT payload text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  branch := '1';
  CASE node ->> 'type'
    WHEN 'message' THEN SELECT c.* INTO branch, due, payload
      FROM retention._compile_message(document, node, zone) AS c;
    WHEN 'delay' THEN SELECT c.* INTO branch, due, payload
      FROM retention._compile_delay(node, zone) AS c;
    WHEN 'wait_for' THEN SELECT c.* INTO branch, due, payload
      FROM retention._compile_wait(node, zone) AS c;
    WHEN 'coupon' THEN SELECT c.* INTO branch, due, payload
      FROM retention._compile_coupon(node) AS c;
    WHEN 'split' THEN branch := retention._compile_split(node);
    WHEN 'random_split' THEN branch := retention._compile_arms(document ->> 'name', node);
    WHEN 'set_property' THEN payload := format('jsonb_build_object(''set'', %s)',
      retention._record(retention._named_expressions(node -> 'set')));
    WHEN 'exit' THEN payload := retention._literal(jsonb_build_object('outcome',
        coalesce(node ->> 'outcome', 'completed'))::text, 'jsonb');
    WHEN 'enter_flow' THEN NULL;
  END CASE;
END
$$;
COMMENT ON FUNCTION retention._compile_node(jsonb, jsonb, text) IS
  'The expressions of a node: which branch a customer takes, until when it waits here, and what '
  'it hands on.';

CREATE OR REPLACE FUNCTION retention._flow_zone(document jsonb) RETURNS text
  LANGUAGE sql STABLE
  RETURN coalesce(document ->> 'time_zone', (SELECT m.time_zone FROM retention.metric m
                                             WHERE m.metric = coalesce(document ->> 'metric',
                                                 'orders')), 'UTC');
COMMENT ON FUNCTION retention._flow_zone(jsonb) IS 'The time zone of a flow.';
