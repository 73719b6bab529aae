#!/bin/sh
# Make sure that a Docker daemon answers. As root on Debian or Ubuntu it installs docker.io and starts the
# daemon; otherwise it says what to type. Exit 0: ready; exit 4: a person has to act.
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
(if it runs but your user may not talk to it: usermod -aG docker <you>, then log in again)
ADVICE
    exit 4
}

answers && exit 0
[ "$(id -u)" = 0 ] || stop_with_advice
if ! command -v dockerd >/dev/null 2>&1; then
    grep -qiE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release 2>/dev/null || stop_with_advice
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
