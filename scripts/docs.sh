#!/usr/bin/env bash
# make docs: runs the documentation's SQL in a private server and writes its output into the pages.

set -euo pipefail
# shellcheck source=scripts/private_server.sh
. "$(dirname "$0")/private_server.sh"

private_open
private_build || private_fail "the extension could not be built"
private_start 'jit = off'
pages=(README.md docs/*.md)
private_run scripts/run_docs.pl --update "${pages[@]}"
for page in "${pages[@]}"; do
    cmp -s "$private/source/$page" "$page" || cat "$private/source/$page" >"$page"
done
# In the last page's database.
private_run psql -X -q -d retention_docs -f docs/report_schema.sql >docs/report.schema.json
