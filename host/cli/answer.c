/* answer.c - stop ids and streamed text. Contract: answer.h. */
#include "cli/answer.h"

#include <string.h>

/* What stands for the assistant's words when a turn's end is looked for: no template changes it. */
#define PROBE "graftprobe"

static void add_stop(gf_stops *stops, int32_t id)
{
    const int most = (int)(sizeof stops->id / sizeof *stops->id);
    for (int i = 0; i < stops->count; i++)
        if (stops->id[i] == id)
            return;
    if (id >= 0 && stops->count < most)
        stops->id[stops->count++] = id;
}

static gf_status probe_messages(cJSON **out, gf_err *err)
{
    static const char text[] = "[{\"role\":\"user\",\"content\":\"x\"},"
                               "{\"role\":\"assistant\",\"content\":\"" PROBE "\"}]";
    return gf_json_parse(out, text, sizeof text - 1, "probe", 1, err);
}

/* The first control token behind the assistant's words. */
static gf_status end_of_turn(int32_t *out, gf_session *s, gf_err *err)
{
    cJSON *messages = NULL;
    gf_buf text = {0};
    gf_tokens ids = {0};
    gf_status st = GF_OK;
    *out = -1;
    TRYG(probe_messages(&messages, err));
    TRYG(gf_session_render(s, messages, NULL, false, &text, &ids, err));
    const char *last = NULL;
    for (const char *p = text.data; p && (p = strstr(p, PROBE)); p += sizeof PROBE - 1)
        last = p;
    for (int64_t i = 0; last && i < ids.count && *out < 0; i++)
        if (ids.start[i] >= last - text.data + (int64_t)sizeof PROBE - 1 &&
            gf_tokenizer_is_special(s->tokenizer, ids.id[i]))
            *out = ids.id[i];
out:
    cJSON_Delete(messages);
    gf_buf_free(&text);
    gf_tokens_free(&ids);
    return st;
}

gf_status gf_stops_find(gf_stops *stops, gf_session *s, bool conversation, gf_err *err)
{
    *stops = (gf_stops){0};
    TRY(gf_session_files(s, err));
    TRY(gf_session_tokenizer(s, true, err));
    for (int i = 0; i < s->files.config.eos_count; i++)
        add_stop(stops, s->files.config.eos[i]);
    add_stop(stops, gf_tokenizer_eos(s->tokenizer));
    if (conversation) {
        int32_t end = -1;
        /* a template that refuses the probe (it wants other roles) only loses this one stop */
        if (end_of_turn(&end, s, NULL) == GF_OK)
            add_stop(stops, end);
    }
    return GF_OK;
}

gf_sampling gf_sampling_of(const gf_options *o)
{
    return (gf_sampling){.temperature = o->temperature,
                         .top_k = o->top_k,
                         .top_p = o->top_p,
                         .seed = (uint64_t)o->seed};
}

/* ---- text as it comes ----------------------------------------------------------------- */

/* U+FFFD at the end stands for bytes of a character that is not complete. */
static bool is_open(const gf_buf *text)
{
    return text->len >= 3 && memcmp(text->data + text->len - 3, "\xEF\xBF\xBD", 3) == 0;
}

/* Prints what ids[shown ..) add to the text of ids[context .. shown): some decoders treat the first
 * token of a text in another way, so that a token is never decoded alone. */
static gf_status show(gf_stream *s, bool all)
{
    gf_buf before = {0}, now = {0};
    gf_status st = GF_OK;
    const int32_t *from = s->ids.id + s->context;
    TRYG(gf_tokenizer_decode(s->tokenizer, from, s->shown - s->context, true, &before, &s->err));
    TRYG(gf_tokenizer_decode(s->tokenizer, from, s->ids.count - s->context, true, &now, &s->err));
    if (now.len <= before.len || (is_open(&now) && !all))
        goto out;
    fwrite(now.data + before.len, 1, now.len - before.len, s->to);
    if (fflush(s->to) != 0 || ferror(s->to)) { /* nobody reads on: the rest need not be made */
        st = gf_fail(&s->err, GF_EIO, "the answer could not be written");
        goto out;
    }
    s->context = s->shown;
    s->shown = s->ids.count;
out:
    gf_buf_free(&before);
    gf_buf_free(&now);
    return st;
}

static gf_status push(gf_tokens *t, int32_t id, gf_err *err)
{
    if (t->count == t->cap) {
        const int64_t cap = t->cap ? 2 * t->cap : 64; /* an answer has tens of tokens */
        int32_t *ids = gf_realloc(t->id, (size_t)cap, sizeof *ids, err);
        if (!ids)
            return GF_ENOMEM;
        t->id = ids;
        t->cap = cap;
    }
    t->id[t->count++] = id;
    return GF_OK;
}

bool gf_stream_add(void *stream, int32_t id)
{
    gf_stream *s = stream;
    /* A vocabulary that is padded for the matrices has ids without text. */
    if (!gf_tokenizer_token(s->tokenizer, id))
        return true;
    s->status = push(&s->ids, id, &s->err);
    if (s->status == GF_OK && s->to)
        s->status = show(s, false);
    return s->status == GF_OK;
}

gf_status gf_stream_finish(gf_stream *s, gf_buf *text, gf_err *err)
{
    if (s->status == GF_OK && s->to && s->ids.count > s->shown)
        s->status = show(s, true);
    if (s->status != GF_OK)
        return gf_fail(err, s->status, "%s", s->err.text);
    return gf_tokenizer_decode(s->tokenizer, s->ids.id, s->ids.count, true, text, err);
}

void gf_stream_free(gf_stream *s)
{
    gf_tokens_free(&s->ids);
}
