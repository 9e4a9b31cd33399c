-- Every customer written anew, as much as a table that is swapped in would take.
CREATE TABLE bench.new_customer (LIKE retention.customer INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE);
INSERT INTO bench.new_customer
  SELECT c.metric, n.customer_id, n.orders, n.purchase_days, n.first_order_at, n.last_order_at, n.revenue, n.repeat_value, n.average_order_value,
         n.average_days_between_orders, n.days_between_orders_sd, n.r, n.f, n.m, n.rfm_group, c.rfm_group, retention.now()
  FROM bench.change n LEFT JOIN retention.customer c ON c.customer_id = n.customer_id AND c.metric = 'orders';
ALTER TABLE bench.new_customer ADD PRIMARY KEY (customer_id, metric);
CREATE INDEX ON bench.new_customer (last_order_at);
