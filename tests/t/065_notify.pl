# LISTEN retention_segment: once for each segment and transaction that changes its members, when that is committed.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nfsync = off\nretention.as_of = '2024-06-01'");
$node->start;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION retention;
CREATE TABLE orders (customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT i % 20, timestamptz '2024-05-31' - i * interval '1 day', 10 FROM generate_series(1, 100) i;
SELECT retention.add_source('orders'), retention.track('orders');
CALL retention.refresh();
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 100;
CREATE VIEW "It's several" AS SELECT customer_id FROM retention.profile WHERE historic_number_of_orders <> 5;
SELECT retention.add_segment('spenders'), retention.add_segment('"It''s several"');
SQL

# What a session that listens is told while it runs these commands; psql prints what has come after each.
sub told
{
	my ($commands) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "LISTEN retention_segment;\n$commands;\nSELECT 1;", on_error_stop => 1);

	is($status, 0, "runs: $commands") or diag($err);
	return join ', ', sort($out =~ /^Asynchronous notification "retention_segment" with payload "(.*)" received from server process with PID \d+\.$/mg);
}

my $order = q{INSERT INTO orders VALUES (%d, '2024-05-31', %d)};
my $process = 'CALL retention.process_changes()';

is(told(sprintf("$order; $process", 1, 500)), "It's several, spenders", 'a customer enters two segments: each is told of once');
is(told(sprintf("$order; $process", 1, 5)), '', 'a customer changes, no segment does');
is(told($process), '', 'nothing has changed');
is(told(sprintf("$order; BEGIN; $process; ROLLBACK", 2, 500)), '', 'what is rolled back is not told');
is(told($process), "It's several, spenders", 'but when it is done again');
is( told("BEGIN; DELETE FROM orders WHERE customer_id = 1 AND amount > 100; $process; " . sprintf("$order; $process; COMMIT", 3, 500)),
	"It's several, spenders",
	'one leaves, others enter, in two calls: once, for it is one transaction');
is(told(sprintf("$order; $process; $order; $process", 4, 500, 5, 500)), "It's several, It's several, spenders, spenders", 'two transactions, twice');
is(told(sprintf("$order; CALL retention.refresh()", 6, 1)), "It's several", 'a refresh tells too, of the segments that it changes');
is(told('CALL retention.refresh(full => true)'), '', 'or nothing');
is(told(q{SELECT retention.drop_segment('spenders')}), 'spenders', 'members leave a segment that is dropped');
is(told(q{DELETE FROM retention.segment_member WHERE customer_id = '6'}), "It's several", 'or are deleted by hand');
is(told('DELETE FROM retention.segment_member WHERE false'), '', 'or none is');

# Whoever listens is told of what others do, and told with the commit.
my ($status, $out) = $node->psql('postgres', <<"SQL");
LISTEN retention_segment;
\\! psql -qX -c "@{[sprintf $order, 7, 500]}" -c "$process" >/dev/null 2>&1
SELECT count(*) FROM retention.segment_change WHERE customer_id = '7';
SQL
like($out, qr/^1\n.*with payload "It's several" received/, 'another session is told, and can read the change');

$node->stop;
done_testing();
