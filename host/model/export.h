/* export.h - a PEFT adapter as the files that other programs load: GGUF adapter, legacy ggla file,
 * adapter_model.bin (FORMATS 5.4, 6.6, 7). */
#ifndef GRAFT_HOST_MODEL_EXPORT_H
#define GRAFT_HOST_MODEL_EXPORT_H

#include "model/adapter.h"

/* An open adapter, checked against its base. */
typedef struct {
    const gf_config *base;
    const char *arch; /* GGUF's general.architecture of the base; NULL: by the base's family */
    const char *name; /* general.name of the adapter */
    const gf_adapter *adapter;
    const gf_adapter_file *file;
} gf_export;

/* What had to be changed for the file to mean the same, to be told. */
typedef struct {
    double alpha; /* of the file */
    int modules;  /* of the adapter */
    int folded;   /* whose B was multiplied, since alpha / rank is not their scale */
    int permuted; /* whose B has its rows in GGUF's order */
    int other;    /* matrices not of the type asked for, which does not divide their rows */
} gf_export_note;

/* A GGUF adapter: scale alpha / rank of each matrix, what differs multiplied into B. `dtype`: f32,
 * f16, bf16 or q8_0. A value that the type cannot hold: GF_EARG. */
gf_status gf_export_gguf(const gf_export *x, const char *path, gf_dtype dtype, gf_export_note *note,
                         gf_err *err);

/* Llama.cpp's adapter file of before mid-2024, with the names of its GGUF era. Its scale is alpha /
 * r of two whole numbers for all; what differs is multiplied into B. Matrices are f32. */
gf_status gf_export_ggla(const gf_export *x, const char *path, gf_export_note *note, gf_err *err);

/* DIR/adapter_model.safetensors as torch.save writes it; the tensors keep names, types and order.
 * Needs no base, so what is checked is that each A has its B of the same rank. */
gf_status gf_export_bin(const char *dir, const char *path, gf_err *err);

#endif
