/* SPDX-License-Identifier: MIT */
/* What the loop does with a dialled connection: opens it, runs its tasks, ends it. */
#ifndef STT_CONN_SERVE_DIALLED_H
#define STT_CONN_SERVE_DIALLED_H

struct stt_loop;
struct stt_service;
struct sttcp_conn;

/* As stt_serve_new, without a descriptor; its service is one of dialled connections. */
struct sttcp_conn *stt_serve_new_dialled(struct stt_service *service, struct stt_loop *loop);

#endif
