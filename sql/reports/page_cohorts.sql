-- The page's cohort map.

CREATE OR REPLACE FUNCTION retention._page_cohort_rows(document jsonb)
  RETURNS TABLE (cohort date, size numeric, age integer, percent double precision,
                 is_complete boolean)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.cohort, c.cohort_size, c.age, c.percent, c.is_complete
  FROM (SELECT r.*, dense_rank() OVER (ORDER BY r.cohort DESC) AS place
        FROM jsonb_to_recordset(document #> '{sections,cohorts,period}') AS r (
          cohort date, cohort_size numeric, age integer, percent double precision,
          is_complete boolean, by_value text)
        WHERE r.by_value IS NULL) AS c
  WHERE c.place <= 13 AND c.age BETWEEN 0 AND 12
$$;
COMMENT ON FUNCTION retention._page_cohort_rows(jsonb) IS
  'The cohorts of the last year, with how many came back how much later.';

CREATE OR REPLACE FUNCTION retention._page_cohort_lines(document jsonb, look jsonb)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH r AS MATERIALIZED (SELECT * FROM retention._page_cohort_rows(document)),
  bound AS (SELECT least(min(percent), 0) AS low, max(percent) AS high
            FROM r WHERE age > 0 AND is_complete)
  SELECT string_agg(l.line, '' ORDER BY l.cohort)
  FROM (SELECT r.cohort, format('<tr><th scope="row">%s</th><td class="size">%s</td>%s</tr>',
          retention.html_text(retention._page_day(look, r.cohort, 'month')),
          retention._page_number(look, max(r.size)),
          string_agg(format('<td class="h%s%s">%s</td>',
            retention.chart_shade(r.percent, b.low, b.high),
            CASE WHEN r.is_complete THEN '' ELSE ' partial' END,
            retention._page_number(look, r.percent::numeric)), '' ORDER BY r.age)
            FILTER (WHERE r.age > 0 AND (r.is_complete OR r.percent > 0))) AS line
        FROM r, bound b GROUP BY r.cohort
        HAVING count(*) FILTER (WHERE r.age > 0 AND (r.is_complete OR r.percent > 0)) > 0) AS l
$$;
COMMENT ON FUNCTION retention._page_cohort_lines(jsonb, jsonb) IS 'The lines of the cohort map.';

CREATE OR REPLACE FUNCTION retention._page_cohorts(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._page_figure(look,
    retention._page_word(look, 'cohorts_finding', retention._page_percent(look,
      round((sum(r.size * r.percent) FILTER (WHERE r.age = 1 AND r.is_complete)
             / nullif(sum(r.size) FILTER (WHERE r.age = 1 AND r.is_complete), 0))::numeric, 1))),
    retention._page_word(look, 'cohorts_note'),
    format('<table class="map"><caption class="hidden">%s</caption><thead><tr>'
           '<th scope="col">%s</th><th scope="col" class="size">%s</th>%s</tr></thead>'
           '<tbody>%s</tbody></table>',
           retention.html_text(retention._page_word(look, 'cohorts_note')),
           retention.html_text(retention._page_word(look, 'first_order_in')),
           retention.html_text(retention._page_word(look, 'customers')),
           (SELECT string_agg(format('<th scope="col">%s</th>', n), '' ORDER BY n)
            FROM generate_series(1, max(r.age) FILTER (WHERE r.is_complete OR r.percent > 0)) AS n),
           retention._page_cohort_lines(document, look)), NULL, NULL, 'wide')
  FROM retention._page_cohort_rows(document) AS r
  HAVING count(*) FILTER (WHERE r.age = 1 AND r.is_complete) > 0
$$;
COMMENT ON FUNCTION retention._page_cohorts(jsonb, jsonb) IS
  'Who came back how many months after the first order, as a table in shades.';
