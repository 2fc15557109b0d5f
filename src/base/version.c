/* SPDX-License-Identifier: MIT */
/*
 * Names of what the public header numbers: the version and the events. Nothing
 * here has state: any thread, at any time.
 */
#include "sttcp.h"

/* Two steps, so that the arguments are replaced by their numbers before they become text. */
#define JOIN(major, minor, patch) #major "." #minor "." #patch
#define VERSION(major, minor, patch) JOIN(major, minor, patch)

const char *sttcp_version(void)
{
	return VERSION(STTCP_VERSION_MAJOR, STTCP_VERSION_MINOR, STTCP_VERSION_PATCH);
}

/* No default in the switch: the compiler tells when an event is missing. */
const char *sttcp_event_name(sttcp_event event)
{
	switch (event) {
	case STTCP_CONNECTION:
		return "connection";
	case STTCP_RECEIVE:
		return "receive";
	case STTCP_RESPONSE:
		return "response";
	case STTCP_END:
		return "end";
	case STTCP_DISCONNECTION:
		return "disconnection";
	case STTCP_UNCONNECTED:
		return "unconnected";
	}
	return "unknown";
}
