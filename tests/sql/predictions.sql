-- Predictions of the purchase and spend models: values, identities, extremes, and input that makes no sense.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA test_predictions;
SET search_path = test_predictions, pg_catalog;
SET TimeZone = 'UTC';

CREATE TABLE purchase (kind text, model retention.model);
INSERT INTO purchase SELECT kind, retention.make_model(kind, parameters)
  FROM (VALUES ('bgnbd', '{0.25,4.5,0.75,2.5}'::float8[]), ('mbgnbd', '{0.5,6,0.875,1.5}'), ('paretonbd', '{0.5,10,0.625,12}')) AS m(kind, parameters);
CREATE TABLE spend AS SELECT retention.make_model('gammagamma', '{6.25,3.75,15.5}') AS spend;
CREATE TABLE customer (x float8, t_x float8, t float8, m float8);
INSERT INTO customer VALUES (0, 0, 0, NULL), (0, 0, 40, 0), (1, 40, 40, 12.5), (2, 30, 39, 99.99), (30, 35, 40, 7), (5, 10, 100, 0.01), (1, 0, 10, 35), (500, 1, 2, 1e6), (2000, 700, 36500, 20);

-- Types.
SELECT pg_typeof(retention.p_alive(model, 2, 30, 39)) AS p_alive, pg_typeof(retention.expected_orders(model, 2, 30, 39, 52)) AS expected_orders, pg_typeof(retention.expected_orders(model, 52)) AS of_new,
       pg_typeof(retention.order_probability(model, 2, 30, 39, 52)) AS order_probability, pg_typeof(retention.order_probability(model, 52)) AS of_new,
       pg_typeof(retention.order_distribution(model, 2, 30, 39, 52, 3)) AS order_distribution, pg_typeof(retention.order_distribution(model, 52, 3)) AS of_new,
       pg_typeof(retention.next_order_days(model, 2, 30, 39)) AS next_order_days, pg_typeof(retention.discounted_orders(model, 2, 30, 39, 52, 0.01)) AS discounted_orders,
       pg_typeof(retention.log_likelihood(model, 2, 30, 39)) AS log_likelihood, pg_typeof(retention.expected_spend(spend, 2, 30)) AS expected_spend, pg_typeof(retention.expected_spend(spend)) AS of_all,
       pg_typeof(retention.clv(model, spend, 2, 30, 39, 12.5)) AS clv
FROM purchase, spend WHERE kind = 'bgnbd';
SELECT proname, count(*) AS forms, bool_and(provolatile = 'i') AS immutable, bool_and(proparallel = 's') AS parallel_safe
FROM pg_proc WHERE pronamespace = 'retention'::regnamespace AND proname = ANY ('{p_alive,expected_orders,order_probability,order_distribution,next_order_days,discounted_orders,log_likelihood,expected_spend,clv}') GROUP BY 1 ORDER BY 1;

-- Values found by integrating over the customers' rates and lifetimes with 40 digits, apart from any of our formulas.
CREATE FUNCTION near(actual float8[], expected float8[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(cardinality(actual) = cardinality(expected) AND bool_and(coalesce(abs(a - e) <= 1e-10 * abs(e), false)), false) FROM unnest(actual, expected) AS element(a, e)
$$;
CREATE TABLE known (kind text, x float8, t_x float8, t float8, order_probability float8[], order_distribution float8[], discounted_orders float8[], from_now float8[], from_last_order float8[]);
INSERT INTO known VALUES
  ('bgnbd', 0, 0, 0, '{0.14700124554076931,0.46875969607429145}', '{0.53124030392570855,0.20220014703190539,0.091580575090474533,0.051349747715172708,0.032177016854650828,0.021623443664740565,0.01525250400741118}', '{1.4540034823513545,4.61264197374187}', '{2.3587105624142661,67.5,44995.5}', '{2.3587105624142661,67.5,44995.5}'),
  ('bgnbd', 0, 0, 40, '{0.021288777811524694,0.17594125141951539}', '{0.82405874858048461,0.12599651622272834,0.032498375081842201,0.010696920428091679,0.0039710354145933513,0.0015855233892063954,0.00066486060519982265}', '{0.24274825544719394,1.2912589361586925}', '{23.325026672763298,667.5,444955.5}', '{2.3587105624142661,67.5,44995.5}'),
  ('bgnbd', 2, 30, 39, '{0.13194208375477965,0.60951842546847242}', '{0.39048157453152758,0.21858819805309491,0.14931362988185929,0.095814090687100114,0.059265389196793166,0.035793503673057896,0.02126111168404899}', '{1.5193852526055693,6.4720315628735685}', '{2.0854156872114156,15.694365007585398,77.54133399600992}', '{1.6539503726159503,12.447255006016005,61.498299376145799}'),
  ('bgnbd', 30, 35, 40, '{0.49356634911735846,0.53300617407586145}', '{0.46699382592413855,0.012022696231239353,0.011408402063606903,0.010842049754104672,0.010318732178243691,0.0098342710788968556,0.0093852449368811836}', '{13.331398664799104,49.246939187840337}', '{0.15526338889423354,1.0314431512054286,3.5195252694219477}', '{0.13781806429937584,0.91555066230594227,3.1240729919588075}'),
  ('bgnbd', 5, 10, 100, '{4.868070994527283e-5,0.00023935415865961504}', '{0.99976064584134038,7.3516730474501709e-5,6.2830419195319702e-5,4.4290115560696699e-5,2.7422300047098417e-5,1.5481477121702058e-5,8.1593351693345489e-6}', '{0.00059780058520206662,0.003026225687323796}', '{2.1183612268752994,14.749162394374349,57.528898992509269}', '{0.29393528985351044,2.0465344949131872,7.9824788075730564}'),
  ('mbgnbd', 0, 0, 0, '{0.14235999837379997,0.42844183550441782}', '{0.57155816449558218,0.1785304491596905,0.086267305045419553,0.04933606268597375,0.031050407456388057,0.02080224836303171,0.014565148136209665}', '{1.2982114828817702,3.5600199019946934}', '{1.4074074074074074,18.0,594.0}', '{1.4074074074074074,18.0,594.0}'),
  ('mbgnbd', 0, 0, 40, '{0.015614123819745424,0.12040532153008262}', '{0.87959467846991738,0.082700909899121324,0.023931934585016809,0.0083099100088477014,0.0031803150197757154,0.0012937761318970943,0.00054886929610731654}', '{0.17280255672936015,0.79959829186313854}', '{10.790123456790123,138.0,4554.0}', '{1.4074074074074074,18.0,594.0}'),
  ('mbgnbd', 2, 30, 39, '{0.13346860171659287,0.59399442123177734}', '{0.40600557876822266,0.21117735099775882,0.14520174894497729,0.093860314871866113,0.058367168641294426,0.035359502002849864,0.021025424685972782}', '{1.4888139289985753,5.6272476755549813}', '{1.9370196679784706,14.377855984780242,68.034889417931105}', '{1.5496157343827765,11.502284787824193,54.427911534344884}'),
  ('mbgnbd', 30, 35, 40, '{0.47770616441358479,0.5184676900629205}', '{0.4815323099370795,0.013592786665191985,0.01285136755767139,0.012170229234563493,0.011543018173006161,0.010964340676820421,0.010429785125273288}', '{12.162167851453203,39.983585946433899}', '{0.15917916366276536,1.0573717845073426,3.6072002587358155}', '{0.14187708065594303,0.94244006880002276,3.2151132740906181}'),
  ('mbgnbd', 5, 10, 100, '{4.1672097788881286e-5,0.00020092351631292317}', '{0.99979907648368708,6.1789966771992649e-5,5.2551209669923535e-5,3.7110441941398621e-5,2.3048874426347923e-5,1.3050643264797082e-5,6.8939563157472683e-6}', '{0.00050254169874453721,0.0023106957248439117}', '{2.0501586771065434,14.237127352719034,55.110574793010974}', '{0.30945791352551599,2.1490003551274013,8.3185773272469395}'),
  ('paretonbd', 0, 0, 0, '{0.14218388485242516,0.40506347907025567}', '{0.59493652092974433,0.15493853104726538,0.077405437035653711,0.047058857035032935,0.031428972011966643,0.022160073083901969,0.016178561793760916}', '{1.3386716655865819,4.2713994096620822}', '{2.345679012345679,30.0,990.0}', '{2.345679012345679,30.0,990.0}'),
  ('paretonbd', 0, 0, 40, '{0.010781214052943872,0.072075743117120062}', '{0.92792425688287994,0.044862293508851046,0.015730870016157045,0.0063825679665163069,0.0027670200525999099,0.0012451440928337215,0.00057374549911794883}', '{0.11466408556901682,0.49669363262676753}', '{11.728395061728395,150.0,4950.0}', '{2.345679012345679,30.0,990.0}'),
  ('paretonbd', 2, 30, 39, '{0.14897727670528048,0.61601905774337965}', '{0.38398094225662035,0.19025236981181199,0.14307664790192449,0.10108753721795429,0.067978283237860986,0.044025191397086004,0.027697810836697372}', '{1.7068396919274141,7.3585420903231376}', '{2.1091991940210013,15.655887627871819,74.082435143969425}', '{1.7217952604253072,12.78031643091577,60.475457260383204}'),
  ('paretonbd', 30, 35, 40, '{0.597670038077936,0.6577146838337299}', '{0.3422853161662701,0.01234123846229992,0.011756131077707392,0.011214677601292871,0.01071270357730286,0.010246918279826933,0.0098152321851340227}', '{16.05363376039853,69.539975221907057}', '{0.17302083006822321,1.1493171570731985,3.9208698464519733}', '{0.15571874706140089,1.0343854413658786,3.528782861806776}'),
  ('paretonbd', 5, 10, 100, '{5.7050887676495023e-5,0.00026350882661554356}', '{0.99973649117338446,7.1659339344705491e-5,6.6125053126693706e-5,5.0248210894212093e-5,3.327949960811048e-5,1.9933692148124776e-5,1.1063485474485231e-5}', '{0.00070637118070251688,0.0037152377946521821}', '{2.1275231554879224,14.774377441500884,57.190219124822709}', '{0.38682239190689498,2.6862504439092516,10.398221659058674}');
SELECT kind, x, near(order_probability, ARRAY[retention.order_probability(model, x, t_x, t, 4), retention.order_probability(model, x, t_x, t, 52)]) AS order_probability,
       near(order_distribution, retention.order_distribution(model, x, t_x, t, 52, 6)) AS order_distribution,
       near(discounted_orders, ARRAY[retention.discounted_orders(model, x, t_x, t, 52, 0.002), retention.discounted_orders(model, x, t_x, t, 'Infinity', 0.002)]) AS discounted_orders,
       near(from_now, ARRAY[retention.next_order_days(model, x, t_x, t, 0.1, 'now'), retention.next_order_days(model, x, t_x, t), retention.next_order_days(model, x, t_x, t, 0.9)]) AS from_now,
       near(from_last_order, ARRAY[retention.next_order_days(model, x, t_x, t, 0.1, 'last order'), retention.next_order_days(model, x, t_x, t, "from" => 'last order'),
                                   retention.next_order_days(model, x, t_x, t, quantile => 0.9, "from" => 'last order')]) AS from_last_order
FROM known JOIN purchase USING (kind) ORDER BY kind, x, t;

-- Identities.
CREATE FUNCTION close(a float8, b float8, tolerance float8 DEFAULT 1e-10) RETURNS boolean LANGUAGE sql IMMUTABLE AS
  $$SELECT coalesce(a = b OR abs(a - b) <= tolerance * greatest(abs(a), abs(b)), false)$$;
CREATE TABLE horizon AS SELECT unnest('{0,0.01,1,30,52,365,3650}'::float8[]) AS horizon;
SELECT kind, count(*) AS cases, bool_and(0 <= ALL (d) AND 1 >= ALL (d) AND cardinality(d) = 1001) AS probabilities, bool_and(abs(1 - (SELECT sum(p) FROM unnest(d) AS p)) < 1e-9) AS sum_to_one,
       bool_and(abs(1 - d[1] - retention.order_probability(model, x, t_x, t, horizon)) < 1e-12) AS order_probability,
       bool_and(close((SELECT sum(p * (n - 1)) FROM unnest(d) WITH ORDINALITY AS p(p, n)), retention.expected_orders(model, x, t_x, t, horizon), 1e-8)) AS mean
FROM purchase, customer, unnest('{0.01,1,30,52}'::float8[]) AS horizon, retention.order_distribution(model, x, t_x, t, horizon, 1000) AS d
WHERE (x, t) <> (500, 2) GROUP BY kind ORDER BY kind;
SELECT kind, cardinality(retention.order_distribution(model, 2, 30, 39, 52, 0)) AS none, cardinality(retention.order_distribution(model, 52, 1)) AS one,
       retention.order_distribution(model, 2, 30, 39, 52, 3) = (retention.order_distribution(model, 2, 30, 39, 52, 20))[1:4] AS prefix,
       retention.order_distribution(model, 2, 30, 39, 0, 2) AS at_once FROM purchase ORDER BY kind;
SELECT kind, bool_and(retention.expected_orders(model, x, t_x, t, 0) = 0 AND retention.order_probability(model, x, t_x, t, 0) = 0 AND retention.discounted_orders(model, x, t_x, t, 0, 0.1) = 0) AS nothing_at_once,
       bool_and(retention.p_alive(model, x, t_x, t) BETWEEN 0 AND 1) AS p_alive,
       bool_and(retention.p_alive(model, x, t_x, t) = 1) FILTER (WHERE x = 0) AS never_returned, bool_and(retention.p_alive(model, x, t_x, t) = 1) FILTER (WHERE t_x = t) AS no_idle_time
FROM purchase, customer GROUP BY kind ORDER BY kind;
SELECT kind, bool_and(close(retention.discounted_orders(model, x, t_x, t, horizon, 0), retention.expected_orders(model, x, t_x, t, horizon), 1e-9)) AS no_discount,
       bool_and(retention.discounted_orders(model, x, t_x, t, horizon, 0.01) <= retention.discounted_orders(model, x, t_x, t, horizon, 0.001) * (1 + 1e-12)) AS falls_with_rate,
       bool_and(retention.discounted_orders(model, x, t_x, t, horizon, 0.01) <= retention.discounted_orders(model, x, t_x, t, 'Infinity', 0.01) * (1 + 1e-12)) AS rises_with_horizon,
       bool_and(close(retention.discounted_orders(model, x, t_x, t, 1e5, 0.01), retention.discounted_orders(model, x, t_x, t, 'Infinity', 0.01), 1e-9)) AS approaches_limit
FROM purchase, customer, horizon GROUP BY kind ORDER BY kind;
-- By Simpson's rule over the expected orders: integrated by parts, the integral is e^(-rate h) E(h) + rate times the integral of e^(-rate s) E(s).
SELECT kind, bool_and(close(retention.discounted_orders(model, x, t_x, t, 100, 0.01),
         exp(-1::float8) * retention.expected_orders(model, x, t_x, t, 100) + 0.01 * simpson, 1e-7)) AS integral
FROM purchase, customer, LATERAL (SELECT sum(CASE WHEN n IN (0, 2000) THEN 1 WHEN n % 2 = 1 THEN 4 ELSE 2 END * exp(-0.01 * n / 20) * retention.expected_orders(model, x, t_x, t, n / 20.0)) / 60 AS simpson
                                  FROM generate_series(0, 2000) AS n) AS s
WHERE (x, t) <> (500, 2) GROUP BY kind ORDER BY kind;
SELECT kind, bool_and(close(retention.clv(model, spend, x, t_x, t, m, horizon, discount), retention.discounted_orders(model, x, t_x, t, horizon, ln(1 + discount) / 365) * retention.expected_spend(spend, x, m), 1e-12)) AS clv,
       bool_and(close(retention.clv(model, spend, x, t_x, t, m), retention.expected_orders(model, x, t_x, t, 365) * retention.expected_spend(spend, x, m), 1e-9)) AS defaults,
       bool_and(retention.clv(model, spend, x, t_x, t, m, 100) = retention.clv(model, spend, x, t_x, t, m, 100, 0)) AS no_discount,
       bool_and(retention.clv(model, spend, x, t_x, t, m, discount => 0.1) < retention.clv(model, spend, x, t_x, t, m)) FILTER (WHERE x < 2000) AS less_with_discount,
       bool_and(retention.clv(model, spend, x, t_x, t, m, horizon => 'Infinity', discount => 0.1) >= 0) AS for_ever
FROM purchase, spend, customer, horizon, unnest('{0,0.1,1}'::float8[]) AS discount GROUP BY kind ORDER BY kind;
-- A new customer is one of x = 0, t = 0.
SELECT kind, bool_and(retention.expected_orders(model, horizon) = retention.expected_orders(model, 0, 0, 0, horizon)) AS expected_orders,
       bool_and(retention.order_probability(model, horizon) = retention.order_probability(model, 0, 0, 0, horizon)) AS order_probability,
       bool_and(retention.order_distribution(model, horizon, 20) = retention.order_distribution(model, 0, 0, 0, horizon, 20)) AS order_distribution,
       bool_and(horizon = 0 OR retention.expected_orders(model, horizon) > 0) AS some
FROM purchase, horizon GROUP BY kind ORDER BY kind;
-- Without an order, the likelihood is the probability of none.
SELECT kind, bool_and(abs(retention.log_likelihood(model, 0, 0, horizon) - ln(1 - retention.order_probability(model, horizon))) < 1e-14) AS no_order FROM purchase, horizon GROUP BY kind ORDER BY kind;
-- Chapman-Kolmogorov for those without an order: P(none in s + t) = P(none in s) P(none in t | none in s).
SELECT kind, bool_and(close(1 - retention.order_probability(model, s.horizon + t.horizon), (1 - retention.order_probability(model, s.horizon)) * (1 - retention.order_probability(model, 0, 0, s.horizon, t.horizon)))) AS survival
FROM purchase, horizon AS s, horizon AS t GROUP BY kind ORDER BY kind;
-- Conditional on being alive, the next order comes by the quantile of time with its probability; nobody can leave before it in BG/NBD and MBG/NBD.
SELECT kind, bool_and(close(retention.order_probability(model, x, t_x, t, retention.next_order_days(model, x, t_x, t, q)), q * retention.p_alive(model, x, t_x, t))) AS probability_of_quantile
FROM purchase, customer, unnest('{0,0.1,0.5,0.9,0.999}'::float8[]) AS q WHERE kind <> 'paretonbd' GROUP BY kind ORDER BY kind;
SELECT kind, bool_and(retention.next_order_days(model, x, t_x, t, 0) = 0 AND retention.next_order_days(model, x, t_x, t, 0, 'last order') = 0) AS least,
       bool_and(retention.next_order_days(model, x, t_x, t) = retention.next_order_days(model, x, t_x, t, 0.5, 'now')) AS defaults,
       bool_and(retention.next_order_days(model, x, t_x, t, 0.1) < retention.next_order_days(model, x, t_x, t, 0.5) AND retention.next_order_days(model, x, t_x, t, 0.5) < retention.next_order_days(model, x, t_x, t, 0.9)) AS rises,
       bool_and(retention.next_order_days(model, x, t_x, t, 0.5, 'last order') = retention.next_order_days(model, x, t_x, t_x, 0.5)) AS last_order,
       bool_and((retention.next_order_days(model, x, t_x, t) = retention.next_order_days(model, x, t_x, t, "from" => 'last order')) = (t = t_x)) AS now_is_last_order
FROM purchase, customer GROUP BY kind ORDER BY kind;
-- Spend: a mean of one's own and the population's; who never came back has the population's.
SELECT round(retention.expected_spend(spend)::numeric, 10) AS population, round((6.25 * 15.5 / 2.75)::numeric, 10) AS expected,
       retention.expected_spend(spend, 0, NULL) = retention.expected_spend(spend) AS none, retention.expected_spend(spend, 0, 0) = retention.expected_spend(spend) AS zero,
       close(retention.expected_spend(spend, 4, 20), 6.25 * (15.5 + 4 * 20) / (6.25 * 4 + 3.75 - 1)) AS four, close(retention.expected_spend(spend, 100000, 20), 20, 1e-4) AS many,
       retention.expected_spend(spend, 1, 1e40) < 'Infinity' AS large, retention.expected_spend(spend, 1, 1e-300) > 0 AS small FROM spend;
SELECT kind, retention.clv(model, spend, 0, 0, 40, NULL) = retention.clv(model, spend, 0, 0, 40, 0) AS null_is_zero, close(retention.clv(model, spend, 0, 0, 40, NULL), retention.expected_orders(model, 0, 0, 40, 365) * retention.expected_spend(spend), 1e-9) AS population
FROM purchase, spend ORDER BY kind;

-- Several models in one query, in turn, give what each gives alone; a fitted model what one made of its parameters does.
CREATE TABLE mixed AS
  SELECT row_number() OVER (ORDER BY hashtext(kind || x || t || n || parameter)) AS id, kind, parameter, retention.make_model(kind, ARRAY[parameter, 5, 0.8, 2 + n]) AS model,
         retention.make_model('gammagamma', ARRAY[6, 3 + n, 10 * parameter]) AS spend, x, t_x, t, m
  FROM unnest('{bgnbd,mbgnbd,paretonbd}'::text[]) AS kind, unnest('{0.3,0.6}'::float8[]) AS parameter, generate_series(1, 3) AS n, customer;
CREATE FUNCTION everything(model retention.model, spend retention.model, x float8, t_x float8, t float8, m float8) RETURNS float8[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY[retention.p_alive(model, x, t_x, t), retention.expected_orders(model, x, t_x, t, 30), retention.expected_orders(model, x, t_x, t, 365), retention.order_probability(model, x, t_x, t, 30),
               retention.next_order_days(model, x, t_x, t), retention.next_order_days(model, x, t_x, t, 0.9, 'last order'), retention.discounted_orders(model, x, t_x, t, 365, 0.001),
               retention.discounted_orders(model, x, t_x, t, 'Infinity', 0.001), retention.log_likelihood(model, x, t_x, t), retention.expected_spend(spend, x, m), retention.clv(model, spend, x, t_x, t, m),
               retention.expected_orders(model, 30), retention.order_probability(model, 30), retention.expected_spend(spend)] || retention.order_distribution(model, x, t_x, t, 30, 4) || retention.order_distribution(model, 30, 4)
$$;
CREATE TABLE in_turn AS SELECT id, everything(model, spend, x, t_x, t, m) AS result FROM (SELECT * FROM mixed ORDER BY id OFFSET 0) AS m;
CREATE TABLE alone (id bigint, result float8[]);
DO $$
DECLARE
  one mixed;
BEGIN
  FOR one IN SELECT * FROM mixed LOOP
    EXECUTE format('INSERT INTO alone SELECT %s, everything(%L, %L, %L, %L, %L, %L)', one.id, one.model, one.spend, one.x, one.t_x, one.t, one.m);
  END LOOP;
END $$;
SELECT count(*) AS rows, count(DISTINCT in_turn.result) AS different_results, count(*) FILTER (WHERE in_turn.result IS DISTINCT FROM alone.result) AS different FROM in_turn JOIN alone USING (id);
SELECT count(*) AS pairs, bool_and(ARRAY[retention.p_alive(a.model, b.x, b.t_x, b.t), retention.p_alive(b.model, b.x, b.t_x, b.t), retention.expected_orders(b.model, b.x, b.t_x, b.t, 30)]
                                   = ARRAY[(SELECT result[1] FROM alone, mixed AS c WHERE c.id = alone.id AND (c.x, c.t, c.kind, c.model) = (b.x, b.t, a.kind, a.model)), bb.result[1], bb.result[2]]) AS same
FROM mixed AS a, mixed AS b JOIN alone AS bb USING (id) WHERE a.id <= 20 AND b.id > 140;
CREATE TABLE fitted AS SELECT kind, retention.fit(kind, x, t_x, t) AS model FROM unnest('{bgnbd,mbgnbd,paretonbd}'::text[]) AS kind,
  (SELECT customer_id, count(*)::float8 - 1 AS x, extract(epoch FROM max(ordered_at) - min(ordered_at))::float8 / 86400 AS t_x, extract(epoch FROM '2024-01-01' - min(ordered_at))::float8 / 86400 AS t
   FROM retention.simulate_orders(1000, '2022-01-01', '2024-01-01') GROUP BY 1) AS shop GROUP BY kind;
SELECT f.kind, bool_and(everything(f.model, spend, x, t_x, t, m) = everything(retention.make_model(f.kind, (f.model).parameters), spend, x, t_x, t, m)) AS made,
       bool_and(everything(f.model, spend, x, t_x, t, m) = everything(f.model::text::retention.model, spend, x, t_x, t, m)) AS read_back
FROM fitted AS f, spend, customer GROUP BY 1 ORDER BY 1;

-- What is missing gives null, and not only in rows of constants.
CREATE TABLE prediction (name text, arguments text[]);
INSERT INTO prediction VALUES
  ('p_alive', '{model,x,t_x,t}'), ('expected_orders', '{model,x,t_x,t,horizon}'), ('expected_orders', '{model,horizon}'), ('order_probability', '{model,x,t_x,t,horizon}'),
  ('order_probability', '{model,horizon}'), ('order_distribution', '{model,x,t_x,t,horizon,most}'), ('order_distribution', '{model,horizon,most}'), ('next_order_days', '{model,x,t_x,t}'),
  ('next_order_days', '{model,x,t_x,t,quantile}'), ('next_order_days', '{model,x,t_x,t,quantile,start}'), ('discounted_orders', '{model,x,t_x,t,horizon,rate}'), ('log_likelihood', '{model,x,t_x,t}'),
  ('expected_spend', '{spend,x,m}'), ('expected_spend', '{spend}'), ('clv', '{model,spend,x,t_x,t,m}'), ('clv', '{model,spend,x,t_x,t,m,horizon}'), ('clv', '{model,spend,x,t_x,t,m,horizon,rate}');
CREATE VIEW example AS SELECT kind, model, spend, 2::float8 AS x, 30::float8 AS t_x, 39::float8 AS t, 12.5::float8 AS m, 52::float8 AS horizon, 0.1::float8 AS rate, 0.5::float8 AS quantile, 'now'::text AS start, 3 AS most FROM purchase, spend;
CREATE FUNCTION outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE query INTO result;
  RETURN coalesce(result, 'null');
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
-- The call with the argument's type and value changed, for all three models.
CREATE FUNCTION changed(prediction prediction, argument text, value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT format('SELECT string_agg(retention.%I(%s)::text, '','' ORDER BY kind) FROM test_predictions.example', prediction.name,
                (SELECT string_agg(CASE WHEN a = argument THEN value ELSE a END, ', ' ORDER BY n) FROM unnest(prediction.arguments) WITH ORDINALITY AS a(a, n)))
$$;
SELECT name, cardinality(arguments) AS arguments, count(*) AS nulls, string_agg(argument, ' ') FILTER (WHERE outcome <> 'null') AS not_null
FROM prediction, unnest(arguments) AS argument,
     outcome(changed(prediction, argument, 'NULL::' || CASE argument WHEN 'model' THEN 'retention.model' WHEN 'spend' THEN 'retention.model' WHEN 'start' THEN 'text' WHEN 'most' THEN 'integer' ELSE 'float8' END))
GROUP BY 1, 2, arguments ORDER BY 1, 2;
SELECT name, cardinality(arguments) AS arguments, outcome(changed(prediction, '', '')) !~ '^null|^[0-9A-Z]{5} ' AS works FROM prediction ORDER BY 1, 2;

-- Values that make no sense are errors.
\i tests/include/failure.sql
CREATE TABLE bad (argument text, value text);
INSERT INTO bad VALUES ('x', '-1'), ('x', '''NaN'''), ('x', '''Infinity'''), ('x', '''-Infinity'''), ('x', '2.5'), ('x', '0'), ('t_x', '-1'), ('t_x', '''NaN'''), ('t_x', '''Infinity'''), ('t_x', '39.001'),
  ('t', '-1'), ('t', '''NaN'''), ('t', '''Infinity'''), ('t', '29'), ('horizon', '-1'), ('horizon', '''NaN'''), ('horizon', '''-Infinity'''), ('horizon', '''Infinity'''),
  ('quantile', '-0.1'), ('quantile', '1'), ('quantile', '1.5'), ('quantile', '''NaN'''), ('quantile', '''Infinity'''), ('most', '-1'), ('most', '2147483647'), ('most', '-2147483648'),
  ('rate', '-1'), ('rate', '-2'), ('rate', '''NaN'''), ('rate', '''Infinity'''), ('m', '0'), ('m', '-5'), ('m', '''NaN'''), ('m', '''Infinity'''), ('m', 'NULL'),
  ('start', '''then'''), ('start', ''''''), ('start', '''Now'''), ('start', '''now ''');
\x
-- Each bad value, with the error, and the functions that give it.
SELECT argument, value, failure.*, string_agg(DISTINCT name, ' ') AS given_by
FROM prediction, unnest(arguments) AS a(argument) JOIN bad USING (argument), failure(changed(prediction, argument, value)) GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY argument COLLATE "C", value COLLATE "C", message COLLATE "C", detail COLLATE "C";
\x
-- For ever: with interest, or where the sum is finite.
SELECT kind, outcome(format('SELECT retention.discounted_orders(%L, 2, 30, 39, ''Infinity'', 0)', model)) AS no_interest FROM purchase ORDER BY kind;
SELECT kind, retention.discounted_orders(model, 2, 30, 39, 'Infinity', 1e-6) BETWEEN 0 AND 1e6 AS little_interest, retention.discounted_orders(model, 2, 30, 39, 'Infinity', 1e6) BETWEEN 0 AND 1e-3 AS much_interest FROM purchase ORDER BY kind;

-- Models made by hand.
CREATE TABLE by_hand (what text, model retention.model);
INSERT INTO by_hand
SELECT what, ROW(kind, parameters, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::retention.model
FROM (VALUES ('good', 'bgnbd', '{0.25,4.5,0.75,2.5}'::float8[]), ('good', 'paretonbd', '{0.25,4.5,0.75,2.5}'), ('three', 'bgnbd', '{1,2,3}'), ('five', 'mbgnbd', '{1,2,3,4,5}'), ('none', 'paretonbd', '{}'), ('null', 'bgnbd', NULL), ('a null', 'bgnbd', '{1,2,NULL,4}'),
             ('zero', 'bgnbd', '{1,0,1,1}'), ('negative', 'mbgnbd', '{1,1,1,-1}'), ('NaN', 'paretonbd', '{NaN,1,1,1}'), ('infinite', 'bgnbd', '{1,1,1,Infinity}'), ('unknown', 'nbd', '{1,2,3,4}'),
             ('no kind', NULL, '{1,2,3,4}'), ('empty kind', '', '{1,2,3,4}'), ('two dimensions', 'bgnbd', '{{1,2},{3,4}}'), ('upper case', 'BGNBD', '{1,2,3,4}'), ('spend', 'gammagamma', '{6,4,15}'), ('spend of four', 'gammagamma', '{6,4,15,1}'), ('other bounds', 'bgnbd', '[-1:2]={0.25,4.5,0.75,2.5}')) AS m(what, kind, parameters);
\x
SELECT what, (model).kind, failure.* FROM by_hand, failure(format('SELECT retention.p_alive(%L, 2, 30, 39)', model));
\x
SELECT name, cardinality(arguments) AS arguments, count(*) AS models, count(DISTINCT (message, detail, hint)) AS errors, string_agg(DISTINCT state, ' ') AS states
FROM prediction, by_hand, failure(changed(prediction, arguments[1], quote_literal(by_hand.model) || '::retention.model')) WHERE what NOT IN ('good', 'other bounds', 'spend', 'spend of four') AND arguments[1] = 'model' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT retention.p_alive(ROW('bgnbd', '{0.25,4.5,0.75,2.5}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::retention.model, 2, 30, 39) = retention.p_alive(model, 2, 30, 39) AS by_row,
       (SELECT bool_and(retention.p_alive(by_hand.model, 2, 30, 39) = retention.p_alive(purchase.model, 2, 30, 39)) FROM by_hand WHERE what = 'other bounds') AS other_bounds FROM purchase WHERE kind = 'bgnbd';
\x
-- One kind of model where the other is wanted; a spend whose mean does not exist.
SELECT what, failure.* FROM (VALUES
  ('spend for purchases', 'SELECT retention.p_alive(spend, 2, 30, 39) FROM test_predictions.spend'), ('spend for purchases', 'SELECT retention.expected_orders(spend, 30) FROM test_predictions.spend'),
  ('purchases for spend', 'SELECT retention.expected_spend(model) FROM test_predictions.purchase'), ('purchases for spend', 'SELECT retention.expected_spend(model, 2, 30) FROM test_predictions.purchase'),
  ('clv, exchanged', 'SELECT retention.clv(spend, model, 2, 30, 39, 12.5) FROM test_predictions.purchase, test_predictions.spend'), ('clv, two purchases', 'SELECT retention.clv(model, model, 2, 30, 39, 12.5) FROM test_predictions.purchase'),
  ('q below 1', 'SELECT retention.expected_spend(retention.make_model(''gammagamma'', ''{6,0.9,15}''))'), ('q of 1', 'SELECT retention.expected_spend(retention.make_model(''gammagamma'', ''{6,1,15}''))'),
  ('q below 1, x = 0', 'SELECT retention.expected_spend(retention.make_model(''gammagamma'', ''{6,0.9,15}''), 0, NULL)'), ('p x + q below 1', 'SELECT retention.expected_spend(retention.make_model(''gammagamma'', ''{0.05,0.9,15}''), 1, 12.5)'),
  ('clv', 'SELECT retention.clv(model, retention.make_model(''gammagamma'', ''{6,0.9,15}''), 0, 0, 39, NULL) FROM test_predictions.purchase')) AS bad(what, query), failure(query);
\x
SELECT close(retention.expected_spend(retention.make_model('gammagamma', '{6,0.9,15}'), 2, 12.5), 6 * (15 + 2 * 12.5) / (6 * 2 + 0.9 - 1)) AS defined_with_purchases;

-- Extremes: parameters from 1e-6 to 1e6, up to 100,000 orders, an hour to a hundred years, idle for long.
CREATE TABLE extreme AS
  SELECT kind, retention.make_model(kind, ARRAY[p1, p2, p3, p4]) AS model, p1 AS r, x, t_x, t
  FROM unnest('{bgnbd,mbgnbd,paretonbd}'::text[]) AS kind, unnest('{1e-6,0.5,1,2.5,1e6}'::float8[]) AS p1, unnest('{1e-6,0.5,1,2.5,1e6}'::float8[]) AS p2, unnest('{1e-6,0.5,1,2.5,1e6}'::float8[]) AS p3, unnest('{1e-6,0.5,1,2.5,1e6}'::float8[]) AS p4,
       (VALUES (0::float8, 0::float8, 0::float8), (0, 0, 0.04), (0, 0, 36525), (1, 0, 0.04), (1, 36525, 36525), (221, 273, 280), (500, 266, 924), (2000, 140, 273), (100000, 0.03, 0.04), (100000, 36525, 36525), (100000, 1, 36525)) AS c(x, t_x, t);
SELECT kind, count(*) AS cases, bool_and(p_alive BETWEEN 0 AND 1) AS p_alive, bool_and(abs(log_likelihood) < 'Infinity') AS log_likelihood,
       bool_and(0 <= e1 AND e1 <= e2 * (1 + 1e-12) AND e2 <= e3 * (1 + 1e-12) AND e3 < 'Infinity') AS expected_orders,
       bool_and(0 <= p1 AND p1 <= p2 * (1 + 1e-12) AND p2 <= p3 * (1 + 1e-12) AND p3 <= p_alive * (1 + 1e-12)) AS order_probability, bool_and(p2 <= e2 * (1 + 1e-9)) AS at_most_expected
FROM (SELECT kind, retention.p_alive(model, x, t_x, t) AS p_alive, retention.log_likelihood(model, x, t_x, t) AS log_likelihood, retention.expected_orders(model, x, t_x, t, 0.04) AS e1, retention.expected_orders(model, x, t_x, t, 30) AS e2, retention.expected_orders(model, x, t_x, t, 36525) AS e3,
             retention.order_probability(model, x, t_x, t, 0.04) AS p1, retention.order_probability(model, x, t_x, t, 30) AS p2, retention.order_probability(model, x, t_x, t, 36525) AS p3
      FROM extreme OFFSET 0) AS e GROUP BY kind ORDER BY kind;
SELECT kind, count(*) AS cases, bool_and(0 <= ALL (d) AND 1 >= ALL (d) AND d[1] + d[2] + d[3] + d[4] <= 1 + 1e-9 AND cardinality(d) = 4) AS order_distribution, bool_and(abs(d[1] + p - 1) < 1e-9) AS order_probability,
       bool_and(0 <= median AND median <= late AND (late < 'Infinity' OR r + x < 0.01)) AS next_order_days, bool_and(0 <= from_last AND from_last * (1 - 1e-12) <= median) AS from_last_order
FROM (SELECT kind, r, x, retention.order_distribution(model, x, t_x, t, 30, 3) AS d, retention.order_probability(model, x, t_x, t, 30) AS p, retention.next_order_days(model, x, t_x, t) AS median, retention.next_order_days(model, x, t_x, t, 0.9) AS late,
             retention.next_order_days(model, x, t_x, t, 0.5, 'last order') AS from_last
      FROM extreme OFFSET 0) AS e GROUP BY kind ORDER BY kind;
-- These take about a millisecond, so of some only.
SELECT kind, count(*) > 200 AS cases, bool_and(0 <= discounted AND discounted <= e * (1 + 1e-9) AND discounted <= for_ever * (1 + 1e-9) AND for_ever < 'Infinity') AS discounted_orders
FROM (SELECT kind, retention.discounted_orders(model, x, t_x, t, 365, 0.001) AS discounted, retention.expected_orders(model, x, t_x, t, 365) AS e, retention.discounted_orders(model, x, t_x, t, 'Infinity', 0.001) AS for_ever
      FROM extreme WHERE abs(hashtext(model::text || x || t_x)) % 20 = 0 OFFSET 0) AS e GROUP BY kind ORDER BY kind;
SELECT count(*) AS cases, bool_and(0 < mean AND mean < 'Infinity') AS expected_spend
FROM unnest('{1e-6,0.5,1,2.5,1e6}'::float8[]) AS p, unnest('{1.000001,2.5,1e6}'::float8[]) AS q, unnest('{1e-6,0.5,1,2.5,1e6}'::float8[]) AS v,
     (VALUES (0::float8, 0::float8), (1, 1e-9), (1, 1e12), (100000, 1e-9), (100000, 1e12)) AS c(x, m), retention.expected_spend(retention.make_model('gammagamma', ARRAY[p, q, v]), x, m) AS mean;

-- Simulated shops of every model.
CREATE FUNCTION shop(purchase retention.model, spend retention.model) RETURNS TABLE (customer_id bigint, order_id bigint, ordered_at timestamptz, amount numeric) LANGUAGE sql AS
  $$SELECT * FROM retention.simulate_orders(500, '2022-01-01', '2024-01-01', 3, purchase, spend)$$;
SELECT count(*) > 1000 AS rows, count(*) FILTER (WHERE n <> 2) AS different
FROM (SELECT count(*) AS n FROM (SELECT * FROM shop(retention.make_model('bgnbd', '{0.6,30,0.9,3}'), retention.make_model('gammagamma', '{6,4,20}'))
        UNION ALL SELECT * FROM retention.simulate_orders(500, '2022-01-01', '2024-01-01', 3, r => 0.6, alpha => 30, a => 0.9, b => 3, p => 6, q => 4, v => 20)) AS both_forms GROUP BY customer_id, order_id, ordered_at, amount) AS row;
SELECT kind, count(DISTINCT customer_id) AS customers, count(*) > 600 AS orders, bool_and(ordered_at >= '2022-01-01' AND ordered_at < '2024-01-01') AS within, bool_and(amount >= 0.01 AND scale(amount) = 2) AS cents,
       count(*) = (SELECT count(*) FROM shop(retention.make_model(kind, '{0.6,30,0.9,3}'), retention.make_model('gammagamma', '{6,4,20}')) JOIN (SELECT * FROM shop(retention.make_model(kind, '{0.6,30,0.9,3}'), retention.make_model('gammagamma', '{6,4,20}'))) AS again USING (customer_id, order_id, ordered_at, amount)) AS same_again
FROM unnest('{bgnbd,mbgnbd,paretonbd}'::text[]) AS kind, shop(retention.make_model(kind, '{0.6,30,0.9,3}'), retention.make_model('gammagamma', '{6,4,20}')) GROUP BY kind ORDER BY kind;
\x
SELECT what, failure.* FROM (VALUES
  ('exchanged', 'SELECT FROM retention.simulate_orders(5, ''2022-01-01'', ''2024-01-01'', 3, retention.make_model(''gammagamma'', ''{6,4,20}''), retention.make_model(''bgnbd'', ''{1,2,3,4}''))'),
  ('two purchases', 'SELECT FROM retention.simulate_orders(5, ''2022-01-01'', ''2024-01-01'', 3, retention.make_model(''bgnbd'', ''{1,2,3,4}''), retention.make_model(''bgnbd'', ''{1,2,3,4}''))'),
  ('by hand', 'SELECT FROM retention.simulate_orders(5, ''2022-01-01'', ''2024-01-01'', 3, (SELECT model FROM test_predictions.by_hand WHERE what = ''three''), retention.make_model(''gammagamma'', ''{6,4,20}''))'),
  ('null', 'SELECT FROM retention.simulate_orders(5, ''2022-01-01'', ''2024-01-01'', 3, NULL::retention.model, retention.make_model(''gammagamma'', ''{6,4,20}''))'),
  ('customers', 'SELECT FROM retention.simulate_orders(-5, ''2022-01-01'', ''2024-01-01'', 3, retention.make_model(''bgnbd'', ''{1,2,3,4}''), retention.make_model(''gammagamma'', ''{6,4,20}''))'),
  ('time', 'SELECT FROM retention.simulate_orders(5, ''2024-01-01'', ''2022-01-01'', 3, retention.make_model(''bgnbd'', ''{1,2,3,4}''), retention.make_model(''gammagamma'', ''{6,4,20}''))')) AS bad(what, query), failure(query);
\x
DROP SCHEMA test_predictions CASCADE;
