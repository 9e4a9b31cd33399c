# Templates and buckets in databases of all kinds of encodings, and memory over many renderings.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PGCLIENTENCODING} = 'UTF8';
my $node = PostgreSQL::Test::Cluster->new('encodings');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', 'jit = off');
$node->start;

for my $encoding ('UTF8', 'LATIN1', 'LATIN2', 'EUC_JP', 'EUC_TW', 'SQL_ASCII', 'WIN1251')
{
	$node->safe_psql('postgres', qq{CREATE DATABASE "in_$encoding" ENCODING '$encoding' TEMPLATE template0});
	$node->safe_psql("in_$encoding", 'CREATE EXTENSION retention');
}

# What every encoding has.
my $ascii = q{SELECT retention.render('{% for i in items %}{{ loop.index }} {{ i|upper|truncate:6 }}{% endfor %}{{ a|urlencode }}', '{"items": ["<tea>", "a long name"], "a": "x y"}'), retention.bucket('1010', 'welcome:holdout')};
for my $encoding ('UTF8', 'LATIN1', 'LATIN2', 'EUC_JP', 'EUC_TW', 'SQL_ASCII', 'WIN1251')
{
	is($node->safe_psql("in_$encoding", $ascii), '1 &lt;TEA&gt;2 A L...x%20y|4698', "ASCII text in $encoding");
}

# Characters are counted and cut whole, URLs and buckets are those of UTF-8; letters beyond ASCII change in UTF-8 only.
my $text = q{SELECT retention.render('{{ a|length }} {{ a|truncate:5 }} {{ a|urlencode }} {{ b.ITEM }}', '{"a": "WORD", "b": {"ITEM": 1}}'), retention.bucket('WORD', 'ITEM') = NUMBER};
sub in_encodings
{
	my ($word, $item, $number, $expected, @encodings) = @_;
	my $query = $text =~ s/WORD/$word/gr =~ s/ITEM/$item/gr =~ s/NUMBER/$number/gr;
	is($node->safe_psql("in_$_", $query), $expected, "$word in $_") for @encodings;
}

my $bucket = sub { $node->safe_psql('in_UTF8', "SELECT retention.bucket('$_[0]', '$_[1]')") };
in_encodings('déjà-vu', 'café', $bucket->('déjà-vu', 'café'), '7 dé... d%C3%A9j%C3%A0-vu 1|t', 'UTF8', 'LATIN1');
in_encodings('zażółć', 'ż', $bucket->('zażółć', 'ż'), '6 za... za%C5%BC%C3%B3%C5%82%C4%87 1|t', 'UTF8', 'LATIN2');
in_encodings('日本語の本屋', '本', $bucket->('日本語の本屋', '本'), '6 日本... %E6%97%A5%E6%9C%AC%E8%AA%9E%E3%81%AE%E6%9C%AC%E5%B1%8B 1|t', 'UTF8', 'EUC_JP');
in_encodings('приветы', 'имя', $bucket->('приветы', 'имя'), '7 пр... %D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82%D1%8B 1|t', 'UTF8', 'WIN1251');
is($node->safe_psql('in_LATIN1', q{SELECT retention.render('{{ a|upper }}', '{"a": "été"}')}), 'éTé', 'upper in LATIN1 changes ASCII');
is($node->safe_psql('in_UTF8', q{SELECT retention.render('{{ a|upper }}', '{"a": "été"}')}), 'ÉTÉ', 'upper in UTF8');

# Bytes that are no characters, which SQL_ASCII lets in.
is($node->safe_psql('in_SQL_ASCII', q{SELECT octet_length(retention.render(E'{{ a|upper|truncate:9 }}\xff\xc5', jsonb_build_object('a', E'\xc5'))), retention.bucket(E'\xff', E'\xc5'), retention.render('{{ a|urlencode }}', jsonb_build_object('a', E'\xc5'))}),
	'3|4223|%C5', 'any bytes in SQL_ASCII');
my ($stdout, $stderr);
$node->psql('in_EUC_JP', q{SELECT retention.render('日本 {{ 語 }}', '{}')}, stdout => \$stdout, stderr => \$stderr);
like($stderr, qr/line 1, column 7: "語" is missing or null/, 'columns are counted in characters');

# The most memory that a session has used, in kB.
my $memory = q{SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s*(\d+)')::integer};

# One template, many templates, broken ones and large results.
SKIP:
{
	skip 'this system has no /proc', 1 unless -e '/proc/self/status';
	my $output = $node->safe_psql('in_UTF8', <<SQL);
		SET max_parallel_workers_per_gather = 0;
		CREATE TABLE person AS SELECT jsonb_build_object('n', n, 'name', repeat('x', n % 100), 'items', '[1, 2.5, "a<b"]'::jsonb) AS context FROM generate_series(1, 1000) AS n;
		SELECT count(retention.render('{{ n }}', context)) FROM person;
		$memory;
		SELECT count(retention.render('{{ n|round:2 }} {{ name|upper|urlencode|truncate:50 }} {% for i in items %}{{ loop.index }}{{ i }}{% endfor %}', context)) FROM person, generate_series(1, 300);
		SELECT count((retention._try_render('{{ n }} ' || n || (context->>'n') || repeat(' ', 5000) || CASE WHEN n % 5 = 0 THEN '{{' ELSE '{{ nothing }}' END, context, true)).error) FROM person, generate_series(1, 50) AS n;
		SELECT max(length(retention.render('{% for i in items %}{{ name }}{% endfor %}', jsonb_build_object('items', '[1, 2, 3]'::jsonb, 'name', repeat('x', 300000))))) FROM generate_series(1, 100);
		$memory;
SQL
	my ($before, $after) = $output =~ /\A1000\n(\d+)\n300000\n50000\n900000\n(\d+)\z/;
	ok(defined $before && $after - $before < 12 * 1024, 'renderings keep no memory')
	  or diag($output);
}

$node->stop;
done_testing();
