/* config_quant.c - quantization_config of config.json (FORMATS 8.3). Contract: model/config.h. */
#include "model/config.h"

#include <string.h>

static const char way_out[] = "give it the original weights or a GGUF file";

gf_status gf_config_quantization(const cJSON *quant, const char *path, gf_err *err)
{
    const char *method = NULL, *type = NULL;
    bool four = false, eight = false;
    if (!cJSON_IsObject(quant))
        return gf_fail(err, GF_EINPUT, "%s: quantization_config: want an object", path);
    TRY(gf_json_bool(&four, quant, "load_in_4bit", false, path, err));
    TRY(gf_json_bool(&eight, quant, "load_in_8bit", false, path, err));
    /* the first checkpoints of bitsandbytes do not name it */
    TRY(gf_json_string(&method, quant, "quant_method", four || eight ? "bitsandbytes" : "?", path,
                       err));
    if (strcmp(method, "bitsandbytes") != 0)
        return gf_fail(err, GF_EMISSING,
                       "%s: quantization_config: quant_method %s: graft reads folders that "
                       "bitsandbytes has quantised; %s",
                       path, method, way_out);
    if (four == eight)
        return gf_fail(err, GF_EINPUT,
                       "%s: quantization_config: want either load_in_4bit or load_in_8bit", path);
    TRY(gf_json_string(&type, quant, "bnb_4bit_quant_type", "fp4", path, err));
    if (strcmp(type, "nf4") != 0 && strcmp(type, "fp4") != 0)
        return gf_fail(err, GF_EMISSING,
                       "%s: quantization_config: bnb_4bit_quant_type %s: graft has nf4 and fp4; %s",
                       path, type, way_out);
    return GF_OK;
}
