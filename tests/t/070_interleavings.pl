# All interleavings of two writers, process_changes, refresh and add_segment: no change is lost or doubled, and nothing deadlocks.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $isolationtester = ($ENV{PG_REGRESS} // '') =~ s{regress/pg_regress$}{isolation/isolationtester}r;
plan skip_all => 'there is no isolationtester' unless -x $isolationtester;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nfsync = off\nautovacuum = off\nretention.as_of = '2024-06-01'\nclient_min_messages = error");
$node->start;

# What stays from one interleaving to the next.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION retention;
CREATE TABLE orders (customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
SELECT retention.add_metric('orders', frequency_values => '{2,4}', monetary_values => '{30,60}');
SELECT retention.add_source('orders');
SELECT retention.track('orders');
CREATE TABLE others (LIKE orders);
SELECT retention.add_metric('others'), retention.add_source('others', metric => 'others');
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND historic_clv > 40;
CREATE VIEW valued AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND historic_clv > 30;
CREATE VIEW several AS SELECT customer_id FROM orders GROUP BY customer_id HAVING count(*) > 2;
CREATE VIEW expected_member AS
  SELECT 'spenders' AS segment, customer_id FROM spenders
  UNION ALL SELECT segment, customer_id::text FROM several, retention.segment WHERE segment = 'several'
  UNION ALL SELECT segment, customer_id FROM valued, retention.segment WHERE segment = 'valued';
CREATE FUNCTION prepare() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM retention.drop_segment(segment) FROM retention.segment;
  PERFORM retention.reset_metric('orders');
  DELETE FROM orders;
  INSERT INTO orders SELECT i % 6, timestamptz '2024-05-31' - i * interval '30 days', 10 FROM generate_series(1, 18) i;
  DELETE FROM retention.change_log;
  DELETE FROM retention.segment_change;
  CALL retention.refresh();
  PERFORM retention.add_segment('spenders');
END $$;
CREATE FUNCTION differing() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM (
    (SELECT customer_id, orders, revenue, last_order_at FROM retention.customer WHERE metric = 'orders' EXCEPT ALL SELECT customer_id::text, count(*), sum(amount), max(ordered_at) FROM orders GROUP BY 1)
    UNION ALL (SELECT customer_id::text, count(*), sum(amount), max(ordered_at) FROM orders GROUP BY 1 EXCEPT ALL SELECT customer_id, orders, revenue, last_order_at FROM retention.customer WHERE metric = 'orders')) AS customers
  FULL JOIN (
    (SELECT segment, customer_id FROM retention.segment_member EXCEPT (SELECT segment, customer_id FROM expected_member))
    UNION ALL ((SELECT segment, customer_id FROM expected_member) EXCEPT SELECT segment, customer_id FROM retention.segment_member)) AS members ON false
  FULL JOIN (
    SELECT FROM (SELECT change, lag(change) OVER (PARTITION BY segment, customer_id ORDER BY change_id) AS previous FROM retention.segment_change) AS c WHERE change IS NOT DISTINCT FROM previous) AS twice ON false
$$;
SQL

my $spec = <<'SPEC';
setup { SELECT prepare(); }

session first
step begin_first { BEGIN; INSERT INTO orders VALUES (1, '2024-05-31', 50), (7, '2024-05-30', 5); UPDATE orders SET customer_id = 2 WHERE customer_id = 3; }
step commit_first { COMMIT; }

session second
step begin_second { BEGIN; DELETE FROM orders WHERE customer_id = 4; INSERT INTO orders VALUES (1, '2024-05-29', 3), (8, '2024-05-30', 70); }
step commit_second { COMMIT; }

session job
step process { CALL retention.process_changes(); }
step again { CALL retention.process_changes(); }
step begin_process { BEGIN; CALL retention.process_changes(); }
step commit_process { COMMIT; }

session helper
step begin_help { BEGIN; CALL retention.process_changes(); }
step commit_help { COMMIT; }

session nightly
step refresh { CALL retention.refresh(full => true); }
step begin_refresh { BEGIN; CALL retention.refresh(full => true); }
step commit_refresh { COMMIT; }

session weekly
step begin_others { BEGIN; CALL retention.refresh('others'); }
step commit_others { COMMIT; }

session author
step add { SELECT retention.add_segment('several') AS added; }
step begin_add { BEGIN; SELECT retention.add_segment('several') AS several, retention.add_segment('valued') AS valued; }
step commit_add { COMMIT; }

session auditor
step settle { CALL retention.process_changes(); }
step audit { SELECT 'differing: ' || differing() AS result; }
SPEC

# The orders in which the sessions' steps can come.
sub interleavings
{
	my @sessions = grep { @$_ } @_;
	return ([]) unless @sessions;
	return map {
		my $chosen = $_;
		my @rest = map { $_ == $chosen ? [ @{ $sessions[$_] }[ 1 .. $#{ $sessions[$_] } ] ] : $sessions[$_] } 0 .. $#sessions;
		map { [ $sessions[$chosen][0], @$_ ] } interleavings(@rest);
	} 0 .. $#sessions;
}

# Of those whose transactions stay open, one at a time holds the locks: the others wait, and cannot commit before.
sub takes_turns
{
	my @waiting;

	foreach my $step (@_)
	{
		my ($what, $who) = $step =~ /^(begin|commit)_(?!first|second)(.*)/ or next;
		if ($what eq 'begin') { push @waiting, $who; }
		elsif (shift @waiting ne $who) { return 0; }
	}
	return 1;
}

sub permutations
{
	return join '', map { 'permutation ' . join(' ', @$_, 'settle', 'audit') . "\n" } grep { takes_turns(@$_) } interleavings(@_);
}

sub run_spec
{
	my ($name, $expected, @sessions) = @_;
	my ($out, $err) = ('', '');
	my $text = $spec . permutations(@sessions);

	IPC::Run::run([ $isolationtester, $node->connstr('postgres') ], '<', \$text, '>', \$out, '2>', \$err);
	is(join("\n", grep { !/^unused step/ } split /\n/, $err), '', "$name: the tester has nothing to say");
	is(scalar(() = $out =~ /^starting permutation/mg), $expected, "$name: $expected interleavings were tried");
	is(scalar(() = $out =~ /differing: 0\b/g), $expected, "$name: each of them left everything as it should be");
	is(join("\n", grep { /ERROR|deadlock|differing: [1-9]/ } split /\n/, $out), '', "$name: no error, no deadlock, no difference");
}

my @writers = ([ 'begin_first', 'commit_first' ], [ 'begin_second', 'commit_second' ]);
run_spec('writers, job and refresh', 180, @writers, ['process'], ['refresh']);
run_spec('writers, job and new segment', 180, @writers, ['process'], ['add']);
run_spec('a writer and everybody else', 180, $writers[0], [ 'process', 'again' ], ['refresh'], ['add']);

# Transactions that stay open, so that the next one has to wait, and must see what it has waited for.
my @open = map { [ "begin_$_", "commit_$_" ] } qw(process help refresh others add);
foreach my $pair ([ 0, 1 ], [ 0, 2 ], [ 0, 3 ], [ 0, 4 ], [ 2, 4 ], [ 3, 4 ])
{
	my ($a, $b) = @open[@$pair];
	run_spec("a writer, $a->[0] and $b->[0]", 60, $writers[0], $a, $b);
}

$node->stop;
done_testing();
