# shellcheck shell=bash
# Where a running CoreFn keeps its state: COREFN_HOME, and the names and paths that follow from it.
# Sourced after lib.sh by demo and down.
# shellcheck disable=SC2034,SC2154

# passable FOLDER: whether any account may pass through it, and all above it.
passable() {
    local folder=$1
    while [ "$folder" != / ]; do
        ((8#$(stat -c %a "$folder") & 1)) || return 1
        folder=$(dirname "$folder")
    done
}

# The account that git runs as must get there: in a clone below /root, say, it can't.
default_home=$root/var
passable "$root" || default_home=/var/lib/corefn
home=${COREFN_HOME:-$default_home}
[[ $home == /* ]] || home=$PWD/$home
home=$(realpath -m -- "$home")

# nginx, Redis and the hooks each quote paths by rules of their own: rather than to meet them all, only
# paths that need no quoting are accepted.
[[ $home =~ ^[A-Za-z0-9/._+@,-]+$ ]] || die \
    "the state directory '$home' has a character that configuration files would need to quote" \
    "Set COREFN_HOME to a path of letters, digits and . _ + @ , - only, such as /var/lib/corefn."
redis_socket=$home/redis/redis.sock
# A unix socket's path has 108 bytes at most (man 7 unix): this is the longest.
socket=$home/sandboxes/waiting/0123456789abcdef/listener
((${#socket} < 108)) || die \
    "'$socket' is too long for a unix socket (107 bytes at most)" \
    "Set COREFN_HOME to a shorter path, such as /var/lib/corefn."

port=${COREFN_PORT:-8080}
if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
    die "COREFN_PORT is '$port', which is not a port (1 to 65535)"
fi
url=http://127.0.0.1:$port
ssh_port=${COREFN_SSH_PORT:-7022}
if [[ ! $ssh_port =~ ^[1-9][0-9]{0,4}$ ]] || ((ssh_port > 65535)); then
    die "COREFN_SSH_PORT is '$ssh_port', which is not a port (1 to 65535)"
fi
ssh_address=${COREFN_SSH_ADDRESS:-127.0.0.1}

docker_socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
[[ $docker_socket == unix:///* ]] || die \
    "DOCKER_HOST is '$docker_socket': CoreFn starts containers through a unix socket on the same machine" \
    "Unset it, or set it to unix:///path/of/docker.sock."

# Two homes on one machine must not take each other's containers for their own, so each has a namespace.
# Test homes carry theirs in their name, which lets scripts/sweep find what they left.
namespace=$(basename "$home")
[[ $namespace =~ ^corefn-test-[a-z0-9-]+$ ]] ||
    namespace=corefn-$(printf %s "$home" | sha256sum | cut -c1-8)
