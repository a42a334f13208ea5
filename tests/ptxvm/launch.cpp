// Setting up a launch and its blocks; naming threads in reports.
#include "machine.h"
#include <algorithm>

namespace ptxvm
{

static Dim position_in(Dim size, unsigned index)
{
    return {index % size.x, index / size.x % size.y, index / size.x / size.y};
}
static std::string text_of(Dim d)
{
    return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

std::string Launch::name_of(unsigned block_index, unsigned thread) const
{
    return "thread " + text_of(position_in(block, thread)) + " of block " +
           text_of(position_in(grid, block_index));
}

std::string Launch::name_of(Stamp stamp) const
{
    if (stamp.clock() < order.launch_start)
        return "an earlier launch or the host";
    if (stamp.spread() == Stamp::blocks)
        return "several blocks";
    auto next = std::upper_bound(block_starts.begin(), block_starts.end(),
                                 std::make_pair(stamp.clock(), ~0u));
    const unsigned of_block = next == block_starts.begin() ? 0 : std::prev(next)->second;
    if (stamp.spread() == Stamp::thread)
        return name_of(of_block, stamp.who());
    if (stamp.spread() == Stamp::lanes)
        return "several threads of warp " + std::to_string(stamp.who()) + " of block " +
               text_of(position_in(grid, of_block));
    return "several warps of block " + text_of(position_in(grid, of_block));
}

void Launch::describe(const Warp &warp, int lane, const char *kind, const std::string &detail)
{
    std::string line = std::string(kind) + ": " + place_of(kernel, *warp.current) + ", " +
                       name_of(warp.block->index, (unsigned)(warp.id * 32 + lane));
    if (!detail.empty())
        line += ", " + detail;
    findings.describe(line);
}

void Launch::run()
{
    threads = block.x * block.y * block.z;
    std::seed_seq seed{options.seed, number};
    random.seed(seed);
    order.launch_start = ++order.now;
    order.warp_count = (threads + 31) / 32;
    const size_t blocks = (size_t)grid.x * grid.y * grid.z;
    std::vector<unsigned> sequence(blocks);
    for (size_t i = 0; i < blocks; i++)
        sequence[i] = (unsigned)i;
    std::shuffle(sequence.begin(), sequence.end(), random);
    Block running(*this);
    for (unsigned index : sequence)
        running.run(index);
    counters.launches++;
}

Block::Block(Launch &owner) : launch(owner)
{
    const Kernel &k = launch.kernel;
    const size_t count = (launch.threads + 31) / 32;
    registers.assign(count * (size_t)k.frame + 64, (char)0xff);
    char *const first = (char *)(((u64)registers.data() + 63) / 64 * 64);
    shared.resize(launch.dynamic_shared ? (size_t)k.dynamic_shared_start + launch.dynamic_shared
                                        : (size_t)k.shared);
    local.resize(count * 32 * (size_t)k.local);
    if (launch.options.check)
        shared_shadow = Shadow(shared.size());
    warps.resize(count);
    for (size_t n = 0; n < count; n++) {
        Warp &w = warps[n];
        w.block = this;
        w.frame = first + n * (size_t)k.frame;
        w.id = (int)n;
        for (const Constant &c : k.constants)
            for (int lane = 0; lane < 32; lane++)
                w.put(c.offset, c.width, lane, c.value);
    }
}

static u64 special_value(const Block &b, Special special, unsigned thread)
{
    const Launch &l = b.launch;
    const Dim tid = position_in(l.block, thread), ctaid = position_in(l.grid, b.index);
    const u32 bit = 1u << thread % 32;
    switch (special) {
    case Special::tid_x:
        return tid.x;
    case Special::tid_y:
        return tid.y;
    case Special::tid_z:
        return tid.z;
    case Special::ntid_x:
        return l.block.x;
    case Special::ntid_y:
        return l.block.y;
    case Special::ntid_z:
        return l.block.z;
    case Special::ctaid_x:
        return ctaid.x;
    case Special::ctaid_y:
        return ctaid.y;
    case Special::ctaid_z:
        return ctaid.z;
    case Special::nctaid_x:
        return l.grid.x;
    case Special::nctaid_y:
        return l.grid.y;
    case Special::nctaid_z:
        return l.grid.z;
    case Special::laneid:
        return thread % 32;
    case Special::warpid:
        return thread / 32;
    case Special::nwarpid:
        return b.warps.size();
    case Special::smid:
        return 0;
    case Special::nsmid:
        return 1;
    case Special::gridid:
        return 1;
    case Special::lanemask_eq:
        return bit;
    case Special::lanemask_lt:
        return bit - 1;
    case Special::lanemask_le:
        return 2 * bit - 1;
    case Special::lanemask_gt:
        return ~(2 * bit - 1);
    case Special::lanemask_ge:
        return ~(bit - 1);
    case Special::clock_hi:
        return 0;
    case Special::clock: // time stands still within a block
    case Special::clock64:
    case Special::globaltimer:
        return l.counters.instructions;
    case Special::dynamic_smem_size:
        return l.dynamic_shared;
    case Special::total_smem_size:
        return b.shared.size();
    }
    return 0;
}

void Block::fill_special(Warp &w, Special special, int offset)
{
    for (int lane = 0; lane < 32; lane++)
        w.put(offset, is_wide(special) ? 8 : 4, lane,
              special_value(*this, special, (unsigned)(w.id * 32 + lane)));
}

} // namespace ptxvm
