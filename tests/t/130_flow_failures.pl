# Fifteen failures that people report of systems for flows: this engine has none of them.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use JSON::PP;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nfsync = off\nautovacuum = off\nmax_connections = 60\nretention.as_of = '2024-06-01 12:00'\nstatement_timeout = '60s'\nclient_min_messages = error");
$node->start;

# Every failure has a database of its own, a copy of this one. Customer N of 20 has ordered last N days before June.
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', <<'SQL');
CREATE EXTENSION retention;
CREATE TABLE orders (order_id integer GENERATED ALWAYS AS IDENTITY, customer_id integer, ordered_at timestamptz, amount numeric DEFAULT 10);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders (customer_id, ordered_at) SELECT i, timestamptz '2024-05-31 10:00' - i * interval '1 day' - n * interval '40 days' FROM generate_series(1, 20) i, generate_series(0, 1) n;
SELECT retention.add_source('orders', order_id => 'order_id', events => true);
CALL retention.refresh();
SELECT retention.track('orders');
INSERT INTO retention.contact (customer_id, email, phone, email_consent, sms_consent) SELECT i, i || '@example.com', '+48' || i, true, true FROM generate_series(1, 20) i;
CREATE FUNCTION launch(document jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM retention.create_flow(document), retention.publish(document ->> 'name'), retention.set_status(document ->> 'name', 'live');
  RETURN document ->> 'name';
END $$;
-- Who got what, and who is where.
CREATE FUNCTION messages(flow text) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(concat_ws(' ', customer_id, node, state, reason), ', ' ORDER BY length(customer_id), customer_id, queued_at, node), 'none')
  FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow = messages.flow
$$;
CREATE FUNCTION people(flow text) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(concat_ws(' ', customer_id, coalesce(outcome, node)), ', ' ORDER BY length(customer_id), customer_id, enrollment_id), 'none')
  FROM retention.flow_enrollment e WHERE e.flow = people.flow
$$;
SQL

my $number = 0;
my $database;

sub failure
{
	my ($name, $code) = @_;

	$number++;
	return if $ENV{RETENTION_ONLY} && $ENV{RETENTION_ONLY} != $number;
	$database = "failure$number";
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE original");
	subtest("$number: $name", $code);
}

sub query { return $node->safe_psql($database, shift); }

# What statements say at a moment, with the flows run before the last of them.
sub at
{
	my ($moment, @sql) = @_;
	my $last = pop @sql;
	return query("SET retention.as_of = '$moment';\n" . join('', map { "$_;\n" } @sql) . "CALL retention.run_flows();\n$last");
}

sub error_of
{
	my ($sql) = @_;
	my (undef, undef, $err) = $node->psql($database, $sql);
	return $err =~ s/^psql:.*?ERROR:\s*//r;
}

sub message { my ($id, %more) = @_; return { id => $id, type => 'message', channel => 'email', subject => 's', body => 'b', smart_sending => JSON::PP::false, %more }; }
sub delay { my ($id, $for, $next, %more) = @_; return { id => $id, type => 'delay', for => $for, $next ? (next => $next) : (), %more }; }
sub document { my ($name, $nodes, %more) = @_; return '$json$' . encode_json({ name => $name, trigger => { type => 'manual' }, nodes => $nodes, %more }) . '$json$'; }
sub launch { query('SELECT launch(' . document(@_) . ')'); }
sub enroll { my ($flow, $customers, $event) = @_; return "SELECT FROM (SELECT retention.enroll('$flow', k::text" . ($event ? ", $event" : '') . ") FROM unnest('{$customers}'::integer[]) k) e"; }

# Clients of pgbench, all at once, as of a moment.
sub pgbench
{
	my ($moment, $clients, $transactions, $script) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/failure.sql";
	my ($out, $err) = ('', '');
	local $ENV{PGOPTIONS} = "-c retention.as_of=" . ($moment =~ s/ /\\ /r);

	unlink $file;
	append_to_file($file, $script);
	IPC::Run::run([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $transactions, '-f', $file, '-h', $node->host, '-p', $node->port, $database ], '>', \$out, '2>', \$err)
	  or diag($err);
	unlike($err, qr/ERROR|aborted/, 'no client met an error');
}

# A session that goes on while others do something.
sub session
{
	my ($moment, $sql) = @_;
	my $session = { in => '', out => '', err => '' };
	$session->{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database) ], '<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{err},
		IPC::Run::timeout(60));
	say_to($session, "SET retention.as_of = '$moment';\n$sql") if defined $sql;
	return $session;
}

sub say_to
{
	my ($session, $sql) = @_;
	my $done = "done" . ++$session->{number};
	$session->{in} .= "$sql;\n\\echo $done\n";
	$session->{run}->pump until $session->{out} =~ /$done/ || $session->{err} =~ /ERROR|FATAL/;
}

# What is said while others have locks; goes on once it waits for one, or is done.
sub say_beside
{
	my ($session, $sql) = @_;
	$session->{in} .= "SET application_name = 'beside';\n$sql;\n";
	$session->{run}->pump_nb;
	$node->poll_query_until($database, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'beside' AND query NOT LIKE 'SET%' AND (wait_event_type = 'Lock' OR state = 'idle'))");
}

sub end_session
{
	my ($session) = @_;
	$session->{run}->finish;
	is($session->{err}, '', 'the session met no error');
}

failure('Two workers at once send nothing twice' => sub {
	query("INSERT INTO retention.contact (customer_id, email, email_consent) SELECT i, i || '\@example.com', true FROM generate_series(21, 1500) i");
	query('CREATE TABLE worker (pid integer); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.worker VALUES (pg_backend_pid()); RETURN NULL; END $$; CREATE TRIGGER note AFTER INSERT ON retention.message FOR EACH ROW EXECUTE FUNCTION note()');
	launch($_, [ delay('wait', '1 hour', 'news'), message('news', smart_sending => '16 hours', next => 'order'), message('order', transactional => JSON::PP::true) ]) foreach qw(a b);
	at('2024-06-01 12:00', "SELECT FROM (SELECT retention.enroll(f, i::text) FROM unnest('{a,b}'::text[]) f, generate_series(1, 1500) i) e", 'SELECT');
	pgbench('2024-06-01 13:00', 6, 2, "CALL retention.run_flows(batch => 40);\n");
	ok(query('SELECT count(DISTINCT pid) FROM worker') > 1, 'several workers shared the work');
	is(query("SELECT count(*), count(DISTINCT idempotency_key), count(*) FILTER (WHERE node = 'order' AND state = 'ready') FROM retention.message"), '6000|6000|3000', 'one message for each enrollment and node');
	is(query("SELECT count(*), count(DISTINCT customer_id) FROM retention.message WHERE node = 'news' AND state = 'ready'"), '1500|1500', 'of two flows at the same moment one sends to each customer');
	is(query("SELECT count(*) FROM retention.message WHERE node = 'news' AND (state, reason) = ('suppressed', 'smart sending')"), '1500', 'the other says why it does not');
	is(query("SELECT count(*) FROM retention.enrollment WHERE outcome = 'completed'"), '3000', 'everybody has got through');
	query('CREATE TABLE sent (message_id bigint, attempt integer)');
	pgbench('2024-06-01 13:00', 6, 130, "INSERT INTO sent SELECT message_id, attempt FROM retention.claim_messages('email', 7);\n");
	is(query('SELECT count(*), count(DISTINCT message_id), max(attempt) FROM sent'), '4500|4500|1', 'senders at once claim each message once');
	# A worker that has begun, and waits, when another takes what starts a flow.
	launch('orders', [ message('mail') ], trigger => { type => 'order' }, reentry => 'always', concurrent => JSON::PP::true);
	launch('slow', [ message('mail') ]);
	query("INSERT INTO orders (customer_id, ordered_at) VALUES (1, '2024-06-01 12:00'); CALL retention.process_changes('2024-06-01 13:00')");
	my ($author, $worker) = (session('2024-06-01 13:00', "BEGIN; SELECT FROM retention.set_status('slow', 'paused')"), session('2024-06-01 13:00', 'SELECT'));
	say_beside($worker, 'CALL retention.tick()');
	query("SELECT retention._tick('2024-06-01 13:00', 100, 'orders')");
	say_to($author, 'ROLLBACK');
	end_session($_) foreach $author, $worker;
	is(query("SELECT people('orders')"), '1 completed', 'workers at once enter nobody twice');
});

failure('What is interrupted leaves nothing behind, and is done once afterwards' => sub {
	query("SELECT retention.add_coupon_pool('codes', ARRAY['A', 'B', 'C'])");
	launch('f', [ { id => 'code', type => 'coupon', pool => 'codes', next => 'mark' }, { id => 'mark', type => 'set_property', set => { marked => 'true' }, next => 'mail' },
		message('mail', smart_sending => '1 hour', body => '{{ coupon.code }}', next => 'pass on'), { id => 'pass on', type => 'enter_flow', flow => 'f', next => 'wait' }, delay('wait', '1 hour', 'second'), message('second') ]);
	my $everything = "SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM (SELECT to_jsonb(r) FROM retention.enrollment r UNION ALL SELECT to_jsonb(r) FROM retention.message r UNION ALL SELECT to_jsonb(r) FROM retention.coupon r"
	  . " UNION ALL SELECT to_jsonb(r) FROM retention.contact r UNION ALL SELECT to_jsonb(r) FROM retention.last_message r UNION ALL SELECT to_jsonb(r) FROM retention.flow_entry r UNION ALL SELECT to_jsonb(r) FROM retention.changed_customers r UNION ALL SELECT to_jsonb(r) FROM retention.flow r) AS t";
	query(enroll('f', '1,2'));
	# The last statement of a tick, whichever writes what, fails for the moment.
	query(q{CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'interrupted' USING ERRCODE = 'disk_full'; END $$});
	foreach my $moment ('2024-06-01 12:00', '2024-06-01 13:00')
	{
		my $before = query($everything);
		foreach my $table (qw(message contact enrollment))
		{
			next if $table eq 'contact' && $moment =~ /13:/;
			query("CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON retention.$table FOR EACH STATEMENT EXECUTE FUNCTION fail()");
			like(error_of("SET retention.as_of = '$moment'; CALL retention.run_flows()"), qr/^interrupted/, "at $moment a tick fails at $table");
			is(query($everything), $before, 'and leaves nothing behind');
			query("DROP TRIGGER fail ON retention.$table");
		}
		at($moment, 'SELECT');
	}
	is(query("SELECT messages('f')"), '1 mail ready, 1 second ready, 2 mail ready, 2 second ready', 'what was interrupted is done, once');
	is(query("SELECT string_agg(body, ' ' ORDER BY body) FROM retention.message WHERE node = 'mail'"), 'A B', 'no code was lost');
});

failure('A segment that is rebuilt removes and enters nobody' => sub {
	query(q{CREATE VIEW late AS SELECT customer_id FROM retention.profile WHERE customer_id IN ('1', '2', '3')});
	query("SELECT retention.add_segment('late')");
	launch('f', [ delay('wait', '1 day', 'mail'), message('mail') ], trigger => { type => 'segment', segment => 'late' }, reentry => 'always');
	launch('g', [ message('mail') ], trigger => { type => 'segment', segment => 'late', change => 'left' }, reentry => 'always');
	query("SELECT retention.backfill_flow('f')");
	my $before = at('2024-06-01 12:00', 'SELECT string_agg(e::text, E\'\n\' ORDER BY e) FROM retention.enrollment e');
	my %rebuild = (
		'a full refresh' => 'CALL retention.refresh(full => true)',
		'a view redefined with the same members' => "CREATE OR REPLACE VIEW late AS SELECT customer_id FROM retention.customer WHERE metric = 'orders' AND customer_id < '4' AND length(customer_id) = 1; CALL retention.refresh(full => true)",
		'a view dropped and created again' => "DROP VIEW late; CREATE VIEW late AS SELECT customer_id FROM retention.profile WHERE customer_id IN ('1', '2', '3'); CALL retention.refresh(full => true)",
		'a view dropped, missed by a refresh, and created again' =>
		  "DROP VIEW late; CALL retention.refresh(full => true); CALL retention.run_flows(); CREATE VIEW late AS SELECT customer_id FROM retention.profile WHERE customer_id IN ('1', '2', '3'); CALL retention.refresh(full => true)",
		'a view redefined with others' => "CREATE OR REPLACE VIEW late AS SELECT customer_id FROM retention.profile WHERE customer_id IN ('4', '5'); CALL retention.refresh(full => true)");
	foreach my $name (sort { ($a =~ /others/) <=> ($b =~ /others/) || $a cmp $b } keys %rebuild)
	{
		is(at('2024-06-01 13:00', $rebuild{$name}, 'SELECT string_agg(e::text, E\'\n\' ORDER BY e) FROM retention.enrollment e'), $before, $name);
	}
	is(at('2024-06-02 12:00', "SELECT messages('f')"), '1 mail ready, 2 mail ready, 3 mail ready', 'everybody gets what was scheduled');
});

failure('Re-entry goes by its rule' => sub {
	my @steps = ([ '12:00', '12:00' ], [ '12:30', '12:30' ], [ '13:00', '13:00' ], [ '14:00-1us', '13:59:59.999999' ], [ '14:00', '14:00' ], [ '14:00 twice', '14:00' ]);
	my %rule = (
		'never' => [ {}, '1 1 1 1 1 1' ],
		'always' => [ { reentry => 'always' }, '1 1 2 2 3 3' ],
		'interval' => [ { reentry => '2 hours' }, '1 1 1 1 2 2' ],
		'concurrent never' => [ { concurrent => JSON::PP::true }, '1 1 1 1 1 1' ],
		'concurrent always' => [ { concurrent => JSON::PP::true, reentry => 'always' }, '1 2 3 4 5 6' ],
		'concurrent interval' => [ { concurrent => JSON::PP::true, reentry => '30 minutes' }, '1 2 3 4 4 4' ]);
	# They stay for an hour: the last one to come at 13:00 is out by 14:00.
	foreach my $name (sort keys %rule)
	{
		my ($more, $expected) = @{ $rule{$name} };
		launch($name, [ delay('wait', '1 hour') ], %$more);
		my @counts = map { at("2024-06-01 $_->[1]", 'CALL retention.run_flows()', enroll($name, '1'), "SELECT count(*) FROM retention.flow_enrollment WHERE flow = '$name'") } @steps;
		is("@counts", $expected, $name);
	}
	launch('several', [ message('mail') ], reentry => 'always');
	is(at('2024-06-02', enroll('several', '1,1,2', q{'{"n": 1}'}), "SELECT messages('several')"), '1 mail ready, 2 mail ready', 'several events in one tick count once');
	launch('each', [ message('mail') ], reentry => 'always', concurrent => JSON::PP::true);
	is(at('2024-06-02', enroll('each', '1,1,2'), "SELECT messages('each')"), '1 mail ready, 1 mail ready, 2 mail ready', 'unless it is concurrent');
	# Many who enroll the same at once.
	launch('crowd', [ delay('wait', '1 hour') ]);
	launch('crowd always', [ delay('wait', '1 hour') ], reentry => 'always');
	pgbench('2024-06-02 12:00', 6, 10, "SELECT retention.enroll('crowd', '1'), retention.enroll('crowd always', '1');\nCALL retention.run_flows();\n");
	is(at('2024-06-02 12:00', "SELECT people('crowd'), people('crowd always')"), '1 wait|1 wait', 'nor does a crowd enter a customer twice');
});

failure('Saving, pausing, resuming and publishing a live flow sends nothing again and enters nobody' => sub {
	my @nodes = (message('first', next => 'wait'), delay('wait', '1 day', 'second'), message('second'));
	my @more = (trigger => { type => 'order' }, reentry => 'always', exit => "properties ? 'left'");
	my $order = sub { return "INSERT INTO orders (customer_id, ordered_at) VALUES ($_[0], '$_[1]'); CALL retention.process_changes()"; };
	launch('f', \@nodes, @more);
	is(query("SELECT people('f')"), 'none', 'orders from before do not start it');
	my $once = '1 first ready';
	is(at('2024-06-01 12:10', $order->(1, '2024-06-01 12:05'), "SELECT messages('f')"), $once, 'an order does');
	my %change = (saving => 'SELECT retention.create_flow(' . document('f', \@nodes, @more) . ')',
		publishing => "SELECT retention.publish('f')",
		're-publishing' => 'SELECT retention.create_flow(' . document('f', \@nodes, @more, description => 'new') . "), retention.publish('f')",
		'going live again' => "SELECT retention.set_status('f', 'live')",
		'pausing and resuming' => "SELECT retention.set_status('f', 'paused'); CALL retention.run_flows(); SELECT retention.set_status('f', 'live')",
		'being a draft for a while' => "SELECT retention.set_status('f', 'draft'); CALL retention.run_flows(); SELECT retention.set_status('f', 'live')",
		'being manual for a while' => "SELECT retention.set_status('f', 'manual'); CALL retention.run_flows(); SELECT retention.set_status('f', 'live')");
	foreach my $name (sort keys %change)
	{
		like(at('2024-06-01 12:20', $change{$name}, "SELECT messages('f')"), qr/^$once$/m, "$name sends nothing");
		is(query("SELECT people('f')"), '1 wait', "$name enters nobody");
	}
	# A pause: what happens meanwhile starts nothing, nothing goes out, and those who are in go on.
	query("SELECT retention.set_status('f', 'paused')");
	is(at('2024-06-01 12:30', $order->(2, '2024-06-01 12:25'), "SELECT people('f')"), '1 wait', 'an order during a pause starts nothing');
	is(at('2024-06-02 12:10', "SELECT count(*) FROM retention.claim_messages('email')"), '0', 'nothing is sent during a pause');
	is(at('2024-06-02 12:20', "SELECT retention.set_status('f', 'live')", "SELECT people('f')") =~ s/^\s*//r, '1 completed', 'after it people go on');
	is(query("SELECT messages('f')"), '1 first ready, 1 second ready', 'and get what was due');
	is(at('2024-06-02 12:30', $order->(2, '2024-06-02 12:25'), "SELECT people('f')"), '1 completed, 2 wait', 'an order after it enters');
	# Messages in the hands of a sender when the pause begins.
	at('2024-06-02 12:30', "SELECT count(*) FROM retention.claim_messages('email')", "SELECT retention.set_status('f', 'paused')");
	query("SET retention.as_of = '2024-06-02 12:31'; SELECT retention.fail(array_agg(message_id), 'busy') FROM retention.message WHERE state = 'leased' AND customer_id = '1' AND node = 'second'");
	is(at('2024-06-02 13:00', "SELECT count(*) FROM retention.claim_messages('email')"), '0', 'nothing is tried again during a pause');
	is(at('2024-06-02 13:10', "SELECT retention.set_status('f', 'live')", "SELECT count(*) FROM retention.claim_messages('email')") =~ s/^\s*//r, '2', 'but after it');
	# Who changes during a pause leaves when it is over, as they would have at once.
	query("SELECT retention.set_status('f', 'paused')");
	at('2024-06-02 13:20', q{UPDATE retention.contact SET properties = '{"left": true}' WHERE customer_id = '2'}, 'SELECT');
	is(at('2024-06-02 13:30', "SELECT retention.set_status('f', 'live')", "SELECT people('f')") =~ s/^\s*//r, '1 completed, 2 exited', 'a change during a pause is seen after it');
});

failure('New versions leave nobody stranded' => sub {
	my @old = (message('hello', next => 'wait'), delay('wait', '1 day', 'old'), message('old'));
	my @new = (delay('pause', '3 days', 'new'), message('new'));
	launch('f', \@old);
	at('2024-06-01 12:00', enroll('f', '1,2'), 'SELECT');
	launch('f', \@new);
	is(at('2024-06-01 12:00', enroll('f', '3'), "SELECT people('f')"), '1 wait, 2 wait, 3 pause', 'who is in stays where they are, who enters starts the new version');
	is(at('2024-06-02 12:00', "SELECT people('f')"), '1 completed, 2 completed, 3 pause', 'the old version is finished');
	is(query("SELECT messages('f')"), '1 hello ready, 1 old ready, 2 hello ready, 2 old ready', 'with its messages');
	launch('g', \@old);
	at('2024-06-01 12:00', enroll('g', '1,2'), 'SELECT');
	launch('g', \@new);
	like(error_of("SELECT retention.migrate_flow('g', 1)"), qr/^customers wait at nodes that version 2 of flow "g" has not: "wait"\n/, 'a node that is not mapped is refused by its name');
	like(error_of("SELECT retention.migrate_flow('g', 1, '{\"wait\": \"nowhere\"}')"), qr/^customers wait at nodes .*"wait"\n/, 'as is one mapped to nothing');
	is(query("SELECT people('g')"), '1 wait, 2 wait', 'and nobody is moved');
	is(query("SELECT retention.migrate_flow('g', 1, '{\"wait\": \"pause\"}')"), '2', 'those of the old version are moved');
	is(at('2024-06-02 12:00', "SELECT people('g')"), '1 completed, 2 completed', 'due when they were');
	is(query("SELECT messages('g')"), '1 hello ready, 1 new ready, 2 hello ready, 2 new ready', 'with the messages of the new one, and none twice');
	# Back to a message that they have had.
	launch('h', \@old);
	at('2024-06-01 12:00', enroll('h', '1'), 'SELECT');
	launch('h', [ message('hello', next => 'wait more'), delay('wait more', '1 day', 'end'), message('end') ]);
	at('2024-06-02 12:00', "SELECT retention.migrate_flow('h', 1, '{\"wait\": \"hello\"}')", 'SELECT');
	is(at('2024-06-03 12:00', "SELECT messages('h'), people('h')"), '1 hello ready, 1 end ready|1 completed', 'who is moved back gets no message again');
});

failure('A sender that fails stalls nobody' => sub {
	launch('f', [ message('first', lateness => '30 days', next => 'wait'), delay('wait', '1 hour', 'second'), message('second', lateness => '30 days') ]);
	at('2024-06-01 12:00', enroll('f', '1,2'), 'SELECT');
	is(at('2024-06-01 13:00', "SELECT people('f')"), '1 completed, 2 completed', 'customers go on while nobody sends');
	# Half a day is longer than any pause between attempts.
	my $half_days = 0;
	while (query("SELECT count(*) FROM retention.message WHERE state = 'dead'") eq '0' && $half_days++ < 30)
	{
		query("SELECT FROM set_config('retention.as_of', (timestamptz '2024-06-01 13:00' + interval '12 hours' * $half_days)::text, false); SELECT FROM (SELECT retention.fail(array_agg(message_id), 'down') FROM retention.claim_messages('email') WHERE customer_id = '1') f");
	}
	is(query("SELECT string_agg(DISTINCT concat_ws(' ', customer_id, state, last_error), ', '), max(attempts) > 5 FROM retention.message"), '1 dead down, 2 leased|t', 'a message that fails many times is dead; those of others are not');
	launch('g', [ message('hook', channel => 'webhook', url => 'https://example.com/{{ person.customer_id }}', body => '{{ event.missing }}', next => 'mail'), message('mail') ]);
	is(at('2024-06-01 12:00', enroll('g', '1', q{'{"n": "x"}'}), "SELECT messages('g') ~ 'hook error .*, 1 mail ready', people('g')"), 't|1 completed', 'nor does a message that cannot be rendered');
	launch('h', [ message('mail', next => 'wait'), delay('wait', '1 day') ]);
	at('2024-06-02 12:00', enroll('h', '1'), 'SELECT');
	query("SET retention.as_of = '2024-06-02 12:00'; SELECT retention.fail(array_agg(message_id), 'no such mailbox', permanent => true) FROM retention.claim_messages('email') WHERE flow = 'h'");
	is(at('2024-06-03 12:00', "SELECT messages('h'), people('h')"), '1 mail dead|1 completed', 'nor one that can never be sent');
});

failure('Consent withdrawn after a message was scheduled counts' => sub {
	my %withdraw = (
		'no consent' => "UPDATE retention.contact SET email_consent = %s WHERE customer_id = '%s'",
		'no address' => "UPDATE retention.contact SET email = NULL WHERE customer_id = '%2\$s'",
		'suppression list' => "SELECT retention.suppress('email', ' %2\$s\@EXAMPLE.com')");
	launch('f', [ delay('wait', '1 hour', 'mail'), message('mail', next => 'receipt'), message('receipt', transactional => JSON::PP::true) ]);
	at('2024-06-01 12:00', enroll('f', '1,2,3,4,5,6,7,8,9'), 'SELECT');
	my $withdraw_of = sub { my ($first) = @_; return map { my $sql = sprintf($withdraw{$_}, 'NULL', $first++); $sql } ('no consent', 'no address', 'suppression list'); };
	query(join ';', $withdraw_of->(1));
	is(at('2024-06-01 13:00', "SELECT messages('f')") =~ s/, 7.*//r,
		'1 mail suppressed no consent, 1 receipt ready, 2 mail suppressed no address, 2 receipt suppressed no address, 3 mail suppressed suppression list, 3 receipt suppressed suppression list, '
		  . '4 mail ready, 4 receipt ready, 5 mail ready, 5 receipt ready, 6 mail ready, 6 receipt ready', 'when the message is due');
	query(join ';', $withdraw_of->(4), q{UPDATE retention.contact SET email = 'new@example.com' WHERE customer_id = '7'});
	is(at('2024-06-01 13:10', "SELECT string_agg(customer_id || ' ' || node || ' ' || address, ', ' ORDER BY customer_id, node) FROM retention.claim_messages('email')"),
		'1 receipt 1@example.com, 4 receipt 4@example.com, 7 mail new@example.com, 7 receipt new@example.com, 8 mail 8@example.com, 8 receipt 8@example.com, 9 mail 9@example.com, 9 receipt 9@example.com',
		'and when it is claimed; to the address of then');
	is(query("SELECT string_agg(reason, ', ' ORDER BY customer_id) FROM retention.message WHERE node = 'mail' AND customer_id IN ('4', '5', '6')"), 'no consent, no address, suppression list', 'with the reason');
	# Between attempts, and with the shop's own relation.
	query("SET retention.as_of = '2024-06-01 13:10'; SELECT retention.fail(array_agg(message_id), 'busy') FROM retention.message WHERE customer_id = '8' AND state = 'leased'");
	query('CREATE SCHEMA shop; CREATE TABLE shop.client (customer_id integer PRIMARY KEY, email text, email_consent boolean); INSERT INTO shop.client SELECT i, i || \'@shop.example\', i <> 8 FROM generate_series(1, 20) i');
	query("SELECT retention.use_contacts('shop.client')");
	is(at('2024-06-01 13:12', "SELECT string_agg(node || ' ' || address, ', ') FROM retention.claim_messages('email')"), 'receipt 8@shop.example', 'a shop\'s own relation counts at the next attempt');
	launch('g', [ delay('wait', '1 hour', 'mail'), message('mail') ]);
	at('2024-06-02 12:00', enroll('g', '11,12,13'), 'SELECT');
	query('UPDATE shop.client SET email_consent = false WHERE customer_id = 11');
	at('2024-06-02 13:00', 'SELECT');
	query('DELETE FROM shop.client WHERE customer_id = 12');
	is(at('2024-06-02 13:00', "SELECT count(*) FROM retention.claim_messages('email') WHERE flow = 'g'"), '1', 'changes there are seen without being told of');
	is(query("SELECT messages('g')"), '11 mail suppressed no consent, 12 mail suppressed no address, 13 mail leased', 'before the action and at the claim');
	# Webhooks need none, but their address may be on the list. And nothing of an archived flow is tried again.
	launch('hooks', [ message('hook', channel => 'webhook', url => 'https://example.com/{{ person.customer_id }}') ]);
	at('2024-06-02 12:00', "SELECT retention.suppress('webhook', 'https://example.com/31', 'gone')", enroll('hooks', '30,31'), 'SELECT');
	is(at('2024-06-02 12:10', "SELECT string_agg(address, ' ') FROM retention.claim_messages('webhook')"), 'https://example.com/30', 'webhooks too');
	query("SET retention.as_of = '2024-06-02 12:10'; SELECT retention.fail(array_agg(message_id), 'busy'), retention.set_status('hooks', 'archived') FROM retention.message WHERE state = 'leased' AND node = 'hook'");
	is(at('2024-06-02 12:20', "SELECT count(*) FROM retention.claim_messages('webhook')"), '0', 'an archived flow sends nothing');
	is(query("SELECT messages('hooks')"), '30 hook suppressed archived, 31 hook suppressed suppression list', 'and says so');
});

# Clocks change: Warsaw 2024-03-31 and 2024-10-27 at 01:00 UTC, New York 2024-03-10 at 07:00 and 2024-11-03 at 06:00 UTC,
# Lord Howe, by half an hour, 2024-04-06 at 15:00 and 2024-10-05 at 15:30 UTC. Zone, start, node and its end, in UTC.
my @days = (
	[ 'Europe/Warsaw', '2024-03-30 11:00', { for => '1 day' }, '2024-03-31 10:00' ],
	[ 'Europe/Warsaw', '2024-03-30 11:00', { for => '24 hours' }, '2024-03-31 11:00' ],
	[ 'Europe/Warsaw', '2024-03-30 11:00', { for => '1 day 1 hour' }, '2024-03-31 11:00' ],
	[ 'Europe/Warsaw', '2024-10-26 10:00', { for => '1 day' }, '2024-10-27 11:00' ],
	[ 'Europe/Warsaw', '2024-03-30 12:00', { at => '02:30' }, '2024-03-31 01:30' ],
	[ 'Europe/Warsaw', '2024-10-26 12:00', { at => '02:30' }, '2024-10-27 01:30' ],
	[ 'Europe/Warsaw', '2024-10-27 00:30', { for => '1 hour' }, '2024-10-27 01:30' ],
	[ 'Europe/Warsaw', '2024-10-27 00:45', { at => '02:30' }, '2024-10-27 01:30' ],
	[ 'Europe/Warsaw', '2024-10-27 01:45', { at => '02:30' }, '2024-10-28 01:30' ],
	[ 'Europe/Warsaw', '2024-03-30 12:00', { weekdays => ['sunday'] }, '2024-03-30 23:00' ],
	[ 'Europe/Warsaw', '2024-03-30 12:00', { weekdays => ['sunday'], at => '02:30' }, '2024-03-31 01:30' ],
	[ 'Europe/Warsaw', '2024-03-30 12:00', { until => "timestamp '2024-03-31 02:30'" }, '2024-03-31 01:30' ],
	[ 'Europe/Warsaw', '2024-10-26 12:00', { until => "date '2024-10-28'" }, '2024-10-27 23:00' ],
	[ 'Europe/Warsaw', '2024-10-27 00:30', { type => 'wait_for', condition => 'false', timeout => '90 minutes' }, '2024-10-27 02:00' ],
	[ 'Europe/Warsaw', '2024-03-30 11:00', { type => 'wait_for', condition => 'false', timeout => '1 day' }, '2024-03-31 10:00' ],
	[ 'Europe/Warsaw', '2024-03-30 22:30', { quiet => [ '22:00', '08:00' ] }, '2024-03-31 06:00' ],
	[ 'Europe/Warsaw', '2024-10-26 21:30', { quiet => [ '22:00', '08:00' ] }, '2024-10-27 07:00' ],
	[ 'Europe/Warsaw', '2024-10-27 00:15', { quiet => [ '02:00', '02:45' ] }, '2024-10-27 01:45' ],
	[ 'America/New_York', '2024-03-09 17:00', { for => '1 day' }, '2024-03-10 16:00' ],
	[ 'America/New_York', '2024-11-02 16:00', { for => '1 day' }, '2024-11-03 17:00' ],
	[ 'America/New_York', '2024-11-03 05:30', { for => '90 minutes' }, '2024-11-03 07:00' ],
	[ 'America/New_York', '2024-03-09 17:00', { at => '02:15' }, '2024-03-10 07:15' ],
	[ 'America/New_York', '2024-11-03 05:15', { quiet => [ '23:00', '01:30' ] }, '2024-11-03 06:30' ],
	[ 'Australia/Lord_Howe', '2024-10-04 23:00', { for => '1 day' }, '2024-10-05 22:30' ],
	[ 'Australia/Lord_Howe', '2024-10-05 00:00', { at => '02:15' }, '2024-10-05 15:45' ],
	[ 'Australia/Lord_Howe', '2024-04-06 00:00', { for => '1 day' }, '2024-04-07 00:30' ],
	[ 'Australia/Lord_Howe', '2024-04-06 00:00', { at => '01:45' }, '2024-04-06 15:15' ],
	[ 'Australia/Lord_Howe', '2024-04-06 14:40', { for => '20 minutes' }, '2024-04-06 15:00' ],
	[ 'Australia/Lord_Howe', '2024-10-05 13:00', { quiet => [ '21:00', '02:15' ] }, '2024-10-05 15:45' ]);

failure('Days on which clocks change' => sub {
	my $count = 0;
	foreach my $case (@days)
	{
		my ($zone, $start, $given, $end) = @$case;
		my %keys = %$given;
		my $quiet = delete $keys{quiet};
		my $name = 'day ' . ++$count;
		launch($name, [ $quiet ? message('step') : { id => 'step', type => 'delay', %keys } ], $quiet ? (quiet_hours => { from => $quiet->[0], until => $quiet->[1] }) : ());
		query("UPDATE retention.contact SET time_zone = '$zone' WHERE customer_id = '1'");
		my @seen = split /\n/, at($start, enroll($name, '1'),
			"SELECT due_at AT TIME ZONE 'UTC' FROM retention.flow_enrollment WHERE flow = '$name'; CALL retention.run_flows(timestamptz '$end' - interval '1 microsecond'); SELECT people('$name'); CALL retention.run_flows('$end'); SELECT people('$name'); SELECT FROM retention.set_status('$name', 'archived')");
		is("@seen", "$end:00 1 step 1 completed", JSON::PP->new->canonical->encode($given) . " in $zone from $start");
	}
	foreach my $case ([ 'Europe/Warsaw', '02:30', '2024-03-30', '03-30 01:30, 03-31 01:30, 04-01 00:30' ], [ 'Europe/Warsaw', '02:30', '2024-10-26', '10-26 00:30, 10-27 01:30, 10-28 01:30' ],
		[ 'Australia/Lord_Howe', '02:15', '2024-10-05', '10-05 15:45, 10-06 15:15, 10-07 15:15' ])
	{
		my ($zone, $time, $start, $fired) = @$case;
		my $name = 'schedule ' . ++$count;
		at($start, 'SELECT launch(' . document($name, [ message('mail') ], time_zone => $zone, reentry => 'always', trigger => { type => 'schedule', at => $time, condition => "customer_id = '1'" }) . ')', 'SELECT');
		query(join ';', map { "CALL retention.run_flows(timestamptz '$start' + interval '" . 15 * $_ . " minutes')" } 1 .. 4 * 72);
		is(query("SELECT string_agg(to_char(entered_at, 'MM-DD HH24:MI'), ', ' ORDER BY entered_at) FROM retention.flow_enrollment WHERE flow = '$name'"), $fired, "a schedule at $time in $zone from $start");
		query("SELECT retention.set_status('$name', 'archived')");
	}
});

failure('Triggers of dates do not fire for what has passed' => sub {
	# The last order of customer N, and five days: on June 2 it is customer 3's day, on June 3 that of 2.
	my @due = (trigger => { type => 'date', column => 'last_order_at', offset => '5 days', at => '09:00' }, reentry => 'always');
	launch('f', [ message('mail') ], @due);
	is(at('2024-06-02 08:59:59.999999', "SELECT people('f')"), 'none', 'whose day has passed does not enter, however many they are');
	is(at('2024-06-02 09:00', 'CALL retention.run_flows()', "SELECT people('f')"), '3 completed', 'whose day it is does');
	is(at('2024-06-02 23:00', "SELECT people('f')"), '3 completed', 'once');
	query("INSERT INTO orders (customer_id, ordered_at) VALUES (5, '2024-06-02 08:00'), (6, '2024-06-02 08:00')");
	is(at('2024-06-02 23:00', 'CALL retention.process_changes()', "SELECT people('f')"), '3 completed', 'a date that moves forward waits for its day');
	query("DELETE FROM orders WHERE customer_id = 2 AND ordered_at = '2024-05-29 10:00'; DELETE FROM orders WHERE customer_id = 6 AND ordered_at > '2024-06-01'");
	is(at('2024-06-02 23:00', 'CALL retention.process_changes()', "SELECT people('f')"), '3 completed', 'a date that moves into the past does not count');
	is(at('2024-06-03 09:00', "SELECT people('f')"), '3 completed', 'nor on the day that was theirs');
	launch('late', [ message('mail') ], @due);
	is(at('2024-06-08 08:00', "SELECT people('f'), people('late')"), '3 completed, 5 completed|5 completed', 'after an outage of days only the last day is made up for');
	is(at('2024-06-20 10:00', "SELECT people('f'), people('late')"), '3 completed, 5 completed|5 completed', 'and of longer ones none that has passed');
	launch('daily', [ message('mail') ], trigger => { type => 'schedule', at => '09:00', condition => "customer_id IN ('1', '2')" }, reentry => 'always');
	is(at('2024-06-05 10:00', "SELECT set_config('retention.as_of', '2024-06-01 10:00', false); SELECT retention.set_status('daily', 'paused'), retention.set_status('daily', 'live'); RESET retention.as_of; SET retention.as_of = '2024-06-05 10:00'",
		"SELECT people('daily')") =~ s/.*\n//sr, '1 completed, 2 completed', 'a schedule fires once after an outage');
});

failure('An event and a timeout that meet' => sub {
	my $pay = sub { return qq{UPDATE retention.contact SET properties = '{"paid": true}' WHERE customer_id = '$_[0]'} };
	launch('f', [ { id => 'paid?', type => 'wait_for', condition => "properties ? 'paid'", timeout => '2 hours', next => 'thanks', else => 'sorry' }, message('thanks'), message('sorry') ]);
	at('2024-06-01 12:00', enroll('f', '1,2,3,4,5'), 'SELECT');
	is(at('2024-06-01 12:30', $pay->(1), "SELECT messages('f')"), '1 thanks ready', 'an event is seen at once');
	is(at('2024-06-01 13:59:59.999999', $pay->(2), "SELECT messages('f')"), '1 thanks ready, 2 thanks ready', 'a microsecond before the timeout');
	is(at('2024-06-01 14:00', $pay->(3), "SELECT messages('f')"), '1 thanks ready, 2 thanks ready, 3 thanks ready, 4 sorry ready, 5 sorry ready', 'at the very moment it wins');
	is(at('2024-06-01 14:00:00.000001', $pay->(4), "SELECT messages('f')"), '1 thanks ready, 2 thanks ready, 3 thanks ready, 4 sorry ready, 5 sorry ready', 'what comes after a timeout does not');
	at('2024-06-01 15:00', enroll('f', '6,7'), 'SELECT');
	query($pay->(6));
	is(at('2024-06-01 20:00', "SELECT messages('f')") =~ s/.*, 6/6/r, '6 thanks ready, 7 sorry ready', 'a tick hours late: it still wins');
	# A worker has looked, and has not committed, when the event comes: the next one has to look again.
	launch('g', [ delay('wait', '1 hour', 'paid?'), { id => 'paid?', type => 'wait_for', condition => "properties ? 'paid'", timeout => '5 days', next => 'thanks' }, message('thanks') ]);
	launch('h', [ delay('wait', '1 hour', 'wait more'), delay('wait more', '1 day') ], exit => "properties ? 'paid'");
	at('2024-06-02 12:00', enroll('g', '8'), enroll('h', '8'), 'SELECT');
	my ($first, $second, $third) = ((map { session($_, 'BEGIN; CALL retention.tick()') } ('2024-06-02 12:30', '2024-06-02 13:00')), session('2024-06-02 13:00', 'SELECT'));
	say_to($first, 'COMMIT');
	query($pay->(8));
	say_beside($third, 'CALL retention.tick()');
	say_to($second, 'COMMIT');
	end_session($_) foreach $first, $second, $third;
	is(query("SELECT messages('g'), people('g'), people('h')"), '8 thanks ready|8 completed|8 exited', 'an event while a worker is at the customer is not lost');
});

failure('Customers who are deleted' => sub {
	my @nodes = (message('hello', body => '{{ person.email }}', next => 'wait'), delay('wait', '1 hour', 'split'),
		{ id => 'split', type => 'split', branches => [ { when => 'historic_number_of_orders > 1', next => 'many' } ], else => 'few' }, message('many'), message('few'));
	launch('f', \@nodes);
	at('2024-06-01 12:00', enroll('f', '1,2,3'), 'SELECT');
	query('DELETE FROM orders WHERE customer_id = 1; CALL retention.process_changes()');
	query("DELETE FROM retention.contact WHERE customer_id = '2'");
	is(at('2024-06-01 13:00', "SELECT messages('f'), people('f')"), '1 few ready, 1 hello ready, 2 hello ready, 2 many suppressed no address, 3 hello ready, 3 many ready|1 completed, 2 completed, 3 completed' =~ s/1 few ready, 1 hello ready/1 hello ready, 1 few ready/r,
		'without orders, or a contact, people still go through');
	is(at('2024-06-01 13:00', "SELECT count(*) FROM retention.claim_messages('email') WHERE customer_id = '2'"), '0', 'what cannot be sent any more is not');
	# Erased: in the flow, with a message claimed, about to enter, and by a worker at the same moment.
	launch('g', [ message('hello', body => '{{ person.email }}', next => 'wait'), delay('wait', '1 hour', 'bye'), message('bye') ], reentry => 'always');
	at('2024-06-01 12:00', enroll('g', '4,5,6,7', q{'{"secret": true}'}), "SELECT count(*) FROM retention.claim_messages('email')");
	my $traces = sub { return query("SELECT count(*) FROM (SELECT customer_id FROM retention.enrollment UNION ALL SELECT customer_id FROM retention.message UNION ALL SELECT customer_id FROM retention.contact UNION ALL SELECT customer_id FROM retention.last_message UNION ALL SELECT customer_id FROM retention.flow_entry) t WHERE customer_id IN ($_[0])"); };
	query(enroll('g', '4') . "; SELECT retention.forget('4')");
	is($traces->("'4'"), '0', 'nothing is left of who is erased');
	is(query("SELECT count(*) FILTER (WHERE event <> '{}'), count(*) FILTER (WHERE outcome = 'forgotten' AND finished_at IS NOT NULL AND due_at IS NULL) FROM retention.enrollment WHERE customer_id IS NULL"), '0|1', 'but a row without a name');
	is(query("SELECT count(*) FROM retention.message WHERE customer_id IS NULL AND (address, subject, body, context) IS NULL AND state = 'suppressed'"), '1', 'and a message without words');
	is(at('2024-06-01 13:00', "SELECT messages('g')"), 'hello suppressed forgotten, 5 hello leased, 5 bye ready, 6 hello leased, 6 bye ready, 7 hello leased, 7 bye ready' =~ s/^hello.*?, (.*)/$1, hello suppressed forgotten/r, 'who gets no more');
	my ($worker, $eraser) = map { session('2024-06-01 14:00', $_) } enroll('g', '5,6') . '; BEGIN; CALL retention.tick()', 'SELECT';
	say_beside($eraser, "SELECT retention.forget('5')");
	say_to($worker, 'COMMIT');
	end_session($_) foreach $worker, $eraser;
	is($traces->("'5'"), '0', 'nothing is left either of who enters at the same moment');
	is(at('2024-06-01 15:00', "SELECT count(*) FROM retention.message WHERE node = 'bye' AND customer_id = '6'"), '2', 'others go on');
	launch('u', [ { id => 'set', type => 'set_property', set => { x => 'true' }, next => 'wait' }, @nodes[1 .. $#nodes] ], reentry => 'always', concurrent => JSON::PP::true, exit => "phone = '1'");
	launch('v', [ message('sms', channel => 'sms', smart_sending => '1 hour', next => 'for'), { id => 'for', type => 'wait_for', condition => "phone = '1'", timeout => '1 day' } ], reentry => 'always', concurrent => JSON::PP::true);
	pgbench('2024-06-01 15:00', 8, 60, "\\set a random(8, 15)\n\\set b random(8, 15)\nSELECT retention.enroll('v', ':a'), retention.enroll('u', ':a');\nCALL retention.run_flows(batch => 7);\n"
		. "INSERT INTO retention.contact (customer_id, phone, sms_consent) VALUES (':b', ':a', true) ON CONFLICT (customer_id) DO UPDATE SET phone = excluded.phone;\nSELECT retention.forget(':b');\n");
});

failure('Relations that are renamed' => sub {
	query('CREATE SCHEMA shop; CREATE TABLE shop.vip (customer_id text PRIMARY KEY); INSERT INTO shop.vip VALUES (1), (3), (5), (7)');
	my $is_vip = 'EXISTS (SELECT FROM shop.vip v WHERE v.customer_id = person.customer_id)';
	my $rename = sub { return 'ALTER TABLE shop.' . ($_[0] ? 'vip RENAME TO gone' : 'gone RENAME TO vip'); };
	launch('split', [ delay('wait', '1 hour', 'choose'), { id => 'choose', type => 'split', branches => [ { when => $is_vip, next => 'vip' } ], else => 'other' }, message('vip'), message('other') ]);
	launch('filter', [ delay('wait', '1 hour', 'mail'), message('mail') ], filter => $is_vip);
	launch('exit', [ delay('wait', '1 hour', 'mail'), message('mail') ], exit => $is_vip);
	launch('data', [ delay('wait', '1 hour', 'mail'), message('mail', data => { vips => '(SELECT count(*) FROM shop.vip)' }, body => '{{ data.vips }}') ]);
	launch('wait', [ { id => 'wait', type => 'wait_for', condition => "properties ? 'now' AND $is_vip", timeout => '9 days', next => 'mail' }, message('mail') ]);
	my @flows = qw(split filter exit data wait);
	my $people = 'SELECT ' . join(', ', map { "people('$_')" } @flows);
	at('2024-06-01 12:00', (map { enroll($_, { exit => '2', filter => '1' }->{$_} // '1,2') } @flows), 'SELECT');
	query($rename->(1));
	is(at('2024-06-01 13:00', q{UPDATE retention.contact SET properties = '{"now": true}' WHERE customer_id = '1'}, $people), '1 choose, 2 choose|1 wait|2 wait|1 mail, 2 mail|1 wait, 2 wait', 'customers wait where something is gone');
	is(query("SELECT string_agg(flow || ' ' || node, ', ' ORDER BY flow), count(DISTINCT error), min(error) FROM retention.flow_step_performance WHERE error IS NOT NULL"),
		'data mail, exit wait, filter wait, split choose, wait wait|1|relation "shop.vip" does not exist', 'the reports say why');
	is(at('2024-06-01 16:00', $people), '1 choose, 2 choose|1 wait|2 wait|1 mail, 2 mail|1 wait, 2 wait', 'for as long as it is gone');
	query($rename->(0));
	is(at('2024-06-01 16:05', $people), '1 completed, 2 completed|1 completed|2 completed|1 completed, 2 completed|1 completed, 2 wait', 'and go on when it is back');
	is(query("SELECT messages('split'), messages('filter'), messages('exit'), messages('data'), messages('wait')"), '1 vip ready, 2 other ready|1 mail ready|2 mail ready|1 mail ready, 2 mail ready|1 mail ready', 'nobody is lost');
	is(query('SELECT count(*) FROM retention.flow_node WHERE error IS NOT NULL'), '0', 'the reports are quiet again');
	# Entry filters keep what started the flow meanwhile.
	launch('entry', [ message('mail') ], entry_filter => $is_vip, trigger => { type => 'order' });
	query($rename->(1));
	query("INSERT INTO orders (customer_id, ordered_at) VALUES (3, '2024-06-01 16:20'), (4, '2024-06-01 16:20'); SET retention.as_of = '2024-06-01 16:30'; CALL retention.process_changes()");
	is(at('2024-06-01 16:30', enroll('entry', '5,6'), "SELECT people('entry'), error FROM retention.flow WHERE flow = 'entry'"), 'none|relation "shop.vip" does not exist', 'nobody enters through a filter that is gone');
	is(at('2024-06-01 16:30', enroll('split', '9'), "SELECT people('split') ~ '9 wait'"), 't', 'other flows are entered');
	query($rename->(0));
	is(at('2024-06-01 16:31', "SELECT people('entry'), error IS NULL FROM retention.flow WHERE flow = 'entry'"), '3 completed, 5 completed|t', 'all enter when it is back');
	# A segment's view.
	query(q{CREATE VIEW few AS SELECT customer_id FROM retention.profile WHERE customer_id < '12'; SELECT retention.add_segment('few')});
	launch('segment', [ delay('wait', '1 day', 'mail'), message('mail') ], trigger => { type => 'segment', segment => 'few' }, reentry => 'always', concurrent => JSON::PP::true);
	launch('left', [ message('mail') ], trigger => { type => 'segment', segment => 'few', change => 'left' });
	at('2024-06-01 17:00', "SELECT retention.backfill_flow('segment')", 'ALTER VIEW few RENAME TO fewer', 'CALL retention.refresh(full => true)', 'CALL retention.run_flows()', 'ALTER VIEW fewer RENAME TO few', 'CALL retention.refresh(full => true)', 'SELECT');
	is(at('2024-06-02 17:00', "SELECT people('segment'), people('left')"), '1 completed, 10 completed, 11 completed|none', 'a segment whose view is renamed for a while moves nobody');
});

failure('An expression that fails for one customer' => sub {
	query(q{UPDATE retention.contact SET properties = jsonb_build_object('d', CASE WHEN customer_id IN ('2', '9') THEN 0 ELSE 1 END)});
	my ($mail, $condition) = (message('mail'), "1 / (properties ->> 'd')::integer = 1");
	my %case = (
		entry_filter => [ [$mail], entry_filter => $condition ],
		filter => [ [$mail], filter => $condition ],
		exit => [ [$mail], exit => "1 / (properties ->> 'd')::integer = 2" ],
		split => [ [ { id => 'split', type => 'split', branches => [ { when => $condition, next => 'mail' } ] }, $mail ] ],
		wait_for => [ [ { id => 'wait', type => 'wait_for', condition => $condition, timeout => '1 day', next => 'mail' }, $mail ] ],
		data => [ [ message('mail', data => { x => "1 / (properties ->> 'd')::integer" }, body => '{{ data.x }}') ] ],
		set_property => [ [ { id => 'set', type => 'set_property', set => { x => "1 / (properties ->> 'd')::integer" }, next => 'mail' }, $mail ] ],
		until => [ [ { id => 'wait', type => 'delay', until => "date '2024-05-01' + 1 / (properties ->> 'd')::integer", next => 'mail' }, $mail ] ]);
	foreach my $place (sort keys %case)
	{
		my ($nodes, @more) = @{ $case{$place} };
		launch($place, $nodes, @more);
		is(at('2024-06-01 12:00', enroll($place, '1,2,3,4,5,6,7,8,9,10'), "SELECT messages('$place'), string_agg(customer_id || ' ' || reason, ', ' ORDER BY customer_id), count(*) FILTER (WHERE outcome = 'completed') FROM retention.flow_enrollment WHERE flow = '$place'"),
			'1 mail ready, 3 mail ready, 4 mail ready, 5 mail ready, 6 mail ready, 7 mail ready, 8 mail ready, 10 mail ready|2 division by zero, 9 division by zero|8', $place);
	}
	is(query("SELECT count(*), count(*) FILTER (WHERE outcome = 'error' AND finished_at IS NOT NULL AND due_at IS NULL) FROM retention.enrollment WHERE customer_id IN ('2', '9')"), '16|16', 'theirs end');
	launch('schedule', [$mail], trigger => { type => 'schedule', at => '13:00', condition => "customer_id IN ('1', '2', '3') AND $condition" });
	is(at('2024-06-01 13:00', "SELECT people('schedule')"), '1 completed, 3 completed', 'a schedule fires for the others');
	launch('due', [ delay('wait', '1 hour', 'split'), { id => 'split', type => 'split', branches => [ { when => $condition, next => 'mail' } ] }, $mail ]);
	query(q{UPDATE retention.contact SET properties = '{"d": 1}'});
	at('2024-06-01 12:00', enroll('due', join ',', 1 .. 20), 'SELECT');
	query(q{UPDATE retention.contact SET properties = '{"d": 0}' WHERE customer_id IN ('7')});
	is(at('2024-06-01 13:00', "SELECT count(*) FILTER (WHERE outcome = 'completed'), string_agg(customer_id, ' ') FILTER (WHERE outcome = 'error') FROM retention.flow_enrollment WHERE flow = 'due'"), '19|7', 'or who comes to fail later');
});

failure('What is finished, and what is not due for this batch, costs nothing' => sub {
	query(<<'SQL');
INSERT INTO retention.contact (customer_id, email, email_consent) SELECT i, i || '@example.com', true FROM generate_series(21, 200000) i;
INSERT INTO orders (customer_id, ordered_at) SELECT i, '2024-05-01' FROM generate_series(21, 50000) i;
CALL retention.refresh();
CALL retention.process_changes();
SELECT retention.add_coupon_pool('codes', ARRAY(SELECT 'new' || i FROM generate_series(1, 2000) i));
SQL
	my @nodes = (delay('wait', '1 hour', 'code'), { id => 'code', type => 'coupon', pool => 'codes', next => 'mark' }, { id => 'mark', type => 'set_property', set => { last => 'historic_number_of_orders' }, next => 'mail' },
		message('mail', smart_sending => '1 hour', body => '{{ coupon.code }} {{ person.email }}', next => 'paid?'), { id => 'paid?', type => 'wait_for', condition => 'overdue AND false', timeout => '1 day' });
	launch('f', \@nodes, filter => 'historic_number_of_orders IS NULL OR historic_number_of_orders < 100', exit => 'locale IS NOT NULL');
	launch('g', [ message('mail') ], trigger => { type => 'order' }, entry_filter => 'historic_number_of_orders > 0');
	query(<<'SQL');
CREATE VIEW node AS SELECT n.flow_id, n.node_id, n.node FROM retention.flow_node n JOIN retention.flow f USING (flow_id) WHERE f.flow = 'f';
INSERT INTO retention.enrollment (flow_id, node_id, is_holdout, entered_at, finished_at, customer_id, outcome, event)
  SELECT flow_id, node_id, false, '2024-01-01', '2024-02-01', i, 'completed', '{}' FROM node, generate_series(1, 200000) i WHERE node = 'mail';
INSERT INTO retention.message (enrollment_id, flow_id, node_id, queued_at, ready_at, node, channel, state, customer_id, sent_at)
  SELECT enrollment_id, flow_id, node_id, '2024-01-01', '2024-01-01', 'mail', 'email', 'sent', customer_id, '2024-01-01' FROM retention.enrollment;
INSERT INTO retention.last_message SELECT i, 'email', '2024-01-01', '1 hour' FROM generate_series(1, 100000) i;
INSERT INTO retention.coupon (pool, code, enrollment_id, node, issued_at) SELECT 'codes', 'old' || i, -i, 'code', '2024-01-01' FROM generate_series(1, 100000) i;
INSERT INTO retention.order_event (metric, source_id, kind, customer_id, order_id, occurred_at, amount, recorded_at, ordered_at, net_amount) SELECT 'orders', 1, 'order', i, i, '2024-05-01', 1, '2024-05-01', '2024-05-01', 1 FROM generate_series(1, 50000) i;
SELECT retention.set_status('g', 'paused'), retention.set_status('g', 'live');
INSERT INTO retention.enrollment (flow_id, node_id, is_holdout, entered_at, since, due_at, customer_id, event)
  SELECT flow_id, node_id, false, '2024-06-01', '2024-06-01', timestamptz '2024-06-01 01:00' + hashint4(i) * interval '1 microsecond', i, '{}' FROM node, generate_series(1, 300000) i WHERE node = 'wait';
SQL
	query("INSERT INTO retention.suppression SELECT 'email', i || '\@gone.example.com', 'bounced', '2024-01-01' FROM generate_series(1, 50000) i");
	# Of what is big nothing is read in full, and no more rows than a few for each of the batch.
	my $read = "SELECT coalesce(string_agg(format('%s: %s scans, %s rows', relname, seq_scan, idx_tup_fetch), ', ' ORDER BY relname), 'little') FROM pg_stat_xact_user_tables WHERE schemaname = 'retention'"
	  . " AND relname IN ('enrollment', 'message', 'contact', 'customer', 'last_message', 'coupon', 'order_event', 'suppression') AND (seq_scan > 0 OR coalesce(idx_tup_fetch, 0) > LIMIT_)";
	my $in_one = sub {
		my ($sql, $limit) = @_;
		return query("SET retention.as_of = '2024-06-01 02:00'; BEGIN; DO \$\$ BEGIN $sql; END \$\$; " . ($read =~ s/LIMIT_/$limit/r) . '; ROLLBACK');
	};
	foreach my $state ('never analysed', 'analysed')
	{
		is($in_one->('CALL retention.tick(batch => 50)', 1000), 'little', "$state: those who are due");
		is($in_one->("CALL retention.tick('2024-05-01', 50)", 100), 'little', "$state: nobody is due");
		is($in_one->("PERFORM retention.enroll('f', i::text) FROM generate_series(1, 40) i; CALL retention.tick('2024-05-01', 50)", 1000), 'little', "$state: some enter");
		is($in_one->("UPDATE retention.contact SET phone = '1' WHERE customer_id = '77'; CALL retention.tick('2024-05-01', 50)", 50), 'little', "$state: one has changed");
		query("INSERT INTO orders (customer_id, ordered_at) SELECT i, '2024-06-01 00:30' FROM generate_series(1, 20) i; CALL retention.process_changes('2024-06-01 00:40')");
		is($in_one->("CALL retention.tick('2024-06-01 00:50', 50)", 2000), 'little', "$state: some have ordered");
		is($in_one->("CALL retention.tick(batch => 50); PERFORM FROM retention.claim_messages('email', 100); PERFORM retention.ack(array_agg(message_id)) FROM retention.claim_messages('email', 100)", 1000), 'little', "$state: senders") ;
		query('ANALYZE');
	}
});

$node->stop;
done_testing();
