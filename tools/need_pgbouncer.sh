#!/bin/sh
# Fetch the pooler pgbouncer through apt-get, only where it is missing: its files are laid into
# the folder named by the first argument, nothing is installed, and no service is started. Exits 0
# when a pgbouncer is there, else 3 with the reason.
set -u

into="$1"

refuse() {
    echo "pgbouncer is not installed: $1" >&2
    exit 3
}

command -v pgbouncer >/dev/null 2>&1 && exit 0
test -x /usr/sbin/pgbouncer && exit 0
test -x "$into/usr/sbin/pgbouncer" && exit 0
command -v apt-get >/dev/null 2>&1 || refuse "no apt-get here; install it by hand"
command -v dpkg >/dev/null 2>&1 || refuse "no dpkg here; install it by hand"

room=$(mktemp -d) || refuse "no room for a temporary folder"
trap 'rm -rf "$room"' EXIT
cd "$room" || refuse "the temporary folder is gone"
if ! apt-get download -qq pgbouncer >/dev/null 2>&1; then
    test "$(id -u)" -eq 0 || refuse "apt-get download pgbouncer failed; apt-get update may help"
    apt-get update -qq >/dev/null 2>&1 || true
    apt-get download -qq pgbouncer >/dev/null 2>&1 || refuse "apt-get download pgbouncer failed"
fi
for library in libevent-2.1-7 libevent-2.1-7t64 libc-ares2 libcares2; do
    apt-get download -qq "$library" >/dev/null 2>&1 || true
done
cd - >/dev/null || refuse "the folder it was called in is gone"
for package in "$room"/*.deb; do
    dpkg -x "$package" "$into" || refuse "its package cannot be unpacked"
done
test -x "$into/usr/sbin/pgbouncer" || refuse "its package has no pgbouncer"
