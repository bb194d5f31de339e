/* SPDX-License-Identifier: MIT */
/*
 * The protocol of include/freeflow/fifo.h as shim/fifo.c speaks it: one writer, one reader, each
 * of which waits as a program may (WRITER, READER: blocking, or by level- or edge-triggered epoll),
 * may cease to call, and may die at any step. Each access to what both share and each system call
 * is one step; what a side does for itself goes with the step before or behind.
 *
 * Never: a lost wake-up, a deadlock, a socket that does not say what the FIFO is, a byte in it that
 * nobody has counted, no room in it for one that is due. With pan -l -f, never either: a side that
 * is woken for nothing, again and again.
 *
 * BREAK takes away what the protocol cannot do without; tests/runner/model.py sees it found out.
 */
#ifndef SIZE
#define SIZE 2 /* of the FIFO: 2 or 3 */
#endif
#ifndef FILL
#define FILL 3 /* bytes with which the kernel calls the socket not writable */
#endif
#ifndef BREAK
#define BREAK 0
#endif
#define WRITER_FENCE 1 /* none behind tail */
#define READER_FENCE 2 /* none behind readable */
#define NO_RECHECK   3 /* the reader sets readable, and does not look at tail again */
#define TWO_BYTES    4 /* the reader takes both bytes where a second one was sent */
#define NO_FILLERS   5 /* the reader forgets them */
#define LATE_COUNT   6 /* fillers are counted when all of them are sent */
#define NO_ROOM_LOOK 7 /* the writer fills up, and does not look at head again */
#define SHORT_PUT    8 /* a writer that could put some of its bytes does not fill up */
#define NO_FULL_REST 9 /* a reader that got all it asked for does not look whether that was all */

#define SOCKET	   (FILL + 3) /* bytes that it takes at all */
#define WAKE	   ((SIZE + 1) / 2)
#define MOD	   (SIZE + 1) /* of indices */
#define USED(t, h) ((t + MOD - h) % MOD)
#define MIN(a, b)  (a < b -> a : b)

#define blocking 1
#define level    2
#define edge     3

/* What both share: memory, the socket pair, epoll's edges. */
byte tail, head, fillers;
bit readable = 1;
byte sock;
bool writer_closed, reader_closed;
bool in_edge, out_edge = (WRITER == edge);

/* For the properties: counted and not sent; readable set and not decided; where the sides are. */
byte on_way, limbo, debt;
bool reader_asleep, writer_asleep, reader_idle, writer_idle, writer_short;

#define WRITER_WAKES (sock < FILL || reader_closed)
#define READER_WAKES (sock > 0 || writer_closed)
#define EMPTY	     (tail == head)
#define EMPTY_SEEN   (tail == own_head)
#define ROOM	     (SIZE - USED(tail, head))

/*
 * Without its fence a store may wait in the store buffer (x86-TSO) while later loads are done; with
 * the fence it is as good as done at once.
 */
bool tail_late, readable_late;
byte tail_value;

#if BREAK == WRITER_FENCE || BREAK == READER_FENCE
active proctype store_buffers()
{
end:	do
	:: atomic { tail_late -> tail = tail_value; tail_late = false }
	:: atomic { readable_late -> readable = 1; readable_late = false }
	od
}
#endif

/* ---- writer ---- */

inline byte_send()
{
	atomic {
		if
		:: reader_closed -> error = true
		:: else -> assert(sock < SOCKET); sock++; on_way--; in_edge = (READER == edge)
		fi
	}
}

inline publish()
{
	atomic {
#if BREAK == WRITER_FENCE
		!tail_late -> tail_late = true; tail_value = own_tail
#else
		tail = own_tail
#endif
	}
	if
	:: !readable
	:: atomic { readable -> n = 2 }
	fi;
	if
	:: n == 2 ->
		atomic { !tail_late -> n = readable; on_way = on_way + readable; readable = 0 }
		if
		:: n -> byte_send()
		:: else
		fi
	:: else
	fi
}

/* The room that ends it is seen by put(), too: there is more of it by then, or as much. */
inline fill_up()
{
	do
	:: error || USED(own_tail, head) < SIZE -> break
	:: else ->
		if
		:: atomic { reader_closed || sock >= FILL -> error = reader_closed; break }
		:: else
		fi;
		atomic {
			!tail_late -> on_way++;
#if BREAK == LATE_COUNT
			late++
#else
			fillers++
#endif
		}
		byte_send()
	od;
#if BREAK == LATE_COUNT
	fillers = fillers + late;
	late = 0;
#endif
}

/* fifo_put() with fill; left: bytes of its vector. */
inline put()
{
	do
	:: atomic {
		left && !error ->
		n = MIN(left, SIZE - USED(own_tail, head));
		own_tail = (own_tail + n) % MOD;
		left = left - n
	   }
		if
		:: n ->
progress_put:		publish()
#if BREAK == SHORT_PUT
			break
#endif
		:: else ->
			fill_up();
#if BREAK == NO_ROOM_LOOK
			break
#else
			if
			:: USED(own_tail, head) == SIZE -> break
			:: else
			fi
#endif
		fi
	:: atomic { !left || error -> break }
	od
}

/* Until the kernel calls the socket writable. */
inline writer_sleep()
{
	writer_asleep = true;
	do
	:: atomic {
		(WRITER == edge -> out_edge : WRITER_WAKES) ->
		out_edge = false;
		if
		:: WRITER_WAKES -> writer_asleep = false; break
		:: else
		fi
	   }
	od
}

active proctype writer()
{
	byte own_tail, left, n, late;
	bool error;

	{
		do
		:: atomic {
			!left && !error ->
			if
			:: left = 1
			:: left = 2
			:: goto idle /* the program writes no more, and keeps the stream */
			fi
		   }
#if WRITER == level
			writer_sleep()
#endif
			put()
		:: atomic { left && !error -> writer_short = true }
			writer_sleep();
#if WRITER == level
			writer_short = false;
#endif
			put();
			writer_short = false
		:: error -> goto idle
		od
	} unless { writer_closed };
idle:	writer_idle = true
}

/* ---- reader ---- */

inline debt_pay()
{
	do
	:: atomic {
		debt ->
		n = MIN(debt, sock);
		debt = debt - n;
		sock = sock - n;
		if
		:: !n -> told_end = told_end || writer_closed; break
		:: n && sock < FILL -> out_edge = (WRITER == edge)
		:: else
		fi;
		n = 0
	   }
	:: !debt -> break
	od
}

inline fillers_take()
{
	if
	:: fillers && BREAK != NO_FILLERS -> atomic { debt = debt + fillers; fillers = 0 }
	:: else
	fi
}

/* fifo_get(): got of want bytes, of which then want are missing. */
inline get()
{
	atomic {
		got = MIN(want, USED(tail, own_head));
		want = want - got;
		own_head = (own_head + got) % MOD
	}
	if
	:: got ->
progress_get:	head = own_head;
		if
		:: fillers ->
			if
			:: SIZE - USED(tail, own_head) >= WAKE -> fillers_take()
			:: else
			fi
		:: else
		fi;
		debt_pay()
	:: else
	fi
}

/* fifo_rx_rest() */
inline rest()
{
	if
	:: atomic { armed && !readable && !readable_late -> armed = false }
	:: !armed || readable || readable_late
	fi;
	if
	:: armed
	:: !armed ->
		atomic {
#if BREAK == READER_FENCE
			!readable_late -> readable_late = true;
#else
			readable = 1;
#endif
			limbo = 1
		}
		atomic {
#if BREAK != NO_RECHECK
			more = tail != own_head;
#endif
			if
			:: !more -> armed = true; debt++; limbo = 0
			:: else
			fi
		}
		if
		:: more ->
			atomic {
				!readable_late ->
				if
				:: readable -> readable = 0
				:: else -> debt = debt + (BREAK == TWO_BYTES -> 2 : 1)
				fi;
				limbo = 0
			}
		:: else
		fi;
		debt_pay()
	fi;
	if
	:: more
	:: !more ->
		fillers_take();
		debt_pay();
		atomic {
			told_end = told_end || writer_closed;
			n = (!told_end && sock && !debt)
		}
		/* A byte that is none of the counted: the code calls the writer broken. */
		if
		:: n && readable -> atomic { assert(!readable || fillers); n = 0 }
		:: else -> n = 0
		fi;
		more = tail != own_head
	fi
}

/* All that was asked for: the program may wait for the socket before it asks again. */
inline all_got()
{
#if READER != blocking
	if
	:: EMPTY_SEEN && BREAK != NO_FULL_REST -> rest()
	:: else
	fi;
	if
	:: READER == edge && !more && !told_end && EMPTY_SEEN -> goto asleep
	:: more = false
	fi
#else
	skip
#endif
}

/* Until the kernel calls the socket readable; knows_end: it tells of the end, too. */
inline reader_sleep()
{
	reader_asleep = true;
	do
	:: atomic {
		(READER == edge -> in_edge : READER_WAKES) ->
		in_edge = false;
		if
		:: READER_WAKES -> knows_end = (READER == edge && writer_closed);
			reader_asleep = false; break
		:: else
		fi
	   }
	od
}

active proctype reader()
{
	byte own_head, want, got, n;
	bool armed = true, more, told_end, knows_end;

	{
#if READER != blocking
		reader_sleep();
#endif
		do
		:: atomic {
			!want ->
			if
			:: want = 1
			:: want = 2
			:: goto idle /* the program reads no more, and keeps the stream */
			fi
		   }
			get();
			if
			:: atomic { !want -> got = 0 }
				all_got()
#if READER == level
				; reader_sleep()
#endif
			:: want -> rest()
			fi
		/* The program has heard nothing yet. */
		:: atomic { want && more -> more = false }
			get();
			if
			:: want -> rest()
			:: else -> got = 0; all_got()
			fi
		:: atomic { want && !more && !got && told_end -> assert(EMPTY); break }
		/* Few bytes are all to it, but for those before an end that it knows of. */
		:: atomic {
			want && !more && !(!got && told_end) ->
			want = 0;
			if
			:: got && (READER == blocking || knows_end) -> got = 0
			:: else -> got = 0; goto asleep
			fi
		   }
		:: false ->
asleep:			reader_sleep()
		od
	} unless { reader_closed };
idle:	reader_idle = true
}

/* ---- what may happen, and what may not ---- */

active proctype death()
{
end:	if
	:: atomic { !tail_late -> writer_closed = true; writer_asleep = false; in_edge = (READER == edge) }
	:: atomic { reader_closed = true; reader_asleep = false; out_edge = (WRITER == edge) }
	fi
}

#define WRITER_RESTS (writer_idle || writer_closed || (writer_asleep && \
		      !(WRITER == edge -> out_edge : WRITER_WAKES)))
#define READER_RESTS (reader_idle || reader_closed || (reader_asleep && \
		      !(READER == edge -> in_edge : READER_WAKES)))

active proctype never_true()
{
end:	atomic {
		USED(tail, head) > SIZE || (!readable_late &&
		sock + on_way != debt + fillers + 1 - readable + limbo) ||
		/* Nobody sleeps who has something to do. */
		(WRITER_RESTS && READER_RESTS && (
			(reader_asleep && (!EMPTY || writer_closed)) ||
			(writer_asleep && reader_closed) ||
			(writer_asleep && writer_short && ROOM >= WAKE) ||
			(writer_asleep && reader_asleep) ||
			/* The socket says so also to whoever does not wait. */
			(!EMPTY && !sock && !writer_closed && !reader_closed) ||
			(reader_asleep && sock) ||
			(!fillers && sock >= FILL && !reader_closed) ||
			(writer_asleep && writer_short && WRITER_WAKES))) ->
		assert(false)
	}
}
