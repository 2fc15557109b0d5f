/* SPDX-License-Identifier: MIT */
/* Options as a dictionary of the names in sttcp.h. What they mean, and seconds, are Python's. */
#include "ext.h"

#include <stddef.h>

enum kind {
	INT64,
	INT32,
	BOOL,
	BYTES,
	TEXT,
	TLS
};

static const struct {
	const char *name;
	size_t offset;
	enum kind kind;
} fields[] = {
#define FIELD(option, size)                                                                        \
	{                                                                                          \
		.name = #option, .offset = offsetof(sttcp_options, option), .kind = size           \
	}
	FIELD(framing, INT32),
	FIELD(max_message, INT64),
	FIELD(delimiter, BYTES),
	FIELD(rest_at_end, BOOL),
	FIELD(prefix_size, INT32),
	FIELD(prefix_little_endian, BOOL),
	FIELD(prefix_varint, BOOL),
	FIELD(prefix_includes_itself, BOOL),
	FIELD(prefix_offset, INT32),
	FIELD(prefix_adjust, INT32),
	FIELD(fixed_size, INT64),
	FIELD(send_queue_max, INT64),
	FIELD(high_water, INT64),
	FIELD(low_water, INT64),
	FIELD(total_queue_max, INT64),
	FIELD(broadcast_skips, BOOL),
	FIELD(connect_timeout_ms, INT32),
	FIELD(reconnect_ms, INT32),
	FIELD(reconnect_max_ms, INT32),
	FIELD(reconnect_tries, INT32),
	FIELD(first_byte_timeout_ms, INT32),
	FIELD(idle_timeout_ms, INT32),
	FIELD(message_timeout_ms, INT32),
	FIELD(lifetime_ms, INT32),
	FIELD(lifetime_jitter_ms, INT32),
	FIELD(write_timeout_ms, INT32),
	FIELD(dead_peer_timeout_ms, INT32),
	FIELD(linger_timeout_ms, INT32),
	FIELD(drain_timeout_ms, INT32),
	FIELD(end_idle_at_stop, BOOL),
	FIELD(max_connections, INT32),
	FIELD(max_connections_per_ip, INT32),
	FIELD(accept_rate, INT32),
	FIELD(over_limit, INT32),
	FIELD(backlog, INT32),
	FIELD(reuse_port, BOOL),
	FIELD(ipv6_only, BOOL),
	FIELD(unix_mode, INT32),
	FIELD(local_host, TEXT),
	FIELD(local_port, INT32),
	FIELD(nagle, BOOL),
	FIELD(half_close, BOOL),
	FIELD(tls, TLS),
	FIELD(tls_handshake_timeout_ms, INT32),
	FIELD(tls_name, TEXT),
#undef FIELD
};

static int set_number(void *field, enum kind kind, PyObject *value)
{
	long long number = PyLong_AsLongLong(value);

	if (number == -1 && PyErr_Occurred())
		return -1;
	if (kind == INT64) {
		*(int64_t *)field = number;
	} else if (number == (int32_t)number) {
		*(int32_t *)field = (int32_t)number;
	} else {
		PyErr_SetString(PyExc_OverflowError, "the value of an option is too large");
		return -1;
	}
	return 0;
}

static int set_field(sttcp_options *options, size_t i, PyObject *value)
{
	void *field = (char *)options + fields[i].offset;
	int truth;

	switch (fields[i].kind) {
	case BOOL:
		truth = PyObject_IsTrue(value);
		if (truth < 0)
			return -1;
		*(bool *)field = truth;
		return 0;
	case BYTES:
		if (!PyBytes_Check(value)) {
			PyErr_SetString(PyExc_TypeError, "delimiter must be bytes");
			return -1;
		}
		options->delimiter = PyBytes_AS_STRING(value);
		options->delimiter_size = (size_t)PyBytes_GET_SIZE(value);
		return 0;
	case TEXT:
		/* It lives as long as the dictionary. */
		*(const char **)field = PyUnicode_AsUTF8(value);
		return *(const char **)field ? 0 : -1;
	case TLS:
		if (value == Py_None)
			return 0;
		return tls_read(value, field);
	default:
		return set_number(field, fields[i].kind, value);
	}
}

int options_read(PyObject *dictionary, sttcp_options *options)
{
	PyObject *name;
	PyObject *value;
	Py_ssize_t position = 0;

	sttcp_options_init(options, sizeof(*options));
	while (PyDict_Next(dictionary, &position, &name, &value)) {
		const char *text = PyUnicode_AsUTF8(name);
		size_t i = 0;

		if (!text)
			return -1;
		while (i < sizeof(fields) / sizeof(fields[0]) && strcmp(text, fields[i].name) != 0)
			i++;
		if (i == sizeof(fields) / sizeof(fields[0])) {
			PyErr_Format(PyExc_TypeError, "there is no option %s", text);
			return -1;
		}
		if (set_field(options, i, value) < 0)
			return -1;
	}
	return 0;
}
