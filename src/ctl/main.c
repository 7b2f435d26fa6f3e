/* SPDX-License-Identifier: MIT
 *
 * dbufctl: one table of commands makes the dispatch and the help.
 */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

static int help_command(const struct command *self, int argc, char **argv);
static int version_command(const struct command *self, int argc, char **argv);

static const struct command commands[] = {
    {"verify", "[--random] [--json] FILE...|STREAM",
     "prove that nothing is lost, doubled, reordered or changed", verify_command},
    {"cat",
     "[--raw|--json|--hex] [--writer N] [--from TIME] [--to TIME] [--follow] [--damaged] "
     "FILE...|STREAM",
     "write the blocks to standard output, as they are stored", cat_command},
    {"info", "[--json] FILE...|STREAM", "say what is in there", info_command},
    {"recover", "STREAM | [--raw] RESCUE OUTPUT",
     "cut a stream's torn tail; or get the blocks out of a rescue file", recover_command},
    {"rotate", "STREAM", "make the running dbufd end the segment and begin the next one",
     rotate_command},
    {"help", "[COMMAND]", "this, or how to use a command", help_command},
    {"version", "", "say which version this is", version_command},
};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static void print_usage(FILE *out, const struct command *command)
{
    fprintf(out, "usage: dbufctl %s%s%s\n", command->name, command->arguments[0] ? " " : "",
            command->arguments);
}

int usage_error(const struct command *self, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "dbufctl %s: ", self->name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    print_usage(stderr, self);
    return EXIT_USAGE;
}

int option_error(const struct command *self, char **argv)
{
    const char *option = argv[optind - 1];
    /* A short option is refused in the middle of its word, before optind moves on. */
    if (optopt != 0 && strncmp(option, "--", 2) != 0) {
        return usage_error(self, "unknown option -%c", optopt);
    }
    return usage_error(self, "%s is no option of it, or needs or takes no value", option);
}

int command_help(const struct command *self)
{
    print_usage(stdout, self);
    printf("%s\n", self->help);
    return 0;
}

int cannot(const char *what, int error)
{
    fprintf(stderr, "dbufctl: %s: %s\n", what, strerror(error));
    return EXIT_CANNOT;
}

static int help_command(const struct command *self, int argc, char **argv)
{
    if (argc > 2) {
        return usage_error(self, "one command at most");
    }
    if (argc == 2) {
        const struct command *command = find(argv[1]);
        if (command == NULL) {
            return usage_error(self, "there is no command '%s'", argv[1]);
        }
        return command_help(command);
    }
    puts("usage: dbufctl COMMAND [OPTION]... [FILE...|STREAM]\n\n"
         "FILE is a segment that dbufd has written, STREAM its output_file_path.\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        printf("  %-8s %s\n", commands[i].name, commands[i].help);
    }
    puts("\nExit status: 0 done, 1 damage or loss was found, 2 wrong usage, 3 cannot read or "
         "write.");
    return 0;
}

static int version_command(const struct command *self, int argc, char **argv)
{
    if (argc > 1) {
        return usage_error(self, "takes no '%s'", argv[1]);
    }
    puts("dbufctl " DBUFD_VERSION);
    return 0;
}

/* The room to read a file into is 3 MiB. The memory allocator would give it back to the kernel between two
 * files, and getting it anew, page by page, takes longer than reading a small segment. */
static void keep_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20); /* advice */
    (void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    /* A reader that goes away is seen by the write that fails. */
    signal(SIGPIPE, SIG_IGN);
    keep_memory();
    opterr = 0;
    if (name == NULL) {
        fputs("usage: dbufctl COMMAND [OPTION]... [FILE...|STREAM]; 'dbufctl help' tells more\n",
              stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        name = "help";
    } else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        name = "version";
    }
    const struct command *command = find(name);
    if (command == NULL) {
        fprintf(stderr, "dbufctl: there is no command '%s'; 'dbufctl help' lists them\n", name);
        return EXIT_USAGE;
    }
    int status = command->run(command, argc - 1, argv + 1);
    if (fflush(stdout) != 0 && status == 0) {
        perror("dbufctl: standard output");
        status = EXIT_CANNOT;
    }
    return status;
}
