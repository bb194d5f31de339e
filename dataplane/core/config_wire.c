/* SPDX-License-Identifier: MIT */
/* The configuration: "wire", the way to other hosts. Control thread. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "config_priv.h"

static const char *const port_names[] = {"udp", "ethdev", NULL};
static const char *const encap_names[] = {"vxlan", "none", NULL};

static void
next_hop_set(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	uint8_t *mac = ((struct ff_config *)base)->wire.next_hop;
	const char *text = json_string_value(value);
	unsigned b[6];
	int end = -1;

	if (!text) {
		ff_parse_fault(p, path, "must be a string, is %s", ff_json_type_name(value));
		return;
	}
	if (strlen(text) != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &end) != 6 ||
	    end != 17) {
		ff_parse_fault(p, path, "\"%s\" is no MAC address", text);
		return;
	}
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
}

#define FIELD(f)     offsetof(struct ff_config, wire.f)
#define FIELD_LEN(f) sizeof(((struct ff_config *)0)->wire.f)

static const struct ff_field wire_fields[] = {
	{.key = "port", .type = FF_FIELD_ENUM, .off = FIELD(port), .names = port_names},
	{.key = "udp_port", .type = FF_FIELD_U32, .off = FIELD(udp_port), .max = UINT16_MAX},
	{.key = "vni", .type = FF_FIELD_U32, .off = FIELD(vni), .min = 1, .max = FF_VNI_MAX},
	{.key = "address",
	 .type = FF_FIELD_STRING,
	 .off = FIELD(address),
	 .size = FIELD_LEN(address)},
	{.key = "device", .type = FF_FIELD_STRING, .off = FIELD(device), .size = FIELD_LEN(device)},
	{.key = "encap", .type = FF_FIELD_ENUM, .off = FIELD(encap), .names = encap_names},
	{.key = "next_hop", .type = FF_FIELD_CUSTOM, .fn = next_hop_set},
};

/* What belongs together. */
static void
wire_check(struct ff_parse *p, json_t *value, const char *path, const struct ff_wire_conf *w)
{
	static const char *const ethdev_only[] = {"device", "encap", "next_hop"};
	bool ethdev = w->port == FF_WIRE_ETHDEV;
	char sub[FF_JSON_PATH];
	uint8_t bytes[16];

	ff_path_key(sub, path, "address");
	if (w->address[0] && inet_pton(AF_INET, w->address, bytes) != 1 &&
	    inet_pton(AF_INET6, w->address, bytes) != 1)
		ff_parse_fault(p, sub, "\"%s\" is no address", w->address);
	for (unsigned i = 0; i < sizeof(ethdev_only) / sizeof(ethdev_only[0]); i++) {
		ff_path_key(sub, path, ethdev_only[i]);
		if (!ethdev && json_object_get(value, ethdev_only[i]))
			ff_parse_fault(p, sub, "has no meaning unless wire.port is \"ethdev\"");
	}
	ff_path_key(sub, path, "device");
	if (ethdev && !w->device[0])
		ff_parse_fault(p, sub, "is missing, and wire.port is \"ethdev\"");
	ff_path_key(sub, path, "udp_port");
	if (ethdev && w->encap == FF_WIRE_VXLAN && !w->udp_port)
		ff_parse_fault(p, sub, "is missing, and wire.encap is \"vxlan\"");
}

void
ff_parse_wire(struct ff_parse *p, json_t *value, const char *path, void *base)
{
	ff_parse_object(p, value, path, wire_fields, sizeof(wire_fields) / sizeof(wire_fields[0]),
			base);
	if (json_is_object(value))
		wire_check(p, value, path, &((struct ff_config *)base)->wire);
}
