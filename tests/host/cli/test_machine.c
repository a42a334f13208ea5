/* test_machine.c - what is said of this machine makes sense. */
#include "cli/machine.h"

#include <criterion/criterion.h>

Test(machine, has_cores_and_memory)
{
    gf_machine m;
    gf_machine_look(&m);
    cr_expect(m.cores >= 1 && m.cores <= 4096, "%d", m.cores);
    cr_expect(m.memory > 64 << 20, "%llu", (unsigned long long)m.memory);
    cr_expect(m.free_ > 0 && m.free_ <= m.memory, "%llu", (unsigned long long)m.free_);
}
