# The page of reports in a real browser: it says nothing to the console and asks for nothing, its marks lie where the data are, it fits
# small and large screens, light, dark and paper, and people with a screen reader. Where there is no Chromium this is skipped.
# RETENTION_PICTURES=directory keeps pictures of it.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($browser) = grep { system("command -v $_ >/dev/null 2>&1") == 0 } qw(chromium chromium-browser google-chrome);
plan skip_all => 'there is no chromium' unless $browser;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', "jit = off\nfsync = off\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION retention;
CREATE TABLE orders AS SELECT * FROM retention.simulate_orders(800, '2022-06-01Z', '2024-12-01Z', 3);
SELECT retention.add_source('orders', order_id => 'order_id');
SET retention.as_of = '2024-12-01Z';
CALL retention.refresh();
SELECT count(*) FROM retention.validate_model('orders', '2024-01-01Z');
SELECT retention.add_segment('retention.churn_risk_high');
SELECT retention.create_flow('{"name": "We miss you", "trigger": {"type": "segment", "segment": "churn_risk_high"}, "nodes": [{"id": "x", "type": "exit"}]}'), retention.publish('We miss you');
CREATE TABLE made AS SELECT retention.report('orders', '2024-09-01Z', '2024-12-01Z') AS document;
SQL

my $folder = PostgreSQL::Test::Utils::tempdir();

# Writes a file into the test's folder, and returns its path.
sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>:raw', "$folder/$name" or die "$name: $!";
	print $file $text;
	close $file;
	return "$folder/$name";
}

sub page_of
{
	my ($document, @arguments) = @_;
	return $node->safe_psql('postgres', "SELECT retention.report_page(" . join(', ', $document, @arguments) . ") FROM made");
}

# Runs the browser, and returns what it says: the page as it stands in the end, and the log with the console's messages.
sub browse
{
	my ($path, @options) = @_;
	my @command = ($browser, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', "--user-data-dir=$folder/profile",
		'--allow-file-access-from-files', '--enable-logging=stderr', '--virtual-time-budget=20000', @options, "file://$path");
	local $ENV{HOME} = $folder;
	IPC::Run::run(\@command, '>', \my $page, '2>', \my $log, IPC::Run::timeout(180));
	return ($page, join "\n", grep { /CONSOLE/ } split /\n/, $log);
}

my $page = page_of('document', q('en'), q('EUR'));
my $path = write_file('page.html', $page);
my (undef, $console) = browse(write_file('talks.html', '<script>console.log("heard")</script>'), '--dump-dom');
like($console, qr/heard/, 'what a page says to the console is heard');
(my $dom, $console) = browse($path, '--dump-dom');
is($console, '', 'the page says nothing');
is(() = $dom =~ /role="img"/g, 10, 'and has its charts');

# The page within another one, which measures it. What it is framed by changes nothing of it.
my $measure = <<'HTML';
<body><script>
const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
const all = (root, what) => [...root.querySelectorAll(what)].filter(e => getComputedStyle(e).display !== 'none');
// Letters within one another, among those of the same chart.
const overlaps = texts => { let n = 0; const b = texts.map(box);
  for (let i = 0; i < b.length; i++) for (let j = 0; j < i; j++)
    if (b[i][0] < b[j][2] - 1 && b[j][0] < b[i][2] - 1 && b[i][1] < b[j][3] - 4 && b[j][1] < b[i][3] - 4) n++;
  return n; };
const outside = (e, figure) => { const a = box(e), f = box(figure); return a[0] < f[0] - 1 || a[2] > f[2] + 1; };
async function measure(width) {
  const frame = document.createElement('iframe');
  frame.style = `border:0;width:${width}px;height:900px`; frame.src = 'page.html'; document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const d = frame.contentDocument, figures = all(d, 'figure'), charts = all(d, '[role=img]');
  return { width, wide: d.documentElement.scrollWidth, ground: getComputedStyle(d.body).backgroundColor,
    letters: [...new Set(charts.flatMap(c => all(c, 'text')).map(t => getComputedStyle(t).fontSize))],
    overlaps: charts.map(c => overlaps(all(c, '.tick, .unit'))),
    outside: figures.map(f => all(f, 'text, rect, circle, path, .map td, .tiles td').filter(e => outside(e, f)).length),
    marks: figures.map(f => ['.bar', '.dot', '.line', '.band', '.ribbon'].map(m => all(f, m).length).join(' ')),
    titles: figures.map(f => f.querySelector('h3').textContent),
    tenths: all(d, '#value figure:first-child .bar.c1').map(e => box(e)[3] - box(e)[1]),
    ribbons: all(d, '.ribbon').map(e => Math.round(box(e)[2] - box(e)[0])), chart: Math.round(box(d.querySelector('.moves'))[2] - box(d.querySelector('.moves'))[0]),
    dots: all(d, '#forecast figure:first-child .dot').map(e => (box(e)[1] + box(e)[3]) / 2),
    base: all(d, '#forecast figure:first-child .base').map(e => box(e)[1]) };
}
(async () => {
  const found = [];
  for (const width of [400, 800, 1400]) found.push(await measure(width));
  document.body.innerHTML = ''; document.body.textContent = '<<<' + JSON.stringify(found) + '>>>';
})();
</script></body>
HTML

# Reads what a page has left as JSON between marks.
sub left_by
{
	my ($name, $html, @options) = @_;
	my ($found) = browse(write_file($name, $html), '--window-size=1500,1000', '--dump-dom', @options);
	my ($json) = $found =~ /&lt;&lt;&lt;(.*)&gt;&gt;&gt;/s or return [];
	$json =~ s/&lt;/</g, $json =~ s/&gt;/>/g, $json =~ s/&amp;/&/g;
	return JSON::PP->new->utf8->decode($json);
}

my $found = left_by('measure.html', $measure);
is(scalar @$found, 3, 'three widths were measured');
my $document = JSON::PP->new->decode($node->safe_psql('postgres', 'SELECT document FROM made'));
my @deciles = @{ $document->{sections}{value}{period} };
my @came = map { $_->{year_ago_actual_orders} } @{ $document->{sections}{forecast}{period} };
foreach my $at (@$found)
{
	my $name = "at $at->{width} px";
	cmp_ok($at->{wide}, '<=', $at->{width}, "$name nothing is wider than the screen");
	is_deeply($at->{letters}, ['12px'], "$name letters of charts are as large as ever");
	is(join(' ', grep { $_ } @{ $at->{overlaps} }), '', "$name no labels of axes overlap");
	is(join(' ', grep { $_ } @{ $at->{outside} }), '', "$name nothing lies outside of its figure");
	is_deeply($at->{marks}, $found->[0]{marks}, "$name there are the same marks");
	is(scalar @{ $at->{tenths} }, 10, "$name each tenth has a bar");
	my $unit = $at->{tenths}[0] / $deciles[0]{percent};
	is(scalar(grep { abs($at->{tenths}[$_] - $unit * $deciles[$_]{percent}) > 0.6 } 0 .. 9), 0, "$name which is as high as it is much");
	is(scalar @{ $at->{ribbons} }, scalar @{ $document->{sections}{moves}{period} }, "$name each move has a ribbon");
	is(scalar(grep { abs($_ - 0.976 * $at->{chart}) > 2 } @{ $at->{ribbons} }), 0, "$name from one side to the other");
	is(scalar @{ $at->{dots} }, scalar @came, "$name each month of a year ago has a dot");
	my $scale = ($at->{base}[0] - $at->{dots}[0]) / $came[0];
	is(scalar(grep { abs($at->{base}[0] - $at->{dots}[$_] - $scale * $came[$_]) > 0.6 } 0 .. $#came), 0, "$name which is as high as they were many");
}
note(join "\n", map { "$found->[0]{marks}[$_]  $found->[0]{titles}[$_]" } 0 .. $#{ $found->[0]{marks} });
my $dark = left_by('measure.html', $measure, '--blink-settings=preferredColorScheme=0');
isnt($dark->[0]{ground}, $found->[0]{ground}, 'in the dark the ground is another one');

# On paper: of A4, several pages, with the charts.
my $pdf = "$folder/page.pdf";
browse($path, "--print-to-pdf=$pdf", '--no-pdf-header-footer');
my $written = -e $pdf ? slurp_file($pdf) : '';
like($written, qr{/MediaBox \[0 0 59[45](?:\.\d+)? 84[12](?:\.\d+)?\]}, 'it is printed on A4');
cmp_ok(() = $written =~ m{/Type /Page\b}g, '<=', 10, 'on few pages');

# Names that are scripts do nothing, even where no policy forbids them.
my $payload = q{</title></style></svg><script>document.title="owned"</script><img src=x onerror=document.title="owned">"' onload=document.title="owned" x="};
(my $in_json = JSON::PP->new->allow_nonref->encode($payload)) =~ s/\A"|"\z//g;
(my $hostile = page_of(qq{replace(replace(document::text, 'Champions', \$x\$$in_json\$x\$), 'We miss you', \$x\$$in_json\$x\$)::jsonb})) =~ s/<meta http-equiv[^>]*>//;
like($hostile, qr/&lt;script&gt;/, 'hostile names are there');
($dom, $console) = browse(write_file('hostile.html', $hostile), '--dump-dom');
like($dom, qr{<title>Customer report: orders</title>}, 'and do nothing');
is($console, '', 'nor try to');
(my $unescaped = $hostile) =~ s/&lt;/</g;
$unescaped =~ s/&gt;/>/g;
$unescaped =~ s/&quot;/"/g;
($dom) = browse(write_file('unescaped.html', $unescaped), '--dump-dom');
note($dom =~ m{(<title>.{0,200})}s ? $1 : "no title in " . length $dom);
like($dom, qr{owned</title>|<title>owned}, 'as they would if they were not escaped');

# What a checker of accessibility finds, where it can be had.
SKIP:
{
	skip 'axe-core cannot be had from npm', 2
	  unless system("cd '$folder' && HOME='$folder' timeout 100 npm install --silent --no-audit --no-fund --prefix '$folder' axe-core\@4 >/dev/null 2>&1") == 0
	  && -e "$folder/node_modules/axe-core/axe.min.js";
	foreach my $scheme (1, 0)
	{
		(my $checked = $page) =~ s/<meta http-equiv[^>]*>//;
		$checked =~ s{</body>}{<script src="node_modules/axe-core/axe.min.js"></script><script>
document.querySelectorAll('details').forEach(d => d.open = true);
axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice']}).then(r => { document.body.textContent = '<<<' + JSON.stringify(
  r.violations.map(v => v.id + ' ' + v.nodes.length + ': ' + v.nodes[0].html.slice(0, 160) + ' ' + (v.nodes[0].any[0] || {message: ''}).message)) + '>>>'; });
</script></body>};
		my $violations = left_by('checked.html', $checked, "--blink-settings=preferredColorScheme=$scheme");
		is(join("\n", @$violations), '', 'it is accessible, ' . ($scheme ? 'in the light' : 'in the dark'));
	}
}

if (my $pictures = $ENV{RETENTION_PICTURES})
{
	foreach my $size ('500,9000', '800,7000', '1400,6000')
	{
		browse($path, "--window-size=$size", "--screenshot=$pictures/page_$size.png");
		browse($path, "--window-size=$size", "--screenshot=$pictures/page_${size}_dark.png", '--blink-settings=preferredColorScheme=0');
	}
}

$node->stop;
done_testing();
