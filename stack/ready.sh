#!/usr/bin/env bash
# Waits until every service of the stack answers and a first probe of nginx was good; says which one keeps it waiting.
set -euo pipefail
cd "$(dirname "$0")"

paramedic=http://127.0.0.1:${PARAMEDIC_PORT:-5001}
prometheus=http://127.0.0.1:${PROMETHEUS_PORT:-9090}
alertmanager=http://127.0.0.1:${ALERTMANAGER_PORT:-9093}
nginx=http://127.0.0.1:${NGINX_PORT:-8080}

answers() { curl -sf -o /dev/null --max-time 2 "$1"; }
probed() { curl -sf --max-time 2 "$prometheus/api/v1/query?query=probe_success" | jq -e '.data.result[0].value[1] == "1"' >/dev/null; }

# await SECONDS WHAT COMMAND...
await() {
    local limit=$1 what=$2 start=$SECONDS
    shift 2
    until "$@"; do
        if ((SECONDS - start >= limit)); then
            echo "ready: $what did not come up within $limit s; see: stack/compose logs" >&2
            ./compose ps >&2
            exit 1
        fi
        (((SECONDS - start) % 5)) || echo "  $((SECONDS - start)) s  waiting for $what" >&2
        sleep 1
    done
}

await 60 nginx answers "$nginx"
await 60 Alertmanager answers "$alertmanager/-/ready"
await 60 Prometheus answers "$prometheus/-/ready"
await 60 Paramedic answers "$paramedic/-/ready"
await 60 "the first good probe of nginx" probed
echo "The stack is up: nginx $nginx, Paramedic $paramedic, Prometheus $prometheus, Alertmanager $alertmanager"
