#!/usr/bin/env bash
# Installs what a task needs: scripts/install_packages.sh demo|check|lint|fuzz|memcheck|versions
# As root, by apt-get; to anyone else it shows the command. Does nothing when all is there.

set -euo pipefail
# shellcheck source=scripts/private_server.sh
. "$(dirname "$0")/private_server.sh"

purpose=${1:-check}
missing=()
updated=no

# Notes the package as missing if the command that follows fails.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 </dev/null || missing+=("$package")
}

has_libc_headers() { gcc -E -include stdio.h -xc /dev/null; }
has_fuzzer() {
    clang -fsanitize=fuzzer,address -xc -o /dev/null - \
        <<<'int LLVMFuzzerTestOneInput(void) { return 0; }'
}
# Once it is known what can be had, what cannot be had is not missed.
has_cron() {
    [ -f "$("$(find_pg_config)" --sharedir)/extension/pg_cron.control" ] ||
        { [ "$updated" = yes ] && ! apt-cache show "postgresql-$(choose_major)-cron"; }
}
has_plpgsql_check() {
    [ -f "$("$(find_pg_config)" --sharedir)/extension/plpgsql_check.control" ] ||
        { [ "$updated" = yes ] && ! apt-cache show "postgresql-$(choose_major)-plpgsql-check"; }
}
# Debian's Python: another one may come first in the PATH.
has_python() {
    /usr/bin/python3 -c "import $1" || { [ "$updated" = yes ] && ! apt-cache show "python3-$1"; }
}
has_chromium() {
    command -v chromium || { [ "$updated" = yes ] && ! apt-cache show chromium; }
}
has_server() { [ -x "$("$(find_pg_config)" --bindir)/initdb" ]; }

# The PostgreSQL to use: PG_CONFIG's, if it is where Debian has it; that of the headers that are
# here, else of the server, else 15, else what can be had.
choose_major() {
    local pg_config major offered
    if [[ "${PG_CONFIG:-}" =~ ^/usr/lib/postgresql/([0-9]+)/ ]]; then
        echo "${BASH_REMATCH[1]}"
        return
    fi
    if pg_config=$(find_pg_config); then
        "$pg_config" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/'
        return
    fi
    for major in 15 18 17 16; do
        [ ! -x "/usr/lib/postgresql/$major/bin/initdb" ] || { echo "$major"; return; }
    done
    offered=$(apt-cache pkgnames postgresql-server-dev- 2>/dev/null |
        sed -n 's/.*-dev-\(1[5-8]\)$/\1/p' | sort)
    if [ -z "$offered" ] || grep -qx 15 <<<"$offered"; then
        echo 15
    else
        tail -n 1 <<<"$offered"
    fi
}

find_missing() {
    local major
    major=$(choose_major)
    missing=()
    need gcc command -v gcc
    need libc6-dev has_libc_headers
    need make command -v make
    need "postgresql-$major" has_server
    need "postgresql-server-dev-$major" find_pg_config
    case $purpose in
        demo)
            need python3 has_python csv ;;
        check)
            need python3 has_python csv
            need perl command -v prove
            need libipc-run-perl perl -MIPC::Run -e 1
            # A second compiler, pg_cron and what some tests need of Python are welcome, but not
            # worth asking an administrator for.
            if [ "$(id -u)" = 0 ]; then
                need clang command -v clang
                need "postgresql-$major-cron" has_cron
                need python3-jsonschema has_python jsonschema
                need python3-psycopg2 has_python psycopg2
                need python3-aiosmtpd has_python aiosmtpd
                need chromium has_chromium
            fi ;;
        lint)
            need shellcheck command -v shellcheck
            need python3 has_python json
            need "postgresql-$major-plpgsql-check" has_plpgsql_check ;;
        versions)
            need debootstrap command -v debootstrap ;;
        memcheck)
            need valgrind command -v valgrind ;;
        fuzz)
            need clang command -v clang
            need libclang-rt-dev has_fuzzer ;;
    esac
}

# Debian makes and starts a server when PostgreSQL is installed, unless told otherwise. We need
# none.
without_main_cluster() {
    local directory=/etc/postgresql-common/createcluster.d status=0
    mkdir -p "$directory"
    echo 'create_main_cluster = false' >"$directory/zz_retention.conf"
    "$@" || status=$?
    rm "$directory/zz_retention.conf"
    rmdir --ignore-fail-on-non-empty -p "$directory" 2>/dev/null || true
    return "$status"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 install \
        --no-install-recommends "$@"
}

find_missing
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || private_fail "please install what Debian calls: ${missing[*]}"
[ "$(id -u)" = 0 ] || private_fail "some packages are missing. Please run:
    sudo apt-get install --no-install-recommends ${missing[*]}"

private_quietly apt-get -qq update || true
updated=yes
find_missing # again, now that it is known what can be had
echo "Installing ${missing[*]}"
private_quietly without_main_cluster apt_install "${missing[@]}"
find_missing
[ ${#missing[@]} -eq 0 ] || private_fail \
    "still not found: ${missing[*]}${PG_CONFIG:+ (PG_CONFIG is $PG_CONFIG)}"
