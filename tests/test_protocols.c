/* SPDX-License-Identifier: MIT */
/*
 * Protocols that exist, with bytes as their programs send them: found however they
 * are cut, made by send_message where the framing is a length, refused where they
 * are malformed or larger than anything that is meant.
 */
#include "support/book.h"
#include "support/protocols.h"
#include "support/samples.h"

enum {
	LIMIT = 1024 * 1024
};

#define POSTGRESQL COUNTED_OF(LIMIT, WIDTH(4), OFFSET(1), SELF)
#define MQTT COUNTED_OF(LIMIT, VARINT, OFFSET(1))
#define TPKT COUNTED_OF(LIMIT, WIDTH(2), OFFSET(2), ADJUST(-4))
#define MODBUS COUNTED_OF(LIMIT, WIDTH(2), OFFSET(4))
#define MYSQL COUNTED_OF(LIMIT, WIDTH(3), LITTLE, ADJUST(1))
#define DNS COUNTED_OF(LIMIT, WIDTH(2))
#define PROTOBUF COUNTED_OF(LIMIT, VARINT)
/* Without padding: behind the length stand its length, 0, and a reserved byte. */
#define PLAIN_FASTCGI COUNTED_OF(LIMIT, WIDTH(2), OFFSET(4), ADJUST(2))

/* ------------------------------------------------------------------- good ones */

/* Minimal in their lengths, so that what is sent can be compared. */
static const struct sample counted[] = {
	/* ReadyForQuery; CommandComplete; Query; Terminate. */
	{"PostgreSQL",
	 POSTGRESQL,
	 B("Z\0\0\0\5IC\0\0\0\xdSELECT 1\0Q\0\0\0\xdselect 1\0X\0\0\0\4"),
	 WHOLE,
	 {B("ZI"), B("CSELECT 1\0"), B("Qselect 1\0"), B("X")}},
	/* SSLRequest and a StartupMessage, which have no type. */
	{"PostgreSQL, before its types",
	 COUNTED_OF(LIMIT, WIDTH(4), SELF),
	 B("\0\0\0\x8\x4\xd2\x16\x2f\0\0\0\x11\0\3\0\0user\0me\0\0"),
	 WHOLE,
	 {B("\x4\xd2\x16\x2f"), B("\0\3\0\0user\0me\0\0")}},
	/* CONNECT; PUBLISH of "hi" to a/b; PINGREQ; DISCONNECT. */
	{"MQTT",
	 MQTT,
	 B("\x10\xc\0\4MQTT\4\2\0\x3c\0\0\x30\7\0\3a/bhi\xc0\0\xe0\0"),
	 WHOLE,
	 {B("\x10\0\4MQTT\4\2\0\x3c\0\0"), B("\x30\0\3a/bhi"), B("\xc0"), B("\xe0")}},
	/* A connection request of X.224, and nothing. */
	{"TPKT",
	 TPKT,
	 B("\3\0\0\x16\x11\xe0\0\0\0\1\0\xc1\2\1\0\xc2\2\1\2\xc0\1\x9\3\0\0\4"),
	 WHOLE,
	 {B("\3\0\x11\xe0\0\0\0\1\0\xc1\2\1\0\xc2\2\1\2\xc0\1\x9"), B("\3\0")}},
	/* Reading three registers, and the answer. */
	{"Modbus",
	 MODBUS,
	 B("\0\1\0\0\0\6\x11\3\0\x6b\0\3\0\1\0\0\0\x9\x11\3\6\xae\x41\x56\x52\x43\x40"),
	 WHOLE,
	 {B("\0\1\0\0\x11\3\0\x6b\0\3"), B("\0\1\0\0\x11\3\6\xae\x41\x56\x52\x43\x40")}},
	/* BEGIN_REQUEST, the end of PARAMS, and STDIN. */
	{"FastCGI without padding",
	 PLAIN_FASTCGI,
	 B("\1\1\0\1\0\x8\0\0\0\1\0\0\0\0\0\0\1\4\0\1\0\0\0\0\1\5\0\1\0\2\0\0hi"),
	 WHOLE,
	 {B("\1\1\0\1\0\0\0\1\0\0\0\0\0\0"), B("\1\4\0\1\0\0"), B("\1\5\0\1\0\0hi")}},
	/* COM_QUERY; OK; COM_QUIT: the sequence number is the first byte. */
	{"MySQL",
	 MYSQL,
	 B("\x9\0\0\0\3SELECT 1\7\0\0\1\0\0\0\2\0\0\0\1\0\0\0\1"),
	 WHOLE,
	 {B("\0\3SELECT 1"), B("\1\0\0\0\2\0\0\0"), B("\0\1")}},
	/* A query for the address of example.com. */
	{"DNS",
	 DNS,
	 B("\0\x1d\xab\xcd\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"),
	 WHOLE,
	 {B("\xab\xcd\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1")}},
	/* A string as its field 1; the number 150 there; nothing. */
	{"protobuf",
	 PROTOBUF,
	 B("\5\xa\3abc\3\x8\x96\1\0"),
	 WHOLE,
	 {B("\xa\3abc"), B("\x8\x96\1"), B("")}},
};

static const struct sample framed[] = {
	/* The examples of RFC 6455, 5.7: in one piece, masked, in two, a ping and its answer. */
	{"WebSocket",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x81\5Hello\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\1\3Hel\x80\2lo\x89\5Hello"
	   "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x82\x7e\0\3abc"),
	 WHOLE,
	 {B("\x81\5Hello"), B("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), B("\1\3Hel"),
	  B("\x80\2lo"), B("\x89\5Hello"), B("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
	  B("\x82\x7e\0\3abc")}},
	{"WebSocket, 64 bits",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x82\x7f\0\0\0\0\0\0\0\2hi\x88\0"),
	 WHOLE,
	 {B("\x82\x7f\0\0\0\0\0\0\0\2hi"), B("\x88\0")}},
	{"WebSocket, in parts",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x82\xfe\1\0key!a"),
	 WAITS,
	 {{0}}},
	/* PARAMS with padding, their end, and STDIN. */
	{"FastCGI",
	 CUSTOM(fastcgi_frame, LIMIT),
	 B("\1\4\0\1\0\xa\6\0\4\4HOSTname......\1\4\0\1\0\0\0\0\1\5\0\1\0\2\1\0hi."),
	 WHOLE,
	 {B("\1\4\0\1\0\xa\6\0\4\4HOSTname"), B("\1\4\0\1\0\0\0\0"), B("\1\5\0\1\0\2\1\0hi")}},
	{"RESP",
	 CUSTOM(resp_frame, LIMIT),
	 B("*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\n+OK\r\n:1000\r\n$-1\r\n$0\r\n\r\nPING\r\n"
	   "-ERR \r no\r\n"),
	 WHOLE,
	 {B("*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\n"), B("+OK\r\n"), B(":1000\r\n"), B("$-1\r\n"),
	  B("$0\r\n\r\n"), B("PING\r\n"), B("-ERR \r no\r\n")}},
	{"RESP, nested",
	 CUSTOM(resp_frame, LIMIT),
	 B("*3\r\n*2\r\n:1\r\n*0\r\n$1\r\n\n\r\n_\r\n*-1\r\n%2\r\n+a\r\n*1\r\n#t\r\n+b\r\n~0\r\n*"
	   "0\r\n"),
	 WHOLE,
	 {B("*3\r\n*2\r\n:1\r\n*0\r\n$1\r\n\n\r\n_\r\n"), B("*-1\r\n"),
	  B("%2\r\n+a\r\n*1\r\n#t\r\n+b\r\n~0\r\n"), B("*0\r\n")}},
	{"RESP, in parts", CUSTOM(resp_frame, LIMIT), B("*2\r\n$1\r\na\r\n$10"), WAITS, {{0}}},
	{"netstring",
	 CUSTOM(netstring_frame, LIMIT),
	 B("12:hello world!,0:,3:a,b,"),
	 WHOLE,
	 {B("hello world!"), B(""), B("a,b")}},
	{"netstring, in parts", CUSTOM(netstring_frame, LIMIT), B("0:,12:hello"), WAITS, {B("")}},
	/* RFC 6587, 3.4.1. */
	{"syslog",
	 CUSTOM(syslog_frame, LIMIT),
	 B("17 <13>1 - - - - - -23 <34>1 - host su - - - \n"),
	 WHOLE,
	 {B("<13>1 - - - - - -"), B("<34>1 - host su - - - \n")}},
};

static void lengths_of_protocols_are_read_however_they_are_cut(void **state)
{
	(void)state;
	read_samples(counted, COUNT(counted));
}

static void frames_of_protocols_are_read_however_they_are_cut(void **state)
{
	(void)state;
	read_samples(framed, COUNT(framed));
}

/* The payloads of a sample make its bytes again. */
static void lengths_of_protocols_are_sent_as_they_came(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(counted); i++) {
		const struct sample *sample = &counted[i];
		char wire[256];
		size_t done = 0;

		for (size_t n = 0; n < COUNT(sample->messages) && sample->messages[n].data; n++) {
			ssize_t size = frame_payload(&sample->framing, sample->messages[n].data,
						     sample->messages[n].size, wire + done,
						     sizeof(wire) - done);

			assert_true(size > 0);
			done += (size_t)size;
		}
		assert_int_equal(done, sample->input.size);
		assert_memory_equal(wire, sample->input.data, done);
	}
}

/* -------------------------------------------------------------------- bad ones */

static const struct sample refused[] = {
	{"PostgreSQL, less than its length",
	 POSTGRESQL,
	 B("Z\0\0\0\5IQ\0\0\0\3"),
	 STTCP_EFRAME,
	 {B("ZI")}},
	{"PostgreSQL, nothing", POSTGRESQL, B("Q\0\0\0\0"), STTCP_EFRAME, {{0}}},
	{"PostgreSQL, huge", POSTGRESQL, B("d\x7f\xff\xff\xff"), STTCP_ELIMIT, {{0}}},
	{"PostgreSQL, negative", POSTGRESQL, B("d\xff\xff\xff\xff"), STTCP_ELIMIT, {{0}}},
	{"PostgreSQL, from HTTP", POSTGRESQL, B("GET / HTTP/1.1\r\n"), STTCP_ELIMIT, {{0}}},
	{"MQTT, huge", MQTT, B("\xc0\0\x30\xff\xff\xff\x7f"), STTCP_ELIMIT, {B("\xc0")}},
	{"MQTT, no length",
	 MQTT,
	 B("\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"),
	 STTCP_EFRAME,
	 {{0}}},
	{"TPKT, less than its header", TPKT, B("\3\0\0\4\3\0\0\3"), STTCP_EFRAME, {B("\3\0")}},
	{"Modbus, huge",
	 COUNTED_OF(260, WIDTH(2), OFFSET(4)),
	 B("\0\1\0\0\xff\xff"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"MySQL, huge", MYSQL, B("\xff\xff\xff\0"), STTCP_ELIMIT, {{0}}},
	{"DNS, huge", COUNTED_OF(4096, WIDTH(2)), B("\xff\xff"), STTCP_ELIMIT, {{0}}},
	{"protobuf, huge", PROTOBUF, B("\0\x81\x80\x40"), STTCP_ELIMIT, {B("")}},
	{"protobuf, 64 bits",
	 PROTOBUF,
	 B("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"FastCGI, of another version",
	 CUSTOM(fastcgi_frame, LIMIT),
	 B("\1\4\0\1\0\0\0\0\2"),
	 STTCP_EFRAME,
	 {B("\1\4\0\1\0\0\0\0")}},
	{"FastCGI, huge",
	 CUSTOM(fastcgi_frame, 1000),
	 B("\1\4\0\1\xff\xff\xff\0"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"WebSocket, an unknown opcode",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x88\0\x83\0"),
	 STTCP_EFRAME,
	 {B("\x88\0")}},
	{"WebSocket, a reserved bit",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\xc1\5"),
	 STTCP_EFRAME,
	 {{0}}},
	{"WebSocket, a long ping",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x89\x7e"),
	 STTCP_EFRAME,
	 {{0}}},
	{"WebSocket, a ping in parts",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x9\0"),
	 STTCP_EFRAME,
	 {{0}}},
	{"WebSocket, more than 63 bits",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x82\x7f\x80\0\0\0\0\0\0\0"),
	 STTCP_EFRAME,
	 {{0}}},
	{"WebSocket, huge",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x82\x7f\0\0\0\0\x7f\xff\xff\xff"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"WebSocket, 63 bits",
	 CUSTOM(websocket_frame, LIMIT),
	 B("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"RESP, no number", CUSTOM(resp_frame, LIMIT), B("*0\r\n*x"), STTCP_EFRAME, {B("*0\r\n")}},
	{"RESP, a number that ends with \\n",
	 CUSTOM(resp_frame, LIMIT),
	 B("*1\n"),
	 STTCP_EFRAME,
	 {{0}}},
	{"RESP, below -1", CUSTOM(resp_frame, LIMIT), B("$-2\r"), STTCP_EFRAME, {{0}}},
	{"RESP, a block that goes on",
	 CUSTOM(resp_frame, LIMIT),
	 B("*1\r\n$3\r\nabcd"),
	 STTCP_EFRAME,
	 {{0}}},
	{"RESP, more parts than it counts",
	 CUSTOM(resp_frame, LIMIT),
	 B("*2147483647\r\n"),
	 STTCP_EFRAME,
	 {{0}}},
	{"RESP, huge", CUSTOM(resp_frame, LIMIT), B("*2\r\n$1048577\r\n"), STTCP_ELIMIT, {{0}}},
	{"RESP, 64 bits",
	 CUSTOM(resp_frame, LIMIT),
	 B("$99999999999999999999"),
	 STTCP_EFRAME,
	 {{0}}},
	{"netstring, no end",
	 CUSTOM(netstring_frame, LIMIT),
	 B("0:,3:abcd"),
	 STTCP_EFRAME,
	 {B("")}},
	{"netstring, no digit", CUSTOM(netstring_frame, LIMIT), B(":"), STTCP_EFRAME, {{0}}},
	{"netstring, a leading 0", CUSTOM(netstring_frame, LIMIT), B("03"), STTCP_EFRAME, {{0}}},
	{"netstring, huge", CUSTOM(netstring_frame, LIMIT), B("999999999:"), STTCP_ELIMIT, {{0}}},
	{"netstring, ten digits",
	 CUSTOM(netstring_frame, LIMIT),
	 B("1234567890"),
	 STTCP_EFRAME,
	 {{0}}},
	{"syslog, without a length",
	 CUSTOM(syslog_frame, LIMIT),
	 B("1 a<34>1"),
	 STTCP_EFRAME,
	 {B("a")}},
	{"syslog, nothing", CUSTOM(syslog_frame, LIMIT), B("0 "), STTCP_EFRAME, {{0}}},
	{"syslog, huge", CUSTOM(syslog_frame, LIMIT), B("999999999 "), STTCP_ELIMIT, {{0}}},
};

static void what_no_protocol_sends_is_refused(void **state)
{
	(void)state;
	read_samples(refused, COUNT(refused));
}

/* ------------------------------------------------------------ on a connection */

/* The options that a program would set for the framing of a sample. */
static sttcp_options options_of(const struct stt_framing *framing)
{
	return (sttcp_options){.size = sizeof(sttcp_options),
			       .framing = framing->kind,
			       .max_message = framing->max_message,
			       .prefix_size = framing->prefix_size,
			       .prefix_little_endian = framing->prefix_little_endian,
			       .prefix_varint = framing->prefix_varint,
			       .prefix_includes_itself = framing->prefix_includes_itself,
			       .prefix_offset = framing->prefix_offset,
			       .prefix_adjust = framing->prefix_adjust,
			       .frame_fn = framing->frame_fn};
}

/* What the handler of the one connection has got: a message and its size after another. */
static struct {
	char bytes[512];
	size_t len;
	size_t sizes[8];
	size_t count;
} got;

static void note(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)conn;
	if (got.count == COUNT(got.sizes) || size > sizeof(got.bytes) - got.len)
		return;
	memcpy(got.bytes + got.len, data, size);
	got.len += size;
	got.sizes[got.count++] = size;
}

static void note_and_send_back(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	note(book, conn, data, size);
	sttcp_conn_send_message(conn, data, size);
}

static void open_for(struct talk *talk, const struct sample *sample,
		     void (*script)(struct book *book, sttcp_conn *conn, const void *data,
				    size_t size))
{
	sttcp_options options = options_of(&sample->framing);

	memset(&got, 0, sizeof(got));
	talk->book = book_new();
	talk->book->script = script;
	talk_open(talk, &options);
}

/* Nothing more comes; the end may be within a message. */
static void end_with(struct talk *talk, const struct sample *sample)
{
	size_t n = 0;
	size_t done = 0;

	peer_shutdown(talk->peer);
	assert_true(event_wait(&talk->book->ended, 1));
	assert_int_equal(talk->book->reason, sample->ending == WAITS ? STTCP_EFRAME : 0);
	for (; n < COUNT(sample->messages) && sample->messages[n].data; n++) {
		assert_true(n < got.count);
		assert_int_equal(got.sizes[n], sample->messages[n].size);
		assert_memory_equal(got.bytes + done, sample->messages[n].data, got.sizes[n]);
		done += got.sizes[n];
	}
	assert_int_equal(got.count, n);
	talk_close(talk);
}

static void connections_answer_in_the_protocol_of_the_peer(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(counted); i++) {
		const struct sample *sample = &counted[i];
		struct talk talk = {0};
		char back[256];

		open_for(&talk, sample, note_and_send_back);
		for (size_t at = 0; at < sample->input.size; at++)
			assert_true(peer_send(talk.peer, sample->input.data + at, 1));
		assert_true(peer_recv(talk.peer, back, sample->input.size));
		assert_memory_equal(back, sample->input.data, sample->input.size);
		end_with(&talk, sample);
	}
}

static void connections_find_frames_byte_by_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(framed); i++) {
		const struct sample *sample = &framed[i];
		struct talk talk = {0};

		open_for(&talk, sample, note);
		for (size_t at = 0; at < sample->input.size; at++)
			say_and_wait(&talk, sample->input.data + at, 1);
		end_with(&talk, sample);
	}
}

/* ------------------------------------------------------------------------ cost */

/* A long part, and then many short ones that come byte by byte. */
static void long_command_is_looked_at_a_few_times(void **state)
{
	enum {
		LONG = 980 * 1000,
		SHORT = 250
	};
	const struct stt_framing framing = {
		.kind = STTCP_FRAMING_CUSTOM, .frame_fn = resp_frame, .max_message = LIMIT};
	char *command = malloc(LONG + 64 + SHORT * 16);
	sttcp_frame memory = {0};
	struct stt_frame frame;

	(void)state;
	assert_non_null(command);
	int head = sprintf(command, "*%d\r\n$%d\r\n", SHORT + 1, LONG);
	size_t first = (size_t)head + LONG;
	size_t size = first;

	memset(command + head, 'x', LONG);
	size += (size_t)sprintf(command + size, "\r\n");
	for (int i = 0; i < SHORT; i++)
		size += (size_t)sprintf(command + size, "$2\r\n%02d\r\n", i % 100);
	atomic_store(&resp_looked, 0);
	for (size_t there = first; there < size; there++)
		assert_int_equal(stt_frame_ask(&framing, NULL, command, there, &memory, &frame), 0);
	assert_int_equal(stt_frame_ask(&framing, NULL, command, size, &memory, &frame), 1);
	assert_int_equal(frame.total, size);
	assert_in_range(atomic_load(&resp_looked), SHORT, 4 * (size - first));
	free(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_of_protocols_are_read_however_they_are_cut),
		cmocka_unit_test(frames_of_protocols_are_read_however_they_are_cut),
		cmocka_unit_test(lengths_of_protocols_are_sent_as_they_came),
		cmocka_unit_test(what_no_protocol_sends_is_refused),
		cmocka_unit_test(connections_answer_in_the_protocol_of_the_peer),
		cmocka_unit_test(connections_find_frames_byte_by_byte),
		cmocka_unit_test(long_command_is_looked_at_a_few_times),
	};

	return cmocka_run_group_tests(tests, map_guarded, unmap_guarded);
}
