# shellcheck shell=bash
# A shop in a private server, for demonstrations: simulated, or with the orders of a file. To be
# sourced, with what private_server.sh has:
#
#   shop_open            makes the server with the extension, and the shop's table of orders
#   shop_psql ...        psql in the shop's database
#
# ORDERS names the file, if there is one.

# shellcheck source=scripts/private_server.sh
. "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"

orders=${ORDERS:-}

shop_psql() {
    private_run psql -X -q -v ON_ERROR_STOP=1 -P pager=off -d shop "$@"
}

# Checks the file and writes its orders in one form, as whoever called: the server's user may not
# see it.
read_orders() {
    local python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    "$python" "$private_checkout/scripts/read_orders.py" "$orders" >"$private/orders.csv" ||
        private_fail "the orders could not be read; nothing was built"
}

load_orders() {
    shop_psql -c "
        CREATE SCHEMA shop;
        CREATE TABLE shop.orders (order_id text, customer_id text, ordered_at timestamptz,
                                  amount numeric, kind text DEFAULT 'order');" \
        -c "COPY shop.orders (customer_id, order_id, ordered_at, amount, kind)
            FROM STDIN WITH (FORMAT csv, HEADER)" \
        <"$private/orders.csv" || private_fail "$orders could not be loaded"
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

shop_open() {
    private_open
    [ -z "$orders" ] || read_orders
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
}
