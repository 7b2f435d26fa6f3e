/* SPDX-License-Identifier: MIT
 *
 * The verdict of dbufctl verify on a stream, for tests that break disks: the library's own functions,
 * and what they found, printed.
 */
#ifndef DBUFD_TESTS_VERDICT_H
#define DBUFD_TESTS_VERDICT_H

#include <malloc.h>

#include "../../src/ctl/verify.h"
#include "../unit/stream_fixture.h"

/* Thousands of short runs spend their time on getting the same pages from the kernel again. */
static inline void keep_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 25);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 28);
}

enum { VERDICT_FINDINGS_MAX = 256 };

struct verdict {
    struct verify_result result;
    struct finding findings[VERDICT_FINDINGS_MAX];
    char paths[VERDICT_FINDINGS_MAX][128];
    size_t count;
};

static inline void verdict_add(void *context, const struct finding *finding)
{
    struct verdict *verdict = context;
    assert_true(verdict->count < VERDICT_FINDINGS_MAX);
    snprintf(verdict->paths[verdict->count], sizeof(verdict->paths[0]), "%s", finding->path);
    verdict->findings[verdict->count] = *finding;
    verdict->findings[verdict->count].path = verdict->paths[verdict->count];
    verdict->count++;
}

static inline void verdict_print(const struct verdict *verdict)
{
    for (size_t i = 0; i < verdict->count; i++) {
        const struct finding *f = &verdict->findings[i];
        print_error(
            "  %s: offset %llu, %llu bytes, writer %d, blocks %llu+%llu, extents %llu+%llu: %s\n",
            f->path, (unsigned long long)f->offset, (unsigned long long)f->bytes, f->writer,
            (unsigned long long)f->first_block, (unsigned long long)f->block_count,
            (unsigned long long)f->first_extent, (unsigned long long)f->extent_count,
            finding_name(f->kind));
    }
}

/* Of one stream, or of several places of one. */
static inline void verdict_of(struct verdict *ret, char *const paths[], size_t count)
{
    struct survey survey;
    const struct verify_options options = {.on_finding = verdict_add, .context = ret};

    ret->count = 0;
    assert_int_equal(survey_arguments(&survey, paths, count), 0);
    assert_int_equal(verify(&survey, &options, &ret->result), 0);
    survey_free(&survey);
    assert_int_equal(ret->result.findings, ret->count);
}

/* The stream is whole, closed, and has so many blocks. */
static inline void verdict_whole(char *path, uint64_t blocks, uint64_t bytes)
{
    struct verdict *verdict = malloc(sizeof(*verdict));

    assert_non_null(verdict);
    verdict_of(verdict, &path, 1);
    verdict_print(verdict);
    assert_int_equal(verdict->count, 0);
    assert_int_equal(verdict->result.end, VERIFY_CLOSED);
    assert_int_equal(verdict->result.blocks, blocks);
    assert_int_equal(verdict->result.bytes, bytes);
    free(verdict);
}

#endif
