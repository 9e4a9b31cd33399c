#!/usr/bin/env bash
# make demo: builds the extension, starts a private server, fills a shop and runs
# examples/quickstart.sql on it.
#
#   ORDERS=file.csv[.gz]   your own orders instead of a simulated shop, as your shop exports them:
#                          see docs/order_files.md, also for what to write if they are not
#                          recognised (MAP, DATES ...)
#   KEEP=1                 leave the server up, to look around

set -euo pipefail
# shellcheck source=scripts/private_shop.sh
. "$(dirname "$0")/private_shop.sh"

shop_open
echo
shop_psql -f examples/quickstart.sql
[ -z "${KEEP:-}" ] || private_keep shop
