#!/usr/bin/env bash
# Installs what is missing on a Debian machine, and nothing that is there: every step looks first, so that
# running it again costs well under a second. Needs root or sudo; touches no project file but stack/.secrets.
#
#   stack/setup.sh STEP...
#
#   tools        a C compiler, curl, jq, patch, certificates wasm        the wasm32-wasip2 target
#   engine       a Docker engine that answers, and compose   components  rustfmt and clippy
#   base-image   the image debian:bookworm-slim              deny        cargo-deny
#   ansible      ansible-playbook on this machine            secrets     the token of the stack's alert senders
#   monitors     Prometheus and Alertmanager, for the tests
#   python-tools componentize-py, in target/tools/python     js-tools    componentize-qjs, in target/tools/js (needs Node 18)
set -euo pipefail
cd "$(dirname "$0")"

BASE=debian:bookworm-slim
SOCKET=/var/run/docker.sock
DOCKERD_LOG=/var/log/paramedic-dockerd.log

say() { echo "setup: $*" >&2; }
die() { echo "setup: error: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else die "root is needed for: $*; run this as root, or install sudo"
    fi
}

# apt_install PACKAGE...: refreshes apt's lists first; a mirror that is busy gets three tries.
apt_install() {
    have apt-get || die "this installs Debian packages, and there is no apt-get here; install by hand: $*"
    say "installing $*"
    as_root apt-get -qq -o Acquire::Retries=3 update \
        || die "apt-get update failed; look at its message above and at /etc/apt/sources.list*"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" >/dev/null \
        || die "apt-get could not install: $*"
}

tools() {
    local missing=()
    have cc || missing+=(gcc libc6-dev)
    have curl || missing+=(curl)
    have jq || missing+=(jq)
    have patch || missing+=(patch)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
    have cargo || die "cargo is missing; install Rust from https://rustup.rs"
}

engine() {
    if ! engine_answers; then
        have dockerd || apt_install docker.io iptables
        if as_root curl -sf --max-time 5 --unix-socket "$SOCKET" http://localhost/_ping >/dev/null; then
            :   # it runs, and only this user may not ask it yet
        elif [ -d /run/systemd/system ]; then
            say "starting the Docker engine through systemd"
            as_root systemctl start docker || die "systemctl start docker failed; see: journalctl -u docker"
        else
            say "starting the Docker engine by hand (no systemd here); its log is $DOCKERD_LOG"
            # A session of its own, so that it outlives this script and the terminal.
            as_root sh -c "setsid nohup dockerd >$DOCKERD_LOG 2>&1 </dev/null &"
        fi
        await_engine
    fi
    have docker || apt_install docker-cli   # Debian 13 packages the client apart
    docker compose version >/dev/null 2>&1 || have docker-compose || apt_install docker-compose
}

engine_answers() { curl -sf --max-time 5 --unix-socket "$SOCKET" http://localhost/_ping >/dev/null; }

await_engine() {
    local i
    for i in $(seq 60); do
        engine_answers && return
        if as_root test -S "$SOCKET" && [ ! -w "$SOCKET" ]; then open_socket; fi
        sleep 1
    done
    die "the Docker engine did not answer within 60 s; see $DOCKERD_LOG or: journalctl -u docker"
}

# Whoever may use the socket is as good as root. This user has just used sudo, so nothing is given away.
open_socket() {
    say "giving $(id -un) access to the engine's socket (group docker from the next login on)"
    as_root usermod -aG docker "$(id -un)"
    as_root chown "$(id -un)" "$SOCKET"
}

# A registry if there is one; otherwise the same thing made from Debian's own packages.
base-image() {
    engine
    if docker image inspect "$BASE" >/dev/null 2>&1; then return; fi
    say "pulling $BASE"
    if timeout 60 docker pull -q "$BASE" >&2; then return; fi
    say "no registry answers; making $BASE with debootstrap (about a minute)"
    have debootstrap || apt_install debootstrap
    # In a subshell of its own, so that its trap ends with it.
    (
        root=$(mktemp -d)
        trap 'as_root rm -rf "$root"' EXIT
        as_root debootstrap --variant=minbase bookworm "$root" "$(mirror Debian)" >"$root.log" 2>&1 \
            || { tail -n 20 "$root.log" >&2; die "debootstrap failed; its last lines are above, the rest in $root.log"; }
        rm -f "$root.log"
        as_root tee "$root/etc/apt/sources.list" >/dev/null <<SOURCES
deb $(mirror Debian) bookworm main
deb $(mirror Debian) bookworm-updates main
deb $(mirror Debian-Security) bookworm-security main
SOURCES
        # What this machine needs in order to reach its mirror, the image needs as well; and no image keeps packages.
        {
            apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-Valid-Until|Check-Date)' || true
            echo 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };'
        } | as_root tee "$root/etc/apt/apt.conf.d/90image" >/dev/null
        as_root rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
            "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
        as_root tar -C "$root" -c . | docker import -c 'CMD ["bash"]' - "$BASE" >/dev/null
    )
    say "made $BASE"
}

# mirror LABEL: the mirror that this machine's own apt uses for this part of Debian.
mirror() {
    local found
    found=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
        | awk -v label="$1" '$1 == label {print $2; exit}')
    echo "${found:?setup: error: apt knows no source of $1; look at /etc/apt/sources.list* and run apt-get update}"
}

ansible() {
    have ansible-playbook || apt_install ansible-core
    have ssh || apt_install openssh-client
}

# The tests start their own, on free ports; Debian's services are not wanted beside them.
monitors() {
    local missing=()
    have prometheus || missing+=(prometheus)
    have prometheus-alertmanager || missing+=(prometheus-alertmanager)
    [ ${#missing[@]} = 0 ] && return
    apt_install "${missing[@]}"
    [ ! -d /run/systemd/system ] || as_root systemctl disable --now "${missing[@]}" >/dev/null 2>&1 || true
}

wasm() { rustup_add target wasm32-wasip2; }

# Debian's own Python takes no packages from elsewhere, so they go into an environment of their own.
python-tools() {
    local to=../target/tools/python wanted=python-tools.txt
    cmp -s $wanted $to/installed.txt && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    say "installing $(cat $wanted) into target/tools/python"
    mkdir -p ../target/tools
    python3 -m venv --clear $to && $to/bin/pip install -q -r $wanted \
        || die "pip could not install $(cat $wanted); see its message above, and whether this machine reaches a package index"
    cp $wanted $to/installed.txt
}

js-tools() {
    local to=../target/tools/js from=../plugins/sdk-js/template
    cmp -s $from/package-lock.json $to/installed.json && return
    have npm || apt_install nodejs npm
    [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ] || die "Node $(node --version) is too old: version 18 or newer is needed"
    say "installing componentize-qjs into target/tools/js"
    mkdir -p $to
    # The template's name is no name for npm yet.
    for file in package.json package-lock.json; do sed 's/{{name}}/tools/' $from/$file >$to/$file; done
    (cd $to && npm ci --no-audit --no-fund --silent) || die "npm ci failed in target/tools/js; see its message above"
    cp $from/package-lock.json $to/installed.json
}

components() {
    cargo fmt --version >/dev/null 2>&1 || rustup_add component rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup_add component clippy
}

# rustup_add target|component NAME
rustup_add() {
    have rustup || die "rustup is missing; install it from https://rustup.rs, or add the Rust $1 $2 by hand"
    if rustup "$1" list --installed | grep -q "^$2"; then return; fi
    say "adding the Rust $1 $2"
    rustup "$1" add "$2"
}

# Not optimised: it checks a few hundred manifests, and building it takes longer than all its runs.
deny() {
    have cargo-deny && return
    say "building cargo-deny (some minutes, once)"
    cargo install cargo-deny --locked --debug
}

# The folder keeps other users of this machine out; the file itself can be read by the unprivileged
# users inside the containers that it is mounted into.
secrets() {
    local token=.secrets/sender-token
    [ ! -s $token ] || return 0
    say "making the token of the stack's alert senders (stack/$token)"
    mkdir -p -m 700 .secrets
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >$token
    chmod 644 $token
}

[ $# -gt 0 ] || { sed -n '2,/^set /s/^# \?//p' "$0"; exit 2; }
for step in "$@"; do
    case $step in
        tools | engine | base-image | ansible | monitors | wasm | python-tools | js-tools | components | deny | secrets) "$step" ;;
        *) die "unknown step: $step; run stack/setup.sh without arguments for the list" ;;
    esac
done
