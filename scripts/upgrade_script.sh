#!/bin/sh
# scripts/upgrade_script.sh FROM TO: prints the script that updates the extension between two
# versions. It holds, in this order: what the files of sql/upgrades on the way say before their line
# "-- [functions and views]"; every statement of the rooms that can run again, in the order of
# sql/parts; what those files say after that line. sql/upgrades/README.md tells how to write one.

set -eu
cd "$(dirname "$0")/.."
from=$1
to=$2
line='-- [functions and views]'

fail() {
    echo "upgrade_script.sh: $*" >&2
    exit 1
}

# Lists the files that lead from one version to the other, one after the other.
find_way() {
    version=$from
    while [ "$version" != "$to" ]; do
        set -- sql/upgrades/"$version"--*.sql
        [ $# = 1 ] || fail "more than one file of sql/upgrades starts at $version: $*"
        [ -f "$1" ] || fail "no file of sql/upgrades leads on from $version to $to"
        [ "$(grep -cxF -e "$line" "$1")" = 1 ] || fail "$1 must have one line \"$line\""
        echo "$1"
        version=${1#sql/upgrades/"$version"--}
        version=${version%.sql}
    done
}

# Prints what the files say before the line, or after it.
print_side() {
    side=$1
    shift
    for file; do
        awk -v side="$side" -v line="$line" \
            '$0 == line { passed = 1; next } (side == "after") == passed + 0' "$file"
    done
}

# Prints the statements that can run again: CREATE OR REPLACE, DO, and comments but those on
# triggers, which are made after the functions that they call. What lacks OR REPLACE is an error.
print_rooms() {
    # shellcheck disable=SC2016 # the dollars are of SQL
    sed 's,^,sql/,' sql/parts | xargs awk '
        function judge() {
            if (statement ~ /^CREATE (FUNCTION|PROCEDURE|AGGREGATE|VIEW) /) {
                printf "%s:%d: must say CREATE OR REPLACE\n", file, first | "cat >&2"
                failed = 1
            }
            if (statement ~ /^(CREATE OR REPLACE|COMMENT ON|DO) / &&
                statement !~ /^COMMENT ON TRIGGER /)
                print statement
            statement = ""
        }
        # Looks for the end of the statement: a semicolon outside of texts, names and bodies.
        function scan(rest,    token) {
            while (rest != "") {
                if (until != "") {
                    if (!(start = index(rest, until))) return
                    if (escapes && match(rest, /\\./) && RSTART < start) {
                        rest = substr(rest, RSTART + 2)
                        continue
                    }
                    rest = substr(rest, start + length(until))
                    until = ""
                    continue
                }
                if (!match(rest, /--|[Ee]?\047|"|\$[A-Za-z_0-9]*\$|BEGIN ATOMIC|;/)) return
                token = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                if (token == "--") return
                if (token == "BEGIN ATOMIC") atomic = 1
                else if (token == ";") {
                    if (atomic && $0 != "END;") continue
                    atomic = 0
                    judge()
                    return
                } else {
                    escapes = token ~ /^[Ee]/
                    until = escapes ? "\047" : token
                }
            }
        }
        function reject_open() {
            if (statement == "") return
            printf "%s:%d: the statement has no end\n", file, first | "cat >&2"
            failed = 1
            statement = ""
        }
        FNR == 1 { reject_open() }
        statement == "" && /^[ \t]*(--|\\|$)/ { next }
        {
            if (statement == "") { first = FNR; file = FILENAME; statement = $0 }
            else statement = statement "\n" $0
            scan($0)
        }
        END { reject_open(); exit failed }'
}

way=$(find_way)
rooms=$(print_rooms)
cat <<SQL
-- Updates retention $from to $to.
\\echo Use "ALTER EXTENSION retention UPDATE TO '$to'" to load this file. \\quit
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL check_function_bodies = true;

SQL
# shellcheck disable=SC2086 # names of files of ours, without spaces
{
    print_side before $way
    printf '%s\n' "$rooms"
    print_side after $way
}
