-- The row that conditions and templates see of a customer.

CREATE OR REPLACE FUNCTION retention._person_columns() RETURNS TABLE (name name, origin text)
  LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT DISTINCT ON (attname) attname, CASE attrelid
    WHEN 'retention.profile'::regclass THEN 'profile' ELSE 'contact' END
  FROM pg_attribute
  WHERE attrelid IN ('retention.profile'::regclass, 'retention.contact'::regclass)
    AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('metric', 'customer_id', 'properties')
  ORDER BY attname, attrelid = 'retention.profile'::regclass;
END;
COMMENT ON FUNCTION retention._person_columns() IS
  'What expressions can use of a customer, besides properties.';

CREATE OR REPLACE FUNCTION retention._merge_properties(properties jsonb, changes jsonb)
  RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (coalesce(properties, '{}') || changes) - ARRAY(SELECT key FROM jsonb_each(changes)
                                                         WHERE value = 'null');
COMMENT ON FUNCTION retention._merge_properties(jsonb, jsonb) IS
  'Properties after some were set, or, by null, removed.';

CREATE OR REPLACE FUNCTION retention._profile_query(metric text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns text;
BEGIN
  IF NOT EXISTS (
    SELECT FROM retention.source s
    WHERE s.metric = _profile_query.metric AND s.kind = 'order' AND retention._has_days(s))
  THEN
    RETURN format(
      'SELECT * FROM retention.profile WHERE metric = %L AND customer_id = ANY ($2)', metric);
  END IF;
  SELECT string_agg(format(CASE WHEN attname IN ('first_order_at', 'last_order_at') THEN
           'CASE WHEN p.%1$I = c.last_order_at AND p.%1$I = date_trunc(''day'', p.%1$I, m.time_zone)
                 THEN retention._order_moment(p.%1$I, c.last_order_known_at, m.time_zone)
                 ELSE p.%1$I END AS %1$I'
           ELSE 'p.%I' END, attname), ', ' ORDER BY attnum) INTO columns
    FROM pg_attribute WHERE attrelid = 'retention.profile'::regclass AND attnum > 0;
  RETURN format('SELECT %s FROM retention.profile p
                 LEFT JOIN retention.customer c
                   ON (c.customer_id, c.metric) = (p.customer_id, p.metric)
                 LEFT JOIN retention.metric m ON m.metric = p.metric
                 WHERE p.metric = %L AND p.customer_id = ANY ($2)', columns, metric);
END
$$;
COMMENT ON FUNCTION retention._profile_query(text) IS
  'The query for the profiles, by a metric, of the customers $2. Where sources have dates only, '
  'orders are dated by when they became known, so that they can be compared with times.';

CREATE OR REPLACE FUNCTION retention._person_query(metric text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns text := (
    SELECT string_agg(c.line, E',\n           ' ORDER BY c.number)
    FROM (SELECT c.number / 3 AS number,
                 string_agg(format(CASE c.origin WHEN 'contact' THEN '(t.contact).%I'
                                   ELSE 'profile.%I' END, c.name), ', ' ORDER BY c.name) AS line
          FROM (SELECT *, row_number() OVER (ORDER BY name) + 2 AS number
                FROM retention._person_columns()) AS c
          GROUP BY c.number / 3) AS c);
BEGIN
  -- A unique key: the planner leaves the profile out where no expression uses it.
  RETURN format($query$(
    SELECT t AS traveller, t.customer_id, t.event, t.entered_at, coalesce(t.since, $3) AS since,
           %s,
           CASE WHEN t.properties IS NULL THEN coalesce((t.contact).properties, '{}')
                ELSE retention._merge_properties((t.contact).properties, t.properties)
           END AS properties
    FROM unnest($1::retention._traveller[]) AS t
    LEFT JOIN (%s) AS profile
      ON profile.customer_id = t.customer_id) AS person$query$,
    columns, retention._profile_query(metric));
END
$$;
COMMENT ON FUNCTION retention._person_query(text) IS
  'What expressions of flows read: a row "person" for each traveller of $1, whose customers are '
  '$2, as of $3.';
