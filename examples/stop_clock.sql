-- Stops the clock of this database's new sessions a day after the shop's last
-- order, so that groups are as of that time however old the orders are.
SELECT format('ALTER DATABASE %I SET retention.as_of = %L', current_database(), max(ordered_at) + interval '1 day')
FROM shop.orders \gexec
