#include "text/ollama_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longest conversation looked at: system, user, assistant, user, assistant, user. */
enum { TURNS = 6 };

/* Contents of the turns. The marks are found again in the rendering; the others have what a
 * template might change. */
static const char *const marks[TURNS] = {"Zq1x", "Zq2x", "Zq3x", "Zq4x", "Zq5x", "Zq6x"};
static const char *const plain[TURNS] = {"line one\nline  two\n\n# three",
                                         "\"quoted\" {{ .Role }} {% if %}",
                                         "caf\xC3\xA9 \xE4\xB8\x96",
                                         "<b>5 > 4 & 3</b>",
                                         "a\tb\\n",
                                         "'x' </s"};
static const char *const edges[TURNS] = {"  in ", "\nlines\n", " a", "b ", "\tc", "d\n\n"};

/* Roles by letter. */
static const char *role_of(char c)
{
    return c == 's' ? "system" : c == 'u' ? "user" : "assistant";
}

/* What was found, as the texts between the contents. */
typedef struct {
    bool heads; /* each message has its head and foot; else the system's stands in a turn */
    bool system_in_last;       /* in the last user's turn, not in the first's */
    char *start;               /* before the first head if there is no system message */
    char *system, *system_end; /* around the system's content */
    char *user;                /* before a user's content; in the second form before the first's */
    char *user_end;            /* behind it, if an assistant's follows */
    char *later;               /* second form: from an assistant's content to the next user's */
    char *assistant;           /* first form: its head */
    char *end;                 /* behind an assistant's content */
    char *prompt; /* from the last user's content on, or (first form) behind its foot */
} slots;

typedef struct {
    const gf_template *jinja;
    const gf_ollama_tokens *tokens;
    slots s;
    gf_ollama_template *out;
    gf_err *err;
} work;

static void free_slots(slots *s)
{
    char *const all[] = {s->start, s->system,    s->system_end, s->user,  s->user_end,
                         s->later, s->assistant, s->end,        s->prompt};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* ---- rendering ------------------------------------------------------------------------ */

static cJSON *conversation(const char *roles, const char *const content[TURNS])
{
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; list && roles[i]; i++) {
        cJSON *message = cJSON_CreateObject();
        if (!message || !cJSON_AddStringToObject(message, "role", role_of(roles[i])) ||
            !cJSON_AddStringToObject(message, "content", content[i]) ||
            !cJSON_AddItemToArray(list, message)) {
            cJSON_Delete(message);
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

/* *text NULL: the template raises on such a conversation. */
static gf_status render(const work *w, const char *roles, const char *const content[TURNS],
                        bool prompt, char **text)
{
    gf_err raised = {0};
    gf_buf b = {0};
    *text = NULL;
    cJSON *list = conversation(roles, content);
    if (!list)
        return gf_fail(w->err, GF_ENOMEM, "out of memory");
    const gf_template_vars vars = {.messages = list,
                                   .bos_token = w->tokens->bos,
                                   .eos_token = w->tokens->eos,
                                   .pad_token = w->tokens->pad,
                                   .unk_token = w->tokens->unk,
                                   .add_generation_prompt = prompt};
    const gf_status st = gf_template_render(w->jinja, &vars, &b, &raised);
    cJSON_Delete(list);
    if (st == GF_OK)
        *text = gf_strndup(b.data ? b.data : "", b.len, w->err);
    gf_buf_free(&b);
    if (st == GF_ENOMEM || (st == GF_OK && !*text))
        return gf_fail(w->err, GF_ENOMEM, "out of memory");
    return GF_OK;
}

/* ---- finding the texts ---------------------------------------------------------------- */

static gf_status none(const work *w, const char *why)
{
    if (!w->out->why[0])
        snprintf(w->out->why, sizeof w->out->why, "%s", why);
    return GF_OK;
}

/* Splits a rendering of marks into parts[0] mark parts[1] ... parts[turns]; false if a mark is not
 * there once, in its place. Cuts `text`. */
static bool split(char *text, int turns, char **parts)
{
    for (int i = 0; i < turns; i++) {
        char *at = strstr(text, marks[i]);
        if (!at || strstr(at + 1, marks[i]))
            return false;
        parts[i] = text;
        *at = '\0';
        text = at + strlen(marks[i]);
    }
    parts[turns] = text;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool ends_with(const char *text, const char *tail)
{
    const size_t n = strlen(text), m = strlen(tail);
    return n >= m && !strcmp(text + n - m, tail);
}

/* What is left of `text` without `tail` at its end, or without `head` at its start; NULL: it is not
 * there. */
static char *before(const char *text, const char *tail, gf_err *err)
{
    return ends_with(text, tail) ? gf_strndup(text, strlen(text) - strlen(tail), err) : NULL;
}

static char *behind(const char *text, const char *head, gf_err *err)
{
    const size_t m = strlen(head);
    return !strncmp(text, head, m) ? gf_strdup(text + m, err) : NULL;
}

typedef struct {
    char *text[4];          /* the renderings that the parts lie in */
    char *one[2], *foot[2]; /* "u" with and without a prompt */
    char *three[4];         /* "uau" */
    char *answer[3];        /* "ua" without a prompt */
    char *system[3];        /* "su"; [0] NULL: there is no place for a system message */
} parts;

static gf_status find_parts(work *w, parts *p, bool *found)
{
    static const struct {
        const char *roles;
        bool prompt;
    } ask[] = {{"u", true}, {"u", false}, {"uau", true}, {"ua", false}};
    char **const into[] = {p->one, p->foot, p->three, p->answer};
    *found = true;
    for (int i = 0; i < 4 && *found; i++) {
        char *cut[TURNS + 1];
        const int turns = (int)strlen(ask[i].roles);
        TRY(render(w, ask[i].roles, marks, ask[i].prompt, &p->text[i]));
        *found = p->text[i] && split(p->text[i], turns, cut);
        if (*found)
            memcpy(into[i], cut, ((size_t)turns + 1) * sizeof *cut);
    }
    return GF_OK;
}

/* Some templates put EOS behind the whole where no answer is asked for: it is no part of the turn.
 */
static void drop_eos(const work *w, char *tail, const char *as_inside)
{
    const char *eos = w->tokens->eos;
    const size_t n = strlen(tail), m = eos ? strlen(eos) : 0;
    const bool inside = !strncmp(as_inside, tail, n);
    if (!inside && m && n >= m && !strcmp(tail + n - m, eos))
        tail[n - m] = '\0';
}

/* BOS is the runtime's business where it puts one first. */
static void drop_bos(work *w, parts *p)
{
    const char *bos = w->tokens->bos;
    const size_t n = w->tokens->adds_bos && bos ? strlen(bos) : 0;
    w->out->lacks_bos = n && strncmp(p->one[0], bos, n);
    if (!n || w->out->lacks_bos)
        return;
    p->one[0] += n;
    p->foot[0] += n;
    p->three[0] += n;
    p->answer[0] += n;
    if (p->system[0] && !strncmp(p->system[0], bos, n))
        p->system[0] += n;
}

/* Each message between a head and a foot of its role. */
static bool find_heads(work *w, const parts *p)
{
    slots *s = &w->s;
    size_t end = strlen(p->answer[2]);
    const char *later = p->three[2]; /* an answer's foot and the next question's head */
    if (strncmp(later, p->answer[2], end) != 0)
        return false;
    while (is_blank(later[end]) && !ends_with(p->one[0], later + end))
        end++; /* blanks that some leave out behind the very last answer */
    s->end = gf_strndup(later, end, w->err);
    s->user_end = gf_strdup(p->foot[1], w->err);
    s->user = gf_strdup(later + end, w->err);
    if (!s->end || !s->user_end || !s->user)
        return false;
    s->start = before(p->one[0], s->user, w->err);
    s->assistant = behind(p->three[1], s->user_end, w->err);
    s->prompt = behind(p->one[1], s->user_end, w->err);
    s->system = gf_strdup(p->system[0] ? p->system[0] : "", w->err);
    s->system_end = p->system[0] ? before(p->system[1], s->user, w->err) : NULL;
    s->heads = true;
    return s->start && s->assistant && s->prompt && s->system && s->system_end;
}

/* The system message inside a user's turn. */
static bool find_turns(work *w, const parts *p)
{
    slots *s = &w->s;
    s->heads = false;
    s->user = gf_strdup(p->one[0], w->err);
    s->user_end = gf_strdup(p->three[1], w->err);
    s->later = gf_strdup(p->three[2], w->err);
    s->prompt = gf_strdup(p->one[1], w->err);
    s->system = p->system[0] ? behind(p->system[0], p->one[0], w->err) : gf_strdup("", w->err);
    s->system_end = gf_strdup(p->system[0] ? p->system[1] : "\n\n", w->err);
    w->out->no_system = !p->system[0];
    return s->user && s->user_end && s->later && s->prompt && s->system && s->system_end;
}

/* ---- the template --------------------------------------------------------------------- */

/* What the Go template below gives, without the empty string that Ollama makes of nothing. */
static gf_status simulate(const work *w, const char *roles, const char *const content[TURNS],
                          gf_buf *b)
{
    const slots *s = &w->s;
    gf_err *err = w->err;
    const bool system = roles[0] == 's';
    const int count = (int)strlen(roles);
    if (s->heads && !system)
        TRY(gf_buf_str(b, s->start, err));
    for (int i = 0; i < count; i++) {
        const bool last = i == count - 1, first = i == (system ? 1 : 0);
        const bool user = roles[i] == 'u';
        if (s->heads) {
            TRY(gf_buf_str(b, roles[i] == 's' ? s->system : user ? s->user : s->assistant, err));
            TRY(gf_buf_str(b, content[i], err));
            TRY(gf_buf_str(b, roles[i] == 's' ? s->system_end : user ? s->user_end : s->end, err));
            TRY(gf_buf_str(b, last ? s->prompt : "", err));
        } else if (user) {
            TRY(gf_buf_str(b, first ? s->user : s->later, err));
            if (system && (s->system_in_last ? last : first)) {
                TRY(gf_buf_str(b, s->system, err));
                TRY(gf_buf_str(b, content[0], err));
                TRY(gf_buf_str(b, s->system_end, err));
            }
            TRY(gf_buf_str(b, content[i], err));
            TRY(gf_buf_str(b, last ? s->prompt : s->user_end, err));
        } else if (roles[i] == 'a') {
            TRY(gf_buf_str(b, content[i], err));
        }
    }
    return GF_OK;
}

static bool same_but_blanks(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (is_blank(*a))
            a++;
        while (is_blank(*b))
            b++;
        if (*a != *b || !*a)
            return *a == *b;
    }
}

/* Is it the model's rendering of every conversation of these contents, at least but for blanks? */
static gf_status agrees(const work *w, const char *const content[TURNS], bool blanks, bool *same)
{
    static const char *const all[] = {"u", "uau", "uauau", "su", "suau", "suauau"};
    const gf_ollama_tokens *t = w->tokens;
    const size_t skip = t->adds_bos && t->bos && !w->out->lacks_bos ? strlen(t->bos) : 0;
    *same = true;
    for (int i = 0; i < 6 && *same && !(all[i][0] == 's' && w->out->no_system); i++) {
        gf_buf mine = {0};
        char *theirs = NULL;
        gf_status st = render(w, all[i], content, true, &theirs);
        if (st == GF_OK)
            st = simulate(w, all[i], content, &mine);
        const char *text = mine.data ? mine.data : "";
        *same = st == GF_OK && theirs && strlen(theirs) >= skip &&
                (blanks ? !strcmp(theirs + skip, text) : same_but_blanks(theirs + skip, text));
        free(theirs);
        gf_buf_free(&mine);
        TRY(st);
    }
    return GF_OK;
}

static gf_status check(work *w, bool *good)
{
    bool same = false;
    TRY(agrees(w, marks, true, good));
    if (*good)
        TRY(agrees(w, plain, true, good));
    if (!*good)
        return GF_OK;
    TRY(agrees(w, edges, true, &same));
    w->out->strips = !same;
    return same ? GF_OK : agrees(w, edges, false, good);
}

/* {{ "text" }}, or nothing: a literal of its own would be eaten by the trimming around it. */
static gf_status add(gf_buf *b, const char *text, gf_err *err)
{
    if (!*text)
        return GF_OK;
    TRY(gf_buf_str(b, "{{ \"", err));
    for (const char *p = text; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            TRY(gf_buf_printf(b, err, "\\%c", c));
        else if (c == '\n')
            TRY(gf_buf_str(b, "\\n", err));
        else if (c < 0x20 || c == 0x7F)
            TRY(gf_buf_printf(b, err, "\\x%02x", c));
        else
            TRY(gf_buf_add(b, p, 1, err));
    }
    return gf_buf_str(b, "\" }}", err);
}

/* The same with text before and behind it; nothing at all for an empty one. */
static gf_status add_if(gf_buf *b, const char *open, const char *text, gf_err *err)
{
    if (!*text)
        return GF_OK;
    TRY(gf_buf_str(b, open, err));
    TRY(add(b, text, err));
    return gf_buf_str(b, "{{ end }}", err);
}

static gf_status add_message(gf_buf *b, const char *open, const char *head, gf_err *err)
{
    TRY(gf_buf_str(b, open, err));
    TRY(add(b, head, err));
    return gf_buf_str(b, "{{ .Content }}", err);
}

static gf_status write_heads(const slots *s, gf_buf *b, gf_err *err)
{
    TRY(add_if(b, "{{- if not .System }}", s->start, err));
    TRY(gf_buf_str(b, *s->start ? "\n" : "", err));
    TRY(gf_buf_str(b,
                   "{{- range $i, $_ := .Messages }}\n"
                   "{{- $last := eq (len (slice $.Messages $i)) 1 }}",
                   err));
    TRY(add_message(b, "\n{{- if eq .Role \"system\" }}", s->system, err));
    TRY(add(b, s->system_end, err));
    TRY(add_message(b, "\n{{- else if eq .Role \"user\" }}", s->user, err));
    TRY(add(b, s->user_end, err));
    TRY(add_message(b, "\n{{- else if eq .Role \"assistant\" }}", s->assistant, err));
    TRY(add_if(b, "{{ if not $last }}", s->end, err));
    TRY(gf_buf_str(b, "\n{{- end }}", err));
    TRY(add_if(b, "\n{{- if and $last (ne .Role \"assistant\") }}", s->prompt, err));
    return gf_buf_str(b, "\n{{- end }}", err);
}

static gf_status write_turns(const slots *s, gf_buf *b, gf_err *err)
{
    TRY(gf_buf_str(b,
                   "{{- $first := true }}\n{{- range $i, $_ := .Messages }}\n"
                   "{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
                   "{{- if eq .Role \"user\" }}{{ if $first }}",
                   err));
    TRY(add(b, s->user, err));
    TRY(gf_buf_str(b, "{{ else }}", err));
    TRY(add(b, s->later, err));
    TRY(gf_buf_printf(b, err, "{{ end }}{{ if and $.System %s }}",
                      s->system_in_last ? "$last" : "$first"));
    TRY(add(b, s->system, err));
    TRY(gf_buf_str(b, "{{ $.System }}", err));
    TRY(add(b, s->system_end, err));
    TRY(gf_buf_str(b, "{{ end }}{{ $first = false }}{{ .Content }}{{ if $last }}", err));
    TRY(add(b, s->prompt, err));
    TRY(gf_buf_str(b, "{{ else }}", err));
    TRY(add(b, s->user_end, err));
    return gf_buf_str(b,
                      "{{ end }}\n{{- else if eq .Role \"assistant\" }}{{ .Content }}\n"
                      "{{- end }}\n{{- end }}",
                      err);
}

/* The end of an assistant's turn without the blanks around it. */
static gf_status find_stop(work *w, const char *end)
{
    const size_t skip = strspn(end, " \t\r\n"), n = strcspn(end + skip, " \t\r\n");
    if (n == 0)
        return GF_OK;
    w->out->stop = gf_strndup(end + skip, n, w->err);
    return w->out->stop ? GF_OK : GF_ENOMEM;
}

/* Which of the forms it has, if any. */
static gf_status find_form(work *w, const parts *p, bool *good)
{
    *good = p->system[0] && find_heads(w, p);
    if (*good)
        TRY(check(w, good));
    for (int last = 0; last < 2 && !*good; last++) {
        free_slots(&w->s);
        w->s = (slots){.system_in_last = last};
        w->out->strips = false;
        *good = find_turns(w, p);
        if (*good)
            TRY(check(w, good));
    }
    return GF_OK;
}

static gf_status make(work *w, parts *p)
{
    bool good = false;
    char *system = NULL;
    TRY(find_parts(w, p, &good));
    if (!good)
        return none(w, "the model's chat template does not render plain turns one after another");
    drop_eos(w, p->foot[1], p->one[1]);
    drop_eos(w, p->answer[2], p->three[2]);
    gf_status st = render(w, "su", marks, true, &system);
    if (st == GF_OK && (!system || !split(system, 2, p->system)))
        p->system[0] = NULL;
    drop_bos(w, p);
    if (st == GF_OK)
        st = find_form(w, p, &good);
    if (st == GF_OK && !good)
        st = none(w, "the model's chat template has none of the forms that graft writes in Go's");
    else if (st == GF_OK)
        st = w->s.heads ? write_heads(&w->s, &w->out->text, w->err)
                        : write_turns(&w->s, &w->out->text, w->err);
    if (st == GF_OK)
        st = find_stop(w, p->answer[2]);
    free(system);
    return st;
}

gf_status gf_ollama_template_make(gf_ollama_template *out, const gf_template *jinja,
                                  const gf_ollama_tokens *tokens, gf_err *err)
{
    work w = {.jinja = jinja, .tokens = tokens, .out = out, .err = err};
    parts p = {0};
    const gf_status st = make(&w, &p);
    for (size_t i = 0; i < sizeof p.text / sizeof *p.text; i++)
        free(p.text[i]);
    free_slots(&w.s);
    return st;
}

void gf_ollama_template_free(gf_ollama_template *t)
{
    gf_buf_free(&t->text);
    free(t->stop);
    *t = (gf_ollama_template){0};
}
