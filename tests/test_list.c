/* SPDX-License-Identifier: MIT */
/* The ring with its head inside, against an array in the order of coming. */
#include "base/list.h"

#include "support/support.h"

enum {
	ITEMS = 40,
	STEPS = 20000
};

struct item {
	int number; /* so that the node is not at the beginning */
	struct stt_node node;
	bool in;
};

/* The list holds exactly these, in this order, both ways round. */
static void check_list(const struct stt_node *head, struct item *const *order, size_t count)
{
	const struct stt_node *node = head->next;

	assert_int_equal(stt_list_empty(head), count == 0);
	for (size_t i = 0; i < count; i++, node = node->next) {
		assert_ptr_equal(node, &order[i]->node);
		assert_ptr_equal(stt_container_of(node, struct item, node), order[i]);
	}
	assert_ptr_equal(node, head);
	node = head->prev;
	for (size_t i = count; i > 0; i--, node = node->prev)
		assert_ptr_equal(node, &order[i - 1]->node);
	assert_ptr_equal(node, head);
}

static void new_list_is_empty(void **state)
{
	struct stt_node head;

	(void)state;
	stt_list_init(&head);
	check_list(&head, NULL, 0);
}

static void removing_twice_does_nothing(void **state)
{
	struct item items[2];
	struct item *order[] = {&items[1]};
	struct stt_node head;

	(void)state;
	stt_list_init(&head);
	stt_list_append(&head, &items[0].node);
	stt_list_append(&head, &items[1].node);
	stt_list_remove(&items[0].node);
	/* It is alone, as who asks whether it is on a list can tell. */
	assert_true(stt_list_empty(&items[0].node));
	stt_list_remove(&items[0].node);
	check_list(&head, order, 1);
}

static size_t remove_from(struct item **order, size_t count, const struct item *item)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (order[i] != item)
			order[kept++] = order[i];
	return kept;
}

static void list_keeps_the_order_of_coming(void **state)
{
	struct item *order[ITEMS];
	struct item items[ITEMS] = {{0}};
	uint32_t random = test_seed();
	struct stt_node head;
	size_t count = 0;

	(void)state;
	stt_list_init(&head);
	for (int step = 0; step < STEPS; step++) {
		struct item *item = &items[next_random(&random) % ITEMS];

		if (item->in) {
			stt_list_remove(&item->node);
			count = remove_from(order, count, item);
		} else {
			stt_list_append(&head, &item->node);
			order[count++] = item;
		}
		item->in = !item->in;
		check_list(&head, order, count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_list_is_empty),
		cmocka_unit_test(removing_twice_does_nothing),
		cmocka_unit_test(list_keeps_the_order_of_coming),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
