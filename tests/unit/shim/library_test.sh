#!/bin/sh
# SPDX-License-Identifier: MIT
# The built libfreeflow.so: needs libc alone, exports what libc has (its hooks) and no more, and
# disturbs no program that has nothing to do with RDMA. Exit status 0 or 1.
lib=$1
bad=0

fail()
{
	echo "library_test: $1" >&2
	bad=1
}

needed=$(readelf -d "$lib" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux')
[ "$needed" = libc.so.6 ] || fail "needs: $needed"

libc=$(ldd "$lib" | sed -n 's/.*libc\.so\.6 => \([^ ]*\).*/\1/p')
nm -gD --defined-only "$libc" | sed 's/.* //; s/@.*//' | sort -u >"$2.libc" || fail "nm $libc"
for sym in $(nm -gD --defined-only "$lib" | sed 's/.* //'); do
	grep -qx "$sym" "$2.libc" || fail "exports $sym, which is no hook"
done
for sym in open write mmap close fcntl64 fstat __xstat statx socket; do
	nm -gD --defined-only "$lib" | grep -q " $sym\$" || fail "does not hook $sym"
done
rm -f "$2.libc"

# No view, no router: as if it were not there. Nothing is printed.
plain=$(sh -c 'ls / /sys/class/net; cat /proc/self/comm; ls /sys/class/infiniband; echo $?' 2>&1)
shim=$(FREEFLOW_DIR=/nowhere LD_PRELOAD="$lib" sh -c \
	'ls / /sys/class/net; cat /proc/self/comm; ls /sys/class/infiniband; echo $?' 2>&1)
[ "$plain" = "$shim" ] || fail "programs behave otherwise: $shim"
exit $bad
