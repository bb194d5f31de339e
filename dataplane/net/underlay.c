/* SPDX-License-Identifier: MIT */
/* Which interface owns the underlay's address, and its MTU. Control thread. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "udp_priv.h"
#include "underlay.h"

static bool
owns(const struct ifaddrs *i, const uint8_t address[16])
{
	const union udp_addr *a = (const union udp_addr *)i->ifa_addr;

	if (a->sa.sa_family == AF_INET)
		return udp_is_v4_mapped(address) && !memcmp(&a->in.sin_addr, address + 12, 4);
	return !memcmp(&a->in6.sin6_addr, address, 16);
}

/* 0: it has just gone. */
static unsigned
mtu_of(int fd, const char *name)
{
	struct ifreq r = {0};

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	return ioctl(fd, SIOCGIFMTU, &r) || r.ifr_mtu < 0 ? 0 : (unsigned)r.ifr_mtu;
}

static void
mac_of(int fd, const char *name, uint8_t mac[6])
{
	struct ifreq r = {0};

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (!ioctl(fd, SIOCGIFHWADDR, &r))
		memcpy(mac, r.ifr_hwaddr.sa_data, 6);
}

static void
smaller(unsigned *mtu, unsigned other)
{
	if (other && (!*mtu || other < *mtu))
		*mtu = other;
}

void
ff_underlay_own(const char *iface, struct ff_underlay *out)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifaddrs *all = NULL, *i;

	memset(out, 0, sizeof(*out));
	if (fd >= 0) {
		out->mtu = mtu_of(fd, iface);
		mac_of(fd, iface, out->mac);
		close(fd);
	}
	if (getifaddrs(&all))
		return;
	for (i = all; i; i = i->ifa_next) {
		const union udp_addr *a = (const union udp_addr *)i->ifa_addr;

		if (!a || strcmp(i->ifa_name, iface) != 0)
			continue;
		if (a->sa.sa_family == AF_INET && !out->has4) {
			out->has4 = true;
			memcpy(out->own4, &a->in.sin_addr, 4);
		} else if (a->sa.sa_family == AF_INET6 && !out->has6 &&
			   !IN6_IS_ADDR_LINKLOCAL(&a->in6.sin6_addr)) {
			out->has6 = true;
			memcpy(out->own6, &a->in6.sin6_addr, 16);
		}
	}
	freeifaddrs(all);
}

int
ff_underlay_find(const uint8_t address[16], unsigned *mtu, unsigned *scope)
{
	unsigned owner = 0, outside = 0, loopback = 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* any kind answers */
	struct ifaddrs *all = NULL, *i;
	int rc = 0;

	*scope = 0;
	if (fd < 0)
		return -errno;
	if (getifaddrs(&all)) {
		rc = -errno;
		goto out;
	}
	for (i = all; i; i = i->ifa_next) {
		if (!(i->ifa_flags & IFF_UP) || !i->ifa_addr ||
		    (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
			continue;
		if (!owner && owns(i, address)) {
			owner = mtu_of(fd, i->ifa_name);
			*scope = if_nametoindex(i->ifa_name);
		}
		smaller(i->ifa_flags & IFF_LOOPBACK ? &loopback : &outside,
			mtu_of(fd, i->ifa_name));
	}
	*mtu = owner ? owner : outside ? outside : loopback;
	if (!*mtu)
		rc = -ENETDOWN;
	freeifaddrs(all);
out:
	close(fd);
	return rc;
}
