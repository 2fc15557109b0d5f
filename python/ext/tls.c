/* SPDX-License-Identifier: MIT */
/* The type that Python's TLS derives from, and TLS on a connection: the calls, as they are. What
 * they mean in Python - paths, words, exceptions - is Python's. */
#include "conn_methods.h"
#include "dialogue.h"

#include <errno.h>
#include <stddef.h>

struct tls {
	PyObject_HEAD
	sttcp_tls *tls;
	PyObject *weakrefs;
};
typedef struct tls tls_object;

/* A path, which is the object's; NULL for None. */
static int read_path(PyObject *path, const char **bytes)
{
	char *found = NULL;

	if (path != Py_None && PyBytes_AsStringAndSize(path, &found, NULL) < 0)
		return -1;
	*bytes = found;
	return 0;
}

static int check(const tls_object *self)
{
	if (self->tls)
		return 0;
	PyErr_SetString(PyExc_RuntimeError, "__init__() was not called");
	return -1;
}

static int tls_init(tls_object *self, PyObject *args, PyObject *kwargs)
{
	int server_side;
	PyObject *paths[2];
	const char *certificate;
	const char *key;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "pOO:TLSBase", &server_side, &paths[0], &paths[1]) ||
	    read_path(paths[0], &certificate) < 0 || read_path(paths[1], &key) < 0)
		return -1;
	if (self->tls) {
		PyErr_SetString(PyExc_RuntimeError, "it is made already");
		return -1;
	}

	sttcp_tls *made;

	Py_BEGIN_ALLOW_THREADS
	made = server_side ? sttcp_tls_server(certificate, key) : sttcp_tls_client();
	Py_END_ALLOW_THREADS
	/* Another thread may have been here meanwhile. */
	if (self->tls) {
		sttcp_tls_unref(made);
		PyErr_SetString(PyExc_RuntimeError, "it is made already");
		return -1;
	}
	self->tls = made;
	return 0;
}

static void dealloc(tls_object *self)
{
	sttcp_tls *tls = self->tls;

	if (self->weakrefs)
		PyObject_ClearWeakRefs((PyObject *)self);
	Py_TYPE(self)->tp_free((PyObject *)self);
	if (!tls)
		return;
	Py_BEGIN_ALLOW_THREADS
	sttcp_tls_unref(tls);
	Py_END_ALLOW_THREADS
}

int tls_read(PyObject *object, sttcp_tls **tls)
{
	if (!PyObject_TypeCheck(object, &tls_type)) {
		PyErr_Format(PyExc_TypeError, "tls must be a TLS, not %R", object);
		return -1;
	}
	if (check((tls_object *)object) < 0)
		return -1;
	*tls = ((tls_object *)object)->tls;
	return 0;
}

/* ---------------------------------------------------------------- settings */

static PyObject *tls_error(tls_object *self, PyObject *unused)
{
	const char *text;

	(void)unused;
	if (check(self) < 0)
		return NULL;
	/* NULL in a forked child. File names are in it. */
	text = sttcp_tls_error(self->tls);
	return PyUnicode_DecodeFSDefault(text ? text : "");
}

static PyObject *set_pair(tls_object *self, PyObject *args,
			  int (*set)(sttcp_tls *tls, const char *certificate, const char *key))
{
	PyObject *paths[2];
	const char *certificate;
	const char *key;
	int result;

	if (!PyArg_ParseTuple(args, "OO", &paths[0], &paths[1]) || check(self) < 0 ||
	    read_path(paths[0], &certificate) < 0 || read_path(paths[1], &key) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = set(self->tls, certificate, key);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

static PyObject *tls_add_certificate(tls_object *self, PyObject *args)
{
	return set_pair(self, args, sttcp_tls_add_certificate);
}

static PyObject *tls_set_certificate(tls_object *self, PyObject *args)
{
	return set_pair(self, args, sttcp_tls_set_certificate);
}

static PyObject *set_text(tls_object *self, PyObject *bytes,
			  int (*set)(sttcp_tls *tls, const char *text))
{
	const char *text;
	int result;

	if (check(self) < 0 || read_path(bytes, &text) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = set(self->tls, text);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

static PyObject *tls_trust(tls_object *self, PyObject *path)
{
	return set_text(self, path, sttcp_tls_trust);
}

static PyObject *tls_set_alpn(tls_object *self, PyObject *protocols)
{
	return set_text(self, protocols, sttcp_tls_set_alpn);
}

static PyObject *tls_set_ciphers(tls_object *self, PyObject *ciphers)
{
	return set_text(self, ciphers, sttcp_tls_set_ciphers);
}

static PyObject *tls_require_peer(tls_object *self, PyObject *args)
{
	int who;
	int result;

	if (!PyArg_ParseTuple(args, "i:_require_peer", &who) || check(self) < 0)
		return NULL;
	/* Another thread may be reading files. */
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_tls_require_peer(self->tls, (sttcp_tls_peer)who);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

static PyObject *tls_set_versions(tls_object *self, PyObject *args)
{
	int least;
	int most;
	int result;

	if (!PyArg_ParseTuple(args, "ii:_set_versions", &least, &most) || check(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_tls_set_versions(self->tls, least, most);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

static PyObject *tls_reload(tls_object *self, PyObject *unused)
{
	int result;

	(void)unused;
	if (check(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_tls_reload(self->tls);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

static PyMethodDef methods[] = {
	{"_error", (PyCFunction)tls_error, METH_NOARGS, NULL},
	{"_add_certificate", (PyCFunction)tls_add_certificate, METH_VARARGS, NULL},
	{"_set_certificate", (PyCFunction)tls_set_certificate, METH_VARARGS, NULL},
	{"_trust", (PyCFunction)tls_trust, METH_O, NULL},
	{"_require_peer", (PyCFunction)tls_require_peer, METH_VARARGS, NULL},
	{"_set_alpn", (PyCFunction)tls_set_alpn, METH_O, NULL},
	{"_set_versions", (PyCFunction)tls_set_versions, METH_VARARGS, NULL},
	{"_set_ciphers", (PyCFunction)tls_set_ciphers, METH_O, NULL},
	{"_reload", (PyCFunction)tls_reload, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

PyTypeObject tls_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sttcp._sttcp.TLSBase",
	.tp_basicsize = sizeof(tls_object),
	.tp_dealloc = (destructor)dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.tp_doc = "Certificates, trust and settings of TLS.",
	.tp_weaklistoffset = offsetof(tls_object, weakrefs),
	.tp_methods = methods,
	.tp_init = (initproc)tls_init,
	.tp_new = PyType_GenericNew,
};

/* ---------------------------------------------------------------- connections */

PyObject *conn_start_tls(conn_object *self, PyObject *args)
{
	PyObject *object;
	PyObject *name;
	const char *asked;
	sttcp_tls *tls;
	int result;

	if (!PyArg_ParseTuple(args, "OO:_start_tls", &object, &name) ||
	    tls_read(object, &tls) < 0 || read_path(name, &asked) < 0)
		return NULL;
	/* What was read in the clear and lies here is no TLS, whoever asks for that: a handler
	 * would take it for what came encrypted. */
	if (self->dialogue && self->dialogue->rest) {
		PyErr_SetString(PyExc_RuntimeError,
				"start_tls: read what has come before, which is no TLS");
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_conn_start_tls(self->conn, tls, asked);
	Py_END_ALLOW_THREADS
	if (result < 0)
		return PyLong_FromLong(result);
	if (dialogue_has(self))
		return wait_done(Py_None);
	Py_RETURN_NONE;
}

static PyObject *make_bytes(const void *data, size_t size)
{
	if (!data)
		Py_RETURN_NONE;
	return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

PyObject *conn_tls(conn_object *self, void *unused)
{
	sttcp_tls_info info = {0};
	int result;

	(void)unused;
	/* It takes the lock of the output. */
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_conn_tls(self->conn, &info, sizeof(info));
	Py_END_ALLOW_THREADS
	if (result == -ENOENT)
		Py_RETURN_NONE;
	if (result < 0)
		return conn_raise(self->conn, result);
	return PyObject_CallFunction(
		lent.tls_info, "NNNNNNNNN", text_make(info.version), text_make(info.cipher),
		text_make(info.alpn), text_make(info.server_name), text_make(info.peer_subject),
		text_make(info.peer_fingerprint),
		make_bytes(info.peer_certificate, info.peer_certificate_size),
		PyBool_FromLong(info.peer_verified), PyBool_FromLong(info.resumed));
}
