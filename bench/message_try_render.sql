-- As flows render: the error of one customer does not stop the others.
SELECT sum(octet_length((message).rendered)), count((message).error)
FROM (SELECT retention._try_render((SELECT template FROM bench.template WHERE name = 'render'), context, true) AS message
      FROM bench.message OFFSET 0) AS messages;
