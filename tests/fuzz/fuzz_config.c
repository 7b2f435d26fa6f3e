/* SPDX-License-Identifier: MIT
 *
 * The configuration: any bytes as a file; the first line, if it begins with a "-", as an override, too.
 */
#include "../../src/daemon/config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static FILE *nowhere;
    char *override = NULL;
    struct config *config = NULL;

    if (nowhere == NULL && (nowhere = fopen("/dev/null", "w")) == NULL)
        abort();
    const uint8_t *line_end = bytes > 0 && data[0] == '-' ? memchr(data, '\n', bytes) : NULL;
    if (line_end != NULL) {
        override = strndup((const char *)data + 1, (size_t)(line_end - data - 1));
        bytes -= (size_t)(line_end + 1 - data);
        data = line_end + 1;
    }
    struct fuzz_file file = fuzz_file(data, bytes);
    const char *const overrides[] = {override};
    if (config_load(&config, file.path, overrides, override != NULL, nowhere) == 0) {
        config_print(config, nowhere);
        config_free(config);
    }
    close(file.fd);
    free(override);
    return 0;
}
