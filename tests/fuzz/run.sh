#!/bin/sh
# Fuzzes every target for so many seconds each (10 when not said): tests/fuzz/run.sh [SECONDS]
# New inputs are kept in target/fuzz/TARGET; one that fails is called failed-… there, and runs again with
# FUZZ_INPUT=target/fuzz/TARGET/failed-… cargo test --test fuzz TEST
set -eu
cd "$(dirname "$0")/../.."

seconds=${1:-10}
case $seconds in
'' | *[!0-9]*)
	echo "tests/fuzz/run.sh: $seconds is not a number of seconds" >&2
	exit 2
	;;
esac
# One after the other: each has its time to itself.
FUZZ_SECONDS=$seconds exec cargo test --test fuzz -- --nocapture --test-threads=1
