#!/bin/sh
# A PostgreSQL server for the tests that read a hospital's database, by the system's package manager.
set -eu
if command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then exit 0; fi
packages="postgresql postgresql-client"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "the database tests need: $packages (install them with this system's package manager)" >&2; exit 1
fi
if [ "$(id -u)" = 0 ]; then run=""; elif command -v sudo >/dev/null 2>&1; then run="sudo"; else
  echo "the database tests need: $packages (ask an administrator: apt-get install $packages)" >&2; exit 1
fi
$run apt-get update -qq
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $packages >/dev/null
