# Logical replication: the extension's own tables can be published, and what a subscription writes
# into tracked tables is captured.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %node;
foreach my $name (qw(publisher subscriber))
{
	$node{$name} = PostgreSQL::Test::Cluster->new($name);
	$node{$name}->init(allows_streaming => 'logical');
	$node{$name}->append_conf('postgresql.conf', <<'CONF');
jit = off
fsync = off
timezone = 'UTC'
client_min_messages = warning
retention.as_of = '2024-06-01'
CONF
	$node{$name}->start;
}

sub run_on
{
	my ($name, $sql, $database) = @_;
	return $node{$name}->safe_psql($database // 'postgres', $sql);
}

sub on_publisher { return run_on('publisher', @_) }
sub on_subscriber { return run_on('subscriber', @_) }

my $subscriptions = 0;

sub subscribe
{
	my ($publication, $database) = @_;
	my $name = 'subscription_' . ++$subscriptions;
	my $connection = $node{publisher}->connstr($database) =~ s/'/''/gr;

	run_on('subscriber', "CREATE SUBSCRIPTION $name CONNECTION '$connection' PUBLICATION $publication", $database);
	synchronised($name, $database);
	return $name;
}

sub synchronised
{
	my ($name, $database) = @_;
	$node{subscriber}->poll_query_until($database,
		q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')})
		or die 'the initial copy does not end';
	$node{publisher}->wait_for_catchup($name);
}

# What has been noted since the last call, by table: the keys, or * for anything.
sub noted
{
	return on_subscriber(<<'SQL');
WITH gone AS (DELETE FROM retention.change_log RETURNING *)
SELECT relation || ': ' || string_agg(DISTINCT coalesce(k, '*'), ' ' ORDER BY coalesce(k, '*'))
FROM gone LEFT JOIN LATERAL unnest(customer_ids) AS k ON true
GROUP BY relation ORDER BY relation::text
SQL
}

my $tables = <<'SQL';
CREATE TABLE orders (id integer PRIMARY KEY, customer_id text, ordered_at timestamptz, amount numeric);
CREATE TABLE consent (person bigint, id integer PRIMARY KEY);
CREATE TABLE sale (id integer, buyer uuid, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
SQL
on_publisher("$tables; CREATE PUBLICATION shop FOR ALL TABLES WITH (publish_via_partition_root = true);
	INSERT INTO orders SELECT i, i % 100, timestamptz '2023-01-01' + i * interval '1 hour', 10
		FROM generate_series(1, 8000) i;
	INSERT INTO consent VALUES (1, 1), (2, 2)");
on_subscriber("CREATE EXTENSION retention; $tables;
	CREATE INDEX ON orders (customer_id);
	SELECT retention.add_source('orders'), retention.track('orders'),
		retention.track('consent', 'person'), retention.track('sale', 'buyer');
	CALL retention.refresh()");

# A large initial copy is not noted row by row.
my $subscription = subscribe('shop', 'postgres');
is(on_subscriber(q{SELECT count(*), count(*) FILTER (WHERE customer_ids IS NULL)
	FROM retention.change_log WHERE relation = 'orders'::regclass}),
	'5001|1', 'of an initial copy, some thousand rows, and that anything may have changed');
on_subscriber('CALL retention.process_changes()');
is(on_subscriber('SELECT count(*), sum(orders) FROM retention.customer'), '100|8000',
	'process_changes rebuilds the metric');
is(noted(), '', 'the log is empty');

# What happens on the publisher, and what is noted of it.
my $uuid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1';
foreach my $case (
	[ "INSERT INTO orders VALUES (9001, 'a', '2024-05-01', 1), (9002, 'b', '2024-05-01', 1)", 'orders: a b' ],
	[ "UPDATE orders SET customer_id = 'c' WHERE id = 9001", 'orders: a c' ],
	[ "UPDATE orders SET amount = 2 WHERE id = 9002", 'orders: b' ],
	[ 'DELETE FROM orders WHERE id = 9002', 'orders: b' ],
	[ "INSERT INTO orders VALUES (9003, NULL, '2024-05-01', 1), (9004, ' ', '2024-05-01', 1)", '' ],
	[ 'INSERT INTO consent VALUES (7, 7); DELETE FROM consent WHERE id = 1', 'consent: 1 7' ],
	[ 'BEGIN; INSERT INTO consent VALUES (8, 8); SAVEPOINT s; INSERT INTO consent VALUES (9, 9); '
		. 'ROLLBACK TO s; INSERT INTO consent VALUES (10, 10); COMMIT', 'consent: 10 8' ],
	[ 'TRUNCATE consent', 'consent: *' ],
	[ "INSERT INTO sale VALUES (1, '${uuid}1', '2024-01-01')", "sale_1: ${uuid}1" ],
	[ "UPDATE sale SET buyer = '${uuid}2'", "sale_1: ${uuid}1 ${uuid}2" ])
{
	my ($statement, $expected) = @$case;
	on_publisher($statement);
	$node{publisher}->wait_for_catchup($subscription);
	is(noted(), $expected, $statement);
}
# A partition made later, on both sides; an update that moves a row.
my $february = q{FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')};
run_on($_, "CREATE TABLE sale_2 PARTITION OF sale $february") foreach (qw(subscriber publisher));
on_publisher(q{UPDATE sale SET day = '2024-02-02'});
$node{publisher}->wait_for_catchup($subscription);
is(noted(), "sale_1: ${uuid}2\nsale_2: ${uuid}2", 'a row moves to a new partition');
my $untracked = q{SELECT untracked_partitions FROM retention.tracked WHERE relation = 'sale'::regclass};
is(on_subscriber($untracked), '1', 'of which it is told that direct writes are not captured');

# What is stored after process_changes is what a rebuild stores.
on_subscriber('CALL retention.refresh(full => true)');
on_publisher(q{INSERT INTO orders SELECT 10000 + i, i % 7, '2024-05-01', 5 FROM generate_series(1, 50) i;
	UPDATE orders SET customer_id = 'moved' WHERE id % 500 = 0;
	DELETE FROM orders WHERE id % 300 = 0});
$node{publisher}->wait_for_catchup($subscription);
my $customers = 'SELECT customer_id, orders, revenue, last_order_at FROM retention.customer';
on_subscriber("CALL retention.process_changes(); CREATE TABLE processed AS $customers");
on_subscriber('CALL retention.refresh(full => true)');
is(on_subscriber("SELECT count(*) FROM (($customers EXCEPT ALL TABLE processed)
		UNION ALL (TABLE processed EXCEPT ALL $customers)) AS differing"), '0',
	'process_changes has found all that was replicated');

# Writers of the subscriber's own are noted once, by statement.
on_subscriber(q{INSERT INTO consent SELECT i, i FROM generate_series(1, 100) i});
is(on_subscriber('SELECT count(*), sum(cardinality(customer_ids)) FROM retention.change_log'), '1|100',
	'local statements are captured as before');
# Sessions that load data as a replica does, and what is rolled back in them.
on_subscriber(q{DELETE FROM retention.change_log; SET session_replication_role = replica;
	BEGIN; SAVEPOINT s; INSERT INTO consent SELECT i, i FROM generate_series(1001, 7000) i;
	ROLLBACK TO s; INSERT INTO consent VALUES (8001, 8001); COMMIT});
is(noted(), 'consent: 8001', 'a rolled-back subtransaction that had too many rows hides nothing');
on_subscriber(q{SET session_replication_role = replica;
	INSERT INTO consent SELECT i, i FROM generate_series(10001, 20000) i; TRUNCATE sale});
is(on_subscriber('SELECT relation, count(*) FROM retention.change_log GROUP BY 1 ORDER BY relation::text'),
	"consent|5001\nsale|1\nsale_1|1", 'a load by a replica is captured');

# A restored copy fires as before.
my $triggers = q{SELECT tgrelid::regclass, tgname, tgenabled, tgparentid <> 0
	FROM pg_trigger WHERE tgname LIKE 'retention%' ORDER BY tgrelid::regclass::text, tgname};
on_subscriber('CREATE DATABASE copy');
$node{subscriber}->command_ok(
	[ 'sh', '-c', 'pg_dump --no-subscriptions -d "$1" | psql -qX -v ON_ERROR_STOP=1 -d "$2"',
		'sh', map { $node{subscriber}->connstr($_) } qw(postgres copy) ],
	'a tracked subscriber is dumped and restored');
is(on_subscriber($triggers, 'copy'), on_subscriber($triggers), 'the triggers are as they were');
on_subscriber('DROP EXTENSION retention', 'copy');
is(on_subscriber($triggers, 'copy'), '', 'and go with the extension');

# Partitions tracked by themselves and by their table, in any order, and taken out again.
on_subscriber(q{SELECT retention.track('sale_1', 'buyer'), retention.track('sale', 'buyer')});
is(on_subscriber($untracked), '0', 'tracked again, the new partition is covered');
on_subscriber(q{SELECT retention.track('sale_2', 'buyer'); DELETE FROM retention.change_log});
on_subscriber(qq{ALTER TABLE sale DETACH PARTITION sale_2; SELECT retention.track('sale_2', 'buyer');
	ALTER TABLE sale ATTACH PARTITION sale_2 $february});
on_publisher(qq{INSERT INTO sale VALUES (5, '${uuid}5', '2024-02-05')});
$node{publisher}->wait_for_catchup($subscription);
is(noted(), "sale_2: ${uuid}5", 'a partition that was tracked by itself is attached');
on_subscriber(q{SELECT retention.untrack(relation) FROM unnest('{orders,consent,sale}'::regclass[]) AS relation});
is(on_subscriber($triggers), '', 'untrack leaves no trigger');
on_subscriber("DROP SUBSCRIPTION $subscription");

# The extension's own tables, published with all others, for another server that has the extension.
on_publisher('CREATE DATABASE shop');
on_subscriber('CREATE DATABASE shop');
my $flow = '{"name": "hello", "trigger": {"type": "order"}, "nodes": [
	{"id": "mail", "type": "message", "channel": "email", "subject": "Hello", "body": "Hello"}]}';
run_on('publisher', <<"SQL", 'shop');
CREATE EXTENSION retention;
CREATE TABLE orders (id integer PRIMARY KEY, customer_id text, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT i, i % 40, timestamptz '2024-05-31' - i * interval '1 day', 10
	FROM generate_series(1, 400) i;
SELECT retention.add_source('orders', order_id => 'id', events => true), retention.track('orders');
CALL retention.refresh();
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 100;
SELECT retention.add_segment('spenders'), retention.add_consumer('reader');
INSERT INTO retention.contact (customer_id, email, email_consent)
	SELECT i, i || '\@example.com', true FROM generate_series(1, 60) i;
SELECT retention.create_flow('$flow'), retention.publish('hello'), retention.set_status('hello', 'live');
CREATE PUBLICATION everything FOR ALL TABLES;
SQL
run_on('subscriber', <<'SQL', 'shop');
CREATE EXTENSION retention;
TRUNCATE retention.rfm_cell;
CREATE TABLE orders (id integer PRIMARY KEY, customer_id text, ordered_at timestamptz, amount numeric);
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 100;
SQL
$subscription = subscribe('everything', 'shop');
my $own = q{SELECT c.oid::regclass::text FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass
	  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retention')
	  AND d.deptype = 'e' AND c.relkind IN ('r', 'p')};
my $contents = sub {
	my ($name) = @_;
	my $content = q{SELECT '%1$s', count(*), md5(string_agg(t::text, '' ORDER BY t::text COLLATE "C")) FROM %1$s t};

	return run_on($name, join(' UNION ALL ', map { sprintf $content, $_ } split /\n/, run_on($name, $own, 'shop')) . ' ORDER BY 1', 'shop');
};
foreach my $step ("INSERT INTO orders SELECT 1000 + i, i, '2024-06-01', 50 FROM generate_series(1, 60) i",
	'CALL retention.process_changes()',
	"SELECT retention.enroll('hello', '5')",
	'CALL retention.run_flows()',
	q{SELECT count(*) FROM retention.claim_messages('email', 3)},
	'CALL retention.refresh(full => true)',
	q{SELECT retention.suppress('email', 'a@example.com')},
	'DELETE FROM orders WHERE id % 3 = 0',
	'CALL retention.process_changes()',
	"SELECT retention.drop_metric('orders')")
{
	run_on('publisher', $step, 'shop');
	$node{publisher}->wait_for_catchup($subscription);
	is($contents->('subscriber'), $contents->('publisher'), "the subscriber has the same: $step");
}

$_->stop foreach (values %node);
done_testing();
