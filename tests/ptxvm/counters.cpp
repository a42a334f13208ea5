#include "counters.h"
#include <algorithm>
#include <cinttypes>

namespace ptxvm
{

// Shared memory has 32 banks of 4 bytes; a wavefront serves each bank once. Lanes of wider accesses
// go in groups that fill the banks (32, 16 or 8 lanes), and within a group what counts is how many
// different rows one bank (or pair, or four of them) has to give. Lanes that read the same word
// share it.
void Counters::count_shared(const u64 *address, u32 lanes, int size)
{
    const int unit = std::max(size, 4), slots = 128 / unit, shift = __builtin_ctz((u32)unit);
    shared_accesses++;
    for (int first = 0; first < 32; first += slots) {
        const u32 group = lanes >> first & (slots == 32 ? ~0u : (1u << slots) - 1);
        if (!group)
            continue;
        u64 rows[32][32];
        int count[32] = {}, worst = 1;
        for (u32 rest = group; rest; rest &= rest - 1) {
            const u64 row = address[first + __builtin_ctz(rest)] >> shift;
            const int slot = (int)(row & (u64)(slots - 1));
            const u64 *end = rows[slot] + count[slot];
            if (std::find((const u64 *)rows[slot], end, row) == end) {
                rows[slot][count[slot]++] = row;
                worst = std::max(worst, count[slot]);
            }
        }
        shared_wavefronts += (u64)worst;
        shared_ideal++;
    }
}

// Global memory moves in sectors of 32 bytes. Ideal: the different bytes asked for, packed.
void Counters::count_global(const u64 *address, u32 lanes, int size)
{
    u64 sorted[32];
    int count = 0;
    bool ascending = true;
    for (u32 rest = lanes; rest; rest &= rest - 1) {
        sorted[count] = address[__builtin_ctz(rest)];
        ascending &= count == 0 || sorted[count] >= sorted[count - 1];
        count++;
    }
    if (!ascending)
        std::sort(sorted, sorted + count);
    u64 sectors = 0, distinct = 0, last_sector = ~0ull;
    for (int i = 0; i < count; i++) {
        distinct += i == 0 || sorted[i] != sorted[i - 1];
        sectors += sorted[i] / 32 != last_sector;
        last_sector = sorted[i] / 32;
    }
    global_accesses++;
    global_sectors += sectors;
    global_ideal += (distinct * (u64)size + 31) / 32;
}

static double ratio(u64 value, u64 ideal)
{
    return ideal ? (double)value / (double)ideal : 1.0;
}

void Counters::print_head(FILE *out)
{
    fprintf(out, "%-36s %8s %12s %10s %12s %6s %12s %6s %10s\n", "kernel", "launches",
            "instructions", "mma", "wavefronts", "ratio", "sectors", "ratio", "local");
}
void Counters::print(FILE *out, const std::string &kernel) const
{
    fprintf(out,
            "%-36s %8" PRIu64 " %12" PRIu64 " %10" PRIu64 " %12" PRIu64 " %6.3f %12" PRIu64
            " %6.3f %10" PRIu64 "\n",
            kernel.c_str(), launches, instructions, mma, shared_wavefronts,
            ratio(shared_wavefronts, shared_ideal), global_sectors,
            ratio(global_sectors, global_ideal), local_accesses);
}
void Counters::print_json(FILE *out, const std::string &kernel) const
{
    fprintf(out,
            "{\"kernel\":\"%s\",\"launches\":%" PRIu64 ",\"instructions\":%" PRIu64
            ",\"mma\":%" PRIu64 ",\"shared_wavefronts\":%" PRIu64 ",\"shared_ideal\":%" PRIu64
            ",\"global_sectors\":%" PRIu64 ",\"global_ideal\":%" PRIu64
            ",\"local_accesses\":%" PRIu64 "}\n",
            kernel.c_str(), launches, instructions, mma, shared_wavefronts, shared_ideal,
            global_sectors, global_ideal, local_accesses);
}

} // namespace ptxvm
