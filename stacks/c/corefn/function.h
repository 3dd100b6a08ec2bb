/* The functions of a program, and calling one. */
#ifndef COREFN_FUNCTION_H
#define COREFN_FUNCTION_H

#include "corefn.h"
#include <stddef.h>

/* The answer to a call: a status of HTTP, a media type, and a body that is freed with free(3). */
struct answer {
    int status;
    const char *type;
    char *body;
    size_t length;
};

/* The function of a name, or NULL. */
const struct corefn_function *function_named(const char *name);

/* Calls a function with the body of a request, `length` bytes and a NUL behind them. */
struct answer function_call(const struct corefn_function *function, const char *body, size_t length);

/* Prints the functions as the platform wants to know them, sorted by name; 0 if there are any. */
int functions_describe(void);

#endif
