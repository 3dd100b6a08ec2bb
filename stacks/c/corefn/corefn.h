/* Functions in C that answer HTTP requests: text and JSON in, text and JSON out.
 *
 *     #include <corefn.h>
 *
 *     COREFN_TEXT(SayHello, name) {
 *         return corefn_format("Hello, %s!", name);
 *     }
 *
 * Each is called from several threads at a time. */
#ifndef COREFN_H
#define COREFN_H

#include <jansson.h>

/* A function that takes nothing and returns a text. What it returns is freed with free(3); NULL is an empty answer. */
#define COREFN_NONE(name)                                                                                             \
    static char *corefn_call_##name(void);                                                                            \
    __attribute__((constructor)) static void corefn_add_##name(void) {                                                \
        corefn_add((struct corefn_function){#name, .none = corefn_call_##name});                                      \
    }                                                                                                                 \
    static char *corefn_call_##name(void)

/* A function that takes the body as a text, which ends with a NUL and lives as long as the call, and returns a text as
 * COREFN_NONE does. */
#define COREFN_TEXT(name, argument)                                                                                   \
    static char *corefn_call_##name(const char *argument);                                                            \
    __attribute__((constructor)) static void corefn_add_##name(void) {                                                \
        corefn_add((struct corefn_function){#name, .text = corefn_call_##name});                                      \
    }                                                                                                                 \
    static char *corefn_call_##name(const char *argument)

/* A function that takes the body as JSON, which lives as long as the call, and returns JSON, a new reference; NULL is an
 * empty answer. `example` is a body that it takes, shown to people. (Jansson has the functions for json_t.) */
#define COREFN_JSON(name, argument, example_body)                                                                     \
    static json_t *corefn_call_##name(json_t *argument);                                                              \
    __attribute__((constructor)) static void corefn_add_##name(void) {                                                \
        corefn_add((struct corefn_function){#name, .json = corefn_call_##name, .example = example_body});             \
    }                                                                                                                 \
    static json_t *corefn_call_##name(json_t *argument)

/* A text as printf(3) makes it, to be returned. */
char *corefn_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Has the call end in an error: `return corefn_fail(400, "A is no number");`. The status is 400 to 599, of HTTP. */
void *corefn_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the macros above add. */
struct corefn_function {
    const char *name;
    char *(*none)(void);
    char *(*text)(const char *);
    json_t *(*json)(json_t *);
    const char *example;
};
void corefn_add(struct corefn_function function);

#endif
