/* SPDX-License-Identifier: MIT */
#include "part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli.h"
#include "say.h"

#ifndef RENAME_NOREPLACE /* not every C library has it */
#define RENAME_NOREPLACE 1
#endif

/* Whoever writes to it holds a lock on it, so that two never write to the same one. The name may
 * have gone to another file before the lock was there. Returns 0 or an exit status. */
static int lock(const char *part, int fd)
{
	struct stat opened, named;

	if (fstat(fd, &opened) < 0)
		return fail(STATUS_START, "%s: %s", part, strerror(errno));
	if (!S_ISREG(opened.st_mode))
		return fail(STATUS_START, "%s is no regular file", part);
	if ((flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) || lstat(part, &named) < 0 ||
	    named.st_ino != opened.st_ino || named.st_dev != opened.st_dev)
		return fail(STATUS_START, "another 'sttcp receive' is writing %s", part);
	return 0;
}

/* The descriptor, or -1. What has the name may be a link or a pipe of somebody else's. */
static int open_no_other(const char *part, int flags)
{
	return open(part, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0666);
}

int part_hold(const char *part, int *fd, bool *is_there)
{
	struct stat info;

	*fd = -1;
	*is_there = lstat(part, &info) == 0;
	if (*is_there && S_ISDIR(info.st_mode))
		return fail(STATUS_START, "%s is a directory", part);
	if (*is_there && S_ISREG(info.st_mode))
		*fd = open_no_other(part, 0);
	return *fd < 0 ? 0 : lock(part, *fd);
}

int part_replace(const char *part, int *fd)
{
	int held = *fd, error = 0;

	*fd = -1;
	if (unlink(part) == 0 || errno == ENOENT)
		*fd = open_no_other(part, O_CREAT | O_EXCL);
	if (*fd < 0 || flock(*fd, LOCK_EX | LOCK_NB) < 0)
		error = errno;
	if (held >= 0)
		close(held);
	return error;
}

int part_open(const char *part, enum part_use use, int *fd)
{
	*fd = open_no_other(part, use == PART_RESUMED ? O_CREAT : O_CREAT | O_EXCL);
	if (*fd < 0 && errno == EEXIST)
		return fail(STATUS_START,
			    "%s is there, from a transfer that was cut: --resume goes "
			    "on with it, --force begins anew",
			    part);
	if (*fd < 0 && errno == ELOOP)
		return fail(STATUS_START, "%s is a symbolic link", part);
	if (*fd < 0)
		return fail(STATUS_START, "%s: %s", part, strerror(errno));
	return lock(part, *fd);
}

/* By number, as not every C library has the call; where the file system does not know the flag a
 * hard link will do. */
static int rename_to_new(const char *from, const char *to)
{
	if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	return link(from, to) < 0 ? -1 : unlink(from);
}

int part_name(const char *part, const char *path, bool replaces)
{
	return (replaces ? rename : rename_to_new)(part, path) < 0 ? errno : 0;
}
