-- What flows need besides orders, made up for the simulated shop, and a way to let its time pass. The clock of this
-- session is set to 1 November 2024, three in the night: orders from then on are yet to come.
SET retention.as_of = '2024-11-01 03:00Z';

CREATE TABLE shop.orders_to_come AS SELECT * FROM shop.orders WHERE ordered_at > retention.now();
DELETE FROM shop.orders WHERE ordered_at > retention.now();
CREATE INDEX ON shop.orders (customer_id);
CREATE INDEX ON shop.orders (order_id);

CREATE TABLE shop.products (
  product_id text PRIMARY KEY,
  name       text NOT NULL,
  price      numeric NOT NULL,
  number     integer GENERATED ALWAYS AS IDENTITY (MINVALUE 0)
);
INSERT INTO shop.products (product_id, name, price) VALUES
  ('assam', 'Assam', 8.90), ('sencha', 'Sencha', 11.50), ('earl-grey', 'Earl Grey', 7.90), ('rooibos', 'Rooibos', 6.50),
  ('mint', 'Peppermint', 4.90), ('chai', 'Chai', 9.20), ('oolong', 'Oolong', 13.40), ('espresso', 'Espresso beans', 12.80),
  ('filter', 'Filter coffee', 10.90), ('cocoa', 'Cocoa', 8.40), ('teapot', 'Teapot', 34.00), ('cups', 'Two cups', 19.00),
  ('strainer', 'Tea strainer', 9.50), ('tin', 'Tea tin', 12.00), ('grinder', 'Coffee grinder', 49.00), ('honey', 'Honey', 6.80),
  ('biscuits', 'Biscuits', 5.20), ('kettle', 'Kettle', 44.00), ('moka', 'Moka pot', 29.00), ('whisk', 'Milk whisk', 14.00);

-- One to three products for each order.
CREATE VIEW shop.order_lines AS
  SELECT o.order_id, o.customer_id, p.product_id, p.name, 1 + retention.bucket(o.order_id, p.product_id) % 2 AS quantity
  FROM shop.orders o
  JOIN LATERAL (SELECT DISTINCT (retention.bucket(o.order_id, n::text) ^ 2 / 5000000)::integer AS number FROM generate_series(0, retention.bucket(o.order_id, 'lines') % 3) AS n) AS chosen ON true
  JOIN shop.products p USING (number)
  WHERE o.kind = 'order';

-- To each customer, what goes with the products that they have bought: here the next three in the list.
CREATE VIEW shop.cross_sell AS
  SELECT l.customer_id, p.product_id, p.name, p.price, 'https://shop.example.com/products/' || p.product_id AS url,
         row_number() OVER (PARTITION BY l.customer_id ORDER BY count(*) DESC, p.product_id) AS rank
  FROM shop.order_lines l
  JOIN shop.products b USING (product_id)
  JOIN shop.products p ON (p.number - b.number + 20) % 20 BETWEEN 1 AND 3
  GROUP BY l.customer_id, p.product_id;

INSERT INTO retention.contact (customer_id, email, time_zone, locale, email_consent, properties)
  SELECT id::text, format('customer%s@example.com', id),
         ('{Europe/Warsaw,Europe/London,America/New_York,NULL}'::text[])[1 + retention.bucket(id::text, 'zone') % 4], 'en',
         retention.bucket(id::text, 'consent') < 8500,
         jsonb_build_object('first_name', ('{Ada,Ben,Cleo,Dan,Eva,Finn,Gia,Hugo}'::text[])[1 + retention.bucket(id::text, 'name') % 8])
  FROM generate_series(1, 10000) AS id;

-- Lets time pass, step by step, and does what jobs do: the orders of each step come in and are processed, flows run, and a sender
-- sends what is ready; after three in the night there is a refresh. This share of the messages is followed by an order a day later.
CREATE PROCEDURE shop.pass(duration interval, step interval DEFAULT '6 hours', answered numeric DEFAULT 0)
  LANGUAGE plpgsql
AS $$
DECLARE
  at timestamptz := retention.now();
  until timestamptz := at + duration;
  claimed bigint[];
BEGIN
  WHILE at < until LOOP
    at := at + step;
    PERFORM set_config('retention.as_of', at::text, false);
    WITH come AS (DELETE FROM shop.orders_to_come WHERE ordered_at <= at RETURNING *)
    INSERT INTO shop.orders SELECT * FROM come ORDER BY ordered_at;
    IF date_trunc('day', at - interval '3 hours') > date_trunc('day', at - step - interval '3 hours') THEN
      -- Not told each night what it did.
      PERFORM set_config('retention.progress', 'off', true);
      CALL retention.refresh();
    ELSE
      CALL retention.process_changes();
    END IF;
    CALL retention.run_flows();
    claimed := ARRAY(SELECT m.message_id FROM retention.claim_messages('email', 10000) AS m);
    PERFORM retention.ack(claimed);
    INSERT INTO shop.orders_to_come
      SELECT 'answer-' || m.idempotency_key, m.customer_id, at + interval '1 day', 25, 'order'
      FROM retention.message m WHERE m.message_id = ANY (claimed) AND retention.bucket(m.customer_id, m.node || at::date) < 10000 * answered;
  END LOOP;
END
$$;
