// PTX as text: comments, pieces of an operand list, and the statements of a body.
#pragma once
#include <string>
#include <vector>

namespace ptxvm
{

std::string trimmed(const std::string &text);
// The pieces between separators outside brackets, trimmed. "" has none.
std::vector<std::string> split(const std::string &text, char separator = ',');
// "{a, b}" -> a, b; "a" -> a
std::vector<std::string> members_of(const std::string &text);
// Comments become blanks; lines stay where they are.
std::string without_comments(const std::string &text);
bool starts_with(const std::string &text, const char *start);
bool contains(const std::string &text, const char *part);
// The number behind a word such as ".align"; otherwise `missing`.
long number_after(const std::string &text, const char *word, long missing);

// One line of a body. Blocks may be nested.
struct Statement {
    enum Kind { open, close, label, location, declaration, instruction } kind;
    std::string text; // a label without its colon, the others without their semicolon
    int line;         // in the PTX
};

// Reads a text from its beginning, counting lines.
class Scanner
{
  public:
    explicit Scanner(const std::string &all) : text(all)
    {
    }
    bool done(); // skips blanks first
    int line() const
    {
        return current_line;
    }
    bool at(const char *start) const;
    // The text up to one of `stops` outside brackets; the stop itself stays unless `taken`.
    std::string until(const char *stops, bool taken);
    std::string rest_of_line();
    void skip_block();              // from "{" to behind its "}"
    std::vector<Statement> block(); // the same, as statements without the outer brackets
    char peek() const;
    void skip(); // one character

  private:
    Statement statement();
    const std::string &text;
    size_t position = 0;
    int current_line = 1;
};

} // namespace ptxvm
