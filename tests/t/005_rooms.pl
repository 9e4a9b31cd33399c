# Rooms use only what lies below them, and ARCHITECTURE.md draws them as they are.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $source = $ENV{RETENTION_SOURCE} or die "tests/run sets RETENTION_SOURCE";
my $said = qx(python3 "$source/scripts/rooms.py" 2>&1);
is($?, 0, 'no arrow goes up or round, and the drawing is the present one') or diag($said);

# What no list has would be in no install script.
my %listed = map { chomp; ("$source/sql/$_" => 1) } qx(cat "$source/sql/parts");
my @files = grep { !m{/sql/(released|upgrades)/} } glob("$source/sql/*.sql $source/sql/*/*.sql");
is(join(', ', grep { !$listed{$_} } @files),
	'', 'every file of sql/ is in sql/parts');

# The check can fail.
my $copy = PostgreSQL::Test::Utils::tempdir();
system("cp -r $source/sql $source/src $source/scripts $source/ARCHITECTURE.md $copy") == 0 or die;
system(qq(echo 'SELECT retention.health();' >> $copy/sql/toolkit/scores.sql));
like(qx(python3 "$copy/scripts/rooms.py" 2>&1), qr/goes up: toolkit -> reports: health/,
	'an arrow that goes up is found');

my $lower = "$copy/src/template/number.c";
my $code = "#include \"template/filters.h\"\nconst void *\ncircle(void)\n"
  . "{\n\treturn template_filter((TemplateText) {0});\n}\n";
open(my $file, '>>', $lower) or die;
print $file $code;
close($file);
like(qx(python3 "$copy/scripts/rooms.py" 2>&1),
	qr{goes round: src/template/filters\.c -> src/template/number\.c -> src/template/filters\.c},
	'files of a room that call each other in a circle are found');

done_testing();
