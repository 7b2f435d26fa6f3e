/* SPDX-License-Identifier: MIT
 *
 * A segment, as dbufctl verify and info read it.
 */
#include "../../src/ctl/verify.h"
#include "fuzz.h"

static void on_finding(void *context, const struct finding *finding)
{
    (void)context;
    if (finding_text(finding->kind) == NULL || finding_name(finding->kind) == NULL)
        abort();
}

static void skim(const struct survey_file *file)
{
    struct scan *scan;
    struct scan_extent extent;
    if (survey_open(file, &scan) < 0)
        return;
    uint64_t before = 0;
    while (scan_skim(scan, &extent) == 1) {
        if (extent.offset < before)
            abort(); /* it goes back: it may never end */
        before = extent.offset + extent.bytes;
    }
    scan_close(scan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct survey survey;
    struct verify_result result;
    const struct verify_options options = {.random = true, .on_finding = on_finding};

    if (bytes < 1)
        return 0;
    struct fuzz_file file = fuzz_segment(data, bytes);
    char *arguments[] = {file.path};
    if (survey_arguments(&survey, arguments, 1) == 0) {
        (void)verify(&survey, &options, &result);
        if (survey.readable > 0)
            skim(&survey.files[0]);
        survey_free(&survey);
    }
    close(file.fd);
    return 0;
}
