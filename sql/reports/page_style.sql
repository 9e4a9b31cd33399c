-- How the page looks.

CREATE OR REPLACE FUNCTION retention._page_style() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- Six sizes of letters, 12 to 32 pixels; everything else is a multiple of 4 pixels.
  SELECT retention.chart_style() || retention.chart_cell_style() || $css$
:root{color-scheme:light dark;--page:#f3f5f8;--good:#17694f;--bad:#a8430f;--link:#1d5a99}
@media screen and (prefers-color-scheme:dark){:root{--page:#0d131a;--good:#5fcfa9;--bad:#f3a273;
--link:#85bdf5}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--chart-ink);font:14px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
header,main,footer{max-width:1240px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1,h2,h3,p,figure,ol,ul{margin:0;padding:0}
h1{font-size:32px;line-height:1.2;letter-spacing:-.02em;overflow-wrap:anywhere}
h2{font-size:20px;line-height:1.3;letter-spacing:-.01em;margin:40px 0 12px}
h3{font-size:16px;line-height:1.35;font-weight:650;text-wrap:balance}
header p{font-size:16px;color:var(--chart-quiet);margin-top:4px}
header .over{font-size:12px;font-weight:650;letter-spacing:.06em;text-transform:uppercase;
color:var(--link);margin:0 0 4px;overflow-wrap:anywhere}
nav ul{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin-top:20px;padding:12px 0;
border-block:1px solid var(--chart-grid)}
nav a{color:var(--link);text-decoration:none}nav a:hover{text-decoration:underline}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
.grid>*{grid-column:1/-1}.grid>figure{grid-column:auto}.grid>figure.wide{grid-column:1/-1}
figure,.tiles tr,ol.changes{background:var(--chart-ground);border:1px solid var(--chart-grid);
border-radius:12px}
figure{container-type:inline-size;padding:20px;min-width:0;display:flex;flex-direction:column}
figcaption{margin-bottom:16px}
figcaption p{font-size:13px;color:var(--chart-quiet);margin-top:4px;max-width:88ch}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;font-size:12px;margin-top:8px;
color:var(--chart-quiet)}
.legend svg{vertical-align:-1px}
.halo{paint-order:stroke;stroke:var(--chart-ground);stroke-width:3px;stroke-linejoin:round}
details{margin-top:auto;padding-top:12px;font-size:12px}
summary{color:var(--link);cursor:pointer;width:max-content;max-width:100%}
details[open] summary{margin-bottom:8px}
details .scroll{max-height:320px;overflow:auto}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 12px 6px 0;text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}
th:last-child,td:last-child{padding-right:0}
tbody th{font-weight:500;overflow-wrap:anywhere;min-width:112px;max-width:360px}
tbody tr{border-top:1px solid var(--chart-grid)}
thead th{font-size:12px;font-weight:500;color:var(--chart-quiet);vertical-align:bottom}
td{max-width:260px;overflow-wrap:break-word}
.tiles,.tiles tbody{display:grid}
.tiles tbody{grid-template-columns:repeat(auto-fit,minmax(184px,1fr));gap:12px}
.tiles caption,.hidden{position:absolute;width:1px;height:1px;overflow:hidden;
clip-path:inset(50%);white-space:nowrap}
.tiles tr{display:flex;flex-direction:column;padding:16px;min-width:0}
.tiles th,.tiles td{display:block;text-align:left;padding:0;max-width:none;min-width:0;
font-size:12px;color:var(--chart-quiet)}
.tiles th{font-size:14px;font-weight:600;color:var(--chart-ink)}
.tiles .value{font-size:28px;line-height:1.3;font-weight:650;letter-spacing:-.02em;
color:var(--chart-ink)}
.facts tr{border:0;padding:0}.facts th{font-size:12px;font-weight:400;color:var(--chart-quiet)}
.facts .value{font-size:16px}.profiles tr{background:var(--page)}
.profiles th{min-height:42px}
.tiles svg{display:block;margin:8px 0 4px}
.track{fill:var(--chart-grid)}
.change{font-weight:650;color:var(--chart-ink)}.good{color:var(--good)}.bad{color:var(--bad)}
.map{table-layout:fixed;font-size:12px;border-collapse:separate;border-spacing:2px}
.map th,.map td{padding:5px 2px;text-align:center}
.map tr{border:0}.map td[class^=h]{border-radius:4px}
.map th:first-child{text-align:left;width:84px;min-width:0;white-space:nowrap}
.map thead th:first-child{white-space:normal}
.map .size{width:72px;color:var(--chart-quiet)}
.partial{font-style:italic}
ol.changes{list-style:none;padding:8px 20px 12px;columns:2;column-gap:40px}
.changes li{break-inside:avoid;padding:12px 0}.changes p{color:var(--chart-quiet)}
.changes strong{font-weight:600;color:var(--chart-ink)}.changes details{padding-top:4px}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;padding:8px 12px;border-radius:8px;
background:var(--page)}
footer{color:var(--chart-quiet);font-size:12px;padding-top:32px;padding-bottom:48px;
overflow-wrap:anywhere}
@media (max-width:900px){ol.changes{columns:1}.tiles .value{font-size:24px}}
@media (max-width:720px){.grid{grid-template-columns:minmax(0,1fr)}header,main,footer{
padding-left:16px;padding-right:16px}header{padding-top:24px}figure{padding:16px}
.tiles tbody{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}
.tiles tr{padding:12px}.tiles .value{font-size:20px}h1{font-size:28px}}
@media (max-width:480px){.profiles tbody{grid-template-columns:1fr}.profiles th{min-height:0}
.map{border-spacing:1px}.map .size{display:none}
.map th:first-child{width:58px}.map th,.map td{padding:5px 0}.map,.map thead th{font-size:11px}}
@container (max-width:480px){.chart .alternate{display:none}}
@page{size:A4;margin:14mm 12mm}
@media print{body{background:none;font-size:11px}*{print-color-adjust:exact;
-webkit-print-color-adjust:exact}nav,details{display:none}header,main,footer{padding:0;
max-width:none}figure,.tiles tr,.changes li,tr{break-inside:avoid}h2{break-after:avoid;
margin-top:20px}.grid{display:block;padding:0 1px}.grid>figure{vertical-align:top;
display:inline-flex;width:49%;margin:0 .4% 12px 0}
.grid>figure.wide{display:flex;width:100%;margin:0 0 12px}
.tiles{margin-bottom:12px}.tiles tbody{grid-template-columns:repeat(auto-fit,minmax(108px,1fr));
gap:8px}
.tiles tr{padding:10px}.tiles .value{font-size:20px}}
$css$
$$;
COMMENT ON FUNCTION retention._page_style() IS
  'How the page looks: on wide and narrow screens, in the dark, on paper.';
