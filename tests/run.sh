#!/bin/sh
# All tests, in one command: unit, property, process and interop tests, then the examples in the documentation.
# Installs what they need and this machine lacks: sipp, osmo-mgw, Osmocom's call agent library, Sofia-SIP, Kamailio, a C
# compiler, tshark, systemd, runc, nft, ip, pjsua2 (a softphone, from PyPI, into target/), and SIP.js (a browser's
# telephone, from npm, into target/). The tests of `system` boot a systemd and run a container in namespaces of their own, which takes root. Tests
# that this machine cannot run are named at the end.
set -eu
cd "$(dirname "$0")/.."
# Debian keeps nft and runc where users do not look.
PATH=$PATH:/usr/sbin:/sbin

# A test runner shows no output of tests that pass, and those that are passed over do: each leaves a line there.
POINTSMAN_PASSED_OVER=$(mktemp)
export POINTSMAN_PASSED_OVER
name_passed_over() {
	if [ -s "$POINTSMAN_PASSED_OVER" ]; then
		sort -u "$POINTSMAN_PASSED_OVER" | awk -F '\t' '
			{ tests[$1] = tests[$1] (tests[$1] == "" ? "" : ", ") $2 }
			END { for (why in tests) print "tests/run.sh: passed over, because " why ": " tests[why] }'
	fi
	rm -f "$POINTSMAN_PASSED_OVER"
}
trap name_passed_over EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		echo "tests/run.sh: cannot install $missing: not root, and there is no sudo." >&2
		echo "Install by hand (apt-get install $missing), then run this again." >&2
		exit 1
	fi
}

install() {
	# shellcheck disable=SC2086 # one word a package
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}

missing=
need() {
	missing="$missing${missing:+ }$1"
}
command -v sipp >/dev/null 2>&1 || need sip-tester
command -v osmo-mgw >/dev/null 2>&1 || need osmo-mgw
command -v kamailio >/dev/null 2>&1 || need kamailio
command -v tshark >/dev/null 2>&1 || need tshark
command -v gcc >/dev/null 2>&1 || need "gcc libc6-dev"
[ -e /usr/include/osmocom/mgcp_client/mgcp_client.h ] || need "libosmo-mgcp-client-dev libosmocore-dev libtalloc-dev"
command -v pkg-config >/dev/null 2>&1 || need pkg-config
pkg-config --exists sofia-sip-ua 2>/dev/null || need libsofia-sip-ua-dev
[ -e /usr/lib/systemd/systemd ] || need systemd
{ command -v unshare && command -v setpriv && command -v prlimit; } >/dev/null 2>&1 || need util-linux
if [ "$(id -u)" -eq 0 ]; then
	# Of the tests that take root.
	command -v mount >/dev/null 2>&1 || need mount
	command -v hostname >/dev/null 2>&1 || need hostname
	command -v runc >/dev/null 2>&1 || need runc
	{ command -v ss && command -v ip; } >/dev/null 2>&1 || need iproute2
	command -v ps >/dev/null 2>&1 || need procps
	command -v nft >/dev/null 2>&1 || need nftables
fi
command -v python3 >/dev/null 2>&1 || need python3
python3 -m pip --version >/dev/null 2>&1 || need python3-pip

if [ -n "$missing" ]; then
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "tests/run.sh: $missing: missing, and there is no apt-get; install them by hand." >&2
		exit 1
	fi
	echo "tests/run.sh: installing $missing"
	install || { as_root apt-get update -q && install; }
fi

# A softphone of pjsip's make, and a server. Where it cannot be had their tests are passed over; with CI set they fail.
export PYTHONPATH="$PWD/target/python${PYTHONPATH:+:$PYTHONPATH}"
python3 -c 'import pjsua2' 2>/dev/null || python3 -m pip install -q --target target/python --only-binary=:all: pjsua2-python ||
	echo "tests/run.sh: no pjsua2 for this Python: the tests with it are passed over." >&2

# A browser's telephone. Where there is no Node, or it cannot be had, its tests are passed over; with CI set they fail.
[ -d target/node/node_modules/sip.js ] || npm install --silent --no-audit --no-fund --prefix target/node sip.js@0.21.2 ws ||
	echo "tests/run.sh: no SIP.js: the tests of calls over WebSocket are passed over." >&2

if command -v cargo-nextest >/dev/null 2>&1; then
	cargo nextest run --no-fail-fast "$@"
else
	# Tests that start processes must not run beside each other.
	cargo test --no-fail-fast --lib --bins --examples "$@"
	cargo test --no-fail-fast --test '*' "$@" -- --test-threads=1
fi
cargo test --doc
