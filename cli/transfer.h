/* SPDX-License-Identifier: MIT */
/*
 * What send and receive agree on. Either may have nc as its peer, which knows
 * nothing of this, so the receiver speaks first, and only to a peer that says
 * nothing: nc sends its bytes at once.
 *
 *	receiver: "sttcp-receive 1 OFFSET SHA256\n"	OFFSET bytes are there already, with
 *							this hash; "0 -" for none
 *	sender:	  "sttcp-send 1 SIZE FROM NAME\n"	SIZE is -1 where it is not known; the
 *							bytes begin at FROM: OFFSET, or 0;
 *							NAME is for people, with its control
 *							characters escaped
 *		  a length of four bytes (big-endian), and so many bytes; again and again
 *		  a length of 0, and "SHA256\n" of the whole file; or a length of
 *		  0xffffffff, and why there will be no more, "TEXT\n"
 *	receiver: "ok\n", or why not, "TEXT\n"
 *
 * A sender to whom nobody says the first line sends the bytes as they are.
 */
#ifndef CLI_TRANSFER_H
#define CLI_TRANSFER_H

#define TRANSFER_RECEIVES "sttcp-receive 1 "
#define TRANSFER_SENDS "sttcp-send 1 "

enum {
	TRANSFER_CHUNK = 256 * 1024, /* as the sender makes them; a receiver takes any */
	TRANSFER_LINE = 1024,	     /* the longest line, with its newline */
};

#define TRANSFER_FAILED 0xffffffffu

#endif
