-- The values by replace(): no escaping, no conditions, no loop.
SELECT sum(octet_length(
  replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(
    (SELECT template FROM bench.template WHERE name = 'replace'),
    '{{ person.language }}', coalesce(context #>> '{person,language}', '')),
    '{{ shop.name }}', coalesce(context #>> '{shop,name}', '')),
    '{{ person.first_name }}', coalesce(context #>> '{person,first_name}', '')),
    '{{ person.last_order_at }}', coalesce(context #>> '{person,last_order_at}', '')),
    '{{ person.city }}', coalesce(context #>> '{person,city}', '')),
    '{{ coupon.code }}', coalesce(context #>> '{coupon,code}', '')),
    '{{ coupon.value }}', coalesce(context #>> '{coupon,value}', '')),
    '{{ coupon.expires }}', coalesce(context #>> '{coupon,expires}', '')),
    '{{ shop.url }}', coalesce(context #>> '{shop,url}', '')),
    '{{ person.email }}', coalesce(context #>> '{person,email}', '')),
    '{{ person.points }}', coalesce(context #>> '{person,points}', '')),
    '{{ shop.address }}', coalesce(context #>> '{shop,address}', '')),
    '{{ item.name }}', coalesce(context #>> '{items,0,name}', '')),
    '{{ item.price }}', coalesce(context #>> '{items,0,price}', '')),
    '{{ item.url }}', coalesce(context #>> '{items,0,url}', ''))
)) FROM bench.message;
