/* SPDX-License-Identifier: MIT
 *
 * The double buffer's memory, as whoever starts after a crash finds it. The first byte says whether it
 * begins as a region does.
 */
#include "../../src/buffer/region_read.h"
#include "fuzz.h"

/* Looks at every byte of what is given out: it must be in there. */
static void use(const struct extent_header *extent)
{
    if (extent->block_count == 0)
        abort();
    (void)crc32c(0, extent + 1, extent->used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct region_view view;
    if (bytes < 1)
        return 0;
    const size_t region_bytes = bytes - 1;
    /* Just as large as it is: one byte too far is seen. */
    unsigned char *region = NULL;
    if (posix_memalign((void **)&region, FORMAT_ALIGN, region_bytes + 1) != 0)
        return 0;
    memcpy(region, data + 1, region_bytes);
    struct control *control = (struct control *)region;
    if (data[0] & 1 && region_bytes >= REGION_CONTROL_BYTES) {
        control->magic = REGION_MAGIC;
        control->version = REGION_VERSION;
        control->control_bytes = REGION_CONTROL_BYTES;
    }
    if (region_look(region, region_bytes, &view) == 0) {
        (void)region_content(&view);
        for (uint32_t e = 0; e < view.epoch_count; e++) {
            for (uint32_t i = 0; i < view.extent_count; i++) {
                bool damaged;
                const struct extent_header *extent =
                    region_extent(&view, view.first_epoch + e, i, &damaged);
                if (extent != NULL)
                    use(extent);
            }
        }
    }
    free(region);
    return 0;
}
