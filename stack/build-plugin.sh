#!/usr/bin/env bash
# Builds one plugin of this repository that is not written in Rust: stack/build-plugin.sh python|js FOLDER TARGET.wasm
# Its tools are there already (stack/setup.sh python-tools|js-tools). A new project builds itself: paramedic policy build.
set -euo pipefail
cd "$(dirname "$0")/.."
language=$1 folder=$2 target=$3 name=$(basename "$3" .wasm)
mkdir -p "$(dirname "$target")"
case $language in
    python)
        target/tools/python/bin/componentize-py -q -d wit -w policy componentize --stub-wasi \
            -p "$folder/src" -p plugins/sdk-python paramedic_component -o "$target.part"
        mv "$target.part" "$target"
        ;;
    js)
        # Laid out as a project: the engine resolves imports below one folder, and follows no links out of it.
        project=target/js/$name
        rm -rf "$project" && mkdir -p "$project/sdk"
        cp plugins/sdk-js/*.js plugins/sdk-js/*.ts plugins/sdk-js/build.mjs "$project/sdk/"
        cp -r wit "$folder/src" "$folder/package.json" "$project/"
        ln -s ../../tools/js/node_modules "$project/node_modules"
        (cd "$project" && node sdk/build.mjs)
        mv "$project/dist/$name.wasm" "$target"
        ;;
    *) echo "build-plugin: unknown language: $language" >&2 && exit 2 ;;
esac
