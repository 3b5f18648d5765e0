#!/usr/bin/env bash
# Breaks the running stack in four ways, one after the other, and looks from outside at what Paramedic does: at nginx's own
# port, at Docker's own record of events, and at Paramedic's journal, which is never cleared in between.
#
#   1 stopped         docker stop; the policy restarts the container
#   2 stopped again   the same right after the recovery, when Alertmanager sends no second notification
#   3 broken config   no restart can help; the next step of the ladder is a playbook that repairs the configuration
#   4 not granted     an alert for a container that no grant names; refused, nothing is touched, and a person is called
#
# Exit status 0 only if all four hold. `make demo` builds and starts everything first.
set -euo pipefail

NGINX=${NGINX_CONTAINER:-nginx-demo}
BYSTANDER=${BYSTANDER_CONTAINER:-bystander}
PARAMEDIC=${PARAMEDIC_CONTAINER:-paramedic}
NGINX_URL=http://127.0.0.1:${NGINX_PORT:-8080}
ALERTMANAGER_URL=http://127.0.0.1:${ALERTMANAGER_PORT:-9093}
PROMETHEUS_URL=http://127.0.0.1:${PROMETHEUS_PORT:-9090}
PARAMEDIC_URL=http://127.0.0.1:${PARAMEDIC_PORT:-5001}

SCENE=   # "N NAME" of the scene that is playing
BROKEN=0 # when it began, in milliseconds
INCIDENT= # the incident that it led to

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
elapsed_ms() { echo $(($(now_ms) - BROKEN)); }
seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }

fail() {
    [ -z "$INCIDENT" ] || timeline
    echo "scene $SCENE: FAILED: $*"
    echo
    echo "The stack keeps running; look at:  docker exec $PARAMEDIC paramedic incident list;  docker logs $PARAMEDIC"
    echo "Brakes remember the last 30 minutes. For a fresh start:  make demo-down demo"
    exit 1
}

# On a terminal the waiting is shown on one line; in a log it is one line in ten seconds.
if [ -t 1 ]; then EVERY=1 LINE='\r\033[K  %3d s  waiting for %s' DONE='\r\033[K'; else EVERY=10 LINE='  %3d s  waiting for %s\n' DONE=; fi

# await SECONDS WHAT COMMAND...: asks twice a second, counting from the moment of the break.
await() {
    local limit=$1 what=$2 told=0 waited
    shift 2
    until "$@"; do
        waited=$(($(elapsed_ms) / 1000))
        ((waited < limit)) || { printf "$DONE"; fail "$what: not within $limit s"; }
        # shellcheck disable=SC2059 # the formats are the two above
        if ((waited >= told)); then
            printf "$LINE" "$waited" "$what"
            told=$((waited + EVERY))
        fi
        sleep 0.5
    done
    printf "$DONE"
}

serving() { [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 2 "$NGINX_URL")" = 200 ]; }
not_serving() { ! serving; }
# Asked of Paramedic only now and then: what counts is what nginx says.
given_up() { ((SECONDS % 5 == 0)) && new_incident "local/$NGINX" && [ "$(field state)" = escalated ]; }
serving_or_given_up() { serving || given_up; }
quiet() { curl -sf "$PROMETHEUS_URL/api/v1/alerts" | jq -e '.data.alerts == []' >/dev/null; }

incidents() { docker exec "$PARAMEDIC" paramedic incident list --output json; }
timeline() { echo; docker exec "$PARAMEDIC" paramedic incident show "$INCIDENT" || true; echo; }

# new_incident TARGET: one that the journal did not know before this scene.
new_incident() {
    INCIDENT=$(incidents | jq -r --argjson known "$KNOWN" --arg target "$1" \
        'map(select((.targets | index($target)) and (.id | IN($known[]) | not))) | .[0].id // empty')
    [ -n "$INCIDENT" ]
}
field() { incidents | jq -r --arg id "$INCIDENT" ".[] | select(.id == \$id) | .$1"; }
over() { [[ "$(field state)" =~ ^(closed|escalated)$ ]]; }
# called: Alertmanager has the call for a person about this incident.
called() {
    CALL=$(curl -sf --max-time 2 -G --data-urlencode "filter=incident=\"$INCIDENT\"" "$ALERTMANAGER_URL/api/v2/alerts" \
        | jq -r '.[] | select(.labels.alertname == "ParamedicEscalated") | "\(.labels.alertname) \(.labels.severity) for \(.labels.escalate): \(.annotations.summary)"')
    [ -n "$CALL" ]
}
refused() { docker exec "$PARAMEDIC" paramedic incident show "$INCIDENT" | grep -qi refused; }

# The engine remembers only its last 256 events, of all containers: a witness listens from the beginning.
WITNESS=$(mktemp)
docker events --filter "container=$NGINX" --filter event=restart --format '{{.TimeNano}}' >"$WITNESS" &
WITNESS_PID=$!
trap 'kill "$WITNESS_PID" 2>/dev/null || true; rm -f "$WITNESS"' EXIT

# restarts SINCE_MS: how often the engine was asked to restart nginx, as the witness heard.
restarts() { awk -v since="${1}000000" '$1 > since' "$WITNESS" | wc -l; }

begin() { # begin "N NAME" WHAT
    SCENE=$1 INCIDENT=
    KNOWN=$(incidents | jq -c 'map(.id)')
    BROKEN=$(now_ms)
    echo
    echo "== scene $SCENE: $2"
}

# heals SERVING_LIMIT HEALED_LIMIT: nginx serves again, and Paramedic has verified it.
heals() {
    await 15 "nginx to be down" not_serving
    await "$1" "nginx to serve again" serving_or_given_up
    serving || fail "Paramedic has called a person instead; the story above says why"
    local served; served=$(elapsed_ms)
    echo "  nginx serves again after $(seconds "$served") s"
    await "$2" "an incident in the journal" new_incident "local/$NGINX"
    await "$2" "the verification of $INCIDENT" over
    [ "$(field ending)" = healed ] || fail "the incident is $(field state), its ending $(field ending); it should be healed"
    echo "  verified after $(seconds "$(elapsed_ms)") s"
    SERVED=$served
}

await_quiet() {
    BROKEN=$(now_ms) SCENE=$1
    await 120 "Prometheus to have no alert left" quiet
}

# --- 1 and 2 ---------------------------------------------------------------------------------------------------------
stopped() { # stopped "N NAME"
    begin "$1" "docker stop $NGINX"
    docker stop "$NGINX" >/dev/null
    heals 50 300
    local n; n=$(restarts "$BROKEN")
    [ "$n" = 1 ] || fail "Docker's own record has $n restarts; there should be exactly one"
    timeline
    echo "scene $SCENE: healed in $(seconds "$SERVED") s"
}

await_quiet "1 stopped"
stopped "1 stopped"
stopped "2 stopped again"

# --- 3 ---------------------------------------------------------------------------------------------------------------
begin "3 broken config" "a configuration that nginx refuses, then docker stop $NGINX"
docker exec "$NGINX" sh -c 'echo "this is no configuration" >/etc/nginx/conf.d/default.conf'
docker stop "$NGINX" >/dev/null
heals 480 720
timeline
echo "scene $SCENE: healed in $(seconds "$SERVED") s"

# --- 4 ---------------------------------------------------------------------------------------------------------------
# post_alert ENDS_AT: what a sender of alerts would say about the bystander.
post_alert() {
    jq -n --arg container "$BYSTANDER" --arg ends "$1" '[{
        labels: {alertname: "NginxDown", severity: "critical", container: $container, instance: "http://bystander:80"},
        annotations: {summary: "an alert about a container that no grant names"}
    } + if $ends == "" then {} else {endsAt: $ends} end]' \
        | curl -sf --max-time 5 -H 'content-type: application/json' -d @- "$ALERTMANAGER_URL/api/v2/alerts"
}
bystander() { docker inspect -f '{{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}' "$BYSTANDER"; }

begin "4 not granted" "an alert for the container $BYSTANDER, which no grant names"
before=$(bystander)
post_alert "" || fail "Alertmanager did not take the alert"
await 120 "an incident in the journal" new_incident "local/$BYSTANDER"
await 120 "the refusal of $INCIDENT" refused
[ "$(bystander)" = "$before" ] || fail "$BYSTANDER was touched: $before became $(bystander)"
await 150 "the call for a person in Alertmanager" called
post_alert "$(date -u +%FT%TZ)" || true # the scene is over
timeline
echo "  a person is called through Alertmanager: $CALL"
echo "scene $SCENE: refused as expected"

cat <<END

All four scenes hold. The stack keeps running:
  the incidents   docker exec $PARAMEDIC paramedic incident list
  Paramedic       $PARAMEDIC_URL          its log: docker logs $PARAMEDIC
  Prometheus      $PROMETHEUS_URL/alerts
  nginx           $NGINX_URL          break it yourself: docker stop $NGINX
  remove it all   make demo-down
END
