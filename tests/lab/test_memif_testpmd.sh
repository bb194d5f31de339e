#!/bin/bash
# SPDX-License-Identifier: MIT
# memif-bridge against DPDK's net_memif: a testpmd in either role sends back what memif_peer sends
# it, and memif_peer checks count, order and every byte. Usage: test_memif_testpmd.sh [build dir]
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build}
peer=$build/tests/progs/memif_peer
prefix=ffmemif$$
failed=0
pids=()

if ! command -v dpdk-testpmd >/dev/null; then
	echo "skip memif_testpmd - dpdk-testpmd is not installed (package dpdk-dev)"
	exit 0
fi
if [ ! -x "$peer" ]; then
	echo "not ok memif_testpmd - $peer is not built"
	exit 1
fi
tmp=$(mktemp -d) || exit 1
sock=$tmp/memif.sock

# Ends a process of ours that may not react: asks, waits up to 5 s, then kills it.
finish() {
	local pid=$1 i
	kill -INT "$pid" 2>/dev/null
	for ((i = 0; i < 100; i++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
}

cleanup() {
	local pid
	for pid in "${pids[@]}"; do
		finish "$pid"
	done
	rm -rf "$tmp"
	rmdir "/var/run/dpdk/$prefix" "${XDG_RUNTIME_DIR:-/nonexistent}/dpdk/$prefix" 2>/dev/null
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# Both lcores may run on any CPU that we may use: pinned threads would starve on a busy machine.
cpus=$(awk '/^Cpus_allowed_list:/ { print $2 }' /proc/self/status)

start_testpmd() { # role, buffer size
	dpdk-testpmd --no-huge -m 256 --no-shconf --no-telemetry --no-pci \
		--file-prefix="$prefix" --lcores="0@($cpus),1@($cpus)" \
		--vdev="net_memif0,role=$1,id=0,socket=$sock,socket-abstract=no,bsize=$2,rsize=10,zero-copy=no" \
		-- --forward-mode=macswap --port-topology=loop --auto-start --disable-link-check \
		--no-flush-rx \
		--total-num-mbufs=8192 --stats-period=1 </dev/null >"$tmp/testpmd.log" 2>&1 &
	testpmd=$!
	pids+=("$testpmd")
}

start_peer() { # -l or -c, buffer size, further arguments
	local way=$1 bsize=$2
	shift 2
	"$peer" "$way" "$sock" -m source -k -b "$bsize" "$@" >"$tmp/peer.log" 2>"$tmp/peer.err" &
	runner=$!
	pids+=("$runner")
}

# What testpmd counted from start to stop, as "received sent dropped".
totals() {
	awk '/Accumulated forward statistics/ { on = 1 }
	     on && /RX-packets:/ { rx = $2 } on && /TX-packets:/ { print rx, $2, $4 }' \
		"$tmp/testpmd.log"
}

testpmd_agrees() { # frames
	[ "$(totals)" = "$1 $1 0" ]
}

# name, testpmd's role, buffer size, frames, memif_peer's other arguments
check() {
	local name=$1 role=$2 bsize=$3 frames=$4 rc i
	shift 4
	set -- -n "$frames" "$@"
	: >"$tmp/peer.log"
	rm -f "$sock"
	if [ "$role" = client ]; then
		start_peer -l "$bsize" "$@"
		for ((i = 0; i < 100; i++)); do # testpmd tries to connect only once
			[ -S "$sock" ] && break
			sleep 0.05
		done
		start_testpmd "$role" "$bsize"
	else
		start_testpmd "$role" "$bsize"
		start_peer -c "$bsize" "$@"
	fi
	# The result comes first; then testpmd stops and disconnects, as it does not survive that its
	# peer goes while it polls; then the peer ends. All three have their own time limits.
	while [ ! -s "$tmp/peer.log" ] && kill -0 "$runner" 2>/dev/null; do
		sleep 0.05
	done
	finish "$testpmd"
	wait "$runner"
	rc=$?
	pids=()
	if [ $rc = 0 ] && testpmd_agrees "$frames"; then
		echo "ok $name"
		return
	fi
	echo "not ok $name - $(tail -n 1 "$tmp/peer.log"); testpmd: $(totals)"
	tail -n 5 "$tmp/peer.err" "$tmp/testpmd.log" >&2
	failed=1
}

check memif_testpmd_client_million client 2048 1000000 -s 64 -t 20
check memif_testpmd_server_million server 2048 1000000 -s 64 -t 20
# Frames of two descriptors each, chained by MEMIF_DESC_FLAG_NEXT.
check memif_testpmd_client_chains client 1024 100000 -s 1500 -t 10
check memif_testpmd_server_chains server 1024 100000 -s 1500 -t 10
exit $failed
