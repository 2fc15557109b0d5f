/* SPDX-License-Identifier: MIT */
/* Memory as a wire, and two sessions at its ends. */
#include "support/tls_pairs.h"

#include "support/support.h"

static size_t least(size_t one, size_t other)
{
	return one < other ? one : other;
}

static ssize_t tube_recv(void *context, void *data, size_t size, bool *emptied)
{
	struct tube *in = ((struct tls_side *)context)->in;
	size_t got = least(size, in->size);

	in->reads++;
	*emptied = true;
	if (in->size == 0)
		return in->fin ? 0 : in->code ? in->code : -EAGAIN;
	if (in->step)
		got = least(got, in->step);
	memcpy(data, in->bytes, got);
	memmove(in->bytes, in->bytes + got, in->size - got);
	in->size -= got;
	/* As a socket's short read tells it. What ends it comes with an event of its own. */
	*emptied = in->size == 0 && got < size;
	return (ssize_t)got;
}

static size_t put(struct tube *out, const void *data, size_t size)
{
	size_t now = out->room ? least(size, out->room - least(out->room, out->size)) : size;

	if (!now)
		return 0;
	out->bytes = realloc(out->bytes, out->size + now);
	assert_non_null(out->bytes);
	memcpy(out->bytes + out->size, data, now);
	out->size += now;
	out->total += now;
	return now;
}

static ssize_t tube_send(void *context, const struct iovec *parts, int count)
{
	struct tube *out = ((struct tls_side *)context)->out;
	size_t left = out->step ? out->step : SIZE_MAX, taken = 0;

	out->writes++;
	if (out->refuses)
		return out->refuses;
	for (int i = 0; i < count && left; i++) {
		size_t now = put(out, parts[i].iov_base, least(parts[i].iov_len, left));

		taken += now;
		left -= now;
		if (now < parts[i].iov_len)
			break;
	}
	return taken ? (ssize_t)taken : -EAGAIN;
}

const struct stt_tls_wire tube_wire = {tube_recv, tube_send};

static void open_side(struct tls_side *side, struct sttcp_tls *tls, struct tube *in,
		      struct tube *out, struct stt_tls_start *start)
{
	side->in = in;
	side->out = out;
	side->result = -EAGAIN;
	start->wire = &tube_wire;
	start->context = side;
	assert_int_equal(stt_tls_use(tls), 0);
	assert_int_equal(stt_tls_session_new(&side->session, tls, start), 0);
}

void tls_pair_open(struct tls_pair *pair, struct sttcp_tls *server, struct sttcp_tls *client,
		   const char *name, struct stt_resumption *resumption)
{
	struct stt_tls_start of_server = {.name = NULL};
	struct stt_tls_start of_client = {.name = name, .resumption = resumption};

	memset(pair, 0, sizeof(*pair));
	open_side(&pair->server, server, &pair->to_server, &pair->to_client, &of_server);
	open_side(&pair->client, client, &pair->to_client, &pair->to_server, &of_client);
}

void tls_pair_close(struct tls_pair *pair)
{
	stt_tls_session_free(pair->server.session);
	stt_tls_session_free(pair->client.session);
	free(pair->to_server.bytes);
	free(pair->to_client.bytes);
}

static void shake(struct tls_side *side)
{
	if (side->result == -EAGAIN)
		side->result = stt_tls_handshake(side->session);
	stt_tls_flush(side->session);
	if (side->result < 0 && side->result != -EAGAIN && stt_tls_rest(side->session) == 0)
		side->out->fin = true;
}

/* Grows with each byte that is put in or taken out. */
static size_t movement(const struct tube *tube)
{
	return 2 * tube->total - tube->size + tube->fin;
}

void tls_pair_shake(struct tls_pair *pair)
{
	size_t before, now = 0;

	do {
		before = now;
		shake(&pair->client);
		shake(&pair->server);
		now = movement(&pair->to_server) + movement(&pair->to_client);
	} while (now != before);
}

void tls_pair_agree(struct tls_pair *pair)
{
	tls_pair_shake(pair);
	if (pair->client.result || pair->server.result)
		fail_msg("client: %d %s; server: %d %s", pair->client.result,
			 stt_tls_text(pair->client.session), pair->server.result,
			 stt_tls_text(pair->server.session));
}

size_t tls_send(struct tls_side *side, const void *data, size_t size)
{
	size_t sent = 0;

	while (sent < size) {
		struct iovec part = {.iov_base = (char *)(uintptr_t)data + sent,
				     .iov_len = size - sent};
		ssize_t taken = stt_tls_send(side->session, &part, 1);

		if (taken == -EAGAIN)
			break;
		assert_true(taken > 0);
		sent += (size_t)taken;
	}
	return sent;
}

size_t tls_drain(struct tls_side *side, void *data, size_t size, ssize_t *end)
{
	size_t sum = 0;
	bool emptied = false;

	do {
		int budget = 1000;
		ssize_t got = stt_tls_recv(side->session, (char *)data + sum, size - sum, &emptied,
					   &budget);

		if (got <= 0 && (got != -EAGAIN || emptied)) {
			*end = got;
			return sum;
		}
		if (got > 0)
			sum += (size_t)got;
	} while (!emptied);
	*end = -EAGAIN;
	return sum;
}

void tls_expect_passage(struct tls_side *from, struct tls_side *to, size_t size)
{
	unsigned char *sent = malloc(size), *got = malloc(size + 1);
	size_t at = 0, there = 0;
	ssize_t end;

	assert_non_null(sent);
	assert_non_null(got);
	fill_pattern(sent, size, (uint32_t)size);
	/* Each round moves a byte at least, also of what records have beside theirs. */
	for (size_t rounds = 0; there < size; rounds++) {
		assert_true(rounds < 2 * size + 1000);
		at += tls_send(from, sent + at, size - at);
		there += tls_drain(to, got + there, size + 1 - there, &end);
		stt_tls_flush(from->session);
	}
	assert_int_equal(there, size);
	assert_memory_equal(got, sent, size);
	free(sent);
	free(got);
}

struct stt_tls_facts tls_facts(const struct tls_side *side)
{
	struct stt_tls_facts facts;

	assert_true(stt_tls_get_facts(side->session, &facts));
	return facts;
}
