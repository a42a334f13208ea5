#include "text.h"
#include "device.h"
#include <cctype>
#include <cstdlib>
#include <cstring>

namespace ptxvm
{

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}
static bool is_name_character(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$';
}

std::string trimmed(const std::string &text)
{
    const size_t first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

std::vector<std::string> split(const std::string &text, char separator)
{
    std::vector<std::string> pieces;
    std::string piece;
    int depth = 0;
    for (char c : text) {
        depth += is_one_of(c, "{[(") - is_one_of(c, "}])");
        if (c == separator && depth == 0) {
            pieces.push_back(trimmed(piece));
            piece.clear();
        } else {
            piece += c;
        }
    }
    if (!trimmed(piece).empty())
        pieces.push_back(trimmed(piece));
    return pieces;
}

std::vector<std::string> members_of(const std::string &text)
{
    if (text.empty() || text[0] != '{')
        return {text};
    return split(text.substr(1, text.rfind('}') - 1));
}

std::string without_comments(const std::string &text)
{
    std::string out = text;
    for (size_t i = 0; i + 1 < out.size(); i++) {
        if (out[i] == '"') { // a file name may have slashes
            i = std::min(out.find('"', i + 1), out.size());
        } else if (out[i] == '/' && out[i + 1] == '/') {
            for (; i < out.size() && out[i] != '\n'; i++)
                out[i] = ' ';
        } else if (out[i] == '/' && out[i + 1] == '*') {
            const size_t end = std::min(out.find("*/", i), out.size() - 2) + 2;
            for (; i < end; i++)
                out[i] = out[i] == '\n' ? '\n' : ' ';
        }
    }
    return out;
}

bool starts_with(const std::string &text, const char *start)
{
    return text.compare(0, strlen(start), start) == 0;
}
bool contains(const std::string &text, const char *part)
{
    return text.find(part) != std::string::npos;
}
long number_after(const std::string &text, const char *word, long missing)
{
    const size_t at = text.find(word);
    return at == std::string::npos ? missing : atol(text.c_str() + at + strlen(word));
}

bool Scanner::done()
{
    while (position < text.size() && isspace((unsigned char)text[position]))
        skip();
    return position >= text.size();
}
char Scanner::peek() const
{
    return position < text.size() ? text[position] : '\0';
}
void Scanner::skip()
{
    if (position < text.size())
        current_line += text[position++] == '\n';
}
bool Scanner::at(const char *start) const
{
    return text.compare(position, strlen(start), start) == 0;
}

std::string Scanner::until(const char *stops, bool taken)
{
    const size_t begin = position;
    int depth = 0;
    while (position < text.size() && (depth > 0 || !is_one_of(text[position], stops))) {
        depth += is_one_of(text[position], "{(") - is_one_of(text[position], "})");
        skip();
    }
    const std::string piece = text.substr(begin, position - begin);
    if (taken)
        skip();
    return piece;
}
std::string Scanner::rest_of_line()
{
    return until("\n", false);
}

void Scanner::skip_block()
{
    int depth = 0;
    do {
        if (position >= text.size())
            throw Fault("PTX ends inside a block");
        depth += (peek() == '{') - (peek() == '}');
        skip();
    } while (depth > 0);
}

Statement Scanner::statement()
{
    const int line = current_line;
    if (peek() == '{' || peek() == '}') {
        const bool opens = peek() == '{';
        skip();
        return {opens ? Statement::open : Statement::close, "", line};
    }
    if (at(".loc") && position + 4 < text.size() && isspace((unsigned char)text[position + 4]))
        return {Statement::location, rest_of_line(), line};
    size_t end = position;
    while (end < text.size() && is_name_character(text[end]))
        end++;
    if (end > position && end < text.size() && text[end] == ':') {
        const std::string name = text.substr(position, end - position);
        while (position <= end)
            skip();
        return {Statement::label, name, line};
    }
    std::string body = until(";", true);
    for (char &c : body)
        if (c == '\n' || c == '\t' || c == '\r')
            c = ' ';
    body = trimmed(body);
    return {body[0] == '.' ? Statement::declaration : Statement::instruction, body, line};
}

std::vector<Statement> Scanner::block()
{
    std::vector<Statement> statements;
    skip(); // the bracket
    for (int depth = 1;;) {
        if (done())
            throw Fault("PTX ends inside a block");
        if (peek() == ';') {
            skip();
            continue;
        }
        statements.push_back(statement());
        depth += statements.back().kind == Statement::open;
        depth -= statements.back().kind == Statement::close;
        if (depth == 0) {
            statements.pop_back();
            return statements;
        }
    }
}

} // namespace ptxvm
