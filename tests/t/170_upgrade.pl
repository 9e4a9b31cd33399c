# ALTER EXTENSION UPDATE: an older version that is updated is the same as one made anew, and goes on with all that is under way.
# Where it fails after a change of sql/, sql/upgrades/README.md tells how to complete the hand-written part.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use File::Copy qw(copy);
use JSON::PP;
use Test::More;

my $source = $ENV{RETENTION_SOURCE};
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nautovacuum = off\njit = off\nfsync = off");
$node->start;

sub make_database { my ($database) = @_; $node->safe_psql('postgres', "CREATE DATABASE $database"); return; }
sub output_of { my ($database, $file) = @_; return split /\n/, $node->safe_psql($database, slurp_file("$source/tests/include/$file.sql")); }

# What DROPs the hand-written part needs, for CREATE OR REPLACE cannot do it: as statements, with the reasons.
sub needed_drops
{
	my ($old, $fresh) = @_;
	my %fresh = map { my ($kind, $name, $facts) = split /\t/; ("$kind $name" => decode_json($facts)) } output_of($fresh, 'replaceable');
	my @needed;
	foreach (output_of($old, 'replaceable'))
	{
		my ($kind, $name, $facts) = split /\t/;
		my ($was, $is) = (decode_json($facts), $fresh{"$kind $name"});
		my @reasons = $is ? grep { cannot_become($was->{$_}, $is->{$_}) } sort keys %$was : 'it is gone';
		push @needed, "DROP $kind $name; -- " . join(', ', @reasons) if @reasons;
	}
	return join "\n", sort @needed;
}

# Lists may get longer, everything else must stay.
sub cannot_become
{
	my ($was, $is) = @_;
	return $was ne $is unless ref $was;
	return @$is < @$was || grep { $was->[$_] ne $is->[$_] } 0 .. $#$was;
}

# Lines of the one that the other has not: "-" what an update has left as it was, "+" what a fresh extension has instead.
sub differences
{
	my ($updated, $fresh) = @_;
	my %updated = map { $_ => 1 } output_of($updated, 'catalog');
	my %fresh = map { $_ => 1 } output_of($fresh, 'catalog');
	return join "\n", map { substr $_, 0, 400 } (map { "- $_" } grep { !$fresh{$_} } sort keys %updated), (map { "+ $_" } grep { !$updated{$_} } sort keys %fresh);
}

sub update { my ($database, $version) = @_; return ($node->psql($database, "ALTER EXTENSION retention UPDATE TO '$version'"))[2]; }

my ($version) = slurp_file("$source/retention.control") =~ /^default_version = '(.*)'/m or die;
my @released = map { m{--(.+)\.sql$} } glob "$source/sql/released/retention--*.sql";
cmp_ok(scalar @released, '>', 0, 'there are released versions');

make_database('fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION retention');

foreach my $old (@released)
{
	make_database($_) foreach qw(old updated);
	# The last version's functions, at least, must find what they call in the library.
	my ($symbols) = join ',', map { "'$_'" } slurp_file("$source/sql/released/retention--$old.sql") =~ /^\s*AS 'MODULE_PATHNAME', '(\w+)'/mg;
	is($node->safe_psql('old', <<"SQL"), '', "$old: the library has all that its functions call");
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.is_missing(symbol text) RETURNS boolean LANGUAGE plpgsql AS \$\$
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS void LANGUAGE c AS ''\$libdir/retention'', %L', symbol);
  RETURN false;
EXCEPTION WHEN undefined_function THEN
  RETURN true;
END \$\$;
SELECT DISTINCT s FROM unnest(ARRAY[$symbols]) AS s WHERE pg_temp.is_missing(s) ORDER BY s;
SQL
	$node->safe_psql($_, "CREATE EXTENSION retention VERSION '$old'") foreach qw(old updated);
	my $needed = needed_drops('old', 'fresh');
	is(update('updated', $version), '', "$old: it can be updated")
	  or diag("The hand-written part must have, before or after functions and views:\n$needed");
	is(differences('updated', 'fresh'), '', "$old: what has been updated is what is made anew")
	  or diag("sql/upgrades/README.md tells how to complete the hand-written part. It must have:\n$needed");
	foreach my $table (split /\n/, $node->safe_psql('fresh', "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'retention'::regnamespace AND relkind = 'r' ORDER BY 1"))
	{
		my ($there, $here) = map { ($node->psql($_, "SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM $table AS t"))[1] } qw(updated fresh);
		is($there, $here, "$old: $table has what it has from the start") if $here !~ /^0\|/ && $table ne 'retention.secret';
	}
	$node->safe_psql('postgres', "DROP DATABASE $_") foreach qw(old updated);
}

# A shop with everything under way, in the last released version, is updated; another one is there from the start with the present one.
my $last = $released[-1];
$node->safe_psql('postgres', 'CREATE ROLE sender; CREATE ROLE analyst');
make_database($_) foreach qw(shop twin);
$node->safe_psql('shop', "CREATE EXTENSION retention VERSION '$last'");
$node->safe_psql('twin', 'CREATE EXTENSION retention');

my $fill = <<'SQL';
SET client_min_messages = warning;
SET retention.as_of = '2024-01-01';
SELECT retention.grant_access('sender', 'operator'), retention.grant_access('analyst', 'analyst');
CREATE SCHEMA shop;
CREATE TABLE shop.orders (customer_id bigint, ordered_at timestamptz, amount numeric, order_id bigint);
INSERT INTO shop.orders SELECT customer_id, ordered_at, amount, order_id FROM retention.simulate_orders(400, '2022-01-01', '2024-01-01', 5);
CREATE INDEX ON shop.orders (customer_id);
CREATE TABLE shop.refunds (customer_id bigint, ordered_at timestamptz, amount numeric, order_id bigint);
INSERT INTO shop.refunds SELECT customer_id, ordered_at + interval '1 day', amount, order_id FROM shop.orders WHERE order_id % 10 = 0;
SELECT retention.add_source('shop.orders', order_id => 'order_id', events => true), retention.add_source('shop.refunds', order_id => 'order_id', kind => 'refund'),
       retention.track('shop.orders'), retention.alter_metric('orders', time_zone => 'Europe/Warsaw');
UPDATE retention.rfm_cell SET rfm_group = 'Big fish' WHERE scheme = 'standard' AND (r, f, m) = (3, 3, 3);
CALL retention.refresh(as_of => '2023-12-01');
CALL retention.refresh(as_of => '2024-01-01');
CREATE VIEW public.spenders AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND m >= 2;
CREATE VIEW public.report AS SELECT rfm_group, count(*), avg(p_alive) FROM retention.profile GROUP BY rfm_group;
SELECT retention.add_segment('spenders'), retention.add_segment('retention.win_back'), retention.add_consumer('crm');
INSERT INTO retention.contact (customer_id, email, email_consent, time_zone, properties)
  SELECT i::text, i || '@example.com', i % 7 > 0, 'Europe/Warsaw', jsonb_build_object('name', 'N' || i) FROM generate_series(1, 100) i;
SELECT retention.suppress('email', '3@example.com'), retention.add_coupon_pool('codes', ARRAY(SELECT 'C' || i FROM generate_series(1, 30) i));
SELECT retention.create_flow('{"name": "letters", "trigger": {"type": "segment", "segment": "spenders"}, "exit": "last_order_at > entered_at", "reentry": "90 days", "quiet_hours": {"from": "20:00", "until": "08:00"},
  "nodes": [
  {"id": "a", "type": "message", "channel": "email", "subject": "{{ person.name }}", "body": "{{ person.rfm_group|default:\"-\" }} {{ data.double }}", "data": {"double": "2 * historic_number_of_orders"}, "next": "b"},
  {"id": "b", "type": "delay", "for": "3 days", "at": "10:00", "weekdays": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"], "next": "c"},
  {"id": "c", "type": "wait_for", "condition": "(person.properties ->> ''answered'')::boolean", "timeout": "2 days", "next": "d", "else": "e"},
  {"id": "d", "type": "set_property", "set": {"thanked": "true"}, "next": "f"},
  {"id": "e", "type": "coupon", "pool": "codes", "next": "f"},
  {"id": "f", "type": "random_split", "arms": [{"name": "one", "share": 50, "next": "g"}, {"name": "other", "share": 50, "next": "h"}]},
  {"id": "g", "type": "message", "channel": "email", "subject": "{{ coupon.code|default:\"none\" }}", "body": "x", "next": "h"},
  {"id": "h", "type": "split", "branches": [{"when": "m = 3", "next": "i"}]},
  {"id": "i", "type": "message", "channel": "email", "subject": "last", "body": "y"}]}');
SELECT retention.create_flow('{"name": "thanks", "trigger": {"type": "order"}, "nodes": [{"id": "t", "type": "message", "channel": "email", "subject": "Thank you", "body": "{{ event.amount }}"}]}');
SELECT retention.publish('letters'), retention.publish('thanks'), retention.set_status('letters', 'live'), retention.set_status('thanks', 'live');
SELECT retention.enroll('letters', i::text) FROM generate_series(1, 60) i;
SET retention.as_of = '2024-01-01 12:00+01';
CALL retention.run_flows();
SELECT count(*) FROM retention.claim_messages('email', 5);
SELECT retention.ack(ARRAY(SELECT message_id FROM retention.message WHERE state = 'leased' ORDER BY message_id LIMIT 3));
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.message WHERE state = 'leased' ORDER BY message_id LIMIT 1), 'busy');
SELECT retention.enroll('letters', i::text) FROM generate_series(61, 80) i;
-- What waits: for process_changes, for the consumer, for run_flows.
INSERT INTO shop.orders SELECT i, '2024-01-01 10:00+00', 1000, 900000 + i FROM generate_series(1, 9) i;
SQL

# What goes on afterwards, in the session that had its plans before; by roles that were given their rights before.
my $go_on = <<'SQL';
SET client_min_messages = warning;
INSERT INTO shop.orders SELECT i, '2024-01-02 10:00+00', 5, 910000 + i FROM generate_series(90, 99) i;
SET ROLE sender;
UPDATE retention.contact SET properties = properties || '{"answered": true}' WHERE customer_id::integer % 4 = 0;
SQL
$go_on .= <<"SQL" foreach 2 .. 9;
SET retention.as_of = '2024-01-0$_ 12:00+01';
CALL retention.process_changes();
CALL retention.run_flows();
SELECT count(*) FROM retention.claim_messages('email', 50);
SELECT retention.ack(ARRAY(SELECT message_id FROM retention.message WHERE state = 'leased' ORDER BY message_id));
SQL
$go_on .= <<'SQL';
CALL retention.refresh();
SELECT count(*) FROM retention.read_segment_changes('crm');
SET ROLE analyst;
SELECT count(*) FROM retention.profile;
RESET ROLE;
SQL

# What could be written then, and is refused now: the update removes it.
my $refused_now = <<'SQL';
INSERT INTO retention.suppression VALUES ('fax', '123', 'bounced', retention.now());
SQL

my @tables = qw(metric source rfm_cell customer rfm_change population order_event segment_member segment_change segment_consumer contact consent_change
	suppression flow flow_version flow_node flow_entry enrollment message last_message coupon tracked change_log);

# Numbers of the queue are drawn in no certain order, and it tells real times.
my %columns = (
	segment_change => 'segment, customer_id, change, cause, as_of',
	segment_consumer => 'consumer, position - (SELECT max(change_id) FROM retention.segment_change)');

sub contents
{
	my ($database, $table) = @_;
	my $columns = $columns{$table} // '*';
	return ($node->psql($database,
		"SELECT count(*) || ' ' || md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\"), '')) FROM (SELECT $columns FROM retention.$table) AS t"))[1];
}

sub same_contents
{
	my ($one, $other, $when, @left_out) = @_;
	foreach my $table (@tables)
	{
		is(contents($one, $table), contents($other, $table), "$when: retention.$table") unless grep { $_ eq $table } @left_out;
	}
	return;
}

my $log = $node->basedir . '/update.log';
my $psql = sprintf q{psql -X -q -v ON_ERROR_STOP=1 -d "%s" -c "ALTER EXTENSION retention UPDATE" >"%s" 2>&1}, $node->connstr('shop'), $log;
$node->safe_psql('twin', $fill . $go_on);
my $old_dump = $node->basedir . '/old.sql';
my $pg_dump = sprintf q{pg_dump -d "%s" -f "%s"}, $node->connstr('shop'), $old_dump;
my $under_way = 'SELECT (SELECT count(*) FROM retention.enrollment WHERE due_at IS NOT NULL), (SELECT count(*) FROM retention.message), (SELECT count(*) FROM retention.flow_entry), (SELECT count(*) FROM retention.change_log)';
my $given = q{SELECT oid FROM pg_proc WHERE pronamespace = 'retention'::regnamespace AND has_function_privilege('sender', oid, 'EXECUTE')};
my $said = $node->safe_psql('shop', <<"SQL");
$fill
$refused_now
CREATE TEMPORARY TABLE given AS $given;
\\echo -- before
$under_way;
\\! $pg_dump
\\! $psql
\\echo -- after
$under_way;
\\echo -- lost
SELECT oid::regprocedure FROM given JOIN pg_proc USING (oid) EXCEPT SELECT oid::regprocedure FROM ($given) AS still;
\\echo -- then
-- As docs/operations.md says, for what is new.
SELECT retention.grant_access('sender', 'operator'), retention.grant_access('analyst', 'analyst');
$go_on
SQL
is(slurp_file($log), '', 'a shop is updated beside a session that goes on');
my ($before, $after, $lost) = $said =~ /^-- before\n(.*)\n-- after\n(.*)\n-- lost\n(.*)-- then\n/ms;
like($before, qr/^[1-9]\d*\|[1-9]\d*\|[1-9]\d*\|[1-9]/, 'customers, messages, entries and changes were waiting');
is($after, $before, 'the update itself lost and did nothing');
is($lost, '', 'nor did it take rights that were given');
is($node->safe_psql('shop', "SELECT extversion FROM pg_extension WHERE extname = 'retention'"), $version, 'it is of the present version');
is(differences('shop', 'twin'), '', 'what was updated while in use is the same as what was there from the start');
same_contents('shop', 'twin', 'it goes on as if it had been there from the start');
is($node->safe_psql('shop', 'SELECT count(*) FROM retention.enrollment WHERE due_at IS NOT NULL'), $node->safe_psql('twin', 'SELECT count(*) FROM retention.enrollment WHERE due_at IS NOT NULL'), 'as many wait');
is($node->safe_psql('shop', 'SELECT count(*) FROM (SELECT FROM retention.message GROUP BY enrollment_id, node HAVING count(*) > 1) AS twice'), '0', 'no message was written twice');
is($node->safe_psql('shop', q{SELECT string_agg(DISTINCT state::text, ' ' ORDER BY state::text), least(count(*) FILTER (WHERE state = 'sent'), 100) FROM retention.message}), 'sent suppressed|100', 'and all were sent');
is($node->safe_psql('shop', q{SELECT count(*) FROM retention.segment_change WHERE cause = 'settings'}), $node->safe_psql('twin', q{SELECT count(*) FROM retention.segment_change WHERE cause = 'settings'}), 'an update is no change of settings');
# What versions were compiled to is of the form that the engine runs now.
is($node->safe_psql('shop', <<'SQL'), '', 'the nodes of all versions are as they would be compiled now');
SELECT f.flow, n.node
FROM retention.flow_node n JOIN retention.flow f USING (flow_id) JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version),
LATERAL retention._compile_node(v.document, n.config, format('retention._zone(person.time_zone, %L)', retention._flow_zone(v.document))) AS c
WHERE (n.branch, n.due, n.payload) IS DISTINCT FROM (c.branch, c.due, c.payload)
SQL

# A dump of what was updated has everything, and the rights that were given.
my $dump = $node->basedir . '/shop.sql';
command_ok([ 'pg_dump', '-d', $node->connstr('shop'), '-f', $dump ], 'what was updated can be dumped');
make_database('restored');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'and restored');
same_contents('restored', 'shop', 'restored', 'flow_home');
is(differences('restored', 'shop'), '', 'with the rights that were given');
my $later = <<'SQL';
SET client_min_messages = warning;
SELECT retention.resume_here();
SET ROLE sender;
SET retention.as_of = '2024-04-20 12:00+01';
CALL retention.process_changes();
SELECT retention.enroll('letters', i::text) FROM generate_series(1, 9) i;
CALL retention.run_flows();
SQL
$node->safe_psql($_, $later) foreach qw(shop restored);
same_contents('restored', 'shop', 'both go on', 'segment');

# A dump of before is restored into the version that it is of, and updated there.
make_database('moved');
$node->safe_psql('moved', "CREATE EXTENSION retention VERSION '$last'");
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('moved'), '-f', $old_dump ], 'a dump of the older version is restored into it');
is(update('moved', $version), '', 'and updated');
is($node->safe_psql('moved', $under_way), $before, 'with all that was under way');
$node->safe_psql('moved', q{SELECT retention.grant_access('sender', 'operator'), retention.grant_access('analyst', 'analyst')});
is(differences('moved', 'twin'), '', 'it is the same');

# Two versions that are not: the second of them has everything else that a room can have.
my $copy = PostgreSQL::Test::Utils::tempdir() . '/source';
my ($extensions) = run_command([ 'pg_config', '--sharedir' ]);
$extensions .= '/extension';
my @installed;
END { unlink @installed; }

sub write_file
{
	my ($path, $text) = @_;
	open my $file, '>', $path or die "$path: $!";
	print $file $text;
	close $file or die "$path: $!";
	return;
}

# Composes what the copy makes by this name, and installs it into the server's copy.
sub install
{
	my ($script, @goal) = @_;
	system_or_bail('make', '-s', '-C', $copy, 'PG_CONFIG=false', @goal);
	copy("$copy/$script", "$extensions/$script") or die "$extensions/$script: $!";
	push @installed, "$extensions/$script";
	return;
}

sub set_version { my ($number) = @_; write_file("$copy/retention.control", "default_version = '$number'\n"); return; }

my $first_tables = <<'SQL';
CREATE TABLE retention.fake (id integer PRIMARY KEY, word text);
COMMENT ON TABLE retention.fake IS 'First.';
SELECT pg_extension_config_dump('retention.fake', '');
CREATE TYPE retention.fake_row AS (a integer);
SQL
my $second_tables = <<'SQL';
CREATE TABLE retention.fake (id integer PRIMARY KEY, word text, extra integer NOT NULL DEFAULT 5 CHECK (extra > 0));
COMMENT ON TABLE retention.fake IS 'Second; isn''t it?';
COMMENT ON COLUMN retention.fake.extra IS 'New.';
CREATE INDEX fake_word ON retention.fake (word);
SELECT pg_extension_config_dump('retention.fake', 'WHERE id > 0');
CREATE TABLE retention.fake_other (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fake integer REFERENCES retention.fake);
SELECT pg_extension_config_dump('retention.fake_other', '');
SELECT pg_extension_config_dump('retention.fake_other_id_seq', '');
CREATE TYPE retention.fake_row AS (a integer, b text);
SQL
my $first_functions = <<'SQL';
CREATE OR REPLACE FUNCTION retention.fake_body(a integer) RETURNS integer LANGUAGE sql STABLE RETURN 1;
CREATE OR REPLACE FUNCTION retention.fake_result(a integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a;
CREATE OR REPLACE FUNCTION retention.fake_out(a integer, OUT b integer) LANGUAGE sql IMMUTABLE RETURN a;
CREATE OR REPLACE FUNCTION retention.fake_name(a integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a;
CREATE OR REPLACE FUNCTION retention.fake_default(a integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a;
CREATE OR REPLACE FUNCTION retention.fake_argument(a integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a;
CREATE OR REPLACE FUNCTION retention.fake_key(customer_id text) RETURNS integer LANGUAGE sql IMMUTABLE RETURN 1;
CREATE OR REPLACE FUNCTION retention.fake_gone() RETURNS integer LANGUAGE sql IMMUTABLE RETURN 1;
CREATE OR REPLACE FUNCTION retention._fake_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE OR REPLACE AGGREGATE retention.fake_sum(integer) (SFUNC = int4pl, STYPE = integer);
CREATE OR REPLACE VIEW retention.fake_view AS SELECT id, retention.fake_result(id) AS result FROM retention.fake;
CREATE OR REPLACE VIEW retention.fake_longer AS SELECT id, retention.fake_gone() AS one FROM retention.fake;
CREATE OR REPLACE VIEW retention.fake_other_view AS SELECT retention.fake_argument(1) AS one;
SQL
my $second_functions = <<'SQL';
CREATE OR REPLACE FUNCTION retention.fake_body(a integer) RETURNS integer LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT CASE WHEN a > 0 THEN 2 ELSE 3 END;
END;
COMMENT ON FUNCTION retention.fake_body(integer) IS E'It\'s; CREATE TABLE "x';
CREATE OR REPLACE FUNCTION retention.fake_result(a integer) RETURNS bigint LANGUAGE sql IMMUTABLE RETURN a;
CREATE OR REPLACE FUNCTION retention.fake_out(a integer, OUT b integer, OUT c text) LANGUAGE sql IMMUTABLE AS $a$ SELECT a, $$;
CREATE TABLE$$ $a$;
CREATE OR REPLACE FUNCTION retention.fake_name(b integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN b;
CREATE OR REPLACE FUNCTION retention.fake_default(a integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a;
CREATE OR REPLACE FUNCTION retention.fake_argument(a integer, b integer DEFAULT 2) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a;
CREATE OR REPLACE FUNCTION retention.fake_key(customer_id text) RETURNS bigint LANGUAGE sql IMMUTABLE RETURN 1;
CREATE OR REPLACE FUNCTION retention._fake_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.word := 'x'; RETURN NEW; END $$;
CREATE OR REPLACE FUNCTION retention._fake_internal(r retention.fake) RETURNS integer LANGUAGE sql RETURN (r).extra;
CREATE OR REPLACE AGGREGATE retention.fake_sum(integer) (SFUNC = int4larger, STYPE = integer);
CREATE OR REPLACE VIEW retention.fake_view AS SELECT id::text AS name, retention.fake_result(id) AS result FROM retention.fake;
CREATE OR REPLACE VIEW retention.fake_longer AS SELECT id, retention.fake_argument(id) AS one, extra FROM retention.fake;
COMMENT ON COLUMN retention.fake_longer.extra IS 'New.';
SQL
my $second_triggers = <<'SQL';
CREATE TRIGGER fake_trigger BEFORE INSERT ON retention.fake FOR EACH ROW EXECUTE FUNCTION retention._fake_trigger();
COMMENT ON TRIGGER fake_trigger ON retention.fake IS 'New.';
SQL
my $drops = <<'SQL';
DROP FUNCTION retention.fake_argument(integer); -- it is gone
DROP FUNCTION retention.fake_default(integer); -- defaults
DROP FUNCTION retention.fake_gone(); -- it is gone
DROP FUNCTION retention.fake_key(bigint); -- result
DROP FUNCTION retention.fake_key(text); -- result
DROP FUNCTION retention.fake_key(uuid); -- result
DROP FUNCTION retention.fake_name(integer); -- names of arguments
DROP FUNCTION retention.fake_out(integer); -- modes of arguments, names of arguments, result
DROP FUNCTION retention.fake_result(integer); -- result
DROP VIEW retention.fake_other_view; -- it is gone
DROP VIEW retention.fake_view; -- columns
SQL
chomp $drops;

mkdir $copy;
system_or_bail('cp', '-R', map({ "$source/$_" } qw(sql scripts Makefile)), $copy);
mkdir "$copy/sql/fake";
my $parts = slurp_file("$copy/sql/parts");
$parts =~ s{^(access\.sql)$}{fake/tables.sql\nfake/functions.sql\nfake/triggers.sql\n$1}m or die;
write_file("$copy/sql/parts", $parts);
write_file("$copy/sql/fake/tables.sql", $first_tables);
write_file("$copy/sql/fake/functions.sql", $first_functions);
write_file("$copy/sql/fake/triggers.sql", '');
set_version('9.9.1');
install('retention--9.9.1.sql', 'retention--9.9.1.sql');

write_file("$copy/sql/fake/tables.sql", $second_tables);
write_file("$copy/sql/fake/functions.sql", $second_functions);
write_file("$copy/sql/fake/triggers.sql", $second_triggers);
my $line = "-- [functions and views]\n";
write_file("$copy/sql/upgrades/$version--9.9.1.sql", $first_tables . $line);
write_file("$copy/sql/upgrades/9.9.1--9.9.2.sql", $line);
set_version('9.9.2');
install('retention--9.9.2.sql', 'retention--9.9.2.sql');
install('retention--9.9.1--9.9.2.sql', 'upgrade', 'FROM=9.9.1');

make_database($_) foreach qw(first second chained);
$node->safe_psql('first', q{CREATE EXTENSION retention VERSION '9.9.1'; INSERT INTO retention.fake VALUES (1, 'a')});
$node->safe_psql('second', q{CREATE EXTENSION retention VERSION '9.9.2'});
is(needed_drops('first', 'second'), $drops, 'what CREATE OR REPLACE cannot do is found');
like(update('first', '9.9.2'), qr/ERROR:.*retention\.fake/, 'an update without them fails, and changes nothing');

write_file("$copy/sql/upgrades/9.9.1--9.9.2.sql", <<"SQL" . <<'SQL');
DROP VIEW IF EXISTS retention.fake_view, retention.fake_other_view;
DROP FUNCTION IF EXISTS retention.fake_result(integer), retention.fake_out(integer), retention.fake_name(integer), retention.fake_default(integer),
  retention.fake_key(bigint), retention.fake_key(uuid), retention.fake_key(text), retention.fake_argument(integer);
ALTER TABLE retention.fake ADD extra integer NOT NULL DEFAULT 5 CHECK (extra > 0);
CREATE INDEX fake_word ON retention.fake (word);
SELECT pg_extension_config_dump('retention.fake', 'WHERE id > 0');
CREATE TABLE retention.fake_other (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fake integer REFERENCES retention.fake);
SELECT pg_extension_config_dump('retention.fake_other', '');
SELECT pg_extension_config_dump('retention.fake_other_id_seq', '');
ALTER TYPE retention.fake_row ADD ATTRIBUTE b text;
$line
SQL
DROP FUNCTION IF EXISTS retention.fake_gone();
UPDATE retention.fake SET extra = retention.fake_body(id);
SQL
install('retention--9.9.1--9.9.2.sql', '-W', 'sql/parts', 'upgrade', 'FROM=9.9.1');
is(update('first', '9.9.2'), '', 'with them it succeeds');
is(differences('first', 'second'), <<'TEXT' =~ s/\n$//r, 'what is forgotten, here a trigger, is found');
+ trigger fake_trigger on retention.fake | comment | New.
+ trigger fake_trigger on retention.fake | definition | CREATE TRIGGER fake_trigger BEFORE INSERT ON retention.fake FOR EACH ROW EXECUTE FUNCTION retention._fake_trigger() O
TEXT
$node->safe_psql('first', $second_triggers);
is($node->safe_psql('first', 'SELECT * FROM retention.fake'), '1|a|2', 'rows are kept, and what follows the functions calls the new ones');

# From the version before, or the one before that, on one way.
append_to_file("$copy/sql/upgrades/9.9.1--9.9.2.sql", $second_triggers);
foreach my $old ($version, @released)
{
	install("retention--$old--9.9.2.sql", 'upgrade', "FROM=$old");
	$node->safe_psql('chained', "DROP EXTENSION IF EXISTS retention; CREATE EXTENSION retention VERSION '$old'");
	is(update('chained', '9.9.2'), '', "$old: it can be updated by two files");
	is(differences('chained', 'second'), '', "$old: to the same");
}
isnt((run_command([ 'make', '-s', '-C', $copy, 'PG_CONFIG=false', 'upgrade', 'FROM=0.0.1' ]))[1], '', 'of a version that nothing leads on from, there is no script');
ok(!-e "$copy/retention--0.0.1--9.9.2.sql", 'nor half a one');

$node->stop;
done_testing();
