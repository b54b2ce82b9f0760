#!/bin/sh
# Chromium and a Japanese font for the browser tests, by the system's package manager.
set -eu
if command -v chromium >/dev/null 2>&1 && fc-list 2>/dev/null | grep -qi 'cjk\|ipa'; then exit 0; fi
packages="chromium fonts-noto-cjk fontconfig"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "the browser tests need: $packages (install them with this system's package manager)" >&2; exit 1
fi
if [ "$(id -u)" = 0 ]; then run=""; elif command -v sudo >/dev/null 2>&1; then run="sudo"; else
  echo "the browser tests need: $packages (ask an administrator: apt-get install $packages)" >&2; exit 1
fi
$run apt-get update -qq
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $packages >/dev/null
