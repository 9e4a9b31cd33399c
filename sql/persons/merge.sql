-- Makes two customers one.

CREATE OR REPLACE FUNCTION retention._merged_consent(
    ours boolean, theirs boolean, our_address text, their_address text)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  -- A no wins. A yes goes with the address that it was given for.
  RETURN CASE WHEN ours IS FALSE OR theirs IS FALSE THEN false
              WHEN our_address IS NULL OR our_address = their_address THEN coalesce(ours, theirs)
              ELSE ours END;
COMMENT ON FUNCTION retention._merged_consent(boolean, boolean, text, text) IS
  'The stricter of two consents; the addresses are normal ones.';

CREATE OR REPLACE FUNCTION retention._merge_contacts("from" text, "into" text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  theirs retention.contact;
  known bigint := coalesce((SELECT max(c.change_id) FROM retention.consent_change c
                            WHERE c.customer_id = "from"), 0);
BEGIN
  DELETE FROM retention.contact c WHERE c.customer_id = "from" RETURNING c.* INTO theirs;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  -- It goes on with the other one.
  DELETE FROM retention.consent_change c WHERE c.customer_id = "from" AND c.change_id > known;
  theirs.customer_id := "into";
  INSERT INTO retention.contact AS c SELECT (theirs).*
    ON CONFLICT (customer_id) DO UPDATE SET
      email_consent = retention._merged_consent(c.email_consent, theirs.email_consent,
                                                retention._normal_address('email', c.email, NULL),
                                                retention._normal_address('email', theirs.email,
                                                    NULL)),
      sms_consent = retention._merged_consent(c.sms_consent, theirs.sms_consent,
                                              retention._normal_address('sms', c.phone, c.country),
                                              retention._normal_address('sms', theirs.phone,
                                                  theirs.country)),
      push_consent = retention._merged_consent(c.push_consent, theirs.push_consent, c.push_token,
                                               theirs.push_token),
      email = coalesce(c.email, theirs.email), phone = coalesce(c.phone, theirs.phone),
      push_token = coalesce(c.push_token, theirs.push_token),
      country = CASE WHEN c.phone IS NULL THEN coalesce(theirs.country, c.country) ELSE c.country
        END,
      time_zone = coalesce(c.time_zone, theirs.time_zone),
      locale = coalesce(c.locale, theirs.locale), properties = theirs.properties || c.properties;
  RETURN 1;
END
$$;
COMMENT ON FUNCTION retention._merge_contacts(text, text) IS
  'Fills what one contact lacks from another, which it removes; the stricter consent holds.';

CREATE OR REPLACE FUNCTION retention._end_doubles(customer_id text) RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  ended bigint[];
BEGIN
  WITH double AS (
    SELECT e.enrollment_id, row_number() OVER (PARTITION BY e.flow_id
                                               ORDER BY e.entered_at, e.enrollment_id) AS number
    FROM retention.enrollment e JOIN retention.flow f USING (flow_id)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (f.flow_id, f.version)
    WHERE e.customer_id = _end_doubles.customer_id AND e.due_at IS NOT NULL
      AND NOT coalesce((v.document -> 'concurrent')::boolean, false)),
  changed AS (
    UPDATE retention.enrollment e SET due_at = NULL, finished_at = retention.now(),
        outcome = 'merged'
    FROM double d WHERE e.enrollment_id = d.enrollment_id AND d.number > 1
    RETURNING e.enrollment_id)
  SELECT array_agg(c.enrollment_id) INTO ended FROM changed c;
  UPDATE retention.message m SET state = 'suppressed', reason = 'merged'
  WHERE m.enrollment_id = ANY (ended) AND m.state IN ('held', 'ready');
  PERFORM retention._return_coupons(ended);
  RETURN ended;
END
$$;
COMMENT ON FUNCTION retention._end_doubles(text) IS
  'Of several enrollments that run in a flow, ends all but the first, and what they would have '
  'sent.';

CREATE OR REPLACE FUNCTION retention.merge_customers("from" text, "into" text)
  RETURNS TABLE (relation text, rows bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moved record;
BEGIN
  PERFORM retention._reject_unless("from" <> '' AND "into" <> '',
                                   'the keys to merge must not be null or empty', '',
                                   'null_value_not_allowed');
  PERFORM retention._reject_unless("from" <> "into",
                                   format('customer "%s" cannot be merged into itself', "into"),
                                   'from is the key that is given up, into the one that stays.');
  PERFORM retention._lock_persons();
  relation := 'contact';
  rows := retention._merge_contacts("from", "into");
  IF rows > 0 THEN
    RETURN NEXT;
  END IF;
  -- What became known twice, as the orders had moved already, is kept once.
  DELETE FROM retention.order_event e USING retention.order_event k
    WHERE e.customer_id = "from" AND k.customer_id = "into"
      AND (k.source_id, k.kind, k.order_id) = (e.source_id, e.kind, e.order_id)
      AND (e.kind = 'order' OR k.occurred_at = e.occurred_at);
  FOR moved IN SELECT t.* FROM retention._take_over_person(false, false, "from", "into") AS t LOOP
    relation := moved.relation;
    rows := moved.rows;
    RETURN NEXT;
  END LOOP;
  PERFORM retention._end_doubles("into");
  IF rows = 0 AND relation = 'contact' AND NOT EXISTS (SELECT FROM retention.merged_customer m
                                                       WHERE m.customer_id = "from")
     AND NOT EXISTS (SELECT FROM retention.customer c WHERE c.customer_id = "from") THEN
    RAISE NOTICE 'nothing is known of customer "%"', "from"
      USING HINT = 'From now on it is taken for the other one.';
  END IF;
  DELETE FROM retention.merged_customer m WHERE m.customer_id = "into";
  UPDATE retention.merged_customer m SET merged_into = "into" WHERE m.merged_into = "from";
  INSERT INTO retention.merged_customer VALUES ("from", "into", retention.now())
    ON CONFLICT ON CONSTRAINT merged_customer_pkey DO UPDATE SET merged_into = excluded.merged_into;
  PERFORM retention._note_changed(ARRAY["into"]);
END
$$;
COMMENT ON FUNCTION retention.merge_customers(text, text) IS
  'Says that two keys are one person: what is known of the first becomes the second''s, nothing '
  'of it is news, and whatever still comes under the first key is taken for the second''s. Orders '
  'follow by the shop''s own UPDATE, before or after. Returns how many rows of which tables.';
