EXTENSION = retention
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" retention.control)
MODULE_big = retention

# Rooms of the library: values <- toolkit <- base <- rows <- collector <- engine; math and template
# know nothing of PostgreSQL. ARCHITECTURE.md says what is where.
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

# Rooms of the install script, in this order.
SQL_PARTS = $(addprefix sql/,$(shell cat sql/parts))

# Versions that can be updated: sql/upgrades has a file that starts at each.
UPGRADES = $(wildcard sql/upgrades/*--*.sql)
UPDATABLE = $(foreach file,$(notdir $(UPGRADES)),$(firstword $(subst --, ,$(file))))

# Scripts of released versions are kept, so that any of them can be made, and updated.
DATA = $(filter-out %--$(EXTVERSION).sql,$(wildcard sql/released/$(EXTENSION)--*.sql))
DATA_built = $(EXTENSION)--$(EXTVERSION).sql $(UPDATABLE:%=$(EXTENSION)--%--$(EXTVERSION).sql)
EXTRA_CLEAN = $(OBJS:.o=.d) build results output_iso tmp_check

REGRESS = $(sort $(patsubst tests/sql/%.sql,%,$(wildcard tests/sql/*.sql)))
REGRESS_OPTS = --inputdir=tests
ISOLATION = $(sort $(patsubst tests/specs/%.spec,%,$(wildcard tests/specs/*.spec)))
ISOLATION_OPTS = --inputdir=tests --outputdir=.

PG_CPPFLAGS = -I$(CURDIR)/src
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
	-ffp-contract=off -MMD -MP

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
# PGXS has a rule `check` too, which only says that it is unsupported: it must not meet ours, at the
# end.
GOALS = $(or $(MAKECMDGOALS),all)
ifeq ($(filter-out check lint demo report docs bench fuzz memcheck dist upgrade,$(GOALS)),)
PGXS :=
endif

ifneq ($(wildcard $(PGXS)),)
# Debian's server is built with LLVM; bitcode needs clang and is of no use here.
override with_llvm := no
include $(PGXS)
endif

# The compiler writes down which headers an object depends on.
-include $(OBJS:.o=.d)

$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) sql/parts $(EXTENSION).control Makefile
	sed 's/^CREATE OR REPLACE /CREATE /' $(SQL_PARTS) > $@

$(EXTENSION)--%--$(EXTVERSION).sql: $(SQL_PARTS) sql/parts $(UPGRADES) scripts/upgrade_script.sh \
		$(EXTENSION).control Makefile
	scripts/upgrade_script.sh $* $(EXTVERSION) > $@ || { rm $@; exit 1; }

# make upgrade FROM=0.1.0 writes the script that updates that version to this one.
.PHONY: upgrade
ifneq ($(filter upgrade,$(MAKECMDGOALS)),)
upgrade: $(EXTENSION)--$(or $(FROM),$(error FROM is missing))--$(EXTVERSION).sql
endif

# All install what is missing and work in a private copy, so they need nothing of the above.
.PHONY: check lint demo report docs bench fuzz memcheck dist
ifneq ($(filter check,$(MAKECMDGOALS)),)
check:
	@scripts/install_packages.sh check
	@tests/run
endif

# What is wrong with the text: one finding a line.
lint:
	@scripts/install_packages.sh lint
	@scripts/lint/run

demo:
	@scripts/install_packages.sh demo
	@scripts/demo.sh

report:
	@scripts/install_packages.sh demo
	@scripts/report.sh

docs:
	@scripts/install_packages.sh demo
	@scripts/docs.sh

# Needs clang. FUZZ_SECONDS, 60 unless set, are spent on each target.
fuzz:
	@scripts/install_packages.sh fuzz
	@$(MAKE) --no-print-directory -C tests/fuzz fuzz

# Runs one regress file under valgrind: MEMCHECK, capture unless set.
memcheck:
	@scripts/install_packages.sh memcheck
	@tests/memcheck

# Writes the archive that PGXN takes, of what is committed.
DIST = $(EXTENSION)-$(EXTVERSION)
DIST_DIRECTORY = .
dist:
	git -c safe.directory='$(CURDIR)' archive --format zip --prefix $(DIST)/ \
		--output $(DIST_DIRECTORY)/$(DIST).zip HEAD

bench:
	@scripts/install_packages.sh demo
	@bench/run

ifeq ($(wildcard $(PGXS)),)
.DEFAULT_GOAL := all
all install uninstall installcheck clean:
	@echo "$(PG_CONFIG) leads to no PostgreSQL server headers;" \
		"see scripts/install_packages.sh, or set PG_CONFIG" >&2
	@exit 1
endif
