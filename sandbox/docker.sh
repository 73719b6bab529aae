#!/bin/sh
# Make sure that a Docker daemon answers. As root on Debian or Ubuntu it installs docker.io, which runs as root
# for the whole machine, after a clear word only: AUTOPRUNE_INSTALL_DOCKER=1, CI=true (a machine of its own), or yes
# on a terminal. Otherwise it says what to type. Exit 0: ready; exit 4: a person has to act.
set -eu

answers() { command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; }

wait_for_daemon() {
    for _ in $(seq 60); do
        answers && return 0
        sleep 0.5
    done
    return 1
}

stop_with_advice() {
    cat >&2 <<'ADVICE'
Docker is not running, and AutoPrune runs designed code only inside a locked container. As root, type:
    apt-get update && apt-get install -y docker.io
    systemctl start docker || (nohup dockerd >/var/log/dockerd.log 2>&1 &)
or let this do it, as root on Debian or Ubuntu: AUTOPRUNE_INSTALL_DOCKER=1, then the same command again
(if it runs but your user may not talk to it: usermod -aG docker <you>, then log in again; who may talk to
the daemon is as good as root on this machine)
Searches of formulas alone need no Docker: autoprune search MODEL --sandbox off
ADVICE
    exit 4
}

agreed() {
    [ "${AUTOPRUNE_INSTALL_DOCKER:-}" = 1 ] && return 0
    [ "${CI:-}" = true ] && return 0
    [ -t 0 ] && [ -t 2 ] || return 1
    printf 'install docker.io and start its daemon, which runs as root for the whole machine? [y/N] ' >&2
    read -r word
    case "$word" in y | Y | yes) return 0 ;; *) return 1 ;; esac
}

answers && exit 0
[ "$(id -u)" = 0 ] || stop_with_advice
if ! command -v dockerd >/dev/null 2>&1; then
    grep -qiE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release 2>/dev/null || stop_with_advice
    agreed || stop_with_advice
    echo "installing docker.io ..." >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq docker.io >/dev/null
fi
if [ -d /run/systemd/system ]; then
    systemctl start docker
else
    # No init system (a container or a CI machine): the daemon is started by hand and outlives this shell.
    nohup dockerd >/var/log/dockerd.log 2>&1 &
fi
wait_for_daemon || { echo "the Docker daemon did not answer within 30 s; its log is /var/log/dockerd.log" >&2; exit 4; }
