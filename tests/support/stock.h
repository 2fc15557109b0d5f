/* SPDX-License-Identifier: MIT */
/* Whether the engine has left anything behind: for children, where cmocka is not. */
#ifndef STT_TEST_STOCK_H
#define STT_TEST_STOCK_H

#include "support/echo.h"

struct stock {
	int fds;
	int threads;
};

struct stock take_stock(void);

/* There is as much of everything as before. */
void check_stock(struct stock before);

#endif
