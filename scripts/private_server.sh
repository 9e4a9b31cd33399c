# shellcheck shell=bash
# A private PostgreSQL server, for tests and demonstrations. Nothing outside one temporary directory
# is written, neither the system's PostgreSQL nor this checkout, and it works for root and for
# anyone else. To be sourced:
#
#   . scripts/private_server.sh
#   private_open                     copies PostgreSQL and this checkout to the directory $private
#   private_build                    builds the extension there and installs it into the copy
#   private_start 'jit = off' ...    starts a server with these lines in its postgresql.conf
#   private_run psql postgres        runs a command there, connected as the superuser
#
# The server is stopped and the directory removed when the script ends, unless private_keep was
# called.
#
# Why copies: initdb refuses root, so for root the server runs as the user postgres, who can neither
# read a checkout that is root's own nor write to the system's directories. PostgreSQL finds its
# files relative to its programs, so the copy with the same layout works from anywhere.

private_checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
private=

# Settings meant for the caller's make and psql must not reach ours.
unset MAKEFLAGS MFLAGS MAKELEVEL PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGDATABASE PGSERVICE \
    PGOPTIONS PGTZ PGDATESTYLE

private_fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Runs a command, and shows what it said only if it fails.
private_quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1 </dev/null; then
        rm "$log"
        return 0
    fi
    cat "$log" >&2
    rm "$log"
    return 1
}

# Says whether this pg_config belongs to a supported PostgreSQL with the server's headers.
is_pg_config() {
    [[ "$("$1" --version 2>/dev/null)" =~ ^PostgreSQL\ 1[5-8] ]] && [ -f "$("$1" --pgxs)" ] &&
        [ -f "$("$1" --includedir-server)/postgres.h" ]
}

# Prints the pg_config to build with: PG_CONFIG if that is set, else the first that will do.
find_pg_config() {
    local candidate candidates=("${PG_CONFIG:-pg_config}")
    [ -n "${PG_CONFIG:-}" ] || candidates+=(/usr/lib/postgresql/{18,17,16,15}/bin/pg_config)
    for candidate in "${candidates[@]}"; do
        if is_pg_config "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# Who runs the server: root cannot.
private_user() {
    if [ "$(id -u)" != 0 ]; then
        id -un
    else
        id -un postgres 2>/dev/null || echo nobody
    fi
}

# Runs a command as that user, in the copied checkout, with the private programs and their server at
# hand.
private_run() {
    local become=()
    if [ "$(id -u)" = 0 ]; then
        become=(setpriv --reuid="$(private_user)" --regid="$(id -g "$(private_user)")" \
            --init-groups)
    fi
    (
        cd "$private/source" || exit
        exec "${become[@]}" env HOME="$private" PATH="$private_bindir:$PATH" PGHOST="$private" \
            PGPORT=5432 \
            PGUSER=postgres PGCLIENTENCODING=UTF8 "$@"
    )
}

# Makes the directory. Nobody else may enter it: whoever can reach the socket is superuser.
private_open() {
    private_pg_config=$(find_pg_config) ||
        private_fail "no pg_config of PostgreSQL 15 to 18 with the server's headers"
    private=$(mktemp -d "${TMPDIR:-/tmp}/retention.XXXXXX")
    trap private_close EXIT
    private_bindir=$private$("$private_pg_config" --bindir)
    mkdir "$private/source" "$private/tmp"
    cp -R --parents "$("$private_pg_config" --bindir)" "$("$private_pg_config" --pkglibdir)" \
        "$("$private_pg_config" --sharedir)" "$private"
    private_copy_checkout
    chown -R "$(private_user):" "$private"
    private_run test -d "$private/source" ||
        private_fail "the user $(private_user) cannot enter $private;" \
            "set TMPDIR to a directory open to all"
}

# Built files stay behind: they may be for another PostgreSQL.
private_copy_checkout() {
    tar -c -C "$private_checkout" --exclude-vcs --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
        --exclude='./retention--*.sql' --exclude=./build --exclude=./results \
        --exclude=./output_iso \
        --exclude='./tmp_check*' . | tar -x -C "$private/source" --no-same-owner
}

# Runs make in the copied checkout.
private_make() {
    private_run make --no-print-directory -j2 PG_CONFIG="$private_pg_config" with_llvm=no "$@"
}

private_build() {
    private_quietly private_make -s all &&
        private_quietly private_make -s install DESTDIR="$private"
}

# The data is thrown away afterwards, so nothing waits for the disk.
private_start() {
    private_quietly private_run initdb -D "$private/data" -U postgres -A trust -E UTF8 --no-locale \
        --no-sync
    printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$private'" \
        "timezone = 'UTC'" \
        'fsync = off' 'full_page_writes = off' "$@" >>"$private/data/postgresql.conf"
    private_quietly private_run pg_ctl -D "$private/data" -l "$private/log" -w start ||
        private_fail "$(cat "$private/log")"
}

# Leaves the server up after the script's end, and says how to reach and how to stop it.
private_keep() {
    trap - EXIT
    echo "The server stays up. To look around, and to stop it:"
    echo "    $private_bindir/psql -h $private -U postgres $1"
    echo "    kill -INT \$(head -1 $private/data/postmaster.pid) && sleep 1 && rm -r $private"
}

private_close() {
    [ -n "$private" ] || return 0
    if [ -f "$private/data/postmaster.pid" ]; then
        private_run pg_ctl -D "$private/data" -m immediate -s stop || true
    fi
    rm -rf "$private"
    private=
}
