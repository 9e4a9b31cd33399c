-- Reads a file of orders, as shops export them, into a new table shop.orders; run it in the checkout:
--
--     psql -v file=orders.csv -f examples/import.sql shop
--
-- Where columns, dates or amounts are not recognised, the environment says what they are, as for
-- make demo: MAP='customer_id=Email' DATES=DMY psql ... See docs/order_files.md.

\set ON_ERROR_STOP on
\if :{?file}
\else
  \echo 'Which file? psql -v file=orders.csv -f examples/import.sql shop'
  \quit
\endif

-- \copy knows no variables of psql, but the program's shell has the environment.
\setenv ORDERS :file

BEGIN;
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE shop.orders (
  customer_id text,
  order_id text,
  ordered_at timestamptz NOT NULL,
  amount numeric NOT NULL,
  kind text NOT NULL CHECK (kind IN ('order', 'refund'))
);
\copy shop.orders FROM PROGRAM 'python3 scripts/read_orders.py "$ORDERS"' WITH (FORMAT csv, HEADER)
COMMIT;
