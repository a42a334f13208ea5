/* machine.c - /proc and the control group's files. Contract: machine.h. */
#include "cli/machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text behind `key` in a file of "key: value" or "key value" lines; false: not there. */
static bool find_line(const char *path, const char *key, char *out, size_t size)
{
    FILE *f = fopen(path, "r");
    char line[512]; /* longer than any line that is looked for */
    bool found = false;
    if (!f)
        return false;
    while (!found && fgets(line, sizeof line, f)) {
        const size_t n = strlen(key);
        if (strncmp(line, key, n) != 0 || !strchr(" \t:\n", line[n]))
            continue;
        const char *value = line + n + strspn(line + n, " \t:");
        snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
        found = true;
    }
    fclose(f);
    return found;
}

static uint64_t meminfo(const char *key)
{
    char text[64];
    if (!find_line("/proc/meminfo", key, text, sizeof text))
        return 0;
    return strtoull(text, NULL, 10) * 1024; /* the file counts in kB */
}

/* A file of one number; false: absent, or "max". */
static bool read_number(const char *dir, const char *name, uint64_t *out)
{
    char path[640], text[64] = "";
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    const bool read = fgets(text, sizeof text, f) && *text >= '0' && *text <= '9';
    fclose(f);
    if (read)
        *out = strtoull(text, NULL, 10);
    return read;
}

/* The group's limit and what is in use without file pages that can be dropped. */
static bool group_memory(const char *dir, const char *limit, const char *usage, const char *cache,
                         uint64_t *max, uint64_t *used)
{
    char path[640], text[64];
    if (!read_number(dir, limit, max) || !read_number(dir, usage, used))
        return false;
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    if (find_line(path, cache, text, sizeof text)) {
        const uint64_t file = strtoull(text, NULL, 10);
        *used -= file < *used ? file : *used;
    }
    return true;
}

static void apply_limit(gf_machine *m, uint64_t max, uint64_t used)
{
    const uint64_t left = max > used ? max - used : 0;
    if (!m->memory || max < m->memory)
        m->memory = max;
    if (!m->free_ || left < m->free_)
        m->free_ = left;
}

/* A container's or a batch job's limit counts where it is below the machine's. It may stand at any
 * level above the process: every one is looked at. */
static void apply_group(gf_machine *m)
{
    static const char root[] = "/sys/fs/cgroup";
    char own[512], dir[576];
    uint64_t max, used;
    if (!find_line("/proc/self/cgroup", "0", own,
                   sizeof own)) /* version 2 has the line "0::/path" */
        own[0] = '\0';
    snprintf(dir, sizeof dir, "%s%s", root, strcmp(own, "/") == 0 ? "" : own);
    for (; strlen(dir) >= strlen(root); *strrchr(dir, '/') = '\0')
        if (group_memory(dir, "memory.max", "memory.current", "inactive_file", &max, &used))
            apply_limit(m, max, used);
    if (group_memory("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                     "total_inactive_file", &max, &used)) /* version 1, of a container */
        apply_limit(m, max, used);
}

void gf_machine_look(gf_machine *m)
{
    cpu_set_t set;
    *m = (gf_machine){.memory = meminfo("MemTotal"), .free_ = meminfo("MemAvailable")};
    if (!find_line("/proc/cpuinfo", "model name", m->cpu, sizeof m->cpu))
        m->cpu[0] = '\0';
    m->cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    apply_group(m);
}

uint64_t gf_machine_resident(void)
{
    char text[64];
    if (!find_line("/proc/self/status", "RssAnon", text, sizeof text))
        return 0;
    return strtoull(text, NULL, 10) * 1024; /* the file counts in kB */
}
