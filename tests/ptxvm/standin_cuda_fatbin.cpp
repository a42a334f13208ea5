// standin_cuda_fatbin.cpp - finds PTX in what a program hands to cuModuleLoadData: the text itself,
// or a fatbin (a container of entries, each PTX or machine code for one architecture).
#include "standin_cuda.h"

#include <cctype>
#include <cstring>

namespace standin
{

namespace
{

// The layout is not documented; these are the fields that what nvcc 11 to 13 writes has in common.
struct Container {
    uint32_t magic; // MAGIC
    uint16_t version, header_bytes;
    uint64_t bytes; // of all entries
};
struct Entry {
    uint16_t kind, version; // kind: KIND_PTX or machine code
    uint32_t header_bytes;
    uint64_t bytes; // of what follows the header
    uint32_t packed_bytes, options_at;
    uint16_t minor, major;
    uint32_t arch; // 80: compute_80 or sm_80
    uint32_t name_at, name_bytes;
    uint64_t flags, zero;
    uint64_t unpacked_bytes; // 0: not compressed
};
static_assert(sizeof(Entry) == 64, "an entry's fixed part");
// What nvcc's wrapper section holds: a pointer to a container.
struct Wrapper {
    uint32_t magic, version;
    const char *container;
};
const uint32_t MAGIC = 0xba55ed50, WRAPPER_MAGIC = 0x466243b1, ELF_MAGIC = 0x464c457f;
const uint16_t KIND_PTX = 1;

// The PTX text of the best entry: the highest architecture that the device can run. Text for an
// architecture's special features (compute_90a) runs on that one only, and nothing here needs it.
std::string from_container(const char *at, int arch)
{
    Container head;
    memcpy(&head, at, sizeof head);
    const char *end = at + head.header_bytes + head.bytes;
    int best = 0, found = 0;
    std::string text;
    for (const char *p = at + head.header_bytes; p + sizeof(Entry) <= end;) {
        Entry e;
        memcpy(&e, p, sizeof e);
        const char *body = p + e.header_bytes;
        p = body + e.bytes;
        int its = static_cast<int>(e.arch);
        if (e.kind != KIND_PTX)
            continue;
        found++;
        if (its > arch || its <= best)
            continue;
        if (e.unpacked_bytes)
            refuse(CUDA_ERROR_NO_BINARY_FOR_GPU,
                   "the PTX for compute_%d is compressed: compile with nvcc -no-compress", its);
        std::string candidate(body, strnlen(body, e.bytes));
        size_t target = candidate.find(".target sm_" + std::to_string(its));
        size_t digits = target + 11 + std::to_string(its).size();
        if (target == std::string::npos || isalpha(static_cast<unsigned char>(candidate[digits])))
            continue;
        best = its;
        text = std::move(candidate);
    }
    if (best == 0)
        refuse(CUDA_ERROR_NO_BINARY_FOR_GPU,
               "the fatbin holds %d PTX texts, none that compute capability %d can run", found,
               arch);
    return text;
}

} // namespace

std::string ptx_of(const void *image, int arch)
{
    const char *bytes = static_cast<const char *>(image);
    uint32_t magic;
    memcpy(&magic, bytes, sizeof magic);
    if (magic == WRAPPER_MAGIC) {
        Wrapper wrapper;
        memcpy(&wrapper, bytes, sizeof wrapper);
        return from_container(wrapper.container, arch);
    }
    if (magic == MAGIC)
        return from_container(bytes, arch);
    if (magic == ELF_MAGIC)
        refuse(CUDA_ERROR_NO_BINARY_FOR_GPU,
               "machine code (a cubin) does not run on the test device: it needs PTX");
    std::string text = bytes;
    if (text.find(".version") == std::string::npos)
        refuse(CUDA_ERROR_INVALID_IMAGE, "an image that is neither a fatbin nor PTX");
    return text;
}

} // namespace standin
