/* zip.h - the directory of a zip archive whose entries are stored, not compressed: what torch.save
 * writes (FORMATS 5.1). Nothing is unpacked: an entry is a range of the file's bytes. */
#ifndef GRAFT_HOST_FORMAT_ZIP_H
#define GRAFT_HOST_FORMAT_ZIP_H

#include "base/file.h"

typedef struct {
    char *name;
    uint64_t offset, size; /* of its data: inside the file, checked */
} gf_zip_entry;

typedef struct {
    int count;
    gf_zip_entry *entry; /* sorted by name */
} gf_zip;

/* Reads the central directory, zip64 included, and each entry's local header. Compressed or
 * encrypted entries, duplicate or unclean names, anything that lies outside the file: GF_EINPUT
 * with the byte. Free with gf_zip_free, also after a failure. */
gf_status gf_zip_read(gf_zip *z, const gf_map *m, const char *path, gf_err *err);
void gf_zip_free(gf_zip *z);

/* Binary search; NULL: none of that name. */
const gf_zip_entry *gf_zip_find(const gf_zip *z, const char *name);

#endif
