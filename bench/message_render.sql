SELECT sum(octet_length(retention.render((SELECT template FROM bench.template WHERE name = 'render'), context))) FROM bench.message;
