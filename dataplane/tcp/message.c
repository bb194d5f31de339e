/* SPDX-License-Identifier: MIT */
/* What a shim may say, and when. Pure. */
#include <errno.h>
#include <stddef.h>

#include "tcp_priv.h"

int
tcp_message_check(const struct ff_tcp_msg *m, size_t len, unsigned num_fds, bool greeted)
{
	if (len != sizeof(*m) || m->reserved)
		return -EPROTO;
	if (num_fds != (m->type == FF_TCP_ASK ? FF_TCP_ASK_FDS : 0))
		return -EPROTO;
	switch (m->type) {
	case FF_TCP_HELLO:
		if (greeted || m->stream)
			return -EPROTO;
		return m->value == FF_TCP_ABI_VERSION ? 0 : -EPROTONOSUPPORT;
	case FF_TCP_ASK:
	case FF_TCP_FORGET:
	case FF_TCP_POKE:
		return greeted ? 0 : -EPROTO;
	default:
		return -EPROTO;
	}
}
