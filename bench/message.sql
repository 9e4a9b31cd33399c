-- A message of 2 kB: a dozen values, two conditions and a loop of three items, and what it is rendered with for every customer.
CREATE TABLE bench.message AS
SELECT n, jsonb_build_object(
    'person', jsonb_build_object('first_name', (ARRAY['Ann', 'Zoë', 'Jan', 'O''Neil'])[1 + n % 4], 'email', format('customer%s@example.com', n),
                                 'city', 'Łódź', 'language', 'en', 'points', n % 5000, 'vip', n % 10 = 0, 'last_order_at', timestamp '2024-01-01' + n % 365 * interval '1 day'),
    'shop', jsonb_build_object('name', 'Tea & Co', 'url', 'https://shop.example.com', 'address', '1 High Street'),
    'coupon', CASE WHEN n % 3 > 0 THEN jsonb_build_object('code', format('WELCOME%s', n), 'value', 5 + n % 20, 'expires', '2025-02-28') END,
    'items', jsonb_build_array(jsonb_build_object('name', 'Green tea', 'price', 12.5, 'url', '/p/1'),
                               jsonb_build_object('name', 'Cups <set of 6>', 'price', 39.999, 'url', '/p/2'),
                               jsonb_build_object('name', 'Tea pot', 'price', 25, 'url', '/p/3'))) AS context
FROM generate_series(1, :customers) AS n;
VACUUM (ANALYZE) bench.message;
INSERT INTO bench.size SELECT 'render', count(*) FROM bench.message;

CREATE TABLE bench.template (name text, template text);
INSERT INTO bench.template VALUES ('render', $$<!DOCTYPE html>
<html lang="{{ person.language|default:"en" }}">
<head><title>{{ shop.name }}</title>
<style>body { font-family: sans-serif; color: #222; } .item { border: 1px solid #ddd; padding: 12px; margin: 8px 0; } .button { background: #0a7; color: #fff; padding: 10px 16px; text-decoration: none; border-radius: 4px; } .small { font-size: 12px; color: #777; }</style>
</head>
<body>
<table width="600" align="center" cellpadding="0" cellspacing="0" role="presentation"><tr><td>
<h1>{{ person.first_name|default:"Hello"|capitalize }}, we have missed you</h1>
<p>Your last order with {{ shop.name }} was on {{ person.last_order_at|date:"FMDDth Month YYYY" }}. The new season's teas have arrived in {{ person.city|default:"your town" }}, and we have put three of them aside which we think you will like.</p>
{% if coupon %}
<p>Use the code <strong>{{ coupon.code|upper }}</strong> for {{ coupon.value }} % off everything until {{ coupon.expires|date:"FMDD/FMMM/YYYY" }}.</p>
{% endif %}
{% for item in items limit:3 %}
<div class="item"><h2>{{ loop.index }}. {{ item.name }}</h2>
<p>EUR {{ item.price|round:2 }}</p>
<p><a class="button" href="{{ shop.url }}{{ item.url }}?u={{ person.email|urlencode }}&amp;utm_source=email&amp;utm_campaign=win_back">See it in the shop</a></p></div>
{% empty %}
<p>Come and see what is new.</p>
{% endfor %}
{% if person.vip and person.points > 1000 %}
<p>You have {{ person.points }} points: enough for free delivery of this order and the next.</p>
{% else %}
<p>Every order brings you closer to free delivery: you have {{ person.points }} points.</p>
{% endif %}
<p class="small">You receive this message because you asked for news from {{ shop.name }}, {{ shop.address }}. <a href="{{ shop.url }}/unsubscribe?email={{ person.email|urlencode }}">Unsubscribe</a></p>
</td></tr></table>
</body>
</html>
$$);
-- For replace(): the same text with the same values, but without conditions and filters, and with one item three times.
INSERT INTO bench.template
  SELECT 'replace', regexp_replace(regexp_replace(regexp_replace(template, '{% for [^%]*%}(.*){% empty %}.*{% endfor %}', '\1\1\1'), '{%[^%]*%}', '', 'g'), '\|[^}]*}}', ' }}', 'g')
  FROM bench.template;
SELECT format('A template of %s bytes makes a message of %s bytes', octet_length(template), octet_length(retention.render(template, context)))
FROM bench.template, (SELECT context FROM bench.message LIMIT 1) AS first WHERE name = 'render';
