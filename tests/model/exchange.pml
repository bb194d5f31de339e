/* SPDX-License-Identifier: MIT */
/*
 * How two shims decide an exchange (include/freeflow/tcp.h, struct ff_tcp_page.here) as
 * shim/stream_meet.c does it. A side may be stopped, or die, at any step: it is not scheduled any
 * more. It may fail, and run out of patience, wherever it is not too late.
 *
 * Never: one side goes on by the pair and the other one by the kernel's stream; one goes by the
 * pair when the other one was not ready for it; one waits for the other without an end.
 *
 * BREAK takes away what that hangs on; tests/runner/model.py sees it found out.
 */
#ifndef BREAK
#define BREAK 0
#endif
#define STORED     1 /* who runs out of patience does not compare before it swaps */
#define NOT_READY  2 /* commits when the other side has only stopped */
#define LATE       3 /* fails when it has said that it is ready */
#define TAKEN_BACK 4 /* who waits alone does not compare before it takes itself back */

#define NONE	  0 /* HERE_0 is 1, HERE_1 is 2 */
#define BOTH	  3
#define COMMITTED 4
#define PARTED	  5

#define STOPPED 1
#define READY	2

#define KERNEL 1
#define PAIR   2

byte here = NONE;
byte step[2];
byte way[2];

#define go(to)                                                                          \
	atomic {                                                                        \
		way[me] = to;                                                           \
		assert(!(way[other] && way[other] != to));                              \
		assert(to == KERNEL || step[other] == READY);                           \
	}

/* Compare and swap of BOTH. */
inline decide(what)
{
	atomic {
		if
		:: here == BOTH -> here = what
		:: else
		fi
	}
}

active [2] proctype side()
{
	byte me = _pid, other = 1 - _pid;

	do
	:: atomic { here == NONE -> here = 1 << me };
		/* The other one comes, or nobody in time. */
		if
		:: here == BOTH || here == PARTED -> break
		:: true ->
			atomic {
				if
				:: here == 1 << me || BREAK == TAKEN_BACK -> here = NONE
				:: else -> break
				fi
			}
		fi
	:: atomic { here == 1 << other -> here = BOTH }; break
	:: here == PARTED -> go(KERNEL); goto done
	:: goto done /* the program does nothing more */
	od;

	if
	:: step[me] = STOPPED
	:: goto part /* somebody has shut it down, no memory */
	fi;
	if
	:: step[other] >= STOPPED
	:: goto part
	fi;
	if
	:: step[me] = READY
	:: goto part
	fi;
	if
	:: BREAK == LATE -> go(KERNEL); goto done
	:: true
	fi;
	if
	:: step[other] == READY || (BREAK == NOT_READY && step[other] == STOPPED) ->
		decide(COMMITTED)
	:: BREAK != STORED -> decide(PARTED)
	:: BREAK == STORED -> here = PARTED
	fi;
	if
	:: here == COMMITTED -> go(PAIR)
	:: here == PARTED -> go(KERNEL)
	fi;
	goto done;
part:
	decide(PARTED);
	/* Nobody can have committed it: this side was not ready. */
	assert(here == PARTED);
	go(KERNEL);
done:
	skip
}
