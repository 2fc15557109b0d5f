/* SPDX-License-Identifier: MIT */
/* A FIN without close_notify, behind input that a reader at rest has left: it waits for its turn,
 * as a FIN does without TLS, and takes nothing along. */
#include "support/faults.h"
#include "support/read_faults.h"
#include "support/support.h"
#include "support/tls_dials.h"
#include "support/tls_gate.h"
#include "support/tls_good.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include "conn/conn.h"
#include "conn/hold.h"

enum {
	OUTPUT = 8 * 1024 * 1024,
	REST = 10 /* bytes behind the first */
};

struct scene {
	sttcp_conn *_Atomic conn;
	bool pauses;
	size_t heard;
};

static bool note(struct probe *probe, sttcp_conn *conn)
{
	struct scene *scene = probe->extra;

	atomic_store(&scene->conn, sttcp_conn_ref(conn));
	return true;
}

/* The first message makes the reader rest, for its output or by a pause. */
static bool hear(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static const char output[OUTPUT];
	struct scene *scene = probe->extra;

	if (((const char *)data)[0] != '?') {
		scene->heard += size;
		return true;
	}
	if (scene->pauses)
		sttcp_conn_pause(conn);
	return sttcp_conn_send(conn, output, sizeof(output)) == 0;
}

static bool has_unread(sttcp_conn *conn)
{
	int unread = 0;

	ioctl(sttcp_conn_fd(conn), FIONREAD, &unread);
	return unread > 0;
}

static size_t read_all(int fd)
{
	static char data[64 * 1024];
	size_t got = 0;

	for (ssize_t size; (size = recv(fd, data, sizeof(data), 0)) > 0;)
		got += (size_t)size;
	return got;
}

static void open_scene(struct gate *gate, struct tls_dial *dial, SSL_CTX *context,
		       struct scene *scene, const sttcp_options *options)
{
	gate_open(gate, options);
	gate->probe->connection = note;
	gate->probe->data = hear;
	gate->probe->extra = scene;
	assert_true(tls_dial(dial, context, gate->port, "a.example"));
	EVENTUALLY(atomic_load(&scene->conn));
}

static void nothing_is_lost_behind_what_is_read_ahead(void **state)
{
	SSL_CTX *context = tls_dial_context(trusted, 13);

	(void)state;
	for (int pauses = 0; pauses < 2; pauses++) {
		struct scene scene = {.pauses = pauses};
		struct tls_dial dial;
		struct gate gate;

		open_scene(&gate, &dial, context, &scene,
			   STTCP_OPTIONS(.send_queue_max = 2 * OUTPUT, .high_water = 64 * 1024,
					 .low_water = 16 * 1024));
		assert_true(tls_dial_send(&dial, "?", 1));
		EVENTUALLY(probe_count(gate.probe, STTCP_RECEIVE) == 1);
		assert_true(tls_dial_send(&dial, "0123456789", REST));
		EVENTUALLY(has_unread(scene.conn));
		shutdown(dial.fd, SHUT_WR);
		/* As the loop does when the peer is not heard: once for the bytes, once for the
		 * FIN. */
		for (int i = 0; i < 2; i++) {
			stt_hold(scene.conn, STT_HOLD_AHEAD);
			stt_conn_ask(scene.conn, STT_WISH_READ);
			EVENTUALLY(!(atomic_load(&scene.conn->holds) & STT_HOLD_AHEAD));
		}
		nap_ms(50);
		assert_true(sttcp_conn_is_open(scene.conn));
		if (pauses)
			sttcp_conn_resume(scene.conn);
		assert_true(read_all(dial.fd) > OUTPUT); /* with what TLS adds */
		assert_true(probe_wait(gate.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(gate.probe), STTCP_ECUT);
		assert_int_equal(scene.heard, REST);
		sttcp_conn_unref(scene.conn);
		tls_dial_close(&dial);
		gate_close(&gate);
	}
	SSL_CTX_free(context);
}

static void no_cut_is_told_after_a_pause(void **state)
{
	SSL_CTX *context = tls_dial_context(trusted, 13);

	(void)state;
	for (int framed = 0; framed < 2; framed++) {
		struct scene scene = {.pauses = false};
		struct tls_dial dial;
		struct gate gate;

		open_scene(
			&gate, &dial, context, &scene,
			STTCP_OPTIONS(.framing = framed ? STTCP_FRAMING_LINE : STTCP_FRAMING_RAW));
		/* Behind what the handshake leaves to be read. */
		assert_true(tls_dial_send(&dial, "x\n", 2));
		assert_true(probe_wait(gate.probe, STTCP_RECEIVE, 1));
		read_stop(sttcp_conn_fd(scene.conn));
		shutdown(dial.fd, SHUT_WR);
		assert_true(read_stopped());
		assert_int_equal(sttcp_conn_pause(scene.conn), 0);
		read_go_on();
		for (int64_t until = now_ms() + 50; now_ms() < until; nap_ms(1))
			assert_true(sttcp_conn_is_open(scene.conn));
		sttcp_conn_resume(scene.conn);
		assert_true(probe_wait(gate.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(gate.probe), STTCP_ECUT);
		sttcp_conn_unref(scene.conn);
		tls_dial_close(&dial);
		gate_close(&gate);
	}
	SSL_CTX_free(context);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_behind_what_is_read_ahead),
		cmocka_unit_test(no_cut_is_told_after_a_pause),
	};

	return cmocka_run_group_tests(tests, gates_set_up, good_files_close);
}
