# The example sender and a mail server that refuses, defers and hangs up, while each of the sender, the mail server and
# PostgreSQL is killed: every message arrives, and only those come twice that were in flight.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use List::Util qw(shuffle);
use Time::HiRes qw(time);
use Test::More;

my ($python) = grep { system("$_ -c 'import psycopg2, aiosmtpd' >/dev/null 2>&1") == 0 } qw(python3 /usr/bin/python3);
plan skip_all => 'python3 with psycopg2 and aiosmtpd is not installed' unless $python;

my $seed = $ENV{RETENTION_SEED} || int(time) % 100000;
srand $seed;
note("RETENTION_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nmax_connections = 20\nretention.as_of = '2024-06-01 00:00'");
$node->start;

my $record = $node->basedir . '/record.json';
my $log = $node->basedir . '/sender.log';

sub query { return $node->safe_psql('postgres', shift); }

sub wait_for
{
	my ($what, $condition) = @_;
	$node->poll_query_until('postgres', "SELECT $condition") or die "this never came to be: $what. The sender: " . slurp_file($log);
}

# The clock stands, so that leases end when the test says so, however slow the machine is.
my $minutes = 0;

sub advance_clock
{
	$minutes += shift;
	my $time = sprintf('2024-06-01 %02d:%02d', int($minutes / 60), $minutes % 60);
	$node->append_conf('postgresql.conf', "retention.as_of = '$time'");
	$node->reload;
	wait_for('the clock has moved', "retention.now() = '$time'");
}

# --- the mail server, and the sender ---

my $port = PostgreSQL::Test::Cluster::get_free_port();
my %running;

sub start_sink
{
	my $out = '';

	$running{sink} = IPC::Run::start([ $python, "$ENV{RETENTION_SOURCE}/tests/oracle/smtp_sink.py", $port, $record, '--seed', $seed, @_ ],
		'<', \undef, '>', \$out, '2>>', "$record.log", IPC::Run::timeout(60));
	$running{sink}->pump until $out =~ /listening/;
}

sub start_sender
{
	local $ENV{UNSUBSCRIBE_SECRET} = 'secret';

	$running{sender} = IPC::Run::start(
		[   $python, "$ENV{RETENTION_SOURCE}/examples/sender/sender.py",
			'--dsn', $node->connstr('postgres') . ' user=mailer', '--smtp', "127.0.0.1:$port", '--from', 'Der Läden <hello@shop.example>',
			'--batch', 40, '--poll', 0.2, '--unsubscribe-url', 'https://shop.example/unsubscribe?customer={customer_id}&signature={signature}', @_ ],
		'<', \undef, '2>>', $log);
}

# Waits for its end, after a signal if one is given; returns the exit status.
sub end_process
{
	my ($name, $signal) = @_;

	$running{$name}->signal($signal) if $signal;
	$running{$name}->finish;
	return (delete $running{$name})->full_result(0);
}

# --- the customers ---

my $customers = 0;
my %address = (
	mute => "mute%d\@shop.example",
	bcc  => "person%d\@shop.example\nBcc: victim\@shop.example",
	list => "person%d\@shop.example,victim\@shop.example");

# Adds so many customers of each kind, and has their messages written, in any order.
sub enter
{
	my %numbers = @_;
	my (@contacts, @calls);

	foreach my $kind (sort keys %numbers)
	{
		foreach (1 .. $numbers{$kind})
		{
			my $id = ++$customers;
			push @contacts, sprintf(q{('%d', '%s', %s, '{"first_name": "Zoë"}')}, $id, sprintf($address{$kind} // "$kind%d\@shop.example", $id), $kind eq 'mute' ? 'false' : 'true');
			push @calls, sprintf(q{SELECT retention.enroll('%s', '%s', '{}');}, $kind eq 'large' ? 'large' : 'welcome', $id);
		}
	}
	query('INSERT INTO retention.contact (customer_id, email, email_consent, properties) VALUES ' . join(', ', @contacts));
	query(join("\n", shuffle(@calls), 'CALL retention.run_flows();'));
}

query(<<"SQL");
CREATE EXTENSION retention;
CREATE ROLE mailer LOGIN;
SELECT retention.grant_access('mailer', 'operator');
SELECT retention.add_metric('orders');
SELECT retention.create_flow('{"name": "welcome", "trigger": {"type": "manual"}, "nodes": [
  {"id": "hello", "type": "message", "channel": "email", "subject": "Grüße, {{ person.first_name }} ✓", "next": "after",
   "body": "<p>Hallo {{ person.first_name }},</p><p>hier ist <a href=\\"https://shop.example/?a=1&amp;b=2\\">der Laden</a>.</p>"},
  {"id": "after", "type": "exit", "outcome": "welcomed"}]}');
SELECT retention.create_flow(jsonb_set('{"name": "large", "trigger": {"type": "manual"}, "nodes": [
  {"id": "all of it", "type": "message", "channel": "email", "subject": "All of it", "text": "Too much for text."}]}',
  '{nodes,0,body}', to_jsonb(repeat('<p>And so on, ändlessly.</p>', 36000))));
SELECT retention.publish(flow), retention.set_status(flow, 'live') FROM (VALUES ('welcome'), ('large')) AS f (flow);
-- What the mail server did: it took some messages, of which it said so where the result is "accepted".
CREATE VIEW record AS
  SELECT number, line->>'session' AS session, line->>'recipient' AS recipient, line->>'result' AS result, line->>'message_id' AS message_id,
         line ? 'message_id' AS is_taken, line
  FROM (SELECT number, line::jsonb FROM regexp_split_to_table(pg_read_file('$record'), '\\n') WITH ORDINALITY AS l (line, number) WHERE line <> '') AS l;
SQL
my $unsent = q{(SELECT count(*) FROM retention.message WHERE state IN ('ready', 'leased'))};
my $due = q{(SELECT count(*) FROM retention.message WHERE state IN ('ready', 'leased') AND ready_at <= retention.now())};
my $sent = q{(SELECT count(*) FROM retention.message WHERE state = 'sent')};
my $repeats = q{(SELECT count(*) - count(DISTINCT recipient) FROM record WHERE is_taken)};

# Waits until so many more are sent, or as good as all.
sub wait_for_some
{
	my ($number) = @_;
	wait_for('messages are sent', "$sent >= " . (query("SELECT $sent") + $number) . " OR $due = 0");
}

# Moves the clock until nothing is left to send: what failed comes again after a while, and what a killed sender had claimed.
sub send_the_rest
{
	my $rounds = 0;

	while (1)
	{
		wait_for('nothing is due', "$due = 0");
		last if query("SELECT $unsent") eq '0';
		die 'some messages are never sent' if ++$rounds > 20;
		advance_clock(6);
	}
}

# --- nobody sends ---

enter(person => 60, refused => 4, deferred => 4, cut => 2, lost => 2, stuck => 3, mute => 3, bcc => 1, list => 1, large => 2);
is(query('SELECT count(*) FROM retention.enrollment WHERE finished_at IS NULL'), '0', 'people go on, whether or not their messages are sent');
is(query('SELECT state, count(*) FROM retention.message GROUP BY state ORDER BY state'), "ready|79\nsuppressed|3", 'messages are ready, but those without consent');

# --- the sender is killed, before the mail server has told it that a message is taken, and anywhere ---

start_sink('--drop', 0.02);
foreach my $stuck (1 .. 3)
{
	start_sender();
	wait_for('a message is in flight', "count(*) = $stuck FROM record WHERE result = 'stuck'");
	end_process('sender', 'KILL');
	advance_clock(6);
}
enter(person => 180, refused => 4, deferred => 4, cut => 2, lost => 2, mute => 3);
foreach (1 .. 6)
{
	start_sender();
	wait_for_some(int(rand 30));
	end_process('sender', 'KILL');
	advance_clock(6);
}

# --- the mail server is killed ---

start_sender();
send_the_rest();
enter(person => 60, deferred => 2);
wait_for_some(10);
end_process('sink', 'KILL');
enter(patient => 20);
wait_for('the sender tries time and again', "count(*) > 8 FROM regexp_matches(pg_read_file('$log'), 'Connection refused', 'g')");
is(query(q{SELECT sum(attempts) FROM retention.message WHERE address LIKE 'patient%'}), '0', 'while the mail server is away, no message loses an attempt');
start_sink();
send_the_rest();

# --- PostgreSQL is killed ---

my $before = query("SELECT $repeats");
enter(person => 60, deferred => 2);
wait_for_some(10);
$node->stop('immediate');
$node->start;
send_the_rest();
is(query("SELECT $repeats"), $before, 'a sender that outlives the database acknowledges later what was taken');

# --- the sender is asked to end ---

enter(person => 60);
wait_for_some(10);
is(end_process('sender', 'TERM'), 0, 'asked to end, the sender does');
is(query("SELECT $sent"), query('SELECT count(DISTINCT recipient) FROM record WHERE is_taken'), 'after the message in hand, which it has acknowledged');
advance_clock(6);
start_sender('--once');
is(end_process('sender'), 0, 'told to send once, it ends when nothing is ready');
is(query("SELECT $unsent"), '0', 'which is when all is sent');
end_process('sink', 'TERM');

# --- what became of them ---

query('CREATE TABLE final AS SELECT * FROM record');
is(query(q{SELECT count(*) FROM retention.message WHERE state = 'sent' AND NOT EXISTS (SELECT FROM final WHERE is_taken AND recipient = address)}), '0', 'what is sent has arrived');
is(query(q{SELECT count(*) FROM final WHERE is_taken AND NOT EXISTS (SELECT FROM retention.message WHERE state = 'sent' AND address = recipient)}), '0', 'and nobody else has got anything');
is(query(<<'SQL'), '', 'all messages have ended as they should');
SELECT address, state, reason, attempts, last_error FROM retention.message
WHERE concat_ws(': ', state, reason, CASE WHEN state = 'dead' THEN last_error END) IS DISTINCT FROM
      CASE WHEN address LIKE 'refused%' THEN 'dead: 550 5.1.1 no such user'
           WHEN address LIKE 'mute%' THEN 'suppressed: no consent'
           WHEN address LIKE '%victim%' THEN format('dead: cannot be sent: ''%s'' is not an email address', replace(address, E'\n', '\n'))
           ELSE 'sent' END
ORDER BY message_id
SQL
is(query(q{SELECT count(*) FROM retention.message WHERE state <> 'suppressed' AND attempts < CASE WHEN address ~ '^(deferred|cut|lost|stuck)' THEN 2 ELSE 1 END}),
	'0', 'those that failed for a while were tried again');
my $seen = query(<<'SQL');
SELECT string_agg(format('%s %s', count, result), ', ' ORDER BY result) FROM (SELECT result, count(*) FROM final GROUP BY result) AS f
SQL
note("the mail server: $seen, " . query("SELECT $repeats") . ' repeated');
is(query(q{SELECT count(DISTINCT recipient) FROM final f WHERE result IN ('lost', 'stuck') AND NOT EXISTS (SELECT FROM final o WHERE o.recipient = f.recipient AND o.result = 'accepted')}),
	'0', 'what was taken without an answer was sent again');
# A message is acknowledged before the next one is sent: had it been, the connection would have gone on.
is(query(<<'SQL'), '0', 'nothing that was taken, or refused, was tried again but what was in flight');
SELECT count(*) FROM final f
WHERE (is_taken OR result = 'refused') AND EXISTS (SELECT FROM final o WHERE o.recipient = f.recipient AND o.number > f.number)
  AND EXISTS (SELECT FROM final o WHERE o.session = f.session AND o.number > f.number)
SQL
is(query(q{SELECT count(*) FROM final f JOIN retention.message m ON m.address = f.recipient WHERE is_taken AND f.message_id <> format('<%s.postgres@shop.example>', replace(replace(idempotency_key, ':', '%3A'), ' ', '%20'))}),
	'0', 'the Message-ID tells a repeated one');
is(query(q{SELECT count(*) FROM final f JOIN retention.message m ON m.address = f.recipient WHERE is_taken AND (line->>'subject' <> subject OR line->>'html' <> encode(sha256(convert_to(body, 'UTF8')), 'hex'))}),
	'0', 'subjects and bodies arrive as they were written');
is(query(q{SELECT max((line->>'longest')::integer) < 998 FROM final WHERE is_taken}), 't', 'in lines that every mail server takes');
is(query(q{SELECT line->>'subject', line->>'from', line->>'sender', replace(line->>'text', E'\r', '') FROM final WHERE is_taken AND recipient LIKE 'person%' LIMIT 1}),
	"Grüße, Zoë ✓|Der Läden <hello\@shop.example>|hello\@shop.example|Hallo Zoë,\nhier ist der Laden (https://shop.example/?a=1&b=2).", 'this is how one looks');
is(query(q{SELECT DISTINCT line->>'text' FROM final WHERE is_taken AND recipient LIKE 'large%'}), 'Too much for text.', 'a text is sent as it is');
is(query(q{SELECT count(*) FROM final f JOIN retention.message m ON m.address = f.recipient WHERE is_taken AND line->>'unsubscribe' !~ format('^<https://shop.example/unsubscribe\?customer=%s&signature=[0-9a-f]{64}>$', customer_id)}),
	'0', 'with an address to unsubscribe');

$node->stop;
done_testing();

# A test that dies leaves nothing running.
END
{
	local $?;
	$_->kill_kill foreach values %running;
}
