/* SPDX-License-Identifier: MIT */
/* The reader of samples: what a connection does with its input, without one. */
#include "support/samples.h"

/* What a connection's reader keeps. */
struct reader {
	const struct sample *sample;
	size_t done; /* bytes of the input that messages took */
	size_t nmessages;
	size_t scanned;
	size_t announced; /* what the message at `done` will take, or 0 */

	/* CUSTOM */
	sttcp_frame memory;
	size_t wanted;
	bool told;
};

/* A frame function is not asked before so much is there as it wants, nor for what it has told. */
static int look_as_reader(struct reader *reader, const char *data, size_t size,
			  struct stt_frame *frame)
{
	const struct stt_framing *framing = &reader->sample->framing;

	if (framing->kind != STTCP_FRAMING_CUSTOM)
		return look(framing, data, size, reader->scanned, frame);
	if (!reader->told && size >= reader->wanted) {
		int answer = ask(framing, data, size, &reader->memory, frame);

		if (answer < 0)
			return answer;
		reader->told = answer == 1;
		reader->wanted = frame->total;
	}
	*frame = (struct stt_frame){.total = reader->told ? reader->wanted : 0};
	if (!reader->told || size < reader->wanted)
		return 0;
	frame->skip = reader->memory.skip;
	frame->size = reader->memory.size;
	return 1;
}

static void take_message(struct reader *reader, const struct stt_frame *frame)
{
	const struct sample *sample = reader->sample;
	const struct bytes *message = &sample->messages[reader->nmessages];

	if (reader->nmessages == COUNT(sample->messages) || !message->data)
		fail_msg("%s: a message more than expected", sample->name);
	if (frame->size != message->size ||
	    memcmp(payload_of(&sample->framing, sample->input.data + reader->done, frame),
		   message->data, frame->size) != 0)
		fail_msg("%s: message %zu is another", sample->name, reader->nmessages);
	if (reader->announced != 0)
		assert_int_equal(frame->total, reader->announced);
	reader->done += frame->total;
	reader->nmessages++;
	reader->scanned = 0;
	reader->announced = 0;
	reader->memory = (sttcp_frame){0};
	reader->wanted = 0;
	reader->told = false;
}

/* The first `size` bytes of the input have arrived; the verdict on those that are left. */
static int read_up_to(struct reader *reader, size_t size)
{
	while (reader->done < size) {
		struct stt_frame frame;
		int answer = look_as_reader(reader, reader->sample->input.data + reader->done,
					    size - reader->done, &frame);

		if (answer < 0)
			return answer;
		if (answer == 0) {
			if (reader->announced != 0)
				assert_int_equal(frame.total, reader->announced);
			reader->announced = frame.total;
			reader->scanned = frame.scanned;
			return 0;
		}
		take_message(reader, &frame);
	}
	return 0;
}

static int read_last(struct reader *reader)
{
	const struct bytes *input = &reader->sample->input;
	struct stt_framing framing = reader->sample->framing;
	size_t rest = input->size - reader->done;
	struct stt_frame frame = {0};

	if (!rest)
		return WHOLE;
	/* Who does not ask for it never gets a part of a message. */
	assert_int_equal(look_last(&framing, input->data + reader->done, rest, &frame),
			 STTCP_EFRAME);
	framing.rest_at_end = true;
	int answer = look_last(&framing, input->data + reader->done, rest, &frame);

	if (answer == STTCP_EFRAME)
		return WAITS;
	assert_int_equal(answer, 1);
	assert_int_equal(frame.total, rest);
	take_message(reader, &frame);
	return RESTS;
}

/* Reads with a look after each `step` bytes, the first after `first`. */
static void read_sample(const struct sample *sample, size_t first, size_t step)
{
	struct reader reader = {.sample = sample};
	int answer = 0;

	for (size_t size = first; answer == 0 && size < sample->input.size; size += step)
		answer = read_up_to(&reader, size);
	if (answer == 0)
		answer = read_up_to(&reader, sample->input.size);
	if (answer == 0)
		answer = read_last(&reader);
	if (answer != sample->ending)
		fail_msg("%s: ends with %d, not %d (cut at %zu, then by %zu)", sample->name, answer,
			 sample->ending, first, step);
	if (reader.nmessages < COUNT(sample->messages) && sample->messages[reader.nmessages].data)
		fail_msg("%s: only %zu messages", sample->name, reader.nmessages);
}

void read_samples(const struct sample *samples, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t size = samples[i].input.size;

		assert_int_equal(stt_framing_check(&samples[i].framing), 0);
		for (size_t cut = 0; cut < size; cut++)
			read_sample(&samples[i], cut, size);
		read_sample(&samples[i], 1, 1);
	}
}
