EXTENSION = retention
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" retention.control)
MODULE_big = retention

MATH = $(patsubst src/math/%.c,%,$(wildcard src/math/*.c))
TEMPLATE = $(patsubst src/template/%.c,%,$(wildcard src/template/*.c))
BINDINGS = pg_compat settings clock amount zone_table order_summary score_bounds percentile_bounds \
	simulate_orders model_value fit_aggregate predictions profile key_text row_store row_groups order_reader unreadable customer_builder score_rules collect collected \
	relation_fingerprint capture_changes compare_keys render bucket expression \
	job_settings kept_plans run_as turns here reject address with_fields
OBJS = $(MATH:%=src/math/%.o) $(TEMPLATE:%=src/template/%.o) $(BINDINGS:%=src/%.o)

# The order matters: an explicit list, concatenated into the install script.
SQL_PARTS = sql/00_schema.sql sql/10_types.sql sql/15_limits.sql sql/20_toolkit.sql sql/22_render.sql sql/25_models.sql sql/28_rights.sql \
	sql/30_tables.sql sql/40_configuration.sql sql/45_triggers.sql sql/48_keys.sql sql/49_fingerprints.sql sql/50_refresh.sql \
	sql/55_models.sql sql/60_history.sql sql/65_validation.sql sql/70_views.sql \
	sql/72_capture.sql sql/74_segments.sql sql/75_events.sql sql/76_changes.sql sql/78_jobs.sql sql/80_access.sql \
	sql/82_flow_tables.sql sql/83_contacts.sql sql/84_coupons.sql sql/84_flow_times.sql sql/85_flow_document.sql sql/85_flow_circles.sql sql/86_flow_authoring.sql \
	sql/87_flow_entry.sql sql/88_tick.sql sql/89_outbox.sql sql/90_flow_reports.sql sql/91_persons.sql sql/92_simulation.sql sql/93_health.sql sql/95_key_types.sql sql/99_privileges.sql

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
# PGXS has a rule `check` too, which only says that it is unsupported: it must not meet ours, at the end.
ifeq ($(filter-out check demo docs bench fuzz,$(or $(MAKECMDGOALS),all)),)
PGXS :=
endif

ifneq ($(wildcard $(PGXS)),)
# Debian's server is built with LLVM; bitcode needs clang and is of no use here.
override with_llvm := no
include $(PGXS)
endif

# PGXS does not know which headers an object depends on.
$(OBJS): $(wildcard src/*.h src/math/*.h src/template/*.h)

$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) $(EXTENSION).control Makefile
	sed 's/^CREATE OR REPLACE /CREATE /' $(SQL_PARTS) > $@

# All install what is missing and work in a private copy, so they need nothing of the above.
.PHONY: check demo docs bench fuzz
ifneq ($(filter check,$(MAKECMDGOALS)),)
check:
	@scripts/install_packages.sh check
	@tests/run
endif

demo:
	@scripts/install_packages.sh demo
	@scripts/demo.sh

docs:
	@scripts/install_packages.sh demo
	@scripts/docs.sh

# Needs clang. FUZZ_SECONDS, 60 unless set, are spent on each target.
fuzz:
	@scripts/install_packages.sh fuzz
	@$(MAKE) --no-print-directory -C tests/fuzz fuzz

bench:
	@scripts/install_packages.sh demo
	@bench/run

ifeq ($(wildcard $(PGXS)),)
.DEFAULT_GOAL := all
all install uninstall installcheck clean:
	@echo "$(PG_CONFIG) leads to no PostgreSQL server headers; see scripts/install_packages.sh, or set PG_CONFIG" >&2
	@exit 1
endif
