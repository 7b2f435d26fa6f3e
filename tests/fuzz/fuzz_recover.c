/* SPDX-License-Identifier: MIT
 *
 * The last segment of a stream, as dbufd looks at it when it starts, and dbufctl recover.
 */
#include "../../src/disk/recover.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    struct recovery *recovery = calloc(1, sizeof(*recovery));
    struct fuzz_file file = fuzz_segment(data, bytes);
    struct stream_file segment = {.path = file.path, .number = 1, .bytes = bytes - 1};
    const struct stream_files files = {.files = &segment, .count = 1};
    const struct store_target target = {.number = 1,
                                        .offset = (uint64_t)(data[0] >> 1) * FORMAT_ALIGN};

    if (recovery != NULL &&
        recover_look(&files, data[0] & 2 ? &target : NULL, &output_pwrite, recovery) == 0) {
        if (recovery->found && recovery->end > recovery->bytes)
            abort(); /* it would go on behind the file's end */
        recover_free(recovery);
    }
    free(recovery);
    close(file.fd);
    return 0;
}
