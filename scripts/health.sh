#!/usr/bin/env bash
# scripts/health.sh [psql connection options]: prints what retention.health() finds
#
# Exit status: 0 all is well, or there are notes only; 1 warnings; 2 errors; 3 it cannot be asked.

set -uo pipefail

# psql would take these for itself.
for option in "$@"; do
    case $option in
        -\? | --help | --help=*)
            sed -n 's/^# \{0,1\}//p' "$0" | sed '1d;5,$d'
            exit 0
            ;;
    esac
done

found=$(psql -X -q -A -t -v ON_ERROR_STOP=1 "$@" <<'SQL'
SET statement_timeout = '5min';
SELECT regexp_replace(concat(severity, ': ', what, ' (' || how_often || ')',
                             ' since ' || since::timestamptz(0),
                             '; ' || detail, ' -> ' || what_to_do), '\s+', ' ', 'g')
FROM retention.health();
SQL
) || { echo "health could not be asked" >&2; exit 3; }

if [ -z "$found" ]; then
    echo "all is well"
    exit 0
fi
printf '%s\n' "$found"
# The worst comes first.
case $found in
    error:*) exit 2 ;;
    warning:*) exit 1 ;;
    note:*) exit 0 ;;
    *) exit 3 ;;
esac
