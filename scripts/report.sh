#!/usr/bin/env bash
# make report: builds the extension, starts a private server, fills a shop and writes the page of
# its last quarter to report.html.
#
#   ORDERS=file.csv[.gz]   your own orders instead of a simulated shop, as for make demo
#   REPORT=report.html     where it is written
#   FROM=2024-10-01        of which period: since when, three months unless given
#   TO=2025-01-01          and until when, a day after the last order unless given
#   REPORT_LANGUAGE=pl     en, pl or fr; CURRENCY=PLN is shown beside amounts

set -euo pipefail
# shellcheck source=scripts/private_shop.sh
. "$(dirname "$0")/private_shop.sh"

report=${REPORT:-report.html}

# Writes the page; what is not given stays null.
write_page() {
    private_run env PGCLIENTENCODING=UTF8 psql -X -q -A -t -v ON_ERROR_STOP=1 -d shop \
        -v from="${FROM:-}" -v to="${TO:-}" -v language="${REPORT_LANGUAGE:-en}" \
        -v currency="${CURRENCY:-}" <<'SQL'
SELECT retention.report_html('orders',
    coalesce(nullif(:'from', '')::timestamptz, until - interval '3 months'), until, :'language',
    nullif(:'currency', ''))
FROM coalesce(nullif(:'to', '')::timestamptz, date_trunc('day', retention.now())) AS until;
SQL
}

shop_open
private_quietly shop_psql -f examples/quickstart.sql
echo "Validating the models ..."
shop_psql -c "
    SELECT count(*)
    FROM retention.validate_model('orders', retention.now() - interval '6 months')" \
    >/dev/null 2>&1 || echo "They could not be: the orders are too few, or all of the last months."
echo "Writing the report ..."
write_page >"$private/report.html" || private_fail "the report could not be written"
cp "$private/report.html" "$report"
echo "$report: $(wc -c <"$report") bytes"
