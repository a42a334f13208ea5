/* test_ollama_template.c - chat templates in Go's syntax: which are found, what they say, and which
 * are refused. That Go renders them as Jinja does the models': tests/golden/ollama_check.py. */
#include "text/ollama_template.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define LOOP "{% for m in messages %}"
#define DONE "{% endfor %}"
#define ASK(text) "{% if add_generation_prompt %}" text "{% endif %}"

static gf_ollama_template make(const char *jinja, bool adds_bos)
{
    const gf_ollama_tokens tokens = {.bos = "<s>", .eos = "</s>", .adds_bos = adds_bos};
    gf_ollama_template t = {0};
    gf_template *parsed = NULL;
    gf_err err = {0};
    cr_assert_eq(gf_template_parse(&parsed, jinja, strlen(jinja), "test", &err), GF_OK, "%s",
                 err.text);
    cr_assert_eq(gf_ollama_template_make(&t, parsed, &tokens, &err), GF_OK, "%s", err.text);
    gf_template_free(parsed);
    return t;
}

static void expect_stop(const gf_ollama_template *t, const char *want)
{
    cr_expect(t->stop ? want && !strcmp(t->stop, want) : !want, "%s", t->stop ? t->stop : "none");
}

/* The same body for every kind of heads. */
static void expect_heads(const gf_ollama_template *t, const char *start, const char *system,
                         const char *user, const char *assistant, const char *prompt)
{
    static char want[2048];
    snprintf(want, sizeof want,
             "%s{{- range $i, $_ := .Messages }}\n"
             "{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
             "{{- if eq .Role \"system\" }}%s\n{{- else if eq .Role \"user\" }}%s\n"
             "{{- else if eq .Role \"assistant\" }}%s\n{{- end }}\n"
             "{{- if and $last (ne .Role \"assistant\") }}{{ \"%s\" }}{{ end }}\n{{- end }}",
             start, system, user, assistant, prompt);
    cr_expect_str_eq(t->text.data ? t->text.data : t->why, want);
}

Test(ollama_template, chatml_with_and_without_a_system_message_of_its_own)
{
    static const char plain[] =
        LOOP "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}" DONE ASK(
            "{{ '<|im_start|>assistant\n' }}");
    static const char own[] =
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe \"good\".<|im_end|>\n' }}"
        "{% endif %}" LOOP
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}" DONE ASK(
            "{{ '<|im_start|>assistant\n' }}");
    static const char *const parts[] = {
        "{{ \"<|im_start|>system\\n\" }}{{ .Content }}{{ \"<|im_end|>\\n\" }}",
        "{{ \"<|im_start|>user\\n\" }}{{ .Content }}{{ \"<|im_end|>\\n\" }}",
        ("{{ \"<|im_start|>assistant\\n\" }}{{ .Content }}{{ if not $last }}"
         "{{ \"<|im_end|>\\n\" }}{{ end }}")};
    gf_ollama_template t = make(plain, false);
    expect_heads(&t, "", parts[0], parts[1], parts[2], "<|im_start|>assistant\\n");
    expect_stop(&t, "<|im_end|>");
    cr_expect_not(t.strips || t.no_system || t.lacks_bos);
    gf_ollama_template_free(&t);
    t = make(own, true);
    expect_heads(&t,
                 "{{- if not .System }}{{ \"<|im_start|>system\\nBe \\\"good\\\".<|im_end|>\\n\" }}"
                 "{{ end }}\n",
                 parts[0], parts[1], parts[2], "<|im_start|>assistant\\n");
    cr_expect(t.lacks_bos);
    gf_ollama_template_free(&t);
}

/* As Llama 3 (stripped contents, BOS), and Phi (EOS behind all when no answer is asked for). */
Test(ollama_template, bos_eos_and_blanks)
{
    static const char llama[] =
        "{{ bos_token }}" LOOP
        "{{ '<h>' + m.role + '</h>\n\n' + m.content | trim + '<eot>' }}" DONE ASK(
            "{{ '<h>assistant</h>\n\n' }}");
    static const char phi[] = LOOP "{{ '<' + m.role + '>' + m.content + '<end>\n' }}" DONE
                                   "{% if add_generation_prompt %}<assistant>{% else %}"
                                   "{{ eos_token }}{% endif %}";
    gf_ollama_template t = make(llama, true);
    expect_heads(&t, "", "{{ \"<h>system</h>\\n\\n\" }}{{ .Content }}{{ \"<eot>\" }}",
                 "{{ \"<h>user</h>\\n\\n\" }}{{ .Content }}{{ \"<eot>\" }}",
                 "{{ \"<h>assistant</h>\\n\\n\" }}{{ .Content }}{{ if not $last }}{{ \"<eot>\" }}"
                 "{{ end }}",
                 "<h>assistant</h>\\n\\n");
    expect_stop(&t, "<eot>");
    cr_expect(t.strips && !t.lacks_bos);
    gf_ollama_template_free(&t);
    t = make(llama, false); /* then BOS is the template's own */
    cr_expect(t.text.data && strstr(t.text.data, "{{- if not .System }}{{ \"<s>\" }}"), "%s",
              t.why);
    cr_expect(t.text.data && strstr(t.text.data, "{{ \"<s><h>system"));
    gf_ollama_template_free(&t);
    t = make(phi, false);
    expect_heads(&t, "", "{{ \"<system>\" }}{{ .Content }}{{ \"<end>\\n\" }}",
                 "{{ \"<user>\" }}{{ .Content }}{{ \"<end>\\n\" }}",
                 "{{ \"<assistant>\" }}{{ .Content }}{{ if not $last }}{{ \"<end>\\n\" }}{{ end }}",
                 "<assistant>");
    expect_stop(&t, "<end>");
    gf_ollama_template_free(&t);
}

/* As Llama 2 and Gemma (the first turn has the system message), Mistral (the last), Gemma 2 (none).
 */
Test(ollama_template, the_system_message_inside_a_turn)
{
    static const char first[] = "{% set s = '' %}{% if messages[0].role == 'system' %}"
                                "{% set s = '<<SYS>>' + messages[0].content + '<</SYS>>' %}"
                                "{% set messages = messages[1:] %}{% endif %}" LOOP
                                "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (s if "
                                "loop.first else '') + m.content + ' [/INST]' }}"
                                "{% else %}{{ ' ' + m.content + ' </s>' }}{% endif %}" DONE;
    static const char last[] =
        "{{ bos_token }}{% set s = '' %}{% if messages[0].role == 'system' %}"
        "{% set s = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif "
        "%}" LOOP
        "{% if m.role == 'user' %}{{ '[INST]' + (s if loop.last else '') + m.content + '[/INST]' }}"
        "{% else %}{{ m.content + '</s>' }}{% endif %}" DONE;
    static const char never[] =
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" LOOP
        "{{ '<' + ('model' if m.role == 'assistant' else 'user') + '>' + m.content + '<eot>' "
        "}}" DONE ASK("<model>");
    static const char head[] = "{{- $first := true }}\n{{- range $i, $_ := .Messages }}\n"
                               "{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
                               "{{- if eq .Role \"user\" }}{{ if $first }}";
    gf_ollama_template t = make(first, true);
    cr_assert(t.text.data && !strncmp(t.text.data, head, strlen(head)), "%s", t.why);
    cr_expect_str_eq(
        t.text.data + strlen(head),
        "{{ \"[INST] \" }}{{ else }}{{ \" </s><s>[INST] \" }}{{ end }}{{ if and $.System $first }}"
        "{{ \"<<SYS>>\" }}{{ $.System }}{{ \"<</SYS>>\" }}{{ end }}{{ $first = false }}"
        "{{ .Content }}{{ if $last }}{{ \" [/INST]\" }}{{ else }}{{ \" [/INST] \" }}{{ end }}\n"
        "{{- else if eq .Role \"assistant\" }}{{ .Content }}\n{{- end }}\n{{- end }}");
    expect_stop(&t, "</s>");
    gf_ollama_template_free(&t);
    t = make(last, true);
    cr_expect(t.text.data && strstr(t.text.data, "{{ if and $.System $last }}{{ $.System }}"), "%s",
              t.why);
    gf_ollama_template_free(&t);
    t = make(never, false);
    cr_expect(t.no_system && t.text.data &&
                  strstr(t.text.data, "{{ if and $.System $first }}{{ $.System }}{{ \"\\n\\n\" }}"),
              "%s", t.why);
    gf_ollama_template_free(&t);
}

Test(ollama_template, rather_none_than_a_wrong_one)
{
    static const char *const none[] = {
        LOOP "<{{ m.role }}>{{ m.content | upper }}" DONE,
        LOOP "<{{ m.role }} {{ loop.index }}>{{ m.content }}" DONE,
        LOOP "<{{ m.role }}>{{ m.content | replace('\n', ' ') }}" DONE,
        LOOP "<{{ m.role }}>{{ m.content }}<{{ m.content | length }}>" DONE,
        "{{ messages[-1].content }}",
        "{{ raise_exception('no') }}",
        "nothing",
        LOOP "<{{ m.role }}>{{ m.content }}{{ m.content }}" DONE,
        /* the number of turns shows at the end */
        LOOP "<{{ m.role }}>{{ m.content }}" DONE "{{ messages | length }}",
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        gf_ollama_template t = make(none[i], false);
        cr_expect(t.text.len == 0 && t.why[0], "%s: %s", none[i], t.text.data);
        gf_ollama_template_free(&t);
    }
}
