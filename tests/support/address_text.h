/* SPDX-License-Identifier: MIT */
/* What the tests of net/address.h share: addresses and the texts of them. */
#ifndef STT_TEST_ADDRESS_TEXT_H
#define STT_TEST_ADDRESS_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/address.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Asserts what it is without its port, and with it. */
void assert_text(const struct stt_addr *addr, const char *host, const char *text);

/* "unix:" and a path of `len` letters. */
void fill_unix_host(char *host, size_t len);

#endif
