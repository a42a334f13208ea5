#include "module_parser.h"
#include "assembler.h"
#include "device.h"
#include "memory.h"
#include "text.h"

namespace ptxvm
{

Module::~Module()
{
    for (const auto &variable : variables)
        memory->release(variable.second.address);
}

namespace
{

// A kernel or function between its head and the end of the module: bodies are assembled once all
// functions are known.
struct PendingKernel {
    Kernel *kernel;
    std::vector<Declaration> parameters;
    std::vector<Statement> body;
};

class Parser
{
  public:
    Parser(const std::string &clean_text, Module &into) : scanner(clean_text), module(into)
    {
        scope.module = &into;
    }
    void run();

  private:
    void item();
    void file();
    void section();
    void variable(const std::string &text);
    void kernel(const std::string &head);
    void function(const std::string &head);
    void assemble(PendingKernel &pending);

    Scanner scanner;
    Module &module;
    ModuleScope scope;
    std::vector<PendingKernel> kernels;
};

std::vector<Declaration> parse_parameters(const std::string &list)
{
    std::vector<Declaration> out;
    for (const std::string &piece : split(list))
        out.push_back(parse_declaration(piece));
    return out;
}

void Parser::file() // .file 1 "name", 1700000000, 1234
{
    const std::string text = scanner.rest_of_line();
    const size_t quote = text.find('"');
    if (quote != std::string::npos)
        module.files[(int)number_after(text, ".file", 0)] =
            text.substr(quote + 1, text.find('"', quote + 1) - quote - 1);
}

void Parser::section() // debug information
{
    scanner.until("{", false);
    scanner.skip_block();
}

void Parser::variable(const std::string &text)
{
    const Declaration d = parse_declaration(text);
    if (d.space == Space::shared) {
        scope.shared[d.name] = d;
        return;
    }
    const u64 address = module.memory->allocate(std::max(d.size, (size_t)1));
    if (!address)
        throw Fault("no memory for the variable " + d.name);
    module.variables[d.name] = {address, d.size};
    char *bytes = module.memory->bytes(address, std::max(d.size, (size_t)1), true);
    memset(bytes, 0, d.size);
    if (d.initial.empty())
        return;
    size_t at = 0;
    for (const std::string &piece : members_of(d.initial)) {
        if (!isdigit((unsigned char)piece[0]) && piece[0] != '-')
            throw Fault("an initial value that is not implemented: " + d.name + " = " + piece);
        const bool real =
            piece.size() > 2 && (tolower(piece[1]) == 'f' || tolower(piece[1]) == 'd');
        const u64 value =
            real ? strtoull(piece.c_str() + 2, nullptr, 16)
                 : (u64)strtoll(piece.c_str(), nullptr, 0) | strtoull(piece.c_str(), nullptr, 0);
        if (at + d.element > d.size)
            throw Fault("too many initial values: " + d.name);
        memcpy(bytes + at, &value, d.element);
        at += d.element;
    }
}

std::string between_brackets(const std::string &text, size_t open)
{
    return text.substr(open + 1, text.find(')', open) - open - 1);
}

void Parser::kernel(const std::string &head)
{
    PendingKernel pending;
    auto made = std::make_unique<Kernel>();
    const size_t name = head.find(".entry") + 6, list = head.find('(');
    made->name =
        trimmed(head.substr(name, std::min(list, head.find_first_of(" \n", name + 1)) - name));
    made->files = &module.files;
    if (list != std::string::npos)
        pending.parameters = parse_parameters(between_brackets(head, list));
    for (const char *word : {".maxntid", ".reqntid"})
        if (const size_t at = head.find(word); at != std::string::npos) {
            int x = 1, y = 1, z = 1;
            sscanf(head.c_str() + at + strlen(word), " %d , %d , %d", &x, &y, &z);
            made->max_threads = (unsigned)(x * y * z);
        }
    pending.kernel = made.get();
    pending.body = scanner.block();
    module.kernels[made->name] = std::move(made);
    kernels.push_back(std::move(pending));
}

// ".func (.param .b64 result) name(.param .b64 a)", the brackets both optional
void Parser::function(const std::string &head)
{
    Function f;
    std::string rest = trimmed(head.substr(head.find(".func") + 5));
    if (rest[0] == '(') {
        f.results = parse_parameters(between_brackets(rest, 0));
        rest = trimmed(rest.substr(rest.find(')') + 1));
    }
    const size_t list = rest.find('(');
    const std::string name = trimmed(rest.substr(0, std::min(list, rest.find_first_of(" \n\t"))));
    if (list != std::string::npos)
        f.parameters = parse_parameters(between_brackets(rest, list));
    f.body = scanner.block();
    scope.functions[name] = std::move(f);
}

void Parser::item()
{
    if (scanner.at(".version") || scanner.at(".target") || scanner.at(".address_size")) {
        scanner.rest_of_line();
        return;
    }
    if (scanner.at(".file"))
        return file();
    if (scanner.at(".section"))
        return section();
    std::string head = scanner.until(";{=", false);
    if (scanner.peek() == '=')
        head += scanner.until(";", false);
    const bool body = scanner.peek() == '{';
    if (!body) {
        scanner.skip();
        if (contains(head, ".func") || contains(head, ".entry") || starts_with(head, ".pragma") ||
            starts_with(head, ".alias"))
            return; // a declaration
        return variable(head);
    }
    if (contains(head, ".entry"))
        return kernel(head);
    if (contains(head, ".func"))
        return function(head);
    throw Fault("PTX line " + std::to_string(scanner.line()) + ": not understood: " + head);
}

void Parser::assemble(PendingKernel &pending)
{
    Kernel &k = *pending.kernel;
    try {
        Assembler assembler(k, scope);
        for (const Declaration &d : pending.parameters)
            assembler.parameter(d);
        assembler.statements(pending.body);
        assembler.finish();
    } catch (const Fault &fault) { // only this kernel is lost
        k.broken = fault.what();
    } catch (const std::out_of_range &) {
        k.broken = "an instruction with too few operands";
    }
}

void Parser::run()
{
    if (scanner.done() || !scanner.at(".version"))
        throw Fault("not PTX: it does not begin with .version");
    while (!scanner.done())
        item();
    for (PendingKernel &pending : kernels)
        assemble(pending);
}

} // namespace

std::shared_ptr<Module> parse_module(const std::string &text, Memory &memory)
{
    auto module = std::make_shared<Module>();
    module->memory = &memory;
    const std::string clean = without_comments(text);
    Parser(clean, *module).run();
    return module;
}

} // namespace ptxvm
