SELECT retention.percentile_bounds(recency, ARRAY[1 / 3.0, 2 / 3.0]),
       retention.percentile_bounds(frequency, ARRAY[1 / 3.0, 2 / 3.0]),
       retention.percentile_bounds(monetary, ARRAY[1 / 3.0, 2 / 3.0])
FROM bench.value;
