/* SPDX-License-Identifier: MIT
 *
 * Happy path: every argument is a stream's path, or that of one segment, which is a stream of one
 * file; all headers name one UUID; the files are put in order by the sequence they start with.
 *
 * Failure modes: files of other streams are set apart (the stream is the one that most files
 * belong to), so are second copies of a segment; a damaged header costs nothing but the header.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../disk/stream.h"
#include "survey.h"

/* ---- From arguments to files ------------------------------------------------------------------
 */

static int add_file(struct survey *survey, const char *path, uint64_t name_number)
{
    struct survey_file *files =
        realloc(survey->files, (survey->count + 1) * sizeof(*survey->files));
    if (files == NULL) {
        return -ENOMEM;
    }
    survey->files = files;
    char *copy = strdup(path);
    if (copy == NULL) {
        return -ENOMEM;
    }
    files[survey->count++] = (struct survey_file){.path = copy, .name_number = name_number};
    return 0;
}

/* "a/b.000012.dbuf" and "a/b.000012" are one segment's; *ret_stream gets "a/b.dbuf" or "a/b". */
static bool is_segment_name(const char *path, char *ret_stream)
{
    const char *name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;
    for (const char *dot = strchr(name, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        size_t digits = strspn(dot + 1, "0123456789");
        const char *end = dot + 1 + digits;
        if (digits >= 6 && (*end == '\0' || (*end == '.' && strchr(end + 1, '.') == NULL))) {
            size_t before = (size_t)(dot - path);
            memcpy(ret_stream, path, before);
            strcpy(ret_stream + before, end);
            return true;
        }
    }
    return false;
}

/* A lock file that we may not open tells nothing, but then neither do the segments. */
static int is_locked(const char *stream_path, bool *ret)
{
    pid_t pid;
    int rc = stream_holder(stream_path, &pid);
    *ret = *ret || rc == 1;
    return rc == -ENOMEM ? rc : 0;
}

static int add_argument(struct survey *survey, const char *argument)
{
    struct stream_files list = {0};
    char *stream_path = malloc(strlen(argument) + 1);
    if (stream_path == NULL) {
        return -ENOMEM;
    }
    bool part = is_segment_name(argument, stream_path);
    survey->whole = survey->whole || !part;
    int rc = is_locked(part ? stream_path : argument, &survey->running);
    free(stream_path);
    if (rc == 0 && !part) {
        rc = stream_list(argument, &list);
    }
    if (rc == -ENOMEM) {
        return rc;
    }
    if (list.count == 0) {
        return add_file(survey, argument, 0); /* opening it tells what is wrong with it */
    }
    rc = 0;
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        rc = add_file(survey, list.files[i].path, list.files[i].number);
    }
    stream_files_free(&list);
    return rc;
}

/* ---- Their headers ----------------------------------------------------------------------------
 */

static bool begins_as_segment(const char *path)
{
    uint64_t magic = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    bool begins = pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == SEGMENT_MAGIC;
    (void)close(fd); /* only read from */
    return begins;
}

static void take_header(struct survey_file *file, struct scan *scan)
{
    const struct segment_header *header = scan_header(scan);
    file->number = header->number;
    file->first_seq = header->first_seq;
    file->bytes = scan_file_bytes(scan);
    memcpy(file->uuid, header->stream_uuid, sizeof(file->uuid));
    scan_close(scan);
}

static void read_header(struct survey_file *file)
{
    struct scan *scan;
    int rc = scan_open(&scan, file->path);
    if (rc == 0) {
        take_header(file, scan);
    } else if (rc == -EBADMSG) {
        file->state = SURVEY_NO_SEGMENT; /* until an extent of ours is found in it */
        file->has_magic = begins_as_segment(file->path);
    } else if (rc == -ENODATA) {
        file->state = SURVEY_EMPTY;
    } else {
        file->state = SURVEY_UNREADABLE;
        file->error = -rc;
    }
}

/* The UUID that most files have: the one left over when pairs of different ones go. */
static void choose_stream(struct survey *survey)
{
    size_t lead = 0;
    for (size_t i = 0; i < survey->count; i++) {
        const struct survey_file *file = &survey->files[i];
        if (file->state != SURVEY_GOOD) {
            continue;
        }
        if (lead == 0) {
            memcpy(survey->uuid, file->uuid, sizeof(survey->uuid));
            lead = 1;
        } else if (memcmp(survey->uuid, file->uuid, sizeof(survey->uuid)) == 0) {
            lead++;
        } else {
            lead--;
        }
    }
}

static int recover_headers(struct survey *survey)
{
    bool known = false;
    for (size_t i = 0; i < survey->count; i++) {
        known = known || survey->files[i].state == SURVEY_GOOD;
    }
    for (size_t i = 0; i < survey->count; i++) {
        struct survey_file *file = &survey->files[i];
        struct scan *scan;
        if (file->state != SURVEY_NO_SEGMENT) {
            continue;
        }
        int rc = scan_open_damaged(&scan, file->path, known ? survey->uuid : NULL);
        if (rc == 0) {
            file->state = SURVEY_HEADER_CHANGED;
            take_header(file, scan);
            file->number = file->name_number;
            memcpy(survey->uuid, file->uuid, sizeof(survey->uuid));
            known = true;
        } else if (rc != -EBADMSG) {
            return rc;
        }
    }
    return 0;
}

static int compare_files(const void *a, const void *b)
{
    const struct survey_file *one = a, *other = b;
    bool one_reads = one->state <= SURVEY_HEADER_CHANGED;
    bool other_reads = other->state <= SURVEY_HEADER_CHANGED;
    if (one_reads != other_reads) {
        return one_reads ? -1 : 1;
    }
    if (one->first_seq != other->first_seq) {
        return one->first_seq < other->first_seq ? -1 : 1;
    }
    if (one->number != other->number) {
        return one->number < other->number ? -1 : 1;
    }
    return strcmp(one->path, other->path);
}

static void set_order(struct survey *survey)
{
    struct survey_file *files = survey->files;
    for (size_t i = 0; i < survey->count; i++) {
        if (files[i].state == SURVEY_GOOD &&
            memcmp(files[i].uuid, survey->uuid, sizeof(survey->uuid)) != 0) {
            files[i].state = SURVEY_FOREIGN;
        }
    }
    qsort(files, survey->count, sizeof(*files), compare_files);
    for (size_t i = 1, kept = 0; i < survey->count; i++) {
        if (files[i].state == SURVEY_GOOD && files[kept].number == files[i].number) {
            files[i].state = SURVEY_DOUBLED;
        } else {
            kept = i;
        }
    }
    qsort(files, survey->count, sizeof(*files), compare_files);
    while (survey->readable < survey->count &&
           files[survey->readable].state <= SURVEY_HEADER_CHANGED) {
        survey->readable++;
    }
}

/* While the daemon runs, retention may have taken the oldest between listing and opening. */
static void forget_deleted(struct survey *survey)
{
    size_t gone = 0;
    while (gone + 1 < survey->count && survey->files[gone].state == SURVEY_UNREADABLE &&
           survey->files[gone].error == ENOENT && survey->files[gone].name_number > 0) {
        free(survey->files[gone++].path);
    }
    survey->count -= gone;
    memmove(survey->files, survey->files + gone, survey->count * sizeof(*survey->files));
}

int survey_arguments(struct survey *ret, char *const arguments[], size_t count)
{
    struct survey survey = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = add_argument(&survey, arguments[i]);
    }
    if (rc == 0) {
        for (size_t i = 0; i < survey.count; i++) {
            read_header(&survey.files[i]);
        }
        if (survey.running) {
            forget_deleted(&survey);
        }
        choose_stream(&survey);
        rc = recover_headers(&survey);
    }
    if (rc < 0) {
        survey_free(&survey);
        return rc;
    }
    set_order(&survey);
    *ret = survey;
    return 0;
}

void survey_free(struct survey *survey)
{
    for (size_t i = 0; i < survey->count; i++) {
        free(survey->files[i].path);
    }
    free(survey->files);
    *survey = (struct survey){0};
}

int survey_open(const struct survey_file *file, struct scan **ret)
{
    return file->state == SURVEY_HEADER_CHANGED ? scan_open_damaged(ret, file->path, file->uuid)
                                                : scan_open(ret, file->path);
}

bool survey_complain(const struct survey *survey, FILE *out)
{
    for (size_t i = survey->readable; i < survey->count; i++) {
        const struct survey_file *file = &survey->files[i];
        const char *why = file->state == SURVEY_UNREADABLE ? strerror(file->error)
                          : file->state == SURVEY_FOREIGN  ? "it belongs to another stream"
                          : file->state == SURVEY_DOUBLED  ? "the segment is there twice"
                          : file->state == SURVEY_EMPTY    ? "it is empty"
                                                           : "it is no segment of the stream";
        fprintf(out, "dbufctl: %s: %s\n", file->path, why);
    }
    return survey->readable < survey->count;
}
