/* SPDX-License-Identifier: MIT */
/* Flags of sends and reads, which stand where socket.socket has them: most are refused. */
#include "conn_methods.h"

#include <sys/socket.h>

bool flags_are_kept(int flags, int kept, const char *name)
{
	if (!(flags & ~kept))
		return true;
	PyErr_Format(PyExc_ValueError,
		     kept ? "%s() takes no flags but MSG_NOSIGNAL and MSG_MORE, not %d: try_send() "
			    "does not wait"
			  : "%s() takes no flags, not %d: settimeout(0) does not wait, "
			    "recv_exactly() waits for all, next_size() takes nothing",
		     name, flags);
	return false;
}

PyObject *flags_first_of(PyObject *const *args, Py_ssize_t nargs, int kept, const char *name)
{
	if (nargs == 2) {
		PyObject *given = PyNumber_Index(args[1]);
		long flags = given ? PyLong_AsLong(given) : -1;

		Py_XDECREF(given);
		if (flags == -1 && PyErr_Occurred())
			return NULL;
		if (flags != (int)flags) {
			PyErr_SetString(PyExc_OverflowError, "flags are too large");
			return NULL;
		}
		return flags_are_kept((int)flags, kept, name) ? args[0] : NULL;
	}
	if (nargs == 1)
		return args[0];
	PyErr_Format(PyExc_TypeError, "%s() takes 1 or 2 arguments (%zd given)", name, nargs);
	return NULL;
}
