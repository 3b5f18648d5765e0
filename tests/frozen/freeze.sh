#!/usr/bin/env bash
# Freezes the contract and plugins that were compiled for it:
#
#   tests/frozen/freeze.sh VERSION PLUGIN.wasm...
#
# Each plugin needs its questions, VERSION/PLUGIN.questions.json; those without a decision get the one that is given now. What is
# frozen already is never replaced: to freeze other bytes give the file another name.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -ge 2 ] || { echo "usage: tests/frozen/freeze.sh VERSION PLUGIN.wasm..." >&2; exit 64; }
version=$1
shift
folder=tests/frozen/$version
mkdir -p "$folder"
if [ ! -e "$folder/policy.wit" ]; then
    grep -q "^package paramedic:policy@$version;" wit/policy.wit || { echo "wit/policy.wit is not version $version" >&2; exit 65; }
    cp wit/policy.wit "$folder/policy.wit"
fi
for plugin; do
    name=$(basename "$plugin")
    [ -e "$folder/${name%.wasm}.questions.json" ] || { echo "$folder/${name%.wasm}.questions.json: write its questions first" >&2; exit 66; }
    [ ! -e "$folder/$name.zst" ] || { echo "$folder/$name.zst is frozen already" >&2; exit 73; }
    zstd --quiet -19 "$plugin" -o "$folder/$name.zst"
    (cd "$(dirname "$plugin")" && sha256sum "$name") >>"$folder/SHA256SUMS"
done
PARAMEDIC_FREEZE=1 cargo test --release --locked -p paramedic-tests --lib -- frozen:: compatibility::
echo "frozen; tell in $folder/README.md from which sources and with which toolchain it was built"
