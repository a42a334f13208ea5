/* cmd_chat.c - `graft chat`: a conversation, a line of standard input a turn. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/answer.h"
#include "cli/commands.h"

/* Tokens of a conversation that have room, unless the model holds fewer or a single answer may be
 * longer than half of it: some dozen turns, and a cache smaller than the model itself. */
#define CHAT_TOKENS 8192

typedef struct {
    gf_session s;
    gf_stops stops;
    cJSON *messages;
    int32_t *ids, *seen; /* [capacity] */
    int64_t capacity;
    bool terminal;
} chat;

static gf_status add_turn(chat *c, const char *role, const char *content, gf_err *err)
{
    cJSON *turn = cJSON_CreateObject();
    if (turn && cJSON_AddStringToObject(turn, "role", role) &&
        cJSON_AddStringToObject(turn, "content", content) &&
        cJSON_AddItemToArray(c->messages, turn))
        return GF_OK;
    cJSON_Delete(turn);
    return gf_fail(err, GF_ENOMEM, "no memory for the conversation");
}

static void drop_turn(chat *c)
{
    cJSON_DeleteItemFromArray(c->messages, cJSON_GetArraySize(c->messages) - 1);
}

static gf_status open_chat(chat *c, const gf_options *o, gf_err *err)
{
    gf_session_start(&c->s, o);
    TRY(gf_session_files(&c->s, err));
    TRY(gf_session_template(&c->s, true, err));
    TRY(gf_stops_find(&c->stops, &c->s, true, err));
    const int64_t most = c->s.files.config.max_position;
    c->capacity = o->max_new_tokens > CHAT_TOKENS / 2 ? 2 * o->max_new_tokens : CHAT_TOKENS;
    if (most > 0 && c->capacity > most)
        c->capacity = most;
    TRY(gf_session_model(&c->s, GF_USE_GENERATE,
                         c->capacity < GF_PROMPT_PIECE ? c->capacity : GF_PROMPT_PIECE, c->capacity,
                         err));
    c->ids = gf_alloc((size_t)c->capacity, sizeof *c->ids, err);
    c->seen = gf_alloc((size_t)c->capacity, sizeof *c->seen, err);
    c->messages = cJSON_CreateArray();
    return c->ids && c->seen && c->messages ? GF_OK : gf_fail(err, GF_ENOMEM, "no memory");
}

static void close_chat(chat *c)
{
    cJSON_Delete(c->messages);
    free(c->ids);
    free(c->seen);
    gf_session_close(&c->s);
}

/* The conversation as ids in c->ids; *fits is false, and nothing is done, if they are too many. */
static gf_status prompt_ids(chat *c, int64_t *count, bool *fits, gf_err *err)
{
    gf_tokens ids = {0};
    gf_status st = gf_session_render(&c->s, c->messages, NULL, true, NULL, &ids, err);
    *fits = st == GF_OK && ids.count < c->capacity;
    *count = ids.count;
    if (*fits)
        memcpy(c->ids, ids.id, (size_t)ids.count * sizeof *c->ids);
    gf_tokens_free(&ids);
    return st;
}

/* Ctrl-C ends an answer, not the conversation; at the prompt it ends the program as usual. */
static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

static bool emit(void *stream, int32_t id)
{
    return gf_stream_add(stream, id) && !interrupted;
}

static gf_status generate(chat *c, int64_t *count, const gf_generate_options *opt, gf_err *err)
{
    const struct sigaction catch = {.sa_handler = interrupt};
    struct sigaction old;
    interrupted = 0;
    sigaction(SIGINT, &catch, &old);
    const gf_status st = gf_generate(&c->s.model, c->ids, count, opt, err);
    sigaction(SIGINT, &old, NULL);
    return st;
}

static gf_status answer(chat *c, gf_err *err)
{
    gf_stream stream = {.tokenizer = c->s.tokenizer, .to = stdout};
    gf_buf text = {0};
    gf_status st = GF_OK;
    int64_t count;
    bool fits;
    TRYG(prompt_ids(c, &count, &fits, err));
    if (!fits) {
        fprintf(stderr,
                "graft: the conversation has %lld tokens and there is room for %lld: this turn is "
                "forgotten, /reset starts anew\n",
                (long long)count, (long long)c->capacity);
        drop_turn(c);
        goto out;
    }
    const int64_t room = c->capacity - count, wish = c->s.o->max_new_tokens;
    const gf_generate_options opt = {.sampling = gf_sampling_of(c->s.o),
                                     .max_new_tokens = wish < room ? wish : room,
                                     .stop = c->stops.id,
                                     .stops = c->stops.count,
                                     .seen = c->seen,
                                     .emit = emit,
                                     .ctx = &stream};
    TRYG(generate(c, &count, &opt, err));
    TRYG(gf_stream_finish(&stream, &text, err));
    putchar('\n');
    fflush(stdout);
    TRYG(add_turn(c, "assistant", text.data ? text.data : "", err));
out:
    gf_stream_free(&stream);
    gf_buf_free(&text);
    return st;
}

/* One line of input; *go_on is false after /quit. */
static gf_status take_line(chat *c, char *line, size_t size, long number, bool *go_on, gf_err *err)
{
    while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r'))
        line[--size] = '\0';
    if (gf_utf8_valid(line, size) != size || strlen(line) != size)
        return gf_fail(err, GF_EINPUT, "standard input:%ld: this line is not UTF-8 text", number);
    *go_on = strcmp(line, "/quit") != 0;
    if (!*go_on || size == 0)
        return GF_OK;
    if (strcmp(line, "/reset") == 0) {
        while (cJSON_GetArraySize(c->messages) > 0)
            drop_turn(c);
        if (c->terminal)
            fprintf(stderr, "(forgotten)\n");
        return GF_OK;
    }
    TRY(add_turn(c, "user", line, err));
    return answer(c, err);
}

gf_status gf_cmd_chat(const gf_options *o, gf_err *err)
{
    chat c = {.terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO)};
    char *line = NULL;
    size_t cap = 0;
    bool go_on = true;
    gf_status st = GF_OK;
    TRYG(open_chat(&c, o, err));
    if (c.terminal)
        fprintf(stderr,
                "%s; /reset forgets the conversation, /quit ends it, Ctrl-C ends an answer\n",
                o->model);
    for (long number = 1; go_on; number++) {
        if (c.terminal)
            fprintf(stderr, "> ");
        const ssize_t size = getline(&line, &cap, stdin);
        if (size < 0)
            break;
        TRYG(take_line(&c, line, (size_t)size, number, &go_on, err));
    }
    if (ferror(stdin))
        st = gf_fail(err, GF_EINPUT, "standard input cannot be read");
out:
    free(line);
    close_chat(&c);
    return st;
}
