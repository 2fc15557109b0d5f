/* SPDX-License-Identifier: MIT */
/*
 * Functions that not every C library has. The build checks for each
 * (cmake/Portable.cmake) and defines 1 or 0; without the build, the version of
 * glibc decides, where all of them come from. The replacement of a missing one
 * is beside its use: base/error.c, base/semaphore.h. Without makecontext there are no
 * fibers (base/fiber.c).
 */
#ifndef STT_BASE_PORTABLE_H
#define STT_BASE_PORTABLE_H

#include <features.h>

#ifdef __GLIBC__
#define STT_GLIBC_HAS(major, minor) __GLIBC_PREREQ(major, minor)
#else
#define STT_GLIBC_HAS(major, minor) 0
#endif

/* strerrorname_np, strerrordesc_np: strerror(3). */
#ifndef STT_HAVE_STRERRORNAME_NP
#define STT_HAVE_STRERRORNAME_NP STT_GLIBC_HAS(2, 32)
#endif

/* sem_clockwait: sem_wait(3). */
#ifndef STT_HAVE_SEM_CLOCKWAIT
#define STT_HAVE_SEM_CLOCKWAIT STT_GLIBC_HAS(2, 30)
#endif

/* makecontext(3), of which musl has the declaration alone. */
#ifndef STT_HAVE_MAKECONTEXT
#define STT_HAVE_MAKECONTEXT STT_GLIBC_HAS(2, 0)
#endif

#endif
