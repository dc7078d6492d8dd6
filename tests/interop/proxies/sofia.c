/* A server on Sofia-SIP, the stack of FreeSWITCH and drachtio, without media: the user part of a request-URI says what
   becomes of the call. Argument: the URI that it binds. It says `up` when it can be called. */
typedef void magic_t;
#define NUA_MAGIC_T magic_t
#include <sofia-sip/nua.h>
#include <sofia-sip/sip_status.h>
#include <stdio.h>
#include <string.h>

#define WITH_SDP                                                                                                       \
	SIPTAG_CONTENT_TYPE_STR("application/sdp"), SIPTAG_PAYLOAD_STR(described), NUTAG_MEDIA_ENABLE(0), TAG_END()

static const char *described = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                               "m=audio 40000 RTP/AVP 0\r\n";

/* What a call is bound to whose server sends the re-INVITE and hangs up. */
static int turns;

static void on_invite(nua_handle_t *call, const sip_t *sip) {
	const char *user = sip->sip_request->rq_url->url_user;
	if (user == NULL || sip->sip_to->a_tag != NULL)
		user = "";
	if (strcmp(user, "busy") == 0) {
		nua_respond(call, SIP_486_BUSY_HERE, TAG_END());
	} else if (strcmp(user, "ring") == 0) {
		nua_respond(call, SIP_180_RINGING, TAG_END());
	} else if (strcmp(user, "prack") == 0) {
		nua_respond(call, SIP_183_SESSION_PROGRESS, SIPTAG_REQUIRE_STR("100rel"), WITH_SDP);
	} else {
		if (strcmp(user, "turn") == 0)
			nua_handle_bind(call, (nua_hmagic_t *)&turns);
		else if (strcmp(user, "answer") == 0)
			nua_respond(call, SIP_180_RINGING, TAG_END());
		nua_respond(call, SIP_200_OK, WITH_SDP);
	}
}

static void on_event(nua_event_t event, int status, const char *phrase, nua_t *nua, magic_t *magic,
                     nua_handle_t *call, nua_hmagic_t *call_magic, const sip_t *sip, tagi_t tags[]) {
	(void)phrase, (void)nua, (void)magic, (void)tags;
	if (event == nua_i_invite)
		on_invite(call, sip);
	else if (event == nua_i_prack)
		nua_respond(call, SIP_200_OK, WITH_SDP);
	else if (event == nua_i_ack && call_magic == (nua_hmagic_t *)&turns)
		nua_invite(call, WITH_SDP);
	else if (event == nua_r_invite && status == 200)
		nua_bye(call, TAG_END());
	else if (event == nua_i_terminated)
		nua_handle_destroy(call);
}

int main(int count, char **words) {
	if (count != 2 || su_init() != 0)
		return 2;
	su_root_t *root = su_root_create(NULL);
	nua_t *nua = nua_create(root, on_event, NULL, NUTAG_URL(words[1]), NUTAG_MEDIA_ENABLE(0), NUTAG_AUTOANSWER(0),
	                        NUTAG_ALLOW("INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK"), TAG_END());
	if (nua == NULL)
		return 1;
	puts("up");
	fflush(stdout);
	su_root_run(root);
	return 0;
}
