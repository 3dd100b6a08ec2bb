# shellcheck shell=bash
# What test and proof share: a run of phases, each with a log, after which the machine is as it was before.
# Sourced after lib.sh, never run.
# shellcheck disable=SC2154

# begin_run NAME: one run at a time; what it prints is kept in target/NAME.
begin_run() {
    logs=$target/$1
    mkdir -p "$logs"
    rm -f "$logs"/*.log
    # Two runs at once would sweep each other's containers away.
    exec 9>"${TMPDIR:-/tmp}/.corefn-tests.lock"
    flock -n 9 || { note "another run is under way on this machine: waiting for it"; flock 9; }
    docker_answers && docker_was_up=1 || docker_was_up=
    current=
    trap end_run EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # The next run needs the images of the stacks again, as it needs the base image.
    export KEEP_STACKS=1
    # What a run that was killed has left is no fault of this one.
    scripts/sweep || note "(from an earlier run; removed)"
}

# forget_local_connections: Docker reads the whole table of the connections that the kernel keeps track of, each time
# that it starts or stops a container: 4 us an entry. The tests' connections to their own machine would fill
# it, as each stays for two minutes after its end. (Where the kernel has no such timeouts, it only takes longer. What a run
# that was killed has left is replaced.)
forget_local_connections() {
    nft -f - 2>/dev/null <<'NFT' || true
table ip corefn-tests
delete table ip corefn-tests
table ip corefn-tests {
    ct timeout short {
        protocol tcp
        l3proto ip
        policy = { close: 1, time_wait: 1 }
    }
    chain output {
        type filter hook output priority -150
        ip daddr 127.0.0.0/8 ct timeout set "short"
    }
}
NFT
}

# docker_is_up: to be called once it is. An engine that was not up when the run began could not be swept then, and
# keeps what a run before has left in it.
docker_is_up() {
    [ -n "$docker_was_up" ] || scripts/sweep || note "(from an earlier run; removed)"
    forget_local_connections
}

# phase NAME TITLE COMMAND...: runs the command, and keeps what it prints in NAME.log.
phase() {
    local name=$1 title=$2 begin=$SECONDS
    shift 2
    current=$name
    say "$title"
    "$@" 9>&- 2>&1 | tee "$logs/$name.log"
    note "($name: $((SECONDS - begin)) s)"
    current=
}

# What runs beside the phases, by name.
declare -A background_pids=()

# background NAME COMMAND...: runs the command beside what follows, until await_background NAME.
background() {
    local name=$1
    shift
    # (In a group of its own, so that all of it can be ended.)
    setsid "$@" >"$logs/$name.log" 2>&1 9>&- &
    background_pids[$name]=$!
}

# await_background NAME TITLE: the phase in which that ends.
await_background() {
    local begin=$SECONDS status=0
    current=$1
    say "$2"
    wait "${background_pids[$1]}" || status=$?
    unset "background_pids[$1]"
    cat "$logs/$1.log"
    [ $status = 0 ] || exit $status
    note "($1: $((SECONDS - begin)) s)"
    current=
}

# failed_tests LOG: the failed tests that a log of nextest's names, each with the line where its output begins.
failed_tests() {
    # In its summary nextest names each once more, after a line of dashes.
    awk '/^ +(FAIL|TIMEOUT|ABORT|SIG[A-Z]+|LEAK-FAIL) +\[/ {
            name = $0
            sub(/^.*\] +(\([^)]*\) +)?/, "", name)
            if (!(name in first)) { first[name] = NR; order[++count] = name }
            else if (!(name in output)) output[name] = NR
         }
         END { for (i = 1; i <= count; i++) {
                   name = order[i]
                   printf "%s\t%d\n", name, (name in output) ? output[name] : first[name]
         } }' "$1"
}

# end_run: leaves the machine as it was found, whichever way the run ends, and says last what failed and where
# to read of it.
end_run() {
    local status=$? pid name line log failed=$current
    trap - EXIT INT TERM
    [ ${#background_pids[@]} = 0 ] || kill -- "${background_pids[@]/#/-}" 2>/dev/null || true
    ! declare -F at_end >/dev/null || at_end
    nft delete table ip corefn-tests 2>/dev/null || true
    # What leaves something behind has failed.
    if ! scripts/sweep 9>&- && [ $status = 0 ]; then
        status=1
        failed=sweep
    fi
    if [ -z "$docker_was_up" ] && pid=$(pid_of target/setup/dockerd.pid dockerd dockerd); then
        say "Stopping the Docker engine that this run started"
        stop "$pid" TERM 30
    fi
    if [ $status = 0 ]; then
        say "All passed in $((SECONDS / 60)) min $((SECONDS % 60)) s"
        exit 0
    fi
    printf '\nerror: failed in the phase %s, after %d min %d s\n' "${failed:-set-up}" \
        $((SECONDS / 60)) $((SECONDS % 60)) >&2
    log=$logs/$failed.log
    if [ "$failed" = sweep ]; then
        printf '       the tests passed, but left behind what is listed above\n' >&2
    elif [ -f "$log" ]; then
        while IFS=$'\t' read -r name line; do
            printf '       FAILED %s: see %s:%s\n' "$name" "$log" "$line" >&2
        done < <(failed_tests "$log")
        printf '       all it printed: %s\n' "$log" >&2
    fi
    [ ! -f "$target/nextest/default/junit.xml" ] ||
        printf '       as JUnit: %s\n' "$target/nextest/default/junit.xml" >&2
    exit $status
}
