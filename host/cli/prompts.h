/* prompts.h - --sample-prompts: what the model is asked while it is trained. */
#ifndef GRAFT_HOST_CLI_PROMPTS_H
#define GRAFT_HOST_CLI_PROMPTS_H

#include "cli/answer.h"
#include "train/samples.h"

/* Reads --sample-prompts: .json (a conversation, or an array of such) or .jsonl (one a line); in
 * any other file each line that is not empty is a text. A conversation is an array of messages or
 * an object with "messages"; if its last turn is the assistant's, that is the answer to compare
 * with. An object may have "prompt" (a text) instead, and "completion". A text is a user's turn
 * where `chat` (the data are conversations) and completed as it stands otherwise. `stops` gets what
 * ends answers and must outlive *out. Errors (GF_EINPUT) name file and line. */
gf_status gf_prompts_read(gf_prompts *out, gf_stops *stops, gf_session *s, bool chat, gf_err *err);

#endif
