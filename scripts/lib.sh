# shellcheck shell=bash
# What the scripts share: talking to the user, where things are, processes that are ours.
# Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
target=${CARGO_TARGET_DIR:-target}
[[ $target == /* ]] || target=$root/$target
# shellcheck disable=SC2034
bin=$target/release
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
    printf '\033[1;31merror:\033[0m %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}
# Without a terminal, without colour.
[ -t 1 ] || say() { printf '==> %s\n' "$*"; }
[ -t 2 ] || die() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }
docker_answers() { have docker && timeout 10 docker version >/dev/null 2>&1; }

# wait_for SECONDS COMMAND...: succeeds as soon as the command does.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# pid_of FILE NAME PATH: the live process that a pid file names, if it is the program NAME and its command
# line mentions PATH. A pid file survives a crash or a reboot, and its number may be somebody else's by now.
pid_of() {
    local pid command
    [ -r "$1" ] && read -r pid <"$1" && [[ $pid =~ ^[0-9]+$ ]] || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${2:0:15}" ] || return 1
    command=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || return 1
    [[ $command == *"$3"* ]] || return 1
    echo "$pid"
}

gone() { ! kill -0 "$1" 2>/dev/null || [ "$(ps -o stat= -p "$1" | cut -c1)" = Z ]; }

# stop PID SIGNAL SECONDS: asks a process to end, and after that time no longer asks.
stop() {
    kill -s "$2" "$1" 2>/dev/null || return 0
    # (Within a trap a return without a value has that of the command before the trap.)
    ! wait_for "$3" gone "$1" || return 0
    note "process $1 did not end within $3 s of SIG$2: SIGKILL"
    kill -s KILL "$1" 2>/dev/null || true
    wait_for 5 gone "$1" || die "process $1 can't be killed"
}

# labelled KIND NAMESPACE: the ids of Docker objects (containers, networks, volumes, images) whose
# namespace label is NAMESPACE, or starts with it where it ends in "*".
labelled() {
    local pattern=$2 id value label='corefn.namespace'
    case $1 in
    containers) docker ps -aq --no-trunc --filter "label=$label" |
        xargs -r docker inspect --format "{{.Id}} {{index .Config.Labels \"$label\"}}" ;;
    networks) docker network ls -q --no-trunc --filter "label=$label" |
        xargs -r docker network inspect --format "{{.Id}} {{index .Labels \"$label\"}}" ;;
    volumes) docker volume ls -q --filter "label=$label" |
        xargs -r docker volume inspect --format "{{.Name}} {{index .Labels \"$label\"}}" ;;
    # (Without -a: layers below an image may carry the label too; they can't go before it, and go with it.)
    images) docker images -q --no-trunc --filter "label=$label" | sort -u |
        xargs -r docker image inspect --format "{{.Id}} {{index .Config.Labels \"$label\"}}" ;;
    esac | while read -r id value; do
        # The pattern is one on purpose.
        # shellcheck disable=SC2053
        [[ $value == $pattern ]] && echo "$id"
    done || true
}

# remove KIND: removes the objects whose ids come on standard input, and prints how many there were.
remove() {
    local ids
    mapfile -t ids
    if [ ${#ids[@]} -gt 0 ]; then
        case $1 in
        containers) docker rm -f -v "${ids[@]}" ;;
        networks) docker network rm "${ids[@]}" ;;
        volumes) docker volume rm -f "${ids[@]}" ;;
        images) remove_images "${ids[@]}" ;;
        esac >/dev/null
    fi
    echo ${#ids[@]}
}

# An image that others stand on can't go before them, and goes with the last of them if it has no name.
remove_images() {
    local waiting=("$@") next id
    while [ ${#waiting[@]} -gt 0 ]; do
        next=()
        for id in "${waiting[@]}"; do
            docker rmi -f "$id" >/dev/null 2>&1 || ! docker image inspect "$id" >/dev/null 2>&1 || next+=("$id")
        done
        if [ ${#next[@]} = ${#waiting[@]} ]; then
            # None could go: Docker says why.
            docker rmi -f "${next[@]}"
            return
        fi
        waiting=("${next[@]}")
    done
}
