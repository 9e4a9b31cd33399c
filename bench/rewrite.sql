-- Tables like retention.customer, filled by so many per cent, and a change of every customer's score, for bench/run.
CREATE TABLE bench.change AS
  SELECT customer_id, orders, purchase_days, first_order_at, last_order_at, revenue, repeat_value, average_order_value,
         average_days_between_orders, days_between_orders_sd, (4 - r)::smallint AS r, f, m, rfm_group,
         r AS previous_r, f AS previous_f, m AS previous_m, rfm_group AS previous_rfm_group, 'settings' AS cause
  FROM retention.customer ORDER BY customer_id;
ANALYZE bench.change;

SELECT format('CREATE TABLE bench.update_%1$s (LIKE retention.customer INCLUDING ALL) WITH (fillfactor = %1$s)', fill),
       format('INSERT INTO bench.update_%s SELECT * FROM retention.customer ORDER BY customer_id', fill)
FROM unnest('{100,90,50}'::integer[]) AS fill
\gexec

CREATE FUNCTION bench.update_all(state regclass) RETURNS bigint LANGUAGE sql AS $$
  SELECT (retention._apply(m, NULL, retention.now(), state, 'SELECT * FROM bench.change')).updated FROM retention.metric AS m
$$;
