-- Counts the rows that only one of two queries has, duplicates as well, and warns of the least of
-- them. NULL where neither has any row, for then nothing was compared. To be run by
-- \i tests/include/differs.sql
CREATE FUNCTION differs(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  found record;
BEGIN
  EXECUTE format($query$
    WITH a AS MATERIALIZED (%s), b AS MATERIALIZED (%s),
      difference AS (
        SELECT 'only the first' AS which, d::text AS row FROM (TABLE a EXCEPT ALL TABLE b) AS d
        UNION ALL
        SELECT 'only the second', d::text FROM (TABLE b EXCEPT ALL TABLE a) AS d)
    SELECT count(*) AS rows, min(concat_ws(' has ', which, row)) AS least,
           EXISTS (TABLE a) OR EXISTS (TABLE b) AS compared
    FROM difference $query$, a, b) INTO found;
  IF found.rows > 0 THEN
    RAISE WARNING '%', found.least;
  END IF;
  RETURN CASE WHEN found.compared THEN found.rows END;
END $$;
