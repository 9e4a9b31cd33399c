-- Reads a file of orders, as shops export them, into a new table shop.orders; run it in the checkout:
--
--     psql -v file=orders.csv -f examples/import.sql shop
--
-- Where columns, dates or amounts are not recognised, the environment says what they are, as for
-- make demo: MAP='customer_id=Email' DATES=DMY psql ... See docs/order_files.md.

\set ON_ERROR_STOP on
\set SHOW_CONTEXT never
\if :{?file}
\else
  \echo 'Which file? psql -v file=orders.csv -f examples/import.sql shop'
  \quit
\endif

-- \copy knows no variables of psql, but the program's shell has the environment.
\setenv ORDERS :file

BEGIN;
-- What is wrong with the file is told first.
CREATE TEMPORARY TABLE read_orders (
  customer_id text, order_id text, ordered_at timestamptz, amount numeric, kind text) ON COMMIT DROP;
\copy read_orders FROM PROGRAM 'python3 scripts/read_orders.py "$ORDERS"' WITH (FORMAT csv, HEADER)
DO $$
BEGIN
  IF to_regclass('shop.orders') IS NOT NULL THEN
    RAISE EXCEPTION 'shop.orders is there already, in database "%"', current_database()
      USING ERRCODE = 'duplicate_table', HINT = 'If it is yours, it needs no import: SELECT retention.add_source(''shop.orders''). Else name another database after the file, or rename that table.';
  END IF;
END
$$;
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE shop.orders (
  customer_id text,
  order_id text,
  ordered_at timestamptz NOT NULL,
  amount numeric NOT NULL,
  kind text NOT NULL CHECK (kind IN ('order', 'refund'))
);
INSERT INTO shop.orders SELECT * FROM read_orders;
COMMIT;
