-- Placeholder: a few rows, so that scripts/demo.sh has something to load.
CREATE SCHEMA shop;
CREATE TABLE shop.orders (order_id text, customer_id text, ordered_at timestamptz, amount numeric, kind text DEFAULT 'order');
INSERT INTO shop.orders VALUES
    ('1', 'anna', '2024-01-05 10:00+00', 20.00),
    ('2', 'anna', '2024-03-05 10:00+00', 35.50),
    ('3', 'bert', '2024-02-11 18:30+00', 12.00);
