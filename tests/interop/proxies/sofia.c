/* A server on Sofia-SIP, the stack of FreeSWITCH and drachtio: it answers each call at once, without media, or lets it
   ring until it is cancelled. Arguments: the URI that it binds, `answer` or `ring`. It says `up` when it can be called. */
typedef void magic_t;
#define NUA_MAGIC_T magic_t
#include <sofia-sip/nua.h>
#include <sofia-sip/sip_status.h>
#include <stdio.h>
#include <string.h>

static int rings;

static const char *answer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                            "m=audio 40000 RTP/AVP 0\r\n";

static void on_event(nua_event_t event, int status, const char *phrase, nua_t *nua, magic_t *magic,
                     nua_handle_t *call, nua_hmagic_t *call_magic, const sip_t *sip, tagi_t tags[]) {
	(void)status, (void)phrase, (void)nua, (void)magic, (void)call_magic, (void)sip, (void)tags;
	if (event == nua_i_invite && rings)
		nua_respond(call, SIP_180_RINGING, TAG_END());
	else if (event == nua_i_invite)
		nua_respond(call, SIP_200_OK, SIPTAG_CONTENT_TYPE_STR("application/sdp"), SIPTAG_PAYLOAD_STR(answer),
		            NUTAG_MEDIA_ENABLE(0), TAG_END());
	else if (event == nua_i_terminated)
		nua_handle_destroy(call);
}

int main(int count, char **words) {
	if (count != 3 || su_init() != 0)
		return 2;
	rings = strcmp(words[2], "ring") == 0;
	su_root_t *root = su_root_create(NULL);
	nua_t *nua = nua_create(root, on_event, NULL, NUTAG_URL(words[1]), NUTAG_MEDIA_ENABLE(0), NUTAG_AUTOANSWER(0),
	                        NUTAG_ALLOW("INVITE, ACK, BYE, CANCEL, OPTIONS"), TAG_END());
	if (nua == NULL)
		return 1;
	puts("up");
	fflush(stdout);
	su_root_run(root);
	return 0;
}
