/* SPDX-License-Identifier: MIT */
/* Dialling. What the arguments mean, and which exception a code is, are Python's. */
#include "conn.h"
#include "module.h"

PyObject *dial(PyObject *module, PyObject *args)
{
	PyObject *host;
	int port;
	PyObject *dictionary;
	PyObject *frame;
	sttcp_options options;
	sttcp_conn *conn;
	char why[400] = "";
	int code;

	(void)module;
	if (!PyArg_ParseTuple(args, "O&iO!O:_dial", PyUnicode_FSConverter, &host, &port,
			      &PyDict_Type, &dictionary, &frame))
		return NULL;
	if (options_read(dictionary, &options) < 0) {
		Py_DECREF(host);
		return NULL;
	}
	options.frame_fn = frame == Py_None ? NULL : frames_ask;
	Py_BEGIN_ALLOW_THREADS
	conn = sttcp_dial(PyBytes_AS_STRING(host), port, &options, &code);
	/* Of this thread. */
	if (!conn)
		snprintf(why, sizeof(why), "%s", sttcp_dial_error());
	Py_END_ALLOW_THREADS
	Py_DECREF(host);
	if (conn) {
		PyObject *made = conn_make_dialled(conn, frame);
		bool is_raw = options.framing == STTCP_FRAMING_RAW;

		if (made) {
			((conn_object *)made)->framing = is_raw ? FRAMING_RAW : FRAMING_MESSAGES;
			((conn_object *)made)->max_message = options.max_message;
		}
		return made;
	}
	return Py_BuildValue("(iN)", code, text_make(why));
}
