-- The same by the profile, which is to cost nothing more.
SELECT count(metric), count(customer_id), count(historic_clv), count(historic_number_of_orders), count(average_order_value),
       count(average_days_between_orders), count(days_between_orders_sd), count(purchase_days),
       count(first_order_at), count(last_order_at), count(r), count(f), count(m),
       count(rfm_group), count(previous_rfm_group), count(rfm_group_changed_at)
FROM retention.profile;
