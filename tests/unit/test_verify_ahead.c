/* SPDX-License-Identifier: MIT
 *
 * verify with threads that read ahead, in pieces smaller than an extent, finds the very same as without:
 * on hundreds of seeded changes of a stream. VERIFY_SEED=N begins with another one, VERIFY_ROUNDS=N makes
 * so many; with SOAK many more. A failing one's seed is told.
 *
 * The threads are pthreads; ThreadSanitizer looks on.
 */
#include <inttypes.h>

#include "../../src/ctl/verify.h"
#include "mutations.h"

enum { BLOCKS = 30, ROUNDS = 800, WORKERS_MAX = 3, PIECE_PAGES_MAX = 6 };

static void write_finding(void *context, const struct finding *f)
{
    fprintf(context,
            "%s: %s: %d %" PRIu64 "+%" PRIu64 " writer %d blocks %" PRIu64 "+%" PRIu64
            " extents %" PRIu64 "+%" PRIu64 " segments %" PRIu64 "+%" PRIu64 " %s %" PRIu64
            " %" PRIu64 " error %d\n",
            f->path, finding_name(f->kind), f->has_offset, f->offset, f->bytes, f->writer,
            f->first_block, f->block_count, f->first_extent, f->extent_count, f->first_segment,
            f->segment_count, f->field != NULL ? f->field : "-", f->counted, f->stated, f->error);
}

/* All that verify says, in words. */
static char *words_of(const struct survey *survey, struct verify_options options)
{
    struct verify_result r;
    char *words;
    size_t bytes;
    FILE *out = open_memstream(&words, &bytes);
    assert_non_null(out);
    options.on_finding = write_finding;
    options.context = out;
    assert_int_equal(verify(survey, &options, &r), 0);
    fprintf(out, "%" PRIu64 " findings, %" PRIu64 " of them unreadable; end %d\n", r.findings,
            r.unreadable, r.end);
    const uint64_t counts[] = {r.segments,   r.extents,       r.blocks,    r.bytes,
                               r.file_bytes, r.dropped,       r.writers,   r.first_ns,
                               r.last_ns,    r.first_segment, r.first_seq, r.superseded_bytes};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        fprintf(out, " %" PRIu64, counts[i]);
    }
    assert_int_equal(fclose(out), 0);
    return words;
}

/* Whether workers find the same as the one thread alone. */
static bool is_same(const char *stream, bool running, struct verify_options options)
{
    char copy[128];
    char *const arguments[] = {copy};
    struct survey survey;
    snprintf(copy, sizeof(copy), "%s", stream);
    assert_int_equal(survey_arguments(&survey, arguments, 1), 0);
    survey.running = running;
    char *together = words_of(&survey, options);
    const unsigned workers = options.workers;
    options.workers = 0;
    char *alone = words_of(&survey, options);
    bool same = strcmp(alone, together) == 0;
    if (!same) {
        print_message("# alone:\n%s\n# %u workers, pieces of %zu bytes:\n%s\n", alone, workers,
                      options.piece_bytes, together);
    }
    free(alone);
    free(together);
    survey_free(&survey);
    return same;
}

static size_t any_piece(struct place *place)
{
    return (1 + roll(place, PIECE_PAGES_MAX)) * FORMAT_ALIGN;
}

static void workers_find_the_same(void **state)
{
    (void)state;
    struct place *place = calloc(1, sizeof(*place));
    assert_non_null(place);
    begin(place, BLOCKS);
    const uint64_t first = number_of("VERIFY_SEED", 1);
    const uint64_t rounds = number_of("VERIFY_ROUNDS", getenv("SOAK") != NULL ? 500000 : ROUNDS);
    uint64_t differ = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        make_change(place, seed);
        write_files(place);
        const struct verify_options options = {.random = roll(place, 2) == 0,
                                               .workers = 1 + (unsigned)roll(place, WORKERS_MAX),
                                               .piece_bytes = any_piece(place)};
        /* What a daemon has not written yet is no damage. */
        if (!is_same(place->stream, roll(place, 4) == 0, options)) {
            differ++;
            print_message("# VERIFY_SEED=%" PRIu64 "\n", seed);
        }
        built_write(&place->built, place->dir);
    }
    end(place);
    assert_int_equal(differ, 0);
}

/* Daemons that went on in the same file, each with another seed: a worker that begins in the middle
 * cannot know which. */
static void seeds_in_the_middle_of_a_file(void **state)
{
    (void)state;
    struct built *built = calloc(1, sizeof(*built));
    char dir[64] = "/tmp/dbufd-ahead.XXXXXX", stream[128];
    assert_non_null(built);
    assert_non_null(mkdtemp(dir));
    snprintf(stream, sizeof(stream), "%s/s.dbuf", dir);
    built_begin(built, 5);
    built_segment(built);
    for (unsigned seed = 1; seed <= 8; seed++) {
        built->seed = seed;
        built_checkpoint(built, 0);
        for (unsigned e = 0; e < 12; e++) {
            built_blocks(built, e % BUILD_WRITERS, BLOCKS, 0);
        }
    }
    built_checkpoint(built, EXTENT_CLOSE);
    built_write(built, dir);
    for (unsigned workers = 1; workers <= WORKERS_MAX; workers++) {
        for (size_t pages = 1; pages <= 2 * PIECE_PAGES_MAX; pages++) {
            const struct verify_options options = {
                .random = true, .workers = workers, .piece_bytes = pages * FORMAT_ALIGN};
            assert_true(is_same(stream, false, options));
        }
    }
    unlink(built->segments[0].path);
    rmdir(dir);
    built_free(built);
    free(built);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(workers_find_the_same),
                                       cmocka_unit_test(seeds_in_the_middle_of_a_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
