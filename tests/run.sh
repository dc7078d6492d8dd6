#!/bin/sh
# All tests, in one command: unit, property, process and interop tests, then the examples in the documentation.
# Installs what they need and this machine lacks (sipp, Debian's sip-tester).
set -eu
cd "$(dirname "$0")/.."

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		echo "tests/run.sh: cannot install sip-tester: not root, and there is no sudo." >&2
		echo "Install it by hand (apt-get install sip-tester), then run this again." >&2
		exit 1
	fi
}

if ! command -v sipp >/dev/null 2>&1; then
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "tests/run.sh: sipp is missing and there is no apt-get; install sipp 3.6 or later." >&2
		exit 1
	fi
	echo "tests/run.sh: installing sip-tester (sipp)"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q sip-tester ||
		{ as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q sip-tester; }
fi

if command -v cargo-nextest >/dev/null 2>&1; then
	cargo nextest run --no-fail-fast "$@"
else
	# Tests that start processes must not run beside each other.
	cargo test --no-fail-fast --lib --bins --examples "$@"
	cargo test --no-fail-fast --test '*' "$@" -- --test-threads=1
fi
cargo test --doc
