#!/usr/bin/env bash
# make bench: the figures of docs/performance.md, measured on this machine, as a table. Needs the server, the plugins, an engine
# and the part that is Rust (main.rs). The load goes to 127.0.0.1 and to containers of its own, and ends by itself.
set -euo pipefail
cd "$(dirname "$0")/../.."

ROUNDS=${ROUNDS:-10}
port=5097
work=$(mktemp -d)
names=()
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ ${#names[@]} = 0 ] || docker rm -f "${names[@]}" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

row() { printf '%-58s %s\n' "$1" "$2"; }
paramedic=target/release/paramedic

echo "load before: $(cut -d' ' -f1-3 /proc/loadavg) on $(nproc) cores"
row "one decision, fresh sandbox included (restart-container)" \
    "$($paramedic policy bench target/plugins/restart-container.wasm --output json | jq -r '"p50 \(.p50_us|round) us, p99 \(.p99_us|round) us"')"

mkdir -p "$work/policies"
cat >"$work/paramedic.yaml" <<CONFIG
listen: 127.0.0.1:$port
data: data
policies: policies
plugins: $PWD/target/plugins
brakes: {actions: 1000 per 1h, concurrent: 100, storm: 1000 per 1m}
CONFIG
# Both plugins loaded; a policy each, since a policy does one thing at a time.
printf 'name: other\nplugin: run-playbook.wasm\nmatch: [alertname="Other"]\nsettings: {playbook: other.yml}\n' >"$work/policies/99-other.yaml"
for i in $(seq "$ROUNDS"); do
    name=paramedic-bench-$$-$i
    docker run -d --name "$name" --network none --stop-timeout 1 --init debian:bookworm-slim sleep 600 >/dev/null
    names+=("$name")
    printf 'name: heal-%s\nplugin: restart-container.wasm\nmode: enforce\nmatch: [container="%s"]\ngrants: {docker: {restart: [local/%s]}}\n' \
        "$i" "$name" "$name" >"$work/policies/$i.yaml"
done
$paramedic --log warn serve --config "$work/paramedic.yaml" &
server=$!
for _ in $(seq 100); do curl -sf "http://127.0.0.1:$port/-/ready" >/dev/null && break; sleep 0.1; done
sleep 2
row "resident memory of the idle server, both plugins loaded" "$(awk '/VmRSS/ {printf "%.1f MiB", $2/1024}' /proc/$server/status)"

# A container that was started after its alert began is somebody's repair: these alerts begin after the containers.
for name in "${names[@]}"; do
    now=$(date -u +%FT%TZ)
    curl -sf "http://127.0.0.1:$port/alert" -d "{\"version\":\"4\",\"status\":\"firing\",\"alerts\":[{\"status\":\"firing\",\"labels\":{\"alertname\":\"Down\",\"container\":\"$name\"},\"startsAt\":\"$now\"}]}" >/dev/null
    sleep 1
done
$paramedic journal tail -n 100000 --data "$work/data" --output json | jq -rs '
    group_by(.incident) | map({o: (.[] | select(.event.kind == "opened") | .at), b: ([.[] | select(.event.kind == "begun") | .at][0])})
    | map(select(.b)) | map((.b | sub("\\.(?<f>[0-9]+)Z"; "Z") | fromdate) * 1000 + (.b | capture("\\.(?<f>[0-9]+)Z").f | tonumber)
        - ((.o | sub("\\.(?<f>[0-9]+)Z"; "Z") | fromdate) * 1000 + (.o | capture("\\.(?<f>[0-9]+)Z").f | tonumber)))
    | sort | if length == 0 then error("nothing was restarted") else "p50 \(.[(length / 2 | floor)]) ms, worst \(.[-1]) ms (\(length) alerts)" end' \
    >"$work/latency"
row "alert on disk until the restart call is issued" "$(cat "$work/latency")"

kill "$server"
wait "$server" || true
server=
# Below target, so that it is this repository's disk that is measured.
(cd target && release/paramedic-bench release/paramedic)
