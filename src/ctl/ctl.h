/* SPDX-License-Identifier: MIT
 *
 * What the commands of dbufctl share: how they are called, and what they exit with.
 */
#ifndef DBUFD_CTL_CTL_H
#define DBUFD_CTL_CTL_H

enum {
    EXIT_DAMAGED = 1, /* damage or loss */
    EXIT_USAGE = 2,
    EXIT_CANNOT = 3 /* cannot read, cannot write, no memory */
};

struct command {
    const char *name;
    const char *arguments;                                         /* as shown behind the name */
    const char *help;                                              /* one line */
    int (*run)(const struct command *self, int argc, char **argv); /* argv[0] is the name */
};

int verify_command(const struct command *self, int argc, char **argv);
int cat_command(const struct command *self, int argc, char **argv);
int info_command(const struct command *self, int argc, char **argv);
int recover_command(const struct command *self, int argc, char **argv);
int rotate_command(const struct command *self, int argc, char **argv);

/* Says what is wrong with the call, and how it would be right. Returns EXIT_USAGE. */
int usage_error(const struct command *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for what getopt_long has just refused. */
int option_error(const struct command *self, char **argv);

/* Shows how it is used, on standard output. Returns 0. */
int command_help(const struct command *self);

/* "dbufctl: WHAT: why" for an errno, to standard error. Returns EXIT_CANNOT. */
int cannot(const char *what, int error);

#endif
