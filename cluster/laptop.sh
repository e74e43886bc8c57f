#!/usr/bin/env bash
# A one-machine Ray cluster on loopback, with token authentication.
#
#   cluster/laptop.sh start [options of `ray start`, e.g. --num-cpus=4]
#   cluster/laptop.sh status
#   cluster/laptop.sh stop      stops this cluster only, not other Ray processes
#
# OBJECT_STORE_MIB (1024): shared memory for objects that tasks pass to each other.
set -euo pipefail

# Jobs submitted without a working directory start where the cluster was started, so
# `python jobs/...` needs this to be the project's root and its Python to come first.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
source cluster/env.sh
command -v ray >/dev/null || {
    echo "error: no ray command in $root/.venv or on PATH; run 'make .venv/installed' first" >&2
    exit 2
}

temp="${RAY_TMPDIR:-${TMPDIR:-/tmp}}"
state="$temp/spotify-engine-cluster-$(id -u)"
address_file="$temp/ray/ray_current_cluster"

running() { [[ -f "$state/pid" ]] && kill -0 "$(<"$state/pid")" 2>/dev/null; }

start() {
    if running; then
        echo "error: already running (process $(<"$state/pid")); see 'cluster/laptop.sh status'" >&2
        exit 2
    fi
    mkdir -p "$state"
    : >"$state/log"
    # Does nothing when there is a token already.
    (umask 077 && ray get-auth-token --generate >/dev/null 2>&1)
    # In a process group of its own, so that Ctrl-C in this terminal doesn't reach it.
    set -m
    nohup ray start --head --block --disable-usage-stats \
        --node-ip-address=127.0.0.1 --dashboard-host=127.0.0.1 \
        --object-store-memory="$((${OBJECT_STORE_MIB:-1024} << 20))" \
        "$@" >"$state/log" 2>&1 </dev/null &
    echo "$!" >"$state/pid"
    until grep -q "Ray runtime started" "$state/log"; do
        if ! running; then
            rm "$state/pid"
            echo "error: Ray didn't start; its last words (all in $state/log):" >&2
            tail -n 5 "$state/log" >&2
            exit 1
        fi
        sleep 0.2
    done
    cat <<END
Ray runs at $(<"$address_file"). In this shell, and in any other that submits jobs, type first

    source cluster/env.sh        (puts .venv/bin on PATH and exports RAY_AUTH_MODE=token)

and then

    ray job submit -- python jobs/train_kaggle.py --mode mini \\
        --playlists data/kaggle/spotify_dataset.csv --features data/kaggle/tracks_features.csv

Dashboard: $(grep -o "http://127[0-9.:]*" "$state/log" | head -n 1) asks for the token that 'ray get-auth-token' prints.
Stop: cluster/laptop.sh stop
END
}

stop() {
    if ! running; then
        echo "Not running."
        return
    fi
    local pid
    pid="$(<"$state/pid")"
    kill "$pid"
    # It waits half a minute for its slowest process; nothing of a laptop cluster is worth that.
    for _ in {1..50}; do
        running || break
        sleep 0.2
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
    rm "$state/pid"
    echo "Stopped."
}

status() {
    if ! running; then
        echo "Not running."
        exit 1
    fi
    ray status --address "$(<"$address_file")"
}

case "${1:-}" in
    start | stop | status) "$@" ;;
    *)
        echo "usage: cluster/laptop.sh start [options of ray start] | status | stop" >&2
        exit 2
        ;;
esac
