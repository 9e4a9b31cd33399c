#!/usr/bin/env bash
# make demo: builds the extension, starts a private server, fills a shop and runs examples/quickstart.sql on it.
#
#   ORDERS=file.csv[.gz]   your own orders instead of a simulated shop. Columns are found by name: customer_id,
#                          ordered_at (UTC unless it says otherwise), amount, and if you have them order_id and
#                          kind ('order' or 'refund'; rows of another kind are left out). Other columns are ignored.
#   KEEP=1                 leave the server up, to look around

set -euo pipefail
# shellcheck source=scripts/private_server.sh
. "$(dirname "$0")/private_server.sh"

orders=${ORDERS:-}
columns=()      # of the file, in its order
ignored=''      # the definitions of those not wanted

shop_psql() {
    private_run psql -X -q -v ON_ERROR_STOP=1 -P pager=off -d shop "$@"
}

# Plain and compressed files alike.
read_orders() {
    gzip -cdf <"$orders"
}

check_orders() {
    [ -e "$orders" ] || private_fail "$orders does not exist"
    { [ -f "$orders" ] && [ -r "$orders" ]; } || private_fail "$orders cannot be read"
    read_orders >/dev/null 2>&1 || private_fail "$orders is damaged: it cannot be decompressed"
    read_header
}

# Names the file's columns; those not wanted get a name that cannot clash.
read_header() {
    local header field fields name
    header=$(read_orders | sed -n '1 { s/^\xEF\xBB\xBF//; s/\r$//; p }')
    IFS=, read -r -a fields <<<"$header,"
    for field in "${fields[@]}"; do
        name=$(tr -d '" ' <<<"${field,,}")
        case $name in
            order_id | customer_id | ordered_at | amount | kind)
                [[ " ${columns[*]} " != *" $name "* ]] || private_fail "$orders has two columns named $name" ;;
            *)
                name=ignored_${#columns[@]}
                ignored+=", $name text" ;;
        esac
        columns+=("$name")
    done
    for name in customer_id ordered_at amount; do
        [[ " ${columns[*]} " = *" $name "* ]] || private_fail "$orders has no column $name. Its first line is: $header"
    done
}

# COPY checks the values, and names the line and the column of the first bad one.
load_orders() {
    local list
    printf -v list ', %s' "${columns[@]}"
    read_orders | shop_psql -c "
        CREATE SCHEMA shop;
        CREATE TABLE shop.orders (order_id text, customer_id text, ordered_at timestamptz, amount numeric,
                                  kind text DEFAULT 'order');
        CREATE TEMP TABLE file (LIKE shop.orders$ignored);" \
        -c "\\copy file (${list:2}) FROM pstdin WITH (FORMAT csv, HEADER)" \
        -c "INSERT INTO shop.orders
            SELECT order_id, customer_id, ordered_at, amount, coalesce(kind, 'order') FROM file
            WHERE coalesce(kind, 'order') IN ('order', 'refund');" \
        -At -c "
            SELECT format('Left out: %s rows of the kind %L', count(*), kind) FROM file
            WHERE kind NOT IN ('order', 'refund') GROUP BY kind ORDER BY count(*) DESC LIMIT 5;" ||
        private_fail "$orders could not be loaded"
}

simulate_orders() {
    private_quietly shop_psql -f examples/simulated_shop.sql
}

describe_orders() {
    shop_psql -At -c "
        SELECT format('%s orders by %s customers, %s to %s', count(*) FILTER (WHERE kind = 'order'),
                      count(DISTINCT customer_id), min(ordered_at)::date, max(ordered_at)::date)
        FROM shop.orders"
}

[ -z "$orders" ] || check_orders
private_open
echo "Building the extension for $("$private_pg_config" --version) ..."
private_build || private_fail "the extension could not be built"
private_start 'jit = off'
private_run createdb shop
shop_psql -c 'CREATE EXTENSION retention'

echo "Filling the shop from ${orders:-a simulation} ..."
if [ -n "$orders" ]; then load_orders; else simulate_orders; fi
shop_psql -c 'ANALYZE shop.orders'
shop_psql -f examples/stop_clock.sql
describe_orders
echo
shop_psql -f examples/quickstart.sql
[ -z "${KEEP:-}" ] || private_keep shop
