#!/bin/sh
# Install the model checker spin through apt-get, only where it is missing and where that is
# possible (root, or sudo that asks nothing). Exits 0 when spin is there, else 3 with the reason.
set -u

refuse() {
    echo "spin is not installed: $1" >&2
    exit 3
}

command -v spin >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || refuse "no apt-get here; install spin by hand"

if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    refuse "neither root nor sudo without a password; run: apt-get install spin"
fi

export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq >/dev/null 2>&1 || true
$as_root apt-get install -y -qq spin >/dev/null 2>&1 || refuse "apt-get install spin failed"
command -v spin >/dev/null 2>&1 || refuse "apt-get ended well, yet there is no spin on the path"
