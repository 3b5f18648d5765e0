#!/usr/bin/env bash
# make test: installs what is missing, then runs every check and every test, and goes on after a failure, so that one run
# shows them all. Its last line is `N passed, N failed`: the tests that cargo counts, and each check as one.
set -uo pipefail
cd "$(dirname "$0")/.."

passed=0 failed=0 failures=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# check NAME COMMAND...
check() {
    local name=$1 start=$SECONDS
    shift
    printf '\n==== %s: %s\n' "$name" "$*"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        failures+=("$name")
    fi
    printf '==== %s took %d s\n' "$name" $((SECONDS - start))
}

# The guests are components and nothing else: the tests build them for the sandbox themselves.
GUESTS=(--exclude guests --exclude guest-files --exclude guest-clock --exclude conformance-rust)

# tests NAME ARGUMENTS...: counts what cargo test says; a run that fails without a failed test (it did not compile) counts as one.
tests() {
    local name=$1 start=$SECONDS status p f
    shift
    printf '\n==== %s\n' "$name"
    cargo test --release --locked --no-fail-fast "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    read -r p f < <(awk '/^test result:/ {for (i = 2; i <= NF; i++) {if ($i ~ /^passed/) p += $(i - 1); if ($i ~ /^failed/) f += $(i - 1)}}
        END {print p + 0, f + 0}' "$log")
    passed=$((passed + p)) failed=$((failed + f))
    [ "$p" -gt 0 ] || status=1
    if [ "$status" != 0 ]; then
        failures+=("$name")
        [ "$f" -gt 0 ] || failed=$((failed + 1))
    fi
    printf '==== %s took %d s\n' "$name" $((SECONDS - start))
}

finish() {
    [ ${#failures[@]} = 0 ] || printf '\nfailed: %s\n' "${failures[*]}"
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" = 0 ]
    exit
}

# Without these nothing below would mean anything.
if ! stack/setup.sh tools engine base-image ansible monitors wasm components secrets; then
    failed=1 failures+=(setup)
    finish
fi

check format cargo fmt --all --check
check plugins make -s plugins
check conformance make -s conformance
check sdks make -s test-sdks
check server make -s build
check cases make -s test-cases
check images make -s images
# Those that keep both cores busy for minutes come alone: the others look at the time.
HEAVY=(simulation::no_schedule_breaks_an_invariant soak::nothing_is_lost_or_doubled_and_no_brake_exceeded_whenever_it_is_killed)
tests tests --workspace "${GUESTS[@]}" -- "${HEAVY[@]/#/--skip=}"
SCHEDULES=100000 tests simulation -p paramedic-tests --lib -- --exact "${HEAVY[0]}" --nocapture
tests soak -p paramedic-tests --lib -- --exact "${HEAVY[1]}" --nocapture
check lints make -s lint
check licences make -s deny
finish
