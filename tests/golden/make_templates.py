#!/usr/bin/env python3
"""Writes templates.json: small templates and what Jinja2 makes of them.

    python3 make_templates.py        (Jinja2 3.1.6; the versions used stand in the file)

The environment is that of chat templates (FORMATS 3.11): sandboxed, trim_blocks, lstrip_blocks,
loop controls, the generation block, tojson as json.dumps, raise_exception, strftime_now in UTC at
SOURCE_DATE_EPOCH 1768435200.
"""
import datetime
import json
import os

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def strftime_now(fmt):
    return datetime.datetime.fromtimestamp(1768435200, datetime.timezone.utc).strftime(fmt)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                    extensions=[Generation, "jinja2.ext.loopcontrols"])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = strftime_now

VARS = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi there, naïve 日本!", "n": 3},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\n Yes. ", "tool_calls": None},
        {"role": "user", "content": "It's \"ok\"\n"},
    ],
    "tools": [{"type": "function", "function": {
        "name": "add", "parameters": {"type": "object", "properties": {
            "a": {"type": "number", "default": 1.5}, "b": {"type": "number"}},
            "required": ["a", "b"]}}}],
    "n": 7, "f": 2.5, "big": 9007199254740993, "neg": -3, "zero": 0, "yes": True, "no": False,
    "nothing": None, "word": "hello World", "empty": "", "items": [3, 1, 2], "names": ["b", "A", "c", "a"],
    "d": {"z": 1, "a": [1, 2.0, None, True, "x'y"], "M": {"k": "v"}},
    "uni": "ÀÉ straße ΑΩ", "lines": "one\ntwo\n\nthree", "html": "<a href='x'>\"&\"</a>",
    "enable_thinking": False,
}

WHITESPACE = [
    "a\n  {% if yes %}\n  b\n  {% endif %}\nc\n", "  {{ n }}\n\n", "x {%- if yes %} y {% endif -%} \n z",
    "a\n   {%+ if yes %}b{% endif %}\n", "{# c #}\nx\n  {# d #}\n  y", "{#- c -#}\n x", "a\n\t{# x #} b\n",
    "{% raw %}{{ x }}{% endraw %}\n!", "a\n  {% raw -%}\n  {{ y }}\n  {%- endraw %}\n  b", "{{ '{{' }}",
    "a\r\nb\rc\n\n", "{{- n -}} {{ n }} {{- n }}", "  {% set x = 1 %}  \n{{ x }}", "{% if yes -%}\n  a\n{%- endif %}",
    "line1\n{% for i in items %}\n{{ i }}\n{% endfor %}\nend", "a {{+ n }} b", "{% if yes +%}\nq{% endif %}",
    "\u00a0{%- if yes %}x{% endif %}", "x{% set a = 1 +%}\n\ny", "no tags at all\n\n", "\n", "", "{ { } % }",
    "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {}|length }}{{ [] }}", "{#- multi\nline -#}\n\n  t",
]

EXPRESSIONS = """
1 + 2 * 3 ** 2
2 ** 3 ** 2
-2 ** 2
7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 % -3, -7 // -2
7 / 2, 6 / 3, 7.5 // 2, -7.5 % 2, 5.5 % -2
1 < 2 < 3, 1 < 3 < 2, 3 > 2 >= 2 == 2
1 == 1.0, 1 == true, 'a' == 'a', [1] == [1.0], (1,) == [1], {'a': 1} == {'a': 1.0}
'a' < 'b', 'Z' < 'a', 'é' > 'z', [1, 2] < [1, 3], (1,) < (1, 0)
not yes, not not yes, not 0 == 1
yes and n, no and n, no or n, empty or 'x', nothing or 0
n if yes else 0, n if no, (n if no else 'e')
'a' ~ 1 ~ none ~ true ~ 1.0 ~ undefinedname
'ab' * 3, 2 * 'x', [1] * 3, 'x' * 0, 'x' * -1
[1] + [2], (1,) + (2,), 'a' 'b' "c"
1 in items, 9 in items, 'ell' in word, 'q' not in word, 'z' in d, 1 in {1: 2}, 'a' in undefinedname
items[0], items[-1], items[5], word[1], word[-1], word[99]
word[1:4], word[:-2], word[::-1], word[::2], word[-3:], word[4:1], word[10:0:-3], word[20:], word[:-20]
items[1:], items[::-1], items[:-1], items[5:], (1,2,3)[1:], items[0:9:2], items[-1:-9:-2]
uni[0], uni[3:9], uni|length, uni[::-1]
d.z, d['z'], d.M.k, d['M']['k'], d.missing, d.a[1]
1.0, 0.1 + 0.2, 1e16, 1e15, 1e-4, 1e-5, 123456789.123, 1.5e300, 100.0, 2.0 ** 0.5, 1e22, -0.0, 5e-324
none, true, false, None, True, False
[1, 'a', none, true, 1.0], (1,), (), {'a': 1, 2: 'b', none: [ ]}
'it\\'s', "q\\"q", 'a\\nb\\tc\\\\d', '\\x41\\u00e9\\U0001F600', '\\101', '\\q', 'tab\\vx'
['it\\'s', "say \\"x\\"", 'both \\' and "', 'a\\nb\\x07\\u200b\\u00e9\\u00a0\\U0001F600']
0x1F, 0b101, 0o17, 1_000, 1_0.5, 1e3, 1.5E-2
range(3), range(1, 6, 2)|list, range(5, 0, -2)|list, range(0)|list, range(3)[1], range(2, 8, 3)
dict(a=1, b=2), dict([('x', 1)]), dict({'a': 1}, b=2)
big, big + 1, 9223372036854775807, -9223372036854775807
true + 1, true * 3, -true, +n, - n, -(-n)
n.foo is defined, messages[1].n is defined, nope is defined, nope is not defined, nope is undefined
n is number, f is number, yes is number, 'a' is string, n is integer, yes is integer, f is float
d is mapping, items is sequence, d is sequence, word is sequence, n is sequence, items is iterable, n is iterable, nope is iterable
none is none, nothing is none, 0 is none, yes is boolean, n is boolean, yes is true, no is false, 1 is true
3 is odd, 4 is even, 9 is divisibleby 3, 9 is divisibleby(4), 'abc' is lower, 'ABC' is upper, 'aB' is upper, '1' is lower
n is eq 7, n is equalto(7), n is ne 7, n is gt 3, n is lt 3, n is ge 7, n is le 6, 3 is in items, 3 is in [1]
n is sameas n, none is sameas none, 'trim' is filter, 'nope' is filter, 'odd' is test, n is not odd
n is defined and n is number or no, not n is odd, n is odd == true
word|upper, word|lower, word|title, word|capitalize, 'foo-bar (baz) <q> x_y'|title
uni|upper, uni|lower, uni|capitalize, uni|title
'  a b '|trim, 'xxaxx'|trim('x'), lines|indent, lines|indent(2, true), lines|indent('> ', blank=true)
'a,b'|replace(',', ';'), 'aaa'|replace('a', 'b', 2), 'ab'|replace('', '-')
items|length, items|count, d|length, word|length, empty|length
items|first, items|last, []|first, word|first, word|last, []|last is defined
items|join, items|join(', '), ['a', 1, none]|join('-'), messages|join('|', attribute='role'), 'abc'|join('.')
items|sort, items|sort(reverse=true), names|sort, names|sort(case_sensitive=true), messages|sort(attribute='role')|map(attribute='role')|list
items|min, items|max, names|min, names|max, []|min, messages|max(attribute='role')
items|sum, [1.5, 2]|sum, [{'a': 1}, {'a': 2}]|sum(attribute='a'), items|sum(start=10)
items|reverse|list, 'abc'|reverse, (1, 2)|reverse|list
['a', 'A', 'b', 'a']|unique|list, ['a', 'A']|unique(true)|list, [1, 1.0, true, 2]|unique|list
messages|map(attribute='role')|list, names|map('upper')|list, items|map('string')|join, messages|map(attribute='n', default=0)|list
messages|selectattr('role', 'equalto', 'user')|list|length, messages|selectattr('n')|list, messages|rejectattr('role', 'in', ['user'])|map(attribute='role')|list
items|select('odd')|list, items|reject('odd')|list, [0, 1, '', 'a']|select|list, items|select('gt', 1)|list, [0, 1]|reject|list
messages|selectattr('content', 'defined')|list|length, messages|rejectattr('tool_calls', 'defined')|list|length
d|dictsort, d|dictsort(true), {'a': 2, 'b': 1}|dictsort(by='value'), {'a': 2, 'b': 1}|dictsort(false, 'value', true)
d|items|list, d.items()|list, d.keys()|list, d.values()|list, nope|items|list, d.items()
d.get('z'), d.get('q'), d.get('q', 5), d.items()|length, d.keys()
nope|default('x'), empty|default('x'), empty|default('x', true), none|d('x'), nothing|d('x', boolean=true), nope|default
'5'|int, 'x'|int, 'x'|int(9), '3.7'|int, 3.9|int, -3.9|int, ' 12 '|int, none|int, '1_0'|int, 'ff'|int(0, 16), '0x1f'|int(base=16), true|int
'5'|float, 'x'|float, 3|float, 'x'|float(1.5), '1e3'|float
-5|abs, (-5)|abs, 2.5|round, 3.5|round, 2.567|round(2), 2.1|round(method='ceil'), 2.9|round(0, 'floor'), 5|round, 1234|round(-2, 'floor')
n|string, f|string, none|string, [1]|string, word|list, d|list
html|escape, html|e, html|safe, html|safe ~ html, (html|safe) + '<b>', '<b>' + (html|safe), (html|safe)|upper, [html|safe]
'%s is %d and %5.2f%%'|format('x', 3, 1.5), '%s' % n, '%05d|%-5s|%5s|%x|%r' % (42, 'a', 'b', 255, 'q'), '%(a)s' % {'a': 1}, '%s %s' % ('a', 'b')
'{} {}'.format(1, 'b'), '{1} {0} {x}'.format('a', 'b', x=3), '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{!r}'.format('a', 'b', 'c', 42, 1.5, 'q'), '{{}}'.format(), '{0.a[b]}'.format({'a': 1}) is defined
'a-b-c'.split('-'), ' a  b '.split(), 'a-b-c'.split('-', 1), 'a b c'.split(none, 1), 'a-b-c'.rsplit('-', 1), ''.split(), ''.split('-'), lines.splitlines(), 'a\\n'.splitlines(true)
' x '.strip(), 'xyx'.strip('x'), 'xyx'.lstrip('x'), 'xyx'.rstrip('yx'), '\\u3000a\\u2003'.strip()
'abc'.startswith('a'), 'abc'.endswith('bc'), 'abc'.startswith(('x', 'a')), 'abc'.startswith('b', 1), 'abc'.endswith('b', 0, 2)
'abcabc'.find('c'), 'abc'.find('x'), 'abcabc'.rfind('c'), 'abc'.index('b'), 'abab'.count('ab'), 'naïve'.find('v'), 'aaa'.count('')
'a'.upper(), 'A'.lower(), 'hello wORLD'.title(), "they're bill's".title(), 'hello'.capitalize(), 'aB'.swapcase()
'a-b'.replace('-', '+'), 'aaa'.replace('a', 'b', 1), 'ab'.replace('', '.')
'a'.join(['x', 'y']), ','.join('abc'), 'a=b=c'.partition('='), 'a=b=c'.rpartition('='), 'abc'.partition('x'), 'abc'.rpartition('x')
'7'.zfill(3), '-7'.zfill(4), 'a'.ljust(3) ~ '|', 'a'.rjust(3), 'a'.center(4, '*'), 'ab'.center(5, '*')
'12'.isdigit(), 'a1'.isalnum(), 'ab'.isalpha(), ' '.isspace(), ''.isdigit(), 'AB1'.isupper(), 'prefix-x'.removeprefix('prefix-'), 'x.py'.removesuffix('.py')
[1, 2, 1].count(1), [1, 2].index(2), (1, 2, 1).count(1)
tools|tojson
tools|tojson(indent=4)
d|tojson, d|tojson(sort_keys=true), d|tojson(separators=(',', ':')), [1, [], {}, [1]]|tojson(indent=2)
'é\\n"\\\\/<>&\\x07\\x7f\\U0001F600'|tojson, 'é\\x7f\\U0001F600'|tojson(ensure_ascii=true), 1.0|tojson, 1e22|tojson, none|tojson, true|tojson, {1: 2, none: 3, true: 4, 1.5: 5}|tojson
(1, 2)|tojson, 'a'|tojson|length, [0.1, 1e-7, 100.0]|tojson
strftime_now('%Y-%m-%d'), strftime_now('%d %b %Y'), strftime_now('%B %d, %Y %H:%M'), strftime_now('')
'a long sentence that goes on'|truncate(12), 'a long sentence that goes on'|truncate(12, true), 'short'|truncate(12), 'abc def'|wordcount, 'x y'|center(9)
'a b&c/d?é'|urlencode, items|batch(2)|list, items|batch(2, 0)|list
[{'k': 1, 'v': 'a'}, {'k': 2, 'v': 'b'}, {'k': 1, 'v': 'c'}]|groupby('k')|list|length
messages|attr('count') is defined, word|attr('upper') is defined, d|attr('z') is defined
namespace(a=1), namespace({'a': 1}).a, namespace(a=1).b is defined
messages[0].content.split(' ')[0].lower()
messages[2].content.split('</think>')[-1].lstrip('\\n').strip()
messages|length - 1, (messages|length) * 2, messages[-1].role, messages[1:]|length, messages[::-1][0].role
'x' is string and 'y' in 'xyz', 1 if 2 > 1 else 3 if 0 else 4, (1, 2), 1, 2
1.5 is integer, 2 is float, 'a' is mapping, (1, 2) is sequence, {}.items() is sequence, items|map('int') is sequence, items|map('int') is iterable
nope == nope2, nope == none, nope != 1, nope|length, nope|list, nope|string, not nope, nope ~ 'x', nope in [1], [nope]
messages[0]['rol' ~ 'e'], {'a': 1}['a'], {'a': 1}.a, {1: 'x'}[1], {1: 'x'}[true], {1.0: 'x'}[1], [[1, 2], [3]][0][1]
'a' if nothing is none else 'b', 'a' if nothing else 'b', ('a' if nothing) is defined
range(3)|map('string')|join(','), range(10)|select('divisibleby', 3)|list|tojson
items is iterable and items is not mapping and items is not string
{'b': 1, 'a': 2}|tojson, {'b': 1,}
word.upper is callable, raise_exception is callable, n is callable
items|map('float')|list, ['a', 'b']|map('replace', 'a', 'c')|list, [[3, 1], [2]]|map('sort')|list, [{'x': {'y': 5}}]|map(attribute='x.y')|list, [[1, 2]]|map(attribute=1)|list
f.is_integer(), 2.0.is_integer()
1 == 1 == 1, 1 != 2 != 1, 'a' in 'abc' == true
[1, 2] + [3] == [1, 2, 3], 'abc' > 'abd', none == none, none != 0
""".strip().splitlines()

STATEMENTS = [
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ m.role }} {{ loop.first }} {{ loop.last }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.index0 }} {{ loop.depth }}{{ loop.depth0 }}\n{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined else '-' }}>{{ loop.nextitem.role if not loop.last }};{% endfor %}",
    "{% for i in [1, 1, 2, 2] %}{{ loop.cycle('a', 'b', 'c') }}{{ loop.changed(i) }} {% endfor %}",
    "{% for i in [] %}x{% else %}none{% endfor %}{% for i in items %}{{ i }}{% else %}none{% endfor %}",
    "{% for i in items if i > 1 %}{{ i }}{{ loop.length }}{% endfor %}{% for i in items if i > 9 %}x{% else %}-{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for c in 'añb' %}[{{ c }}]{% endfor %}{% for i in (1, 2) %}{{ i }}{% endfor %}{% for x in nope %}x{% endfor %}",
    "{% for i in items %}{% for j in items %}{{ loop.index }}{{ i * j }} {% endfor %}{{ loop.index }}\n{% endfor %}",
    "{% set x = 1 %}{% for i in items %}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 0 %}{% for i in items %}{{ x }}{% set x = i %}{{ x }};{% endfor %}",
    "{% set ns = namespace(x=0, y='a') %}{% for i in items %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{% set ns.z = 5 %}{{ ns.z }}",
    "{% if no %}a{% elif n > 5 %}b{% elif yes %}c{% else %}d{% endif %}{% if nope %}x{% else %}y{% endif %}",
    "{% if yes %}{% set q = 1 %}{% endif %}{{ q }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, e) = (3, 4) %}{{ c }}{{ e }}{% set t = 1, %}{{ t }}",
    "{% set x %}a {{ n }} b\n{% endset %}[{{ x }}]{% set y | upper | trim %} q {% endset %}[{{ y }}]",
    "{% macro f(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }};{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=5, a=4) }}{{ f(1, c=2) }}{{ f() }}",
    "{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, x=4) }}{{ f(1) }}",
    "{% macro g(x) %}{% if x > 0 %}{{ x }}{{ g(x - 1) }}{% endif %}{% endmacro %}{{ g(4) }}",
    "{% macro h(a, b=a) %}{{ b }}{% endmacro %}{{ h(3) }}{{ h.name }}",
    "{% macro box(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call box('b') %}in {{ n }}{% endcall %}",
    "{% macro each(l) %}{% for i in l %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}{% call(x, k) each(items) %}{{ k }}:{{ x }} {% endcall %}",
    "{% set z = 1 %}{% macro m() %}{{ z }}{% set z = 2 %}{{ z }}{% endmacro %}{{ m() }}{{ z }}",
    "{% macro late() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ late() }}",
    "{% filter upper %}a{{ word }}{% endfilter %}{% filter replace('a', 'b')|trim %} aaa {% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% set a = 9 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% generation %}x{{ n }}{% set inner = 1 %}{% endgeneration %}{{ inner is defined }}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.role }}{% endif %}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% set l = [] %}{{ l }}{% set x = {'a': 1} %}{{ x }}{{ x.a }}",
    "{% set c = cycler('odd', 'even') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b{{ j() }}c",
    "{% for m in messages|selectattr('role', 'equalto', 'user') %}{{ m.content }}{% endfor %}{% if messages|selectattr('role', 'equalto', 'nobody') %}true{% endif %}",
    "{% set g = messages|map(attribute='role') %}{{ g|list }}{{ g|list }}",
    "{% set first = (messages|selectattr('role', 'equalto', 'user')|first) %}{{ first.content }}",
    "{% if messages[0].role == 'system' %}{% set messages = messages[1:] %}{% endif %}{{ messages|length }}",
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>{% endif %}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 1) %}bad{% endif %}{% endfor %}",
    "{% for m in messages[::-1] %}{% set i = (messages|length - 1) - loop.index0 %}{{ i }}{{ m.role[0] }}{% endfor %}",
    "{% for x in [1,2,3] %}{% set outer = loop %}{% for y in 'ab' %}{{ outer.index }}{{ y }}{% endfor %}{% endfor %}",
    "{% print n, 'a' %}{% print(word) %}", "{%if yes%}x{%endif%}{{n}}", "{% for i in range(2): %}{{ i }}{% endfor %}",
    "{% macro a() %}{% for i in items %}{{ i }}{% endfor %}{% endmacro %}{{ a() | length }}{{ a() ~ 'x' }}",
    "{{ items|map('string')|map('length')|sum }}{{ fn(1) if fn is defined else 'nofn' }}",
    "{% macro t(x) %}{{ x|tojson if x is not string else x }}{% endmacro %}{{ t({'a': 1}) }}{{ t('s') }}",
    "{% set m = {'role': 'x'} %}{{ m.items() | list }}{% set args = {'n': 1, 's': 'q'} %}{% for k, v in args|items %}{{ k }}: {{ v }}{{ ', ' if not loop.last }}{% endfor %}",
    "{% for i in items %}{% macro q() %}{{ i }}{% endmacro %}{{ q() }}{% endfor %}",
    "{% set x = 'a' if n == 7 else 'b' %}{{ x }}{% set y = n == 7 %}{{ y }}{% set z = n, f %}{{ z }}",
    "{{ dict(**{'a': 1}) }}{% macro k(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ k(*[1, 2]) }}{{ k(**{'a': 3, 'b': 4}) }}",
]

ERRORS = [
    "{{ raise_exception('stop here: ' ~ n) }}", "a\nb\n{{ nope.x }}", "{{ d.nope.x }}", "{{ none.x.y }}", "{{ nope() }}", "{{ word.nope() }}",
    "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ none + 'a' }}", "{{ 'a' + none }}", "{{ [1] + (1,) }}", "{{ nope + 1 }}", "{{ 1 < 'a' }}", "{{ none < 1 }}",
    "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{{ 1 // 0 }}", "{{ 1 in 5 }}", "{{ 1 in 'a' }}", "{{ n|length }}", "{{ items|map('int')|length }}", "{{ {[]: 1} }}",
    "{{ n() }}", "{% for i in n %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% set a, b = [1] %}", "{% set d.x = 1 %}{{ d.x }}", "{% set n.x = 1 %}",
    "{{ range(1000000) }}", "{{ nope|tojson }}", "{{ items|nofilter }}", "{{ items is notest }}", "{% if %}{% endif %}", "{% if yes %}", "{% endif %}",
    "{{ ", "{{ 1 + }}", "{{ (1 }}", "{% for %}", "{{ 'a }}", "{# x", "{% raw %}x", "{% nosuchtag %}", "{{ a b }}", "{{ 1 ] }}", "{% break %}",
    "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(b=1) }}", "{{ [3, 'a']|sort }}", "{{ 'x'.index('q') }}",
    "{{ 'abc'.split('') }}", "{{ 'a'.join([1]) }}", "{{ '%d' % 'a' }}", "{{ '%s %s' % 'a' }}", "{{ '%s' % (1, 2) }}", "{{ '{}'.format() }}", "{{ d|dictsort(by='x') }}",
    "{{ messages[0].upper() }}", "{{ -'a' }}", "{{ none[0].x }}", "{{ items[::0] }}", "{{ word.__class__.x }}", "{{ namespace(1) }}",
]


def run(source):
    record = {"template": source}
    try:
        record["text"] = env.from_string(source).render(**VARS)
    except Exception as e:  # every exception is what the record is about
        record["error"] = f"{type(e).__name__}: {e}"
    return record


def main():
    cases = [run(t) for t in WHITESPACE + STATEMENTS]
    for line in EXPRESSIONS:
        cases.append(run("{{ [" + line + "] }}"))
        cases += [run("{{ " + e + " }}") for e in split_top(line)]
    wrong = [c for c in cases if "error" in c]
    for c in wrong:
        print("not a rendering:", c)
    errors = [run(t) for t in ERRORS]
    for c in errors:
        if "text" in c:
            print("not an error:", c)
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "templates.json"), "w", encoding="utf-8") as out:
        json.dump({"made_with": f"Jinja2 {jinja2.__version__}", "vars": VARS,
                   "cases": [c for c in cases if "text" in c] + [c for c in errors if "error" in c]},
                  out, ensure_ascii=False, indent=1)
        out.write("\n")


def split_top(line):
    """The expressions of a line, split at commas outside brackets and strings."""
    parts, depth, quote, start, i = [], 0, None, 0, 0
    while i < len(line):
        c = line[i]
        if quote:
            if c == "\\":
                i += 1
            elif c == quote:
                quote = None
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(line[start:i].strip())
            start = i + 1
        i += 1
    parts.append(line[start:].strip())
    return parts


main()
