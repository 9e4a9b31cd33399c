-- What all sections of the page are made of: figures with their data, tables, tiles, legends.

CREATE OR REPLACE FUNCTION retention._page_table(
    look jsonb, heads text[], rows jsonb, class text DEFAULT '')
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<div class="scroll" tabindex="0" role="group" aria-label="%s"><table class="%s">'
                '<thead><tr>%s</tr></thead><tbody>%s</tbody></table></div>',
    retention.html_text(retention._page_word(look, 'data')), class,
    (SELECT string_agg(format('<th scope="col">%s</th>', retention.html_text(h.head)), ''
                       ORDER BY h.number)
     FROM unnest(heads) WITH ORDINALITY AS h (head, number)),
    (SELECT string_agg('<tr>' || c.cells || '</tr>', '' ORDER BY r.number)
     FROM jsonb_array_elements(rows) WITH ORDINALITY AS r (cells, number),
          LATERAL (SELECT string_agg(format(
                     CASE t.number WHEN 1 THEN '<th scope="row"><bdi>%s</bdi></th>'
                                   ELSE '<td><bdi>%s</bdi></td>' END,
                     coalesce(retention.html_text(t.cell), '&#8211;')), '' ORDER BY t.number)
                   FROM jsonb_array_elements_text(r.cells) WITH ORDINALITY AS t (cell, number))
            AS c (cells)))
$$;
COMMENT ON FUNCTION retention._page_table(jsonb, text[], jsonb, text) IS
  'A table of these heads and rows, an array of arrays of texts; the first of each row names it.';

CREATE OR REPLACE FUNCTION retention._page_figure(
    look jsonb, title text, note text, picture text, heads text[] DEFAULT NULL,
    rows jsonb DEFAULT NULL, class text DEFAULT '')
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<figure class="%s"><figcaption><h3>%s</h3>%s</figcaption>%s%s</figure>', class,
    retention.html_text(title), coalesce('<p>' || retention.html_text(note) || '</p>', ''),
    picture,
    CASE WHEN rows IS NOT NULL
      THEN format('<details><summary>%s</summary>%s</details>',
                  retention.html_text(retention._page_word(look, 'data')),
                  retention._page_table(look, heads, rows)) END)
  WHERE picture IS NOT NULL
$$;
COMMENT ON FUNCTION retention._page_figure(jsonb, text, text, text, text[], jsonb, text) IS
  'A figure: a title that says the finding, a note, the picture, and its data behind a button.';

CREATE OR REPLACE FUNCTION retention._page_legend(classes text[], labels text[]) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '<ul class="legend">' || string_agg(format(
           '<li><svg width="11" height="11" aria-hidden="true"><rect class="%s" width="11" '
           'height="11" rx="3"/></svg> <bdi>%s</bdi></li>', l.class, retention.html_text(l.label)),
           '' ORDER BY l.number) || '</ul>'
  FROM unnest(classes, labels) WITH ORDINALITY AS l (class, label, number)
$$;
COMMENT ON FUNCTION retention._page_legend(text[], text[]) IS 'Which colour means what.';

CREATE OR REPLACE FUNCTION retention._page_change(
    look jsonb, before numeric, after numeric, is_good boolean DEFAULT NULL)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN before IS NULL OR after IS NULL THEN NULL
    WHEN before = 0 AND after <> 0 THEN retention.html_text(retention._page_word(look, 'new'))
    ELSE format('<span class="change %s">%s%s</span>',
           CASE WHEN is_good IS NULL OR after = before THEN 'even'
                WHEN (after > before) = is_good THEN 'good' ELSE 'bad' END,
           CASE WHEN after > before THEN '+' WHEN after < before THEN '&#8722;' ELSE '' END,
           retention._page_percent(look, abs(coalesce(
             100 * (after - before) / nullif(before, 0), 0)))) END
$$;
COMMENT ON FUNCTION retention._page_change(jsonb, numeric, numeric, boolean) IS
  'By how much a number has changed, and whether it is good that it rises; null where it is not '
  'known.';

CREATE OR REPLACE FUNCTION retention._page_tiles(
    caption text, tiles text, class text DEFAULT '')
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<table class="tiles %s" role="table"><caption>%s</caption>'
                '<tbody role="rowgroup">%s</tbody></table>', class, retention.html_text(caption),
                tiles)
  WHERE tiles IS NOT NULL
$$;
COMMENT ON FUNCTION retention._page_tiles(text, text, text) IS
  'Tiles: a table whose rows are cards.';

CREATE OR REPLACE FUNCTION retention._page_tile(
    name text, value text, VARIADIC lines text[] DEFAULT '{}')
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<tr role="row"><th role="rowheader" scope="row"><bdi>%s</bdi></th>'
                '<td role="cell" class="value">%s</td>%s</tr>', retention.html_text(name),
                retention.html_text(value),
                (SELECT string_agg(format('<td role="cell">%s</td>', l.line), ''
                                   ORDER BY l.number)
                 FROM unnest(lines) WITH ORDINALITY AS l (line, number)
                 WHERE l.line IS NOT NULL))
$$;
COMMENT ON FUNCTION retention._page_tile(text, text, text[]) IS
  'A tile: a name, its number, and lines of HTML below.';
