/* SPDX-License-Identifier: MIT */
/*
 * The names and sentences of errno's values on Linux, errno(3), as glibc has them:
 * for C libraries that cannot be asked for them by any thread at any time. Only
 * base/error.c includes it, and the test that compares it.
 */
#ifndef STT_BASE_ERRNO_TABLE_H
#define STT_BASE_ERRNO_TABLE_H

#include <errno.h>
#include <stddef.h>

struct stt_errno {
	int number;
	const char *name;
	const char *text;
};

/* A value and its name, so that they cannot drift apart. */
#define STT_ERRNO(number) (number), #number

static const struct stt_errno stt_errnos[] = {
	{STT_ERRNO(EPERM), "Operation not permitted"},
	{STT_ERRNO(ENOENT), "No such file or directory"},
	{STT_ERRNO(ESRCH), "No such process"},
	{STT_ERRNO(EINTR), "Interrupted system call"},
	{STT_ERRNO(EIO), "Input/output error"},
	{STT_ERRNO(ENXIO), "No such device or address"},
	{STT_ERRNO(E2BIG), "Argument list too long"},
	{STT_ERRNO(ENOEXEC), "Exec format error"},
	{STT_ERRNO(EBADF), "Bad file descriptor"},
	{STT_ERRNO(ECHILD), "No child processes"},
	{STT_ERRNO(EAGAIN), "Resource temporarily unavailable"},
	{STT_ERRNO(ENOMEM), "Cannot allocate memory"},
	{STT_ERRNO(EACCES), "Permission denied"},
	{STT_ERRNO(EFAULT), "Bad address"},
	{STT_ERRNO(ENOTBLK), "Block device required"},
	{STT_ERRNO(EBUSY), "Device or resource busy"},
	{STT_ERRNO(EEXIST), "File exists"},
	{STT_ERRNO(EXDEV), "Invalid cross-device link"},
	{STT_ERRNO(ENODEV), "No such device"},
	{STT_ERRNO(ENOTDIR), "Not a directory"},
	{STT_ERRNO(EISDIR), "Is a directory"},
	{STT_ERRNO(EINVAL), "Invalid argument"},
	{STT_ERRNO(ENFILE), "Too many open files in system"},
	{STT_ERRNO(EMFILE), "Too many open files"},
	{STT_ERRNO(ENOTTY), "Inappropriate ioctl for device"},
	{STT_ERRNO(ETXTBSY), "Text file busy"},
	{STT_ERRNO(EFBIG), "File too large"},
	{STT_ERRNO(ENOSPC), "No space left on device"},
	{STT_ERRNO(ESPIPE), "Illegal seek"},
	{STT_ERRNO(EROFS), "Read-only file system"},
	{STT_ERRNO(EMLINK), "Too many links"},
	{STT_ERRNO(EPIPE), "Broken pipe"},
	{STT_ERRNO(EDOM), "Numerical argument out of domain"},
	{STT_ERRNO(ERANGE), "Numerical result out of range"},
	{STT_ERRNO(EDEADLK), "Resource deadlock avoided"},
	{STT_ERRNO(ENAMETOOLONG), "File name too long"},
	{STT_ERRNO(ENOLCK), "No locks available"},
	{STT_ERRNO(ENOSYS), "Function not implemented"},
	{STT_ERRNO(ENOTEMPTY), "Directory not empty"},
	{STT_ERRNO(ELOOP), "Too many levels of symbolic links"},
	{STT_ERRNO(ENOMSG), "No message of desired type"},
	{STT_ERRNO(EIDRM), "Identifier removed"},
	{STT_ERRNO(ECHRNG), "Channel number out of range"},
	{STT_ERRNO(EL2NSYNC), "Level 2 not synchronized"},
	{STT_ERRNO(EL3HLT), "Level 3 halted"},
	{STT_ERRNO(EL3RST), "Level 3 reset"},
	{STT_ERRNO(ELNRNG), "Link number out of range"},
	{STT_ERRNO(EUNATCH), "Protocol driver not attached"},
	{STT_ERRNO(ENOCSI), "No CSI structure available"},
	{STT_ERRNO(EL2HLT), "Level 2 halted"},
	{STT_ERRNO(EBADE), "Invalid exchange"},
	{STT_ERRNO(EBADR), "Invalid request descriptor"},
	{STT_ERRNO(EXFULL), "Exchange full"},
	{STT_ERRNO(ENOANO), "No anode"},
	{STT_ERRNO(EBADRQC), "Invalid request code"},
	{STT_ERRNO(EBADSLT), "Invalid slot"},
	{STT_ERRNO(EBFONT), "Bad font file format"},
	{STT_ERRNO(ENOSTR), "Device not a stream"},
	{STT_ERRNO(ENODATA), "No data available"},
	{STT_ERRNO(ETIME), "Timer expired"},
	{STT_ERRNO(ENOSR), "Out of streams resources"},
	{STT_ERRNO(ENONET), "Machine is not on the network"},
	{STT_ERRNO(ENOPKG), "Package not installed"},
	{STT_ERRNO(EREMOTE), "Object is remote"},
	{STT_ERRNO(ENOLINK), "Link has been severed"},
	{STT_ERRNO(EADV), "Advertise error"},
	{STT_ERRNO(ESRMNT), "Srmount error"},
	{STT_ERRNO(ECOMM), "Communication error on send"},
	{STT_ERRNO(EPROTO), "Protocol error"},
	{STT_ERRNO(EMULTIHOP), "Multihop attempted"},
	{STT_ERRNO(EDOTDOT), "RFS specific error"},
	{STT_ERRNO(EBADMSG), "Bad message"},
	{STT_ERRNO(EOVERFLOW), "Value too large for defined data type"},
	{STT_ERRNO(ENOTUNIQ), "Name not unique on network"},
	{STT_ERRNO(EBADFD), "File descriptor in bad state"},
	{STT_ERRNO(EREMCHG), "Remote address changed"},
	{STT_ERRNO(ELIBACC), "Can not access a needed shared library"},
	{STT_ERRNO(ELIBBAD), "Accessing a corrupted shared library"},
	{STT_ERRNO(ELIBSCN), ".lib section in a.out corrupted"},
	{STT_ERRNO(ELIBMAX), "Attempting to link in too many shared libraries"},
	{STT_ERRNO(ELIBEXEC), "Cannot exec a shared library directly"},
	{STT_ERRNO(EILSEQ), "Invalid or incomplete multibyte or wide character"},
	{STT_ERRNO(ERESTART), "Interrupted system call should be restarted"},
	{STT_ERRNO(ESTRPIPE), "Streams pipe error"},
	{STT_ERRNO(EUSERS), "Too many users"},
	{STT_ERRNO(ENOTSOCK), "Socket operation on non-socket"},
	{STT_ERRNO(EDESTADDRREQ), "Destination address required"},
	{STT_ERRNO(EMSGSIZE), "Message too long"},
	{STT_ERRNO(EPROTOTYPE), "Protocol wrong type for socket"},
	{STT_ERRNO(ENOPROTOOPT), "Protocol not available"},
	{STT_ERRNO(EPROTONOSUPPORT), "Protocol not supported"},
	{STT_ERRNO(ESOCKTNOSUPPORT), "Socket type not supported"},
	{STT_ERRNO(EOPNOTSUPP), "Operation not supported"},
	{STT_ERRNO(EPFNOSUPPORT), "Protocol family not supported"},
	{STT_ERRNO(EAFNOSUPPORT), "Address family not supported by protocol"},
	{STT_ERRNO(EADDRINUSE), "Address already in use"},
	{STT_ERRNO(EADDRNOTAVAIL), "Cannot assign requested address"},
	{STT_ERRNO(ENETDOWN), "Network is down"},
	{STT_ERRNO(ENETUNREACH), "Network is unreachable"},
	{STT_ERRNO(ENETRESET), "Network dropped connection on reset"},
	{STT_ERRNO(ECONNABORTED), "Software caused connection abort"},
	{STT_ERRNO(ECONNRESET), "Connection reset by peer"},
	{STT_ERRNO(ENOBUFS), "No buffer space available"},
	{STT_ERRNO(EISCONN), "Transport endpoint is already connected"},
	{STT_ERRNO(ENOTCONN), "Transport endpoint is not connected"},
	{STT_ERRNO(ESHUTDOWN), "Cannot send after transport endpoint shutdown"},
	{STT_ERRNO(ETOOMANYREFS), "Too many references: cannot splice"},
	{STT_ERRNO(ETIMEDOUT), "Connection timed out"},
	{STT_ERRNO(ECONNREFUSED), "Connection refused"},
	{STT_ERRNO(EHOSTDOWN), "Host is down"},
	{STT_ERRNO(EHOSTUNREACH), "No route to host"},
	{STT_ERRNO(EALREADY), "Operation already in progress"},
	{STT_ERRNO(EINPROGRESS), "Operation now in progress"},
	{STT_ERRNO(ESTALE), "Stale file handle"},
	{STT_ERRNO(EUCLEAN), "Structure needs cleaning"},
	{STT_ERRNO(ENOTNAM), "Not a XENIX named type file"},
	{STT_ERRNO(ENAVAIL), "No XENIX semaphores available"},
	{STT_ERRNO(EISNAM), "Is a named type file"},
	{STT_ERRNO(EREMOTEIO), "Remote I/O error"},
	{STT_ERRNO(EDQUOT), "Disk quota exceeded"},
	{STT_ERRNO(ENOMEDIUM), "No medium found"},
	{STT_ERRNO(EMEDIUMTYPE), "Wrong medium type"},
	{STT_ERRNO(ECANCELED), "Operation canceled"},
	{STT_ERRNO(ENOKEY), "Required key not available"},
	{STT_ERRNO(EKEYEXPIRED), "Key has expired"},
	{STT_ERRNO(EKEYREVOKED), "Key has been revoked"},
	{STT_ERRNO(EKEYREJECTED), "Key was rejected by service"},
	{STT_ERRNO(EOWNERDEAD), "Owner died"},
	{STT_ERRNO(ENOTRECOVERABLE), "State not recoverable"},
	{STT_ERRNO(ERFKILL), "Operation not possible due to RF-kill"},
	{STT_ERRNO(EHWPOISON), "Memory page has hardware error"},
};

#undef STT_ERRNO

/* NULL for what is no errno. */
static inline const struct stt_errno *stt_find_errno(int number)
{
	for (size_t i = 0; i < sizeof(stt_errnos) / sizeof(stt_errnos[0]); i++) {
		if (stt_errnos[i].number == number)
			return &stt_errnos[i];
	}
	return NULL;
}

#endif
