#!/usr/bin/env bash
# make broken: breaks each invariant on purpose, one patch of tests/broken/ at a time, in a copy of this tree, and runs the test that the
# patch names: it has to fail. A patch that no longer applies, or a test that passes all the same, is an error. ONLY=05 runs one.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$PWD/target
tree=$target/broken
log=$target/broken.log
# Unoptimised, since everything is compiled once for each patch; --lib, so that no program of this tree is replaced.
cargo=(cargo test --release --locked --config 'profile.release.package.paramedic.opt-level=0' --target-dir "$target" -p paramedic-tests --lib)

rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z | tar --null -T - -c | tar -x -C "$tree"

says() { sed -n "s/^$2: //p" "$1" | head -n 1; }

# Without a patch all of them pass: otherwise a failure would show nothing.
mapfile -t named < <(for patch in tests/broken/"${ONLY:-}"*.patch; do says "$patch" 'Noticed by'; done | sort -u)
echo "unbroken: ${#named[@]} tests have to pass"
if ! (cd "$tree" && SCHEDULES=${SCHEDULES:-20000} "${cargo[@]}" -- --exact "${named[@]}") >"$log" 2>&1 \
    || ! grep -q "^test result: ok. ${#named[@]} passed" "$log"; then
    tail -n 30 "$log"
    exit 1
fi

missed=0 count=0
for patch in tests/broken/"${ONLY:-}"*.patch; do
    count=$((count + 1))
    test=$(says "$patch" 'Noticed by')
    printf '%s\n   breaks: %s\n' "$(basename "$patch")" "$(says "$patch" Breaks)"
    patch -d "$tree" -p1 --silent <"$patch"
    if ! (cd "$tree" && "${cargo[@]}" --no-run) >"$log" 2>&1; then
        tail -n 20 "$log"
        printf '   ERROR: it does not compile\n'
        missed=$((missed + 1))
    elif (cd "$tree" && SCHEDULES=${SCHEDULES:-20000} "${cargo[@]}" -- --exact "$test") >"$log" 2>&1; then
        printf '   ERROR: %s passes all the same\n' "$test"
        missed=$((missed + 1))
    elif grep -q "^test $test .*FAILED" "$log"; then
        printf '   noticed by %s\n      %s\n' "$test" "$(grep -m 1 -A 1 'panicked at' "$log" | tail -n 1 | cut -c1-160)"
    else
        tail -n 20 "$log"
        printf '   ERROR: there is no test %s\n' "$test"
        missed=$((missed + 1))
    fi
    patch -d "$tree" -p1 --silent -R <"$patch"
done
printf 'broken: %d patches, %d not noticed\n' "$count" "$missed"
[ "$missed" = 0 ]
