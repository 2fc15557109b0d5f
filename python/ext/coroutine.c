/* SPDX-License-Identifier: MIT */
/* Steps of a coroutine, whoever runs it, and what it is told when it awaits what nobody here knows.
 */
#include "dialogue.h"

#include <string.h>

/* What is left when a coroutine has not yielded. */
static enum came take_returned(PyObject **result)
{
	PyObject *stop;

	if (!PyErr_ExceptionMatches(PyExc_StopIteration))
		return RAISED;
	stop = take_exception();
	*result = PyObject_GetAttrString(stop, "value");
	Py_DECREF(stop);
	return *result ? RETURNED : RAISED;
}

enum came coroutine_send(PyObject *coroutine, PyObject **result)
{
#if PY_VERSION_HEX >= 0x030a0000
	switch (PyIter_Send(coroutine, Py_None, result)) {
	case PYGEN_NEXT:
		return YIELDED;
	case PYGEN_RETURN:
		return RETURNED;
	default:
		return RAISED;
	}
#else
	*result = PyObject_CallMethod(coroutine, "send", "O", Py_None);
	return *result ? YIELDED : take_returned(result);
#endif
}

static const char may_be_awaited[] =
	"a handler may await recv(), recv_exactly(), recv_message(), next_size(), sendall() and "
	"send_message() of its connection and of those that it dials, sttcp.sleep(), sttcp.dial(), "
	"and coroutines that do";

enum came coroutine_refuse(PyObject *coroutine, PyObject *yielded, PyObject **result)
{
	PyObject *error = PyObject_CallFunction(
		PyExc_TypeError, "N", PyUnicode_FromFormat("%s, not %R", may_be_awaited, yielded));

	Py_DECREF(yielded);
	if (!error)
		return RAISED;
	*result = PyObject_CallMethod(coroutine, "throw", "O", error);
	Py_DECREF(error);
	return *result ? YIELDED : take_returned(result);
}

/* What asyncio says, which has no loop here. */
static bool is_of_asyncio(const char *text)
{
	static const char *const texts[] = {
		"no running event loop",
		"There is no current event loop",
		"'NoneType' object has no attribute 'create_future'",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strncmp(text, texts[i], strlen(texts[i])) == 0)
			return true;
	return false;
}

void coroutine_explain(void)
{
	if (!PyErr_ExceptionMatches(PyExc_RuntimeError) &&
	    !PyErr_ExceptionMatches(PyExc_AttributeError))
		return;

	PyObject *cause = take_exception();
	PyObject *text = PyObject_Str(cause);
	const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;

	if (utf8 && is_of_asyncio(utf8)) {
		PyErr_SetString(PyExc_TypeError, may_be_awaited);

		PyObject *error = take_exception();

		PyException_SetCause(error, cause);
		PyErr_SetObject((PyObject *)Py_TYPE(error), error);
		Py_DECREF(error);
	} else {
		PyErr_Clear();
		PyErr_SetObject((PyObject *)Py_TYPE(cause), cause);
		Py_DECREF(cause);
	}
	Py_XDECREF(text);
}
