-- The first five minutes with retention, on a table shop.orders with the columns
-- order_id, customer_id, ordered_at, amount and kind ('order' or 'refund').

-- Which rows are orders, and which are refunds: two views of the table.
CREATE VIEW shop.purchases AS SELECT * FROM shop.orders WHERE kind = 'order';
CREATE VIEW shop.refunds AS SELECT * FROM shop.orders WHERE kind = 'refund';
SELECT retention.add_source('shop.purchases', order_id => 'order_id') AS purchases,
       retention.add_source('shop.refunds', order_id => 'order_id', kind => 'refund') AS refunds;

CALL retention.refresh();

\echo 'What was read, and what was skipped:'
SELECT rows_read, refund_rows, without_customer, customers_without_orders, inserted AS customers
FROM retention.population ORDER BY refresh_id DESC LIMIT 1;

\echo 'The thresholds that this refresh published:'
SELECT recency_limits, frequency_bounds, monetary_bounds
FROM retention.population ORDER BY refresh_id DESC LIMIT 1;

\echo 'The groups:'
SELECT rfm_group, count(*) AS customers,
       round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent,
       round(avg(historic_number_of_orders), 1) AS orders_each,
       round(avg(historic_clv), 2) AS revenue_each
FROM retention.profile
GROUP BY rfm_group ORDER BY revenue_each DESC;

\echo 'The five most valuable customers At Risk, and why they are:'
SELECT customer_id, historic_clv AS revenue, rfm_score, why.explanation
FROM (SELECT * FROM retention.at_risk ORDER BY historic_clv DESC, customer_id LIMIT 5) AS at_risk,
     LATERAL (SELECT string_agg(sentence, E'\n') AS explanation FROM retention.explain_score(customer_id)) AS why
ORDER BY revenue DESC, customer_id;

\echo 'The models that were fitted:'
SELECT (purchase).kind AS purchases, (spend).kind AS spend, (purchase).n AS customers, confidence FROM retention.published_model;

\echo 'Who stays, and what they are expected to bring in the next year:'
SELECT churn_risk, count(*) AS customers, round(avg(p_alive)::numeric, 2) AS p_alive,
       round(sum(predicted_number_of_orders)) AS orders_next_year,
       round(sum(predicted_clv)) AS revenue_next_year
FROM retention.profile GROUP BY churn_risk ORDER BY p_alive DESC;

\echo 'The five who are worth most, and when they are due back:'
SELECT customer_id, historic_clv, round(predicted_clv::numeric, 2) AS predicted_clv, (last_order_at AT TIME ZONE 'UTC')::date AS last_order,
       expected_date_of_next_order, next_order_latest, overdue
FROM retention.profile ORDER BY predicted_clv DESC, customer_id LIMIT 5;
