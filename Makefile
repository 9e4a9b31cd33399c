EXTENSION = retention
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" retention.control)
MODULE_big = retention

MATH = decimal summary zone selection portable random shop
BINDINGS = pg_compat clock amount zone_table order_summary score_bounds percentile_bounds \
	simulate_orders
OBJS = $(MATH:%=src/math/%.o) $(BINDINGS:%=src/%.o)

# The order matters: an explicit list, concatenated into the install script.
SQL_PARTS = sql/00_schema.sql sql/10_types.sql sql/20_toolkit.sql

DATA_built = $(EXTENSION)--$(EXTVERSION).sql
EXTRA_CLEAN = build results output_iso tmp_check

REGRESS = $(sort $(patsubst tests/sql/%.sql,%,$(wildcard tests/sql/*.sql)))
REGRESS_OPTS = --inputdir=tests
ISOLATION = $(sort $(patsubst tests/specs/%.spec,%,$(wildcard tests/specs/*.spec)))
ISOLATION_OPTS = --inputdir=tests --outputdir=.

PG_CPPFLAGS = -I$(CURDIR)/src
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -ffp-contract=off

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)
# Debian's server is built with LLVM; bitcode needs clang and is of no use here.
override with_llvm := no
include $(PGXS)
endif

$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) $(EXTENSION).control
	sed 's/^CREATE OR REPLACE /CREATE /' $(SQL_PARTS) > $@
