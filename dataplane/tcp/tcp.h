/* SPDX-License-Identifier: MIT */
/*
 * TCP streams of containers: which connections of this host have both ends under a shim, and the
 * faster way between them (freeflow/tcp.h). The payload never comes by here. Control thread.
 */
#ifndef FF_TCP_TCP_H
#define FF_TCP_TCP_H

#include <stdint.h>

#include "../channel/container.h"

/* Why there was no faster way for a connection, or why a process was cut off. */
enum ff_tcp_refusal {
	FF_TCP_NOT_REFUSED,
	FF_TCP_REFUSED_SOCKET,	    /* not a TCP socket, or one that is more than TCP */
	FF_TCP_REFUSED_STATE,	    /* not established */
	FF_TCP_REFUSED_NAMESPACE,   /* not of the container's network namespace, or not known */
	FF_TCP_REFUSED_ADDRESS,	    /* its own address is not the container's */
	FF_TCP_REFUSED_PEER,	    /* the other one is no container's of this host and tenant */
	FF_TCP_REFUSED_PRIVILEGED,  /* between hosts: it could change the host's network */
	FF_TCP_REFUSED_POLICY,	    /* the two may not talk to each other */
	FF_TCP_REFUSED_DUPLICATE,   /* that socket has been asked for already */
	FF_TCP_REFUSED_LIMIT,	    /* limits.streams */
	FF_TCP_REFUSED_MEMORY,	    /* none */
	FF_TCP_REFUSED_CONNECTIONS, /* too many processes: closed */
	FF_TCP_REFUSED_SILENT,	    /* connected and did not say HELLO: closed */
	FF_TCP_REFUSED_PROTOCOL,    /* broke the protocol: closed */
	FF_TCP_REFUSAL_MAX,
};
extern const char *const ff_tcp_refusal_names[FF_TCP_REFUSAL_MAX];

/* Of one container. */
struct ff_tcp_stats {
	uint32_t conns;	  /* processes */
	uint32_t streams; /* asked for, not forgotten yet */
	uint32_t offers;  /* of these: being handed over */
	uint32_t delayed; /* of these: wait until less is being handed over */
	uint64_t refused[FF_TCP_REFUSAL_MAX];
};

/*
 * Streams between hosts (host.h), where the configuration wants them: with the capabilities of the
 * start, and behind all that knows streams.
 */
void ff_tcp_host_init(void);
void ff_tcp_host_fini(void);
/* Before ff_containers_init(). */
void ff_tcp_init(void);
/* NULL: the container has no tcp.sock. */
const struct ff_tcp_stats *ff_tcp_stats(const struct ff_container *c);

#endif
