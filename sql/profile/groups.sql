-- Ready-made segments.

CREATE OR REPLACE VIEW retention.champions AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Champions';
COMMENT ON VIEW retention.champions IS 'Customers of metric "orders" in group Champions.';

CREATE OR REPLACE VIEW retention.loyal AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Loyal';
COMMENT ON VIEW retention.loyal IS 'Customers of metric "orders" in group Loyal.';

CREATE OR REPLACE VIEW retention.recent AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Recent';
COMMENT ON VIEW retention.recent IS 'Customers of metric "orders" in group Recent.';

CREATE OR REPLACE VIEW retention.needs_attention AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Needs Attention';
COMMENT ON VIEW retention.needs_attention IS
  'Customers of metric "orders" in group Needs Attention.';

CREATE OR REPLACE VIEW retention.at_risk AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'At Risk';
COMMENT ON VIEW retention.at_risk IS 'Customers of metric "orders" in group At Risk.';

CREATE OR REPLACE VIEW retention.inactive AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Inactive';
COMMENT ON VIEW retention.inactive IS 'Customers of metric "orders" in group Inactive.';

CREATE OR REPLACE VIEW retention.win_back AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group IN ('At Risk', 'Needs Attention', 'Need Attention',
                                            'Can''t Lose Them');
COMMENT ON VIEW retention.win_back IS
  'Customers of metric "orders" who were good ones and are drifting away: at risk, or in need of '
  'attention.';

CREATE OR REPLACE VIEW retention.one_time_buyers AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND historic_number_of_orders = 1;
COMMENT ON VIEW retention.one_time_buyers IS 'Customers of metric "orders" with exactly one order.';

CREATE OR REPLACE VIEW retention.overdue AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND overdue;
COMMENT ON VIEW retention.overdue IS
  'Customers of metric "orders" who should have ordered again by now: nine in ten of such '
  'customers would have.';

CREATE OR REPLACE VIEW retention.churn_risk_high AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND churn_risk = 'high';
COMMENT ON VIEW retention.churn_risk_high IS 'Customers of metric "orders" who have probably left.';

CREATE OR REPLACE VIEW retention.vip AS
  SELECT p.* FROM retention.profile p
  -- By the bounds that the scores were given by: the settings may have changed since.
  WHERE p.metric = 'orders'
    AND (p.f, p.m) = (SELECT cardinality(l.frequency_bounds) + 1, cardinality(l.monetary_bounds) + 1
                      FROM retention.population l WHERE l.metric = 'orders' AND NOT l.backfilled
                      ORDER BY l.refresh_id DESC LIMIT 1);
COMMENT ON VIEW retention.vip IS
  'Customers of metric "orders" with the highest score for frequency and for revenue.';

CREATE OR REPLACE VIEW retention.due_soon AS
  SELECT p.* FROM retention.profile p JOIN retention.metric s USING (metric)
  WHERE p.metric = 'orders'
    AND p.expected_date_of_next_order - retention._local_date(retention.now(),
        s.time_zone) BETWEEN 0 AND 7;
COMMENT ON VIEW retention.due_soon IS
  'Customers of metric "orders" whose next order is expected within the next seven days.';
