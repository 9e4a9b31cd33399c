-- What is forgotten here with a person.

CREATE OR REPLACE FUNCTION retention._persons_in_outbox()
  RETURNS TABLE (relation text, mirrors_orders boolean, forget text, merge text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('address_grant', false,
     $q$DELETE FROM retention.address_grant g USING retention.message m
        WHERE m.customer_id = $1 AND g.slot = retention._address_slot(m.flow_id, m.node, m.address)
          AND g.holder = retention._holder($1)$q$,
     $q$UPDATE retention.address_grant g SET holder = retention._holder($2) FROM retention.message m
        WHERE m.customer_id = $1 AND g.slot = retention._address_slot(m.flow_id, m.node, m.address)
          AND g.holder = retention._holder($1)$q$),
    ('message', false,
     $q$UPDATE retention.message SET customer_id = NULL, address = NULL, subject = NULL,
     body = NULL, text = NULL, context = NULL, last_error = NULL,
          state = CASE WHEN state IN ('held', 'ready', 'leased') THEN 'suppressed' ELSE state END,
          reason = CASE WHEN state IN ('held', 'ready', 'leased') THEN 'forgotten' ELSE reason END
            WHERE customer_id = $1$q$,
     'UPDATE retention.message SET customer_id = $2 WHERE customer_id = $1'),
    ('last_message', false, 'DELETE FROM retention.last_message WHERE customer_id = $1',
     $q$WITH gone AS (DELETE FROM retention.last_message WHERE customer_id = $1 RETURNING *)
        INSERT INTO retention.last_message AS l (customer_id, channel, queued_at, apart,
                                                 previous_at)
          SELECT $2, g.channel, g.queued_at, g.apart, g.previous_at FROM gone g
        ON CONFLICT (customer_id, channel) DO UPDATE
          SET queued_at = greatest(l.queued_at, excluded.queued_at),
              previous_at = least(l.queued_at, excluded.queued_at)$q$)
$$;
COMMENT ON FUNCTION retention._persons_in_outbox() IS
  'The tables of outbox that know customers, as _person_rooms has them.';
