/* choices.h - multiple-choice questions: a JSONL file of {"question", "choices", "answer"} to a
 * data set with an example for each choice, of which only the choice's own tokens are predicted. */
#ifndef GRAFT_HOST_TEXT_CHOICES_H
#define GRAFT_HOST_TEXT_CHOICES_H

#include "text/dataset.h"

typedef struct {
    int64_t first; /* example of its first choice; the others follow */
    int count;
    int answer; /* from 0 */
    int64_t line;
} gf_question;

/* Zero-initialise; free with gf_choices_free. */
typedef struct {
    gf_dataset data;
    gf_question *question;
    int64_t count;
    int64_t *bytes; /* [data.count] of each choice's text */
} gf_choices;

/* Reads a file. A question is asked as the user's turn and a choice is how the answer begins, in
 * the chat template; with GF_DATA_TEXT the choice follows the question behind a space. No end token
 * is predicted, as in the field's harnesses. `choices` are 2 to 26 texts; `answer` is the index
 * from 0, the text of one of them, or its letter. Other keys are let be.
 * GF_EINPUT with file and line: what is no such record, longer than opt->max_length, or a choice
 * without a token of its own. */
gf_status gf_choices_load(gf_choices *c, const char *path, const gf_data_options *opt, gf_err *err);
void gf_choices_free(gf_choices *c);

#endif
