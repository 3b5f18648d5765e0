#!/usr/bin/env bash
# make soak: kills the server again and again while it works (tests/src/soak.rs says how, and what is checked afterwards).
# ROUNDS: how many times; SEED: what a run printed, to repeat it. The last line is the result; exit code 1 if it is not clean.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
test=soak::nothing_is_lost_or_doubled_and_no_brake_exceeded_whenever_it_is_killed
export ROUNDS=${ROUNDS:-200} SEED=${SEED:-}
cargo test --release --locked -p paramedic-tests --lib -- --exact "$test" --nocapture 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
# cargo's own words come after the soak's: the result is said once more, as the last line.
if ! grep '^soak: rounds=' "$log"; then
    echo "soak: it did not come to a result"
    exit 1
fi
[ "$status" = 0 ] || exit 1
