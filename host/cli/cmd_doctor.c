/* cmd_doctor.c - `graft doctor`: what this machine has, what is missing, how to get it. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/doctor.h"

gf_status gf_cmd_doctor(const gf_options *o, gf_err *err)
{
    gf_findings f;
    gf_buf out = {0};
    gf_doctor_look(&f, ".");
    const gf_status st = o->json ? gf_doctor_json(&f, &out, err) : gf_doctor_text(&f, &out, err);
    if (st == GF_OK)
        fwrite(out.data, 1, out.len, stdout);
    gf_buf_free(&out);
    TRY(st);
    if (f.lacking == 0)
        return GF_OK;
    return gf_fail(err, GF_ELACK, "%d %s missing here; the lines with an arrow say how to get %s",
                   f.lacking, f.lacking == 1 ? "thing is" : "things are",
                   f.lacking == 1 ? "it" : "them");
}
