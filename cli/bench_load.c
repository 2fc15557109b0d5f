/* SPDX-License-Identifier: MIT */
/*
 * The connections of the load generator. Each is a client of the library; its
 * handlers count into a tally of the thread that they happen to run on.
 */
#include "bench.h"

#include "clock.h"
#include "say.h"
#include "serve.h"
#include "wait.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	MOST_OPENING = 256,
	BATCH = 64,
	BATCH_BYTES = 1 << 20
};

struct peer {
	sttcp_client *client;
	sttcp_conn *conn; /* a reference, once it is open */
	int index;
	/* Closed loop: only its handlers. Open loop: `sent` is the clock's. */
	int64_t sent;
	int64_t answered;
	size_t got;	  /* bytes of a reply that has not come to its end */
	int64_t *sent_ns; /* closed loop: of the requests in flight, a ring */
	_Atomic uint64_t bytes_out;
	atomic_bool open;
};

/* What one thread has counted. Only that thread writes. */
struct share {
	struct histogram *latencies;
	_Atomic uint64_t bytes_in;
	struct share *next;
};

static const struct plan *plan;
static struct peer *peers;
static char *batch; /* requests, one behind the other, as many as are ever sent at once */
static int64_t nbatch;
static atomic_bool running;
static int64_t begin_ns, end_ns;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Under the lock. */
static int nopen, nfailed, nlost;
static bool ending; /* an end is no loss any more */
static char why[200];
static struct share *shares;

static _Thread_local struct share *own;

static struct share *own_share(void)
{
	struct share *share = own;

	if (share)
		return share;
	share = calloc(1, sizeof(*share));
	if (!share || !(share->latencies = histogram_new())) {
		fail(STATUS_FAILED, "out of memory");
		exit(STATUS_FAILED);
	}
	own = share;
	pthread_mutex_lock(&lock);
	share->next = shares;
	shares = share;
	pthread_mutex_unlock(&lock);
	return share;
}

static void grow(_Atomic uint64_t *number, uint64_t by)
{
	atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + by,
			      memory_order_relaxed);
}

bool load_runs(void)
{
	/* Who sees that it runs sees the clock, too. */
	return atomic_load_explicit(&running, memory_order_acquire);
}

/* ------------------------------------------------------------------- requests */

/* Sends up to `count`; returns how many, or a code. */
static int64_t send_requests(struct peer *peer, int64_t count, bool waits)
{
	bool framed = plan->options->framing != STTCP_FRAMING_RAW;
	int64_t some = count < nbatch ? count : nbatch, done = 0;

	while (done < count) {
		size_t size;
		int code;

		if (some > count - done)
			some = count - done;
		size = plan->request_size * (size_t)some;
		if (framed)
			code = waits ? sttcp_conn_send_message(peer->conn, batch, size)
				     : sttcp_conn_try_send_message(peer->conn, batch, size);
		else
			code = waits ? sttcp_conn_send(peer->conn, batch, size)
				     : sttcp_conn_try_send(peer->conn, batch, size);
		if (code == -EAGAIN)
			break;
		if (code < 0)
			return code;
		done += some;
		grow(&peer->bytes_out, size);
	}
	return done;
}

/* Closed loop: as many as were answered. */
static void send_again(struct peer *peer, int64_t count, int64_t now)
{
	for (int64_t i = 0; i < count; i++)
		peer->sent_ns[(peer->sent + i) % plan->depth] = now;
	peer->sent += count;
	send_requests(peer, count, true);
}

static void send_first(sttcp_conn *conn, void *argument)
{
	(void)conn;
	send_again(argument, plan->depth, now_ns());
}

void load_catch_up(int i, int64_t now)
{
	struct peer *peer = &peers[i];
	int64_t count = 0, sent;

	if (!atomic_load_explicit(&peer->open, memory_order_relaxed))
		return;
	while (count < BATCH && pace_due_ns(i, peer->sent + count) <= now)
		count++;
	sent = send_requests(peer, count, false);
	if (sent > 0)
		peer->sent += sent;
}

/* -------------------------------------------------------------------- replies */

static int64_t count_replies(struct peer *peer, size_t size)
{
	int64_t count;

	if (plan->options->framing != STTCP_FRAMING_RAW)
		return 1;
	peer->got += size;
	count = (int64_t)(peer->got / plan->reply_size);
	peer->got %= plan->reply_size;
	return count;
}

static bool respond(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct peer *peer = context;
	int64_t count = count_replies(peer, size), now = now_ns();
	struct share *share = own_share();

	(void)conn;
	(void)data;
	if (!load_runs())
		return true;
	grow(&share->bytes_in, size);
	for (int64_t i = 0; i < count; i++, peer->answered++) {
		int64_t from = plan->rate > 0 ? pace_due_ns(peer->index, peer->answered)
					      : peer->sent_ns[peer->answered % plan->depth];

		histogram_add(share->latencies, now > from ? (uint64_t)(now - from) : 0);
	}
	if (plan->rate == 0 && count > 0)
		send_again(peer, count, now);
	return true;
}

/* --------------------------------------------------------------- opening, ends */

static bool opened(sttcp_conn *conn, void *context)
{
	struct peer *peer = context;

	peer->conn = sttcp_conn_ref(conn);
	atomic_store(&peer->open, true);
	pthread_mutex_lock(&lock);
	nopen++;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
	return true;
}

static void note_why(const sttcp_conn *conn, int reason)
{
	char words[SENTENCE];
	const char *text = in_own_words(sttcp_conn_fail_text(conn), words, sizeof(words));

	if (!*why)
		snprintf(why, sizeof(why), "%s",
			 reason == 0 ? "the server has closed it"
			 : *text     ? text
				     : sttcp_strerror(reason));
}

static void not_opened(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	pthread_mutex_lock(&lock);
	note_why(conn, reason);
	if (nfailed++ == 0 && !ending)
		fail(STATUS_START, "%s%s", why, advice(reason, why));
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void gone(sttcp_conn *conn, int reason, void *context)
{
	struct peer *peer = context;
	bool was_last;

	atomic_store(&peer->open, false);
	pthread_mutex_lock(&lock);
	if (!ending) {
		note_why(conn, reason);
		nlost++;
	}
	was_last = nlost == plan->nconns;
	pthread_mutex_unlock(&lock);
	if (was_last)
		finish(STATUS_FAILED);
}

static bool start_one(struct peer *peer, const char *host, int port)
{
	peer->client = sttcp_client_new(host, port, plan->options);
	peer->sent_ns = calloc((size_t)plan->depth, sizeof(*peer->sent_ns));
	if (!peer->client || !peer->sent_ns)
		return fail(0, "out of memory") != 0;
	must(sttcp_client_set_context(peer->client, peer));
	must(sttcp_client_on_connection(peer->client, opened));
	must(sttcp_client_on_response(peer->client, respond));
	must(sttcp_client_on_disconnection(peer->client, gone));
	must(sttcp_client_on_unconnected(peer->client, not_opened));
	if (start_client(peer->client) == 0)
		return true;
	return fail(0, "%s", sttcp_client_error(peer->client)) != 0;
}

/* Waits until no more than so many are opening. */
static bool wait_for_opening(int nstarted, int most)
{
	bool good;

	wait_unguard();
	pthread_mutex_lock(&lock);
	while (nstarted - nopen - nfailed > most && nfailed == 0)
		pthread_cond_wait(&changed, &lock);
	good = nfailed == 0;
	pthread_mutex_unlock(&lock);
	wait_guard();
	return good;
}

/* A message goes alone; in a closed loop no more than `depth` are ever due. */
static int64_t batch_of(void)
{
	int64_t most = plan->rate > 0 || plan->depth > BATCH ? BATCH : plan->depth;
	int64_t fit = BATCH_BYTES / (int64_t)plan->request_size;

	if (plan->options->framing != STTCP_FRAMING_RAW || fit < 1)
		return 1;
	return fit < most ? fit : most;
}

bool load_open(const struct plan *given, const char *host, int port)
{
	size_t size = given->request_size;

	plan = given;
	peers = calloc((size_t)plan->nconns, sizeof(*peers));
	nbatch = batch_of();
	batch = malloc(size * (size_t)nbatch);
	if (!peers || !batch)
		return fail(0, "out of memory") != 0;
	for (size_t i = 0; i < (size_t)nbatch; i++)
		memcpy(batch + i * size, plan->request, size);
	for (int i = 0; i < plan->nconns; i++) {
		peers[i].index = i;
		if (!start_one(&peers[i], host, port) || !wait_for_opening(i + 1, MOST_OPENING))
			return false;
	}
	return wait_for_opening(plan->nconns, 0);
}

bool load_begin(void)
{
	begin_ns = now_ns();
	if (plan->rate > 0)
		pace_set(plan, begin_ns);
	atomic_store(&running, true);
	if (plan->rate > 0)
		return pace_start();
	for (int i = 0; i < plan->nconns; i++)
		sttcp_conn_run(peers[i].conn, send_first, &peers[i], NULL);
	return true;
}

double load_seconds(void)
{
	return (double)((end_ns ? end_ns : now_ns()) - begin_ns) / 1e9;
}

void load_end(void)
{
	pthread_mutex_lock(&lock);
	ending = true;
	pthread_mutex_unlock(&lock);
	atomic_store(&running, false);
	end_ns = now_ns();
	if (plan->rate > 0)
		pace_join();
}

void load_tally(struct tally *tally)
{
	pthread_mutex_lock(&lock);
	for (const struct share *share = shares; share; share = share->next) {
		histogram_merge(tally->latencies, share->latencies);
		tally->bytes_in += atomic_load(&share->bytes_in);
	}
	tally->lost = nlost;
	snprintf(tally->why, sizeof(tally->why), "%s", why);
	pthread_mutex_unlock(&lock);
	tally->requests = atomic_load(&tally->latencies->total);
	for (int i = 0; i < plan->nconns; i++)
		tally->bytes_out += atomic_load(&peers[i].bytes_out);
	if (plan->rate > 0)
		tally->due = pace_due_by(end_ns ? end_ns : now_ns());
}

void load_free(void)
{
	pthread_mutex_lock(&lock);
	ending = true;
	pthread_mutex_unlock(&lock);
	for (int i = 0; peers && i < plan->nconns; i++) {
		sttcp_client_free(peers[i].client);
		sttcp_conn_unref(peers[i].conn);
		free(peers[i].sent_ns);
	}
	free(peers);
	free(batch);
	while (shares) {
		struct share *next = shares->next;

		free(shares->latencies);
		free(shares);
		shares = next;
	}
}
