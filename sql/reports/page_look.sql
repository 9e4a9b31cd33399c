-- Numbers, money, days and words as a reader of the page is used to them.

CREATE OR REPLACE FUNCTION retention._page_sign(escaped text, code text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN getdatabaseencoding() = 'UTF8' THEN ('"' || escaped || '"')::jsonb #>> '{}'
              ELSE code END
$$;
COMMENT ON FUNCTION retention._page_sign(text, text) IS
  'The sign of a currency, or its code where the database cannot have it.';

CREATE OR REPLACE FUNCTION retention._page_currency(language text, currency text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- %s is where the amount goes.
  SELECT CASE WHEN currency IS NULL THEN '%s'
              WHEN language = 'en' AND s.sign IS NOT NULL AND currency <> 'PLN' THEN s.sign || '%s'
              ELSE '%s' || chr(160) || replace(coalesce(s.sign, currency), '%', '%%') END
  FROM (SELECT CASE currency WHEN 'EUR' THEN retention._page_sign(E'\\u20ac', 'EUR')
                             WHEN 'GBP' THEN chr(163) WHEN 'USD' THEN '$'
                             WHEN 'PLN' THEN retention._page_sign(E'z\\u0142', 'PLN') END)
         AS s (sign)
$$;
COMMENT ON FUNCTION retention._page_currency(text, text) IS
  'Where a currency stands beside an amount, as a format.';

CREATE OR REPLACE FUNCTION retention._page_look(
    language text, currency text, time_zone text)
  RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  words jsonb;
BEGIN
  PERFORM retention._reject_unless(language IN ('en', 'pl', 'fr'),
    format('language %s is not known', coalesce('"' || language || '"', 'null')),
    'The page is written in en, pl and fr.');
  PERFORM retention._reject_unless(currency IS NULL OR length(currency) BETWEEN 1 AND 8,
    format('"%s" is no currency', left(currency, 40)),
    'A currency is a code such as EUR, or a sign; null: amounts have none.');
  SELECT jsonb_object_agg(w.name, ('"' || coalesce(CASE language WHEN 'pl' THEN w.polish
           WHEN 'fr' THEN w.french END, w.english) || '"')::jsonb)
    INTO words FROM retention._page_words() AS w;
  RETURN jsonb_build_object('language', language, 'zone', time_zone, 'words', words,
    'decimal', CASE language WHEN 'en' THEN '.' ELSE ',' END,
    'thousand', CASE language WHEN 'en' THEN ',' ELSE chr(160) END,
    'gap', CASE language WHEN 'en' THEN '' ELSE chr(160) END,
    'money', retention._page_currency(language, currency));
END
$$;
COMMENT ON FUNCTION retention._page_look(text, text, text) IS
  'How a page is written: its language, words, signs of numbers, currency and time zone.';

CREATE OR REPLACE FUNCTION retention._page_word(
    look jsonb, name text, VARIADIC given text[] DEFAULT '{}')
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN look -> 'words' ? name THEN format(look -> 'words' ->> name, VARIADIC given)
              ELSE name END
$$;
COMMENT ON FUNCTION retention._page_word(jsonb, text, text[]) IS
  'A word or sentence of the page with what it is about; what is no word of the page stays as it '
  'is.';

CREATE OR REPLACE FUNCTION retention._page_number(
    look jsonb, value numeric, digits integer DEFAULT 0)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(replace(replace(btrim(
           to_char(round(value, digits), 'FM999,999,999,999,999,999,990'
             || CASE WHEN digits > 0 THEN '.' || repeat('0', digits) ELSE '' END)),
           '.', 'D'), ',', look ->> 'thousand'), 'D', look ->> 'decimal')
$$;
COMMENT ON FUNCTION retention._page_number(jsonb, numeric, integer) IS
  'A number with so many digits behind the point.';

CREATE OR REPLACE FUNCTION retention._page_money(look jsonb, value numeric) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(look ->> 'money', retention._page_number(look, value,
           CASE WHEN abs(value) < 1000 AND value <> round(value) THEN 2 ELSE 0 END))
  WHERE value IS NOT NULL
$$;
COMMENT ON FUNCTION retention._page_money(jsonb, numeric) IS
  'An amount of money, without what does not matter in large ones.';

CREATE OR REPLACE FUNCTION retention._page_amount(look jsonb, value numeric, is_money boolean)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN is_money THEN retention._page_money(look, value)
              ELSE retention._page_number(look, value) END
$$;
COMMENT ON FUNCTION retention._page_amount(jsonb, numeric, boolean) IS
  'An amount of money, or a number of something else.';

CREATE OR REPLACE FUNCTION retention._page_percent(
    look jsonb, value numeric, digits integer DEFAULT 1)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._page_number(look, value, digits) || (look ->> 'gap') || '%'
$$;
COMMENT ON FUNCTION retention._page_percent(jsonb, numeric, integer) IS 'So many per cent.';

CREATE OR REPLACE FUNCTION retention._page_short(look jsonb, value double precision)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(trim_scale(round((value / s.size)::numeric, 2))::text, '.', look ->> 'decimal')
         || s.sign
  FROM (SELECT CASE WHEN abs(value) >= 1e6 THEN 1e6 WHEN abs(value) >= 1e4 THEN 1e3 ELSE 1 END,
               CASE WHEN abs(value) >= 1e6 THEN retention._page_word(look, 'million_sign')
                    WHEN abs(value) >= 1e4 THEN retention._page_word(look, 'thousand_sign')
                    ELSE '' END) AS s (size, sign)
$$;
COMMENT ON FUNCTION retention._page_short(jsonb, double precision) IS
  'A number as short as axes have it.';

CREATE OR REPLACE FUNCTION retention._page_unit(look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(' (' || nullif(btrim(replace(format(look ->> 'money', ''), chr(160), '')), '')
                  || ')', '')
$$;
COMMENT ON FUNCTION retention._page_unit(jsonb) IS 'The currency in brackets, if there is one.';

CREATE OR REPLACE FUNCTION retention._page_labels(
    look jsonb, scale retention.chart_scale, is_percent boolean DEFAULT false)
  RETURNS text[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(retention._page_short(look, t.value)
                   || CASE WHEN is_percent THEN (look ->> 'gap') || '%' ELSE '' END
                   ORDER BY t.number)
  FROM unnest(retention.chart_ticks(scale)) WITH ORDINALITY AS t (value, number)
$$;
COMMENT ON FUNCTION retention._page_labels(jsonb, retention.chart_scale, boolean) IS
  'What stands at the ticks of a scale.';

CREATE OR REPLACE FUNCTION retention._page_day(
    look jsonb, moment timestamp, form text DEFAULT 'day')
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE form WHEN 'day' THEN concat_ws(' ', extract(day FROM moment), m.name,
                                             extract(year FROM moment))
                   WHEN 'short' THEN concat_ws(' ', extract(day FROM moment), m.name)
                   WHEN 'month' THEN m.name || ' ' || extract(year FROM moment)
                   ELSE m.name END
  FROM (SELECT split_part(retention._page_word(look, 'months'), ' ',
                          extract(month FROM moment)::integer)) AS m (name)
$$;
COMMENT ON FUNCTION retention._page_day(jsonb, timestamp, text) IS
  'A day: with its year, "short", its "month", or the "name" of that.';

CREATE OR REPLACE FUNCTION retention._page_local(look jsonb, moment text) RETURNS timestamp
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT moment::timestamptz AT TIME ZONE (look ->> 'zone')
$$;
COMMENT ON FUNCTION retention._page_local(jsonb, text) IS
  'A moment of the document in the metric''s zone.';
