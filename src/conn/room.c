/* SPDX-License-Identifier: MIT */
/* What is queued is counted here, and nowhere else. */
#include "conn/room.h"

#include "conn/conn.h"
#include "conn/hold.h"
#include "conn/service.h"

enum {
	/* What is queued while it is paced. It has to keep the socket busy until the sender has
	 * been woken, and to stay in the CPU's cache. */
	PACE_BYTES = 128 * 1024
};

int64_t stt_room_of_one_locked(const struct stt_output *out)
{
	const struct sttcp_conn *conn = stt_output_conn(out);

	return conn->service->settings.send_queue_max - (int64_t)out->queue.size;
}

size_t stt_room_locked(const struct stt_output *out)
{
	const struct sttcp_conn *conn = stt_output_conn(out);
	const struct stt_settings *settings = &conn->service->settings;
	int64_t room = stt_room_of_one_locked(out);

	if (settings->total_queue_max != INT64_MAX && stt_service_room(conn->service) < room)
		room = stt_service_room(conn->service);
	/* 4 GiB and more are no number of bytes in memory where there are 32 bits. */
	return room <= 0 ? 0 : (uint64_t)room < SIZE_MAX ? (size_t)room : SIZE_MAX;
}

size_t stt_room_pace_locked(const struct stt_output *out, size_t wanted)
{
	size_t left = out->queue.size < PACE_BYTES ? PACE_BYTES - out->queue.size : 0;

	return out->paced && left < wanted ? left : wanted;
}

void stt_room_note_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	int64_t grown = (int64_t)out->queue.size -
			(int64_t)atomic_load_explicit(&out->queued, memory_order_relaxed);

	if (conn->service->settings.total_queue_max != INT64_MAX)
		atomic_fetch_add_explicit(&conn->service->total_queued, grown,
					  memory_order_relaxed);
	atomic_store_explicit(&out->queued, out->queue.size, memory_order_relaxed);
	/* What is only gathered, or goes at the second try, has not waited. */
	if (out->queue.size && atomic_load_explicit(&out->pending, memory_order_relaxed))
		out->waited = true;
	stt_hold_note_queue_locked(out);
}

size_t stt_room_claim_locked(struct stt_output *out, size_t wanted)
{
	struct stt_service *service = stt_output_conn(out)->service;
	size_t room = stt_room_locked(out);
	size_t size = wanted < room ? wanted : room;

	if (!size || service->settings.total_queue_max == INT64_MAX)
		return size;

	int64_t before = atomic_fetch_add_explicit(&service->total_queued, (int64_t)size,
						   memory_order_relaxed);
	int64_t left = service->settings.total_queue_max - before;
	size_t claimed = left <= 0 ? 0 : left < (int64_t)size ? (size_t)left : size;

	atomic_fetch_sub_explicit(&service->total_queued, (int64_t)(size - claimed),
				  memory_order_relaxed);
	atomic_store_explicit(&out->queued,
			      atomic_load_explicit(&out->queued, memory_order_relaxed) + claimed,
			      memory_order_relaxed);
	return claimed;
}
