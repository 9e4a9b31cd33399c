-- A chart as inline SVG: what is around the marks, and how they look.
--
-- Across, places are per cent of the width; down, they are pixels. So a chart is as wide as the
-- page has room for, and its letters and lines are of the same size in all of them. What cannot say
-- per cent, a path, is drawn in an inner picture that is stretched across only.

CREATE OR REPLACE FUNCTION retention.html_text(raw text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(replace(replace(replace(replace(
           regexp_replace(raw, E'[\\u0001-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f]', '', 'g'),
           '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')
$$;
COMMENT ON FUNCTION retention.html_text(text) IS
  'A text as HTML and SVG show it, in elements and in quoted attributes: nothing in it is a tag, '
  'closes a quote or starts an entity, and control characters are left out.';

CREATE OR REPLACE FUNCTION retention._chart_place(place double precision) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT trim_scale(round(place::numeric, 2))::text
$$;
COMMENT ON FUNCTION retention._chart_place(double precision) IS
  'A place as SVG has it, to a hundredth.';

CREATE OR REPLACE FUNCTION retention._chart_hint(hint text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce('<title>' || retention.html_text(hint) || '</title>', '')
$$;
COMMENT ON FUNCTION retention._chart_hint(text) IS 'What a mark says when it is pointed at.';

CREATE OR REPLACE FUNCTION retention._chart_path(d text, class text, hint text DEFAULT NULL)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<svg width="100%%" height="1000" viewBox="0 0 100 1000" '
                'preserveAspectRatio="none"><path class="%s" d="%s">%s</path></svg>',
                retention.html_text(class), d, retention._chart_hint(hint))
  WHERE d IS NOT NULL
$$;
COMMENT ON FUNCTION retention._chart_path(text, text, text) IS
  'A path of per cents across and pixels down; null where there is none.';

CREATE OR REPLACE FUNCTION retention.chart_label(
    x double precision, y double precision, label text, class text DEFAULT '',
    most integer DEFAULT 40)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<text class="%s" x="%s%%" y="%s">%s</text>', retention.html_text(class),
                retention._chart_place(x), retention._chart_place(y),
                retention.html_text(CASE WHEN length(label) > most
                  THEN rtrim(left(label, most - 1)) ELSE label END)
                || CASE WHEN length(label) > most THEN '&#8230;' ELSE '' END)
$$;
COMMENT ON FUNCTION
  retention.chart_label(double precision, double precision, text, text, integer) IS
  'A text at x per cent and y pixels, cut after so many letters. Classes: "middle", "end", '
  '"strong", "quiet", "inside".';

CREATE OR REPLACE FUNCTION retention.chart(
    marks text, height double precision, alternative text, class text DEFAULT '')
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<svg class="chart %s" role="img" aria-label="%s" width="100%%" height="%s">'
                '%s</svg>', retention.html_text(class), retention.html_text(alternative),
                retention._chart_place(height), marks)
$$;
COMMENT ON FUNCTION retention.chart(text, double precision, text, text) IS
  'Marks, one after the other, as one picture of this height in pixels and as wide as its place. '
  'alternative says in words what it shows. A page needs chart_style once.';

CREATE OR REPLACE FUNCTION retention.chart_style() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- The colours are told apart by all sorts of colour blindness (after Okabe and Ito), and from
  -- both grounds.
  SELECT $css$:root{--c0:#6b7785;--c1:#2264a8;--c2:#c2571a;--c3:#1c7f63;--c4:#a8548a;--c5:#2f8fc4;
--c6:#a37200;--c7:#5b51a3;--chart-ink:#17202b;--chart-quiet:#566270;--chart-grid:#e3e7ec;
--chart-ground:#fff}
@media screen and (prefers-color-scheme:dark){:root{
--c0:#8b97a6;--c1:#6aaef2;--c2:#f0935a;--c3:#4fc09c;
--c4:#dd93c4;--c5:#7cc8ee;--c6:#dcae4a;--c7:#a9a0ee;--chart-ink:#e8edf3;--chart-quiet:#9eabb9;
--chart-grid:#2b3643;--chart-ground:#161d26}}
.chart{display:block;overflow:visible;font-size:12px}
.chart svg{overflow:visible}.chart path{vector-effect:non-scaling-stroke}
.chart text{fill:var(--chart-quiet);unicode-bidi:isolate;font-variant-numeric:tabular-nums}
.chart .middle{text-anchor:middle}.chart .end{text-anchor:end}
.chart .strong{fill:var(--chart-ink);font-weight:600}.chart .inside{fill:var(--chart-ground)}
.chart .grid{stroke:var(--chart-grid)}.chart .base{stroke:var(--chart-quiet)}
.chart .line{fill:none;stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round}
.chart .dashed{stroke-dasharray:2 5}.chart .band{opacity:.2}.chart .ribbon{opacity:.4}
.chart .ribbon:hover,.chart .bar:hover,.chart .cell:hover{opacity:.75}
.chart .dot{stroke:var(--chart-ground);stroke-width:1.5}
.c0{fill:var(--c0)}.c1{fill:var(--c1)}.c2{fill:var(--c2)}.c3{fill:var(--c3)}.c4{fill:var(--c4)}
.c5{fill:var(--c5)}.c6{fill:var(--c6)}.c7{fill:var(--c7)}
.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}
.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}.line.c5{stroke:var(--c5)}
.line.c6{stroke:var(--c6)}.line.c7{stroke:var(--c7)}
$css$
$$;
COMMENT ON FUNCTION retention.chart_style() IS
  'How marks look, for a style element: classes "c0" (quiet) to "c7" are colours that can be told '
  'apart, also in the dark.';
